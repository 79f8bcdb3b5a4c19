//! `sidecloak rewrite`: what is already stored is sealed, by way of the application's API and in streams, and opened again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sidecloak::proxy::settings::Address;

use crate::cli::Place;
use crate::stage::Stage;
use crate::support::{Message, Next, PATIENCE, Upstream, upstream};

#[path = "rewrite/streams.rs"]
mod streams;
#[path = "rewrite/walks.rs"]
mod walks;

const RULES: &str = r#"rules:
  - name: customers
    match: { path: "/customers/**" }
    mode: migrate
    protect:
      - { fields: ["$..ssn"], max_length: 400 }
"#;

const SSN: &str = "123-45-";

/// How an application behaves.
#[derive(Default, Clone)]
struct Manners {
    /// Every so many requests are answered with 503 and `Retry-After: 0`, or 429.
    busy: usize,
    /// `If-Match` is not heeded.
    careless: bool,
    /// Tags begin with this.
    weak: bool,
    /// No tags at all.
    untagged: bool,
    /// So many times, right after a record was read by the walk, somebody else writes it.
    rivals: usize,
    /// Texts are cut off behind so many characters when they are stored, as some databases do.
    cuts: usize,
    /// A record that cannot be written.
    stubborn: Option<u64>,
    /// A record that is in conflict with whatever is written.
    locked: Option<u64>,
    /// Values that are longer than this are not stored.
    drops: usize,
}

/// An application that keeps customers, each with a version.
struct Shop {
    server: Upstream,
    records: Records,
}

type Records = Arc<Mutex<BTreeMap<String, (String, u64)>>>;

impl Shop {
    fn new(count: u64, manners: Manners) -> Self {
        let names = (1..=count).map(|n| n.to_string());
        Self::named(names, manners)
    }

    fn named(names: impl Iterator<Item = String>, manners: Manners) -> Self {
        let record = |name: &str, n: usize| {
            format!("{{ \"id\": {}, \"ssn\":\"{SSN}{n:04}\", \"visits\": 0,\"n\":1.50 }}", json!(name))
        };
        let records: Records = Arc::new(Mutex::new(
            names.enumerate().map(|(n, name)| (name.clone(), (record(&name, n + 1), 1))).collect(),
        ));
        let (kept, turn, read) = (Arc::clone(&records), Mutex::new(0), Mutex::new(BTreeMap::<String, usize>::new()));
        let server = upstream(move |request, out| {
            let (status, headers, body) = {
                let mut turn = turn.lock().unwrap();
                *turn += 1;
                if manners.busy > 0 && *turn % manners.busy == 0 {
                    let status = if *turn % (2 * manners.busy) == 0 { 503 } else { 429 };
                    (status, "retry-after: 0\r\n".to_owned(), String::new())
                } else {
                    let answered = answer(&manners, &mut kept.lock().unwrap(), request);
                    if request.first_line().starts_with("GET") && manners.rivals > 0 {
                        rival(&manners, &mut kept.lock().unwrap(), &mut read.lock().unwrap(), request);
                    }
                    answered
                }
            };
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
                body.len()
            );
            match out.write_all(head.as_bytes()).and_then(|()| out.write_all(body.as_bytes())) {
                Ok(()) => Next::KeepAlive,
                Err(_) => Next::Close,
            }
        });
        Self { server, records }
    }

    fn address(&self) -> SocketAddr {
        let Address::Tcp(address) = self.server.address else { panic!("TCP") };
        address
    }

    fn stage(&self, rules: &str) -> Stage {
        Stage::before(&self.server, rules)
    }

    fn stored(&self) -> BTreeMap<String, Value> {
        let records = self.records.lock().unwrap();
        records.iter().map(|(name, (body, _))| (name.clone(), serde_json::from_str(body).unwrap())).collect()
    }

    fn sealed(&self) -> usize {
        self.stored().values().filter(|record| record["ssn"].as_str().unwrap().starts_with("sc1.")).count()
    }

    fn count(&self, method: &str) -> usize {
        self.server.seen.lock().unwrap().iter().filter(|r| r.first_line().starts_with(method)).count()
    }
}

/// Somebody else, who is faster.
fn rival(
    manners: &Manners,
    records: &mut BTreeMap<String, (String, u64)>,
    read: &mut BTreeMap<String, usize>,
    request: &Message,
) {
    let Some(name) = request.first_line().split(' ').nth(1).and_then(|path| path.strip_prefix("/customers/")) else {
        return;
    };
    let times = read.entry(name.to_owned()).or_default();
    *times += 1;
    let Some((body, version)) = records.get_mut(name) else { return };
    // The walk's own look at what is stored has no `Via`.
    if *times <= manners.rivals {
        let visits = body.split_once("\"visits\": ").unwrap().1.split(',').next().unwrap().to_owned();
        let more = visits.parse::<u64>().unwrap() + 1;
        *body = body.replace(&format!("\"visits\": {visits},"), &format!("\"visits\": {more},"));
        *version += 1;
    }
}

fn answer(
    manners: &Manners,
    records: &mut BTreeMap<String, (String, u64)>,
    request: &Message,
) -> (u16, String, String) {
    let mut line = request.first_line().split(' ');
    let (method, target) = (line.next().unwrap(), line.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let tag = |version: u64| match manners {
        Manners { untagged: true, .. } => String::new(),
        Manners { weak: true, .. } => format!("etag: W/\"{version}\"\r\n"),
        _ => format!("etag: \"{version}\"\r\n"),
    };
    if path == "/customers" {
        return list(records, query);
    }
    let Some(name) = path.strip_prefix("/customers/") else { return (404, String::new(), "{}".into()) };
    let name = percent_encoding::percent_decode_str(name).decode_utf8().unwrap().into_owned();
    let Some((body, version)) = records.get_mut(&name) else { return (404, String::new(), "{}".into()) };
    if method == "GET" {
        return (200, tag(*version), body.clone());
    }
    if manners.stubborn.is_some_and(|n| n.to_string() == name) {
        return (400, String::new(), format!("{{\"error\":\"I do not take {body}\"}}"));
    }
    if manners.locked.is_some_and(|n| n.to_string() == name) {
        return (409, String::new(), "{}".into());
    }
    if let Some(wanted) = request.field("if-match")
        && !manners.careless
        && wanted != format!("\"{version}\"")
    {
        return (412, String::new(), "{}".into());
    }
    let text = request.text();
    if method == "PATCH" {
        let mut whole: Value = serde_json::from_str(body).unwrap();
        for (name, value) in serde_json::from_str::<Value>(&text).unwrap().as_object().unwrap() {
            whole[name] = value.clone();
        }
        *body = whole.to_string();
    } else if manners.drops > 0 {
        let mut whole: Value = serde_json::from_str(&text).unwrap();
        if whole["ssn"].as_str().is_some_and(|ssn| ssn.len() > manners.drops) {
            whole.as_object_mut().unwrap().remove("ssn");
        }
        *body = whole.to_string();
    } else if manners.cuts > 0 {
        let mut whole: Value = serde_json::from_str(&text).unwrap();
        let cut: String = whole["ssn"].as_str().unwrap().chars().take(manners.cuts).collect();
        whole["ssn"] = json!(cut);
        *body = whole.to_string();
    } else {
        *body = text;
    }
    *version += 1;
    (200, tag(*version), body.clone())
}

/// In every way that lists are paged.
fn list(records: &BTreeMap<String, (String, u64)>, query: &str) -> (u16, String, String) {
    const SIZE: usize = 7;
    let get = |name: &str| {
        let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
        Some(percent_encoding::percent_decode_str(value).decode_utf8().unwrap().into_owned())
    };
    let number = |name: &str| get(name).and_then(|text| text.parse::<usize>().ok());
    let all: Vec<(&String, &String)> = records.iter().map(|(name, (body, _))| (name, body)).collect();
    let from = match (number("page"), number("offset"), get("after")) {
        (Some(page), _, _) => (page - 1) * SIZE,
        (_, Some(offset), _) => offset,
        (_, _, Some(after)) => all.iter().position(|(name, _)| **name > after || after.is_empty()).unwrap_or(all.len()),
        _ => 0,
    };
    let page: Vec<_> = all.iter().skip(from).take(SIZE).collect();
    let bodies: Vec<&str> = page.iter().map(|(_, body)| body.as_str()).collect();
    let last = page.last().map(|(name, _)| (*name).clone()).filter(|_| from + SIZE < all.len());
    match get("style").as_deref() {
        Some("cursor") => {
            (200, String::new(), format!("{{\"items\":[{}],\"next\":{}}}", bodies.join(","), json!(last)))
        }
        Some("link") => {
            let next = last.map_or_else(String::new, |last| {
                let after = percent_encoding::utf8_percent_encode(&last, percent_encoding::NON_ALPHANUMERIC);
                format!("link: <http://elsewhere.test/customers?style=link&after={after}>; rel=\"next\"\r\n")
            });
            (200, next, format!("[{}]", bodies.join(",")))
        }
        _ => (200, String::new(), format!("[{}]", bodies.join(","))),
    }
}

/// The command's flags for a walk through `to`.
fn api<'a>(through: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let flags = ["--json", "rewrite", "api", "--through", through, "--concurrency", "3"];
    let looks = ["--direct", "--dry-run"].iter().any(|flag| more.contains(flag));
    let blind: &[&str] = if looks { &[] } else { &["--without-direct"] };
    [&flags, more, blind].concat()
}

const NUMBERED: [&str; 2] = ["--list", "/customers?page={page}"];

/// Nothing that a walk leaves behind holds a value.
fn holds_no_value(place: &Place, outputs: &[&str]) {
    for entry in std::fs::read_dir(place.path("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name != "rules.yaml" && !name.ends_with(".pem") {
            let text = String::from_utf8_lossy(&place.bytes(&name)).into_owned();
            assert!(!text.contains(SSN), "{name}: {text}");
        }
    }
    for output in outputs {
        assert!(!output.contains(SSN), "{output}");
    }
}
