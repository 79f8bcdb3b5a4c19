//! What a Content-Type says of a form.

use std::sync::Arc;

/// A body of form fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// `application/x-www-form-urlencoded`
    Urlencoded,
    /// `multipart/form-data`
    Multipart(Boundary),
}

/// What stands between the parts: 1 to 70 letters, digits and `'()+_,-./:=?`, behind two hyphens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary(Arc<[u8]>);

impl Boundary {
    /// With the two hyphens in front.
    pub fn dashed(&self) -> &[u8] {
        &self.0
    }

    fn new(text: &str) -> Option<Self> {
        // RFC 2046 § 5.1.1, without the space, which some readers trim, and without the quote in front, which some remove.
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte);
        let good = (1..=70).contains(&text.len()) && text.bytes().all(fits) && !text.starts_with('\'');
        good.then(|| Self(format!("--{text}").into_bytes().into()))
    }
}

impl Form {
    /// Reads a Content-Type. `None`: of no form.
    pub fn of(content_type: &str) -> Option<Result<Self, &'static str>> {
        let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        let essence = essence.trim().to_ascii_lowercase();
        let multipart = match essence.as_str() {
            "application/x-www-form-urlencoded" => false,
            "multipart/form-data" => true,
            _ => return None,
        };
        Some(announced(parameters, multipart))
    }
}

fn announced(text: &str, multipart: bool) -> Result<Form, &'static str> {
    let given = parameters(text).ok_or("the parameters of a form's media type are malformed")?;
    let mut names: Vec<&str> = given.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if names.iter().zip(names.iter().skip(1)).any(|(a, b)| a == b) || names.iter().any(|name| name.contains('*')) {
        return Err("a parameter of a form's media type is given twice, or encoded");
    }
    let value = |wanted: &str| given.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
    if value("charset").is_some_and(|charset| !is_utf8(charset)) {
        return Err("a form that is not in UTF-8");
    }
    if !multipart {
        return Ok(Form::Urlencoded);
    }
    let boundary = value("boundary").ok_or("no boundary of a form's parts")?;
    let says = |text: &str| text.to_ascii_lowercase().contains("boundary");
    let elsewhere = given.iter().any(|(name, value)| name != "boundary" && (says(name) || says(value)));
    // PHP takes what stands behind the first `=` behind the first `boundary`; others search for `boundary=`.
    let first = text.find("boundary").is_some_and(|at| Some(at) == text.find("boundary="));
    if elsewhere || (says(boundary) && (!first || boundary.contains('='))) {
        return Err("more than one boundary of a form's parts");
    }
    Boundary::new(boundary).map(Form::Multipart).ok_or("a boundary that is no boundary of a form's parts")
}

/// Whether a charset is UTF-8 or a part of it.
pub(super) fn is_utf8(charset: &str) -> bool {
    ["utf-8", "utf8", "us-ascii"].iter().any(|name| charset.eq_ignore_ascii_case(name))
}

/// `; name=value` in lower case and without quotes. `None`: not so, or with an escape in the quotes.
pub(super) fn parameters(text: &str) -> Option<Vec<(String, &str)>> {
    let mut found = Vec::new();
    let mut rest = text.trim_matches(WHITE);
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (value, after, quoted) = match after.strip_prefix('"') {
            Some(quoted) => {
                let (value, after) = quoted.split_once('"').filter(|(value, _)| !value.contains('\\'))?;
                (value, after, true)
            }
            None => {
                let (value, _) = after.split_once(';').unwrap_or((after, ""));
                let value = value.trim_end_matches(WHITE);
                (value, after.get(value.len()..)?, false)
            }
        };
        if !is_token(name) || !(quoted || is_token(value)) {
            return None;
        }
        found.push((name.to_ascii_lowercase(), value));
        rest = after.trim_start_matches(WHITE);
        if !rest.is_empty() {
            rest = rest.strip_prefix(';')?.trim_start_matches(WHITE);
        }
    }
    Some(found)
}

const WHITE: [char; 2] = [' ', '\t'];

/// RFC 9110 § 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(token)
}
