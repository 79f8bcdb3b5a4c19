//! One line of the log, as bytes. An object of JSON in the one form that RFC 8785 gives it (members sorted, no white space), so
//! that what is hashed and what is read cannot differ; numbers are whole and at most 2^53. `docs/audit.md` has every member.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Use;
use crate::crypto::base64url;
use crate::crypto::kdf::sha256;
use crate::crypto::sign::VerifyingKey;

/// What the first line says that it is.
pub const FORMAT: &str = "sidecloak/1 audit";
/// The longest text of a caller in a line, in bytes; what is longer is cut.
const TEXT: usize = 256;
/// The largest number that a line holds; a larger count stands as this.
pub const MAX_NUMBER: u64 = 1 << 53;

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// From 1, without a gap.
    pub number: u64,
    /// When it was written, by its process's clock: RFC 3339 in UTC, to the second.
    pub time: String,
    /// The process that wrote it: 16 hexadecimal digits, drawn at its start.
    pub instance: String,
    /// SHA-256 of the line before, in hexadecimal; of the first line, of the owner's verifying key.
    pub prev: String,
    /// What it says.
    #[serde(flatten)]
    pub content: Content,
}

/// What a line says: its `kind` and `fields`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "fields", rename_all = "lowercase")]
pub enum Content {
    /// The log begins.
    Start {
        /// [`FORMAT`].
        format: String,
        /// The owner's verifying key, in base64url.
        owner: String,
        /// The program's.
        version: String,
    },
    /// A management act is about to be done.
    Act {
        /// Who asked for it.
        who: String,
        /// What.
        what: String,
        /// On what.
        on: String,
    },
    /// How an act ended.
    Outcome {
        /// The number of the act's line.
        act: u64,
        /// Whether it was done.
        ok: bool,
        /// Why not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// What was done with values since the process's last such line.
    Counts {
        /// The minute in which they were gathered.
        minute: String,
        /// How many of each.
        counts: Vec<Count>,
    },
    /// The owner's signature over the line before, its number, and this line's time and instance.
    Checkpoint {
        /// In base64url.
        signature: String,
    },
    /// The process found another log than the one it had seen.
    Alarm {
        /// The number of the last line that it had seen.
        number: u64,
        /// And its SHA-256, in hexadecimal.
        hash: String,
    },
}

/// How many values one caller had sealed, opened or refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Which caller's values, in which partition, of which class; without: of all callers beyond those that are told apart.
    #[serde(flatten)]
    pub of: Option<Of>,
    /// What was done with them.
    #[serde(rename = "use")]
    pub what: Use,
    /// How many.
    pub n: u64,
}

/// What is counted apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Of {
    /// As the authority or the listener names it.
    pub caller: String,
    /// The partition.
    pub partition: String,
    /// The class.
    pub class: String,
}

/// A line that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no line of this log in its one form")]
pub struct BadLine;

impl Line {
    /// Its bytes, without a line end.
    pub fn encode(&self) -> Result<Vec<u8>, BadLine> {
        let value = serde_json::to_value(self).map_err(|_| BadLine)?;
        let mut out = Vec::with_capacity(256);
        write(&value, &mut out)?;
        Ok(out)
    }

    /// Takes bytes apart that [`Self::encode`] gave, and no others.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadLine> {
        let line: Self = serde_json::from_slice(bytes).map_err(|_| BadLine)?;
        if line.encode()? == bytes { Ok(line) } else { Err(BadLine) }
    }
}

impl Content {
    /// What the first line says.
    pub fn first(owner: &VerifyingKey) -> Self {
        Self::Start {
            format: FORMAT.into(),
            owner: base64url::encode(owner.as_bytes()),
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }

    /// As lines name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Start { .. } => "start",
            Self::Act { .. } => "act",
            Self::Outcome { .. } => "outcome",
            Self::Counts { .. } => "counts",
            Self::Checkpoint { .. } => "checkpoint",
            Self::Alarm { .. } => "alarm",
        }
    }
}

/// SHA-256 of a line, as the next one names it.
pub fn hash(line: &[u8]) -> [u8; 32] {
    sha256(line)
}

/// 32 bytes from 64 lower-case hexadecimal digits.
pub fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

/// A time as lines say it.
pub fn rfc3339(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| "9999-12-31T23:59:59Z".into())
}

/// Unix seconds of a time in RFC 3339.
pub fn seconds(text: &str) -> Option<u64> {
    OffsetDateTime::parse(text, &Rfc3339).ok().and_then(|time| u64::try_from(time.unix_timestamp()).ok())
}

/// At most so much of a text that comes from outside.
pub fn short(text: &str) -> String {
    let mut end = text.len().min(TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// RFC 8785 for what lines hold: names are ASCII, numbers are whole.
fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), BadLine> {
    match value {
        Value::Null => return Err(BadLine),
        Value::Bool(_) | Value::String(_) => serde_json::to_writer(out, value).map_err(|_| BadLine)?,
        Value::Number(number) => match number.as_u64() {
            Some(number) if number <= MAX_NUMBER => out.extend_from_slice(number.to_string().as_bytes()),
            _ => return Err(BadLine),
        },
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| name.as_str());
            out.push(b'{');
            for (i, (name, item)) in members.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, name).map_err(|_| BadLine)?;
                out.push(b':');
                write(item, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(content: Content) -> Line {
        Line { number: 7, time: rfc3339(1_700_000_000), instance: "ab".into(), prev: "00".into(), content }
    }

    #[test]
    fn a_line_has_one_form() {
        let act =
            line(Content::Act { who: "user alice".into(), what: "partition.pause".into(), on: "tenant\n".into() });
        let bytes = act.encode().unwrap();
        assert_eq!(
            std::str::from_utf8(&bytes).unwrap(),
            r#"{"fields":{"on":"tenant\n","what":"partition.pause","who":"user alice"},"instance":"ab","kind":"act","number":7,"prev":"00","time":"2023-11-14T22:13:20Z"}"#
        );
        assert_eq!(Line::decode(&bytes).unwrap(), act);
        let text = String::from_utf8(bytes).unwrap();
        for other in [
            text.replace(":7", ": 7"),
            text.replace(":7", ":7.0"),
            text.replace(r#""kind":"act""#, r#""kind":"act","more":1"#),
            text.replace(r#""number":7"#, r#""number":6,"number":7"#),
            text.replace("user alice", "user\\u0020alice"),
            text.replace("{\"on\"", "{\"more\":1,\"on\""),
            text.clone() + " ",
        ] {
            assert_eq!(Line::decode(other.as_bytes()), Err(BadLine), "{other}");
        }
    }

    #[test]
    fn counts_beyond_those_told_apart_come_back_as_such() {
        let of = Of { caller: "c".into(), partition: "p".into(), class: "k".into() };
        let counts = [Some(of), None].map(|of| Count { of, what: Use::Sealed, n: 2 }).to_vec();
        let line = line(Content::Counts { minute: rfc3339(0), counts });
        assert_eq!(Line::decode(&line.encode().unwrap()).unwrap(), line);
    }

    proptest! {
        #[test]
        fn any_text_comes_back(who: String, on: String, act: u32, error: Option<String>) {
            for content in [
                Content::Act { who, what: on.clone(), on },
                Content::Outcome { act: u64::from(act), ok: error.is_none(), error },
            ] {
                let line = line(content);
                let bytes = line.encode().unwrap();
                prop_assert!(!bytes.contains(&b'\n'));
                prop_assert_eq!(Line::decode(&bytes).unwrap(), line);
            }
        }
    }
}
