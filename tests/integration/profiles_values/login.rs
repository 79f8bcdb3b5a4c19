//! Crittora's direct API: log-ins are shared, renewed without anybody's noticing, and follow a password that changes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use sidecloak::clock::SystemClock;

use super::{PASSWORD, Sidecar, Vendor, called};
use crate::managed::double::Double;
use crate::pki::private;

const RULES: &str = "rules:
  - name: customers
    match: { path: '/**' }
    protect: [{ fields: ['$..ssn'], key: partner }]
";

/// The flows that were asked for, in their order.
fn log_ins(api: &Double) -> Vec<&'static str> {
    let seen = api.seen();
    let log_ins = seen.iter().filter(|call| called(call.first_line()) == "/");
    let of = |text: String| if text.contains("REFRESH_TOKEN_AUTH") { "refresh" } else { "password" };
    log_ins.map(|call| of(call.text())).collect()
}

#[test]
fn a_burst_of_cold_requests_is_one_log_in() {
    let vendor = Vendor::new();
    let api = vendor.crittora();
    let sidecar = Sidecar::new(&vendor.direct(&api, ", granularity: field"), RULES);
    let before = log_ins(&api).len();
    scope(|scope| {
        let sidecar = &sidecar;
        for n in 0..100 {
            scope.spawn(move || {
                let body = format!(r#"{{"ssn":"value {n}"}}"#);
                let reply = sidecar.stage.post(&format!("/{n}"), body.clone());
                assert_eq!((reply.status, reply.text()), (200, body));
            });
        }
    });
    assert_eq!(log_ins(&api)[before..], ["password"]);
    assert!(sidecar.stage.everything().iter().all(|(_, text)| text.contains("sc1.") && !text.contains("value")));
}

#[test]
fn a_log_in_that_ends_amid_the_traffic_fails_no_request() {
    let vendor = Vendor::new();
    let api = vendor.crittora();
    let sidecar = Sidecar::new(&vendor.direct(&api, ", granularity: field"), RULES);
    let before = log_ins(&api).len();
    let done = AtomicUsize::new(0);
    scope(|scope| {
        let (sidecar, done) = (&sidecar, &done);
        for thread in 0..4 {
            scope.spawn(move || {
                for n in 0..60 {
                    let body = format!(r#"{{"ssn":"value {n} of {thread}"}}"#);
                    let reply = sidecar.stage.post(&format!("/{thread}/{n}"), body.clone());
                    assert_eq!((reply.status, reply.text()), (200, body));
                    done.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        // Hours go by for the API, which the proxy cannot foresee. More of them within seconds would look as if the API refused
        // the tokens that it gives.
        for hour in 1..=2 {
            while done.load(Ordering::SeqCst) < hour * 70 {
                sleep(Duration::from_millis(5));
            }
            vendor.clock.advance(3601);
        }
    });
    let all = log_ins(&api);
    assert_eq!(all[before], "password");
    let renewed = &all[before + 1..];
    assert!((2..=4).contains(&renewed.len()) && renewed.iter().all(|flow| *flow == "refresh"), "{all:?}");
}

#[test]
fn what_ends_for_both_is_renewed_before_a_call_is_refused() {
    let vendor = Vendor::new();
    let api = vendor.crittora();
    let profiles = vendor.direct(&api, ", granularity: field");
    let sidecar = Sidecar::with(&profiles, RULES, "", "", vendor.clock.clone());
    sidecar.stores("/1", r#"{"ssn":"Sesame"}"#);
    for _ in 0..3 {
        let before = api.calls();
        vendor.clock.advance(3700);
        sidecar.shows("/1", r#"{"ssn":"Sesame"}"#);
        let calls: Vec<_> = api.seen()[before..].iter().map(|call| called(call.first_line()).to_owned()).collect();
        assert_eq!(calls, ["/", "/decrypt"]);
    }
    let metrics = sidecar.metrics();
    assert!(metrics.contains(r#"sidecloak_managed_token_renewals_total{profile="partner"} 4"#), "{metrics}");
    assert!(metrics.contains(r#"sidecloak_managed_token_failures_total{profile="partner"} 0"#), "{metrics}");
}

#[test]
fn a_password_that_changes_on_disk_is_used_by_the_next_log_in() {
    let vendor = Vendor::new();
    let api = vendor.crittora();
    let sidecar = Sidecar::with(&vendor.direct(&api, ", granularity: field"), RULES, "", "", SystemClock::shared());
    sidecar.stores("/1", r#"{"ssn":"Sesame"}"#);
    let before = log_ins(&api).len();
    private(&vendor.dir.path().join("password"), "another one altogether");
    // A file is looked at once a second.
    sleep(Duration::from_millis(1100));
    vendor.user("another one altogether");
    sidecar.shows("/1", r#"{"ssn":"Sesame"}"#);
    assert_eq!(log_ins(&api)[before..], ["password"], "the refresh token was the old password's");
    // What is wrong on disk fails, and says nothing of it.
    private(&vendor.dir.path().join("password"), PASSWORD);
    sleep(Duration::from_millis(1100));
    vendor.user("another one altogether");
    let reply = sidecar.stage.get("/1");
    assert!(reply.status == 502 && !reply.text().contains("correct"), "{} {}", reply.status, reply.text());
}
