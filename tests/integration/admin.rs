//! The probe and admin ports.

use std::sync::{Arc, Mutex};

use sidecloak::admin::{AdminError, Operations, Ports, RulesStatus, Settings};
use sidecloak::proxy::settings::Address;
use sidecloak::report::{Finding, Findings};

use super::relay::Place;
use super::stage::eventually;
use super::support::{Client, Message, Proxy, echo, proxy};

/// Reloads as often as told; each failure is a finding.
#[derive(Default)]
struct Fake {
    fails: Mutex<bool>,
}

impl Operations for Fake {
    fn reload(&self) -> Result<(), Findings> {
        if *self.fails.lock().unwrap() {
            return Err(Findings(vec![Finding::error("no-such-field", "unknown field `nam`")]));
        }
        Ok(())
    }

    fn rules_status(&self) -> RulesStatus {
        let last_error = self.fails.lock().unwrap().then(|| "customers.yaml: unknown field".into());
        RulesStatus { digest: Some([0xab; 32]), loaded: 7, last_error }
    }
}

fn loopback() -> Address {
    Address::Tcp(([127, 0, 0, 1], 0).into())
}

fn open(proxy: &Proxy, settings: &Settings) -> (Ports, Arc<Fake>) {
    let fake = Arc::new(Fake::default());
    let operations: Arc<dyn Operations> = Arc::clone(&fake) as Arc<dyn Operations>;
    (Ports::open(settings, Arc::clone(&proxy.shared), operations).unwrap(), fake)
}

fn json(message: &Message) -> serde_json::Value {
    serde_json::from_slice(&message.body).unwrap()
}

#[test]
fn the_probe_tells_of_certificates() {
    let (place, up) = (Place::new(), echo());
    let proxy = proxy(&[&up]).listener(|listener| listener.tls = Some(place.server())).run();
    proxy.shared.health.rules_loaded();
    proxy.shared.health.keyring_works(true);
    let (ports, _fake) = open(&proxy, &Settings { probe: Some(loopback()), ..Settings::default() });
    let mut probe = Client::tcp(ports.probe.unwrap());
    let told = || -> serde_json::Value { json(&Client::tcp(ports.probe.unwrap()).get("/readyz")) };
    let certificate = &told()["certificates"][0];
    assert_eq!((&certificate["listener"], &certificate["last_reload"]), (&"front".into(), &"ok".into()));
    assert!(certificate["expires_in"].as_i64().unwrap() > 0);
    let metrics = probe.get("/metrics").text();
    assert!(!metrics.contains("sidecloak_tls_certificate_expiry_seconds{listener=\"front\"} 0\n"), "{metrics}");
    std::fs::write(place.path().join("server.crt"), "no certificate").unwrap();
    eventually("told", || told()["certificates"][0]["last_reload"] == "failed");
    assert_eq!(told()["ready"], true, "the old one still works");
}

#[test]
fn the_probe_tells_life_readiness_and_counters_and_nothing_else() {
    let up = echo();
    let proxy = proxy(&[&up]).run();
    let (ports, fake) = open(&proxy, &Settings { probe: Some(loopback()), ..Settings::default() });
    let mut probe = Client::tcp(ports.probe.unwrap());
    assert_eq!(probe.get("/livez").status(), 200);
    assert_eq!(probe.get("/readyz").status(), 503, "nothing is loaded yet");
    proxy.shared.health.rules_loaded();
    proxy.shared.health.keyring_works(true);
    let ready = probe.get("/readyz");
    assert_eq!((ready.status(), &json(&ready)["ready"]), (200, &true.into()));

    *fake.fails.lock().unwrap() = true;
    let ready = probe.get("/readyz");
    assert_eq!((ready.status(), &json(&ready)["last_reload"]), (200, &"failed".into()), "the old rules still work");
    assert!(!ready.text().contains("customers"));
    proxy.shared.health.keyring_works(false);
    assert_eq!(probe.get("/readyz").status(), 503);
    proxy.shared.health.keyring_works(true);

    proxy.client().get("/secret-path?secret-query");
    let metrics = probe.get("/metrics");
    assert!(
        metrics.text().contains(r#"sidecloak_requests_total{listener="front",status="2xx"} 1"#),
        "{}",
        metrics.text()
    );
    assert!(metrics.text().ends_with("# EOF\n") && !metrics.text().contains("secret"));

    for path in ["/", "/rules", "/reload", "/livez/x"] {
        assert_eq!(probe.get(path).status(), 404, "{path}");
    }
    let post =
        |probe: &mut Client<_>, path: &str| probe.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\n\r\n")).receive();
    assert_eq!(post(&mut probe, "/reload").status(), 404);
    assert_eq!(post(&mut probe, "/livez").status(), 405);

    proxy.server.drain();
    let ready = probe.get("/readyz");
    assert_eq!((ready.status(), &json(&ready)["draining"]), (503, &true.into()));
    assert_eq!(probe.get("/livez").status(), 200);
}

#[test]
fn admin_on_a_unix_socket_shows_and_reloads_the_rules() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin");
    let up = echo();
    let proxy = proxy(&[&up]).run();
    let (ports, fake) = open(&proxy, &Settings { admin: Some(Address::Unix(path.clone())), ..Settings::default() });
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut admin = Client::unix(&path);
    let rules = json(&admin.get("/rules"));
    assert_eq!((rules["digest"].as_str(), &rules["loaded"]), (Some("ab".repeat(32).as_str()), &7.into()));
    let reload = "POST /reload HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(admin.send(reload).receive().status(), 200);
    *fake.fails.lock().unwrap() = true;
    let failed = admin.send(reload).receive();
    assert_eq!((failed.status(), &json(&failed)["findings"][0]["code"]), (422, &"no-such-field".into()));
    drop(ports);
    assert!(!path.exists() && admin.is_at_end());
}

#[test]
fn admin_over_tcp_asks_for_the_token() {
    let up = echo();
    let proxy = proxy(&[&up]).run();
    let settings = Settings { admin: Some(loopback()), token: Some("secret-token".into()), ..Settings::default() };
    assert!(!format!("{settings:?}").contains("secret-token"));
    let (ports, _) = open(&proxy, &settings);
    let mut admin = Client::tcp(ports.admin.unwrap());
    for given in
        ["", "Authorization: Bearer secret-toke\r\n", "Authorization: Bearer \r\n", "Authorization: secret-token\r\n"]
    {
        let answer = admin.send(format!("GET /rules HTTP/1.1\r\nHost: a\r\n{given}\r\n")).receive();
        assert_eq!(answer.status(), 401, "{given}");
    }
    let answer = admin.send("GET /rules HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret-token\r\n\r\n").receive();
    assert_eq!(answer.status(), 200);
}

#[test]
fn admin_is_never_exposed() {
    let up = echo();
    let proxy = proxy(&[&up]).run();
    for (address, token) in [("0.0.0.0:0", Some("t")), ("127.0.0.1:0", None), ("127.0.0.1:0", Some(""))] {
        let settings = Settings {
            admin: Some(Address::Tcp(address.parse().unwrap())),
            token: token.map(Into::into),
            ..Settings::default()
        };
        let error = Ports::open(&settings, Arc::clone(&proxy.shared), Arc::new(Fake::default())).unwrap_err();
        assert!(matches!(error, AdminError::Exposed(_)), "{error}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let up = echo();
    let proxy = proxy(&[&up]).run();
    let settings = Settings { probe: Some(Address::Tcp(proxy.tcp(0))), ..Settings::default() };
    let error = Ports::open(&settings, Arc::clone(&proxy.shared), Arc::new(Fake::default())).unwrap_err();
    assert!(matches!(error, AdminError::InUse { port: "probe", .. }), "{error}");
}
