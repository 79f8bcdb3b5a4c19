//! What a store does for a process beside keeping records, if an authority stands behind it. It is not trusted more than a
//! store: what it answers is checked against the pinned owner, and against the commitment of the epoch.

use super::{Inserted, NewEpoch, StoreError};
use crate::keyring::State;
use crate::name::PartitionName;
use crate::secret::Secret;
use crate::token::EpochId;

/// See the module. Methods block, each with a deadline.
pub trait Service: Send + Sync {
    /// The shared secret of one wrap of that epoch.
    fn decapsulate(
        &self,
        epoch: EpochId,
        suite: u8,
        recipient: &[u8; 16],
        kem_ct: &[u8],
    ) -> Result<Secret<32>, ServiceError>;

    /// Has a record signed that has no signature yet, and stored as `draft` asks. Returns the signed record where it was
    /// [`Inserted::Done`].
    fn issue(&self, draft: &NewEpoch<'_>) -> Result<(Inserted, Vec<u8>), ServiceError>;

    /// Has a partition made, unless there are `max` already or it is there.
    fn provision(&self, name: &PartitionName, max: usize) -> Result<(), ServiceError>;

    /// Adds to the counts of the authority's audit log.
    fn report(&self, counts: &[Counted<'_>]) -> Result<(), ServiceError>;
}

/// How many values of a class were used in one way.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'a> {
    /// Whose values, as this process names it; empty, with an empty partition and class: all beyond those told apart.
    pub caller: &'a str,
    /// The partition.
    pub partition: &'a str,
    /// The class.
    pub class: &'a str,
    /// `sealed`, `opened` or `refused`.
    pub what: &'static str,
    /// How many.
    pub values: u64,
}

/// Why a service did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ServiceError {
    /// This process may not, or asked for what is not done; says what to do.
    #[error("{0}")]
    Refused(String),
    /// The partition's state forbids it.
    #[error("the partition is {0}")]
    Denied(State),
    /// There is no such thing, or it is not for this process.
    #[error("the authority has no such thing for this process")]
    NotThere,
    /// It cannot be asked now, or its answer is none.
    #[error(transparent)]
    Store(#[from] StoreError),
}
