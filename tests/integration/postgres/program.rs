//! The program itself on PostgreSQL: its commands, a proxy that runs, TLS to the database.

use rcgen::{CertificateParams, KeyPair};

use super::super::cli::Place;
use super::*;

fn database() -> Option<(&'static Cluster, String)> {
    let cluster = Cluster::shared()?;
    Some((cluster, cluster.database()))
}

#[test]
fn a_database_without_tls_is_not_spoken_to_where_tls_is_asked_for() {
    let Some(cluster) = Cluster::shared() else { return };
    let directory = tempfile::tempdir().unwrap();
    let url = format!("{}?sslmode=require", cluster.database());
    let error = Keyring::exists(&options(&url, &directory.path().join("master.key"))).unwrap_err().to_string();
    assert!(error.contains("offers no TLS"), "{error}");
}

#[test]
fn commands_act_on_a_database_as_on_a_file() {
    let Some((_, url)) = database() else { return };
    let place = Place::empty();
    let keys = |args: &[&str]| place.run(&[&["keys"], args, &["--keyring", &url]].concat());
    keys(&["list"]).ends(77).says("sidecloak keys init");
    keys(&["init", "--partition", "customers"]).ends(0).shows("made keyring postgres://").shows("customers");
    keys(&["init"]).ends(64).says("already");
    keys(&["list"]).ends(0).shows("customers").shows("default");
    let listed = keys(&["list", "--json"]).ends(0).json();
    assert!(!listed["keyring"].as_str().unwrap().contains("sidecloak@"), "{listed}");
    keys(&["rollover", "customers"]).ends(0);
    keys(&["pause", "customers"]).ends(0);
    place.write("sidecloak.yaml", format!("keyring:\n  store: '{url}'\n"));
    let checked = place.run(&["check", "--json"]).ends(0).json();
    assert!(checked["keyring"].as_str().unwrap().starts_with("postgres://"), "{checked}");
    let sealed = place.feed(&["seal", "--class", "ssn", "--partition", "customers"], "\"078-05-1120\"").ends(77);
    assert!(sealed.err.contains("paused"), "{}", sealed.err);
    keys(&["resume", "customers"]).ends(0);
    let sealed = place.feed(&["seal", "--class", "ssn", "--partition", "customers"], "\"078-05-1120\"").ends(0).out;
    place.feed(&["open", "--class", "ssn", "--partition", "customers"], &sealed).ends(0).shows("078-05-1120");
    keys(&["export", "copy"]).ends(0);
    keys(&["import", "copy"]).ends(64).says("already");
    keys(&["rotate-master", "--new-key-file", "new.key"]).ends(0);
    keys(&["list"]).ends(78);
    keys(&["list", "--master-key-file", "new.key"]).ends(0);
    keys(&["list", "--keyring", "postgres://u:hunter2@db"]).ends(64);
    let gone = url.replace("/d", "/nothing-d");
    place.run(&["check", "--keyring", &gone]).ends(74);
}

#[test]
fn a_keyring_moves_from_a_file() {
    let Some((_, url)) = database() else { return };
    let place = Place::with_keyring();
    place.run(&["keys", "rollover", "customers"]).ends(0);
    let before = place.run(&["keys", "list", "--json"]).ends(0).json();
    place.run(&["keys", "migrate", "--to", "other.db"]).ends(78).says("from a SQLite file to PostgreSQL");
    place.run(&["keys", "migrate", "--to", &url]).ends(0).shows("2 partition(s)").says("keyring.store");
    place.run(&["keys", "migrate", "--to", &url]).ends(78).says("already");
    let after = place.run(&["keys", "list", "--json", "--keyring", &url]).ends(0).json();
    assert_eq!(before["owner"], after["owner"]);
    let epochs =
        |listed: &serde_json::Value| listed["partitions"][0]["current"][0]["epoch"].as_str().unwrap().to_owned();
    assert_eq!(epochs(&before), epochs(&after));
    assert_eq!(epochs(&place.run(&["keys", "list", "--json"]).ends(0).json()), epochs(&before), "it stays");
}

#[test]
fn tls_to_the_database_is_checked() {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
    let (certificate, key) = (certificate.pem(), key.serialize_pem());
    let Some(cluster) = Cluster::start(&Settings { durable: false, tls: Some((&certificate, &key)) }) else { return };
    let directory = tempfile::tempdir().unwrap();
    let roots = directory.path().join("ca.pem");
    std::fs::write(&roots, &certificate).unwrap();
    let database = cluster.database().rsplit('/').next().unwrap().to_owned();
    // Plain connections over TCP are refused, as a database for a fleet should.
    let hba = "COPY (SELECT 'local all all trust' UNION ALL SELECT 'hostssl all all 127.0.0.1/32 trust') TO PROGRAM \
               'cat > pg_hba.conf'";
    cluster.sql(&cluster.url("postgres"), hba);
    cluster.sql(&cluster.url("postgres"), "SELECT pg_reload_conf()");
    let port = cluster.port().unwrap();
    let at = |host: &str, parameters: &str| {
        let url = format!("postgres://sidecloak@{host}:{port}/{database}?{parameters}");
        let options = options(&url, &directory.path().join("master.key"));
        let opened = match Keyring::exists(&options) {
            Ok(true) => Keyring::open(&options, SystemClock::shared()),
            Ok(false) => Keyring::init(&options, KemSuite::MlKem768, SystemClock::shared()),
            Err(error) => Err(error),
        };
        opened.map(drop).map_err(|error| error.to_string())
    };
    let rooted = |mode: &str| format!("sslmode={mode}&sslrootcert={}", roots.display());
    for mode in ["verify-full", "require", "prefer"] {
        at("localhost", &rooted(mode)).unwrap();
        let error = at("localhost", &format!("sslmode={mode}")).unwrap_err();
        assert!(error.contains("TLS failed"), "{mode}, with the system's roots: {error}");
        let error = at("127.0.0.1", &rooted(mode)).unwrap_err();
        assert!(error.contains("TLS failed"), "{mode}, of another name: {error}");
    }
    for plain in ["", "sslmode=disable"] {
        let error = at("localhost", plain).unwrap_err();
        assert!(error.contains("user and password"), "{error}");
    }
    let refused =
        options(&format!("postgres://sidecloak@localhost:{port}/{database}"), &directory.path().join("master.key"));
    assert!(
        matches!(Keyring::exists(&refused), Err(sidecloak::keyring::KeyringError::NoKey(_))),
        "as a command tells it: 77"
    );
    // The connection that listens, too.
    let url = format!("postgres://sidecloak@localhost:{port}/{database}?{}", rooted("verify-full"));
    let options = options(&url, &directory.path().join("master.key"));
    let [operator, proxy] = [(); 2].map(|()| Keyring::open(&options, SystemClock::shared()).unwrap());
    operator.set_state(&PartitionName::default_name(), State::Paused).unwrap();
    let start = Instant::now();
    while !matches!(proxy.sealing_cached(&PartitionName::default_name(), Kind::Random), Cached::Denied(State::Paused)) {
        proxy.wait(Duration::from_secs(1));
        proxy.tick();
        assert!(start.elapsed() < PATIENCE);
    }
}
