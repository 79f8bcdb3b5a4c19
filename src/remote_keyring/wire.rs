//! What goes over the wire of `/keyring/v1`: JSON, with records and keys as base64url of their bytes. Both sides use these types.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::crypto::base64url;
use crate::token::EpochId;

/// Where the API begins.
pub const PREFIX: &str = "/keyring/v1";
/// What [`Keys::version`] says.
pub const VERSION: u32 = 1;
/// Most bytes of a request with a record, or of an answer.
pub const MAX_RECORD: usize = 1024 * 1024;
/// Most bytes of any other request.
pub const MAX_SMALL: usize = 16 * 1024;
/// Most counts in one report.
pub const MAX_COUNTS: usize = 500;
/// Tombstones in one answer.
pub const PAGE: usize = 256;
/// How often an event stream says something, at least.
pub const HEARTBEAT: std::time::Duration = std::time::Duration::from_secs(1);

/// Bytes, as base64url.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64url::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        base64url::decode(text.as_bytes()).map(Self).ok_or_else(|| D::Error::custom("not base64url"))
    }
}

/// An epoch's name, as 20 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(pub EpochId);

impl Id {
    /// Reads one.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 20 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let number = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten()?;
        let (_, last) = number.to_be_bytes().split_last_chunk::<10>().map(|(first, last)| (first.len(), *last))?;
        Some(Self(EpochId(last)))
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("not an epoch's name"))
    }
}

/// Public keys.
#[derive(Debug, Serialize, Deserialize)]
pub struct Keys {
    /// [`VERSION`]
    pub version: u32,
    /// The owner's, and those of the recipients that the authority opens for.
    pub keys: Vec<Key>,
}

/// One of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Key {
    /// 0 the owner's, 1–3 a recipient's of that KEM.
    #[serde(rename = "use")]
    pub usage: u8,
    /// The key.
    pub public: Bytes,
}

/// A partition's record.
#[derive(Debug, Serialize, Deserialize)]
pub struct Partition {
    /// Signed by the owner.
    pub record: Bytes,
}

/// An epoch.
#[derive(Debug, Serialize, Deserialize)]
pub struct Epoch {
    /// Its name.
    pub id: Id,
    /// Signed by an issuer.
    pub record: Bytes,
    /// Whether an opener has unwrapped it.
    pub confirmed: bool,
    /// Whether it is the one to seal under.
    pub current: bool,
}

/// What there is of an epoch.
#[derive(Debug, Serialize, Deserialize)]
pub struct Found {
    /// It, unless there is none or it was destroyed.
    pub epoch: Option<Epoch>,
    /// What the owner signed when it was destroyed.
    pub tombstone: Option<Bytes>,
}

/// What a caller has in memory, for a look whether it still is so.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Names of partitions, at most [`PAGE`].
    pub partitions: Vec<String>,
    /// Epochs, at most [`PAGE`].
    pub epochs: Vec<Id>,
}

/// How that stands.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stand {
    /// SHA-256 of each partition's record, in the order asked; `null`: there is none for this caller.
    pub partitions: Vec<Option<Bytes>>,
    /// Those of the epochs that are there.
    pub epochs: Vec<Standing>,
}

/// One of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Standing {
    /// Its name.
    pub id: Id,
    /// Its partition.
    pub partition: String,
    /// Its kind.
    pub kind: u8,
    /// Whether it is the one to seal under.
    pub current: bool,
}

/// A new epoch.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewEpoch {
    /// Signed by the sender, or, to be issued, with an issuer of zeros and an empty signature.
    pub record: Bytes,
    /// If there: becomes the current one in place of this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Replaces>,
    /// SHA-256 of the partition's record that it was made under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<Bytes>,
}

/// What a new epoch takes the place of.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replaces {
    /// `null`: there is no current one.
    pub epoch: Option<Id>,
}

/// What became of a new epoch.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// See there.
    pub outcome: Word,
    /// The signed record, where it was to be issued and was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Bytes>,
}

/// As [`crate::keyring::store::Inserted`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// Durable.
    Done,
    /// Its id is taken, or was destroyed.
    Taken,
    /// Another one became current, or the partition changed.
    Raced,
}

/// A wrap of an epoch.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrap {
    /// The KEM's number.
    pub kem_suite: u8,
    /// Names the recipient's encapsulation key.
    pub recipient: Bytes,
    /// The ciphertext.
    pub kem_ct: Bytes,
}

/// Tombstones, in order.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tombstones {
    /// Those of this caller's partitions.
    pub tombstones: Vec<Tombstone>,
    /// Ask on from this number; `null`: these were the last.
    pub next: Option<u64>,
}

/// One of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tombstone {
    /// Grows.
    pub number: u64,
    /// The epoch.
    pub epoch: Id,
    /// Signed by the owner.
    pub record: Bytes,
}

/// A partition to be made.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provision {
    /// Not if there are so many already.
    pub max: u64,
}

/// For the audit log.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// At most [`MAX_COUNTS`].
    pub counts: Vec<Count>,
}

/// One of them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// Whose values, as the sidecar names it; its own if it is empty.
    #[serde(default)]
    pub caller: String,
    /// The partition; empty: the values of all beyond those that the sidecar tells apart.
    pub partition: String,
    /// The class.
    pub class: String,
    /// `sealed`, `opened` or `refused`.
    #[serde(rename = "use")]
    pub what: String,
    /// How many.
    pub values: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_id_is_read_as_it_shows() {
        let id = EpochId([0, 1, 2, 3, 4, 5, 6, 7, 254, 255]);
        assert_eq!(Id::parse(&id.to_string()), Some(Id(id)));
        for bad in ["", "00", "0001020304050607FEFF", "+0010203040506070809", "000102030405060708090"] {
            assert_eq!(Id::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn bytes_are_canonical_base64url() {
        assert_eq!(serde_json::to_string(&Bytes(vec![255, 254])).unwrap(), "\"__4\"");
        for bad in ["\"__5\"", "\"__4=\"", "\"//4\"", "7"] {
            assert!(serde_json::from_str::<Bytes>(bad).is_err(), "{bad}");
        }
    }
}
