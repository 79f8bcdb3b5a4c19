//! Tags, digests, ranges and caches where a rule changes answers: before an application that takes conditions at their word.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::stage::{Reply, Stage, eventually};
use super::support::{Message, Next, Upstream, upstream};

const RULES: &str = "rules:\n  - name: r\n    match: { path: \"/c/**\" }\n    protect: [{ fields: [\"$..ssn\"] }]\n";
const ROLES: &str =
    "callers:\n  - { header: { x-role: clerk }, role: clerk }\n  - { header: { x-role: boss }, role: boss }\n";
const PLAIN: &str = r#"{"ssn":"123-45-6789"}"#;

/// Keeps a version of each path, and says so in `ETag`; whatever it is asked on a condition it decides by that.
fn versioned() -> Upstream {
    type Shelf = HashMap<String, (u32, Vec<u8>)>;
    let shelf = Arc::new(Mutex::new(Shelf::new()));
    upstream(move |request, out| {
        let mut words = request.first_line().split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap().to_owned());
        let mut shelf = shelf.lock().unwrap();
        let tag = shelf.get(&path).map(|(version, _)| format!("\"v{version}\""));
        let names = |field: &str| {
            let list = request.field(field)?;
            let matches = |tag: &String| list.split(',').any(|one| one.trim().trim_start_matches("W/") == tag);
            Some(tag.as_ref().is_some_and(|tag| list.trim() == "*" || matches(tag)))
        };
        let status = match (names("if-match"), names("if-none-match"), method) {
            (Some(false), ..) => "412 Precondition Failed",
            (_, Some(true), "GET" | "HEAD") => "304 Not Modified",
            (_, Some(true), _) => "412 Precondition Failed",
            _ if request.field("if-modified-since").is_some() => "304 Not Modified",
            _ => "200 OK",
        };
        if status == "200 OK" && method == "PUT" {
            let version = shelf.get(&path).map_or(1, |(version, _)| version + 1);
            shelf.insert(path.clone(), (version, request.body.clone()));
        }
        let (version, body) = shelf.get(&path).cloned().unwrap_or_default();
        let body = if matches!((method, status), ("GET", "200 OK")) { body } else { Vec::new() };
        write!(out, "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nETag: \"v{version}\"\r\n").unwrap();
        write!(out, "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nAccept-Ranges: bytes\r\n").unwrap();
        match status {
            "304 Not Modified" => write!(out, "\r\n").unwrap(),
            _ => write!(out, "Content-Length: {}\r\n\r\n", body.len()).unwrap(),
        }
        out.write_all(&body).unwrap();
        Next::KeepAlive
    })
}

fn put(stage: &Stage, path: &str, headers: &[(&str, &str)]) -> Reply {
    let headers = [&[("content-type", "application/json")], headers].concat();
    stage.call("PUT", path, &headers, PLAIN)
}

fn get(stage: &Stage, path: &str, headers: &[(&str, &str)]) -> Reply {
    stage.call("GET", path, headers, "")
}

fn tag(reply: &Reply) -> String {
    reply.headers["etag"].to_str().unwrap().to_owned()
}

fn asked(up: &Upstream, field: &str) -> Option<String> {
    Message::field(&up.last(), field)
}

#[test]
fn a_tag_goes_out_as_ours_and_comes_back_as_theirs() {
    let up = versioned();
    let stage = Stage::before(&up, RULES);
    let first = tag(&put(&stage, "/c/1", &[]));
    assert!(first.starts_with("\"v1-sc1-") && first.len() == "\"v1-sc1-0123456789ab\"".len(), "{first}");
    let reply = get(&stage, "/c/1", &[]);
    assert_eq!((reply.text().as_str(), tag(&reply)), (PLAIN, first.clone()));
    assert!(!reply.headers.contains_key("accept-ranges"));

    let same = get(&stage, "/c/1", &[("if-none-match", &first)]);
    assert_eq!((same.status, tag(&same), same.body.len()), (304, first.clone(), 0));
    assert_eq!(asked(&up, "if-none-match").as_deref(), Some("\"v1\""));
    let weak = format!("\"other\", W/{first}");
    assert_eq!(get(&stage, "/c/1", &[("if-none-match", &weak)]).status, 304);
    assert_eq!(
        asked(&up, "if-none-match").as_deref(),
        Some("W/\"v1\""),
        "a tag that is none of ours is not asked about"
    );
    let head = stage.call("HEAD", "/c/1", &[], "");
    assert_eq!((head.status, tag(&head)), (200, first.clone()));
    assert!(!head.headers.contains_key("content-length") && !head.headers.contains_key("accept-ranges"));

    let second = tag(&put(&stage, "/c/1", &[("if-match", &first)]));
    assert!(second.starts_with("\"v2-sc1-"));
    let late = put(&stage, "/c/1", &[("if-match", &first)]);
    assert_eq!((late.status, tag(&late)), (412, second.clone()), "the update that somebody else made is not lost");
    assert_eq!(put(&stage, "/c/1", &[("if-match", "*")]).status, 200);
    assert_eq!(put(&stage, "/c/1", &[("if-none-match", "*")]).status, 412);
    assert_eq!(get(&stage, "/c/1", &[("if-none-match", &second)]).status, 200);
    assert_eq!(put(&stage, "/c/1", &[("if-match", "\"v3\"")]).status, 200, "a tag read elsewhere, such as in a body");
}

#[test]
fn one_role_s_tag_is_no_proof_of_what_another_is_shown() {
    let up = versioned();
    let stage = Stage::before_with(&up, RULES, "    trusted_peers: [127.0.0.0/8]", ROLES);
    put(&stage, "/c/1", &[]);
    let plain = get(&stage, "/c/1", &[]);
    let sealed = get(&stage, "/c/1", &[("x-role", "clerk")]);
    assert!(plain.text() == PLAIN && sealed.text().contains("sc1."));
    assert_ne!(tag(&plain), tag(&sealed));
    let crossed = get(&stage, "/c/1", &[("x-role", "clerk"), ("if-none-match", &tag(&plain))]);
    assert_eq!((crossed.status, tag(&crossed)), (200, tag(&sealed)));
    assert_eq!(asked(&up, "if-none-match"), None);
    assert_eq!(get(&stage, "/c/1", &[("if-match", &tag(&sealed))]).status, 412);
    for reply in [&plain, &sealed] {
        assert_eq!(reply.headers["vary"], "x-role");
    }
    // Both have seen the same state of the resource.
    assert_eq!(put(&stage, "/c/1", &[("if-match", &tag(&sealed))]).status, 200);
}

#[test]
fn other_rules_make_other_tags_and_the_same_rules_the_same() {
    let up = versioned();
    let stage = Stage::before(&up, RULES);
    let before = tag(&put(&stage, "/c/1", &[]));
    let replica = Stage::before(&up, &format!("# a comment\n{RULES}"));
    assert_eq!(tag(&replica.call("HEAD", "/c/1", &[], "")), before, "another process, another keyring, the same rules");
    std::fs::write(stage.rules_path(), RULES.replace("] }]", "], reveal: mask(4) }]")).unwrap();
    eventually("the mask is shown", || get(&stage, "/c/1", &[]).text().contains("****"));
    let masked = get(&stage, "/c/1", &[("if-none-match", &before)]);
    assert!(masked.status == 200 && tag(&masked) != before);
    assert_eq!(stage.call("DELETE", "/c/1", &[("if-match", &before)], "").status, 200);
}

#[test]
fn dates_and_ranges_do_not_reach_the_upstream() {
    let up = versioned();
    let stage = Stage::before(&up, RULES);
    let first = tag(&put(&stage, "/c/1", &[]));
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let reply = get(&stage, "/c/1", &[("if-modified-since", date), ("range", "bytes=0-3"), ("if-range", &first)]);
    assert_eq!((reply.status, reply.text().as_str()), (200, PLAIN));
    for field in ["if-modified-since", "range", "if-range"] {
        assert_eq!(asked(&up, field), None, "{field}");
    }
    assert!(reply.headers.contains_key("last-modified"));
    // Where no rule acts they do, and tags are nobody's business.
    let reply = get(
        &stage,
        "/other",
        &[("if-modified-since", date), ("range", "bytes=0-3"), ("want-content-digest", "sha-256=1")],
    );
    assert_eq!((reply.status, tag(&reply).as_str()), (304, "\"v0\""));
    assert_eq!(asked(&up, "range").as_deref(), Some("bytes=0-3"));
    assert_eq!(asked(&up, "want-content-digest").as_deref(), Some("sha-256=1"));
}

#[test]
fn a_tag_of_ours_is_understood_where_no_rule_acts() {
    let up = versioned();
    let rules = RULES.replace("path: \"/c/**\"", "path: \"/c/**\", method: [GET]");
    let stage = Stage::before(&up, &rules);
    assert_eq!(tag(&put(&stage, "/c/1", &[])), "\"v1\"");
    let ours = "\"v1-sc1-0123456789ab\"";
    assert_eq!(put(&stage, "/c/1", &[("if-match", ours)]).status, 200, "a PUT that no rule meets");
    assert_eq!(asked(&up, "if-match").as_deref(), Some("\"v1\""));
    assert_eq!(get(&stage, "/other", &[("if-none-match", ours)]).status, 200);
    assert_eq!(asked(&up, "if-none-match"), None, "these bytes were never shown");
}

const CACHED: [(&str, &str); 8] = [
    ("content-type", "application/json"),
    ("cache-control", "public, max-age=600"),
    ("expires", "Thu, 01 Dec 2044 16:00:00 GMT"),
    ("cdn-cache-control", "max-age=600"),
    ("surrogate-control", "max-age=600"),
    ("x-accel-expires", "600"),
    ("age", "5"),
    ("vary", "accept"),
];

#[test]
fn caches_are_told_to_keep_no_opened_answer() {
    let stage = Stage::new(RULES);
    stage.post("/c/1", PLAIN);
    let token = stage.stored_text("/c/1");
    stage.answer("/c/2", 200, &CACHED, token.clone());
    stage.answer("/c/3", 200, &CACHED, "{}");
    let opened = stage.get("/c/2");
    assert_eq!((opened.text().as_str(), &opened.headers["cache-control"]), (PLAIN, &"no-store".parse().unwrap()));
    for gone in ["expires", "cdn-cache-control", "surrogate-control", "x-accel-expires", "age"] {
        assert!(!opened.headers.contains_key(gone), "{gone}");
    }
    let untouched = stage.get("/c/3");
    assert_eq!(untouched.headers["cache-control"], "public, max-age=600", "nothing was opened");
    assert!(untouched.headers.contains_key("expires"));

    let keeping = RULES.replace("    protect", "    cache: keep\n    protect");
    let stage = Stage::with(&keeping, "    trusted_peers: [127.0.0.0/8]", ROLES);
    stage.post("/c/1", PLAIN);
    stage.answer("/c/2", 200, &CACHED, stage.stored_text("/c/1"));
    let kept = stage.get("/c/2");
    assert_eq!(
        (kept.text().as_str(), &kept.headers["cache-control"]),
        (PLAIN, &"public, max-age=600".parse().unwrap())
    );
    let vary: Vec<_> = kept.headers.get_all("vary").iter().map(|v| v.to_str().unwrap()).collect();
    assert_eq!(vary, ["accept", "x-role"]);
}

#[test]
fn an_answer_that_is_sealed_may_be_kept() {
    let stage = Stage::new(&RULES.replace("protect", "expose"));
    stage.answer("/c/1", 200, &CACHED, PLAIN);
    let sealed = stage.get("/c/1");
    assert!(sealed.text().contains("sc1."));
    assert_eq!(sealed.headers["cache-control"], "public, max-age=600");
}

#[test]
fn digests_go_with_the_bytes_they_were_of() {
    let digests = "Digest: a=b\r\nContent-Digest: sha-256=:x:\r\nRepr-Digest: sha-256=:x:\r\nContent-MD5: x\r\nUnencoded-Digest: sha-256=:x:\r\n";
    let up = upstream(move |request, out| {
        let body = match request.first_line().contains("/c/") {
            true => request.body.clone(),
            false => b"{}".to_vec(),
        };
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\ntrailer: x-sum, content-digest, digest, etag\r\n";
        write!(out, "{head}{digests}\r\n{:x}\r\n{}\r\n0\r\n", body.len(), String::from_utf8(body).unwrap()).unwrap();
        write!(out, "{digests}ETag: \"t\"\r\nX-Sum: 7\r\n\r\n").unwrap();
        Next::KeepAlive
    });
    let stage = Stage::before(&up, RULES);
    let mut client = super::support::Client::tcp(stage.front);
    let mut send = |path: &str| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n"
        );
        client
            .send(format!("{head}{digests}Want-Repr-Digest: sha-256=1\r\nTrailer: X-Sum, Content-Digest, Digest, ETag\r\n\r\n{:x}\r\n{PLAIN}\r\n0\r\n{digests}X-Sum: 7\r\n\r\n", PLAIN.len()))
            .receive()
    };
    let answer = send("/c/1");
    let seen = up.last();
    assert_eq!(answer.text(), PLAIN);
    assert!(seen.text().contains("sc1."));
    for message in [&seen, &answer] {
        assert!(
            !message.head.to_lowercase().contains("digest: ") && !message.head.to_lowercase().contains("md5"),
            "{}",
            message.head
        );
        assert_eq!(message.trailers.to_lowercase(), "x-sum: 7\r\n\r\n");
    }
    let answer = send("/elsewhere");
    for message in [&up.last(), &answer] {
        assert_eq!(message.field("repr-digest").as_deref(), Some("sha-256=:x:"));
        assert!(message.trailers.to_lowercase().contains("content-digest"));
    }
}
