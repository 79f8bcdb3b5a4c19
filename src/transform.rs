//! What a message's body goes through: the plan of an exchange, and the editing of its fields. Pure and without I/O; what must
//! be fetched first is asked of a [`Sealer`] by whoever drives the body.

pub mod body;
mod content;
pub mod delegate;
pub mod documents;
mod draft;
mod embedded;
mod form;
mod later;
mod managed;
pub mod open;
pub mod outside;
mod parsed;
pub mod plan;
mod quick;
pub mod reveal;
pub mod seal;
mod tally;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::audit::Use;
use crate::keyring::{Cached, KeyringError, Kind, Memo, Permissions};
use crate::name::{Class, PartitionName};
use crate::token::v1::{OpenError, Opened, Token};
use crate::token::{EpochId, Suite};
use delegate::{DelegateError, Delegated, Delegating};

/// Seals and opens values. What it needs and does not have at hand it names, and [`Sealer::fetch`] gets it.
pub trait Sealer: Send + Sync + 'static {
    /// What a role may do in a partition, whose state is checked on the way. `memo` spares look-ups; whoever drives a body begins
    /// each piece of it with a new one, so that a change reaches the next piece at the latest.
    fn permissions(&self, partition: &PartitionName, role: &str, memo: &mut Memo) -> Cached<Permissions>;

    /// Seals one value; `Now` when its token has been appended to `out`.
    fn seal(&self, job: &SealJob<'_>, memo: &mut Memo, out: &mut Vec<u8>) -> Result<Ready<()>, SealFailure>;

    /// Seals one value under the deterministic epoch before the current one, for a look-up; `Now(false)`, if there was none.
    fn seal_previous(
        &self,
        _job: &SealJob<'_>,
        _memo: &mut Memo,
        _out: &mut Vec<u8>,
    ) -> Result<Ready<bool>, SealFailure> {
        Ok(Ready::Now(false))
    }

    /// The partition that a token belongs to.
    fn partition_of(&self, epoch: EpochId, memo: &mut Memo) -> Cached<PartitionName>;

    /// Opens one token, whose partition the caller has compared with its rule's.
    fn open(&self, job: OpenJob<'_>, memo: &mut Memo) -> Result<Ready<Opened>, OpenFailure>;

    /// Appends the token of a string between quotes, as [`Sealer::seal`] would, if that has just sealed a value of this partition and
    /// there is nothing to wait for. `false`, and nothing appended: that has to do it, or to say why it cannot.
    fn seal_again(&self, _of: Again<'_>, _text: &[u8], _memo: &mut Memo, _out: &mut Vec<u8>) -> bool {
        false
    }

    /// Appends the string that a token of this epoch holds between quotes, as [`Sealer::open`] and a look at it would have it, if that
    /// has just opened one of the same epoch. `false`, and nothing appended: that has to do it, or to say why it cannot.
    fn open_again(&self, _of: Again<'_>, _epoch: EpochId, _token: &[u8], _memo: &mut Memo, _out: &mut Vec<u8>) -> bool {
        false
    }

    /// Records what was done with values of one partition for a caller of this role. `known`: what the role may do there, if that was
    /// asked a moment ago. Never blocks.
    fn record(&self, _role: &str, _partition: &PartitionName, _known: Option<Permissions>, _done: &[Done<'_>]) {}

    /// Whether [`Sealer::fetch`] would find this at hand.
    fn at_hand(&self, need: &Need, memo: &mut Memo) -> Cached<()>;

    /// Has managed APIs do this to values of one body, and answers in their order. Ends within the budget of each profile.
    fn delegate(&self, jobs: Vec<Delegated>) -> Delegating<'_> {
        let none = || Err(DelegateError::Unavailable("this process has no managed profile".into()));
        Box::pin(std::future::ready(jobs.iter().map(|_| none()).collect()))
    }

    /// Gets what was missing; may take as long as a store or a key service takes.
    fn fetch(&self, need: Need) -> Pin<Box<dyn Future<Output = Result<(), KeyringError>> + Send + '_>>;
}

/// What was done with so many values of a class.
pub type Done<'a> = (&'a Class, Use, u64);

/// Where values belong that are neither signed nor bound.
#[derive(Debug, Clone, Copy)]
pub struct Again<'a> {
    /// Whose.
    pub partition: &'a PartitionName,
    /// Their class.
    pub class: &'a Class,
    /// Their AEAD, which is no deterministic one.
    pub suite: Suite,
}

/// A result, or what must be fetched before there can be one.
#[derive(Debug)]
pub enum Ready<T> {
    /// Here it is.
    Now(T),
    /// After [`Sealer::fetch`].
    After(Need),
}

/// Something to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// A partition's record; made if there are fewer than so many partitions.
    Partition(PartitionName, Option<usize>),
    /// The epoch to seal under.
    Sealing(PartitionName, Kind),
    /// The deterministic epoch before the current one, to look under.
    Previous(PartitionName),
    /// A fresh epoch to seal under, since this one's key is used up.
    Fresh(PartitionName, Kind, EpochId),
    /// The epoch that a token names.
    Opening(EpochId),
    /// This process's signing key.
    Signer(PartitionName),
}

/// One value to seal.
pub struct SealJob<'a> {
    /// Under which partition.
    pub partition: &'a PartitionName,
    /// Its class.
    pub class: &'a Class,
    /// With which AEAD.
    pub suite: Suite,
    /// Whether to sign.
    pub sign: bool,
    /// Pads to a multiple.
    pub pad: Option<usize>,
    /// JSON text, without the quotes of a string.
    pub text: &'a [u8],
    /// Whether it is a string.
    pub is_string: bool,
    /// The bound record id.
    pub record_id: Option<&'a [u8]>,
}

impl fmt::Debug for SealJob<'_> {
    /// Never the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealJob").field("partition", self.partition).field("class", self.class).finish_non_exhaustive()
    }
}

/// One token to open.
#[derive(Debug)]
pub struct OpenJob<'a> {
    /// The token, taken apart; the plaintext takes the place of its body.
    pub token: Token,
    /// The class that the rule gives the place where it stood.
    pub class: &'a Class,
    /// Signers accepted; empty: any that the partition lists.
    pub signers: &'a [[u8; 16]],
    /// The record id of the place where it stood.
    pub record_id: Option<&'a [u8]>,
}

/// Why a value is not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealFailure {
    /// The partition's state forbids it.
    #[error("the partition is {}", .0.name())]
    Denied(crate::keyring::State),
    /// Nothing to sign with, or no such partition.
    #[error("{0}")]
    NoKey(&'static str),
    /// See there.
    #[error(transparent)]
    Seal(#[from] crate::token::v1::SealError),
}

/// Why a token is not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenFailure {
    /// The partition's state forbids it.
    #[error("the partition is {}", .0.name())]
    Denied(crate::keyring::State),
    /// Its epoch is unknown.
    #[error("no such epoch in this keyring")]
    UnknownEpoch,
    /// Its suite does not fit its epoch.
    #[error("the token's suite does not fit its epoch")]
    SuiteMismatch,
    /// See there.
    #[error(transparent)]
    Open(#[from] OpenError),
}
