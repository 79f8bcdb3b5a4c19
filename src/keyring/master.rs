//! Master keys, and the private keys that lie in the store under them.

use std::path::Path;

use super::store::KeyRow;
use super::{KeySource, KeyringError, files};
use crate::bounded;
use crate::crypto::aead::{TAG, Xaes};
use crate::crypto::kdf::{hkdf, key_id, pae};
use crate::crypto::kem::{DecapsulationKey, KemSuite};
use crate::crypto::sign::SigningKey;
use crate::crypto::{base64url, hex, random};
use crate::secret::{Secret, SecretBytes};

/// A key file holds one line; anything longer is something else.
const MAX_FILE: u64 = 8 * 1024;
const ID: usize = 16;
const NONCE: usize = 24;

/// What a private key is for, by the number that wraps and rows carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Signs partition records and tombstones.
    Owner,
    /// Opens what is wrapped to it.
    Recipient(KemSuite),
    /// Makes epochs.
    Issuer,
    /// Signs values.
    Signer,
}

impl Usage {
    /// Its number.
    pub fn to_byte(self) -> u8 {
        match self {
            Self::Owner => 0,
            Self::Recipient(suite) => suite as u8,
            Self::Issuer => 4,
            Self::Signer => 5,
        }
    }

    /// The use with this number.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Owner),
            4 => Some(Self::Issuer),
            5 => Some(Self::Signer),
            _ => KemSuite::from_byte(byte).map(Self::Recipient),
        }
    }
}

/// One master key.
#[derive(Debug, Clone)]
pub struct Master {
    key: Secret<32>,
    id: [u8; ID],
}

impl Master {
    /// Reads one.
    pub fn load(source: &KeySource) -> Result<Self, KeyringError> {
        Ok(Self::new(parse_key(&read_line(source, "the master key")?, source)?))
    }

    /// Reads one, or makes its file (0600) if that is missing.
    pub fn load_or_make(source: &KeySource) -> Result<Self, KeyringError> {
        if let KeySource::File(path) = source
            && !path.exists()
        {
            let mut line = SecretBytes::new(Vec::with_capacity(64));
            base64url::encode_into(random::secret::<32>()?.expose(), line.expose_mut());
            line.expose_mut().push(b'\n');
            match files::write_new(path, line.expose()) {
                // Another process was first: its key counts.
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(KeyringError::NoKey(format!(
                        "cannot write the master key {}: {error}",
                        path.display()
                    )));
                }
                _ => {}
            }
        }
        Self::load(source)
    }

    /// Takes a key.
    pub fn new(key: Secret<32>) -> Self {
        let id = *hkdf::<ID>(key.expose(), &pae(&[b"sidecloak/1 master id"])).expose();
        Self { key, id }
    }

    /// The name that wrapped keys carry.
    pub fn id(&self) -> [u8; ID] {
        self.id
    }

    /// A key derived for one purpose.
    pub fn derive(&self, label: &str) -> Secret<32> {
        hkdf(self.key.expose(), &pae(&[label.as_bytes()]))
    }

    /// Wraps a private key's seed.
    pub fn wrap(&self, usage: u8, public: &[u8], partition: &str, seed: &[u8]) -> Result<Vec<u8>, KeyringError> {
        self.seal("sidecloak/1 master", &private_aad(usage, public, partition), seed)
    }

    /// `id | nonce | ciphertext | tag` under a key derived for `label`.
    pub fn seal(&self, label: &str, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, KeyringError> {
        let nonce: [u8; NONCE] = random::bytes()?;
        let mut buffer = SecretBytes::new(plaintext.to_vec());
        let (prefix, rest) = halves(&nonce);
        let tag = Xaes::new(self.derive(label).expose())
            .derive(&prefix)
            .seal(&rest, aad, buffer.expose_mut())
            .map_err(|_| KeyringError::Mismatch("too long to be wrapped".into()))?;
        Ok([self.id.as_slice(), &nonce, buffer.expose(), &tag].concat())
    }

    /// Opens what [`Self::seal`] gave; `None` if it is not authentic under this key.
    pub fn open(&self, label: &str, aad: &[u8], sealed: &[u8]) -> Option<SecretBytes> {
        let (id, sealed) = sealed.split_first_chunk::<ID>()?;
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        let (ciphertext, tag) = sealed.split_last_chunk::<TAG>()?;
        if *id != self.id {
            return None;
        }
        let mut buffer = SecretBytes::new(ciphertext.to_vec());
        let (prefix, rest) = halves(nonce);
        Xaes::new(self.derive(label).expose()).derive(&prefix).open(&rest, aad, buffer.expose_mut(), tag).ok()?;
        Some(buffer)
    }
}

/// The master keys of a process: the first wraps, any unwraps.
#[derive(Debug, Clone, Default)]
pub struct Masters(pub Vec<Master>);

impl Masters {
    /// Reads them all.
    pub fn load(sources: &[KeySource]) -> Result<Self, KeyringError> {
        sources.iter().map(Master::load).collect::<Result<_, _>>().map(Self)
    }

    /// The one that wraps.
    pub fn first(&self) -> Result<&Master, KeyringError> {
        self.0
            .first()
            .ok_or_else(|| KeyringError::NoKey("this process holds no master key; give one as `master_key`".into()))
    }

    /// The one with that id.
    pub fn by_id(&self, sealed: &[u8]) -> Option<&Master> {
        self.0.iter().find(|m| sealed.get(..ID) == Some(m.id.as_slice()))
    }

    /// Unwraps the seed of a row.
    pub fn unwrap(&self, row: &KeyRow) -> Result<SecretBytes, KeyringError> {
        let Some(master) = self.by_id(&row.blob) else {
            return Err(KeyringError::Mismatch(format!(
                "the keyring's keys are under master key {}…, given {}: name the right key file first, or both while rotating",
                prefix(&row.blob),
                self.0.iter().map(|m| format!("{}…", prefix(&m.id))).collect::<Vec<_>>().join(", ")
            )));
        };
        let aad = private_aad(row.usage, &row.public, &row.partition);
        master.open("sidecloak/1 master", &aad, &row.blob).ok_or_else(|| damaged(row))
    }
}

/// The private keys that a process holds.
#[derive(Debug, Default)]
pub struct PrivateKeys {
    /// Signs partition records.
    pub owner: Option<std::sync::Arc<SigningKey>>,
    /// By id of the encapsulation key.
    pub recipients: Vec<([u8; 16], DecapsulationKey)>,
    /// Make epochs.
    pub issuers: Vec<std::sync::Arc<SigningKey>>,
    /// Sign values.
    pub signers: Vec<std::sync::Arc<SigningKey>>,
}

impl PrivateKeys {
    /// Unwraps all rows. A public half that does not belong to the seed is refused: who writes the store chose it.
    pub fn unwrap(rows: &[KeyRow], masters: &Masters) -> Result<Self, KeyringError> {
        let mut keys = Self::default();
        for row in rows {
            let seed = masters.unwrap(row)?;
            let usage = Usage::from_byte(row.usage).ok_or_else(|| damaged(row))?;
            if let Usage::Recipient(suite) = usage {
                let key = DecapsulationKey::from_seed(suite, seed.expose()).map_err(|_| damaged(row))?;
                if key.encapsulation_key().map_err(|_| damaged(row))?.as_bytes() != row.public {
                    return Err(damaged(row));
                }
                keys.recipients.push((key_id(&row.public), key));
                continue;
            }
            let key = SigningKey::from_seed(Secret::from_slice(seed.expose()).ok_or_else(|| damaged(row))?);
            if key.verifying_key().as_bytes() != row.public {
                return Err(damaged(row));
            }
            let key = std::sync::Arc::new(key);
            match usage {
                Usage::Owner if keys.owner.is_some() => return Err(damaged(row)),
                Usage::Owner => keys.owner = Some(key),
                Usage::Issuer => keys.issuers.push(key),
                Usage::Signer => keys.signers.push(key),
                Usage::Recipient(_) => {}
            }
        }
        Ok(keys)
    }
}

/// Reads the one line of a key file or variable.
pub fn read_line(source: &KeySource, what: &str) -> Result<SecretBytes, KeyringError> {
    let mut line = match source {
        KeySource::File(path) => SecretBytes::new(read_file(path, what)?),
        KeySource::Env(name) => SecretBytes::new(
            std::env::var(name)
                .map_err(|_| KeyringError::NoKey(format!("{what}: the variable {name} is not set, or not text")))?
                .into_bytes(),
        ),
    };
    let length = line.expose().trim_ascii_end().len();
    line.expose_mut().truncate(length);
    Ok(line)
}

/// Reads the line of a file or variable that is no secret (`recovery.pub`).
pub fn read_public_line(source: &KeySource) -> Result<Vec<u8>, KeyringError> {
    match source {
        KeySource::File(path) => bounded::read_file(path, MAX_FILE)
            .map_err(|e| KeyringError::NoKey(format!("cannot read the recovery recipient {}: {e}; leave `recovery` out of the configuration for now, `sidecloak keys recovery` makes one once there is a keyring", path.display()))),
        KeySource::Env(_) => Ok(read_line(source, "the recovery key")?.expose().to_vec()),
    }
}

fn read_file(path: &Path, what: &str) -> Result<Vec<u8>, KeyringError> {
    if !path.exists() {
        return Err(KeyringError::NoKey(format!(
            "{what} {} does not exist; `sidecloak keys init` makes a keyring with its key",
            path.display()
        )));
    }
    files::check_private(path, what)?;
    bounded::read_file(path, MAX_FILE)
        .map_err(|e| KeyringError::NoKey(format!("cannot read {what} {}: {e}", path.display())))
}

/// 32 bytes from one line of 43 base64url characters.
pub fn parse_key(line: &SecretBytes, source: &KeySource) -> Result<Secret<32>, KeyringError> {
    base64url::decode(line.expose())
        .map(SecretBytes::new)
        .and_then(|key| Secret::from_slice(key.expose()))
        .ok_or_else(|| KeyringError::NoKey(format!("{source} does not hold one line of 43 base64url characters")))
}

/// The first bytes of an id in hex, for messages.
fn prefix(id: &[u8]) -> String {
    hex::encode(id.get(..4).unwrap_or(id))
}

fn damaged(row: &KeyRow) -> KeyringError {
    KeyringError::Mismatch(format!(
        "a private key in the keyring (use {}) does not authenticate; restore the keyring from a backup",
        row.usage
    ))
}

fn private_aad(usage: u8, public: &[u8], partition: &str) -> Vec<u8> {
    pae(&[b"sidecloak/1 private", &[usage], &key_id(public), partition.as_bytes()])
}

fn halves(nonce: &[u8; NONCE]) -> ([u8; 12], [u8; 12]) {
    let mut halves = ([0; 12], [0; 12]);
    halves.0.copy_from_slice(nonce.split_at(12).0);
    halves.1.copy_from_slice(nonce.split_at(12).1);
    halves
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(master: &Master, key: &SigningKey) -> KeyRow {
        let public = key.verifying_key().as_bytes().to_vec();
        let blob = master.wrap(0, &public, "", key.seed().expose()).unwrap();
        KeyRow { usage: 0, public, partition: String::new(), blob }
    }

    #[test]
    fn of_many_who_make_a_key_one_does_and_all_read_it_whole() {
        for _ in 0..50 {
            let directory = tempfile::tempdir().unwrap();
            let source = KeySource::File(directory.path().join("master.key"));
            let ids: Vec<_> = std::thread::scope(|scope| {
                let threads = [(); 8].map(|()| scope.spawn(|| Master::load_or_make(&source).unwrap().id()));
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(ids.iter().all(|id| *id == ids[0]));
        }
    }

    #[test]
    fn a_private_key_opens_only_as_what_it_was_wrapped() {
        let master = Master::new(random::secret().unwrap());
        let key = SigningKey::generate().unwrap();
        let masters = Masters(vec![Master::new(random::secret().unwrap()), master.clone()]);
        let row = row(&master, &key);
        assert_eq!(row.blob.len(), 16 + 24 + 32 + 16);
        assert_eq!(masters.unwrap(&row).unwrap().expose(), key.seed().expose());
        let changed = [
            KeyRow { usage: 4, ..row.clone() },
            KeyRow { partition: "other".into(), ..row.clone() },
            KeyRow { public: SigningKey::generate().unwrap().verifying_key().as_bytes().to_vec(), ..row.clone() },
            KeyRow { blob: [&row.blob[..20], &[row.blob[20] ^ 1], &row.blob[21..]].concat(), ..row.clone() },
        ];
        for row in changed {
            assert!(matches!(masters.unwrap(&row), Err(KeyringError::Mismatch(_))));
        }
        let error = Masters(vec![Master::new(random::secret().unwrap())]).unwrap(&row).unwrap_err().to_string();
        assert!(error.contains(&hex::encode(&master.id()[..4])), "{error}");
    }
}
