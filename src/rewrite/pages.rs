//! Which records there are: by the application's list, page by page, or by a file of ids or paths.

use std::collections::VecDeque;
use std::io::BufRead;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::LINK;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::client::{Answer, Client, Trouble};
use super::{Halt, HaltKind};
use crate::crypto::{hex, kdf};
use crate::json::text::unescape;
use crate::jsonpath::{Path, select};

/// All but what RFC 3986 leaves unreserved.
pub(super) const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Lines of a file that make a page.
const LINES: usize = 500;
const MAX_LINE: usize = 64 << 10;

/// Where a walk is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// The only page of a list, or the first one of which the application says where the next is.
    First,
    /// The page of this number.
    Page(u64),
    /// From this record on.
    Offset(u64),
    /// What the application gave to go on from.
    Cursor(String),
    /// The path of a page.
    Link(String),
    /// So many lines are done.
    Line(u64),
}

/// The application's list.
#[derive(Debug, Clone)]
pub struct List {
    /// Path and query with `{page}`, `{offset}`, `{limit}` or `{cursor}`.
    pub path: String,
    /// Selects the records of an answer.
    pub items: Vec<Arc<Path>>,
    /// Selects the array of which those are all; empty: they are chosen in another way.
    pub array: Vec<Arc<Path>>,
    /// Selects the id in a record.
    pub id: Vec<Arc<Path>>,
    /// Selects what says where the next page is.
    pub next: Vec<Arc<Path>>,
    /// The number of the first page.
    pub first_page: u64,
    /// For `{limit}`.
    pub page_size: u64,
}

/// Lines of a file.
pub struct Lines(Mutex<Reading>);

struct Reading {
    /// What is left of them.
    input: Box<dyn BufRead + Send>,
    /// How many were read.
    read: u64,
    /// Stands for those.
    digest: [u8; 32],
}

/// See the module.
pub enum Source {
    /// Ids are put into the path of a record.
    List(List),
    /// An id per line.
    Ids(Lines),
    /// A path per line.
    Paths(Lines),
}

/// Some records, and what comes after them.
#[derive(Debug)]
pub struct Page {
    /// Ids, or paths.
    pub names: VecDeque<String>,
    /// `None`: nothing.
    pub next: Option<Position>,
    /// Stands for all lines in front of the page, and for those with the page's own; nothing where there are no lines.
    pub passed: (String, String),
}

impl Lines {
    /// Of this input.
    pub fn new(input: Box<dyn BufRead + Send>) -> Self {
        Self(Mutex::new(Reading { input, read: 0, digest: [0; 32] }))
    }

    /// The next lines behind so many; blank ones count and are no names.
    fn page(&self, from: u64) -> Result<Page, Halt> {
        let io = |error: &std::io::Error| Halt::new(HaltKind::Io, format!("the list of records: {error}"));
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Reading { input, read, digest } = &mut *reading;
        let mut names = VecDeque::new();
        let mut line = Vec::new();
        let mut before = *digest;
        while *read < from.saturating_add(LINES as u64) {
            line.clear();
            let limit = MAX_LINE as u64 + 1;
            let length = std::io::Read::take(&mut *input, limit).read_until(b'\n', &mut line).map_err(|e| io(&e))?;
            if length == 0 {
                return Ok(Page { names, next: None, passed: (hex::encode(&before), hex::encode(digest)) });
            }
            *read += 1;
            *digest = kdf::sha256(&kdf::pae(&[digest, line.trim_ascii_end()]));
            if *read <= from {
                before = *digest;
            }
            let text = std::str::from_utf8(&line).map(|text| text.trim_end_matches(['\n', '\r']));
            match text {
                Ok(text) if length <= MAX_LINE => {
                    if *read > from && !text.is_empty() {
                        names.push_back(text.to_owned());
                    }
                }
                _ => {
                    let message = format!("line {read} of the list of records is too long, or not UTF-8");
                    return Err(Halt::new(HaltKind::Usage, message));
                }
            }
        }
        let passed = (hex::encode(&before), hex::encode(digest));
        Ok(Page { names, next: Some(Position::Line(*read)), passed })
    }
}

impl Source {
    /// Where a walk begins.
    pub fn start(&self) -> Position {
        match self {
            Self::List(list) if list.path.contains("{page}") => Position::Page(list.first_page),
            Self::List(list) if list.path.contains("{offset}") => Position::Offset(0),
            Self::List(_) => Position::First,
            Self::Ids(_) | Self::Paths(_) => Position::Line(0),
        }
    }

    /// The page at this position.
    pub async fn page(&self, at: &Position, client: &Client) -> Result<Page, Halt> {
        match (self, at) {
            (Self::List(list), _) => list.page(at, client).await,
            (Self::Ids(lines) | Self::Paths(lines), Position::Line(line)) => lines.page(*line),
            _ => Err(Halt::new(HaltKind::Usage, "the state file is of another kind of list")),
        }
    }

    /// The path of a record; the error says why it has none.
    pub fn path(&self, item: &str, name: &str) -> Result<String, &'static str> {
        if matches!(self, Self::Paths(_)) {
            let sound = name.starts_with('/') && name.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
            return if sound { Ok(name.to_owned()) } else { Err("it is no path that a request could have") };
        }
        if ["", ".", ".."].contains(&name) {
            return Err("its id is no segment of a path");
        }
        Ok(item.replace("{id}", &utf8_percent_encode(name, SEGMENT).to_string()))
    }
}

impl List {
    async fn page(&self, at: &Position, client: &Client) -> Result<Page, Halt> {
        let answer = match client.get(&self.target(at)).await {
            Ok(answer) => answer,
            Err(Trouble::Halt(halt)) => return Err(halt),
            Err(Trouble::Here(why)) => return Err(Halt::new(HaltKind::Away, format!("the list: {why}"))),
        };
        let status = answer.status.as_u16();
        // Many say of a page behind the last one that it is not there.
        if status == 404 && matches!(at, Position::Page(page) if *page > self.first_page) {
            return Ok(Page { names: VecDeque::new(), next: None, passed: <(String, String)>::default() });
        }
        if status == 401 {
            return Err(denied());
        }
        if answer.is_busy() {
            return Err(Halt::new(HaltKind::Away, format!("the list is answered with {}", answer.why())));
        }
        if status != 200 {
            return Err(Halt::new(HaltKind::Refused, format!("the list is answered with {}", answer.why())));
        }
        let names = self.names(&answer)?;
        if names.is_empty() && self.is_start(at) {
            self.found_nothing(&answer)?;
        }
        let next = self.next(at, names.len() as u64, &answer, client.prefix())?;
        Ok(Page { names, next: next.filter(|next| next != at), passed: <(String, String)>::default() })
    }

    fn target(&self, at: &Position) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, SEGMENT).to_string();
        let (mut page, mut offset, mut cursor) = (String::new(), String::new(), String::new());
        match at {
            Position::Link(path) => return path.clone(),
            Position::Page(number) => page = number.to_string(),
            Position::Offset(number) => offset = number.to_string(),
            Position::Cursor(text) => cursor = encoded(text),
            Position::First | Position::Line(_) => {}
        }
        let path = self.path.replace("{page}", &page).replace("{offset}", &offset);
        path.replace("{limit}", &self.page_size.to_string()).replace("{cursor}", &cursor)
    }

    fn is_start(&self, at: &Position) -> bool {
        match at {
            Position::Page(page) => *page == self.first_page,
            Position::Offset(offset) => *offset == 0,
            position => *position == Position::First,
        }
    }

    /// A list without a record has an array at least, or null instead of it: what has neither is no list, or not this one.
    fn found_nothing(&self, answer: &Answer) -> Result<(), Halt> {
        let found = select(&answer.body, &self.array).unwrap_or_default();
        let is_list = |raw: &[u8]| raw.starts_with(b"[") || raw == b"null";
        if self.array.is_empty() || found.iter().any(|one| answer.body.get(one.span.clone()).is_some_and(is_list)) {
            return Ok(());
        }
        let halt = Halt::new(HaltKind::Refused, "the list has no array where --items says that the records stand");
        Err(halt.help("say with --items where they do, as in '$.data[*]'; is --list right?"))
    }

    fn names(&self, answer: &Answer) -> Result<VecDeque<String>, Halt> {
        let refused = |message: &str, help: &str| Halt::new(HaltKind::Refused, message).help(help);
        let items = select(&answer.body, &self.items)
            .map_err(|error| refused(&format!("the list is no JSON: {error}"), "is --list right?"))?;
        let mut names = VecDeque::with_capacity(items.len());
        for item in items {
            let item = answer.body.get(item.span).unwrap_or_default();
            let ids = select(item, &self.id).unwrap_or_default();
            let raw = match ids.as_slice() {
                [one] => item.get(one.span.clone()).unwrap_or_default(),
                _ => b"",
            };
            let Some(name) = scalar(raw) else {
                let message = "a record of the list has no id, or several: it must be one string or number";
                return Err(refused(
                    message,
                    "say with --items where the records stand, and with --id where in one its id does",
                ));
            };
            names.push_back(name);
        }
        Ok(names)
    }

    fn next(&self, at: &Position, count: u64, answer: &Answer, prefix: &str) -> Result<Option<Position>, Halt> {
        if !self.next.is_empty() {
            let found = select(&answer.body, &self.next).unwrap_or_default();
            let raw = found.first().and_then(|one| answer.body.get(one.span.clone())).unwrap_or_default();
            let Some(text) = scalar(raw).filter(|text| !text.is_empty()) else { return Ok(None) };
            if self.path.contains("{cursor}") {
                return Ok(Some(Position::Cursor(text)));
            }
            return self.link(&text, prefix).map(Some);
        }
        Ok(match at {
            _ if count == 0 => None,
            Position::Page(page) => Some(Position::Page(page.saturating_add(1))),
            // As many as came: the application may give fewer than it is asked for.
            Position::Offset(offset) => Some(Position::Offset(offset.saturating_add(count))),
            _ => match next_link(answer) {
                Some(link) => Some(self.link(&link, prefix)?),
                None => None,
            },
        })
    }

    /// Of a link only what stands behind the host is taken: whatever it says, the request goes where all others go.
    fn link(&self, link: &str, prefix: &str) -> Result<Position, Halt> {
        // In the query of a path a URL may stand as well.
        let is_url = |(scheme, _): &(&str, &str)| scheme.bytes().all(|b| b.is_ascii_alphanumeric());
        let url = link.split_once("://").filter(is_url);
        let behind_host = url.map(|(_, rest)| rest.find(['/', '?']).map_or("/", |at| rest.split_at(at).1));
        let path = match (behind_host, link.as_bytes().first()) {
            (Some(path), _) if path.starts_with('/') => path.to_owned(),
            (None, Some(b'/')) if !link.starts_with("//") => link.to_owned(),
            (None, Some(b'?')) => format!("{}{link}", self.path.split('?').next().unwrap_or_default()),
            _ => {
                let message = "the list says where its next page is in a way that is not understood";
                return Err(Halt::new(HaltKind::Refused, message).help("it must be a URL, a path, or a query"));
            }
        };
        let path = path.split('#').next().unwrap_or_default();
        let own = path.strip_prefix(prefix).filter(|rest| rest.starts_with('/')).unwrap_or(path);
        Ok(Position::Link(own.to_owned()))
    }
}

pub(super) fn denied() -> Halt {
    Halt::new(HaltKind::Denied, "401: the credentials are not taken (any more)")
        .help("give valid ones with --bearer-file or --header-file; the same command goes on from where it was")
}

/// A string's text, or a number as it is written.
pub(super) fn scalar(raw: &[u8]) -> Option<String> {
    let text = match raw.first()? {
        b'"' => unescape(raw.get(1..raw.len().checked_sub(1)?)?),
        b'-' | b'0'..=b'9' => raw.into(),
        _ => return None,
    };
    String::from_utf8(text.into_owned()).ok()
}

/// RFC 8288: `</customers?page=2>; rel="next"`.
fn next_link(answer: &Answer) -> Option<String> {
    let values = answer.headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    for mut rest in values {
        while let Some((_, link)) = rest.split_once('<') {
            let (target, parameters) = link.split_once('>')?;
            let own = parameters.split('<').next().unwrap_or_default();
            let is_next = own.split([';', ',']).any(|parameter| {
                let (name, value) = parameter.split_once('=').unwrap_or_default();
                let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
                name.trim().eq_ignore_ascii_case("rel") && relations.any(|r| r.eq_ignore_ascii_case("next"))
            });
            if is_next {
                return Some(target.to_owned());
            }
            rest = parameters;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};
    use rstest::rstest;

    use super::*;
    use crate::jsonpath::compile;

    fn paths(selector: &str) -> Vec<Arc<Path>> {
        compile(selector).unwrap().into_iter().map(|one| one.path).collect()
    }

    fn list(path: &str, next: &str) -> List {
        let next = if next.is_empty() { Vec::new() } else { paths(next) };
        List {
            path: path.into(),
            items: paths("$[*]"),
            array: paths("$"),
            id: paths("$.id"),
            next,
            first_page: 1,
            page_size: 50,
        }
    }

    fn answer(body: &'static str, link: &'static str) -> Answer {
        let mut headers = HeaderMap::new();
        if !link.is_empty() {
            headers.insert(LINK, link.parse().unwrap());
        }
        Answer { status: StatusCode::OK, headers, body: Bytes::from_static(body.as_bytes()) }
    }

    #[rstest]
    #[case("</c?page=2>; rel=\"next\"", Some("/c?page=2"))]
    #[case("</c?page=1>; rel=prev, </c?page=3>; rel=next", Some("/c?page=3"))]
    #[case("<https://other.test/c?p=3&q=a,b>; title=\"x\"; rel=\"last next\"", Some("https://other.test/c?p=3&q=a,b"))]
    #[case("</c?page=1>; rel=\"prev\"", None)]
    #[case("</c>; title=\"next\"", None)]
    fn links(#[case] value: &'static str, #[case] target: Option<&str>) {
        assert_eq!(next_link(&answer("[]", value)).as_deref(), target);
    }

    #[rstest]
    #[case("https://elsewhere.test/c?page=2#x", "", Some("/c?page=2"))]
    #[case("http://app:8000/base/c?page=2", "/base", Some("/c?page=2"))]
    #[case("http://app:8000/basement", "/base", Some("/basement"))]
    #[case("?page=2", "", Some("/customers?page=2"))]
    #[case("/c", "", Some("/c"))]
    #[case("https://elsewhere.test", "", Some("/"))]
    #[case("/c?from=http://a/b&page=2", "", Some("/c?from=http://a/b&page=2"))]
    #[case("?from=http://a/b", "", Some("/customers?from=http://a/b"))]
    #[case("//elsewhere.test/c", "", None)]
    #[case("c?page=2", "", None)]
    fn a_link_leads_nowhere_else(#[case] link: &str, #[case] prefix: &str, #[case] path: Option<&str>) {
        let position = list("/customers?size=10", "").link(link, prefix).ok();
        assert_eq!(position, path.map(|path| Position::Link(path.into())));
    }

    #[test]
    fn what_comes_next() {
        let some = answer(r#"[{"id":1},{"id":"b"}]"#, "");
        let next = |list: &List, at: Position, count, answer: &Answer| list.next(&at, count, answer, "").unwrap();
        let numbered = list("/c?page={page}", "");
        assert_eq!(next(&numbered, Position::Page(4), 2, &some), Some(Position::Page(5)));
        assert_eq!(next(&numbered, Position::Page(4), 0, &some), None);
        let offset = list("/c?o={offset}&n={limit}", "");
        assert_eq!(next(&offset, Position::Offset(10), 2, &some), Some(Position::Offset(12)));
        assert_eq!(offset.target(&Position::Offset(12)), "/c?o=12&n=50");
        let cursor = list("/c?after={cursor}", "$.next");
        let page = answer(r#"{"next":"a b&c"}"#, "");
        let at = next(&cursor, Position::First, 0, &page).unwrap();
        assert_eq!(cursor.target(&at), "/c?after=a%20b%26c");
        assert_eq!(next(&cursor, Position::First, 1, &answer(r#"{"next":null}"#, "")), None);
        let linked = list("/c", "$.next");
        assert_eq!(
            next(&linked, Position::First, 1, &answer(r#"{"next":"/c?x=1"}"#, "")),
            Some(Position::Link("/c?x=1".into()))
        );
        let header = answer("[]", "</c?x=2>; rel=next");
        assert_eq!(next(&list("/c", ""), Position::First, 1, &header), Some(Position::Link("/c?x=2".into())));
        assert_eq!(numbered.names(&some).unwrap(), ["1", "b"]);
        assert!(numbered.names(&answer(r#"[{"id":null}]"#, "")).unwrap_err().help.unwrap().contains("--id"));
    }

    #[rstest]
    #[case("[]", true)]
    #[case("null", true)]
    #[case("{}", false)]
    #[case(r#"{"data":[{"id":1}]}"#, false)]
    #[case(r#""""#, false)]
    fn a_list_without_records_is_a_list(#[case] body: &'static str, #[case] is_one: bool) {
        assert_eq!(list("/c", "").found_nothing(&answer(body, "")).is_ok(), is_one);
    }

    #[rstest]
    #[case("a b/c?ü", Ok("/c/a%20b%2Fc%3F%C3%BC/x"))]
    #[case("a.b-c_d~e", Ok("/c/a.b-c_d~e/x"))]
    #[case("..", Err("its id is no segment of a path"))]
    #[case("", Err("its id is no segment of a path"))]
    fn ids_are_one_segment(#[case] id: &str, #[case] path: Result<&str, &str>) {
        let source = Source::List(list("/c", ""));
        assert_eq!(source.path("/c/{id}/x", id), path.map(str::to_owned));
    }

    #[test]
    fn lines_go_on_where_they_were() {
        let text: String = (1..=1200).map(|n| if n == 3 { "\n".to_owned() } else { format!("id-{n}\r\n") }).collect();
        let lines = |text: &str| Lines::new(Box::new(std::io::Cursor::new(text.to_owned().into_bytes())));
        let all = lines(&text);
        let first = all.page(0).unwrap();
        assert_eq!((first.names.len(), first.next), (499, Some(Position::Line(500))));
        let again = lines(&text);
        let last = again.page(1000).unwrap();
        assert_eq!((last.names.len(), last.names[0].as_str(), last.next), (200, "id-1001", None));
        // Whether the lines in front of it are those that were done.
        assert_eq!(lines(&text).page(500).unwrap().passed.0, first.passed.1);
        let shifted = lines(&format!("new\n{text}"));
        assert_ne!(shifted.page(500).unwrap().passed.0, first.passed.1);
        assert_ne!(lines("id-1\n").page(500).unwrap().passed.0, first.passed.1);
    }
}
