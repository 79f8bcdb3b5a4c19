//! What the service keeps for its callers, all of it sealed, ending and bounded: secret keys, last shared keys, and how much each API key
//! has had made in this hour.

use serde::{Deserialize, Serialize};

use super::answer::Problem;
use super::assumed;
use super::session::Session;
use crate::authority::{Authority, Refused};
use crate::crypto::base64url;
use crate::crypto::kdf::sha256;
use crate::crypto::kem::DecapsulationKey;
use crate::directory::Ends;
use crate::keyring::store::Put;
use crate::secret::SecretBytes;

const KEM: &str = "exequantum-kem";
const FOR_GOOD: &str = "exequantum-keys-kept";
const SHARED: &str = "exequantum-shared";
const HOUR: u64 = 3_600;
/// Lost races before we give up.
const ATTEMPTS: usize = 8;

/// Bytes, in base64url.
#[derive(Serialize, Deserialize)]
struct Bytes(String);

impl Bytes {
    fn of(bytes: &[u8]) -> Self {
        Self(base64url::encode(bytes))
    }

    fn read(&self) -> Result<SecretBytes, Refused> {
        let bytes = base64url::decode(self.0.as_bytes()).map(SecretBytes::new);
        bytes.ok_or_else(|| Refused::Unavailable("an entry of the ExeQuantum face is damaged".into()))
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        drop(SecretBytes::new(std::mem::take(&mut self.0).into_bytes()));
    }
}

/// Counts one more of `kind` for an API key, of which there may be `most` an hour across all processes. May block.
pub fn allow(authority: &Authority, kind: &'static str, number: u64, most: u64) -> Result<(), Refused> {
    let now = authority.clock.now();
    let hour = now / HOUR;
    let (id, ends) = (format!("{number:020}.{hour}"), (hour + 1) * HOUR);
    for _ in 0..ATTEMPTS {
        if authority.directory.take(kind, &id)?.is_some() {
            return Ok(());
        }
        if authority.directory.get::<()>(kind, &id)?.is_some() {
            return Err(Refused::TooMany(ends.saturating_sub(now)));
        }
        // On a conflict another call was first: take from what it made.
        let (Put::Done | Put::Conflict) =
            authority.directory.put(kind, &id, 0, &(), Ends { at: ends, after: Some(most) })?;
    }
    Err(Refused::TooMany(1))
}

/// Keeps a secret key: for a while if a temporary token asked for it, otherwise for as long as the API key lives, after which
/// nobody reaches it. May block.
pub fn keep(authority: &Authority, keeper: Keeper, pk: &[u8], key: &DecapsulationKey) -> Result<(), Refused> {
    let ends = match keeper.temporary {
        true => Ends::at(authority.clock.now() + assumed::KEPT),
        false => {
            allow_for_good(authority, keeper.number)?;
            Ends::never()
        }
    };
    match authority.directory.put(KEM, &place(keeper.number, pk), 0, &Bytes::of(key.seed()), ends)? {
        Put::Done => Ok(()),
        Put::Conflict => Err(Refused::Unavailable("two key pairs were the same".into())),
    }
}

/// Counts one more key that is kept for good, of which each API key has so many. May block.
fn allow_for_good(authority: &Authority, number: u64) -> Result<(), Refused> {
    let (directory, id) = (&authority.directory, format!("{number:020}"));
    let ends = Ends { at: 0, after: Some(assumed::KEPT_FOR_GOOD) };
    // On a conflict another call was first: take from what it made.
    if directory.get::<()>(FOR_GOOD, &id)?.is_none() {
        let (Put::Done | Put::Conflict) = directory.put(FOR_GOOD, &id, 0, &(), ends)?;
    }
    // There is no later time at which it would be granted; this one is for clients that must be told one.
    directory.take(FOR_GOOD, &id)?.map(drop).ok_or(Refused::TooMany(HOUR))
}

/// The seed of the secret key that is kept for a public key of this API key. May block.
pub fn kept(authority: &Authority, session: u64, pk: &[u8]) -> Result<Option<SecretBytes>, Refused> {
    let entry = authority.directory.get::<Bytes>(KEM, &place(session, pk))?;
    entry.map(|entry| entry.value.read()).transpose()
}

/// For whom a secret key is kept.
#[derive(Debug, Clone, Copy)]
pub struct Keeper {
    number: u64,
    temporary: bool,
}

impl Keeper {
    /// Who asks for it.
    pub fn of(session: &Session) -> Self {
        Self { number: session.number, temporary: session.temporary.is_some() }
    }
}

/// Whose last shared key.
pub struct Sharer {
    id: String,
    ends: u64,
}

impl Sharer {
    /// A temporary token's ends with it.
    pub fn of(session: &Session, now: u64) -> Self {
        match &session.temporary {
            Some((id, ends)) => Self { id: id.clone(), ends: *ends },
            None => Self { id: format!("apikey.{}", session.number), ends: now + assumed::SHARED },
        }
    }

    /// Remembers the last one. May block.
    pub fn remember(&self, authority: &Authority, shared: &[u8]) -> Result<(), Problem> {
        let directory = &authority.directory;
        for _ in 0..ATTEMPTS {
            let before = directory.get::<Bytes>(SHARED, &self.id)?;
            let version = before.as_ref().map_or(0, |entry| entry.version);
            if directory.put(SHARED, &self.id, version, &Bytes::of(shared), Ends::at(self.ends))? == Put::Done {
                return Ok(());
            }
            if before.is_none() {
                // One that has ended is still in the way.
                directory.delete(SHARED, &self.id)?;
            }
        }
        Err(Refused::Unavailable("others change the last shared key at the same time".into()).into())
    }

    /// The last one. May block.
    pub fn recall(&self, authority: &Authority) -> Result<Option<SecretBytes>, Refused> {
        let entry = authority.directory.get::<Bytes>(SHARED, &self.id)?;
        entry.map(|entry| entry.value.read()).transpose()
    }
}

/// By owner, so that nobody finds another's.
fn place(number: u64, pk: &[u8]) -> String {
    format!("{number:020}.{}", base64url::encode(&sha256(pk)))
}
