//! Crypteron as a client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sidecloak::authority::credentials::Purpose;
use sidecloak::authority::crypteron::router;
use sidecloak::authority::face::Door;
use sidecloak::clock::SystemClock;
use sidecloak::crypto::kem::KemSuite;
use sidecloak::keyring::{KeySource, Keyring, Kind, Options, Permissions, State};
use sidecloak::name::PartitionName;
use sidecloak::sealer::managed::Fault;
use sidecloak::sealer::managed::crypteron::{Crypteron, Rollover, Standing, Watch, Watched};
use sidecloak::sealer::managed::settings::CrypteronSettings;

use super::served::Served;
use crate::support::PATIENCE;

struct Stage {
    served: Served,
    number: u64,
    settings: CrypteronSettings,
}

impl Stage {
    fn new() -> Self {
        let served = Served::new(Door::Crypteron, router);
        let (key, number) = served.house.key(Purpose::Crypteron, "admin", Some("2376"), 0);
        let settings = CrypteronSettings {
            app_id: "2376".into(),
            sec_part_id: "tenant 4758/ü".into(),
            api_key: served.file("key", &key),
            poll: Duration::from_millis(20),
        };
        Self { served, number, settings }
    }

    fn client(&self) -> Crypteron {
        Crypteron::new(self.served.http(), &self.settings).unwrap()
    }

    fn partition() -> PartitionName {
        PartitionName::new("2376.tenant%204758%2F%C3%BC").unwrap()
    }

    fn provision(&self) -> Standing {
        self.served.house.block_on(self.client().provision("for tests")).unwrap()
    }

    /// The service's own view, through its vendor's calls.
    fn api(&self, method: http::Method, path: &str, body: &Value) {
        use sidecloak::sealer::managed::http::Outgoing;
        use sidecloak::secret::SecretBytes;
        let KeySource::File(file) = &self.settings.api_key else { panic!() };
        let key = String::from_utf8(crate::tools::read(file)).unwrap();
        let basic = format!("Basic {}", sidecloak::crypto::base64::encode(format!(":{key}").as_bytes()));
        let headers = vec![(http::header::AUTHORIZATION, basic.parse().unwrap())];
        let body = SecretBytes::new(body.to_string().into_bytes());
        let call = Outgoing { method, path: path.into(), headers, body };
        let reply = self.served.house.block_on(self.served.http().send(call)).unwrap();
        assert!(reply.status.is_success(), "{path}: {}", String::from_utf8_lossy(reply.body.expose()));
    }
}

fn standing(version: u64, state: State) -> Standing {
    Standing { version, state, roles: vec![("default".into(), Permissions::DEFAULT)] }
}

#[test]
fn a_partition_is_provisioned_once_and_looked_up_by_its_number() {
    let stage = Stage::new();
    let client = stage.client();
    let house = &stage.served.house;
    let error = house.block_on(client.standing()).unwrap_err();
    assert_eq!(error.kind, Fault::Refused);
    assert!(error.text.contains("tenant 4758") && error.text.contains("sidecloak profiles init"), "{error}");
    stage.served.calls();
    assert_eq!(house.block_on(client.provision("for tests")), Ok(standing(1, State::Active)));
    let listed = "GET /v1/keys?appId=2376&secPartId=tenant%204758%2F%C3%BC".to_owned();
    assert_eq!(
        stage.served.seen(),
        [(listed.clone(), 200), ("POST /v1/keys".into(), 201), ("GET /v1/apps/2376".into(), 200)]
    );
    assert_eq!(house.authority.keyring.partition(&Stage::partition()).unwrap().state, State::Active);
    for _ in 0..2 {
        assert_eq!(house.block_on(client.provision("again")), Ok(standing(1, State::Active)), "it does not roll");
        assert_eq!(house.block_on(client.standing()), Ok(standing(1, State::Active)));
    }
    let by_number = [("GET /v1/keys/1".to_owned(), 200), ("GET /v1/apps/2376".into(), 200)];
    let expected: Vec<_> = by_number.iter().cycle().take(8).cloned().collect();
    assert_eq!(stage.served.seen(), expected);
    // With the version in the base URL, as the vendor documents it.
    let other = Crypteron::new(stage.served.http_at("/v1"), &stage.settings).unwrap();
    assert_eq!(house.block_on(other.standing()), Ok(standing(1, State::Active)));
    assert_eq!(stage.served.seen(), [(listed, 200), ("GET /v1/apps/2376".into(), 200)]);
}

#[test]
fn what_is_deleted_or_paused_there_is_told() {
    let stage = Stage::new();
    let client = stage.client();
    let house = &stage.served.house;
    stage.provision();
    assert!(house.block_on(client.standing()).is_ok());
    stage.api(http::Method::PUT, "/v1/apps/2376", &json!({ "State": "Paused" }));
    assert_eq!(house.block_on(client.standing()), Ok(standing(1, State::Paused)));
    let another = CrypteronSettings { sec_part_id: "other".into(), ..stage.settings.clone() };
    let another = Crypteron::new(stage.served.http(), &another).unwrap();
    let error = house.block_on(another.provision("d")).unwrap_err();
    assert_eq!(error.kind, Fault::Refused);
    assert!(error.text.contains("paused"), "{error}");
    stage.api(http::Method::PUT, "/v1/apps/2376", &json!({ "State": "Active" }));
    house.authority.keyring.set_state(&Stage::partition(), State::DecryptOnly).unwrap();
    assert_eq!(house.block_on(client.standing()), Ok(standing(1, State::DecryptOnly)));
    stage.api(http::Method::DELETE, "/v1/keys/1", &json!({}));
    assert_eq!(house.block_on(client.standing()).unwrap_err().kind, Fault::Refused);
    assert_eq!(house.block_on(client.standing()).unwrap_err().kind, Fault::Refused, "also when it is looked for anew");
    house.authority.credentials.revoke_api_key(stage.number).unwrap();
    house.clock.advance(2);
    assert_eq!(house.block_on(client.standing()).unwrap_err().kind, Fault::Credential);
}

/// A sidecar's own keyring, which the service knows nothing of.
fn own_keyring(directory: &std::path::Path, makes: bool) -> Arc<Keyring> {
    let options = Options {
        store: directory.join("keyring.db").into(),
        master_keys: vec![KeySource::File(directory.join("master.key"))],
        i_know: true,
        ..Options::default()
    };
    let keyring = match makes {
        true => Keyring::init(&options, KemSuite::MlKem768, SystemClock::shared()),
        false => Keyring::open(&options, SystemClock::shared()),
    };
    Arc::new(keyring.unwrap())
}

struct Sidecar {
    watched: Watched,
    keyring: Arc<Keyring>,
}

impl Sidecar {
    fn start(
        stage: &Stage,
        directory: &std::path::Path,
        runtime: &tokio::runtime::Runtime,
        rolls: &Arc<AtomicUsize>,
    ) -> Self {
        let keyring = own_keyring(directory, false);
        let (rolled, counted) = (Arc::clone(&keyring), Arc::clone(rolls));
        let roll = move |partition: &PartitionName| {
            counted.fetch_add(1, Ordering::SeqCst);
            rolled.rollover(partition, &[Kind::Random, Kind::Deterministic]).map_err(|error| error.to_string())
        };
        let partition = PartitionName::default_name();
        let rollover =
            Rollover::new(&keyring, SystemClock::shared(), "p", partition, &stage.settings, Arc::new(roll)).unwrap();
        let watch = Watch {
            profile: "p".into(),
            poll: stage.settings.poll,
            max_stale: Duration::from_secs(600),
            clock: SystemClock::shared(),
            rollover,
        };
        let client = Arc::new(stage.client());
        let watched = Watched::start(runtime.handle(), watch, move || {
            let client = Arc::clone(&client);
            Box::pin(async move { client.standing().await })
        });
        Self { watched, keyring }
    }

    fn epoch(&self) -> String {
        self.keyring.sealing(&PartitionName::default_name(), Kind::Random).unwrap().id.to_string()
    }
}

#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_fleet_sees_pause_roles_and_versions_and_rolls_once() {
    let (stage, directory) = (Stage::new(), tempfile::tempdir().unwrap());
    let before = {
        let keyring = own_keyring(directory.path(), true);
        keyring.sealing(&PartitionName::default_name(), Kind::Random).unwrap().id.to_string()
    };
    stage.provision();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let rolls = Arc::new(AtomicUsize::new(0));
    let start = || Sidecar::start(&stage, directory.path(), &runtime, &rolls);
    let fleet: Vec<Sidecar> = (0..3).map(|_| start()).collect();
    let all = |expected: &Standing| {
        until("all see it", || fleet.iter().all(|one| one.watched.standing().as_deref() == Some(expected)));
    };
    all(&standing(1, State::Active));
    stage.api(http::Method::PUT, "/v1/apps/2376", &json!({ "State": "Paused" }));
    all(&standing(1, State::Paused));
    stage.api(http::Method::PUT, "/v1/apps/2376", &json!({ "State": "Active" }));
    all(&standing(1, State::Active));
    assert_eq!((rolls.load(Ordering::SeqCst), fleet[0].epoch()), (0, before.clone()));

    let entries = json!({ "AccessControlEntries": [{ "RoleId": "teller", "Permissions": 4 }] });
    stage.api(http::Method::PUT, "/v1/keys/1", &entries);
    let teller = |version| Standing { version, state: State::Active, roles: vec![("teller".into(), Permissions(4))] };
    all(&teller(1));

    stage.api(http::Method::POST, "/v1/keys", &json!({ "AppId": 2376, "SecPartId": "tenant 4758/ü" }));
    all(&teller(2));
    until("somebody rolls", || rolls.load(Ordering::SeqCst) == 1);
    drop(fleet);
    let again = start();
    until("it answers", || again.watched.standing().is_some());
    std::thread::sleep(10 * stage.settings.poll);
    assert_eq!(rolls.load(Ordering::SeqCst), 1, "neither twice in a fleet nor again after a restart");
    assert_ne!(again.epoch(), before);

    stage.api(http::Method::DELETE, "/v1/keys/1", &json!({}));
    until("it is gone", || again.watched.standing().is_none());
}
