//! Users and their passwords.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::Semaphore;

use super::super::Refused;
use super::lockout::Lockout;
use super::{User, recall, text};
use crate::crypto::kdf::pae;
use crate::crypto::mac::hmac_sha256;
use crate::crypto::{password, random};
use crate::directory::{Directory, Ends, Entry};
use crate::keyring::KeyringError;
use crate::keyring::store::Put;
use crate::secret::{Secret, SecretBytes};

const KIND: &str = "user";
const NAME: usize = 255;
const SHORTEST: usize = 8;
const LONGEST: usize = 1024;
const REMEMBERED_FOR: Duration = Duration::from_secs(60);
const REMEMBERED: u64 = 16_384;
/// Each hash being computed takes a processor and 19 MiB.
const AT_ONCE: usize = 8;
const WAITING: usize = 32;
const PATIENCE: Duration = Duration::from_secs(5);
const ATTEMPTS: usize = 8;

/// What was sent, under a key of this process.
type Digest = [u8; 32];

/// See the module.
pub struct Passwords {
    directory: Directory,
    key: Secret<32>,
    /// Of log-ins that were right: the hash they were right against, which must still be the user's.
    verified: Cache<Digest, Arc<str>>,
    lockout: Lockout,
    flights: Flights,
    queue: Semaphore,
    slots: Arc<Semaphore>,
}

impl Passwords {
    pub fn new(directory: Directory) -> Result<Self, KeyringError> {
        let slots = std::thread::available_parallelism().map_or(1, usize::from).min(AT_ONCE);
        Ok(Self {
            key: random::secret()?,
            verified: Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBERED_FOR).build(),
            lockout: Lockout::new(Arc::clone(directory.clock()), random::secret()?),
            flights: Flights::default(),
            queue: Semaphore::new(slots + WAITING),
            slots: Arc::new(Semaphore::new(slots)),
            directory,
        })
    }

    pub async fn user(&self, name: &str) -> Result<Option<User>, Refused> {
        if name.len() > NAME {
            return Ok(None);
        }
        recall(&self.directory, KIND, name.to_owned()).await
    }

    pub async fn verify(&self, name: &str, password: &str, from: Option<IpAddr>) -> Result<User, Refused> {
        if name.len() > NAME || password.len() > LONGEST {
            return Err(Refused::Unauthenticated);
        }
        let digest =
            hmac_sha256(self.key.expose(), SecretBytes::new(pae(&[name.as_bytes(), password.as_bytes()])).expose());
        if let Some(user) = self.remembered(name, &digest).await? {
            return Ok(user);
        }
        // A client that begins with a hundred calls at once is verified once.
        let flight = self.flights.join(digest);
        let _turn = flight.turn.lock().await;
        if let Some(user) = self.remembered(name, &digest).await? {
            return Ok(user);
        }
        let attempt = self.lockout.begin(name, from).map_err(Refused::TooMany)?;
        let (user, right) = match self.check(name, password).await {
            Ok(checked) => checked,
            Err(refused) => {
                attempt.not_made();
                return Err(refused);
            }
        };
        match user {
            Some(user) if right => {
                self.lockout.succeeded(&attempt);
                self.verified.insert(digest, user.password.as_str().into());
                Ok(user)
            }
            _ => Err(Refused::Unauthenticated),
        }
    }

    async fn remembered(&self, name: &str, digest: &Digest) -> Result<Option<User>, Refused> {
        let Some(hash) = self.verified.get(digest) else { return Ok(None) };
        let user = self.user(name).await?.filter(|user| *user.password == *hash);
        if user.is_none() {
            self.verified.invalidate(digest);
        }
        Ok(user)
    }

    /// Costs the same whether there is such a user or not.
    async fn check(&self, name: &str, password: &str) -> Result<(Option<User>, bool), Refused> {
        let user = self.user(name).await?;
        let _place = self.queue.try_acquire().map_err(|_| Refused::TooMany(1))?;
        let slot = tokio::time::timeout(PATIENCE, Arc::clone(&self.slots).acquire_owned());
        let Ok(Ok(slot)) = slot.await else { return Err(Refused::TooMany(1)) };
        let (sent, hash) = (SecretBytes::new(password.into()), user.as_ref().map(|user| user.password.clone()));
        let right = tokio::task::spawn_blocking(move || {
            // As long as the thread is busy, also when nobody waits for it any more.
            let _slot = slot;
            password::verify(sent.expose(), hash.as_deref())
        });
        let right = right.await.map_err(|_| Refused::Unavailable("a log-in was broken off".into()))?;
        Ok((user, right))
    }
}

/// Log-ins with the same name and password, one after the other.
#[derive(Default)]
struct Flights(Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>);

struct Flight<'a> {
    flights: &'a Flights,
    digest: Digest,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Flights {
    fn join(&self, digest: Digest) -> Flight<'_> {
        let turn = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(digest).or_default());
        Flight { flights: self, digest, turn }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut flights = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Ours and the map's.
        if Arc::strong_count(&self.turn) <= 2 {
            flights.remove(&self.digest);
        }
    }
}

pub fn put(directory: &Directory, name: &str, password: &SecretBytes, role: &str) -> Result<(), Refused> {
    text::check_text("a user name", name, NAME)?;
    text::check_role(role)?;
    if !(SHORTEST..=LONGEST).contains(&password.expose().len()) || std::str::from_utf8(password.expose()).is_err() {
        return Err(Refused::Invalid(format!("a password has {SHORTEST} to {LONGEST} bytes of UTF-8")));
    }
    let hash = password::hash(password.expose()).map_err(KeyringError::from)?;
    for _ in 0..ATTEMPTS {
        let old = directory.get::<User>(KIND, name)?;
        let (version, before) = old.map_or((0, 0), |entry| (entry.version, entry.value.generation));
        let user = User {
            name: name.to_owned(),
            password: hash.clone(),
            role: role.to_owned(),
            generation: next_generation(directory, before),
        };
        if directory.put(KIND, name, version, &user, Ends::never())? == Put::Done {
            return Ok(());
        }
    }
    Err(Refused::Conflict("the user is being changed by others; try again".into()))
}

pub fn list(directory: &Directory, after: &str, limit: usize) -> Result<Vec<Entry<User>>, Refused> {
    Ok(directory.list(KIND, after, limit)?)
}

pub fn set_role(directory: &Directory, name: &str, role: &str) -> Result<bool, Refused> {
    text::check_role(role)?;
    let changed = directory.edit::<User, Refused>(KIND, name, |user| {
        role.clone_into(&mut user.role);
        user.generation = next_generation(directory, user.generation);
        Ok(())
    })?;
    Ok(changed.is_some())
}

pub fn log_out(directory: &Directory, name: &str) -> Result<bool, Refused> {
    let changed = directory.edit::<User, Refused>(KIND, name, |user| {
        user.generation = next_generation(directory, user.generation);
        Ok(())
    })?;
    Ok(changed.is_some())
}

pub fn delete(directory: &Directory, name: &str) -> Result<bool, Refused> {
    Ok(directory.delete(KIND, name)?)
}

/// By the time of day: a user who is deleted and made again must not meet tokens of the first one.
fn next_generation(directory: &Directory, before: u64) -> u64 {
    let within_the_second = random::bytes::<2>().map_or(0, u16::from_le_bytes);
    (directory.clock().now() << 16 | u64::from(within_the_second)).max(before + 1)
}
