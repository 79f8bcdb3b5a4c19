//! What comes back, not trusted: success has a code of its own, errors one of two envelopes, and every value its form.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::http::Reply;
use super::super::quoted::unquote;
use super::super::{ApiError, Fault};
use super::form;
use crate::crypto::base64;
use crate::secret::SecretBytes;

const SUCCESS: &str = "SUCCESS";
/// Longer than the vendor's tokens, and short enough for a header.
const LONGEST_TOKEN: usize = 8192;

#[derive(Deserialize)]
struct Envelope<'a> {
    code: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    error: Option<Gateway>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Gateway {
    error_code: Code,
}

/// A text as documented, or a number as some gateways write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Code {
    Text(String),
    Number(u16),
}

#[derive(Deserialize)]
struct Ciphertexts<'a> {
    #[serde(borrow)]
    ciphertext: &'a RawValue,
}

#[derive(Deserialize)]
struct Plaintexts<'a> {
    #[serde(borrow)]
    plaintext: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Made<'a> {
    #[serde(borrow)]
    access_token: &'a RawValue,
}

/// Why a call was not done; `None`: it was, as far as the envelope says.
pub(super) fn failure(reply: &Reply) -> Option<ApiError> {
    let envelope: Option<Envelope<'_>> = serde_json::from_slice(reply.body.expose()).ok();
    let (code, gateway) = envelope.map_or((None, None), |envelope| (envelope.code, envelope.error));
    if reply.status.is_success() && code.as_deref() == Some(SUCCESS) && gateway.is_none() {
        return None;
    }
    let known = match (gateway, code.as_deref()) {
        (Some(Gateway { error_code: Code::Text(code) }), _) => of_the_gateway(reply, &code),
        (Some(Gateway { error_code: Code::Number(code) }), _) => of_the_gateway(reply, &code.to_string()),
        (None, Some(code)) => of_the_service(reply, code),
        (None, None) => None,
    };
    Some(known.unwrap_or_else(|| match reply.status.as_u16() {
        200..300 => lie("it has neither a result nor a documented error"),
        _ => reply.fault(),
    }))
}

/// Documented for the key service.
fn of_the_service(reply: &Reply, code: &str) -> Option<ApiError> {
    let (code, kind, text) = match code {
        "INVALID_REQUEST" => ("INVALID_REQUEST", Fault::Refused, "the key does not take this"),
        "FORBIDDEN" => ("FORBIDDEN", Fault::Refused, "there is no such key, or the credential may not use it so"),
        "UNAUTHORIZED" => ("UNAUTHORIZED", Fault::Credential, "the API does not take the credential"),
        "UNPROCESSABLE_ENTITY" => (
            "UNPROCESSABLE_ENTITY",
            Fault::Refused,
            "the key is disabled, or the ciphertext is none of this key's and context's",
        ),
        "INTERNAL_SERVER_ERROR" => ("INTERNAL_SERVER_ERROR", Fault::Server, "the API failed"),
        _ => return None,
    };
    Some(ApiError::new(kind, format!("{text} ({code}, status {})", reply.status.as_u16())))
}

/// Documented for the gateway before it. The status tells apart what has the same number.
fn of_the_gateway(reply: &Reply, code: &str) -> Option<ApiError> {
    let status = reply.status.as_u16();
    let (kind, text) = match (status, code) {
        (400, "100") => (Fault::Refused, "the gateway does not take the request"),
        (401, "200") => (Fault::Credential, "the gateway does not take the credential"),
        (401, "210") => (Fault::Credential, "the credential may not make this call"),
        (404, "300") => (Fault::Refused, "the gateway knows no such call: check the endpoint"),
        (429, "400") => (Fault::Throttled(reply.retry_after()), "the quota is used up"),
        (429, "410" | "420") => (Fault::Throttled(reply.retry_after()), "too many calls"),
        (413, "430") => (Fault::Refused, "the gateway does not take so long a body"),
        (503, "500") => (Fault::Server, "the gateway does not reach the API"),
        // Some put the error into an answer of status 200.
        (200, "200" | "210") => (Fault::Credential, "the gateway does not take the credential"),
        (200, "410" | "420") => (Fault::Throttled(reply.retry_after()), "too many calls"),
        _ => return None,
    };
    Some(ApiError::new(kind, format!("{text} (status {status}, gateway {code})")))
}

/// The ciphertexts of these texts.
pub(super) fn ciphertexts(reply: &Reply, texts: &[SecretBytes], convergent: bool) -> Result<Vec<Vec<u8>>, ApiError> {
    let data: Ciphertexts<'_> = data(reply)?;
    let values = values(data.ciphertext, texts.len())?;
    let mut ciphertexts = Vec::with_capacity(values.len());
    for (value, text) in values.into_iter().zip(texts) {
        let ciphertext = unquote(value).ok_or_else(|| lie("a ciphertext is no text"))?;
        let sealed = form::sealed_len(ciphertext.expose()).ok_or_else(|| lie("a ciphertext is not in its form"))?;
        if !form::holds(sealed, text.expose().len()) {
            return Err(lie("a ciphertext has not the length of its text's"));
        }
        ciphertexts.push(ciphertext.expose().to_vec());
    }
    tell_apart(texts, &ciphertexts, convergent)?;
    Ok(ciphertexts)
}

/// Different texts have different ciphertexts; under a convergent key equal ones have equal ones.
fn tell_apart(texts: &[SecretBytes], ciphertexts: &[Vec<u8>], convergent: bool) -> Result<(), ApiError> {
    let mut text_of = HashMap::with_capacity(texts.len());
    let mut ciphertext_of = HashMap::new();
    for (text, ciphertext) in texts.iter().map(SecretBytes::expose).zip(ciphertexts) {
        if text_of.insert(ciphertext, text).is_some_and(|other| other != text) {
            return Err(lie("two texts have the same ciphertext"));
        }
        if convergent && ciphertext_of.insert(text, ciphertext).is_some_and(|other| other != ciphertext) {
            return Err(lie("equal texts have different ciphertexts: is the key convergent, as the profile says?"));
        }
    }
    Ok(())
}

/// The texts of these ciphertexts.
pub(super) fn texts(reply: &Reply, ciphertexts: &[Vec<u8>]) -> Result<Vec<SecretBytes>, ApiError> {
    let data: Plaintexts<'_> = data(reply)?;
    let values = values(data.plaintext, ciphertexts.len())?;
    let mut texts = Vec::with_capacity(values.len());
    for (value, ciphertext) in values.into_iter().zip(ciphertexts) {
        let encoded = unquote(value).ok_or_else(|| lie("a plaintext is no text"))?;
        let mut text = SecretBytes::default();
        let decoded = base64::decode_into(encoded.expose(), ciphertext.len(), text.expose_mut());
        let length = decoded.ok_or_else(|| lie("a plaintext is not in base64"))?;
        if !form::sealed_len(ciphertext).is_some_and(|sealed| form::holds(sealed, length)) {
            return Err(lie("a plaintext has not the length of its ciphertext's"));
        }
        texts.push(text);
    }
    Ok(texts)
}

pub(super) fn access_token(reply: &Reply) -> Result<SecretBytes, ApiError> {
    let made: Made<'_> = data(reply)?;
    let token = unquote(made.access_token).filter(|token| {
        (1..=LONGEST_TOKEN).contains(&token.expose().len()) && token.expose().iter().all(u8::is_ascii_graphic)
    });
    token.ok_or_else(|| lie("it has no access token"))
}

/// `data` of a call that was done.
fn data<'a, T: Deserialize<'a>>(reply: &'a Reply) -> Result<T, ApiError> {
    let envelope: Option<Envelope<'_>> = serde_json::from_slice(reply.body.expose()).ok();
    let data = envelope.and_then(|envelope| envelope.data).ok_or_else(|| lie("it has no data"))?;
    serde_json::from_str(data.get()).map_err(|_| lie("its data are not those of the call"))
}

/// A string where one value was given, an array of as many where there were more.
fn values(value: &RawValue, count: usize) -> Result<Vec<&RawValue>, ApiError> {
    if count == 1 {
        return Ok(vec![value]);
    }
    let values: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(|_| lie("it has no array"))?;
    if values.len() != count {
        return Err(lie("its array has another length than the one that was sent"));
    }
    Ok(values)
}

fn lie(what: &str) -> ApiError {
    ApiError::new(Fault::Lie, format!("the answer is not what NAVER Cloud KMS documents: {what}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, StatusCode};
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn reply(status: u16, body: &str) -> Reply {
        let body = SecretBytes::new(body.into());
        Reply { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body }
    }

    fn success(data: &Value) -> Reply {
        reply(200, &json!({ "code": "SUCCESS", "data": data }).to_string())
    }

    fn secrets(texts: &[&str]) -> Vec<SecretBytes> {
        texts.iter().map(|text| SecretBytes::new((*text).into())).collect()
    }

    /// What a good API would make of a text.
    fn sealed(text: &str, nonce: u8) -> String {
        let bytes = [&[nonce; 12][..], text.as_bytes(), &[0; 16]].concat();
        format!("ncpkms:v1:{}", base64::encode(&bytes))
    }

    fn encrypted(texts: &[&str], answer: &Value) -> Result<Vec<Vec<u8>>, ApiError> {
        ciphertexts(&success(&json!({ "ciphertext": answer })), &secrets(texts), false)
    }

    fn decrypted(ciphertexts: &[String], answer: &Value) -> Result<Vec<SecretBytes>, ApiError> {
        let ciphertexts: Vec<_> = ciphertexts.iter().map(|text| text.clone().into_bytes()).collect();
        texts(&success(&json!({ "plaintext": answer })), &ciphertexts)
    }

    #[track_caller]
    fn is_lie<T>(result: Result<T, ApiError>) {
        let error = result.err().unwrap();
        assert_eq!(error.kind, Fault::Lie, "{error}");
        assert!(!error.text.contains("canary"), "{error}");
    }

    #[test]
    fn values_come_back_in_the_shape_that_was_sent() {
        let (one, two) = (sealed("one", 1), sealed("", 2));
        assert_eq!(encrypted(&["one"], &json!(one)).unwrap(), [one.as_bytes()]);
        assert_eq!(encrypted(&["one", ""], &json!([one, two])).unwrap(), [one.as_bytes(), two.as_bytes()]);
        let texts = decrypted(&[one.clone(), two], &json!([base64::encode(b"one"), ""])).unwrap();
        assert_eq!(texts.iter().map(SecretBytes::expose).collect::<Vec<_>>(), [b"one", &b""[..]]);
        assert_eq!(decrypted(&[one], &json!(base64::encode(b"one"))).unwrap()[0].expose(), b"one");
    }

    #[test]
    fn an_escaped_slash_is_a_slash() {
        let text = "\u{3ff}\u{3ff}\u{3ff}";
        let encoded = base64::encode(text.as_bytes());
        assert!(encoded.contains('/'));
        let body = format!(r#"{{"code":"SUCCESS","data":{{"plaintext":"{}"}}}}"#, encoded.replace('/', "\\/"));
        assert_eq!(texts(&reply(200, &body), &[sealed(text, 1).into()]).unwrap()[0].expose(), text.as_bytes());
    }

    #[rstest]
    #[case::array_for_one(&["one"], json!([sealed("one", 1)]))]
    #[case::one_for_array(&["one", "two"], json!(sealed("one", 1)))]
    #[case::too_few(&["one", "two"], json!([sealed("one", 1)]))]
    #[case::too_many(&["one", "two"], json!([sealed("one", 1), sealed("two", 2), sealed("two", 3)]))]
    #[case::none(&["one", "two"], json!([]))]
    #[case::null(&["one"], json!(null))]
    #[case::null_within(&["one", "two"], json!([sealed("one", 1), null]))]
    #[case::number(&["one"], json!(1))]
    #[case::object(&["one"], json!({"0": sealed("one", 1)}))]
    #[case::nested(&["one", "two"], json!([sealed("one", 1), [sealed("two", 2)]]))]
    #[case::empty(&["one"], json!(""))]
    #[case::words(&["one"], json!("canary"))]
    #[case::plaintext(&["canary"], json!(format!("ncpkms:v1:{}", base64::encode(b"canary"))))]
    #[case::too_short(&["one"], json!(sealed("on", 1)))]
    #[case::too_long(&["one"], json!(sealed("ones", 1)))]
    #[case::no_version(&["one"], json!(sealed("one", 1).replace("v1", "v")))]
    #[case::other_prefix(&["one"], json!(sealed("one", 1).replace("ncpkms", "vault")))]
    #[case::white_space(&["one"], json!(format!("{} ", sealed("one", 1))))]
    #[case::swapped(&["one", "three"], json!([sealed("three", 1), sealed("one", 2)]))]
    #[case::twice_the_same(&["one", "two"], json!([sealed("one", 1), sealed("one", 1)]))]
    fn lies_when_encrypting(#[case] texts: &[&str], #[case] answer: Value) {
        is_lie(encrypted(texts, &answer));
    }

    #[rstest]
    #[case::array_for_one(&["one"], json!([base64::encode(b"one")]))]
    #[case::one_for_array(&["one", "two"], json!(base64::encode(b"one")))]
    #[case::too_few(&["one", "two"], json!([base64::encode(b"one")]))]
    #[case::too_many(&["one", "two"], json!(["b25l", "dHdv", "dHdv"]))]
    #[case::null(&["one"], json!(null))]
    #[case::number_within(&["one", "two"], json!(["b25l", 2]))]
    #[case::not_base64(&["canary"], json!("canary!"))]
    #[case::unpadded(&["four"], json!("Zm91cg"))]
    #[case::not_canonical(&["four"], json!("Zm91ch=="))]
    #[case::base64url(&["???"], json!("Pz8_"))]
    #[case::too_short(&["one"], json!(base64::encode(b"on")))]
    #[case::too_long(&["one"], json!(base64::encode(b"canary")))]
    #[case::swapped(&["one", "three"], json!([base64::encode(b"three"), base64::encode(b"one")]))]
    fn lies_when_decrypting(#[case] texts: &[&str], #[case] answer: Value) {
        let ciphertexts: Vec<_> = texts.iter().map(|text| sealed(text, 1)).collect();
        is_lie(decrypted(&ciphertexts, &answer));
    }

    #[rstest]
    #[case("")]
    #[case("<html>canary</html>")]
    #[case("[]")]
    #[case(r#""SUCCESS""#)]
    #[case(r#"{"data":{"ciphertext":"canary"}}"#)]
    #[case(r#"{"code":null,"data":{}}"#)]
    #[case(r#"{"code":200,"data":{}}"#)]
    #[case(r#"{"code":"success","data":{}}"#)]
    #[case(r#"{"code":"canary","data":{}}"#)]
    #[case(r#"{"code":"SUCCESS","code":"FORBIDDEN","data":{}}"#)]
    #[case(r#"{"code":"SUCCESS","data":{"ciphertext":"a"},"error":{"errorCode":"999"}}"#)]
    #[case(r#"{"error":{"errorCode":"999","message":"canary"}}"#)]
    #[case(r#"{"error":"canary"}"#)]
    fn no_success(#[case] body: &str) {
        is_lie(failure(&reply(200, body)).map_or(Ok(()), Err));
    }

    #[rstest]
    #[case("{}")]
    #[case(r#"{"code":"SUCCESS"}"#)]
    #[case(r#"{"code":"SUCCESS","data":null}"#)]
    #[case(r#"{"code":"SUCCESS","data":"canary"}"#)]
    #[case(r#"{"code":"SUCCESS","data":{}}"#)]
    #[case(r#"{"code":"SUCCESS","data":{"plaintexts":"a"}}"#)]
    #[case(r#"{"code":"SUCCESS","data":{"accessToken":""}}"#)]
    #[case(r#"{"code":"SUCCESS","data":{"accessToken":"a b"}}"#)]
    #[case(r#"{"code":"SUCCESS","data":{"accessToken":"a\nb"}}"#)]
    #[case(r#"{"code":"SUCCESS","data":{"accessToken":["a"]}}"#)]
    fn no_data(#[case] body: &str) {
        let reply = reply(200, body);
        is_lie(ciphertexts(&reply, &secrets(&["a"]), false));
        is_lie(texts(&reply, &[sealed("a", 1).into()]));
        is_lie(access_token(&reply));
    }

    #[rstest]
    #[case(400, r#"{"code":"INVALID_REQUEST","msg":"canary"}"#, Fault::Refused)]
    #[case(403, r#"{"code":"FORBIDDEN","msg":"canary"}"#, Fault::Refused)]
    #[case(401, r#"{"code":"UNAUTHORIZED","msg":"canary"}"#, Fault::Credential)]
    #[case(422, r#"{"code":"UNPROCESSABLE_ENTITY","msg":"canary"}"#, Fault::Refused)]
    #[case(500, r#"{"code":"INTERNAL_SERVER_ERROR","msg":"canary"}"#, Fault::Server)]
    #[case(200, r#"{"code":"FORBIDDEN","msg":"canary","data":{"plaintext":"Y2FuYXJ5"}}"#, Fault::Refused)]
    #[case(400, r#"{"error":{"errorCode":"100","message":"canary"}}"#, Fault::Refused)]
    #[case(401, r#"{"error":{"errorCode":"200","message":"canary","details":"canary"}}"#, Fault::Credential)]
    #[case(401, r#"{"error":{"errorCode":210}}"#, Fault::Credential)]
    #[case(404, r#"{"error":{"errorCode":"300"}}"#, Fault::Refused)]
    #[case(429, r#"{"error":{"errorCode":"400"}}"#, Fault::Throttled(Some(Duration::from_secs(7))))]
    #[case(429, r#"{"error":{"errorCode":"410"}}"#, Fault::Throttled(Some(Duration::from_secs(7))))]
    #[case(429, r#"{"error":{"errorCode":"420"}}"#, Fault::Throttled(Some(Duration::from_secs(7))))]
    #[case(413, r#"{"error":{"errorCode":"430"}}"#, Fault::Refused)]
    #[case(503, r#"{"error":{"errorCode":"500"}}"#, Fault::Server)]
    #[case(200, r#"{"code":"SUCCESS","data":{},"error":{"errorCode":"200"}}"#, Fault::Credential)]
    fn errors(#[case] status: u16, #[case] body: &str, #[case] fault: Fault) {
        let mut reply = reply(status, body);
        reply.headers.insert("retry-after", "7".parse().unwrap());
        let error = failure(&reply).unwrap();
        assert!(!error.text.contains("canary"), "{error}");
        // Reading `Retry-After` is not this module's.
        let kind = match (error.kind, fault) {
            (Fault::Throttled(_), Fault::Throttled(_)) => fault,
            (kind, _) => kind,
        };
        assert_eq!(kind, fault);
    }

    #[test]
    fn a_key_that_is_not_convergent_is_found_out() {
        let answer = success(&json!({ "ciphertext": [sealed("one", 1), sealed("one", 2)] }));
        let twice = secrets(&["one", "one"]);
        assert!(ciphertexts(&answer, &twice, false).is_ok());
        is_lie(ciphertexts(&answer, &twice, true));
        let same = success(&json!({ "ciphertext": [sealed("one", 1), sealed("one", 1)] }));
        assert!(ciphertexts(&same, &twice, true).is_ok());
    }

    #[test]
    fn an_access_token() {
        assert_eq!(access_token(&success(&json!({ "accessToken": "a.b-c" }))).unwrap().expose(), b"a.b-c");
    }
}
