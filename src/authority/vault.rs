//! Sealing and opening for callers of a face: state, role and audit are checked here, whichever face asks.

use std::sync::Arc;

use super::{Caller, Refused, blocking};
use crate::audit::{Audit, Use};
use crate::keyring::{Cached, Epoch, Keyring, KeyringError, Kind, Memo, Permissions, State};
use crate::name::{Class, PartitionName};
use crate::sealer::local::Local;
use crate::token::{EpochId, v1};
use crate::transform::{Need, OpenFailure, OpenJob, Ready, SealFailure, SealJob, Sealer};

/// How often one call may find that something must be fetched first.
const FETCHES: usize = 8;

/// See the module.
pub struct Vault {
    keyring: Arc<Keyring>,
    sealer: Local,
    audit: Arc<Audit>,
}

impl Vault {
    /// On this keyring.
    pub fn new(keyring: Arc<Keyring>, audit: Arc<Audit>) -> Self {
        Self { sealer: Local::new(Arc::clone(&keyring)), keyring, audit }
    }

    /// Refuses unless the caller's role has all these permission bits, and the partition's state allows what they stand for.
    pub async fn permit(&self, caller: &Caller, partition: &PartitionName, bits: u32) -> Result<Permissions, Refused> {
        for _ in 0..FETCHES {
            let permissions = self.sealer.permissions(partition, &caller.role, &mut Memo::default());
            match permissions {
                Cached::Hit(permissions) if permissions.has(bits) => return Ok(permissions),
                Cached::Hit(_) => return Err(Refused::Forbidden),
                Cached::Unknown => return Err(Refused::NotFound),
                Cached::Denied(state) => return Err(Refused::State(state)),
                Cached::Miss => self.sealer.fetch(Need::Partition(partition.clone(), None)).await?,
            }
        }
        Err(Refused::Unavailable("the partition does not stay in memory".into()))
    }

    /// Seals one value to a token.
    pub async fn seal(&self, caller: &Caller, job: &SealJob<'_>) -> Result<Vec<u8>, Refused> {
        let permitted = self.permit(caller, job.partition, Permissions::ENCRYPT).await;
        let (permissions, sealed) = match permitted {
            Ok(permissions) => (permissions, self.seal_permitted(job).await),
            Err(refused) => (Permissions(0), Err(refused)),
        };
        let what = if sealed.is_ok() { Use::Sealed } else { Use::Refused };
        if what.is_recorded(permissions) {
            self.audit.count(&caller.name, job.partition, job.class, what, 1);
        }
        sealed
    }

    /// Opens a token that must be of this partition and class.
    pub async fn open(
        &self,
        caller: &Caller,
        partition: &PartitionName,
        class: &Class,
        token: &[u8],
    ) -> Result<v1::Opened, Refused> {
        match v1::parse(token) {
            Ok(token) => self.open_if(caller, partition, class, &token, None, Ok).await,
            Err(_) => {
                self.audit.count(&caller.name, partition, class, Use::Refused, 1);
                self.permit(caller, partition, Permissions::DECRYPT).await?;
                Err(Refused::NotAuthentic)
            }
        }
    }

    /// The same, of a token that may be bound to a record id; what came out goes to nobody unless `accept` takes it.
    pub async fn open_if<T>(
        &self,
        caller: &Caller,
        partition: &PartitionName,
        class: &Class,
        token: &v1::Token,
        record_id: Option<&[u8]>,
        accept: impl FnOnce(v1::Opened) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let (permissions, opened) = match self.permit(caller, partition, Permissions::DECRYPT).await {
            Ok(permissions) if permissions.has(Permissions::MASK) => (permissions, Err(Refused::Forbidden)),
            Ok(permissions) => {
                (permissions, self.open_permitted(partition, class, token, record_id).await.and_then(accept))
            }
            Err(refused) => (Permissions(0), Err(refused)),
        };
        let what = if opened.is_ok() { Use::Opened } else { Use::Refused };
        if what.is_recorded(permissions) {
            self.audit.count(&caller.name, partition, class, what, 1);
        }
        opened
    }

    /// The epoch to seal under, for faces with ciphertexts of their own; they check permissions and count for themselves.
    pub async fn sealing_epoch(&self, partition: &PartitionName, kind: Kind) -> Result<Arc<Epoch>, Refused> {
        match self.keyring.sealing_cached(partition, kind) {
            Cached::Hit(epoch) => Ok(epoch),
            Cached::Denied(state) => Err(Refused::State(state)),
            Cached::Unknown => Err(Refused::NotFound),
            Cached::Miss => {
                let (keyring, partition) = (Arc::clone(&self.keyring), partition.clone());
                blocking(move || Ok(keyring.sealing(&partition, kind)?)).await
            }
        }
    }

    /// An epoch to open under, which must be this partition's.
    pub async fn opening_epoch(&self, partition: &PartitionName, id: EpochId) -> Result<Arc<Epoch>, Refused> {
        let epoch = match self.keyring.opening_cached(id) {
            Cached::Hit(epoch) => epoch,
            Cached::Denied(state) => return Err(Refused::State(state)),
            Cached::Unknown => return Err(Refused::NotAuthentic),
            Cached::Miss => {
                let keyring = Arc::clone(&self.keyring);
                blocking(move || {
                    keyring.opening(id).map_err(|error| match error {
                        KeyringError::Unknown(_) => Refused::NotAuthentic,
                        other => other.into(),
                    })
                })
                .await?
            }
        };
        if epoch.partition == *partition { Ok(epoch) } else { Err(Refused::NotAuthentic) }
    }

    /// Counts for faces with ciphertexts of their own, if the caller's role has it counted.
    pub fn count(&self, caller: &Caller, partition: &PartitionName, class: &Class, what: Use, values: u64) {
        let permissions = self.sealer.permissions(partition, &caller.role, &mut Memo::default());
        if matches!(permissions, Cached::Hit(permissions) if !what.is_recorded(permissions)) {
            return;
        }
        self.audit.count(&caller.name, partition, class, what, values);
    }

    async fn seal_permitted(&self, job: &SealJob<'_>) -> Result<Vec<u8>, Refused> {
        let mut token = Vec::new();
        for _ in 0..FETCHES {
            match self.sealer.seal(job, &mut Memo::default(), &mut token).map_err(|failure| seal_refused(&failure))? {
                Ready::Now(()) => return Ok(token),
                Ready::After(need) => self.sealer.fetch(need).await?,
            }
        }
        Err(Refused::Unavailable("the epoch does not stay in memory".into()))
    }

    async fn open_permitted(
        &self,
        partition: &PartitionName,
        class: &Class,
        token: &v1::Token,
        record_id: Option<&[u8]>,
    ) -> Result<v1::Opened, Refused> {
        self.opening_epoch(partition, token.epoch).await?;
        for _ in 0..FETCHES {
            let job = OpenJob { token: token.clone(), class, signers: &[], record_id };
            match self.sealer.open(job, &mut Memo::default()).map_err(|failure| open_refused(&failure))? {
                Ready::Now(opened) => return Ok(opened),
                Ready::After(need) => self.sealer.fetch(need).await?,
            }
        }
        Err(Refused::Unavailable("the epoch does not stay in memory".into()))
    }
}

fn seal_refused(failure: &SealFailure) -> Refused {
    match failure {
        SealFailure::Denied(state) => Refused::State(*state),
        SealFailure::NoKey(_) => Refused::Unavailable(failure.to_string()),
        SealFailure::Seal(v1::SealError::Unsealable | v1::SealError::NotDeterministic) => {
            Refused::Invalid("this value cannot be sealed".into())
        }
        SealFailure::Seal(error) => Refused::Unavailable(error.to_string()),
    }
}

fn open_refused(failure: &OpenFailure) -> Refused {
    match failure {
        OpenFailure::Denied(state @ (State::Paused | State::Destroyed)) => Refused::State(*state),
        _ => Refused::NotAuthentic,
    }
}
