//! Bodies: read within a bound, parsed without copies, whatever content type they claim (the vendor's own curl lines send none).

use std::borrow::Cow;
use std::fmt;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::assumptions::{BODY, VALUES};
use super::fault::Fault;

/// The key that a path names.
pub struct Tag(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Tag {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(tag)| Self(tag)).map_err(|_| Fault::not_found())
    }
}

/// Reads all of it.
pub async fn read(body: Body) -> Result<Bytes, Fault> {
    axum::body::to_bytes(body, BODY).await.map_err(|error| {
        let limit =
            std::error::Error::source(&error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
        if limit { Fault::too_large() } else { Fault::unreadable() }
    })
}

/// Parses it.
pub fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Fault> {
    // serde's own message may quote what was sent.
    serde_json::from_slice(body).map_err(|error| {
        Fault::invalid(format!(
            "The body is not the JSON object that this call takes (line {}, column {}).",
            error.line(),
            error.column()
        ))
    })
}

/// Parses it; none at all is an empty object.
pub fn parse_or_default<'a, T: Deserialize<'a> + Default>(body: &'a [u8]) -> Result<T, Fault> {
    if body.is_empty() { Ok(T::default()) } else { parse(body) }
}

/// `{"code":"SUCCESS","data":…}`.
pub fn success(data: &serde_json::Value) -> Response {
    let mut out = begin(64);
    out.extend_from_slice(data.to_string().as_bytes());
    finish(out)
}

/// A buffer with what comes before the data.
pub fn begin(room: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(room + 32);
    out.extend_from_slice(br#"{"code":"SUCCESS","data":"#);
    out
}

/// The response of a buffer with data in it.
pub fn finish(mut out: Vec<u8>) -> Response {
    out.push(b'}');
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], out).into_response()
}

/// A string of the body, borrowed unless it has escapes.
#[derive(Debug, Clone)]
pub struct Text<'a>(pub Cow<'a, str>);

impl Text<'_> {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// One that outlives the body.
    pub fn owned(&self) -> Text<'static> {
        Text(Cow::Owned(self.0.clone().into_owned()))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowing;
        impl<'de> Visitor<'de> for Borrowing {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrowing)
    }
}

/// One value or an array of them; answers have the same shape.
#[derive(Debug, Clone)]
pub enum Texts<'a> {
    /// A string.
    One(Text<'a>),
    /// An array of strings.
    Many(Vec<Text<'a>>),
    /// An array of more than [`VALUES`].
    TooMany,
}

impl<'a> Texts<'a> {
    /// The values, and whether they came in an array.
    pub fn split(&self) -> Result<(&[Text<'a>], bool), Fault> {
        match self {
            Self::One(text) => Ok((std::slice::from_ref(text), false)),
            Self::Many(texts) => Ok((texts, true)),
            Self::TooMany => Err(Fault::invalid(format!("An array holds at most {VALUES} values."))),
        }
    }

    /// Values that outlive the body.
    pub fn owned(&self) -> Texts<'static> {
        match self {
            Self::One(text) => Texts::One(text.owned()),
            Self::Many(texts) => Texts::Many(texts.iter().map(Text::owned).collect()),
            Self::TooMany => Texts::TooMany,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Texts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shapes;
        impl<'de> Visitor<'de> for Shapes {
            type Value = Texts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Texts::One(Text(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Texts::One(Text(Cow::Owned(text.to_owned()))))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::new();
                while texts.len() < VALUES {
                    match array.next_element()? {
                        Some(text) => texts.push(text),
                        None => return Ok(Texts::Many(texts)),
                    }
                }
                let mut more = false;
                while array.next_element::<IgnoredAny>()?.is_some() {
                    more = true;
                }
                Ok(if more { Texts::TooMany } else { Texts::Many(texts) })
            }
        }
        deserializer.deserialize_any(Shapes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(json: &str) -> Result<(Vec<String>, bool), u16> {
        let texts: Texts<'_> = parse(json.as_bytes()).map_err(|fault| fault.status())?;
        let (values, many) = texts.split().map_err(|fault| fault.status())?;
        Ok((values.iter().map(|text| text.0.clone().into_owned()).collect(), many))
    }

    #[test]
    fn strings_and_arrays_of_strings_alone() {
        assert_eq!(shape(r#""YQ==""#), Ok((vec!["YQ==".into()], false)));
        assert_eq!(shape(r#"["a\/b","c"]"#), Ok((vec!["a/b".into(), "c".into()], true)));
        assert_eq!(shape("[]"), Ok((vec![], true)));
        for bad in ["1", "null", "[1]", r#"[["a"]]"#, r#"{"a":"b"}"#, "", r#""a"x"#, r#"["a",]"#] {
            assert_eq!(shape(bad), Err(400), "{bad}");
        }
        let array = |n: usize| format!("[{}]", vec![r#""""#; n].join(","));
        assert_eq!(shape(&array(VALUES)).unwrap().0.len(), VALUES);
        assert_eq!(shape(&array(VALUES + 1)), Err(400));
    }

    #[test]
    fn a_message_quotes_nothing_of_the_body() {
        let fault = parse::<Texts<'_>>(br#"{"secret":1}"#).unwrap_err();
        assert!(!format!("{fault:?}").contains("secret"));
    }
}
