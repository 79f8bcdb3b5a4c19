//! What comes back, not trusted: a status outside and one inside, a body that is an object or a string of JSON, and a signature
//! that may not have verified though the plaintext stands beside it.

use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::http::Reply;
use super::super::quoted::unquote;
use super::super::{ApiError, Fault};
use super::request::Call;
use crate::crypto::base64url;
use crate::secret::SecretBytes;

/// Documented: managed calls say it with status 500.
const INCORRECT: &[u8] = b"Username and/or Password Incorrect";
/// With more behind it, a 403 is about a role or a partition and not about the key.
const FORBIDDEN: &[u8] = b"Forbidden: ";

/// An answer, as far as it can be read.
pub(super) struct Answer<'a> {
    reply: &'a Reply,
    outer: Option<Outer<'a>>,
    /// The status of HTTP, or the one inside where that is worse.
    status: StatusCode,
}

#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(rename = "statusCode")]
    status: Option<u16>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Inner<'a> {
    #[serde(borrow)]
    encrypted_data: Option<&'a RawValue>,
    #[serde(borrow)]
    decrypted_data: Option<&'a RawValue>,
    #[serde(borrow)]
    is_valid_signature: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Error<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

impl<'a> Answer<'a> {
    pub(super) fn of(reply: &'a Reply) -> Self {
        let outer: Option<Outer<'_>> = serde_json::from_slice(reply.body.expose()).ok();
        let inside = outer.as_ref().and_then(|outer| StatusCode::from_u16(outer.status?).ok());
        let status = match inside {
            Some(inside) if reply.status.as_u16() < 400 => inside,
            _ => reply.status,
        };
        Self { reply, outer, status }
    }

    /// Whether the log-in was not taken.
    pub(super) fn is_unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    /// The text that was asked for, `asked` being what was given; else why there is none.
    pub(super) fn text(&self, call: Call, asked: &[u8]) -> Result<SecretBytes, ApiError> {
        if self.status.as_u16() >= 400 {
            return Err(self.fault(call));
        }
        let said = self.outer.as_ref().filter(|outer| {
            self.reply.status.is_success() && outer.status.is_some_and(|status| (200..300).contains(&status))
        });
        let body = said.and_then(|outer| outer.body).ok_or_else(|| lie("it has no status and body"))?;
        match unquote(body) {
            Some(text) => inner(text.expose(), call, asked),
            None => inner(body.get().as_bytes(), call, asked),
        }
    }

    fn fault(&self, call: Call) -> ApiError {
        let credential = |text: &str| ApiError::new(Fault::Credential, text);
        match self.status.as_u16() {
            500 if self.says(|words| words.eq_ignore_ascii_case(INCORRECT)) => {
                credential("the API does not take user name and password: check `username` and `password`")
            }
            401 => credential(
                "the API does not take the log-in (status 401): check the user, and that `endpoint` belongs to `api`",
            ),
            403 if self.says(|words| words.starts_with(FORBIDDEN)) => ApiError::new(
                Fault::Refused,
                "the API forbids it (status 403): check the roles of the user and of the key, and the partition's state",
            ),
            403 => {
                credential("the API does not take the key (status 403): check `api_key`, `access_key`, `secret_key`")
            }
            400 if call.encrypts() => ApiError::new(Fault::Refused, "the API does not encrypt this (status 400)"),
            400 => ApiError::new(
                Fault::Refused,
                "the API does not decrypt this (status 400): it is damaged, of another key, or signed where it should not be (or the reverse)",
            ),
            _ if self.status == self.reply.status => self.reply.fault(),
            _ => {
                let headers = self.reply.headers.clone();
                Reply { status: self.status, headers, body: SecretBytes::default() }.fault()
            }
        }
    }

    /// Whether one of the places where messages stand has such words.
    fn says(&self, is: impl Fn(&[u8]) -> bool) -> bool {
        let Some(outer) = &self.outer else { return is(self.reply.body.expose().trim_ascii()) };
        let message = outer.message.and_then(unquote);
        let body = outer.body.map(|body| unquote(body).unwrap_or_else(|| SecretBytes::new(body.get().into())));
        let within = body.as_ref().and_then(|body| serde_json::from_slice::<Error<'_>>(body.expose()).ok());
        let words = within.map(|error| [error.error.and_then(unquote), error.message.and_then(unquote)]);
        let mut words: Vec<SecretBytes> = words.into_iter().flatten().flatten().collect();
        words.extend(message.into_iter().chain(body));
        words.iter().any(|words| is(words.expose().trim_ascii()))
    }
}

fn inner(body: &[u8], call: Call, asked: &[u8]) -> Result<SecretBytes, ApiError> {
    let inner: Inner<'_> = serde_json::from_slice(body).map_err(|_| lie("its body is no object as documented"))?;
    if call.encrypts() {
        let data = inner.encrypted_data.and_then(unquote);
        return data
            .filter(|data| is_ciphertext(data.expose()) && !repeats(data.expose(), asked))
            .ok_or_else(|| lie("it has no ciphertext"));
    }
    // Before the plaintext is looked at: what stands beside a signature that does not verify is nobody's.
    match (inner.is_valid_signature.map(RawValue::get), call) {
        (Some("true"), _) | (None, Call::Decrypt) => {}
        (Some("false"), _) => {
            return Err(ApiError::new(Fault::Refused, "the API says that the signature does not verify"));
        }
        _ => return Err(lie("it does not say whether the signature verifies")),
    }
    let text = inner.decrypted_data.and_then(unquote).filter(|text| !text.expose().is_empty());
    let text = text.ok_or_else(|| lie("it has no plaintext"))?;
    if std::str::from_utf8(text.expose()).is_err() {
        // Another client may have sealed it; that speaks against the value alone.
        return Err(ApiError::new(
            Fault::Refused,
            "what the API decrypted has half a surrogate pair, and so is no text",
        ));
    }
    Ok(text)
}

/// Whether these bytes may be one of the API's ciphertexts: base64url, and not empty.
pub(super) fn is_ciphertext(text: &[u8]) -> bool {
    !text.is_empty()
        && text.len() % 4 != 1
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Whether a "ciphertext" is what was to be encrypted.
fn repeats(ciphertext: &[u8], text: &[u8]) -> bool {
    ciphertext == text || base64url::decode(ciphertext).is_some_and(|bytes| SecretBytes::new(bytes).expose() == text)
}

fn lie(what: &str) -> ApiError {
    ApiError::new(Fault::Lie, format!("the answer is not what the API documents: {what}"))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    const CANARY: &str = "canary";

    fn read(status: u16, body: &str, call: Call) -> Result<String, ApiError> {
        let body = SecretBytes::new(body.into());
        let reply = Reply { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body };
        let text = Answer::of(&reply).text(call, b"asked");
        text.map(|text| String::from_utf8(text.expose().to_vec()).unwrap())
    }

    fn kind(status: u16, body: &str, call: Call) -> Fault {
        let error = read(status, body, call).unwrap_err();
        assert!(!error.text.contains(CANARY), "{error}");
        error.kind
    }

    #[rstest]
    #[case::managed(r#"{"statusCode":200,"body":{"encrypted_data":"YQ-_"}}"#)]
    #[case::direct(r#"{"statusCode":200,"body":"{\"encrypted_data\":\"YQ-_\"}"}"#)]
    #[case::more(r#"{"x":[],"statusCode":200,"body":{"encrypted_data":"\u0059Q-_","y":{}}}"#)]
    #[case::created(r#"{"statusCode":201,"body":{"encrypted_data":"YQ-_"}}"#)]
    fn ciphertexts(#[case] body: &str) {
        assert_eq!(read(200, body, Call::Encrypt).unwrap(), "YQ-_");
    }

    #[test]
    fn plaintexts_in_either_shape() {
        for (text, call) in [("plain", Call::Decrypt), ("a\"\\\n\u{1}é😀", Call::DecryptVerify)] {
            let inner = json!({ "decrypted_data": text, "is_valid_signature": true, "signed_by": "alice" });
            for body in [inner.clone(), json!(inner.to_string())] {
                let answer = json!({ "statusCode": 200, "body": body }).to_string();
                assert_eq!(read(200, &answer, call).unwrap(), text);
            }
        }
        let unsigned = r#"{"statusCode":200,"body":{"decrypted_data":"a"}}"#;
        assert_eq!(read(200, unsigned, Call::Decrypt).unwrap(), "a");
    }

    #[rstest]
    #[case::nothing("")]
    #[case::html("<html>canary</html>")]
    #[case::not_an_object("[]")]
    #[case::a_text("\"canary\"")]
    #[case::cut_off(r#"{"statusCode":200,"body":{"encrypted_data":"YWJj"}"#)]
    #[case::two_values(r#"{"statusCode":200,"body":{"encrypted_data":"YWJj"}} {}"#)]
    #[case::no_status(r#"{"body":{"encrypted_data":"YWJj"}}"#)]
    #[case::status_null(r#"{"statusCode":null,"body":{"encrypted_data":"YWJj"}}"#)]
    #[case::status_text(r#"{"statusCode":"200","body":{"encrypted_data":"YWJj"}}"#)]
    #[case::status_of_its_own(r#"{"statusCode":0,"body":{"encrypted_data":"YWJj"}}"#)]
    #[case::status_huge(r#"{"statusCode":65000,"body":{"encrypted_data":"YWJj"}}"#)]
    #[case::status_elsewhere(r#"{"statusCode":302,"body":{"encrypted_data":"YWJj"}}"#)]
    #[case::status_twice(r#"{"statusCode":500,"statusCode":200,"body":{"encrypted_data":"YWJj"}}"#)]
    #[case::no_body(r#"{"statusCode":200}"#)]
    #[case::body_null(r#"{"statusCode":200,"body":null}"#)]
    #[case::body_array(r#"{"statusCode":200,"body":["YWJj"]}"#)]
    #[case::body_is_the_text(r#"{"statusCode":200,"body":"YWJj"}"#)]
    #[case::body_twice_a_string(r#"{"statusCode":200,"body":"\"{\\\"encrypted_data\\\":\\\"YWJj\\\"}\""}"#)]
    #[case::no_data(r#"{"statusCode":200,"body":{"data":"YWJj"}}"#)]
    #[case::data_null(r#"{"statusCode":200,"body":{"encrypted_data":null}}"#)]
    #[case::data_number(r#"{"statusCode":200,"body":{"encrypted_data":12}}"#)]
    #[case::data_array(r#"{"statusCode":200,"body":{"encrypted_data":["YWJj"]}}"#)]
    #[case::data_empty(r#"{"statusCode":200,"body":{"encrypted_data":""}}"#)]
    #[case::data_padded(r#"{"statusCode":200,"body":{"encrypted_data":"YQ=="}}"#)]
    #[case::data_standard(r#"{"statusCode":200,"body":{"encrypted_data":"YQ+/"}}"#)]
    #[case::data_words(r#"{"statusCode":200,"body":{"encrypted_data":"not base64"}}"#)]
    #[case::data_quote(r#"{"statusCode":200,"body":{"encrypted_data":"a\"bc"}}"#)]
    #[case::data_length(r#"{"statusCode":200,"body":{"encrypted_data":"abcde"}}"#)]
    #[case::data_twice(r#"{"statusCode":200,"body":{"encrypted_data":"YWJj","encrypted_data":"YWJk"}}"#)]
    #[case::what_was_asked(r#"{"statusCode":200,"body":{"encrypted_data":"YXNrZWQ"}}"#)]
    #[case::the_other_field(r#"{"statusCode":200,"body":{"decrypted_data":"canary"}}"#)]
    fn lies_when_encrypting(#[case] body: &str) {
        assert_eq!(kind(200, body, Call::Encrypt), Fault::Lie);
        assert_eq!(kind(200, body, Call::SignEncrypt), Fault::Lie);
    }

    #[rstest]
    #[case::none(r#"{"decrypted_data":"canary"}"#, Fault::Lie)]
    #[case::null(r#"{"decrypted_data":"canary","is_valid_signature":null}"#, Fault::Lie)]
    #[case::no(r#"{"decrypted_data":"canary","is_valid_signature":false}"#, Fault::Refused)]
    #[case::text(r#"{"decrypted_data":"canary","is_valid_signature":"true"}"#, Fault::Lie)]
    #[case::number(r#"{"decrypted_data":"canary","is_valid_signature":1}"#, Fault::Lie)]
    #[case::object(r#"{"decrypted_data":"canary","is_valid_signature":{"true":true}}"#, Fault::Lie)]
    #[case::twice(r#"{"decrypted_data":"canary","is_valid_signature":false,"is_valid_signature":true}"#, Fault::Lie)]
    #[case::other_case(r#"{"decrypted_data":"canary","Is_Valid_Signature":true}"#, Fault::Lie)]
    #[case::no_plaintext(r#"{"is_valid_signature":true}"#, Fault::Lie)]
    #[case::plaintext_null(r#"{"decrypted_data":null,"is_valid_signature":true}"#, Fault::Lie)]
    #[case::plaintext_empty(r#"{"decrypted_data":"","is_valid_signature":true}"#, Fault::Lie)]
    #[case::plaintext_object(r#"{"decrypted_data":{"a":"canary"},"is_valid_signature":true}"#, Fault::Lie)]
    #[case::plaintext_number(r#"{"decrypted_data":4111,"is_valid_signature":true}"#, Fault::Lie)]
    #[case::half_a_pair(r#"{"decrypted_data":"canary\ud800","is_valid_signature":true}"#, Fault::Refused)]
    fn lies_when_verifying(#[case] inner: &str, #[case] fault: Fault) {
        for body in [inner.to_owned(), json!(inner).to_string()] {
            assert_eq!(kind(200, &format!(r#"{{"statusCode":200,"body":{body}}}"#), Call::DecryptVerify), fault);
        }
    }

    #[test]
    fn a_signature_that_does_not_verify_stops_a_plain_decryption_too() {
        let body = r#"{"statusCode":200,"body":{"decrypted_data":"canary","is_valid_signature":false}}"#;
        assert_eq!(kind(200, body, Call::Decrypt), Fault::Refused);
    }

    #[rstest]
    #[case(400, r#"{"message":"canary"}"#, Fault::Refused)]
    #[case(401, r#"{"message":"Unauthorized"}"#, Fault::Credential)]
    #[case(403, r#"{"message":"Forbidden"}"#, Fault::Credential)]
    #[case(403, "canary", Fault::Credential)]
    #[case(403, r#"{"message":"Forbidden: the partition is paused"}"#, Fault::Refused)]
    #[case(500, r#"{"message":"Username and/or Password Incorrect"}"#, Fault::Credential)]
    #[case(500, r#"{"statusCode":500,"body":{"error":"Username and/or Password Incorrect"}}"#, Fault::Credential)]
    #[case(
        500,
        r#"{"statusCode":500,"body":"{\"error\":\"Username and\/or Password Incorrect\"}"}"#,
        Fault::Credential
    )]
    #[case(500, r#"{"statusCode":500,"body":"Username and/or Password Incorrect"}"#, Fault::Credential)]
    #[case(500, "Username and/or Password Incorrect\n", Fault::Credential)]
    #[case(200, r#"{"statusCode":500,"body":{"message":"Username and/or Password Incorrect"}}"#, Fault::Credential)]
    #[case(200, r#"{"statusCode":401,"body":{"encrypted_data":"YWJj","decrypted_data":"a"}}"#, Fault::Credential)]
    #[case(200, r#"{"statusCode":400,"body":{"encrypted_data":"YWJj","decrypted_data":"canary"}}"#, Fault::Refused)]
    #[case(400, r#"{"statusCode":200,"body":{"encrypted_data":"YWJj","decrypted_data":"canary"}}"#, Fault::Refused)]
    fn refusals(#[case] status: u16, #[case] body: &str, #[case] fault: Fault) {
        for call in [Call::Encrypt, Call::SignEncrypt, Call::Decrypt, Call::DecryptVerify] {
            assert_eq!(kind(status, body, call), fault);
        }
    }

    #[test]
    fn unauthorized_inside_or_outside_is_a_case_for_the_log_in() {
        for (status, body) in [(401, ""), (401, r#"{"statusCode":200}"#), (200, r#"{"statusCode":401}"#)] {
            let body = SecretBytes::new(body.into());
            let reply = Reply { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body };
            assert!(Answer::of(&reply).is_unauthorized());
        }
    }
}
