//! What the log says of an exchange, and what it never says.

use std::time::Duration;

use super::log::log;
use super::support::{Next, echo, proxy, upstream};

#[test]
fn an_exchange_is_one_line_and_nothing_of_a_request_is_in_the_log() {
    let memory = log();
    let up = echo();
    let door = proxy(&[&up]).listener(|l| l.name = "logged".into()).run();
    let mut client = door.client();
    let request = |canary: &str| {
        format!(
            "POST /{canary}/p?q={canary} HTTP/1.1\r\nHost: {canary}.test\r\nReferer: /{canary}\r\nX-{canary}: {canary}\r\n\
             Cookie: {canary}\r\nX-Request-Id: {canary}\r\nContent-Length: 6\r\n\r\n{canary}"
        )
    };
    assert_eq!(client.send(request("canary")).receive().status(), 200);
    client.send("canary / HTTP/1.1\r\nHost: a\r\n\r\n").receive();
    // Refused, unreadable, broken.
    door.client().send("POST /canary HTTP/1.1\r\nHost: canary/\r\n\r\n").receive();
    door.client().send("canary canary canary\r\n\r\n").receive();
    let broken = upstream(|_, out| {
        out.write_all(b"HTTP/1.1 200 canary\r\nX canary\r\n\r\n").unwrap();
        Next::Close
    });
    assert_eq!(proxy(&[&broken]).run().client().send(request("canary")).receive().status(), 502);

    let log = || memory.text();
    let lines = || {
        let all = log();
        let lines = all.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.filter(|line| line["listener"] == "logged" && line["message"] == "exchange").collect::<Vec<_>>()
    };
    while lines().len() < 3 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let first = &lines()[0];
    for (name, value) in [("method", "POST"), ("route", "unmatched"), ("rules", ""), ("target", "sidecloak::access")] {
        assert_eq!(first[name], value, "{first}");
    }
    assert_eq!((&first["status"], &first["bytes"], &first["complete"]), (&200.into(), &6.into(), &true.into()));
    assert_eq!(first["request_id"].as_str().unwrap().len(), 32);
    assert_eq!(lines()[1]["method"], "other");
    assert_eq!(lines()[2]["failure"], "bad-request");
    assert!(!log().contains("canary"), "{}", log());
    assert!(!door.shared.metrics.render().contains("canary"));
}
