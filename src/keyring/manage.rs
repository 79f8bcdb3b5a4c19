//! What a management interface asks of a keyring beside [`super::lifecycle`]: pages, and changes that fit what was read.

use super::cbor::Record;
use super::store::Put;
use super::{EpochInfo, Keyring, KeyringError, PartitionInfo, Permissions, State};
use crate::name::PartitionName;
use crate::token::EpochId;

/// One change of a partition's record.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// Another state; not `Destroyed`, for which there is [`Keyring::set_state`].
    State(State),
    /// What a role may do; `None`: the role goes.
    Role(&'a str, Option<Permissions>),
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// The partition has this version now.
    Done(u64),
    /// It has this version, another one than expected; nothing was changed.
    Stale(u64),
}

impl Keyring {
    /// Up to `limit` partitions whose names begin with `prefix`, sort after `after` and are wanted, and the name to go on from if
    /// there may be more. One whose record does not verify is left out, with an alarm. May block.
    pub fn partition_page(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
        wanted: impl Fn(&PartitionName) -> bool,
    ) -> Result<(Vec<PartitionInfo>, Option<String>), KeyringError> {
        let io = self.lock_fresh()?;
        let limit = limit.max(1);
        let (mut infos, mut after) = (Vec::new(), after.max(prefix).to_owned());
        loop {
            let names = self.store.partition_names(&after, limit)?;
            let last = names.len() < limit;
            for text in names {
                if !text.starts_with(prefix) {
                    return Ok((infos, None));
                }
                if infos.len() == limit {
                    return Ok((infos, Some(after)));
                }
                after = text;
                let Some(name) = PartitionName::new(&after).ok().filter(|name| wanted(name)) else { continue };
                match self.info(&io, &name) {
                    Ok(info) => infos.push(info),
                    Err(KeyringError::Unknown(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            if last {
                return Ok((infos, None));
            }
        }
    }

    /// Up to `limit` epochs of a partition whose ids sort after `after`, each with whether it is sealed under now. May block.
    pub fn epoch_page(
        &self,
        name: &PartitionName,
        after: EpochId,
        limit: usize,
    ) -> Result<Vec<(EpochInfo, bool)>, KeyringError> {
        let io = self.lock_fresh()?;
        self.load_partition(&io, name)?;
        let rows = self.store.epochs_of(name, after, limit)?;
        let now = self.clock.now();
        Ok(rows.iter().filter_map(|row| Some((EpochInfo::of(row, now)?, row.current))).collect())
    }

    /// Makes a partition in this state with what `default` lists; `false`: the name is taken. May block.
    pub fn make_partition(&self, name: &PartitionName, state: State) -> Result<bool, KeyringError> {
        let io = self.lock_fresh()?;
        if self.caches.seen_version(name) > 0 || self.store.partition(name)?.is_some() {
            return Ok(false);
        }
        let mut record = self.load_partition(&io, &PartitionName::default_name())?.record.clone();
        record.name = name.clone();
        record.version = 1;
        record.state = state;
        record.sign(self.owner_key(&io)?)?;
        let put = self.store.put_partition(name, 0, &record.encode())?;
        self.load_partition(&io, name)?;
        Ok(put == Put::Done)
    }

    /// Changes a partition, if its version is `expected` or that is `None`. May block.
    pub fn change_partition(
        &self,
        name: &PartitionName,
        expected: Option<u64>,
        change: Change<'_>,
    ) -> Result<Changed, KeyringError> {
        let io = self.lock_fresh()?;
        let mut stale = None;
        let done = self.edit(&io, name, |record| {
            if expected.is_some_and(|expected| expected != record.version) {
                stale = Some(record.version);
                return Err(KeyringError::Unavailable("the partition was changed meanwhile".into()));
            }
            if record.state == State::Destroyed {
                return Err(KeyringError::Denied(name.clone(), State::Destroyed));
            }
            match change {
                Change::State(state) => record.state = state,
                Change::Role(role, permissions) => {
                    record.roles.retain(|(listed, _)| listed != role);
                    record.roles.extend(permissions.map(|permissions| (role.to_owned(), permissions)));
                }
            }
            Ok(())
        });
        match (stale, done) {
            (Some(version), Err(_)) => Ok(Changed::Stale(version)),
            (_, Err(error)) => Err(error),
            (_, Ok(())) => Ok(Changed::Done(self.loaded(&io, name)?.partition.version)),
        }
    }
}

/// The partition whose state new partitions `APP.…` follow, if this is the name of such a one: `APP`.
pub(super) fn head(name: &PartitionName) -> Option<PartitionName> {
    name.as_str().split_once('.').and_then(|(app, _)| PartitionName::new(app).ok())
}
