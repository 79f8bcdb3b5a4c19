//! The headers of one part of a multipart form.

use std::ops::Range;

use super::media::{is_token, is_utf8, parameters};

/// A part has no more headers than this.
const MAX_HEADERS: usize = 32;

/// What they say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub name: &'a str,
    /// Why it is no text as it stands, if it is none.
    pub no_text: Option<&'static str>,
    /// How long its content claims to be.
    pub length: Option<u64>,
    /// Headers that a change of the content makes false.
    pub falsified: Vec<Range<usize>>,
}

/// Headers about the exact bytes of the content.
const ABOUT_BYTES: [&str; 5] = ["content-length", "content-md5", "content-digest", "repr-digest", "digest"];

/// Reads the headers of a part; `block` ends before the line feed pair that ends them.
pub(super) fn read(block: &[u8]) -> Result<Part<'_>, &'static str> {
    let text = std::str::from_utf8(block).map_err(|_| "the headers of a part are not UTF-8")?;
    let mut headers: Vec<(String, &str)> = Vec::new();
    let mut falsified = Vec::new();
    let mut at = 0;
    for line in text.split("\r\n") {
        let end = at + line.len() + 2;
        let (name, value) = header(line)?;
        if ABOUT_BYTES.contains(&name.as_str()) {
            falsified.push(at..end);
        }
        if headers.len() == MAX_HEADERS {
            return Err("a part has too many headers");
        }
        if headers.iter().any(|(before, _)| *before == name) {
            return Err("a part has a header twice");
        }
        headers.push((name, value));
        at = end;
    }
    let value = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
    let disposition = value("content-disposition").ok_or("a part without Content-Disposition")?;
    let Disposition { name, is_file } = disposition_of(disposition)?;
    let content_type = value("content-type").unwrap_or("text/plain");
    if content_type.trim_start().get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/")) {
        return Err("a part that has parts of its own");
    }
    let length = value("content-length").map(|length| digits(length).ok_or("a part's Content-Length is no number"));
    let as_it_stands = |header: &str, words: &[&str]| {
        value(header).is_none_or(|value| words.iter().any(|word| value.eq_ignore_ascii_case(word)))
    };
    let no_text = if is_file {
        Some("a file where a text field is protected")
    } else if !is_plain(content_type) {
        Some("a protected part that is not `text/plain` in UTF-8")
    } else if !as_it_stands("content-transfer-encoding", &["7bit", "8bit", "binary"])
        || !as_it_stands("content-encoding", &["identity"])
    {
        Some("a protected part in an encoding")
    } else {
        None
    };
    Ok(Part { name, no_text, length: length.transpose()?, falsified })
}

/// A header's name in lower case, and its value.
fn header(line: &str) -> Result<(String, &str), &'static str> {
    if line.bytes().any(|byte| (byte < b' ' && byte != b'\t') || byte == 0x7f) {
        return Err("a control character in the headers of a part");
    }
    let (name, value) = line.split_once(':').ok_or("a header of a part without a colon")?;
    if !is_token(name) {
        return Err("a header of a part is folded, or has a malformed name");
    }
    Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t'])))
}

struct Disposition<'a> {
    name: &'a str,
    is_file: bool,
}

/// `form-data; name="…"; filename="…"`, where every reader sees the same.
fn disposition_of(value: &str) -> Result<Disposition<'_>, &'static str> {
    let (kind, mut rest) = value.split_once(';').unwrap_or((value, ""));
    if !kind.trim_end().eq_ignore_ascii_case("form-data") {
        return Err("a part whose Content-Disposition is not `form-data`");
    }
    let malformed = "the Content-Disposition of a part is malformed";
    let white = [' ', '\t'];
    let mut seen: Vec<String> = Vec::new();
    let (mut name, mut is_file) = (None, false);
    rest = rest.trim_start_matches(white);
    while !rest.is_empty() {
        let (parameter, after) = rest.split_once('=').ok_or(malformed)?;
        let parameter = parameter.to_ascii_lowercase();
        if !is_token(&parameter) || seen.contains(&parameter) || seen.len() == MAX_HEADERS {
            return Err("a parameter of a part's Content-Disposition is malformed, or given twice");
        }
        let (text, after) = match (after.strip_prefix('"'), parameter.as_str()) {
            (Some(quoted), _) => {
                let (text, after) = quoted.split_once('"').ok_or(malformed)?;
                if text.ends_with('\\') {
                    return Err("an escaped quote in a part's Content-Disposition, which browsers do not write");
                }
                if mentions_name(text) {
                    return Err("a parameter within another one of a part's Content-Disposition");
                }
                (text, after)
            }
            (None, of) => {
                let end = after.find(|c| c == ';' || white.contains(&c)).unwrap_or(after.len());
                let (text, after) = after.split_at_checked(end).ok_or(malformed)?;
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
                // RFC 8187
                let extended = |byte: u8| plain(byte) || b"!#$&+^`|~%'".contains(&byte);
                let good = if of == "filename*" { text.bytes().all(extended) } else { text.bytes().all(plain) };
                if text.is_empty() || !good {
                    return Err(malformed);
                }
                (text, after)
            }
        };
        match parameter.as_str() {
            "name" if text.contains('\\') || text.contains("=?") => {
                return Err("the name of a part has a backslash in it, or is an encoded word");
            }
            "name" => name = Some(text),
            "filename" | "filename*" => is_file = true,
            other if other.contains('*') => return Err("a part's name is encoded (RFC 7578 has no `name*`)"),
            _ => {}
        }
        seen.push(parameter);
        rest = after.trim_start_matches(white);
        if !rest.is_empty() {
            rest = rest.strip_prefix(';').ok_or(malformed)?.trim_start_matches(white);
        }
    }
    Ok(Disposition { name: name.ok_or("a part without a name")?, is_file })
}

/// Whether a search for `name=` would find it in here.
fn mentions_name(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.match_indices("name").filter_map(|(at, found)| text.get(at + found.len()..)).any(|behind| {
        let behind = behind.trim_start();
        behind.starts_with('=') || behind.starts_with('*')
    })
}

fn is_plain(content_type: &str) -> bool {
    let (essence, rest) = content_type.split_once(';').unwrap_or((content_type, ""));
    let utf8 = |given: Vec<(String, &str)>| given.len() <= 1 && given.iter().all(|(n, v)| n == "charset" && is_utf8(v));
    essence.trim().eq_ignore_ascii_case("text/plain") && parameters(rest).is_some_and(utf8)
}

fn digits(text: &str) -> Option<u64> {
    let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(disposition: &str) -> Result<String, &'static str> {
        disposition_of(disposition).map(|d| format!("{}{}", d.name, if d.is_file { " file" } else { "" }))
    }

    #[test]
    fn names_that_every_reader_sees_alike() {
        for (good, expected) in [
            ("form-data; name=\"ssn\"", "ssn"),
            ("Form-Data;name=ssn", "ssn"),
            ("form-data; filename=\"x;y.txt\"; name=\"a b\";", "a b file"),
            ("form-data; name=\"a%22b\"", "a%22b"),
            ("form-data; NAME=\"é\"; size=12", "é"),
            ("form-data; name=\"f\"; filename=\"C:\\dir\\x.txt\"; filename*=utf-8''x%20y.txt", "f file"),
            ("form-data; name=\"\"", ""),
            ("form-data; name=\"name\"", "name"),
        ] {
            assert_eq!(name(good).as_deref(), Ok(expected), "{good}");
        }
        for bad in [
            "form-data",
            "attachment; name=\"ssn\"",
            "form-data name=\"ssn\"",
            "form-data; name = \"ssn\"",
            "form-data; name=\"ssn",
            "form-data; name='ssn'",
            "form-data; name=",
            "form-data; name=\"a\" b",
            "form-data; name=\"a\"; name=\"ssn\"",
            "form-data; name=\"a\"; Name=\"ssn\"",
            "form-data; name=\"a\"; name*=utf-8''ssn",
            "form-data; name*0=\"ss\"; name*1=n",
            "form-data; name=\"ss\\n\"",
            "form-data; filename=\"x\\\"; name=\"ssn\"",
            "form-data; filename=\"x\\\\\"; name=\"ssn\"",
            "form-data; filename=\"x name=ssn\"; name=\"a\"",
            "form-data; filename=\"x; NAME =ssn\"; name=\"a\"",
            "form-data; name=\"=?utf-8?B?c3Nu?=\"",
            "form-data; ; name=\"ssn\"",
            "form-data; x; name=\"ssn\"",
            "form-data; (comment) name=\"ssn\"",
        ] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn headers_that_every_reader_sees_alike() {
        let with = |more: &str| format!("Content-Disposition: form-data; name=\"a\"{more}");
        for good in
            ["", "\r\nContent-Type: text/plain; charset=UTF-8", "\r\nContent-Transfer-Encoding: 8BIT", "\r\nX-Any: é"]
        {
            let block = with(good);
            assert_eq!(read(block.as_bytes()).map(|part| part.no_text), Ok(None), "{good}");
        }
        for no_text in [
            "; filename=\"f\"",
            "; filename*=utf-8''f",
            "\r\nContent-Type: application/json",
            "\r\nContent-Type: text/plain; charset=utf-16",
            "\r\nContent-Type: text/plain; charset=utf-8; charset=utf-16",
            "\r\nContent-Type: text/plain; format=flowed",
            "\r\nContent-Transfer-Encoding: base64",
            "\r\nContent-Encoding: gzip",
        ] {
            let block = with(no_text);
            assert!(read(block.as_bytes()).unwrap().no_text.is_some(), "{no_text}");
        }
        for bad in [
            "\r\nContent-Disposition: form-data; name=\"b\"",
            "\r\n folded: x",
            "\r\n\tx",
            "\r\nno colon",
            "\r\nX : y",
            "\r\n: y",
            "\r\nX: a\nContent-Disposition: form-data; name=\"ssn\"",
            "\r\nX: a\rb",
            "\r\nX: \0",
            "\r\nContent-Type: multipart/mixed; boundary=x",
            "\r\nContent-Length: 1x",
            "\r\nContent-Length: ",
            "\r\nContent-Length: +1",
        ] {
            assert!(read(with(bad).as_bytes()).is_err(), "{bad:?}");
        }
        assert!(read(b"Content-Type: text/plain").is_err());
        assert!(read(b"Content-Disposition: form-data; name=\"\xe9\"").is_err());
        let many: String = (0..MAX_HEADERS).map(|i| format!("\r\nX-{i}: y")).collect();
        assert!(read(with(&many).as_bytes()).is_err());
    }

    #[test]
    fn what_is_about_the_bytes_is_told() {
        let block = b"Content-Length: 12\r\nContent-Disposition: form-data; name=a\r\nDigest: x";
        let part = read(block).unwrap();
        assert_eq!(part.length, Some(12));
        assert_eq!(part.falsified, [0..20, 60..71]);
    }
}
