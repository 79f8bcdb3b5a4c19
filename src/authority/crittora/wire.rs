//! What comes in, read leniently: unknown members are ignored, a content type is not asked for.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::StatusCode;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::strangers;
use super::Call;
use super::answer::Failure;
use super::assumptions::{MAX_DATA, MAX_PARTNER_ID, MAX_PARTNERS, lets_open, lets_verify};
use crate::crypto::base64url;

/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much is taken of one that nobody reads. Until the answer it counts as memory in use, though it is not.
const DRAIN: usize = 1 << 20;

/// A body of at most so many bytes.
pub(super) async fn body(mut body: Body, most: usize) -> Result<Bytes, Failure> {
    match tokio::time::timeout(PATIENCE, collect(&mut body, most)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => {
            drain(body).await;
            Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, format!("Request Too Long: at most {most} bytes")))
        }
        Ok(Err(_)) => Err(Failure::invalid("the body broke off")),
        Err(_) => Err(Failure::invalid("the body did not come in time")),
    }
}

/// `None` if it is longer. The one piece that a short body comes in is not copied.
async fn collect(body: &mut Body, most: usize) -> Result<Option<Bytes>, axum::Error> {
    let (mut first, mut rest) = (Bytes::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame?.into_data() else { continue };
        if first.len() + rest.len() + piece.len() > most {
            return Ok(None);
        }
        match (first.is_empty(), rest.is_empty()) {
            (true, true) => first = piece,
            (false, true) => rest = [std::mem::take(&mut first), piece].concat(),
            (_, false) => rest.extend_from_slice(&piece),
        }
    }
    Ok(Some(if rest.is_empty() { first } else { rest.into() }))
}

/// Reads and drops what is left of the body of a request that is refused: many clients see no answer while they still send.
pub(super) async fn drain(mut body: Body) {
    let mut left = DRAIN;
    let all = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // Whether or not all was read, the answer goes out.
    strangers::read(all).await;
}

/// The body of `encrypt` and `sign-encrypt`.
#[derive(Deserialize)]
pub(super) struct ToSeal<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow, default)]
    requested_actions: Option<Vec<Cow<'a, str>>>,
    #[serde(default)]
    permissions: Option<Vec<Permission>>,
}

#[derive(Deserialize)]
struct Permission {
    partner_id: String,
    #[serde(default)]
    permissions: Vec<String>,
}

/// The body of `decrypt` and `decrypt-verify`. Its `permissions`, whatever clients put there, are none of its business: who
/// may open a value was settled when it was sealed.
#[derive(Deserialize)]
pub(super) struct ToOpen<'a> {
    #[serde(borrow)]
    encrypted_data: Cow<'a, str>,
}

impl<'a> ToSeal<'a> {
    pub(super) fn read(body: &'a [u8], call: Call) -> Result<Self, Failure> {
        let read: Self = serde_json::from_slice(body).map_err(|_| {
            Failure::invalid("the body is not a JSON object with a text in `data`, and `permissions` as documented")
        })?;
        let asked = read.requested_actions.as_deref().unwrap_or_default();
        let expected: &[&str] = if call.is_signed() { &["e", "s"] } else { &["e"] };
        let fits = asked.iter().all(|one| expected.contains(&one.as_ref()))
            && expected.iter().all(|one| asked.iter().any(|there| there == one));
        if !asked.is_empty() && !fits {
            return Err(Failure::invalid(if call.is_signed() {
                r#"`requested_actions` of sign-encrypt are ["e","s"]"#
            } else {
                r#"`requested_actions` of encrypt are ["e"]; call sign-encrypt for a signature"#
            }));
        }
        Ok(read)
    }

    /// The value, as JSON text between its quotes: what goes in comes out, byte for byte.
    pub(super) fn data(&self) -> Result<&'a str, Failure> {
        let text = self.data.get().strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        match text {
            Some("") | None => Err(Failure::invalid("`data` must be a text, and not an empty one")),
            Some(text) if text.len() > MAX_DATA => {
                Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, format!("`data` is longer than {MAX_DATA} bytes")))
            }
            Some(text) => Ok(text),
        }
    }

    /// The partners who may open the value beside its owner; `None`: whoever its partition lets.
    pub(super) fn partners(&self) -> Result<Option<Vec<&str>>, Failure> {
        let Some(permissions) = self.permissions.as_deref().filter(|list| !list.is_empty()) else { return Ok(None) };
        if permissions.len() > MAX_PARTNERS {
            return Err(Failure::invalid(format!("`permissions` name more than {MAX_PARTNERS} partners")));
        }
        permissions.iter().map(Permission::partner).collect::<Result<_, _>>().map(Some)
    }
}

impl Permission {
    fn partner(&self) -> Result<&str, Failure> {
        if self.partner_id.is_empty() || self.partner_id.chars().count() > MAX_PARTNER_ID {
            return Err(Failure::invalid(format!("a `partner_id` has 1 to {MAX_PARTNER_ID} characters")));
        }
        let given = &self.permissions;
        if !given.iter().all(|one| lets_open(one) || lets_verify(one)) {
            return Err(Failure::invalid(
                r#"no other permission than "d" (or "read", "decrypt": to open the value) and "v" is offered"#,
            ));
        }
        if !given.is_empty() && !given.iter().any(|one| lets_open(one)) {
            return Err(Failure::invalid(r#"a permission without "d" would let its partner do nothing"#));
        }
        Ok(&self.partner_id)
    }
}

impl<'a> ToOpen<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, Failure> {
        serde_json::from_slice(body)
            .map_err(|_| Failure::invalid("the body is not a JSON object with a text in `encrypted_data`"))
    }

    /// The token's text; `None` if it is none.
    pub(super) fn token(&self) -> Option<Vec<u8>> {
        base64url::decode_public(self.encrypted_data.trim_end_matches('=').as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn pieces(pieces: &[&'static [u8]]) -> Body {
        let frames: Vec<Result<_, Infallible>> = pieces.iter().map(|piece| Ok(Bytes::from_static(piece))).collect();
        Body::from_stream(futures_util::stream::iter(frames))
    }

    #[tokio::test]
    async fn a_body_comes_in_pieces_and_has_an_end() {
        for parts in [&[&b"abcdef"[..]][..], &[b"a", b"", b"bcd", b"ef"], &[b"", b"abc", b"def", b""]] {
            assert_eq!(body(pieces(parts), 6).await.unwrap(), "abcdef");
            assert!(body(pieces(parts), 5).await.is_err());
        }
        assert_eq!(body(Body::empty(), 0).await.unwrap(), "");
        drain(pieces(&[b"abc", b"def"])).await;
    }
}
