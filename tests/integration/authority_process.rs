//! `sidecloak authority` as a process of its own: start, probe, what it refuses, reload under load, the end.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use rustls::ClientConfig;
use sidecloak::tls::{ClientTls, client};

use crate::cli::Place;
use crate::cli::process::{Running, free_port};
use crate::pki::{Ca, Mounted, Pair, Secure};
use crate::support::{Client, Message};

fn metric(process: &Running, name: &str) -> Option<f64> {
    let text = Client::tcp(process.probe).get("/metrics").text();
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().last()?.parse().ok())
}

#[test]
fn a_process_from_start_to_end() {
    let place = Place::with_keyring();
    place.write("sidecloak.yaml", "drain: { delay: 0s, deadline: 10s }\nauthority: { bind: 127.0.0.1:1 }\n");
    let crittora = free_port();
    let mut authority = Running::command(&place, &["authority", "--crittora", &crittora.to_string()]);
    for address in [authority.front, crittora] {
        assert_eq!(Client::tcp(address).get("/openapi.json").status(), 200);
        assert_eq!(Client::tcp(address).get("/nowhere").status(), 404);
    }
    let ready = Client::tcp(authority.probe).get("/readyz").text();
    assert_eq!(ready, r#"{"ready":true,"keyring":true,"draining":false}"#);
    place.run(&["health", "--probe", &authority.probe.to_string()]).ends(0).shows("ready (200)");
    assert_eq!(metric(&authority, r#"sidecloak_requests_total{listener="crittora",status="2xx"}"#), Some(1.0));
    assert_eq!(metric(&authority, "sidecloak_keyring_alarms_total"), Some(0.0));
    assert!(TcpStream::connect(crittora).is_ok() && TcpStream::connect(authority.front).is_ok());

    // A call whose head is on its way when the signal comes is still answered.
    let mut under_way = Client::tcp(authority.front);
    under_way.send("GET /openapi.json HTTP/1.1\r\nHost: a.t");
    authority.eventually("heard", |a| metric(a, "sidecloak_keyring_alarms_total").is_some());
    authority.signal(Signal::TERM);
    authority.eventually("draining", |a| a.log.lock().unwrap().contains("draining"));
    assert_eq!(under_way.send("est\r\n\r\n").receive().status(), 200);
    let (code, log) = authority.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(
        log.contains("stopped") && log.contains(&crittora.to_string()) && log.contains(r#""listener":"authority""#)
    );
}

#[test]
fn not_ready_while_it_drains() {
    let place = Place::with_keyring();
    place.write("sidecloak.yaml", "drain: { delay: 60s, deadline: 80s }\n");
    let mut authority = Running::command(&place, &["authority"]);
    authority.signal(Signal::TERM);
    authority.eventually("not ready", |a| Client::tcp(a.probe).get("/readyz").status() == 503);
    assert!(Client::tcp(authority.probe).get("/readyz").text().contains(r#""draining":true"#));
    assert_eq!(Client::tcp(authority.front).get("/openapi.json").status(), 200, "still accepting");
    authority.signal(Signal::INT);
    assert_eq!(authority.end().0, Some(0));
}

#[test]
fn what_it_refuses_to_start_with() {
    let place = Place::with_keyring();
    let run = |args: &[&str]| place.run(&[&["authority", "--listen", "127.0.0.1:0"], args].concat());
    run(&["--ncloud-kms", "0.0.0.0:0"]).ends(64).says("`ncloud-kms`").says("without TLS").says("--insecure-listen");
    run(&["--tls-cert", "a.crt"]).ends(64).says("--tls-key");
    run(&["--require-client-cert"]).ends(64).says("--client-ca");
    run(&["--exequantum", "localhost:1"]).ends(64).says("127.0.0.1:1");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    run(&["--crypteron", &address]).ends(69).says(&address).says("crypteron");
    run(&["--probe", &address]).ends(69).says(&address);
    run(&["--tls-cert", "a.crt", "--tls-key", "a.key"]).ends(77).says("a.crt").says("cannot be read");
    Ca::new("servers").server().write(&place.path(""), "a");
    Ca::new("servers").server().write(&place.path(""), "b");
    run(&["--tls-cert", "a.crt", "--tls-key", "b.key"]).ends(77).says("b.key").says("does not belong");
    run(&["--keyring", "nowhere.db"]).ends(77).says("sidecloak keys init");
    assert!(!place.path("nowhere.db").exists());
}

#[test]
fn every_api_has_a_document() {
    let place = Place::empty();
    for api in ["keyring", "management", "crittora", "crypteron", "ncloud-kms", "exequantum"] {
        place.run(&["authority", "--openapi", api]).ends(0).json();
    }
    place.run(&["authority", "--openapi", "other"]).ends(64);
}

#[test]
fn a_development_authority_makes_its_keyring() {
    let place = Place::empty();
    let authority = Running::command(&place, &["authority", "--dev"]);
    assert!(authority.is_ready() && place.path("sidecloak.db").exists());
}

#[test]
fn a_certificate_is_replaced_under_load_without_a_failed_call() {
    let (place, old, new) = (Place::with_keyring(), Ca::new("old"), Ca::new("new"));
    let mut mounted = Mounted::new(&place.path("mounted"), &old.server());
    place.write("both.pem", old.pem() + &new.pem()).write("new.pem", new.pem());
    let trusting =
        |name: &str| client::config(&ClientTls { ca: Some(place.path(name)), ..ClientTls::default() }).unwrap();
    let (both, only_new) = (trusting("both.pem"), trusting("new.pem"));
    let args = ["authority", "--tls-cert", "mounted/tls.crt", "--tls-key", "mounted/tls.key", "--pq-only"];
    let mut authority = Running::command(&place, &args);
    let front = authority.front;
    let expiry = r#"sidecloak_tls_certificate_expiry_seconds{listener="authority"}"#;
    authority
        .eventually("its end, in most of a year", |a| metric(a, expiry).is_some_and(|left| left > 300.0 * 86400.0));
    assert!(Secure::connect(front, &only_new).get("/openapi.json").is_none());

    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = [1, 1000, 1000]
        .into_iter()
        .map(|per_connection| {
            let (stop, calls, both) = (Arc::clone(&stop), Arc::clone(&calls), Arc::clone(&both));
            std::thread::spawn(move || call_until(&stop, &calls, front, &both, per_connection))
        })
        .collect();
    let mut kept = Secure::connect(front, &both);
    assert_eq!(kept.get("/openapi.json").unwrap().status(), 200);
    // A pair that does not fit is told of and not taken.
    mounted.swap(&Pair { key: old.server().key, ..new.server() });
    authority.eventually("an error", |a| a.log.lock().unwrap().contains("does not belong"));
    for _ in 0..3 {
        mounted.swap(&new.server());
        authority.eventually("the new one", |_| Secure::connect(front, &only_new).get("/openapi.json").is_some());
        mounted.swap(&old.server());
        authority.eventually("the old one", |_| Secure::connect(front, &only_new).get("/openapi.json").is_none());
    }
    assert_eq!(kept.get("/openapi.json").unwrap().status(), 200, "an open connection goes on");
    authority.eventually("under load", |_| {
        calls.load(Ordering::Relaxed) > 10 || load.iter().any(std::thread::JoinHandle::is_finished)
    });
    stop.store(true, Ordering::Relaxed);
    for thread in load {
        thread.join().expect("no call failed");
    }
    assert!(metric(&authority, r#"sidecloak_tls_handshake_failures_total{listener="authority"}"#).unwrap() > 0.0);
}

fn call_until(
    stop: &AtomicBool,
    calls: &AtomicUsize,
    front: SocketAddr,
    config: &Arc<ClientConfig>,
    per_connection: usize,
) {
    while !stop.load(Ordering::Relaxed) {
        let mut connection = Secure::connect(front, config);
        for _ in 0..per_connection {
            assert_eq!(connection.get("/openapi.json").as_ref().map(Message::status), Some(200));
            calls.fetch_add(1, Ordering::Relaxed);
            if stop.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Who a certificate names is let in by the file's rules, over the whole way: handshake, listener, identity, face.
#[test]
fn a_client_certificate_is_a_manager_where_the_file_says_so() {
    let (place, servers, clients) = (Place::with_keyring(), Ca::new("servers"), Ca::new("clients"));
    servers.server().write(&place.path(""), "server");
    place.write("servers.pem", servers.pem()).write("clients.pem", clients.pem());
    place.write(
        "sidecloak.yaml",
        "drain: { delay: 0s }\n\
         authority:\n  tls: { cert: server.crt, key: server.key, client_ca: clients.pem, pq_only: true }\n  certificates:\n\
         \x20   - { name: 'spiffe://bank/ops/*', purpose: management, role: auditor }\n",
    );
    let mut authority = Running::command(&place, &["authority"]);
    let front = authority.front;
    let list = |identity| {
        let settings = ClientTls { ca: Some(place.path("servers.pem")), identity, pq_only: false };
        let config = client::config(&settings).unwrap();
        Secure::connect(front, &config).get("/manage/v1/partitions").map(|answer| (answer.status(), answer.text()))
    };
    let named = |name: &str| Some(clients.client(name).write(&place.path(""), "client"));
    let (status, text) = list(named("spiffe://bank/ops/alice")).unwrap();
    assert!(status == 200 && text.contains("customers"), "{status} {text}");
    for stranger in [None, named("spiffe://bank/web"), named("spiffe://evil/ops/alice")] {
        assert_eq!(list(stranger).unwrap().0, 401);
    }
    assert_eq!(list(Some(Ca::new("others").client("spiffe://bank/ops/alice").write(&place.path(""), "foreign"))), None);
    authority.eventually("counted", |a| {
        metric(a, r#"sidecloak_requests_total{listener="authority",status="4xx"}"#) == Some(3.0)
    });
    authority.signal(Signal::TERM);
    let (code, log) = authority.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("a client certificate of an unknown authority"), "{log}");
}
