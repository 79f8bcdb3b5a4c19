//! Values to ciphertexts and back: `ncpkms:v{version}:{base64(nonce 12 | ciphertext | tag 16)}` for AES256,
//! `ncpkms:v{version}:{base64(RSAES-OAEP)}` for RSA2048. Nothing in here waits.

use std::sync::Arc;

use super::body::{Text, Texts};
use super::entry::KeyType;
use super::fault::Fault;
use super::hot::{Cipher, Ready};
use crate::authority::Refused;
use crate::crypto::aead::{Gcm, TAG};
use crate::crypto::base64;
use crate::crypto::kdf::pae;
use crate::crypto::mac::hmac_sha256;
use crate::crypto::random;
use crate::crypto::rsa::{self, RsaKey};
use crate::keyring::KeyringError;
use crate::secret::{Secret, SecretBytes};

/// Bytes of the longest plaintext of an AES256 key.
pub const PLAINTEXT: usize = 32 * 1024;
const PREFIX: &str = "ncpkms:v";
const NONCE: usize = 12;

/// A version of an AES256 key.
pub struct Aes {
    /// Seals.
    pub gcm: Gcm,
    /// Makes nonces, of a convergent key.
    pub nonces: Option<Secret<32>>,
}

/// What is done with values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Plaintexts to ciphertexts.
    Encrypt,
    /// Ciphertexts to plaintexts.
    Decrypt,
    /// Ciphertexts to ciphertexts of the newest version.
    Reencrypt,
}

/// A call's worth of values with the keys they need.
pub struct Job<'a> {
    /// What is done.
    pub what: What,
    /// In base64, or as ciphertexts.
    pub texts: Texts<'a>,
    /// Decoded; empty: none.
    pub context: Vec<u8>,
    /// To seal under.
    pub sealing: Option<Arc<Cipher>>,
    /// To open under.
    pub opening: Vec<Arc<Cipher>>,
}

/// A ciphertext or signature as it was sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// The version's number.
    pub number: usize,
    /// In base64.
    pub text: &'a str,
}

impl Job<'_> {
    /// One that outlives the body.
    pub fn owned(&self) -> Job<'static> {
        Job {
            what: self.what,
            texts: self.texts.owned(),
            context: self.context.clone(),
            sealing: self.sealing.clone(),
            opening: self.opening.clone(),
        }
    }

    /// Does it: appends the answer's JSON, in the shape of the question, to `out`. All or nothing.
    pub fn run(&self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let (texts, many) = self.texts.split()?;
        let mut nonces = vec![[0; NONCE]; if self.what == What::Decrypt { 0 } else { texts.len() }];
        random::fill(nonces.as_flattened_mut()).map_err(|error| Refused::from(KeyringError::from(error)))?;
        let mut nonces = nonces.into_iter();
        let mut plain = SecretBytes::default();
        if many {
            out.push(b'[');
        }
        for (index, text) in texts.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.push(b'"');
            plain.expose_mut().clear();
            match self.what {
                What::Encrypt => {
                    base64::decode_into(text.bytes(), PLAINTEXT, plain.expose_mut())
                        .ok_or_else(|| not_base64(index))?;
                }
                What::Decrypt | What::Reencrypt => self.open(index, text, &mut plain)?,
            }
            match &self.sealing {
                Some(cipher) => {
                    seal(cipher, nonces.next().unwrap_or_default(), &self.context, &mut plain, out)
                        .map_err(|why| why.fault(index))?;
                }
                None => base64::encode_into(plain.expose(), out),
            }
            out.push(b'"');
        }
        if many {
            out.push(b']');
        }
        Ok(())
    }

    fn open(&self, index: usize, text: &Text<'_>, plain: &mut SecretBytes) -> Result<(), Fault> {
        let parsed = parse(&text.0).ok_or_else(|| not_ciphertext(index))?;
        let cipher = self.opening.iter().find(|cipher| cipher.number == parsed.number);
        let key = cipher.ok_or(Refused::NotAuthentic)?.key()?;
        let buffer = plain.expose_mut();
        base64::decode_into(parsed.text.as_bytes(), NONCE + PLAINTEXT + TAG, buffer)
            .ok_or_else(|| not_ciphertext(index))?;
        match key {
            Ready::Aes(aes) => aes.open(&self.context, plain),
            Ready::Rsa(key) => {
                *plain = key.decrypt(plain.expose(), &self.context).map_err(|_| Refused::NotAuthentic)?;
                Ok(())
            }
            Ready::Ecdsa(_) => Err(wrong_type()),
        }
    }
}

impl Aes {
    /// Appends base64 of nonce, ciphertext and tag; `plain` becomes ciphertext.
    fn seal(
        &self,
        nonce: [u8; NONCE],
        context: &[u8],
        plain: &mut SecretBytes,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let nonce = match &self.nonces {
            Some(key) => convergent_nonce(key, context, plain.expose()),
            None => nonce,
        };
        let tag = self.gcm.seal(&nonce, context, plain.expose_mut()).map_err(|_| Fault::internal("sealing failed"))?;
        // One run of base64 over the three parts: put the nonce in front within the same buffer.
        let buffer = plain.expose_mut();
        buffer.extend_from_slice(&tag);
        buffer.extend_from_slice(&nonce);
        buffer.rotate_right(NONCE);
        base64::encode_into(buffer, out);
        Ok(())
    }

    /// Opens nonce, ciphertext and tag in place.
    fn open(&self, context: &[u8], sealed: &mut SecretBytes) -> Result<(), Fault> {
        let buffer = sealed.expose_mut();
        let (nonce, rest) = buffer.split_first_chunk_mut::<NONCE>().ok_or(Refused::NotAuthentic)?;
        let (ciphertext, tag) = rest.split_last_chunk_mut::<TAG>().ok_or(Refused::NotAuthentic)?;
        self.gcm.open(nonce, context, ciphertext, tag).map_err(|_| Refused::NotAuthentic)?;
        buffer.drain(..NONCE);
        buffer.truncate(buffer.len().saturating_sub(TAG));
        Ok(())
    }
}

/// Equal contexts and plaintexts give equal nonces, others differ.
fn convergent_nonce(key: &Secret<32>, context: &[u8], plaintext: &[u8]) -> [u8; NONCE] {
    let message = SecretBytes::new(pae(&[context, plaintext]));
    let mut nonce = [0; NONCE];
    nonce.copy_from_slice(hmac_sha256(key.expose(), message.expose()).split_at(NONCE).0);
    nonce
}

/// Why one value cannot be sealed.
#[derive(Debug)]
pub enum Unsealable {
    /// An RSA key takes less.
    TooLong,
    /// Something else.
    Fault(Fault),
}

impl Unsealable {
    /// As it goes outside.
    pub fn fault(self, index: usize) -> Fault {
        match self {
            Self::TooLong => Fault::invalid(format!(
                "Value {index} is longer than the {} bytes that an RSA2048 key takes.",
                rsa::PLAINTEXT
            )),
            Self::Fault(fault) => fault,
        }
    }
}

/// Appends a ciphertext; `nonce` is random and used for nothing else. `plain` is used up.
pub fn seal(
    cipher: &Cipher,
    nonce: [u8; NONCE],
    context: &[u8],
    plain: &mut SecretBytes,
    out: &mut Vec<u8>,
) -> Result<(), Unsealable> {
    write_prefix(cipher.number, out);
    match cipher.key().map_err(Unsealable::Fault)? {
        Ready::Aes(aes) => aes.seal(nonce, context, plain, out).map_err(Unsealable::Fault),
        Ready::Rsa(key) => seal_rsa(key, context, plain, out),
        Ready::Ecdsa(_) => Err(Unsealable::Fault(wrong_type())),
    }
}

fn seal_rsa(key: &RsaKey, context: &[u8], plain: &SecretBytes, out: &mut Vec<u8>) -> Result<(), Unsealable> {
    if plain.expose().len() > rsa::PLAINTEXT {
        return Err(Unsealable::TooLong);
    }
    let failed = |_| Unsealable::Fault(Fault::internal("encrypting with an RSA key failed"));
    base64::encode_into(&key.encrypt(plain.expose(), context).map_err(failed)?, out);
    Ok(())
}

/// Appends `ncpkms:v{number}:`.
pub fn write_prefix(number: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(PREFIX.as_bytes());
    if let Some(digit) = u8::try_from(number).ok().filter(|digit| *digit < 10) {
        out.push(b'0' + digit);
    } else {
        out.extend_from_slice(number.to_string().as_bytes());
    }
    out.push(b':');
}

/// Takes `ncpkms:v{number}:…` apart.
pub fn parse(text: &str) -> Option<Parsed<'_>> {
    let (number, text) = text.strip_prefix(PREFIX)?.split_once(':')?;
    let canonical = !number.is_empty() && number.len() <= 6 && number.bytes().all(|byte| byte.is_ascii_digit());
    let number = canonical.then(|| number.parse().ok()).flatten().filter(|number| *number > 0)?;
    Some(Parsed { number, text })
}

/// A call that this type of key does not do.
pub fn wrong_type() -> Fault {
    Fault::invalid("This type of key does not do that.")
}

/// Whether this type of key encrypts.
pub fn encrypts(key_type: KeyType) -> bool {
    matches!(key_type, KeyType::Aes | KeyType::Rsa)
}

fn not_base64(index: usize) -> Fault {
    Fault::invalid(format!("Value {index} is not base64 of at most {PLAINTEXT} bytes."))
}

fn not_ciphertext(index: usize) -> Fault {
    Fault::invalid(format!("Value {index} is not a ciphertext (ncpkms:v1:…)."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::ncloud_kms::assumptions::{CONVERGENT_LABEL, VALUES_LABEL};
    use crate::crypto::kdf::hkdf;

    fn aes(convergent: bool) -> Aes {
        Aes { gcm: Gcm::new(&[1; 32]), nonces: convergent.then(|| Secret::from_slice(&[2; 32]).unwrap()) }
    }

    fn sealed(aes: &Aes, nonce: [u8; 12], context: &[u8], plain: &[u8]) -> String {
        let mut out = Vec::new();
        aes.seal(nonce, context, &mut SecretBytes::new(plain.to_vec()), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// `tests/clients/ncloud_vectors.py` finds the same with another library.
    #[test]
    fn vectors() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/vectors/ncloud-kms.json")).unwrap();
        let vectors = vectors.as_array().unwrap();
        assert!(vectors.len() > 5);
        for vector in vectors {
            let text = |name: &str| vector[name].as_str().unwrap();
            let bytes = |name: &str| base64::decode(text(name).as_bytes(), 2000).unwrap();
            let dek = hex::decode(text("dek")).unwrap();
            let key =
                |label: &str| -> Secret<32> { hkdf(&dek, &pae(&[label.as_bytes(), text("partition").as_bytes()])) };
            let aes = Aes {
                gcm: Gcm::new(key(VALUES_LABEL).expose()),
                nonces: vector["convergent"].as_bool().unwrap().then(|| key(CONVERGENT_LABEL)),
            };
            let mut nonce = [0; 12];
            let given = hex::decode(text("nonce")).unwrap();
            nonce[..given.len()].copy_from_slice(&given);
            let mut out = Vec::new();
            write_prefix(usize::try_from(vector["version"].as_u64().unwrap()).unwrap(), &mut out);
            out.extend_from_slice(sealed(&aes, nonce, &bytes("context"), &bytes("plaintext")).as_bytes());
            assert_eq!(String::from_utf8(out).unwrap(), text("ciphertext"), "{}", text("name"));
        }
    }

    #[test]
    fn what_is_sealed_opens_under_its_context_alone() {
        for aes in [aes(true), aes(false)] {
            for plain in [&b""[..], b"x", &[9; 1000]] {
                let bytes = base64::decode(sealed(&aes, [3; 12], b"context", plain).as_bytes(), 2000).unwrap();
                let open = |context: &[u8], bytes: &[u8]| {
                    let mut buffer = SecretBytes::new(bytes.to_vec());
                    aes.open(context, &mut buffer).map(|()| buffer.expose().to_vec()).map_err(|fault| fault.status())
                };
                assert_eq!(open(b"context", &bytes), Ok(plain.to_vec()));
                assert_eq!(open(b"contex", &bytes), Err(422));
                assert_eq!(open(b"context", &bytes[1..]), Err(422));
                assert_eq!(open(b"context", &bytes[..27]), Err(422));
            }
        }
    }

    #[test]
    fn convergent_nonces_separate_context_and_plaintext() {
        let key = Secret::from_slice(&[2; 32]).unwrap();
        assert_eq!(convergent_nonce(&key, b"a", b"b"), convergent_nonce(&key, b"a", b"b"));
        assert_ne!(convergent_nonce(&key, b"ab", b""), convergent_nonce(&key, b"a", b"b"));
        assert_ne!(convergent_nonce(&key, b"a", b"b"), convergent_nonce(&key, b"a", b"c"));
    }

    #[test]
    fn ciphertexts_name_their_version() {
        let mut out = Vec::new();
        write_prefix(9, &mut out);
        write_prefix(10, &mut out);
        write_prefix(257, &mut out);
        assert_eq!(out, b"ncpkms:v9:ncpkms:v10:ncpkms:v257:");
        assert_eq!(parse("ncpkms:v12:YQ=="), Some(Parsed { number: 12, text: "YQ==" }));
        for bad in [
            "",
            "ncpkms:",
            "ncpkms:v",
            "ncpkms:v1",
            "ncpkms:v:x",
            "ncpkms:v0:x",
            "ncpkms:v+1:x",
            "vault:v1:x",
            "ncpkms:v9999999:x",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
