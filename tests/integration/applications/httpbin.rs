//! Before httpbin, which answers in all the ways that HTTP has.

use serde_json::{Value, json};

use super::{Application, Front, json, python};
use crate::stage::Reply;
use crate::tools;

pub fn httpbin() -> Option<Application> {
    let place = tools::installed("httpbin", "tests/apps/httpbin/requirements.txt")?;
    let command = |port: u16| {
        let mut command = python(&place);
        command.args(["-m", "gunicorn", "--worker-class", "gthread", "--threads", "8", "--log-level", "warning", "-b"]);
        command.arg(format!("127.0.0.1:{port}")).arg("httpbin:app").env("PYTHONDONTWRITEBYTECODE", "1");
        command
    };
    let is_it = |reply: &Reply| reply.status == 200 && reply.text().contains("user-agent");
    Some(Application::start(command, "/user-agent", is_it))
}

/// Rules that read every answer, and find nothing in most.
const READS_ALL: &str = r#"rules:
  - name: all
    match: { path: /** }
    protect:
      - fields: ["$..ssn", "$..pan"]
"#;

/// All that means something to a client, without what tells of the way: it is another one.
fn told(reply: &Reply) -> (u16, Vec<u8>, Vec<(String, String)>) {
    const OF_THE_WAY: [&str; 6] = ["connection", "date", "via", "transfer-encoding", "server", "keep-alive"];
    let headers = reply.headers.iter().filter(|(name, _)| !OF_THE_WAY.contains(&name.as_str()));
    let mut headers: Vec<_> =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    headers.sort();
    (reply.status, reply.body.clone(), headers)
}

/// Fixed answers: nothing in them depends on the way that the request took.
const FIXED: [&str; 30] = [
    "/html",
    "/xml",
    "/robots.txt",
    "/deny",
    "/json",
    "/encoding/utf8",
    "/image/png",
    "/image/svg",
    "/bytes/1024?seed=7",
    "/stream-bytes/70000?seed=7&chunk_size=999",
    "/range/1000?chunk_size=100",
    "/links/5/2",
    "/status/200",
    "/status/204",
    "/status/301",
    "/status/304",
    "/status/400",
    "/status/404",
    "/status/418",
    "/status/500",
    "/status/503",
    "/base64/c2lkZWNsb2Fr",
    "/cookies/set/a/b",
    "/cookies/delete?a",
    "/redirect/2",
    "/relative-redirect/2",
    "/redirect-to?url=/json&status_code=307",
    "/response-headers?x-one=1&x-two=2",
    "/basic-auth/u/p",
    "/drip?numbytes=5&duration=0&delay=0",
];

#[test]
fn without_a_rule_every_answer_comes_as_it_was_sent() {
    let Some(httpbin) = httpbin() else { return };
    let rules = READS_ALL.replace("/**", "/none");
    let front = Front::new(&httpbin, &rules);
    for path in FIXED {
        for method in ["GET", "HEAD"] {
            let (direct, through) = (httpbin.ask(method, path, &[], ""), front.ask(method, path, &[], ""));
            assert_eq!(told(&through), told(&direct), "{method} {path}");
        }
    }
    let ranged = [("range", "bytes=10-19")];
    let (direct, through) =
        (httpbin.ask("GET", "/range/100", &ranged, ""), front.ask("GET", "/range/100", &ranged, ""));
    assert_eq!((through.status, told(&through)), (206, told(&direct)));
    let known = [("if-none-match", "abc")];
    assert_eq!(front.ask("GET", "/etag/abc", &known, "").status, httpbin.ask("GET", "/etag/abc", &known, "").status);
}

#[test]
fn a_rule_that_finds_nothing_changes_no_body() {
    let Some(httpbin) = httpbin() else { return };
    let front = Front::new(&httpbin, READS_ALL);
    for path in FIXED {
        let (direct, through) = (httpbin.ask("GET", path, &[], ""), front.ask("GET", path, &[], ""));
        assert_eq!((through.status, through.text()), (direct.status, direct.text()), "{path}");
    }
    // Lines of JSON under a type that says one document: not JSON, and passed as it is.
    let lines = front.ask("GET", "/stream/5", &[], "");
    assert_eq!((lines.status, lines.text().lines().count()), (200, 5));
}

#[test]
fn what_is_sent_is_sealed_and_what_is_echoed_is_opened() {
    let Some(httpbin) = httpbin() else { return };
    let front = Front::new(&httpbin, READS_ALL);
    let document = json!({ "ssn": "123-45-6789", "cards": [{ "pan": "4111111111111111" }], "id": 7 });
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let path = format!("/{}", method.to_lowercase());
        let echoed = json(&front.json(method, &path, &document));
        assert_eq!(echoed["json"], document, "{method}");
        // The same once more as text, which no rule opens: what httpbin was sent.
        let data: Value = serde_json::from_str(echoed["data"].as_str().unwrap()).unwrap();
        assert!(data["ssn"].as_str().unwrap().starts_with("sc1."), "{data}");
        assert_eq!(data["id"], 7);
        assert_eq!(echoed["headers"]["Content-Length"], echoed["data"].as_str().unwrap().len().to_string());
    }
}

#[test]
fn redirects_lead_back_through_the_proxy() {
    let Some(httpbin) = httpbin() else { return };
    let front = Front::new(&httpbin, READS_ALL);
    let reply = front.ask("GET", "/absolute-redirect/1", &[], "");
    assert_eq!(reply.status, 302);
    let location = reply.headers["location"].to_str().unwrap();
    assert!(location.starts_with("http://app.test/"), "the Host that the client named: {location}");
}
