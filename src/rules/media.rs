//! Which bodies a rule can read, by their media type.

use crate::form::Form;
use crate::json::framing::Framing;
use crate::refusal::Reason;

use super::place::Part;

/// What a Content-Type says about a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Media {
    /// Read.
    Json(Framing),
    /// Read as a form, or why it cannot be.
    Form(Result<Form, &'static str>),
    /// Anything else: `on_media_type`.
    Other,
}

/// How a body is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// As JSON.
    Json(Framing),
    /// As a form.
    Form(Form),
}

impl Reading {
    /// Which fields may be in it.
    pub fn part(&self) -> Part {
        match self {
            Self::Json(_) => Part::Json,
            Self::Form(_) => Part::Form,
        }
    }

    /// Whether the body is one document.
    pub fn is_one(&self) -> bool {
        match self {
            Self::Json(framing) => framing.is_one(),
            Self::Form(_) => true,
        }
    }

    /// What a body is that cannot be read so.
    pub fn invalid(&self) -> Reason {
        match self {
            Self::Json(_) => Reason::InvalidJson,
            Self::Form(_) => Reason::InvalidForm,
        }
    }
}

impl From<Framing> for Reading {
    fn from(framing: Framing) -> Self {
        Self::Json(framing)
    }
}

/// RFC 6902.
const PATCH: &str = "application/json-patch+json";
/// RFC 7396.
const MERGE_PATCH: &str = "application/merge-patch+json";
/// Media types of patches, in which members do not stand where the record's do.
pub const PATCHES: [&str; 2] = [PATCH, MERGE_PATCH];

/// Media types of one document a line, none of them registered.
const LINES: [&str; 7] = [
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonl",
    "application/jsonlines",
    "application/x-jsonlines",
    "application/json-lines",
];

/// Sorts a Content-Type; `json_types` are lower case and without parameters.
pub fn media(content_type: Option<&str>, json_types: &[String]) -> Media {
    // Most say just this.
    if content_type == Some("application/json") {
        return Media::Json(Framing::One);
    }
    let essence = essence(content_type.unwrap_or_default());
    let framing = match essence.as_str() {
        _ if LINES.contains(&essence.as_str()) => Some(Framing::Lines),
        "text/event-stream" => Some(Framing::Events),
        PATCH => Some(Framing::Patch),
        MERGE_PATCH => Some(Framing::Merge),
        "application/json-seq" => Some(Framing::Sequence),
        _ if essence.ends_with("+json-seq") && !essence.contains([',', ' ']) => Some(Framing::Sequence),
        _ => None,
    };
    if let Some(framing) = framing {
        return Media::Json(framing);
    }
    // An empty header says no more than none. `a/json, b/plain` is two headers in one: not a type at all.
    let json = essence.is_empty()
        || essence == "application/json"
        || (essence.ends_with("+json") && !essence.contains([',', ' ']))
        || json_types.contains(&essence);
    if json {
        return Media::Json(Framing::One);
    }
    Form::of(content_type.unwrap_or_default()).map_or(Media::Other, Media::Form)
}

/// The media type without its parameters, in lower case.
pub fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_json() {
        let more = ["text/plain".to_owned()];
        for json in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/vnd.api+json",
            "",
            " ",
            "text/plain;x=y",
        ] {
            assert_eq!(media(Some(json), &more), Media::Json(Framing::One), "{json}");
        }
        assert_eq!(media(None, &[]), Media::Json(Framing::One));
        for (several, framing) in [
            ("application/x-ndjson", Framing::Lines),
            ("Application/JSONL; charset=utf-8", Framing::Lines),
            ("application/json-seq", Framing::Sequence),
            ("application/geo+json-seq", Framing::Sequence),
            ("text/event-stream", Framing::Events),
        ] {
            assert_eq!(media(Some(several), &[]), Media::Json(framing), "{several}");
        }
        assert_eq!(media(Some("application/x-www-form-urlencoded"), &more), Media::Form(Ok(Form::Urlencoded)));
        assert!(matches!(media(Some("multipart/form-data"), &more), Media::Form(Err(_))));
        for other in
            ["text/plain", "text/html", "application/jsonp", "application/json, text/plain", "x, y/z+json", "json"]
        {
            assert_eq!(media(Some(other), &[]), Media::Other, "{other}");
        }
        for (patch, framing) in
            [("application/json-patch+json", Framing::Patch), ("application/Merge-Patch+JSON; x=1", Framing::Merge)]
        {
            assert_eq!(media(Some(patch), &more), Media::Json(framing));
        }
    }
}
