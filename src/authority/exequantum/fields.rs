//! Reading what was sent, and telling all that is wrong with it at once, in the shape that the vendor's framework has.

use axum::body::Body;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::answer::Problem;
use super::assumed;
use crate::crypto::hex;
use crate::secret::SecretBytes;

/// The members of a body, and what was wrong with them so far.
pub struct Fields {
    members: Map<String, Value>,
    wrong: Vec<Value>,
}

impl Fields {
    /// Reads a body, whatever it says its type is.
    pub async fn read(body: Body) -> Result<Self, Problem> {
        let bytes = axum::body::to_bytes(body, assumed::BODY)
            .await
            .map_err(|_| Problem::Detail(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large, or broke off"))?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(members)) => Ok(Self { members, wrong: Vec::new() }),
            Ok(_) => Err(whole("value is not a valid dict", "type_error.dict")),
            // Some calls need nothing.
            Err(_) if bytes.is_empty() => Ok(Self { members: Map::new(), wrong: Vec::new() }),
            Err(_) => Err(whole("the body is not JSON", "value_error.jsondecode")),
        }
    }

    /// Whether a member is there and not null.
    pub fn has(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|value| !value.is_null())
    }

    /// Of the first of these names that is there, its text.
    pub fn text(&mut self, names: &[&'static str]) -> Option<SecretBytes> {
        let name = names.iter().find(|name| self.has(name)).or_else(|| names.first()).copied().unwrap_or_default();
        match self.members.remove(name) {
            Some(Value::String(text)) if text.len() <= assumed::BODY => Some(SecretBytes::new(text.into_bytes())),
            Some(Value::Null) | None => self.refuse(name, "field required", "value_error.missing"),
            Some(_) => self.refuse(name, "str type expected", "type_error.str"),
        }
    }

    /// Text that is encrypted, signed or verified.
    pub fn message(&mut self, names: &[&'static str]) -> Option<SecretBytes> {
        let text = self.text(names)?;
        if text.expose().len() <= assumed::TEXT {
            return Some(text);
        }
        let name = names.first().copied().unwrap_or_default();
        self.refuse(name, "longer than 1048576 bytes", "value_error.any_str.max_length")
    }

    /// Bytes in hexadecimal, of one of these lengths; any length if there is none.
    pub fn bytes(&mut self, names: &[&'static str], lengths: &[usize]) -> Option<SecretBytes> {
        let text = self.text(names)?;
        let bytes = hex::decode(text.expose()).map(SecretBytes::new);
        match bytes {
            Some(bytes) if lengths.is_empty() || lengths.contains(&bytes.expose().len()) => Some(bytes),
            _ => self.refuse(names.first().copied().unwrap_or_default(), &expected(lengths), "value_error"),
        }
    }

    /// A member that may be missing, and else has this very text.
    pub fn only(&mut self, name: &'static str, expected: &str) {
        if self.has(name) && self.members.get(name).and_then(Value::as_str) != Some(expected) {
            let message = format!("only {expected} is supported");
            self.refuse::<()>(name, &message, "value_error.const");
        }
    }

    /// Remembers that a member is wrong.
    pub fn refuse<T>(&mut self, name: &str, message: &str, kind: &str) -> Option<T> {
        self.wrong.push(json!({ "loc": ["body", name], "msg": message, "type": kind }));
        None
    }

    /// All that was found wrong; nothing may be done after that.
    pub fn check(&mut self) -> Result<(), Problem> {
        if self.wrong.is_empty() { Ok(()) } else { Err(self.problem()) }
    }

    /// The same where something is known to be wrong.
    pub fn problem(&mut self) -> Problem {
        Problem::Fields(std::mem::take(&mut self.wrong))
    }
}

/// Whole seconds or counts of a query: at least 1, at most `most`.
pub fn number(query: &str, name: &str, default: u64, most: u64) -> Result<u64, Value> {
    let decoded =
        |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned);
    let mut found = None;
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decoded(key).is_ok_and(|key| key == name) {
            found = Some(decoded(value).unwrap_or_default());
        }
    }
    let Some(text) = found else { return Ok(default) };
    let line = |message: String, kind: &str| json!({ "loc": ["query", name], "msg": message, "type": kind });
    let Ok(number) = text.parse::<i64>() else {
        return Err(line("value is not a valid integer".into(), "type_error.integer"));
    };
    match u64::try_from(number) {
        Ok(number) if number > most => {
            Err(line(format!("ensure this value is less than or equal to {most}"), "value_error.number.not_le"))
        }
        Ok(number) if number >= 1 => Ok(number),
        _ => Err(line("ensure this value is greater than or equal to 1".into(), "value_error.number.not_ge")),
    }
}

fn whole(message: &str, kind: &str) -> Problem {
    Problem::Fields(vec![json!({ "loc": ["body"], "msg": message, "type": kind })])
}

fn expected(lengths: &[usize]) -> String {
    let lengths: Vec<String> = lengths.iter().map(ToString::to_string).collect();
    match lengths.as_slice() {
        [] => "hexadecimal digits expected".into(),
        lengths => format!("{} bytes in hexadecimal expected", lengths.join(" or ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Result<Fields, Problem> {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(Fields::read(Body::from(text)))
    }

    fn lines(problem: Problem) -> String {
        match problem {
            Problem::Fields(lines) => Value::Array(lines).to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let mut fields = read(r#"{"a":"zz","b":7,"c":null,"d":"00ff","algorithm":"ML-KEM-512"}"#).unwrap();
        assert!(fields.bytes(&["a"], &[]).is_none());
        assert!(fields.text(&["b"]).is_none());
        assert!(fields.text(&["c", "e"]).is_none());
        assert!(fields.bytes(&["d"], &[3]).is_none());
        fields.only("algorithm", "ML-KEM-768");
        assert_eq!(
            lines(fields.check().unwrap_err()),
            r#"[{"loc":["body","a"],"msg":"hexadecimal digits expected","type":"value_error"},{"loc":["body","b"],"msg":"str type expected","type":"type_error.str"},{"loc":["body","c"],"msg":"field required","type":"value_error.missing"},{"loc":["body","d"],"msg":"3 bytes in hexadecimal expected","type":"value_error"},{"loc":["body","algorithm"],"msg":"only ML-KEM-768 is supported","type":"value_error.const"}]"#
        );
        for (body, expected) in [("[]", "type_error.dict"), ("{", "jsondecode")] {
            assert!(lines(read(body).err().unwrap()).contains(expected), "{body}");
        }
    }

    #[test]
    fn a_second_name_of_a_member_is_read_where_the_first_is_missing() {
        let mut fields = read(r#"{"message":"m","data":null}"#).unwrap();
        assert_eq!(fields.text(&["data", "message"]).unwrap().expose(), b"m");
    }

    #[test]
    fn numbers_of_a_query_are_whole_and_bounded() {
        assert_eq!(number("", "n", 5, 9), Ok(5));
        assert_eq!(number("m=1&n=%39", "n", 5, 9), Ok(9));
        for (query, kind) in
            [("n=10", "not_le"), ("n=0", "not_ge"), ("n=-1", "not_ge"), ("n=", "integer"), ("n=1.5", "integer")]
        {
            let line = number(query, "n", 5, 9).unwrap_err();
            assert!(line["type"].as_str().unwrap().ends_with(kind), "{query}: {line}");
        }
    }
}
