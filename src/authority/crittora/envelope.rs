//! What is sealed when a value alone does not say it all: who signed it and when, whose it is and who else may open it.
//!
//! The envelope is a JSON object, sealed as a value that is no string and bound to a record id that no rule of a proxy can
//! make (theirs are JSON text, and so UTF-8): nobody who only gets values sealed can pass one of theirs off as an envelope.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::who::Who;
use crate::authority::Refused;
use crate::authority::credentials::ApiKey;
use crate::json::text::is_string_content;
use crate::name::PartitionName;
use crate::secret::SecretBytes;
use crate::token::v1::Opened;

/// What envelopes are bound to.
pub(super) const RECORD_ID: &[u8] = b"\xffcrittora envelope 1";

/// A right that this version does not know must not be passed over.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
    /// The key that sealed it, if partners are named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<Owner>,
    /// Who may open it beside the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partners: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signed_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signed_timestamp: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Owner {
    number: u64,
    label: String,
}

/// What goes around a value.
pub(super) struct Around<'a> {
    pub(super) partners: Option<Vec<&'a str>>,
    /// Who signs, and when.
    pub(super) signed: Option<(&'a str, String)>,
}

/// The envelope's text around a JSON string (without its quotes).
pub(super) fn seal(data: &str, around: Around<'_>, owner: &ApiKey) -> Result<SecretBytes, Refused> {
    let failed = |_| Refused::Unavailable("an envelope cannot be written".into());
    let quoted = SecretBytes::new([b"\"", data.as_bytes(), b"\""].concat());
    let data: &RawValue = serde_json::from_slice(quoted.expose()).map_err(failed)?;
    let (signed_by, signed_timestamp) = around.signed.map(|(by, at)| (by.to_owned(), at)).unzip();
    let owner = around.partners.is_some().then(|| Owner { number: owner.number, label: owner.label.clone() });
    let partners = around.partners.map(|names| names.into_iter().map(str::to_owned).collect());
    let envelope = Envelope { data, owner, partners, signed_by, signed_timestamp };
    let mut text = SecretBytes::new(Vec::with_capacity(quoted.expose().len() + 1024));
    serde_json::to_writer(text.expose_mut(), &envelope).map_err(failed)?;
    Ok(text)
}

/// The answer's inner object for a value that `who` may have, of either form.
pub(super) fn reveal(opened: &Opened, bound: bool, home: &PartitionName, who: &Who) -> Result<SecretBytes, Refused> {
    let text = std::str::from_utf8(opened.text.expose()).map_err(|_| Refused::NotAuthentic)?;
    if bound {
        let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|_| Refused::NotAuthentic)?;
        if !envelope.lets_open(home, who) || opened.signer.is_some() != envelope.signed_by.is_some() {
            return Err(Refused::NotAuthentic);
        }
        return Ok(inner(envelope.data.get(), &envelope, opened.signer.is_some()));
    }
    if *home != who.partition {
        return Err(Refused::NotAuthentic);
    }
    if !opened.is_string || !is_string_content(text.as_bytes()) {
        return Err(Refused::Invalid("what was sealed is no text; a sidecar can open it, this API cannot".into()));
    }
    let quoted = SecretBytes::new([b"\"", text.as_bytes(), b"\""].concat());
    let data = serde_json::from_slice(quoted.expose()).map_err(|_| Refused::NotAuthentic)?;
    let bare = Envelope { data, owner: None, partners: None, signed_by: None, signed_timestamp: None };
    Ok(inner(data.get(), &bare, opened.signer.is_some()))
}

impl Envelope<'_> {
    /// Whether a caller of this partner may have it. The roles of both partitions have been asked before.
    fn lets_open(&self, home: &PartitionName, who: &Who) -> bool {
        let at_home = who.partition == *home;
        let Some(partners) = &self.partners else { return at_home };
        let owns = at_home
            && self.owner.as_ref().is_some_and(|owner| {
                owner.number == who.key.number || (is_name(&owner.label) && owner.label == who.key.label)
            });
        owns || partners.iter().any(|partner| is_partner(&who.key, partner))
    }
}

/// Whether `partner_id` means this key: all digits are a number, anything else a label. So nobody can be given another's number
/// for a label.
fn is_partner(key: &ApiKey, partner_id: &str) -> bool {
    if is_name(partner_id) { key.label == partner_id } else { partner_id.parse() == Ok(key.number) }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.bytes().all(|byte| byte.is_ascii_digit())
}

fn inner(data: &str, envelope: &Envelope<'_>, signed: bool) -> SecretBytes {
    let mut out =
        SecretBytes::new(Vec::with_capacity(data.len() + 256 + envelope.signed_by.as_ref().map_or(0, String::len) * 6));
    let text = out.expose_mut();
    text.extend_from_slice(br#"{"decrypted_data":"#);
    text.extend_from_slice(data.as_bytes());
    if signed {
        // A signature that does not verify never comes as far as here.
        text.extend_from_slice(br#","is_valid_signature":true"#);
        for (name, value) in [("signed_by", &envelope.signed_by), ("signed_timestamp", &envelope.signed_timestamp)] {
            let Some(value) = value else { continue };
            text.extend_from_slice(format!(",\"{name}\":\"").as_bytes());
            crate::json::text::escape_into(value, text);
            text.push(b'"');
        }
    }
    text.push(b'}');
    out
}
