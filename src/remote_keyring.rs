//! A keyring that an authority keeps, reached over its `/keyring/v1`: a store that is trusted no more than a file would be. What
//! it answers is verified by the keyring above it, against the owner that the configuration pins.

use std::time::Duration;

use http::{Method, StatusCode};

use crate::crypto::kdf::sha256;
use crate::keyring::store::{
    Counted, Dump, EpochRow, Inserted, KeyRow, NewEpoch, Put, Remote, Service, ServiceError, Standing, Store,
    StoreError,
};
use crate::keyring::{Kind, State};
use crate::name::PartitionName;
use crate::secret::Secret;
use crate::token::EpochId;

pub(crate) mod client;
mod credential;
mod events;
mod place;
pub mod wire;

#[cfg(test)]
mod tests;

use client::{Answer, Client};
use wire::{Bytes, Id};

/// Tombstone pages read at once.
const MAX_PAGES: usize = 1024;

/// See the module.
pub struct RemoteStore {
    client: Client,
}

impl RemoteStore {
    /// Connects, and hears of the first change number; fails if that cannot be had now.
    pub fn connect(remote: &Remote) -> Result<Self, StoreError> {
        let client = Client::start(remote)?;
        client.first_number()?;
        Ok(Self { client })
    }

    fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Option<T>, StoreError> {
        match self.client.call(Method::GET, path, None)? {
            answer if answer.status == StatusCode::NOT_FOUND => Ok(None),
            answer => answer.value().map(Some).map_err(unavailable),
        }
    }

    fn post(&self, path: &str, body: &impl serde::Serialize) -> Result<Answer, ServiceError> {
        let body = serde_json::to_vec(body).map_err(|_| StoreError::Damaged("a request cannot be written".into()))?;
        Ok(self.client.call(Method::POST, path, Some(body))?)
    }

    fn insert(&self, verb: &str, row: &NewEpoch<'_>) -> Result<wire::Outcome, ServiceError> {
        let new = wire::NewEpoch {
            record: Bytes(row.record.to_vec()),
            replaces: row.replaces.map(|epoch| wire::Replaces { epoch: epoch.map(Id) }),
            under: row.under.map(|record| Bytes(sha256(record).to_vec())),
        };
        self.post(&format!("/partitions/{}/{verb}", place::segment(row.partition.as_str())), &new)?.value()
    }

    fn look(&self, known: &wire::Known) -> Result<wire::Stand, StoreError> {
        self.post("/look", known).and_then(Answer::value).map_err(unavailable)
    }

    fn found(&self, id: EpochId) -> Result<Option<wire::Found>, StoreError> {
        self.get(&format!("/epochs/{id}"))
    }

    fn no<T>(&self, what: &str) -> Result<T, StoreError> {
        Err(StoreError::Unavailable(format!(
            "{} does not {what} for a sidecar: do it at the authority",
            self.client.url()
        )))
    }
}

impl Store for RemoteStore {
    fn change(&self) -> Result<u64, StoreError> {
        self.client.number()
    }

    fn wait(&self, timeout: Duration) {
        self.client.wait(timeout);
    }

    fn bootstrap(&self, _: &Dump) -> Result<Put, StoreError> {
        self.no("make keyrings")
    }

    fn dump(&self) -> Result<Dump, StoreError> {
        self.no("export")
    }

    fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        let keys: wire::Keys = self.get("/keys")?.ok_or_else(|| {
            StoreError::Unavailable(format!(
                "{} serves no `{}`: name the authority's listener for sidecars as `keyring.store`",
                self.client.url(),
                wire::PREFIX
            ))
        })?;
        if keys.version != wire::VERSION {
            return Err(StoreError::Damaged(format!(
                "{} speaks version {} of the keyring API, this process {}: update the older of the two",
                self.client.url(),
                keys.version,
                wire::VERSION
            )));
        }
        let row = |key: wire::Key| KeyRow {
            usage: key.usage,
            public: key.public.0,
            partition: String::new(),
            blob: Vec::new(),
        };
        Ok(keys.keys.into_iter().map(row).collect())
    }

    fn add_key(&self, _: &KeyRow) -> Result<Put, StoreError> {
        self.no("take private keys")
    }

    fn rewrap_key(&self, _: u8, _: &[u8], _: &[u8], _: &[u8]) -> Result<Put, StoreError> {
        self.no("re-wrap private keys")
    }

    fn partition_count(&self) -> Result<usize, StoreError> {
        self.no("count partitions")
    }

    fn partition_names(&self, _: &str, _: usize) -> Result<Vec<String>, StoreError> {
        self.no("list partitions")
    }

    fn partition(&self, name: &PartitionName) -> Result<Option<Vec<u8>>, StoreError> {
        let path = format!("/partitions/{}", place::segment(name.as_str()));
        Ok(self.get::<wire::Partition>(&path)?.map(|partition| partition.record.0))
    }

    fn digests(&self, names: &[PartitionName]) -> Result<Vec<Option<[u8; 32]>>, StoreError> {
        let mut digests = Vec::with_capacity(names.len());
        for names in names.chunks(wire::PAGE) {
            let partitions = names.iter().map(ToString::to_string).collect();
            let stand = self.look(&wire::Known { partitions, epochs: Vec::new() })?;
            // As many as were asked for: an answer cut short says that the rest is gone.
            let found = stand.partitions.into_iter().map(|digest| digest.and_then(|d| d.0.as_slice().try_into().ok()));
            digests.extend(found.chain(std::iter::repeat(None)).take(names.len()));
        }
        Ok(digests)
    }

    fn put_partition(&self, _: &PartitionName, _: u64, _: &[u8]) -> Result<Put, StoreError> {
        self.no("change partitions")
    }

    fn epoch(&self, id: EpochId) -> Result<Option<EpochRow>, StoreError> {
        // Under the name that was asked for: what else the answer may be shows when its record is verified.
        Ok(self.found(id)?.and_then(|found| found.epoch).map(|epoch| EpochRow { id, ..row(epoch) }))
    }

    fn current(&self, name: &PartitionName, kind: Kind) -> Result<Option<EpochRow>, StoreError> {
        let path = format!("/partitions/{}/current?kind={}", place::segment(name.as_str()), kind as u8);
        Ok(self.get::<wire::Found>(&path)?.and_then(|found| found.epoch).map(row))
    }

    fn standing(&self, ids: &[EpochId]) -> Result<Vec<Standing>, StoreError> {
        let mut found = Vec::with_capacity(ids.len());
        for ids in ids.chunks(wire::PAGE) {
            let epochs = ids.iter().copied().map(Id).collect();
            let stand = self.look(&wire::Known { partitions: Vec::new(), epochs })?;
            let standing =
                |s: wire::Standing| Standing { id: s.id.0, partition: s.partition, kind: s.kind, current: s.current };
            found.extend(stand.epochs.into_iter().take(ids.len()).map(standing));
        }
        Ok(found)
    }

    fn epochs_of(&self, _: &PartitionName, _: EpochId, _: usize) -> Result<Vec<EpochRow>, StoreError> {
        self.no("list epochs")
    }

    fn previous(&self, name: &PartitionName, _: EpochId) -> Result<Option<EpochRow>, StoreError> {
        let path = format!("/partitions/{}/previous", place::segment(name.as_str()));
        Ok(self.get::<wire::Found>(&path)?.and_then(|found| found.epoch).map(row))
    }

    fn epoch_count(&self, _: &PartitionName) -> Result<usize, StoreError> {
        self.no("count epochs")
    }

    /// None: the authority confirms by itself what it can open.
    fn unconfirmed(&self, _: EpochId, _: usize) -> Result<Vec<EpochRow>, StoreError> {
        Ok(Vec::new())
    }

    fn insert_epoch(&self, row: &NewEpoch<'_>) -> Result<Inserted, StoreError> {
        match self.insert("epochs", row) {
            Ok(outcome) => Ok(inserted(outcome.outcome)),
            Err(ServiceError::Store(error)) => Err(error),
            // One to be put back that is not wanted: no reason to go without news of the others.
            Err(error) if row.under.is_none() => {
                tracing::warn!(epoch = %row.id, "an epoch that the authority lost is not put back: {error}");
                Ok(Inserted::Raced)
            }
            Err(error) => Err(unavailable(error)),
        }
    }

    fn rewrap_epoch(&self, _: EpochId, _: &[u8], _: &[u8]) -> Result<Put, StoreError> {
        self.no("re-wrap epochs")
    }

    /// Left to the authority, which opens what it is to confirm.
    fn confirm(&self, _: EpochId, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn destroy(&self, _: EpochId, _: &[u8]) -> Result<(), StoreError> {
        self.no("destroy epochs")
    }

    fn tombstone(&self, id: EpochId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.found(id)?.and_then(|found| found.tombstone).map(|stone| stone.0))
    }

    fn tombstones_after(&self, after: u64, limit: usize) -> Result<Vec<(u64, EpochId, Vec<u8>)>, StoreError> {
        let (mut found, mut from) = (Vec::new(), after);
        for _ in 0..MAX_PAGES {
            let Some(page) = self.get::<wire::Tombstones>(&format!("/tombstones?after={from}"))? else { break };
            for stone in page.tombstones {
                // Numbers must grow, or whoever reads on would read for ever.
                if stone.number <= from || found.len() >= limit {
                    return Ok(found);
                }
                from = stone.number;
                found.push((stone.number, stone.epoch.0, stone.record.0));
            }
            match page.next {
                Some(next) if next >= from && next > after && found.len() < limit => from = next,
                _ => break,
            }
        }
        Ok(found)
    }

    fn service(&self) -> Option<&dyn Service> {
        Some(self)
    }
}

impl Service for RemoteStore {
    fn decapsulate(
        &self,
        epoch: EpochId,
        suite: u8,
        recipient: &[u8; 16],
        kem_ct: &[u8],
    ) -> Result<Secret<32>, ServiceError> {
        let wrap =
            wire::Wrap { kem_suite: suite, recipient: Bytes(recipient.to_vec()), kem_ct: Bytes(kem_ct.to_vec()) };
        self.post(&format!("/epochs/{epoch}/decapsulate"), &wrap)?.secret()
    }

    fn issue(&self, draft: &NewEpoch<'_>) -> Result<(Inserted, Vec<u8>), ServiceError> {
        let outcome = self.insert("issue", draft)?;
        Ok((inserted(outcome.outcome), outcome.record.map(|record| record.0).unwrap_or_default()))
    }

    fn provision(&self, name: &PartitionName, max: usize) -> Result<(), ServiceError> {
        let path = format!("/partitions/{}", place::segment(name.as_str()));
        self.post(&path, &wire::Provision { max: max as u64 })?.value::<wire::Partition>().map(drop)
    }

    fn report(&self, counts: &[Counted<'_>]) -> Result<(), ServiceError> {
        for counts in counts.chunks(wire::MAX_COUNTS) {
            let count = |count: &Counted<'_>| wire::Count {
                caller: count.caller.into(),
                partition: count.partition.into(),
                class: count.class.into(),
                what: count.what.into(),
                values: count.values,
            };
            self.post("/counts", &wire::Counts { counts: counts.iter().map(count).collect() })?.done()?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for RemoteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RemoteStore({})", self.client.url())
    }
}

/// The columns are what the authority says; all that counts is in the record, which is verified.
fn row(epoch: wire::Epoch) -> EpochRow {
    EpochRow {
        id: epoch.id.0,
        partition: String::new(),
        kind: 0,
        record: epoch.record.0,
        confirmed: epoch.confirmed,
        current: epoch.current,
    }
}

fn inserted(word: wire::Word) -> Inserted {
    match word {
        wire::Word::Done => Inserted::Done,
        wire::Word::Taken => Inserted::Taken,
        wire::Word::Raced => Inserted::Raced,
    }
}

fn unavailable(error: ServiceError) -> StoreError {
    match error {
        ServiceError::Store(error) => error,
        other => StoreError::Unavailable(other.to_string()),
    }
}

/// The state with this name.
fn state(name: &str) -> Option<State> {
    [State::Active, State::DecryptOnly, State::Paused, State::Destroyed].into_iter().find(|state| state.name() == name)
}
