//! A second endpoint of the same service opens while the first is away; what is sealed waits for the first.

use super::{Sidecar, Vendor, called, calls};
use crate::managed::double::Act;
use crate::stage::eventually;

const RULES: &str = "rules:
  - name: customers
    match: { path: '/**' }
    protect: [{ fields: ['$..ssn'], key: partner }]
";

#[test]
fn opening_goes_on_at_another_endpoint_and_sealing_does_not() {
    let vendor = Vendor::new();
    let (first, second) = (vendor.crittora(), vendor.crittora());
    for granularity in ["field", "envelope"] {
        let more = format!(
            ", granularity: {granularity}, fallback_endpoints: ['{}/v1'], retries: 1, breaker: {{ failures: 3, pause: 200ms }}",
            second.url()
        );
        let profiles = vendor.managed(&first, &more);
        let mut sidecar = Sidecar::new(&profiles, RULES);
        let body = r#"{"ssn":"Sesame"}"#;
        sidecar.stores("/1", body);
        assert_eq!(second.calls(), 0, "{granularity}: only while the first is away");

        for away in [Act::Reset, Act::status(503), Act::html(502)] {
            first.always(away);
            // What a process has in memory is of no use to the next.
            sidecar.again(&profiles, RULES);
            let opened = calls(&second, "/decrypt");
            for _ in 0..10 {
                sidecar.shows("/1", body);
            }
            let opened = calls(&second, "/decrypt") - opened;
            assert_eq!(opened, if granularity == "field" { 10 } else { 1 }, "{granularity}");
            assert_eq!(calls(&second, "/encrypt"), 0, "{granularity}");
            if granularity == "field" {
                for _ in 0..5 {
                    let reply = sidecar.stage.post("/2", body);
                    assert_eq!(reply.status, 503, "{}", reply.text());
                    assert!(reply.headers.contains_key("retry-after") && !reply.text().contains("Sesame"));
                }
                let metrics = sidecar.metrics();
                assert!(metrics.contains(r#"sidecloak_managed_breaker_open{profile="partner"} 1"#), "{metrics}");
            }
            first.always(Act::Well);
            eventually("sealed again", || sidecar.stage.post("/2", body).status == 200);
            let asked = second.calls();
            for _ in 0..5 {
                sidecar.shows("/1", body);
                sidecar.shows("/2", body);
            }
            assert_eq!(second.calls(), asked, "{granularity}: the first is back");
        }
        drop(sidecar);
        let (first, asked) = (first.calls(), second.calls());
        assert!(first > 0 && asked > 0);
        // The next granularity counts from the start.
        second.forget();
    }
}

/// A place that lags behind does not make good data bad, nor does a refusal of the first go to it.
#[test]
fn a_fallback_has_no_word_on_what_is_refused() {
    let vendor = Vendor::new();
    let (first, second) = (vendor.crittora(), vendor.crittora());
    let more = format!(", granularity: field, retries: 0, fallback_endpoints: ['{}/v1']", second.url());
    let sidecar = Sidecar::new(&vendor.managed(&first, &more), RULES);
    let body = r#"{"ssn":"Sesame"}"#;
    sidecar.stores("/1", body);
    let token = sidecar.stage.stored_text("/1");
    sidecar.stage.put("/2", format!("{}AAAA\"}}", &token[..token.len() - 20]));
    assert_eq!(sidecar.stage.get("/2").status, 502);
    assert_eq!(second.calls(), 0);
    first.always(Act::status(503));
    second.always(Act::status(400));
    assert_eq!(sidecar.stage.get("/1").status, 502);
    second.always(Act::Well);
    sidecar.shows("/1", body);
}

/// The log-in is elsewhere, and serves both.
#[test]
fn an_endpoint_behind_a_log_in_has_a_fallback_too() {
    let vendor = Vendor::new();
    let (first, second) = (vendor.crittora(), vendor.crittora());
    let more = format!(", granularity: field, retries: 0, fallback_endpoints: ['{}']", second.url());
    let profiles = vendor.direct(&first, &more);
    let mut sidecar = Sidecar::new(&profiles, RULES);
    let body = r#"{"ssn":"Sesame"}"#;
    sidecar.stores("/1", body);
    first.by(|_, call| if called(call.first_line()) == "/" { Act::Well } else { Act::status(503) });
    sidecar.again(&profiles, RULES);
    for _ in 0..5 {
        sidecar.shows("/1", body);
    }
    assert_eq!((calls(&second, "/decrypt"), calls(&second, "/")), (5, 0));
    assert_eq!(sidecar.stage.post("/2", body).status, 503);
}
