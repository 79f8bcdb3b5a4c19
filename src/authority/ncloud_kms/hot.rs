//! What the calls that seal and open keep in memory: a key's entry, asked for anew each second, and its cipher objects, whose key
//! schedules cost more than a small value. State, role and destruction are asked of the keyring at every call all the same.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use moka::sync::Cache;

use super::entry::{KEY, KeyEntry, KeyType, Status};
use super::fault::Fault;
use super::lifecycle;
use super::{assumptions, sealing};
use crate::authority::{Authority, Refused, blocking};
use crate::crypto::aead::Gcm;
use crate::crypto::ecdsa::EcdsaKey;
use crate::crypto::rsa::RsaKey;
use crate::keyring::{Epoch, Kind};
use crate::name::{Class, PartitionName};
use crate::secret::Secret;
use crate::token::EpochId;

const KEYS: u64 = 4096;
const IDLE: Duration = Duration::from_secs(600);

/// What the handlers share.
pub struct Face {
    /// Everything else.
    pub authority: Arc<Authority>,
    /// What values of this face are counted as.
    pub class: Class,
    hot: Cache<String, Arc<Hot>>,
}

/// A key in use.
pub struct Hot {
    /// Its keyTag.
    pub tag: PartitionName,
    /// As it was within this second.
    pub entry: KeyEntry,
    ciphers: Vec<Arc<Cipher>>,
    at: u64,
}

/// One version's key.
pub struct Cipher {
    /// Its number.
    pub number: usize,
    epoch: EpochId,
    ready: OnceLock<Ready>,
    left: AtomicU64,
    asking: tokio::sync::Mutex<()>,
}

/// A version's key, ready for use.
pub enum Ready {
    /// AES256.
    Aes(sealing::Aes),
    /// RSA2048.
    Rsa(Box<RsaKey>),
    /// ECDSA.
    Ecdsa(Box<EcdsaKey>),
}

impl Face {
    /// Nothing is in memory yet.
    pub fn new(authority: Arc<Authority>) -> Self {
        let hot = Cache::builder().max_capacity(KEYS).time_to_idle(IDLE).build();
        Self { authority, class: Class::new("ncloud-kms"), hot }
    }

    /// The key as it was within this second. Nobody but who may use it learns whether there is one: check before you tell.
    pub async fn key(&self, tag: &str) -> Result<Arc<Hot>, Fault> {
        let now = self.authority.clock.now();
        match self.hot.get(tag) {
            Some(hot) if hot.at >= now => Ok(hot),
            old => self.load(tag, old, now).await,
        }
    }

    /// Forgets what is in memory, after a change or when its state forbids its use.
    pub fn forget(&self, tag: &str) {
        self.hot.invalidate(tag);
    }

    /// The key's version to seal under now, with room for so many values.
    pub async fn sealing(&self, mut hot: Arc<Hot>, values: u64) -> Result<(Arc<Hot>, Arc<Cipher>), Fault> {
        // A second time after a rotation that was not in memory, a third after one that was due.
        for _ in 0..4 {
            let epoch = self.authority.vault.sealing_epoch(&hot.tag, Kind::Deterministic).await?;
            let Some(cipher) = hot.entry.number_of(epoch.id).and_then(|number| hot.cipher(number)) else {
                let (authority, tag) = (Arc::clone(&self.authority), hot.tag.clone());
                blocking(move || lifecycle::adopt(&authority, &tag)).await?;
                hot = self.reload(&hot).await?;
                continue;
            };
            self.ready(&hot, &cipher, &epoch).await?;
            if self.spend(&hot, &cipher, values).await? {
                return Ok((hot, cipher));
            }
            hot = self.reload(&hot).await?;
        }
        Err(Refused::Unavailable("a key is being rotated by others".into()).into())
    }

    /// A version to open under; `None` if there is none in use with that number.
    pub async fn opening(&self, hot: &Arc<Hot>, number: usize) -> Result<Option<Arc<Cipher>>, Fault> {
        let enabled = hot.entry.version(number).is_some_and(|version| version.status == Status::Enable);
        let Some(cipher) = hot.cipher(number).filter(|_| enabled) else { return Ok(None) };
        let epoch = match self.authority.vault.opening_epoch(&hot.tag, cipher.epoch).await {
            Err(Refused::NotAuthentic) => return Ok(None),
            other => other?,
        };
        self.ready(hot, &cipher, &epoch).await?;
        Ok(Some(cipher))
    }

    async fn reload(&self, hot: &Arc<Hot>) -> Result<Arc<Hot>, Fault> {
        self.load(hot.tag.as_str(), Some(Arc::clone(hot)), self.authority.clock.now()).await
    }

    async fn load(&self, tag: &str, old: Option<Arc<Hot>>, now: u64) -> Result<Arc<Hot>, Fault> {
        let name = PartitionName::new(tag).map_err(|_| Fault::forbidden())?;
        let (directory, id, known) = (self.authority.directory.clone(), tag.to_owned(), old.is_some());
        let entry = blocking(move || {
            // Who tries keyTags at random asks the store once a second for each.
            let found =
                if known { directory.get::<KeyEntry>(KEY, &id) } else { directory.recall::<KeyEntry>(KEY, &id) };
            Ok::<_, Refused>(found?)
        });
        let Some(entry) = entry.await? else {
            self.forget(tag);
            return Err(Fault::forbidden());
        };
        let hot = Arc::new(Hot::new(name, entry.value, old.as_deref(), now));
        self.hot.insert(tag.to_owned(), Arc::clone(&hot));
        Ok(hot)
    }

    /// Makes the cipher ready, once.
    async fn ready(&self, hot: &Arc<Hot>, cipher: &Cipher, epoch: &Arc<Epoch>) -> Result<(), Fault> {
        if cipher.ready.get().is_some() {
            return Ok(());
        }
        let ready = match hot.entry.key_type {
            KeyType::Aes => Ready::Aes(sealing::Aes {
                gcm: Gcm::new(epoch.key_for(assumptions::VALUES_LABEL).expose()),
                nonces: hot.entry.convergent.then(|| -> Secret<32> { epoch.key_for(assumptions::CONVERGENT_LABEL) }),
            }),
            key_type @ (KeyType::Rsa | KeyType::Ecdsa) => {
                let (authority, tag, epoch) = (Arc::clone(&self.authority), hot.tag.clone(), Arc::clone(epoch));
                blocking(move || lifecycle::private_key(&authority, &tag, key_type, &epoch)).await?
            }
        };
        // Whoever was first is as good.
        let _same = cipher.ready.set(ready);
        Ok(())
    }

    /// Counts what is about to be sealed; false: this version is used up, and another has taken its place.
    async fn spend(&self, hot: &Hot, cipher: &Cipher, values: u64) -> Result<bool, Fault> {
        if hot.entry.key_type != KeyType::Aes || cipher.take(values) {
            return Ok(true);
        }
        let _one_asks = cipher.asking.lock().await;
        if cipher.take(values) {
            return Ok(true);
        }
        let (authority, tag, epoch) = (Arc::clone(&self.authority), hot.tag.clone(), cipher.epoch);
        let granted = blocking(move || lifecycle::reserve(&authority, &tag, epoch)).await?;
        cipher.left.fetch_add(granted, Ordering::AcqRel);
        Ok(granted > 0 && cipher.take(values))
    }
}

impl Hot {
    fn new(tag: PartitionName, entry: KeyEntry, old: Option<&Self>, at: u64) -> Self {
        let cipher = |(index, epoch): (usize, EpochId)| {
            let kept = old.and_then(|old| old.ciphers.get(index)).filter(|cipher| cipher.epoch == epoch);
            kept.map_or_else(|| Arc::new(Cipher::new(index + 1, epoch)), Arc::clone)
        };
        let ciphers = entry.versions.iter().map(super::entry::Version::epoch).enumerate().map(cipher).collect();
        Self { tag, entry, ciphers, at }
    }

    fn cipher(&self, number: usize) -> Option<Arc<Cipher>> {
        self.ciphers.get(number.checked_sub(1)?).cloned()
    }
}

impl Cipher {
    fn new(number: usize, epoch: EpochId) -> Self {
        Self {
            number,
            epoch,
            ready: OnceLock::new(),
            left: AtomicU64::new(0),
            asking: tokio::sync::Mutex::const_new(()),
        }
    }

    /// The key, which whoever handed this cipher out has made ready.
    pub fn key(&self) -> Result<&Ready, Fault> {
        self.ready.get().ok_or_else(|| Fault::internal("a cipher is not ready"))
    }

    fn take(&self, values: u64) -> bool {
        self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(values)).is_ok()
    }
}
