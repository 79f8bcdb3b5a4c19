use rstest::rstest;

use super::*;
use crate::config::{Loaded, Machine, Overrides, Purpose, load_text};
use crate::proxy::settings::{Listener, UpstreamHost};

fn load(text: &str) -> Loaded {
    let text = format!("listeners: [{{ {text} }}]");
    load_text("f", &text, &Overrides::default(), Purpose::Proxy, Machine { memory: 1 << 30, cpus: 4 })
}

fn good(text: &str) -> Listener {
    let loaded = load(text);
    let findings = loaded.findings.to_string();
    let config = loaded.config.unwrap_or_else(|| panic!("{findings}"));
    Listener::clone(&config.proxy.listeners[0])
}

fn codes(text: &str) -> Vec<&'static str> {
    let findings = load(text).findings.0;
    assert!(findings.iter().all(|finding| finding.help.is_some()));
    findings.iter().map(|finding| finding.code).filter(|code| *code != "no-rules").collect()
}

#[test]
fn a_listener_in_the_clear_is_the_default() {
    let listener = good("upstream: 'http://app:9000'");
    assert_eq!((listener.tls, listener.upstream_tls, listener.insecure_listen), (None, None, false));
    assert_eq!(listener.proxy_protocol, ProxyProtocol::Off);
    assert_eq!((listener.upstream_protocol, listener.upstream_host), (UpstreamProtocol::Http1, UpstreamHost::Keep));
}

#[test]
fn tls_of_a_listener() {
    let listener = good(
        "upstream: 'http://app', tls: { cert: a.crt, key: a.key, client_ca: ca.pem, require_client_cert: true, \
         pq_only: true, certificates: [{ cert: b.crt, key: b.key }] }",
    );
    let expected = ServerTls {
        cert: "a.crt".into(),
        key: "a.key".into(),
        more: vec![("b.crt".into(), "b.key".into())],
        client_ca: Some("ca.pem".into()),
        require_client: true,
        pq_only: true,
    };
    assert_eq!(listener.tls, Some(expected));
}

#[test]
fn an_https_upstream() {
    let listener = good("upstream: 'https://app'");
    assert_eq!(listener.upstream_tls, Some(UpstreamTls::default()));
    assert_eq!(listener.upstream, [Address::Host("app".into(), 443)]);
    assert_eq!(listener.upstream_protocol, UpstreamProtocol::Auto);
    let listener = good(
        "upstream: ['https://10.0.0.1:8443', 'https://10.0.0.2:8443'], upstream_protocol: http1, upstream_host: api.test, \
         upstream_tls: { ca: ca.pem, cert: a.crt, key: a.key, server_name: app.test, pq_only: true }",
    );
    let client =
        ClientTls { ca: Some("ca.pem".into()), identity: Some(("a.crt".into(), "a.key".into())), pq_only: true };
    assert_eq!(listener.upstream_tls, Some(UpstreamTls { client, server_name: Some("app.test".into()) }));
    assert_eq!(listener.upstream_protocol, UpstreamProtocol::Http1);
    assert_eq!(listener.upstream_host, UpstreamHost::Name("api.test".parse().unwrap()));
    assert_eq!(good("upstream: 'https://app', upstream_host: upstream").upstream_host, UpstreamHost::Upstream);
}

#[rstest]
#[case("required", ProxyProtocol::Required)]
#[case("trusted", ProxyProtocol::Trusted)]
#[case("'off'", ProxyProtocol::Off)]
fn the_proxy_protocol(#[case] word: &str, #[case] expected: ProxyProtocol) {
    let text = format!("upstream: 'http://app', trusted_peers: 10.0.0.0/8, proxy_protocol: {word}");
    assert_eq!(good(&text).proxy_protocol, expected);
}

#[rstest]
#[case("upstream: 'http://a', tls: {}", &["tls-incomplete"])]
#[case("upstream: 'http://a', tls: { cert: a }", &["tls-incomplete"])]
#[case("upstream: 'http://a', tls: { key: a }", &["tls-incomplete"])]
#[case("upstream: 'http://a', tls: { cert: a, key: b, require_client_cert: true }", &["no-client-ca"])]
#[case("upstream: 'http://a', tls: { cert: a, key: b, certificates: [{ cert: c }] }", &["tls-incomplete"])]
#[case("upstream: 'http://a', tls: { cert: a, key: b, insecure: true }", &["unknown-field"])]
#[case("upstream: ['http://a', 'https://b']", &["mixed-upstreams"])]
#[case("upstream: ['unix:/a', 'https://b']", &["mixed-upstreams"])]
#[case("upstream: 'http://a', upstream_tls: { ca: a }", &["upstream-in-the-clear"])]
#[case("upstream: 'unix:/a', upstream_tls: { ca: a }", &["upstream-in-the-clear"])]
#[case("upstream: 'https://a', upstream_tls: { cert: a }", &["tls-incomplete"])]
#[case("upstream: 'https://a', upstream_tls: { insecure: true }", &["unknown-field"])]
#[case("upstream: 'https://a', upstream_tls: { server_name: 'a b' }", &["bad-server-name"])]
#[case("upstream: 'https://a..b'", &["bad-server-name"])]
#[case("upstream: 'http://a', upstream_protocol: auto", &["bad-protocol"])]
#[case("upstream: 'http://a', upstream_host: 'a/b'", &["bad-host"])]
#[case("upstream: 'http://a', upstream_host: 'u:hunter2@a'", &["bad-host"])]
#[case("upstream: 'http://a', proxy_protocol: required", &["nobody-trusted"])]
#[case("upstream: 'http://a', proxy_protocol: maybe", &["wrong-type"])]
#[case(
    "upstream: 'http://a', bind: 'unix:/a', trusted_peers: 10.0.0.0/8, proxy_protocol: required",
    &["proxy-protocol"]
)]
fn what_is_refused(#[case] text: &str, #[case] expected: &[&str]) {
    let loaded = load(text);
    assert!(loaded.config.is_none());
    assert!(!loaded.findings.to_string().contains("hunter2"));
    assert_eq!(codes(text), expected, "{}", loaded.findings);
}

#[test]
fn a_listener_beyond_loopback_in_the_clear_is_warned_of_unless_it_is_meant() {
    let exposed = "upstream: 'http://a', bind: ['0.0.0.0:80', '127.0.0.1:81', 'unix:/a']";
    assert_eq!(codes(exposed), ["plain-listen"]);
    assert!(codes(&format!("{exposed}, insecure_listen: true")).is_empty());
    assert!(codes(&format!("{exposed}, tls: {{ cert: a, key: b }}")).is_empty());
    assert!(codes("upstream: 'http://a', bind: '[::ffff:127.0.0.1]:80'").is_empty());
}
