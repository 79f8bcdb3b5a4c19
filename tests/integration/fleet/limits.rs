//! What several processes count together, and what goes on while the database is away.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use super::{Cluster, Fleet, PASSWORD, until};
use crate::cluster::Settings;
use crate::pki::Secure;

const ATTEMPTS: usize = 37;

#[test]
fn a_temporary_token_is_used_so_often_and_no_more() {
    let Some(cluster) = Cluster::shared() else { return };
    let fleet = Fleet::new(&cluster.database());
    let authorities = [(); 2].map(|()| fleet.authority("").started());
    let made = fleet.key(&["--purpose", "exequantum", "--label", "many", "--role", "default"]);
    let long_lived = format!("bearer {}", made["key"].as_str().unwrap());
    let target = format!("/api/token/new?expiry_time=600&expire_after_attempts={ATTEMPTS}");
    let headers = [("authorization", long_lived.as_str())];
    let (_, made) = fleet.call(authorities[0].face("exequantum"), "GET", &target, &headers, &json!(null));
    let token = format!("bearer {}", made["new_token"].as_str().unwrap());

    let (good, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..12 {
            let (fleet, token, good, refused) = (&fleet, &token, &good, &refused);
            let at = authorities[thread % 2].face("exequantum");
            scope.spawn(move || {
                let body = json!({ "unencrypted": "text", "key": "00".repeat(32) }).to_string();
                let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
                let mut connection = Secure::at(at, &fleet.tls).unwrap();
                for n in 0..6 {
                    if n == 3 {
                        connection = Secure::at(at, &fleet.tls).unwrap();
                    }
                    match connection.call("POST", "/api/aes/encrypt_text", &headers, &body).unwrap().status() {
                        200 => good.fetch_add(1, Ordering::Relaxed),
                        401 => refused.fetch_add(1, Ordering::Relaxed),
                        other => panic!("{other}"),
                    };
                }
            });
        }
    });
    assert_eq!((good.into_inner(), refused.into_inner()), (ATTEMPTS, 12 * 6 - ATTEMPTS));
}

#[test]
fn calls_that_are_known_go_on_while_the_database_is_away() {
    let Some(cluster) = Cluster::start(&Settings::default()) else { return };
    let fleet = Fleet::new(&cluster.database());
    let mut authority = fleet.authority("").started();
    let at = authority.face("crittora");
    for user in ["alice", "bob"] {
        fleet.user(user, "default");
    }
    let made =
        fleet.key(&["--purpose", "crittora", "--label", "acme", "--partition", "customers", "--role", "default"]);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let keys = [text(&made["key"]), text(&made["secrets"]["access_key"]), text(&made["secrets"]["secret_key"])];
    let headers = |user| {
        [
            ("username", user),
            ("password", PASSWORD),
            ("api_key", &keys[0]),
            ("access_key", &keys[1]),
            ("secret_key", &keys[2]),
        ]
    };
    let encrypt = json!({ "data": "4111 1111" });
    let (status, answer) = fleet.call(at, "POST", "/v1/encrypt", &headers("alice"), &encrypt);
    assert_eq!(status, 200, "{answer}");
    let decrypt = json!({ "encrypted_data": answer["body"]["encrypted_data"] });

    let (stop, good) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (fleet, stop, good) = (&fleet, &stop, &good);
            let (headers, decrypt, encrypt) = (headers("alice"), decrypt.to_string(), encrypt.to_string());
            scope.spawn(move || {
                let mut connection = Secure::at(at, &fleet.tls).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    for (target, body) in [("/v1/encrypt", &encrypt), ("/v1/decrypt", &decrypt)] {
                        let answer = connection.call("POST", target, &headers, body).unwrap();
                        assert_eq!(answer.status(), 200, "{target}: {}", answer.text());
                        good.fetch_add(1, Ordering::Relaxed);
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
        }
        let more = |what: &str| {
            let before = good.load(Ordering::Relaxed);
            until(what, || good.load(Ordering::Relaxed) > before + 50);
        };
        more("calls before");
        cluster.command("stop");
        more("calls without a database");
        std::thread::sleep(Duration::from_secs(4));
        more("calls without a database, later");
        // What is not in memory is not guessed.
        let (status, answer) = fleet.call(at, "POST", "/v1/encrypt", &headers("bob"), &encrypt);
        assert_eq!(status, 503, "{answer}");
        cluster.command("start");
        more("calls with the database again");
        until("others again", || fleet.call(at, "POST", "/v1/encrypt", &headers("bob"), &encrypt).0 == 200);
        stop.store(true, Ordering::Relaxed);
    });
    until("managed again", || fleet.at(&authority, &["partitions", "rollover", "customers"]).code == 0);
    assert_eq!(fleet.call(at, "POST", "/v1/decrypt", &headers("alice"), &decrypt).0, 200);
    let log = authority.end();
    let counted = fleet.counted();
    let count = |what: &str| counted[&("customers".to_owned(), "crittora".to_owned(), what.to_owned())];
    assert_eq!(count("sealed") + count("opened"), good.into_inner() + 3, "nothing goes uncounted: {counted:?}\n{log}");
}
