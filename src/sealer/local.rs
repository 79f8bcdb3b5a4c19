//! Sealing under the keyring's own epochs: in place as the scanner finds values, from caches; what is missing is fetched on a
//! blocking thread, so that no store ever holds up the traffic of a worker.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::keyring::{Cached, Epoch, Keyring, KeyringError, Kind, Permissions};
use crate::name::PartitionName;
use crate::token::v1::{Opened, Plain, SealError};
use crate::token::{EpochId, Suite};
use crate::transform::{Need, OpenFailure, OpenJob, Ready, SealFailure, SealJob, Sealer};

/// A fetch that takes longer fails: the client is answered while it still waits.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// See the module.
pub struct Local(Arc<Keyring>);

impl Local {
    /// On this keyring.
    pub fn new(keyring: Arc<Keyring>) -> Self {
        Self(keyring)
    }

    /// The token's epoch, if its suite fits it.
    fn epoch(&self, id: EpochId, suite: Suite) -> Result<Ready<Arc<Epoch>>, OpenFailure> {
        let epoch = match self.0.opening_cached(id) {
            Cached::Hit(epoch) => epoch,
            Cached::Miss => return Ok(Ready::After(Need::Opening(id))),
            Cached::Unknown => return Err(OpenFailure::UnknownEpoch),
            Cached::Denied(state) => return Err(OpenFailure::Denied(state)),
        };
        if (suite == Suite::Siv) != (epoch.kind == Kind::Deterministic) {
            return Err(OpenFailure::SuiteMismatch);
        }
        Ok(Ready::Now(epoch))
    }
}

impl Sealer for Local {
    fn permissions(&self, partition: &PartitionName, role: &str) -> Cached<Permissions> {
        match self.0.partition_cached(partition) {
            Cached::Hit(record) if !record.state.opens() => Cached::Denied(record.state),
            cached => cached.map(|record| record.permissions(role)),
        }
    }

    fn seal(&self, job: &SealJob<'_>, out: &mut Vec<u8>) -> Result<Ready<()>, SealFailure> {
        let kind = if job.suite == Suite::Siv { Kind::Deterministic } else { Kind::Random };
        let epoch = match self.0.sealing_cached(job.partition, kind) {
            Cached::Hit(epoch) => epoch,
            Cached::Miss => return Ok(Ready::After(Need::Sealing(job.partition.clone(), kind))),
            Cached::Unknown => return Err(SealFailure::NoKey("no such partition")),
            Cached::Denied(state) => return Err(SealFailure::Denied(state)),
        };
        let signer = if job.sign {
            match self.0.signer_cached(job.partition) {
                Cached::Hit(Some(signer)) => Some(signer),
                Cached::Hit(None) => return Err(SealFailure::NoKey("this process has no signing key")),
                Cached::Miss => return Ok(Ready::After(Need::Signer(job.partition.clone()))),
                Cached::Unknown => return Err(SealFailure::NoKey("no such partition")),
                Cached::Denied(state) => return Err(SealFailure::Denied(state)),
            }
        } else {
            None
        };
        let plain = Plain {
            text: job.text,
            is_string: job.is_string,
            record_id: job.record_id,
            pad: job.pad,
            signer: signer.as_deref(),
        };
        match self.0.field_key(&epoch, job.suite, job.class).seal(&plain, out) {
            Ok(()) => Ok(Ready::Now(())),
            Err(SealError::Exhausted) => Ok(Ready::After(Need::Fresh(job.partition.clone(), kind, epoch.id))),
            Err(error) => Err(error.into()),
        }
    }

    fn partition_of(&self, epoch: EpochId) -> Cached<PartitionName> {
        self.0.opening_cached(epoch).map(|epoch| epoch.partition.clone())
    }

    fn open(&self, job: &OpenJob<'_>) -> Result<Ready<Opened>, OpenFailure> {
        let epoch = match self.epoch(job.token.epoch, job.token.suite)? {
            Ready::Now(epoch) => epoch,
            Ready::After(need) => return Ok(Ready::After(need)),
        };
        let signers = if job.token.signed {
            match self.0.partition_cached(&epoch.partition) {
                Cached::Hit(record) => {
                    let accepted = |id: &[u8; 16]| job.signers.is_empty() || job.signers.contains(id);
                    record.signers.iter().filter(|key| accepted(&key.id())).cloned().collect()
                }
                Cached::Miss => return Ok(Ready::After(Need::Partition(epoch.partition.clone(), None))),
                Cached::Unknown => return Err(OpenFailure::UnknownEpoch),
                Cached::Denied(state) => return Err(OpenFailure::Denied(state)),
            }
        } else {
            Vec::new()
        };
        let key = self.0.field_key(&epoch, job.token.suite, job.class);
        Ok(Ready::Now(key.open(job.token, job.record_id, &signers, self.0.prefixes())?))
    }

    fn at_hand(&self, need: &Need) -> Cached<()> {
        match need {
            Need::Partition(name, provision) => match self.0.partition_cached(name) {
                Cached::Hit(record) if !record.state.opens() => Cached::Denied(record.state),
                Cached::Unknown if provision.is_some() => Cached::Miss,
                other => other.map(drop),
            },
            Need::Sealing(name, kind) => self.0.sealing_cached(name, *kind).map(drop),
            Need::Fresh(..) => Cached::Miss,
            Need::Opening(id) => self.0.opening_cached(*id).map(drop),
            Need::Signer(name) => self.0.signer_cached(name).map(drop),
        }
    }

    fn fetch(&self, need: Need) -> Pin<Box<dyn Future<Output = Result<(), KeyringError>> + Send + '_>> {
        let keyring = Arc::clone(&self.0);
        Box::pin(async move {
            let work = tokio::task::spawn_blocking(move || fetch(&keyring, &need));
            match tokio::time::timeout(FETCH_TIMEOUT, work).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(KeyringError::Unavailable("a look-up was broken off".into())),
                Err(_) => Err(KeyringError::Unavailable("a look-up took too long".into())),
            }
        })
    }
}

fn fetch(keyring: &Keyring, need: &Need) -> Result<(), KeyringError> {
    match need {
        Need::Partition(name, None) => keyring.partition(name).map(drop),
        Need::Partition(name, Some(max)) => keyring.provision(name, *max).map(drop),
        Need::Sealing(name, kind) => keyring.sealing(name, *kind).map(drop),
        Need::Fresh(name, kind, used_up) => keyring.replace_epoch(name, *kind, *used_up).map(drop),
        Need::Opening(id) => keyring.opening(*id).map(drop),
        Need::Signer(name) => keyring.signer(name).map(drop),
    }
}
