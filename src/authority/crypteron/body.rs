//! Reading a body as the vendor's framework does: members in any case, all that is wrong told at once.

use axum::extract::{FromRequest, Request};
use serde_json::Value;

use super::answer::Problem;
use super::assumed;

/// The members of a body, and what was wrong with them so far.
#[derive(Debug, Default)]
pub struct Body {
    members: Vec<(String, Value)>,
    wrong: Vec<(&'static str, String)>,
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let bytes = axum::body::to_bytes(request.into_body(), assumed::BODY).await.map_err(|_| Problem::TooLarge)?;
        Self::parse(&bytes)
    }
}

impl Body {
    /// Reads an object.
    pub fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let object: Value =
            serde_json::from_slice(bytes).map_err(|_| Problem::member("Body", "The body is not JSON."))?;
        let Value::Object(object) = object else {
            return Err(Problem::member("Body", "The body is not a JSON object."));
        };
        let mut members: Vec<(String, Value)> = Vec::with_capacity(object.len());
        for (name, value) in object {
            let name = name.to_ascii_lowercase();
            // Which of them counts would be a matter of taste.
            if members.iter().any(|(other, _)| *other == name) {
                return Err(Problem::member("Body", "A member is given more than once."));
            }
            members.push((name, value));
        }
        Ok(Self { members, wrong: Vec::new() })
    }

    /// A member that is there and not null.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.members.iter().position(|(given, _)| given.eq_ignore_ascii_case(name))?;
        Some(self.members.swap_remove(at).1).filter(|value| !value.is_null())
    }

    /// Whether a member was sent at all, null or not.
    pub fn names(&self, name: &str) -> bool {
        self.members.iter().any(|(given, _)| given.eq_ignore_ascii_case(name))
    }

    /// Text of at most so many bytes, if it is there.
    pub fn text(&mut self, name: &'static str, most: usize) -> Option<String> {
        match self.take(name)? {
            Value::String(text) if text.len() <= most => Some(text),
            Value::String(_) => self.refuse(name, format!("The {name} field is longer than {most} bytes.")),
            _ => self.refuse(name, format!("The {name} field is not text.")),
        }
    }

    /// A whole number up to `most`, if it is there.
    pub fn number(&mut self, name: &'static str, most: u64) -> Option<u64> {
        match self.take(name)?.as_u64() {
            Some(number) if number <= most => Some(number),
            _ => self.refuse(name, format!("The {name} field is not a whole number from 0 to {most}.")),
        }
    }

    /// Remembers that a member is missing, unless it is wrong already.
    pub fn require<T>(&mut self, name: &'static str, value: Option<T>) -> Option<T> {
        if value.is_none() && !self.wrong.iter().any(|(wrong, _)| *wrong == name) {
            self.wrong.push((name, format!("The {name} field is required.")));
        }
        value
    }

    /// Remembers that a member is wrong.
    pub fn refuse<T>(&mut self, name: &'static str, text: String) -> Option<T> {
        self.wrong.push((name, text));
        None
    }

    /// What a reader makes of a member, if it is there.
    pub fn read<T>(&mut self, name: &'static str, read: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        match read(&self.take(name)?) {
            Ok(value) => Some(value),
            Err(text) => self.refuse(name, text),
        }
    }

    /// All that was found wrong; nothing may be done after that.
    pub fn check(&mut self) -> Result<(), Problem> {
        if self.wrong.is_empty() { Ok(()) } else { Err(self.problem()) }
    }

    /// The same where something is known to be wrong.
    pub fn problem(&mut self) -> Problem {
        Problem::Model(std::mem::take(&mut self.wrong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_in_any_case_and_once() {
        let mut body = Body::parse(br#"{"APPID":7,"description":null,"n":-1}"#).unwrap();
        assert!(body.names("Description") && body.text("Description", 5).is_none());
        assert_eq!(body.take("AppId"), Some(Value::from(7)));
        assert!(body.number("N", 5).is_none());
        let found: Option<String> = body.text("SecPartId", 5);
        assert!(body.require("SecPartId", found).is_none());
        assert_eq!(
            format!("{:?}", body.check()),
            r#"Err(Model([("N", "The N field is not a whole number from 0 to 5."), ("SecPartId", "The SecPartId field is required.")]))"#
        );
        for wrong in [&br#"{"a":1,"A":2}"#[..], b"[]", b"", b"{"] {
            assert!(matches!(Body::parse(wrong), Err(Problem::Model(_))));
        }
    }
}
