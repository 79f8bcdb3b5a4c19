//! Which bodies a rule can read, by their media type.

use crate::json::framing::Framing;

/// What a Content-Type says about a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// Read.
    Json(Framing),
    /// Anything else: `on_media_type`.
    Other,
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
    if json { Media::Json(Framing::One) } else { Media::Other }
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
