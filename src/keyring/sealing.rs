//! Epochs to seal under: finding the current one, making one, and partitions made on demand.

use std::sync::Arc;

use super::caches::{Loaded, Sealing};
use super::cbor::Record;
use super::epoch::{self, Epoch};
use super::manage;
use super::record::EpochRecord;
use super::store::{EpochRow, Inserted, NewEpoch, Put, Service, ServiceError};
use super::{Io, Keyring, KeyringError, Kind, Partition, State};
use crate::crypto::sign::SigningKey;
use crate::name::PartitionName;
use crate::secret::Secret;
use crate::token::EpochId;

/// Lost races before we give up; each means that another process succeeded.
const ATTEMPTS: usize = 8;
/// Private epochs that may wait for an opener.
const MAX_PENDING: usize = 1024;

enum Issuing<'a> {
    Key(&'a SigningKey),
    /// This process has no key that the partition lists for it.
    Service(&'a dyn Service),
}

impl Keyring {
    /// Makes a partition if there is none (copying recipients, issuers, signers and roles from `default`), unless there are
    /// `max` already. May block.
    pub fn provision(&self, name: &PartitionName, max: usize) -> Result<Arc<Partition>, KeyringError> {
        let mut io = self.lock_fresh()?;
        if let Some(loaded) = self.caches.partition(name) {
            return Ok(loaded.partition.clone());
        }
        if self.store.partition(name)?.is_some() || self.caches.seen_version(name) > 0 {
            return Ok(self.load_partition(&io, name)?.partition.clone());
        }
        if let Some(service) = self.service() {
            service.provision(name, max).map_err(|error| serviced(name, error))?;
            self.caches.forget_unknown();
            return Ok(self.load_partition(&io, name)?.partition.clone());
        }
        if self.store.partition_count()? >= max {
            return Err(KeyringError::Unknown(format!(
                "the partition is not made: there are {max} already; raise `max_partitions`"
            )));
        }
        if max != usize::MAX && !io.provisions.take(self.clock.now()) {
            return Err(KeyringError::Unknown("too many new partitions in too short a time; ask again later".into()));
        }
        // A paused application gets no new partitions either.
        if let Some(head) = manage::head(name)
            && self.store.partition(&head)?.is_some()
        {
            let state = self.load_partition(&io, &head)?.partition.state;
            if state != State::Active {
                return Err(KeyringError::Denied(name.clone(), state));
            }
        }
        let mut record = self.load_partition(&io, &PartitionName::default_name())?.record.clone();
        record.name = name.clone();
        record.version = 1;
        record.state = State::Active;
        record.sign(self.owner_key(&io)?)?;
        // On a conflict another process made it: load theirs.
        let (Put::Done | Put::Conflict) = self.store.put_partition(name, 0, &record.encode())?;
        Ok(self.load_partition(&io, name)?.partition.clone())
    }

    /// Rolls the partition's epochs of these kinds; `Kind::Private` those of this process.
    pub fn rollover(&self, name: &PartitionName, kinds: &[Kind]) -> Result<(), KeyringError> {
        let loaded = self.load_partition(&*self.lock_fresh()?, name)?;
        if loaded.partition.state != State::Active {
            return Err(KeyringError::Denied(name.clone(), loaded.partition.state));
        }
        for kind in kinds {
            let kind = self.effective(*kind);
            self.must_make(kind)?;
            self.with_calls(|io| self.renew(io, name, kind))?;
        }
        Ok(())
    }

    /// Rolls the partition's epoch of this kind if it is still `used_up`, whose key may seal no more (suite 2).
    pub fn replace_epoch(&self, name: &PartitionName, kind: Kind, used_up: EpochId) -> Result<(), KeyringError> {
        self.with_calls(|io| {
            let current = self.sealing_epoch(io, name, kind)?;
            if current.id != used_up {
                return Ok(());
            }
            self.renew(io, name, self.effective(kind))
        })
    }

    /// The owner's key, of a process with the master key.
    pub(super) fn owner_key<'a>(&self, io: &'a Io) -> Result<&'a SigningKey, KeyringError> {
        io.keys.owner.as_deref().ok_or_else(|| {
            KeyringError::NoKey(
                "only a process with the master key may change the keyring, and this one has none: run it there".into(),
            )
        })
    }

    /// The epoch to seal under now.
    pub(super) fn sealing_epoch(
        &self,
        io: &mut Io,
        name: &PartitionName,
        kind: Kind,
    ) -> Result<Arc<Epoch>, KeyringError> {
        let kind = self.effective(kind);
        self.must_make(kind)?;
        let loaded = self.loaded(io, name)?;
        if loaded.partition.state != State::Active {
            return Err(KeyringError::Denied(name.clone(), loaded.partition.state));
        }
        if let Some(sealing) = self.caches.sealing(name, kind)
            && self.seals(&sealing.epoch)
        {
            return Ok(sealing.epoch.clone());
        }
        let sealing = match kind {
            Kind::Private => self.own(io, name)?,
            Kind::Random | Kind::Deterministic => self.current(io, name, kind, None)?,
        };
        Ok(sealing.epoch.clone())
    }

    /// Makes a new epoch take the place of the current one.
    fn renew(&self, io: &mut Io, name: &PartitionName, kind: Kind) -> Result<(), KeyringError> {
        if kind == Kind::Private {
            return self.make_own(io, name).map(drop);
        }
        let replaced = self.store.current(name, kind)?.map(|row| row.id);
        self.current(io, name, kind, replaced).map(drop)
    }

    /// The current epoch of the store, or a new one if there is none, it has ended or is `replaced`.
    pub(super) fn current(
        &self,
        io: &Io,
        name: &PartitionName,
        kind: Kind,
        replaced: Option<EpochId>,
    ) -> Result<Arc<Sealing>, KeyringError> {
        for _ in 0..ATTEMPTS {
            let row = self.store.current(name, kind)?;
            let previous = row.as_ref().map(|row| row.id);
            let mut not_before = self.caches.newest(name, kind);
            if let Some(row) = row
                && previous != replaced
            {
                let epoch = self.check_current(io, name, kind, &row)?;
                let now = self.clock.now();
                if epoch.seals_at(now) {
                    if self.options.require_confirmed && !row.confirmed {
                        self.store.confirm(row.id, &row.record)?; // this process just unwrapped it
                    }
                    return self.use_epoch(Sealing { epoch, record: row.record, confirmed: true });
                }
                if epoch.created > now {
                    return Err(KeyringError::Unavailable(format!(
                        "epoch {} was made in the future; set this machine's clock and the others'",
                        row.id
                    )));
                }
                not_before = not_before.max(epoch.created);
            }
            let (sealing, inserted) = self.make(io, name, kind, not_before, Some(previous))?;
            if inserted == Inserted::Done {
                return self.use_epoch(sealing);
            }
        }
        Err(KeyringError::Unavailable(format!("too many processes make epochs of partition {name} at once")))
    }

    fn check_current(
        &self,
        io: &Io,
        name: &PartitionName,
        kind: Kind,
        row: &EpochRow,
    ) -> Result<Arc<Epoch>, KeyringError> {
        let checked = self.verified(io, row).and_then(|record| {
            if record.core.partition != *name || record.core.kind != kind {
                return Err(self.refuse(format!("epoch {} is of another partition or kind", row.id)));
            }
            // A deterministic epoch has no end: a store writer could bring back the one before a roll-over. One made in the
            // future is no measure: after a clock was set right, no roll-over would help.
            let newest = self.caches.newest(name, kind);
            if record.core.created < newest && newest <= self.clock.now().saturating_add(epoch::CLOCK_SKEW) {
                return Err(self.refuse(format!("epoch {} is older than one sealed under before", row.id)));
            }
            self.unwrapped(io, &record)
        });
        // Sealing under a new one instead would be safe but silent, and would end a deterministic epoch's equality.
        checked.map_err(|error| match error {
            KeyringError::Unknown(text) => KeyringError::Mismatch(format!(
                "nothing is sealed in partition {name}: {text}; find out who wrote it, then run `sidecloak keys rollover`"
            )),
            other => other,
        })
    }

    /// A process's own epoch.
    pub(super) fn own(&self, io: &mut Io, name: &PartitionName) -> Result<Arc<Sealing>, KeyringError> {
        let Some(at) = io.pending.iter().position(|pending| pending.epoch.partition == *name) else {
            return self.make_own(io, name);
        };
        let waiting = io.pending.swap_remove(at);
        if !waiting.epoch.seals_at(self.clock.now()) {
            return self.make_own(io, name);
        }
        match self.store.epoch(waiting.epoch.id)? {
            Some(row) if row.confirmed => {
                let Sealing { epoch, record, .. } = &*waiting;
                self.use_epoch(Sealing { epoch: epoch.clone(), record: record.clone(), confirmed: true })
            }
            Some(_) => {
                io.pending.push(waiting);
                Err(unconfirmed(name))
            }
            None => self.make_own(io, name),
        }
    }

    fn make_own(&self, io: &mut Io, name: &PartitionName) -> Result<Arc<Sealing>, KeyringError> {
        let now = self.clock.now();
        io.pending.retain(|pending| pending.epoch.partition != *name && pending.epoch.seals_at(now));
        if io.pending.len() >= MAX_PENDING {
            return Err(KeyringError::Unavailable("too many new epochs wait for an opener to confirm them".into()));
        }
        for _ in 0..ATTEMPTS {
            let (sealing, inserted) = self.make(io, name, Kind::Private, 0, None)?;
            if inserted != Inserted::Done {
                continue;
            }
            if sealing.confirmed || !self.options.require_confirmed {
                return self.use_epoch(sealing);
            }
            io.pending.push(Arc::new(sealing));
            return Err(unconfirmed(name));
        }
        Err(KeyringError::Unavailable(format!("no epoch id is free in partition {name}")))
    }

    /// The record is in the store; once it is in the mirror too, the epoch may be used.
    pub(super) fn use_epoch(&self, sealing: Sealing) -> Result<Arc<Sealing>, KeyringError> {
        if let Some(mirror) = &self.mirror {
            mirror.ensure(sealing.epoch.id, &sealing.record)?;
        }
        let sealing = Arc::new(sealing);
        self.caches.put_sealing(sealing.clone());
        Ok(sealing)
    }

    /// Makes an epoch and offers it to the store.
    fn make(
        &self,
        io: &Io,
        name: &PartitionName,
        kind: Kind,
        not_before: u64,
        replaces: Option<Option<EpochId>>,
    ) -> Result<(Sealing, Inserted), KeyringError> {
        // From the store, not from memory: a recipient added a moment ago must not miss this epoch.
        let loaded = self.load_partition(io, name)?;
        if loaded.partition.state != State::Active {
            return Err(KeyringError::Denied(name.clone(), loaded.partition.state));
        }
        let issuing = self.issuing(io, &loaded, kind)?;
        let now = self.clock.now();
        let not_after = match kind {
            Kind::Deterministic => 0,
            Kind::Random | Kind::Private => now.saturating_add(self.options.epoch_lifetime.as_secs().max(1)),
        };
        // Another process's clock may be ahead: a successor is never older than what it replaces. Of deterministic epochs it is
        // younger, also within one second: their order says which was the previous one.
        let not_before =
            if kind == Kind::Deterministic && not_before > 0 { not_before.saturating_add(1) } else { not_before };
        let created = if not_before <= now.saturating_add(epoch::CLOCK_SKEW) { now.max(not_before) } else { now };
        let recipients = &loaded.record.recipients;
        let held = self.all_held(&loaded.record);
        let (core, dek, wraps, made) = if held.is_empty() {
            let (core, dek) = epoch::make_core(name, kind, created, not_after)?;
            let wraps = epoch::wrap_all(&core, &dek, recipients)?;
            (core, dek, wraps, None)
        } else {
            // One that was made by a clock far ahead is no measure.
            let earliest = if created >= not_before { not_before } else { 0 };
            let made = self.made(io, held, (name, kind), (created, earliest, not_after))?;
            let wraps = made.wrap_others(recipients)?;
            (made.core.clone(), made.dek.clone(), wraps, Some(made))
        };
        let under = Some(loaded.encoded.as_slice());
        let id = core.id();
        let (record, confirmed, inserted) = match issuing {
            Issuing::Key(issuer) => {
                let record = EpochRecord::sign(core, issuer, wraps)?;
                let confirmed = self.must_open_to(io, &record, &dek, made.is_some())?;
                let encoded = record.encode();
                let row = NewEpoch { id, partition: name, kind, record: &encoded, confirmed, replaces, under };
                let inserted = self.store.insert_epoch(&row)?;
                (record, confirmed, inserted)
            }
            Issuing::Service(service) => {
                let draft = EpochRecord { core, issuer: [0; 16], signature: Vec::new(), wraps };
                let encoded = draft.encode();
                let row = NewEpoch { id, partition: name, kind, record: &encoded, confirmed: false, replaces, under };
                let (inserted, signed) = service.issue(&row).map_err(|error| serviced(name, error))?;
                // What comes back is what was sent, with a signature that every process takes; else nothing is sealed under it.
                let signed = match inserted {
                    Inserted::Done => self.signed(&draft, &signed, &loaded)?,
                    Inserted::Taken | Inserted::Raced => draft,
                };
                (signed, true, inserted)
            }
        };
        if made.is_some() {
            self.desk.drop_made(name, kind);
        }
        let encoded = record.encode();
        let epoch = match made {
            Some(made) if !self.opens_alone(io, &record) => {
                Epoch::leased(&record.core, dek, self.desk.lease(&made, record.core.id()))
            }
            _ => Epoch::new(&record.core, dek),
        };
        Ok((Sealing { epoch: Arc::new(epoch), record: encoded, confirmed }, inserted))
    }

    /// Opens a new record as any other process would, from what will be stored, before anything depends on it. Whether it could:
    /// a process that only encrypts, or for which an authority opens, holds no key to do so. An API that wrapped it has opened it
    /// already, unless its profile says not to ask: then the operator vouches for it.
    fn must_open_to(
        &self,
        io: &Io,
        record: &EpochRecord,
        dek: &Secret<32>,
        by_api: bool,
    ) -> Result<bool, KeyringError> {
        if self.is_encrypt_only() {
            return Ok(false);
        }
        if epoch::unwrap(record, &io.keys.recipients).is_ok_and(|opened| opened.expose() == dek.expose()) {
            return Ok(true);
        }
        if by_api {
            return Ok(true);
        }
        if self.service().is_some() {
            return Ok(false);
        }
        Err(KeyringError::Mismatch(format!(
            "partition {} lists no recipient whose private key is in this keyring, so nothing could be opened",
            record.core.partition
        )))
    }

    /// Whether this process opens it without a managed API, or need not open it at all.
    fn opens_alone(&self, io: &Io, record: &EpochRecord) -> bool {
        let ours = |id| io.keys.recipients.iter().any(|(ours, _)| *ours == id);
        self.is_encrypt_only() || self.authority_opens(io, record) || record.wraps.iter().any(|w| ours(w.recipient))
    }

    fn signed(&self, draft: &EpochRecord, signed: &[u8], loaded: &Loaded) -> Result<EpochRecord, KeyringError> {
        EpochRecord::decode(signed)
            .ok()
            .filter(|record| record.core == draft.core && record.wraps == draft.wraps)
            .filter(|record| epoch::verify(record, &loaded.record, &self.owner).is_ok())
            .ok_or_else(|| {
                let text = format!("the authority did not sign epoch {} as it was made", draft.core.id());
                self.alarm(&text);
                KeyringError::Mismatch(text)
            })
    }

    /// Who signs this process's epochs.
    fn issuing<'a>(&'a self, io: &'a Io, loaded: &Loaded, kind: Kind) -> Result<Issuing<'a>, KeyringError> {
        match (self.issuer(io, loaded, kind), self.service()) {
            (Ok(issuer), _) => Ok(Issuing::Key(issuer)),
            (Err(_), Some(service)) if !self.is_encrypt_only() => Ok(Issuing::Service(service)),
            (Err(error), _) => Err(error),
        }
    }

    pub(super) fn issuer<'a>(&self, io: &'a Io, loaded: &Loaded, kind: Kind) -> Result<&'a SigningKey, KeyringError> {
        let listed = |key: &SigningKey, shared: bool| {
            loaded.record.issuers.iter().any(|i| i.key == *key.verifying_key() && (i.shared || !shared))
        };
        if let Some(own) = &io.own_issuer {
            return if listed(own, kind != Kind::Private) {
                Ok(own)
            } else {
                Err(KeyringError::NoKey(format!(
                    "partition {} does not list this process's issuer key; add it there",
                    loaded.partition.name
                )))
            };
        }
        match io.keys.issuers.iter().find(|key| listed(key, true)) {
            Some(issuer) => Ok(issuer),
            None => self.owner_key(io),
        }
    }

    fn must_make(&self, kind: Kind) -> Result<(), KeyringError> {
        if kind == Kind::Deterministic && self.is_encrypt_only() {
            return Err(KeyringError::NoKey(
                "a process that only encrypts cannot seal deterministically: each would have its own equality".into(),
            ));
        }
        Ok(())
    }
}

fn unconfirmed(name: &PartitionName) -> KeyringError {
    KeyringError::Unavailable(format!("the new epoch of partition {name} waits for an opener to confirm it"))
}

/// Why a service did nothing, said of a partition.
pub(super) fn serviced(name: &PartitionName, error: ServiceError) -> KeyringError {
    match error {
        ServiceError::Denied(state) => KeyringError::Denied(name.clone(), state),
        ServiceError::Refused(text) => KeyringError::NoKey(text),
        ServiceError::NotThere => KeyringError::Unknown(error.to_string()),
        ServiceError::Store(error) => error.into(),
    }
}
