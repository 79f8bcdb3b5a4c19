//! What goes out, for both of Crittora's APIs.

use http::{HeaderName, HeaderValue, header};

use super::super::quoted::{quote_into, quoted_len};
use super::super::{ApiError, Fault};
use super::answer::is_ciphertext;
use crate::secret::SecretBytes;

pub(super) const USERNAME: HeaderName = HeaderName::from_static("username");
pub(super) const PASSWORD: HeaderName = HeaderName::from_static("password");
pub(super) const API_KEY: HeaderName = HeaderName::from_static("api_key");
pub(super) const ACCESS_KEY: HeaderName = HeaderName::from_static("access_key");
pub(super) const SECRET_KEY: HeaderName = HeaderName::from_static("secret_key");

/// Header fields of a request.
pub(super) type Headers = Vec<(HeaderName, HeaderValue)>;

/// The four calls, which both APIs have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Encrypt,
    SignEncrypt,
    Decrypt,
    DecryptVerify,
}

impl Call {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::SignEncrypt => "sign-encrypt",
            Self::Decrypt => "decrypt",
            Self::DecryptVerify => "decrypt-verify",
        }
    }

    pub(super) fn encrypts(self) -> bool {
        matches!(self, Self::Encrypt | Self::SignEncrypt)
    }
}

/// The body of a managed call.
pub(super) fn managed(call: Call, text: &[u8]) -> Result<SecretBytes, ApiError> {
    body(call, text, "")
}

/// The body of a direct call, which says what is asked for once more.
pub(super) fn direct(call: Call, text: &[u8]) -> Result<SecretBytes, ApiError> {
    let actions = match call {
        Call::Encrypt => r#","requested_actions":["e"]"#,
        Call::SignEncrypt => r#","requested_actions":["e","s"]"#,
        Call::Decrypt | Call::DecryptVerify => "",
    };
    body(call, text, actions)
}

fn body(call: Call, text: &[u8], more: &str) -> Result<SecretBytes, ApiError> {
    // What was stored may be anything: nothing that cannot be a ciphertext goes out.
    if !call.encrypts() && !is_ciphertext(text) {
        return Err(ApiError::new(Fault::Refused, "this is no ciphertext of the API's"));
    }
    let head: &[u8] = if call.encrypts() { br#"{"data":"# } else { br#"{"encrypted_data":"# };
    // The buffer never moves, so that it leaves no copy behind.
    let mut body = SecretBytes::new(Vec::with_capacity(head.len() + quoted_len(text) + more.len() + 1));
    let out = body.expose_mut();
    out.extend_from_slice(head);
    if text.is_empty() || quote_into(text, out).is_none() {
        return Err(ApiError::new(
            Fault::Refused,
            "the API takes texts that are not empty, in UTF-8, and nothing else",
        ));
    }
    out.extend_from_slice(more.as_bytes());
    out.push(b'}');
    Ok(body)
}

pub(super) fn json() -> (HeaderName, HeaderValue) {
    (header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
}

/// The value of `Authorization` for a token that the log-in gave.
pub(super) fn bearer(token: &SecretBytes) -> Result<HeaderValue, ApiError> {
    let text = SecretBytes::new([b"Bearer ", token.expose()].concat());
    let mut value = HeaderValue::from_bytes(text.expose())
        .map_err(|_| ApiError::new(Fault::Lie, "the log-in gave a token that fits no header"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(body: Result<SecretBytes, ApiError>) -> String {
        String::from_utf8(body.unwrap().expose().to_vec()).unwrap()
    }

    #[test]
    fn bodies_are_as_documented() {
        let value = "a\"b\\\n\u{1}é".as_bytes();
        assert_eq!(text(managed(Call::Encrypt, value)), r#"{"data":"a\"b\\\n\u0001é"}"#);
        assert_eq!(text(managed(Call::SignEncrypt, b"a")), r#"{"data":"a"}"#);
        assert_eq!(text(managed(Call::DecryptVerify, b"YQ")), r#"{"encrypted_data":"YQ"}"#);
        assert_eq!(text(direct(Call::Encrypt, b"a")), r#"{"data":"a","requested_actions":["e"]}"#);
        assert_eq!(text(direct(Call::SignEncrypt, b"a")), r#"{"data":"a","requested_actions":["e","s"]}"#);
        assert_eq!(text(direct(Call::Decrypt, b"YQ")), r#"{"encrypted_data":"YQ"}"#);
    }

    #[test]
    fn a_body_fits_the_buffer_that_is_made_for_it() {
        for call in [Call::Encrypt, Call::SignEncrypt] {
            let mut body = direct(call, "\u{1}\"é".repeat(1000).as_bytes()).unwrap();
            assert_eq!(body.expose().len(), body.expose_mut().capacity());
        }
    }

    #[test]
    fn what_the_api_cannot_take_does_not_go_out() {
        for (call, text) in [
            (Call::Encrypt, &b""[..]),
            (Call::Encrypt, b"\xff"),
            (Call::Decrypt, b""),
            (Call::Decrypt, b"a\"b"),
            (Call::DecryptVerify, b"YQ=="),
            (Call::Decrypt, "é".as_bytes()),
        ] {
            assert_eq!(managed(call, text).unwrap_err().kind, Fault::Refused, "{text:?}");
        }
    }

    #[test]
    fn a_bearer_is_sensitive_and_one_line() {
        assert!(bearer(&SecretBytes::new(b"a.b.c".to_vec())).unwrap().is_sensitive());
        assert_eq!(bearer(&SecretBytes::new(b"a\r\nb: c".to_vec())).unwrap_err().kind, Fault::Lie);
    }
}
