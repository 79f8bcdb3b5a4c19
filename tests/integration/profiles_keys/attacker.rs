//! Who can write to the keyring's store, and a service that gives something else than it was given.

use rusqlite::Connection;
use sidecloak::authority::ncloud_kms;
use sidecloak::crypto::base64;

use super::*;
use crate::managed::double::with;
use crate::vectors::cbor::{Array, Cbor};

const SSN: &str = "078-05-1120";
const ALARMS: &str = "sidecloak_keyring_alarms_total";

struct Stage {
    _vendor: Vendor,
    site: Site,
    face: Double,
}

impl Stage {
    fn new(options: &str) -> Self {
        let vendor = Vendor::new();
        let (site, face) = (Site::new(&vendor), vendor.serve(ncloud_kms::router));
        let (all, _) = vendor.ncloud(&site, &face);
        site.configure(&format!("  seoul: {{ {all}{options} }}\n"), &[("seoul", "key: seoul")]);
        site.init("seoul");
        Self { _vendor: vendor, site, face }
    }

    fn store(&self) -> Connection {
        Connection::open(self.site.place.path("sidecloak.db")).unwrap()
    }

    /// The record of the epoch of what is stored there.
    fn record(&self, path: &str) -> Cbor {
        let id = token(&self.site.token(path)).epoch;
        let record: Vec<u8> =
            self.store().query_row("SELECT record FROM epoch WHERE id = ?1", [&id.0[..]], |row| row.get(0)).unwrap();
        Cbor::decode(&record).unwrap()
    }

    fn put(&self, path: &str, record: &Cbor) {
        let id = token(&self.site.token(path)).epoch;
        let done = self.store().execute("UPDATE epoch SET record = ?1 WHERE id = ?2", (record.encode(), &id.0[..]));
        assert_eq!(done.unwrap(), 1);
    }

    /// Two documents under two epochs.
    fn two_epochs(&self) {
        let mut proxy = self.site.proxy();
        stores(&proxy, "/seoul/1", SSN);
        self.site.place.run(&["keys", "rollover", "seoul"]).ends(0);
        proxy.eventually("a new epoch", |proxy| {
            stores(proxy, "/seoul/2", SSN);
            token(&self.site.token("/seoul/2")).epoch != token(&self.site.token("/seoul/1")).epoch
        });
    }

    /// It does not open, is not shown, and nothing is sealed under what is not right.
    #[track_caller]
    fn stays_shut(proxy: &Running, path: &str) {
        let answer = get(proxy, path);
        assert!(answer.status() == 502 && !answer.text().contains(SSN), "{path}: {} {}", answer.text(), log(proxy));
    }
}

fn with_wraps(record: &Cbor, wraps: Cbor) -> Cbor {
    let mut parts = record.array().unwrap().to_vec();
    *parts.last_mut().unwrap() = wraps;
    Array(parts)
}

fn wraps(record: &Cbor) -> Cbor {
    record.array().unwrap().last().unwrap().clone()
}

#[test]
fn wraps_that_were_swapped_open_nothing_and_alarm() {
    let stage = Stage::new("");
    stage.two_epochs();
    let (one, two) = (stage.record("/seoul/1"), stage.record("/seoul/2"));
    stage.put("/seoul/1", &with_wraps(&one, wraps(&two)));
    stage.put("/seoul/2", &with_wraps(&two, wraps(&one)));
    let proxy = stage.site.proxy();
    Stage::stays_shut(&proxy, "/seoul/1");
    Stage::stays_shut(&proxy, "/seoul/2");
    assert!(metric(&proxy, ALARMS) >= 1.0, "{}", log(&proxy));
    logs(&proxy, "its wrap was changed");
    // Put back, it opens again.
    stage.put("/seoul/1", &one);
    stage.put("/seoul/2", &two);
    until("it opens again", || get(&proxy, "/seoul/1").text() == document(SSN));
    shows(&stage.site.proxy(), "/seoul/2", SSN);
}

#[test]
fn a_row_without_the_service_s_wrap_opens_nothing_and_nothing_is_sealed_under_it() {
    let stage = Stage::new("");
    stage.two_epochs();
    let two = stage.record("/seoul/2");
    let junk = {
        let mut entry = wraps(&two).array().unwrap()[0].array().unwrap().to_vec();
        *entry.last_mut().unwrap() = Cbor::Bytes(b"ncpkms:v1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_vec());
        Array(vec![Array(entry)])
    };
    for changed in [Array(Vec::new()), junk] {
        stage.put("/seoul/2", &with_wraps(&two, changed));
        let proxy = stage.site.proxy();
        Stage::stays_shut(&proxy, "/seoul/2");
        // The current epoch is not there any more: whatever is sealed now, a process that starts later opens.
        let answer = post(&proxy, "/seoul/3", SSN);
        if answer.status() == 200 {
            assert_ne!(token(&stage.site.token("/seoul/3")).epoch, token(&stage.site.token("/seoul/2")).epoch);
            shows(&stage.site.proxy(), "/seoul/3", SSN);
        } else {
            assert!(!stage.site.app.paths().contains(&"/seoul/3".to_owned()));
        }
        shows(&proxy, "/seoul/1", SSN);
        drop(proxy);
        stage.put("/seoul/2", &two);
        shows(&stage.site.proxy(), "/seoul/2", SSN);
    }
}

#[test]
fn a_partition_record_from_before_seals_nothing_under_other_keys() {
    let stage = Stage::new("");
    let site = &stage.site;
    let read = || -> (Vec<u8>, i64) {
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        stage.store().query_row("SELECT record, version FROM partition WHERE name = 'seoul'", [], row).unwrap()
    };
    let write = |(record, version): &(Vec<u8>, i64)| {
        let sql = "UPDATE partition SET record = ?1, version = ?2 WHERE name = 'seoul'";
        assert_eq!(stage.store().execute(sql, (record, version)).unwrap(), 1);
    };
    let first = read();
    let proxy = site.proxy();
    stores(&proxy, "/seoul/1", SSN);
    site.place.run(&["keys", "pause", "seoul"]).ends(0);
    until("paused", || post(&proxy, "/seoul/2", SSN).status() == 403);
    // The record from before the pause: a process that has seen the later one does not go back.
    let paused = read();
    write(&first);
    site.place.run(&["keys", "rollover", "customers"]).ends(0);
    for _ in 0..10 {
        assert_ne!(post(&proxy, "/seoul/2", SSN).status(), 200, "{}", log(&proxy));
        assert_ne!(get(&proxy, "/seoul/1").status(), 200);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    write(&paused);
    site.place.run(&["keys", "resume", "seoul"]).ends(0);
    until("resumed", || get(&proxy, "/seoul/1").text() == document(SSN));
    drop(proxy);

    // The record of another partition under this name, as if it were this one's: it is not signed for it.
    let theirs: Vec<u8> =
        stage.store().query_row("SELECT record FROM partition WHERE name = 'customers'", [], |row| row.get(0)).unwrap();
    let ours = read();
    write(&(theirs, ours.1));
    let args = ["run", "--listen", "127.0.0.1:0", "--upstream", "http://127.0.0.1:9", "--probe", "127.0.0.1:0"];
    let done = site.place.run(&args);
    assert!(done.code != 0 && done.err.contains("seoul"), "{done:?}");
    // And with the service's recipient taken off the list.
    let mut parts = Cbor::decode(&ours.0).unwrap().array().unwrap().to_vec();
    let recipients = parts.iter().position(|part| part.array().is_some()).unwrap();
    parts[recipients] = Array(Vec::new());
    write(&(Array(parts).encode(), ours.1));
    let done = site.place.run(&args);
    assert!(done.code != 0 && done.err.contains("seoul"), "{done:?}");
    write(&ours);
    shows(&site.proxy(), "/seoul/1", SSN);
}

#[test]
fn under_what_a_service_does_not_give_back_nothing_is_sealed() {
    // Another data key in the right form; junk; and in the place of a ciphertext.
    let other = base64::encode(format!("sc1k:{}", "A".repeat(43)).as_bytes());
    let lies = [
        ("/data/plaintext", json!(other)),
        ("/data/plaintext", json!("anVuaw==")),
        ("/data/plaintext", Value::Null),
        ("/data/ciphertext", json!("ncpkms:v1:anVuaw==")),
        ("/data/ciphertext", json!("")),
    ];
    let stage = Stage::new(", breaker: { failures: 1000 }");
    let site = &stage.site;
    let count = || -> i64 {
        stage.store().query_row("SELECT count(*) FROM epoch WHERE partition = 'seoul'", [], |row| row.get(0)).unwrap()
    };
    for (pointer, lie) in lies {
        stage.face.always(with(pointer, lie.clone()));
        let proxy = site.proxy();
        let answer = post(&proxy, "/seoul/1", SSN);
        assert_eq!(answer.status(), 503, "{pointer} {lie}: {} {}", answer.text(), log(&proxy));
        assert_eq!((site.app.paths().len(), count()), (0, 0), "{pointer} {lie}");
        logs(&proxy, "profile `seoul`");
        assert!(!log(&proxy).contains(SSN), "{}", log(&proxy));
        // What is in the form that the API documents and false is found out by the keyring; the rest never gets there.
        if lie == json!(other) {
            assert!(metric(&proxy, ALARMS) >= 1.0, "{pointer} {lie}: {}", log(&proxy));
        } else {
            assert!(lies_counted(&proxy) >= 1.0, "{pointer} {lie}: {}", log(&proxy));
        }
        stage.face.always(Act::Well);
        until("well again", || post(&proxy, "/seoul/0", SSN).status() == 200);
        shows(&proxy, "/seoul/0", SSN);
        drop(proxy);
        // Of an epoch that is there, nothing is believed either.
        stage.face.always(with(pointer, lie.clone()));
        if pointer.ends_with("plaintext") {
            let proxy = site.proxy();
            Stage::stays_shut(&proxy, "/seoul/0");
            assert_ne!(post(&proxy, "/seoul/1", SSN).status(), 200, "{pointer} {lie}");
        }
        stage.face.always(Act::Well);
        site.app.stored.lock().unwrap().clear();
        stage.store().execute_batch("DELETE FROM epoch WHERE partition = 'seoul'").unwrap();
    }
}

fn lies_counted(proxy: &Running) -> f64 {
    let of = |what| {
        metric(proxy, &format!(r#"sidecloak_managed_calls_total{{profile="seoul",what="{what}",outcome="lie"}}"#))
    };
    of("encrypt") + of("decrypt")
}
