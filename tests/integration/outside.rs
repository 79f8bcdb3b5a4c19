//! Parameters, path segments, headers and cookies, sealed and opened: what reaches the application is looked at byte for byte.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use sidecloak::clock::SystemClock;
use sidecloak::keyring::Kind;
use sidecloak::name::PartitionName;
use sidecloak::proxy::settings::Address;

use super::stage::{self, Stage};
use super::support::{Client, Message, Next, Upstream, upstream};

const SSN: &str = "123-45-6789";

/// A rule over all paths with these items under `protect`, or whatever begins with another key.
fn rules(items: &str) -> String {
    let items =
        if items.contains(": [") && !items.starts_with('{') { items.into() } else { format!("protect: [{items}]") };
    format!("rules:\n  - name: r\n    match: {{ path: [\"/c/{{id}}\", \"/c/{{id}}/**\", /**] }}\n    {items}\n")
}

/// Answers 200 with nothing, or what the test puts there.
fn silent() -> Upstream {
    answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
}

fn answering(answer: &'static str) -> Upstream {
    upstream(move |_, out| {
        out.write_all(answer.as_bytes()).unwrap();
        Next::KeepAlive
    })
}

fn send(stage: &Stage, head: &str) -> Message {
    let mut client = Client::tcp(stage.front);
    let to_head = head.starts_with("HEAD ");
    client.send(format!("{head}\r\nHost: app\r\n\r\n"));
    Message::read(&mut client.read, to_head).unwrap()
}

fn get(stage: &Stage, target: &str) -> Message {
    send(stage, &format!("GET {target} HTTP/1.1"))
}

/// The target that the application saw last.
fn target(app: &Upstream) -> String {
    app.last().first_line().split(' ').nth(1).unwrap().to_owned()
}

fn is_token(text: &str) -> bool {
    text.starts_with("sc1.") && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// The same keyring and rules, with more lines of the listener, before another application.
fn restarted(mut stage: Stage, app: &Upstream, listener: &str) -> Stage {
    stage.app.take().unwrap().stop();
    let Address::Tcp(address) = app.address else { panic!("no TCP address") };
    let app = stage::start(stage.dir.path(), address, listener, "", SystemClock::shared());
    stage.front = stage::tcp(&app, "front");
    stage.app = Some(app);
    stage
}

fn roll(stage: &Stage) {
    stage.keyring().rollover(&PartitionName::default_name(), &[Kind::Deterministic]).unwrap();
}

/// Keeps what is posted, and finds it by equality of `ssn`, as a database would.
fn database() -> Upstream {
    let stored: Arc<Mutex<Vec<String>>> = Arc::default();
    upstream(move |request, out| {
        let mut stored = stored.lock().unwrap();
        let (status, body) = if request.first_line().starts_with("POST") {
            stored.push(request.text());
            ("201 Created", "{}".to_owned())
        } else {
            let target = request.first_line().split(' ').nth(1).unwrap();
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let mut wanted: Vec<&str> = query.split('&').filter_map(|pair| pair.strip_prefix("ssn=")).collect();
            let by_path = path.strip_prefix("/c/");
            wanted.extend(by_path);
            let quoted: Vec<String> = wanted.iter().map(|value| format!("\"{value}\"")).collect();
            let found: Vec<&str> =
                stored.iter().filter(|body| quoted.iter().any(|q| body.contains(q))).map(String::as_str).collect();
            let status = if by_path.is_some() && found.is_empty() { "404 Not Found" } else { "200 OK" };
            (status, format!("[{}]", found.join(",")))
        };
        let kind = "content-type: application/json";
        write!(out, "HTTP/1.1 {status}\r\n{kind}\r\ncontent-length: {}\r\n\r\n", body.len()).unwrap();
        if !request.first_line().starts_with("HEAD") {
            out.write_all(body.as_bytes()).unwrap();
        }
        Next::KeepAlive
    })
}

#[test]
fn a_look_up_finds_what_a_body_stored() {
    let app = database();
    let item = "{ fields: [\"$..ssn\", \"query:ssn\"], deterministic: true }, { fields: [\"$..account\", \"query:account\"], deterministic: true, type: number }";
    let stage = Stage::before(&app, &rules(item));
    let body = format!(r#"{{"ssn":"{SSN}","account":42,"name":"é"}}"#);
    let posted = stage.post("/customers", body.clone());
    assert_eq!(posted.status, 201);
    let stored: serde_json::Value = serde_json::from_slice(&app.last().body).unwrap();
    assert!(is_token(stored["ssn"].as_str().unwrap()));
    for spelled in [SSN, "123%2D45-6789", "%31%32%33-45-6789"] {
        let found = get(&stage, &format!("/customers?limit=5&ssn={spelled}&x"));
        assert_eq!(found.text(), format!("[{body}]"));
        assert_eq!(target(&app), format!("/customers?limit=5&ssn={}&x", stored["ssn"].as_str().unwrap()));
    }
    get(&stage, "/customers?account=42");
    assert_eq!(target(&app), format!("/customers?account={}", stored["account"].as_str().unwrap()), "the number 42");
    let seen = app.count();
    for other in ["x", "042", "+42", "", "42.", "%2242%22", "null", "true", "[1]"] {
        assert_eq!(get(&stage, &format!("/customers?account={other}")).status(), 422, "{other} is no number");
    }
    assert_eq!(app.count(), seen);
    assert_eq!(get(&stage, "/customers?ssn=1").text(), "[]");
}

#[test]
fn a_look_up_is_rewritten_after_a_rollover() {
    for (rewrite, asks, finds) in [("current", 1, false), ("fallback", 2, true), ("all", 1, true)] {
        let app = database();
        let item = format!("{{ fields: [\"$..ssn\", \"query:ssn\"], deterministic: true, rewrite: {rewrite} }}");
        let stage = Stage::before(&app, &rules(&item));
        let body = format!(r#"{{"ssn":"{SSN}"}}"#);
        stage.post("/customers", body.clone());
        get(&stage, &format!("/customers?ssn={SSN}"));
        let before = target(&app);
        roll(&stage);
        let seen = app.count();
        let found = get(&stage, &format!("/customers?a=1&ssn={SSN}&b"));
        assert_eq!(found.text(), if finds { format!("[{body}]") } else { "[]".into() }, "{rewrite}");
        assert_eq!(app.count() - seen, asks, "{rewrite}");
        let old = before.split_once("ssn=").unwrap().1;
        assert_eq!(target(&app).contains(old), finds, "{rewrite}");
        assert!(target(&app).starts_with("/customers?a=1&ssn=sc1.") && target(&app).ends_with("&b"));
        assert!(!target(&app).contains(SSN));
        // What was stored since is found at once.
        stage.post("/customers", r#"{"ssn":"7"}"#);
        let seen = app.count();
        assert_eq!(get(&stage, "/customers?ssn=7").text(), r#"[{"ssn":"7"}]"#);
        assert_eq!(app.count() - seen, 1);
        // Only a look-up is made twice.
        let seen = app.count();
        send(&stage, "DELETE /customers?ssn=9 HTTP/1.1");
        assert_eq!(app.count() - seen, 1);
    }
}

#[test]
fn segments_of_the_path_are_found_too() {
    let app = database();
    let text = "rules:\n  - name: one\n    match: { path: \"/c/{ssn}\" }\n    protect: [{ fields: [\"path:ssn\", \"$..ssn\"], deterministic: true, rewrite: fallback }]\n  - name: all\n    match: { path: /customers }\n    protect: [{ fields: $..ssn, deterministic: true }]\n";
    let stage = Stage::before(&app, text);
    let body = format!(r#"{{"ssn":"{SSN}"}}"#);
    stage.post("/customers", body.clone());
    let token =
        serde_json::from_slice::<serde_json::Value>(&app.last().body).unwrap()["ssn"].as_str().unwrap().to_owned();
    assert_eq!(get(&stage, &format!("/c/{SSN}")).text(), format!("[{body}]"));
    assert_eq!(target(&app), format!("/c/{token}"));
    for (sent, leaves) in [
        (format!("//c/./{SSN};v=1/?q=%20&&"), format!("//c/./{token};v=1/?q=%20&&")),
        (format!("/x/../c/{SSN}"), format!("/x/../c/{token}")),
        (format!("/%63/%31{}", &SSN[1..]), format!("/%63/{token}")),
        (format!("/c/{token}"), format!("/c/{token}")),
    ] {
        get(&stage, &sent);
        assert_eq!(target(&app), leaves, "links that the application made carry tokens");
    }
    roll(&stage);
    assert_eq!(get(&stage, &format!("/c/{SSN}")).text(), format!("[{body}]"), "404, then under the epoch before");
    assert_eq!(send(&stage, &format!("HEAD /c/{SSN} HTTP/1.1")).status(), 200);
    assert_eq!(get(&stage, "/c/none").status(), 404);
    assert_eq!(get(&stage, "/c/sc1.x").status(), 422);
    assert_eq!(send(&stage, &format!("DELETE /c/{token} HTTP/1.1")).status(), 422, "`keep` is for look-ups");
}

#[test]
fn what_an_application_might_read_otherwise_is_refused() {
    let app = silent();
    let text = rules("{ fields: [\"query:ssn\", \"cookie:ssn\"], deterministic: true }");
    let stage = Stage::before(&app, &text);
    for query in [
        "SSN=1",
        "ssn[]=1",
        "ssn%5B%5D=1",
        "a=1;ssn=2",
        "ssn%00=1",
        "%2573sn=1",
        "ssn=%zz",
        "ssn=%",
        "ssn=1%00",
        "ssn=%ff",
        "+ssn=1",
        "ssn%3D1",
        "a=1&amp;ssn=2",
        "%u0073sn=1",
        "%c1%b3sn=1",
    ] {
        let reply = get(&stage, &format!("/x?{query}"));
        assert_eq!((reply.status(), app.count()), (400, 0), "{query}: {}", reply.text());
        assert!(reply.text().contains("problem:ambiguous") && reply.text().contains("\"rule\":\"r\""));
    }
    for cookie in ["a=\"x; ssn=1\"", "a=1, ssn=2", "SSN=1", "%73sn=1", "ssn=%zz", "ssn=\"1", "a=\u{1}"] {
        let reply = send(&stage, &format!("GET /x HTTP/1.1\r\nCookie: {cookie}"));
        assert_eq!((reply.status(), app.count()), (400, 0), "{cookie}");
    }
    for (query, tokens) in [("ssn=1&%73%73n=1&ssn=1", 3), ("ssn", 0), ("xssn=1&q=ssn", 0), ("%zz=1&ssn=1;2", 1)] {
        assert_eq!(get(&stage, &format!("/x?{query}")).status(), 200, "{query}");
        assert_eq!(target(&app).matches("sc1.").count(), tokens, "{query}");
    }
    let long = format!("/x?{}", vec!["ssn=1"; 1_000].join("&"));
    let seen = app.count();
    assert_eq!(get(&stage, &long).status(), 414);
    assert_eq!(app.count(), seen);

    let stage = restarted(stage, &app, "    on_ambiguous: pass");
    let both = "/x?SSN=1&ssn=%zz&ssn=1";
    assert_eq!(get(&stage, both).status(), 200);
    assert!(target(&app).starts_with("/x?SSN=1&ssn=%zz&ssn=sc1."), "what cannot be read passes as it came");
}

#[test]
fn headers_and_cookies_both_ways() {
    let app = upstream(|request, out| {
        let echo = |name: &str| request.field(name).unwrap_or_default();
        let ssn = echo("x-ssn").split(", ").map(|value| format!("X-Ssn: {value}\r\n")).collect::<String>();
        let cookie = echo("cookie")
            .split("; ")
            .map(|pair| format!("Set-Cookie: {pair}; Path=/; HttpOnly\r\n"))
            .collect::<String>();
        let gone = "Set-Cookie: __Host-id=; Max-Age=0\r\nSet-Cookie: __Host-id=deleted; expires=Thu, 01-Jan-1970 00:00:01 GMT; Max-Age=0\r\n";
        write!(out, "HTTP/1.1 200 OK\r\n{ssn}{cookie}{gone}content-length: 0\r\n\r\n").unwrap();
        Next::KeepAlive
    });
    let stage = Stage::before(&app, &rules("{ fields: [\"header:X-Ssn\", \"cookie:__Host-id\"] }"));
    let reply = send(
        &stage,
        "POST /x HTTP/1.1\r\nContent-Length: 0\r\nX-Ssn: 1 2\r\nX-Other: 1\r\nx-ssn: \u{e9}\r\nCookie: a=1; __Host-id=a%20b+c;  z ; __Host-id=\"q\"",
    );
    assert_eq!(reply.status(), 200);
    let seen = app.last();
    assert!(!seen.head.contains("1 2") && seen.head.contains("x-other: 1\r\n"), "{}", seen.head);
    let cookie = seen.field("cookie").unwrap();
    let pairs: Vec<&str> = cookie.split(';').collect();
    assert!(
        pairs[0] == "a=1" && pairs[2] == "  z " && is_token(pairs[1].strip_prefix(" __Host-id=").unwrap()),
        "{cookie}"
    );
    assert!(is_token(pairs[3].strip_prefix(" __Host-id=\"").unwrap().strip_suffix('"').unwrap()));
    assert!(seen.field("x-ssn").unwrap().split(", ").all(is_token));
    assert_eq!(reply.field("x-ssn").unwrap(), "1 2, \u{e9}");
    let set = reply.field("set-cookie").unwrap();
    assert!(set.contains("a=1; Path=/; HttpOnly") && set.contains("__Host-id=a%20b+c; Path=/; HttpOnly"), "{set}");
    assert!(
        set.contains("__Host-id=\"q\"; Path=/") && set.contains("__Host-id=; Max-Age=0") && set.contains("deleted"),
        "{set}"
    );
    assert_eq!(reply.field("cache-control").as_deref(), Some("no-store"));

    let plain = answering("HTTP/1.1 200 OK\r\nX-Ssn: 1\r\ncontent-length: 0\r\n\r\n");
    let stage = Stage::before(&plain, &rules("{ fields: \"header:X-Ssn\" }"));
    let refused = get(&stage, "/x");
    assert!(refused.status() == 502 && !refused.head.contains("x-ssn"), "a plaintext where a token should be");
}

#[test]
fn what_a_place_cannot_hold_is_a_failure() {
    let app = upstream(|request, out| {
        let body = request.text();
        let token = body.split('"').find(|part| part.starts_with("sc1.")).unwrap_or("none").to_owned();
        write!(out, "HTTP/1.1 200 OK\r\nX-V: {token}\r\ncontent-length: 0\r\n\r\n").unwrap();
        Next::KeepAlive
    });
    let text = "rules:\n  - name: r\n    match: { path: /x }\n    request: [{ seal: $.v }]\n    response: [{ open: \"header:x-v\", class: v, on_error: MODE }]\n";
    for (mode, status, shown) in
        [("reject", 502, None), ("redact", 200, Some("[redacted]")), ("pass", 200, Some("sc1."))]
    {
        let stage = Stage::before(&app, &text.replace("MODE", mode));
        for value in ["a\\r\\nX-Evil: 1", "a\\u0000", " a", "\\ud800"] {
            let body = format!("{{\"v\":\"{value}\"}}");
            let head = format!(
                "POST /x HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let mut client = Client::tcp(stage.front);
            client.send(head);
            let reply = client.receive();
            assert_eq!(reply.status(), status, "{mode} {value}");
            assert!(!reply.head.to_lowercase().contains("x-evil"), "{}", reply.head);
            let header = reply.field("x-v");
            assert_eq!(header.is_some(), shown.is_some());
            assert!(shown.is_none_or(|shown| header.unwrap().starts_with(shown)), "{mode} {value}");
        }
        let good = "{\"v\":\"a é\"}";
        let mut client = Client::tcp(stage.front);
        client.send(format!(
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{good}",
            good.len()
        ));
        assert_eq!(client.receive().field("x-v").as_deref(), Some("a é"));
    }
}

#[test]
fn tokens_in_longer_text_are_opened_in_place() {
    let app = upstream(|request, out| {
        let body = request.text();
        let token = body.split('"').find(|part| part.starts_with("sc1.")).unwrap_or("none").to_owned();
        let text = format!(r#"{{"message":"No \"{token}\" or {token}\u0021","n":1e5,"other":"{token}"}}"#);
        let link = format!("<https://x/c/{token}?a=%20>; rel=\"next\", </y>; rel=up");
        write!(out, "HTTP/1.1 201 Created\r\nLocation: /c/{token}?q={token}#f\r\nLink: {link}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{text}", text.len()).unwrap();
        Next::KeepAlive
    });
    let text = "rules:\n  - name: r\n    match: { path: /x }\n    request: [{ seal: $.ssn }]\n    response: [{ open: [\"header:location\", \"header:link\", $.message], embedded: true, class: ssn }]\n";
    let stage = Stage::before(&app, text);
    let reply = stage.post("/x", r#"{"ssn":"a \"b\"/ü"}"#);
    assert_eq!(reply.status, 201, "{}", reply.text());
    let encoded = "a%20%22b%22%2F%C3%BC";
    assert_eq!(reply.headers["location"], format!("/c/{encoded}?q={encoded}#f"));
    assert_eq!(reply.headers["link"], format!("<https://x/c/{encoded}?a=%20>; rel=\"next\", </y>; rel=up"));
    let value = r#"a \"b\"/ü"#;
    assert!(
        reply.text().starts_with(&format!(r#"{{"message":"No \"{value}\" or {value}\u0021","n":1e5,"other":"sc1."#)),
        "{}",
        reply.text()
    );
}

#[test]
fn expose_opens_what_leaves_and_seals_what_comes() {
    let app = silent();
    let text = "rules:\n  - name: seal\n    match: { path: /in }\n    request: [{ seal: [\"query:ssn\"], deterministic: true }]\n  - name: open\n    match: { path: \"/out/{ssn}\" }\n    expose: [{ fields: [\"query:ssn\", \"path:ssn\"], deterministic: true }]\n";
    let stage = Stage::before(&app, text);
    let sealed = |value: &str| {
        assert_eq!(get(&stage, &format!("/in?ssn={value}")).status(), 200);
        target(&app).split_once('=').unwrap().1.to_owned()
    };
    let (token, odd) = (sealed("a%20%26b"), sealed("..%2Fadmin"));
    assert_eq!(get(&stage, &format!("/out/{token}?x=%41&ssn={token}&ssn={odd}")).status(), 200);
    assert_eq!(target(&app), "/out/a%20%26b?x=%41&ssn=a%20%26b&ssn=..%2Fadmin");
    let seen = app.count();
    assert_eq!(get(&stage, &format!("/out/{odd}")).status(), 422, "a segment cannot hold it");
    assert_eq!(get(&stage, "/out/plain").status(), 422, "a plaintext where a token should be");
    assert_eq!(app.count(), seen);
}

#[test]
fn observe_changes_nothing_and_every_other_byte_stays() {
    let app = silent();
    let stage = Stage::before(&app, &rules("{ fields: [\"query:ssn\", \"cookie:ssn\", \"header:x-ssn\", \"path:id\"], type: number, deterministic: true, mode: observe, required: true }").replace(", /**]", "]"));
    for target_sent in ["/c/7/?ssn=1;SSN=2&&%zz=%&ssn=%00", "//c/7;x=1?a", "/c/%37?ssn=x"] {
        let reply = send(&stage, &format!("GET {target_sent} HTTP/1.1\r\nCookie: ssn=1; a=\"; ssn=2\r\nX-Ssn: z"));
        assert_eq!(reply.status(), 200);
        assert_eq!(target(&app), target_sent);
        assert_eq!(app.last().field("cookie").as_deref(), Some("ssn=1; a=\"; ssn=2"));
        assert_eq!(app.last().field("x-ssn").as_deref(), Some("z"));
    }
}

#[test]
fn what_is_required_and_what_is_bound() {
    let app = silent();
    let stage = Stage::before(
        &app,
        "rules:\n  - name: r\n    match: { path: \"/c/{id}\" }\n    protect: [{ fields: \"header:x-ssn\", required: true, bind: \"path:id\" }]\n",
    );
    assert_eq!(get(&stage, "/c/1").status(), 422);
    assert_eq!(send(&stage, "GET /c/1 HTTP/1.1\r\nX-Ssn: 1").status(), 200);
    let token = app.last().field("x-ssn").unwrap();
    let answer: &'static str = format!("HTTP/1.1 200 OK\r\nX-Ssn: {token}\r\ncontent-length: 0\r\n\r\n").leak();
    let echo = answering(answer);
    let stage = restarted(stage, &echo, "");
    assert_eq!(send(&stage, "GET /c/1 HTTP/1.1\r\nX-Ssn: 1").field("x-ssn").as_deref(), Some("1"));
    assert_eq!(send(&stage, "GET /c/2 HTTP/1.1\r\nX-Ssn: 1").status(), 502, "of another record");
}

#[test]
fn a_signature_over_the_target_keeps_it_from_being_changed() {
    let app = silent();
    let stage = Stage::before(&app, &rules("{ fields: \"query:ssn\", deterministic: true }"));
    let signed = |component: &str| format!("GET /x?ssn=1 HTTP/1.1\r\nSignature-Input: s=(\"{component}\");created=1");
    assert_eq!(send(&stage, &signed("@query")).status(), 415);
    assert_eq!(send(&stage, &signed("@target-uri")).status(), 415);
    assert_eq!(app.count(), 0);
    assert_eq!(send(&stage, &signed("@method")).status(), 200);
}

#[test]
fn a_list_that_holds_something_passes_as_it_is() {
    for (answer, again) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n1\r\n[\r\n2\r\n ]\r\n0\r\n\r\n",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n1\r\n[\r\n2\r\n1]\r\n0\r\n\r\n",
            false,
        ),
        ("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}", false),
        ("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\n[]", false),
        ("HTTP/1.1 500 Oops\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n[]", false),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno", true),
    ] {
        let app = answering(answer);
        let stage = Stage::before(&app, &rules("{ fields: \"query:ssn\", deterministic: true, rewrite: fallback }"));
        assert!(get(&stage, "/x?ssn=1").status() > 0);
        assert_eq!(app.count(), 1, "there is no epoch before");
        roll(&stage);
        let reply = get(&stage, "/x?ssn=1");
        assert_eq!(app.count(), if again { 3 } else { 2 }, "{answer}");
        let body: String = reply.text().split_whitespace().collect();
        assert!(["[]", "[1]", "{}", "no"].contains(&body.as_str()), "{body}");
    }
}

#[test]
fn nothing_of_it_is_in_logs_metrics_or_errors() {
    let log = super::log::log();
    let app = silent();
    let stage = Stage::before(
        &app,
        &rules("{ fields: [\"query:ssn\", \"cookie:id\", \"header:x-ssn\"], deterministic: true, type: number }"),
    );
    let canary = "canary-7731";
    let mut answers = String::new();
    for head in [
        format!("GET /x?ssn={canary} HTTP/1.1"),
        format!("GET /x?SSN={canary} HTTP/1.1"),
        format!("GET /x?ssn={canary}%zz HTTP/1.1"),
        format!("GET /x HTTP/1.1\r\nCookie: id={canary}"),
        format!("GET /x HTTP/1.1\r\nCookie: ID={canary}"),
        format!("GET /x HTTP/1.1\r\nX-Ssn: {canary}"),
    ] {
        let reply = send(&stage, &head);
        assert!(reply.status() >= 400, "{head}");
        answers.push_str(&reply.head);
        answers.push_str(&reply.text());
    }
    assert_eq!(app.count(), 0);
    get(&stage, "/x?ssn=77317731");
    let metrics = stage.app().shared().metrics.render();
    drop(stage);
    let logged = log.text();
    for text in [&answers, &metrics, &logged] {
        assert!(!text.contains(canary) && !text.contains("77317731"), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_not_selected_is_byte_identical(
        before in "[a-rt-z0-9=&+._~!$'()*,:@/?-]{0,24}", after in "[a-rt-z0-9=&+._~!$'()*,:@/?-]{0,24}", value in "[0-9]{1,6}",
    ) {
        use std::sync::OnceLock;
        static PLACE: OnceLock<Mutex<(Upstream, Stage)>> = OnceLock::new();
        let place = PLACE.get_or_init(|| {
            let app = silent();
            let stage = Stage::before(&app, &rules("{ fields: \"query:ssn\", deterministic: true }"));
            Mutex::new((app, stage))
        });
        let place = place.lock().unwrap();
        let (app, stage) = &*place;
        let reply = get(stage, &format!("/x?{before}&ssn={value}&{after}"));
        prop_assert_eq!(reply.status(), 200);
        let seen = target(app);
        let (head, tail) = (format!("/x?{before}&ssn="), format!("&{after}"));
        prop_assert!(seen.starts_with(&head) && seen.ends_with(&tail), "{}", seen);
        prop_assert!(is_token(&seen[head.len()..seen.len() - tail.len()]), "{}", seen);
    }
}

#[test]
fn names_in_brackets_are_no_way_around() {
    let app = silent();
    let stage = Stage::before(&app, &rules("{ fields: [\"query:ssn\", \"query:card[pan]\"] }"));
    // Rack and qs read all of these as `ssn`, or as `pan` within `card`.
    for query in ["[ssn]=1", "ssn]=1", "%5Bssn%5D=1", "[ssn][]=1", "a=1;[ssn]=2", "[card][pan]=1", "card[0][pan]=1"] {
        let reply = get(&stage, &format!("/x?{query}"));
        assert_eq!((reply.status(), app.count()), (400, 0), "{query}: {}", reply.text());
    }
    assert_eq!(get(&stage, "/x?card[name]=1&card=2&customer[ssn]=3").status(), 200, "other names than those");
}

#[test]
fn a_header_that_gateways_take_for_a_protected_one_is_refused() {
    let app = silent();
    let stage = Stage::before(&app, &rules("{ fields: [\"header:x-ssn\"] }"));
    for name in ["X_SSN", "x_ssn", "X.Ssn"] {
        let reply = send(&stage, &format!("GET /x HTTP/1.1\r\n{name}: {SSN}"));
        assert_eq!((reply.status(), app.count()), (400, 0), "{name}");
        assert!(reply.text().contains("problem:ambiguous"));
    }
    assert_eq!(send(&stage, "GET /x HTTP/1.1\r\nX-Ssn: 1\r\nX_Other: 2\r\nXSsn: 3").status(), 200);
    send(&stage, "GET /x HTTP/1.1\r\nX_Rewrite_URL: /admin\r\nX_Original_URL: /admin");
    assert!(!app.last().head.contains("/admin"), "{}", app.last().head);
}

#[test]
fn trailers_are_no_way_around() {
    let app = silent();
    let stage = Stage::before(&app, &rules("{ fields: [\"header:x-ssn\", \"cookie:ssn\"] }"));
    let mut client = Client::tcp(stage.front);
    client.send(
        "POST /x HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\nTrailer: x-ssn, x_ssn, cookie, x-sum\r\n\r\n",
    );
    client.send(format!("2\r\nhi\r\n0\r\nx-ssn: {SSN}\r\nx_ssn: {SSN}\r\ncookie: ssn={SSN}\r\nx-sum: 9\r\n\r\n"));
    assert_eq!(client.receive().status(), 200);
    let seen = app.last();
    assert_eq!((seen.text().as_str(), seen.trailers.as_str()), ("hi", "x-sum: 9\r\n\r\n"));

    let told = answering(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-ssn, x-sum\r\n\r\n2\r\nhi\r\n0\r\nx-ssn: 123-45-6789\r\nx-sum: 9\r\n\r\n",
    );
    let stage = Stage::before(&told, &rules("expose: [{ fields: [\"header:x-ssn\"] }]"));
    let reply = send(&stage, "GET /x HTTP/1.1\r\nTE: trailers\r\nConnection: te");
    assert_eq!((reply.text().as_str(), reply.trailers.as_str()), ("hi", "x-sum: 9\r\n\r\n"));
}

#[test]
fn a_list_that_was_empty_once_is_asked_for_again() {
    let old: Arc<Mutex<Option<String>>> = Arc::default();
    let known = Arc::clone(&old);
    let app = upstream(move |request, out| {
        let body = match &*known.lock().unwrap() {
            Some(token) if request.first_line().contains(token.as_str()) => "[1]",
            _ => "[]",
        };
        // As applications make tags of what they send: empty lists all have the same.
        let tag = format!("\"{}\"", body.len());
        let status = if request.field("if-none-match").is_some_and(|tags| tags.contains(&tag)) {
            "304 Not Modified"
        } else {
            "200 OK"
        };
        let kind = "content-type: application/json";
        write!(out, "HTTP/1.1 {status}\r\n{kind}\r\netag: {tag}\r\ncontent-length: {}\r\n\r\n", body.len()).unwrap();
        if status.starts_with('2') {
            out.write_all(body.as_bytes()).unwrap();
        }
        Next::KeepAlive
    });
    let stage = Stage::before(&app, &rules("{ fields: [\"query:ssn\"], deterministic: true, rewrite: fallback }"));
    get(&stage, &format!("/x?ssn={SSN}"));
    let before = target(&app).split_once("ssn=").unwrap().1.to_owned();
    roll(&stage);
    let none = get(&stage, &format!("/x?ssn={SSN}"));
    let tag = none.field("etag").unwrap();
    assert_eq!(none.text(), "[]");
    // Another replica, which has not rolled over yet, stores a record.
    *old.lock().unwrap() = Some(before);
    let again = send(&stage, &format!("GET /x?ssn={SSN} HTTP/1.1\r\nIf-None-Match: {tag}"));
    assert_eq!((again.status(), again.text().as_str()), (200, "[1]"));
}

#[test]
fn caches_that_may_keep_an_opened_header_are_told_what_it_depends_on() {
    let stored = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&stored);
    let app = upstream(move |request, out| {
        let mut kept = kept.lock().unwrap();
        if let Some(token) = request.field("x-ssn") {
            *kept = token;
        }
        write!(out, "HTTP/1.1 200 OK\r\nx-ssn: {}\r\ncache-control: max-age=60\r\ncontent-length: 0\r\n\r\n", *kept)
            .unwrap();
        Next::KeepAlive
    });
    let text = "rules:\n  - name: r\n    match: { path: /** }\n    cache: keep\n    provision: true\n    protect: [{ fields: [\"header:x-ssn\"], key: \"t-{header:x-tenant}\" }]\n";
    let stage = Stage::before(&app, text);
    let reply = send(&stage, &format!("GET /x HTTP/1.1\r\nX-Tenant: a\r\nX-Ssn: {SSN}"));
    assert_eq!((reply.status(), reply.field("x-ssn").as_deref()), (200, Some(SSN)), "{}", reply.text());
    assert_eq!(reply.field("vary").as_deref(), Some("x-tenant"));
}
