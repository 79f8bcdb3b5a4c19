//! Bodies: what goes out is wiped when it was sent, what comes in is read into memory that is wiped.

use bytes::{Buf, Bytes};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use crate::secret::SecretBytes;

/// Room for an answer that does not say how long it is.
const FIRST: usize = 4096;

/// Why an answer was not read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut {
    TooLong,
    Broken,
}

/// As a request's body; a second try of the connection shares the bytes.
pub(super) fn wiped(body: SecretBytes) -> Full<Bytes> {
    if body.expose().is_empty() {
        return Full::default();
    }
    Full::new(Bytes::from_owner(Owner(body)))
}

struct Owner(SecretBytes);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

/// An answer, whole; longer than `longest` is refused before it is read where its length is told.
pub(super) async fn whole(mut incoming: Incoming, longest: usize) -> Result<SecretBytes, Cut> {
    let told = incoming.size_hint();
    if told.lower() > longest as u64 {
        return Err(Cut::TooLong);
    }
    let room = told.exact().and_then(|length| usize::try_from(length).ok());
    let mut body = SecretBytes::new(Vec::with_capacity(room.unwrap_or(FIRST).min(longest)));
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|_| Cut::Broken)?;
        // Trailers say nothing that is asked for.
        if let Ok(data) = frame.into_data() {
            append(&mut body, data.chunk(), longest)?;
        }
    }
    Ok(body)
}

fn append(body: &mut SecretBytes, data: &[u8], longest: usize) -> Result<(), Cut> {
    let length = body.expose().len().saturating_add(data.len());
    if length > longest {
        return Err(Cut::TooLong);
    }
    if length > body.expose_mut().capacity() {
        // A vector that grows by itself leaves a copy behind on the heap; this way the old one is wiped.
        let mut larger = SecretBytes::new(Vec::with_capacity(length.saturating_mul(2).min(longest)));
        larger.expose_mut().extend_from_slice(body.expose());
        *body = larger;
    }
    body.expose_mut().extend_from_slice(data);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_grows_to_its_bound_and_no_further() {
        let mut body = SecretBytes::default();
        for _ in 0..10 {
            append(&mut body, b"0123456789", 100).unwrap();
        }
        assert_eq!(body.expose(), b"0123456789".repeat(10));
        assert!(body.expose_mut().capacity() <= 100);
        assert_eq!(append(&mut body, b"x", 100), Err(Cut::TooLong));
        assert_eq!(body.expose().len(), 100);
    }

    #[test]
    fn an_empty_body_is_none() {
        assert_eq!(wiped(SecretBytes::default()).size_hint().exact(), Some(0));
        assert_eq!(wiped(SecretBytes::new(vec![1, 2])).size_hint().exact(), Some(2));
    }
}
