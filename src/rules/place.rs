//! Where the values of a field stand: in JSON, in a form, or outside the body.

use std::fmt;
use std::sync::Arc;

use http::header::{self, HeaderName};

use crate::jsonpath::Path;

use super::glob::PathPattern;

mod cookie;
pub mod encode;
pub mod find;
mod loose;
mod query;

/// A part of a message; what finds values there is told by one plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A body of JSON.
    Json,
    /// A body of form fields, urlencoded or multipart.
    Form,
    /// Request line and header section.
    Outside,
}

/// Where the values of a field stand.
#[derive(Debug, Clone)]
pub enum Place {
    /// In JSON, where this path finds them.
    Json(Arc<Path>),
    /// `query:NAME`, decoded.
    Query(Arc<str>),
    /// `path:NAME`, a segment that the pattern captures.
    Segment(Arc<str>),
    /// `header:NAME`
    Header(HeaderName),
    /// `cookie:NAME`
    Cookie(Arc<str>),
    /// `form:NAME`, decoded.
    Form(Arc<str>),
}

/// Why a text names no place, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadPlace {
    pub code: &'static str,
    pub message: String,
    pub help: String,
}

/// Fields that name a connection, frame a message, say who asks, or are written by this process: what a rule did to them would
/// break the exchange, or be undone.
const UNFIT: [(&str, &str); 41] = [
    ("connection", CONNECTION),
    ("keep-alive", CONNECTION),
    ("proxy-connection", CONNECTION),
    ("te", CONNECTION),
    ("trailer", CONNECTION),
    ("transfer-encoding", CONNECTION),
    ("upgrade", CONNECTION),
    ("expect", CONNECTION),
    ("content-length", BODY),
    ("content-type", BODY),
    ("content-encoding", BODY),
    ("content-range", BODY),
    ("range", BODY),
    ("if-range", BODY),
    ("accept-ranges", BODY),
    ("accept-encoding", BODY),
    ("etag", BODY),
    ("if-match", BODY),
    ("if-none-match", BODY),
    ("content-md5", BODY),
    ("digest", BODY),
    ("content-digest", BODY),
    ("repr-digest", BODY),
    ("signature", BODY),
    ("signature-input", BODY),
    ("host", TARGET),
    ("x-original-url", TARGET),
    ("x-rewrite-url", TARGET),
    ("x-http-method-override", TARGET),
    ("authorization", WHO),
    ("proxy-authorization", WHO),
    ("www-authenticate", WHO),
    ("proxy-authenticate", WHO),
    ("via", OURS),
    ("forwarded", OURS),
    ("x-forwarded-for", OURS),
    ("x-forwarded-proto", OURS),
    ("x-forwarded-host", OURS),
    ("x-request-id", OURS),
    ("traceparent", OURS),
    ("x-sidecloak-failure", OURS),
];
const CONNECTION: &str = "belongs to the connection";
const BODY: &str = "describes the body";
const TARGET: &str = "says what the request is for";
const WHO: &str = "says who asks";
const OURS: &str = "is written by this process";

impl Place {
    /// Takes a field outside of JSON; `None` if it does not say that it is one.
    pub(super) fn parse(text: &str, paths: &[PathPattern]) -> Option<Result<Self, BadPlace>> {
        let (kind, name) = text.split_once(':')?;
        let bad = |code, message: String, help: String| Some(Err(BadPlace { code, message, help }));
        let place = match kind {
            "query" => Self::Query(name.into()),
            "path" => Self::Segment(name.into()),
            "cookie" => Self::Cookie(name.into()),
            "form" => Self::Form(name.into()),
            "header" => match HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) => Self::Header(name),
                Err(_) => {
                    return bad("field", format!("field `{text}` names no header"), "write `header:x-ssn`".into());
                }
            },
            _ => return None,
        };
        if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
            let help = format!("write `{kind}:NAME`, with a name of 1 to 255 bytes as it reads when it is decoded");
            return bad("field", format!("field `{text}` has no name"), help);
        }
        match &place {
            Self::Segment(name) => {
                if let Some(pattern) = paths.iter().find(|pattern| !pattern.captures().any(|c| *c == **name)) {
                    let message = format!("field `{text}`: path pattern `{}` captures no `{{{name}}}`", pattern.text);
                    return bad("field-capture", message, format!("write `{{{name}}}` for one of its segments"));
                }
            }
            Self::Cookie(name) if HeaderName::from_bytes(name.as_bytes()).is_err() => {
                let help = "a cookie's name has no white space, quotes, brackets, commas, semicolons or `=`";
                return bad("field", format!("field `{text}` names no cookie"), help.into());
            }
            Self::Header(name) if *name == header::COOKIE || *name == header::SET_COOKIE => {
                let help = "name the cookie: `cookie:NAME`".into();
                return bad("header-unfit", format!("header `{name}` holds cookies"), help);
            }
            Self::Header(name) => {
                if let Some((_, why)) = UNFIT.iter().find(|(unfit, _)| *unfit == name.as_str()) {
                    let help = "remove it; see docs/rules.md for the headers that no rule changes".into();
                    return bad("header-unfit", format!("header `{name}` {why}"), help);
                }
            }
            Self::Json(_) | Self::Query(_) | Self::Form(_) | Self::Cookie(_) => {}
        }
        Some(Ok(place))
    }

    /// The part of a message it is in.
    pub fn part(&self) -> Part {
        match self {
            Self::Json(_) => Part::Json,
            Self::Form(_) => Part::Form,
            Self::Query(_) | Self::Segment(_) | Self::Header(_) | Self::Cookie(_) => Part::Outside,
        }
    }

    /// Its name, outside of JSON.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Json(_) => None,
            Self::Query(name) | Self::Segment(name) | Self::Cookie(name) | Self::Form(name) => Some(name),
            Self::Header(name) => Some(name.as_str()),
        }
    }

    /// Whether it is in the target of a request, where look-ups and links are.
    pub fn is_in_target(&self) -> bool {
        matches!(self, Self::Query(_) | Self::Segment(_))
    }

    /// Whether a response has such a place.
    pub fn is_in_responses(&self) -> bool {
        !self.is_in_target()
    }

    /// Whether a shorthand is about it in the response, too. Few answers are forms: whoever has such says so.
    pub fn is_answered(&self) -> bool {
        matches!(self, Self::Json(_) | Self::Header(_) | Self::Cookie(_))
    }
}

impl fmt::Display for Place {
    /// As a rule names it, in the one spelling.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(path) => write!(f, "{path}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Segment(name) => write!(f, "path:{name}"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Form(name) => write!(f, "form:{name}"),
        }
    }
}
