//! A proxy whose keyring is at an authority, with an application behind it.

use sidecloak::tls::{self, ServerTls};

use super::*;
use crate::pki::Ca;
use crate::stage::{self, Stage};

const RULES: &str = "rules:
  - name: people
    match: { path: /people/** }
    protect: [{ fields: [$.ssn], key: tenant }]
";

/// The stage's proxy, in place of its own one on a keyring at this authority.
fn move_to(stage: &mut Stage, url: &str, more: &str) {
    stage.app.take().unwrap().stop();
    let text = format!(
        "listeners:\n  - {{ name: front, bind: 127.0.0.1:0, upstream: 'http://{}' }}\nrules: {}\n\
         drain: {{ delay: 0s, deadline: 3s }}\nkeyring: {{ store: '{url}', {more} }}\n",
        stage.upstream,
        stage.rules_path().display()
    );
    let app = stage::start_from(&text, SystemClock::shared());
    stage.front = stage::tcp(&app, "front");
    stage.app = Some(app);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a configuration says of a sidecar of this role.
fn credentials(place: &Place, role: &str) -> String {
    let path = place.directory.path().join(format!("{role}.api"));
    private_file(&path, api_key(place, Purpose::Sidecar, role, None).as_bytes());
    format!("owner: '{}', api_key: 'file:{}'", hex(&place.authority.keyring.owner_fingerprint()), path.display())
}

#[expect(clippy::print_stdout, reason = "how long it took is told, not judged")]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}: never");
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("{what}: after {} ms", start.elapsed().as_millis());
}

#[test]
fn a_proxy_seals_and_opens_and_stops_when_the_authority_says_so() {
    let (place, address) = authority();
    let mut stage = Stage::new(RULES_OF_ITS_OWN);
    std::fs::write(stage.rules_path(), RULES).unwrap();
    move_to(&mut stage, &format!("http://{address}"), &credentials(&place, "sidecar"));
    assert_eq!(stage.post("/people/1", r#"{"ssn":"078-05-1120"}"#).status, 200);
    assert!(stage.stored_text("/people/1").contains("sc1.") && !stage.stored_text("/people/1").contains("078-05"));
    assert_eq!(stage.get("/people/1").text(), r#"{"ssn":"078-05-1120"}"#);

    let keyring = &place.authority.keyring;
    keyring.set_state(&name("tenant"), State::Paused).unwrap();
    eventually("a pause", || stage.post("/people/2", r#"{"ssn":"1"}"#).status == 403);
    assert_ne!(stage.get("/people/1").status, 200);
    keyring.set_state(&name("tenant"), State::Active).unwrap();
    eventually("a resume", || stage.get("/people/1").status == 200);
}

#[test]
fn without_its_authority_a_proxy_goes_on_for_as_long_as_it_may() {
    let (place, address) = authority();
    let mut gate = Gate::before(address);
    let mut stage = Stage::new(RULES_OF_ITS_OWN);
    std::fs::write(stage.rules_path(), RULES).unwrap();
    let more = format!("{}, max_stale: 6s", credentials(&place, "sidecar"));
    move_to(&mut stage, &format!("http://{}", gate.address), &more);
    assert_eq!(stage.post("/people/1", r#"{"ssn":"1"}"#).status, 200);
    gate.shut();
    assert_eq!(stage.post("/people/2", r#"{"ssn":"2"}"#).status, 200, "from memory");
    assert_eq!(stage.get("/people/1").text(), r#"{"ssn":"1"}"#);
    eventually("the end of max_stale", || stage.post("/people/3", r#"{"ssn":"3"}"#).status == 503);
    assert_ne!(stage.get("/people/1").status, 200);
    gate.open();
    eventually("its return", || stage.post("/people/4", r#"{"ssn":"4"}"#).status == 200);
    assert_eq!(stage.get("/people/1").text(), r#"{"ssn":"1"}"#);
}

#[test]
fn an_authority_is_reached_over_tls_and_believed_only_with_its_certificate() {
    let (place, address) = authority();
    let (ours, theirs) = (Ca::new("ours"), Ca::new("theirs"));
    let directory = place.directory.path();
    let (cert, key) = ours.server().write(directory, "server");
    let tls = ServerTls { cert, key, ..ServerTls::default() };
    let gate = Gate::with(address, Some(tls::server::Server::new(&tls).unwrap().config()));
    let [ours, theirs] = [("ours.pem", ours), ("theirs.pem", theirs)].map(|(name, ca)| {
        std::fs::write(directory.join(name), ca.pem()).unwrap();
        directory.join(name)
    });
    let plain = options(&place, address, &api_key(&place, Purpose::Sidecar, "sidecar", None));
    let at = |ca: &Path| {
        let StorePlace::Authority(remote) = &plain.store else { panic!() };
        let url = format!("https://{}", gate.address);
        let remote = Remote { url, ca: Some(ca.to_owned()), ..(**remote).clone() };
        open(&Options { store: StorePlace::Authority(Box::new(remote)), ..plain.clone() })
    };
    let one = at(&ours).unwrap();
    let token = seal(&one, "tenant", Suite::Xaes).unwrap();
    assert_eq!(opened(&one, &token).unwrap(), b"secret");
    let error = at(&theirs).unwrap_err();
    assert!(matches!(&error, KeyringError::Unavailable(text) if text.contains("certificate")), "{error}");
}

/// Seals under nothing that an authority has, so that a stage of its own starts.
const RULES_OF_ITS_OWN: &str = "rules:
  - name: people
    match: { path: /people/** }
    protect: [{ fields: [$.ssn] }]
";

/// Passes connections on until it is shut: then all end, and no new one is taken.
struct Gate {
    address: SocketAddr,
    behind: SocketAddr,
    tls: Option<Arc<rustls::ServerConfig>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Gate {
    fn before(behind: SocketAddr) -> Self {
        Self::with(behind, None)
    }

    fn with(behind: SocketAddr, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let mut gate = Self { address: "127.0.0.1:0".parse().unwrap(), behind, tls, runtime: None };
        gate.open();
        gate
    }

    fn open(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (wanted, behind, tls) = (self.address, self.behind, self.tls.clone().map(tokio_rustls::TlsAcceptor::from));
        let listener = runtime.block_on(tokio::net::TcpListener::bind(wanted)).unwrap();
        self.address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let tls = tls.clone();
                tokio::spawn(async move {
                    let mut far = tokio::net::TcpStream::connect(behind).await.unwrap();
                    match tls {
                        None => drop(tokio::io::copy_bidirectional(&mut near, &mut far).await),
                        Some(tls) => {
                            let Ok(mut near) = tls.accept(near).await else { return };
                            drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
                        }
                    }
                });
            }
        });
        self.runtime = Some(runtime);
    }

    fn shut(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}
