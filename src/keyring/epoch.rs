//! Making, wrapping, checking and unwrapping epochs.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use super::kept::Kept;
use super::managed::Lease;
use super::record::{Core, EpochRecord, PartitionRecord, Recipient, Wrap};
use super::{KeyringError, Kind, MANAGED};
use crate::crypto::aead::Gcm;
use crate::crypto::kdf::{hkdf, key_id, pae, sha256};
use crate::crypto::kem::{DecapsulationKey, EncapsulationKey, KemSuite};
use crate::crypto::random;
use crate::crypto::sign::VerifyingKey;
use crate::name::{Class, PartitionName};
use crate::secret::Secret;
use crate::token::v1::FieldKey;
use crate::token::{EpochId, Suite};

/// How far another process's clock may be ahead of ours.
pub const CLOCK_SKEW: u64 = 5 * 60;
/// Classes whose use counts one epoch keeps.
const MAX_COUNTED: usize = 1024;
const WRAPPED: usize = 48;

/// A verified epoch with its data key.
pub struct Epoch {
    /// Its name.
    pub id: EpochId,
    /// The partition it belongs to.
    pub partition: PartitionName,
    /// What it seals.
    pub kind: Kind,
    /// When it was made (Unix seconds).
    pub created: u64,
    /// Until when it seals (0: no end).
    pub not_after: u64,
    dek: Secret<32>,
    /// Keys of suite 2 count their uses, so they must live as long as the epoch: evicted ones would begin at 0.
    counted: Mutex<HashMap<Class, Arc<FieldKey>>>,
    /// Keys of the other suites.
    kept: Kept,
    /// If only a managed API opens it.
    lease: Option<Arc<Lease>>,
}

impl Epoch {
    /// An epoch whose record was verified.
    pub(super) fn new(core: &Core, dek: Secret<32>) -> Self {
        Self {
            id: core.id(),
            partition: core.partition.clone(),
            kind: core.kind,
            created: core.created,
            not_after: core.not_after,
            dek,
            counted: Mutex::default(),
            kept: Kept::default(),
            lease: None,
        }
    }

    /// One that a managed API opened.
    pub(super) fn leased(core: &Core, dek: Secret<32>, lease: Arc<Lease>) -> Self {
        Self { lease: Some(lease), ..Self::new(core, dek) }
    }

    /// Whether the API that opens it has been silent for too long.
    pub(super) fn is_stale(&self, now: impl FnOnce() -> u64) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.is_over(now()))
    }

    pub(super) fn lease(&self) -> Option<&Arc<Lease>> {
        self.lease.as_ref()
    }

    /// Whether it may seal at this time.
    pub fn seals_at(&self, now: u64) -> bool {
        self.created <= now.saturating_add(CLOCK_SKEW) && (self.kind == Kind::Deterministic || now < self.not_after)
    }

    /// Derives the key of a class.
    pub(super) fn derive(&self, suite: Suite, class: &Class, uses: Arc<AtomicU64>) -> Arc<FieldKey> {
        Arc::new(FieldKey::derive_counting(&self.dek, self.id, suite, &self.partition, class, uses))
    }

    /// The key of a class in suite 2, one object for the life of this epoch; `None` if it has too many classes.
    pub(super) fn counted(&self, class: &Class, uses: impl FnOnce() -> Arc<AtomicU64>) -> Option<Arc<FieldKey>> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = counted.get(class) {
            return Some(key.clone());
        }
        if counted.len() >= MAX_COUNTED {
            return None;
        }
        let key = self.derive(Suite::Gcm, class, uses());
        counted.insert(class.clone(), key.clone());
        Some(key)
    }

    /// Where its field keys are.
    pub(super) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// A key of this epoch for another use than tokens: HKDF(dek, PAE(label, partition), 32).
    pub fn key_for(&self, label: &str) -> Secret<32> {
        hkdf(self.dek.expose(), &pae(&[label.as_bytes(), self.partition.as_str().as_bytes()]))
    }

    pub(super) fn dek(&self) -> &Secret<32> {
        &self.dek
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({}, {}, {:?})", self.id, self.partition, self.kind)
    }
}

/// A new data key with its core.
pub fn make_core(
    partition: &PartitionName,
    kind: Kind,
    created: u64,
    not_after: u64,
) -> Result<(Core, Secret<32>), KeyringError> {
    let dek = random::secret()?;
    let core = Core { commit: commitment(&dek), partition: partition.clone(), kind, created, not_after };
    Ok((core, dek))
}

/// A signed record, wrapped to all of the partition's recipients.
#[cfg(test)]
pub fn seal_record(
    core: Core,
    dek: &Secret<32>,
    recipients: &[Recipient],
    issuer: &crate::crypto::sign::SigningKey,
) -> Result<EpochRecord, KeyringError> {
    let wraps = wrap_all(&core, dek, recipients)?;
    Ok(EpochRecord::sign(core, issuer, wraps)?)
}

/// The data key wrapped to each of them.
pub fn wrap_all(core: &Core, dek: &Secret<32>, recipients: &[Recipient]) -> Result<Vec<Wrap>, KeyringError> {
    recipients.iter().map(|recipient| wrap(core, dek, recipient)).collect()
}

/// Wraps a data key to one recipient, with a fresh encapsulation.
pub fn wrap(core: &Core, dek: &Secret<32>, recipient: &Recipient) -> Result<Wrap, KeyringError> {
    let suite = KemSuite::from_byte(recipient.suite).ok_or_else(|| {
        if recipient.suite == MANAGED {
            return KeyringError::NoKey(format!(
                "partition {} is wrapped by profile `{}` of a managed API, which this process does not have: run it with \
                 the configuration that names it under `profiles`",
                core.partition,
                String::from_utf8_lossy(&recipient.key)
            ));
        }
        KeyringError::Mismatch(format!("partition {} lists a recipient of KEM suite {:#04x}, which this version does not know", core.partition, recipient.suite))
    })?;
    let broken = |_| KeyringError::Mismatch(format!("partition {} lists a broken recipient", core.partition));
    let (kem_ct, shared) =
        EncapsulationKey::from_bytes(suite, &recipient.key).and_then(|key| key.encapsulate()).map_err(broken)?;
    wrap_shared(core, dek, recipient, kem_ct, &shared)
}

/// The same with what somebody else encapsulated.
pub fn wrap_shared(
    core: &Core,
    dek: &Secret<32>,
    recipient: &Recipient,
    kem_ct: Vec<u8>,
    shared: &Secret<32>,
) -> Result<Wrap, KeyringError> {
    let kek = key_encryption_key(shared, recipient.suite, &recipient.key, &kem_ct, core);
    let mut wrapped = dek.expose().to_vec();
    // One message a key, so the nonce can be fixed: `kek` depends on the data key through the commitment.
    let tag = kek
        .seal(&[0; 12], b"", &mut wrapped)
        .map_err(|_| KeyringError::Mismatch("a data key cannot be wrapped".into()))?;
    wrapped.extend_from_slice(&tag);
    Ok(Wrap { suite: recipient.suite, recipient: key_id(&recipient.key), kem_ct, wrapped })
}

/// Checks an epoch record against its partition: the partition, the issuer and what it may make, the signature.
pub fn verify(record: &EpochRecord, partition: &PartitionRecord, owner: &VerifyingKey) -> Result<(), KeyringError> {
    let core = &record.core;
    let refuse = |why: &str| Err(KeyringError::Unknown(format!("epoch {} {why}", core.id())));
    if core.partition != partition.name {
        return refuse("belongs to another partition");
    }
    let listed = partition.issuers.iter().map(|issuer| (&issuer.key, issuer.shared));
    // The owner is a shared issuer of every partition without being listed.
    let issuer = listed.chain([(owner, true)]).find(|(key, _)| key.id() == record.issuer);
    let Some((key, shared)) = issuer else {
        return refuse("was made by an issuer that its partition does not list");
    };
    if !shared && core.kind != Kind::Private {
        return refuse("is of a kind that its issuer may not make");
    }
    if record.verify(key).is_err() {
        return refuse("has a signature that does not verify");
    }
    Ok(())
}

/// Unwraps the data key with whichever of these private keys the record is wrapped to, and recomputes the commitment.
pub fn unwrap(record: &EpochRecord, keys: &[([u8; 16], DecapsulationKey)]) -> Result<Secret<32>, KeyringError> {
    let id = record.core.id();
    let mut ours = false;
    for wrap in &record.wraps {
        let Some((_, key)) = keys.iter().find(|(key, _)| *key == wrap.recipient) else { continue };
        ours = true;
        if let Some(dek) = unwrap_one(&record.core, wrap, key) {
            return Ok(dek);
        }
    }
    let why = if ours { "does not open: its wrapped key was changed" } else { "is not wrapped to this process" };
    Err(KeyringError::Unknown(format!("epoch {id} {why}")))
}

fn unwrap_one(core: &Core, wrap: &Wrap, key: &DecapsulationKey) -> Option<Secret<32>> {
    unwrap_unchecked(core, wrap, key).filter(|dek| commits(core, dek))
}

/// What was wrapped, whether or not the core commits to it.
pub fn unwrap_unchecked(core: &Core, wrap: &Wrap, key: &DecapsulationKey) -> Option<Secret<32>> {
    let shared = decapsulate(wrap, key)?;
    open_wrapped(core, wrap, key.encapsulation_key().ok()?.as_bytes(), &shared)
}

/// The data key of a wrap whose shared secret somebody else decapsulated. It opens to the committed key or not at all.
pub fn unwrap_shared(core: &Core, wrap: &Wrap, public: &[u8], shared: &Secret<32>) -> Option<Secret<32>> {
    open_wrapped(core, wrap, public, shared).filter(|dek| commits(core, dek))
}

/// The shared secret of a wrap for whoever may open the epoch. Only of a wrap that opens under this very core to the key that
/// the core commits to: who made it knew the secret. One copied from another epoch, which anybody who may store records could
/// slip in here, tells nothing.
pub fn shared_secret(core: &Core, wrap: &Wrap, key: &DecapsulationKey) -> Option<Secret<32>> {
    let shared = decapsulate(wrap, key)?;
    unwrap_shared(core, wrap, key.encapsulation_key().ok()?.as_bytes(), &shared)?;
    Some(shared)
}

fn decapsulate(wrap: &Wrap, key: &DecapsulationKey) -> Option<Secret<32>> {
    if wrap.suite != key.suite() as u8 || wrap.wrapped.len() != WRAPPED {
        return None;
    }
    key.decapsulate(&wrap.kem_ct).ok()
}

fn open_wrapped(core: &Core, wrap: &Wrap, public: &[u8], shared: &Secret<32>) -> Option<Secret<32>> {
    let kek = key_encryption_key(shared, wrap.suite, public, &wrap.kem_ct, core);
    let (ciphertext, tag) = wrap.wrapped.split_last_chunk()?;
    let ciphertext: &[u8; 32] = ciphertext.try_into().ok()?;
    Secret::filled_by(|bytes| {
        *bytes = *ciphertext;
        kek.open(&[0; 12], b"", bytes, tag)
    })
    .ok()
}

/// Whether it is the data key of this epoch.
pub fn commits(core: &Core, dek: &Secret<32>) -> bool {
    commitment(dek) == core.commit
}

fn commitment(dek: &Secret<32>) -> [u8; 32] {
    *hkdf::<32>(dek.expose(), &pae(&[b"sidecloak/1 epoch"])).expose()
}

fn key_encryption_key(shared: &Secret<32>, suite: u8, public: &[u8], kem_ct: &[u8], core: &Core) -> Gcm {
    let info = pae(&[b"sidecloak/1 kek", &[suite], &sha256(public), &sha256(kem_ct), &core.to_pae()]);
    Gcm::new(hkdf::<32>(shared.expose(), &info).expose())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::sign::SigningKey;
    use crate::keyring::cbor::Record;

    #[test]
    fn a_wrap_opens_only_for_its_recipient_under_its_core() {
        let issuer = SigningKey::generate().unwrap();
        for suite in KemSuite::ALL {
            let private = DecapsulationKey::generate(suite).unwrap();
            let public = private.encapsulation_key().unwrap().as_bytes().to_vec();
            let keys = vec![(key_id(&public), private)];
            let (core, dek) = make_core(&PartitionName::default_name(), Kind::Random, 10, 20).unwrap();
            let recipient = Recipient { suite: suite as u8, key: public };
            let record = seal_record(core, &dek, &[recipient], &issuer).unwrap();
            let record = EpochRecord::decode(&record.encode()).unwrap();
            assert_eq!(unwrap(&record, &keys).unwrap().expose(), dek.expose());

            let mut changed = record.clone();
            changed.core.not_after += 1;
            assert!(unwrap(&changed, &keys).is_err(), "the wrap is bound to the core");
            let mut changed = record.clone();
            changed.wraps[0].wrapped[3] ^= 1;
            assert!(unwrap(&changed, &keys).is_err());
            let mut changed = record;
            changed.wraps[0].kem_ct[3] ^= 1;
            assert!(unwrap(&changed, &keys).is_err());
            assert!(unwrap(&changed, &[]).is_err());
        }
    }

    #[test]
    fn an_epoch_seals_in_its_time_only() {
        let epoch = |kind, created, not_after| {
            let core = Core { commit: [0; 32], partition: PartitionName::default_name(), kind, created, not_after };
            Epoch::new(&core, Secret::from_slice(&[0; 32]).unwrap())
        };
        assert!(epoch(Kind::Random, 1300, 2000).seals_at(1000), "five minutes of skew");
        assert!(!epoch(Kind::Random, 1301, 2000).seals_at(1000));
        assert!(!epoch(Kind::Random, 0, 1000).seals_at(1000));
        assert!(!epoch(Kind::Random, 0, 0).seals_at(1000), "only kind 1 has no end");
        assert!(epoch(Kind::Deterministic, 0, 0).seals_at(1000));
        assert_eq!(format!("{:?}", epoch(Kind::Random, 0, 0)), "Epoch(00000000000000000000, default, Random)");
    }
}
