//! Header fields, to the byte.

use std::sync::Arc;

use http::HeaderName;
use sidecloak::proxy::settings::Caller;

use super::support::{Message, Next, echo, listener, proxy, proxy_to, upstream};

/// The fields of a request without those that differ from run to run.
fn fields(seen: &Message) -> Vec<String> {
    let volatile = |line: &&str| !line.starts_with("x-request-id:") && !line.starts_with("traceparent:");
    let mut fields: Vec<String> =
        seen.head.lines().skip(1).filter(|line| !line.is_empty()).filter(volatile).map(str::to_owned).collect();
    fields.sort();
    fields
}

#[test]
fn an_untrusted_client_has_its_hop_and_identity_fields_replaced() {
    let up = echo();
    let proxy = proxy(&[&up]).listener(|l| l.trusted_headers = vec![HeaderName::from_static("x-tenant")]).run();
    let instance = &proxy.shared.instance;
    proxy
        .client()
        .send(
            "GET / HTTP/1.1\r\nHost: App.Test:8080\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\n\
             Proxy-Connection: x\r\nUpgrade: h2c\r\nTE: gzip\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
             X-Forwarded-Host: evil\r\nForwarded: for=6.6.6.6\r\nX-Tenant: mine\r\nAccept: */*\r\nVia: 1.0 x\r\nX-A: 1\r\nX-A: 2\r\n\r\n",
        )
        .receive();
    assert_eq!(
        fields(&up.last()),
        [
            "accept: */*",
            "forwarded: for=127.0.0.1;proto=http;host=\"App.Test:8080\"",
            "host: App.Test:8080",
            "via: 1.0 x",
            &format!("via: 1.1 {instance}"),
            "x-a: 1",
            "x-a: 2",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: App.Test:8080",
            "x-forwarded-proto: http",
        ]
    );
}

#[test]
fn what_a_trusted_peer_says_is_continued() {
    let up = echo();
    let proxy = proxy(&[&up])
        .listener(|l| {
            l.trusted_peers = vec!["127.0.0.0/8".parse().unwrap()];
            l.trusted_headers = vec![HeaderName::from_static("x-tenant")];
        })
        .run();
    proxy
        .client()
        .send(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 10.1.1.1\r\nX-Forwarded-Proto: https\r\n\
             X-Forwarded-Host: outside\r\nForwarded: for=192.0.2.1;proto=https\r\nX-Tenant: acme\r\nX-Request-Id: r-1\r\n\r\n",
        )
        .receive();
    let seen = up.last();
    for (name, value) in [
        ("x-forwarded-for", "192.0.2.1, 10.1.1.1, 127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "outside"),
        ("forwarded", "for=192.0.2.1;proto=https, for=127.0.0.1;proto=http;host=\"a\""),
        ("x-tenant", "acme"),
        ("x-request-id", "r-1"),
    ] {
        assert_eq!(seen.field(name).as_deref(), Some(value), "{name}");
    }
}

#[test]
fn the_fields_that_make_a_role_are_dropped_from_untrusted_peers() {
    let headers = || vec![(HeaderName::from_static("x-role"), "admin".into())];
    let role = || vec![Caller { headers: headers(), role: "admin".into(), ..Caller::default() }];
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Role: admin\r\n\r\n";
    let up = echo();
    proxy(&[&up]).callers(role()).run().client().send(request).receive();
    assert_eq!(up.last().field("x-role"), None);
    let trusting = proxy(&[&up]).callers(role()).listener(|l| l.trusted_peers = vec!["127.0.0.1/32".parse().unwrap()]);
    trusting.run().client().send(request).receive();
    assert_eq!(up.last().field("x-role").as_deref(), Some("admin"));
}

#[test]
fn an_answer_loses_its_hop_fields_and_gains_via() {
    let up = upstream(|_, out| {
        out.write_all(
            b"HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nETag: \"e\"\r\nAccept-Ranges: bytes\r\n\
              Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n",
        )
        .unwrap();
        Next::KeepAlive
    });
    let proxy = proxy(&[&up]).run();
    let mut lines = fields(&proxy.client().get("/"));
    lines.retain(|line| !line.starts_with("via"));
    assert_eq!(
        lines,
        [
            "accept-ranges: bytes",
            "content-length: 0",
            "date: Thu, 01 Jan 1970 00:00:00 GMT",
            "etag: \"e\"",
            "set-cookie: a=1",
            "set-cookie: b=2",
        ]
    );
    assert_eq!(proxy.client().get("/").field("via"), Some(format!("1.1 {}", proxy.shared.instance)));
}

#[test]
fn a_request_that_comes_back_is_refused_with_508() {
    let up = echo();
    let proxy = proxy(&[&up]).run();
    let via = format!("GET /secret?ssn=1 HTTP/1.1\r\nHost: a\r\nVia: 1.1 x, 1.1 {}\r\n\r\n", proxy.shared.instance);
    let answer = proxy.client().send(via).receive();
    assert_eq!(answer.status(), 508);
    assert_eq!(answer.field("content-type").as_deref(), Some("application/problem+json"));
    assert_eq!(answer.field("x-sidecloak-failure").as_deref(), Some("loop"));
    assert!(
        answer.text().contains("urn:sidecloak:problem:loop") && !answer.text().contains("secret"),
        "{}",
        answer.text()
    );
    assert_eq!(up.count(), 0);
}

#[test]
fn a_proxy_that_points_to_itself_answers_508() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("front");
    let address = sidecloak::proxy::settings::Address::Unix(path.clone());
    let bind = address.clone();
    let _proxy = proxy_to(vec![address]).listener(|l| l.bind = vec![bind]).run();
    assert_eq!(super::support::Client::unix(&path).get("/").status(), 508);
}

#[test]
fn traces_are_passed_on_or_begun() {
    let up = echo();
    let proxy = proxy(&[&up]).run();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    proxy.client().send(format!("GET / HTTP/1.1\r\nHost: a\r\ntraceparent: {parent}\r\n\r\n")).receive();
    assert_eq!(up.last().field("traceparent").as_deref(), Some(parent));
    proxy.client().get("/");
    let made = up.last().field("traceparent").unwrap();
    let parts: Vec<&str> = made.split('-').collect();
    assert_eq!(parts.iter().map(|p| p.len()).collect::<Vec<_>>(), [2, 32, 16, 2], "{made}");
    assert_eq!(up.last().field("x-request-id").unwrap().len(), 32);
}

#[test]
fn malformed_requests_are_refused_before_the_upstream() {
    let up = echo();
    let proxy = proxy(&[&up]).run();
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501),
    ] {
        let mut client = proxy.client();
        client.send(request);
        let answer = Message::read(&mut client.read, false);
        assert_eq!(answer.map(|answer| answer.status()), Some(status), "{request}");
    }
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(40 << 10));
    let mut client = proxy.client();
    // The proxy may close before it has read everything.
    drop(std::io::Write::write_all(&mut client.write, long.as_bytes()));
    assert!(Message::read(&mut client.read, false).is_none_or(|answer| answer.status() == 431));
    assert_eq!(up.count(), 0);
}

#[test]
fn a_message_with_both_framings_goes_on_with_one() {
    let up = echo();
    let proxy = proxy(&[&up]).run();
    let mut client = proxy.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
    let answer = client.receive();
    assert!(answer.status() == 400 || up.last().body == b"abc" && up.last().field("content-length").is_none());
}

#[test]
fn unmatched_reject_refuses_with_403() {
    let up = echo();
    let proxy = proxy(&[&up]).listener(|l| l.reject_unmatched = true).run();
    let answer = proxy.client().get("/");
    assert_eq!((answer.status(), up.count()), (403, 0));
    assert!(proxy.shared.metrics.render().contains(r#"sidecloak_refusals_total{rule="",reason="unmatched"} 1"#));
}

#[test]
fn a_head_request_is_refused_without_a_body() {
    let up = echo();
    let refusing = Arc::new(sidecloak::proxy::settings::Listener {
        reject_unmatched: true,
        ..listener("x", vec![up.address.clone()])
    });
    let proxy = proxy(&[&up]).settings(|s| s.listeners = vec![refusing]).run();
    let mut client = proxy.client();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(Message::read(&mut client.read, true).unwrap().status(), 403);
    assert!(client.receive().text().contains(r#""status":403"#), "the next answer begins right after");
}
