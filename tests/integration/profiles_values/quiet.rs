//! Planted values, credentials and tokens are in no log line of any level, no metric and no error, whatever the API does.

use serde_json::json;

use super::{Sidecar, Vendor};
use crate::log::log;
use crate::managed::double::{Act, missing, with};
use crate::support::PATIENCE;

const RULES: &str = "rules:
  - name: direct
    match: { path: '/direct/{id}/**' }
    protect: [{ fields: ['$..ssn'], key: partner }]
  - name: seoul
    match: { path: '/seoul/{id}/**' }
    protect: [{ fields: ['$..ssn'], key: seoul }]
";

#[test]
fn nothing_secret_is_told_whatever_an_api_does() {
    let log = log();
    let vendor = Vendor::with_password("CANARYPASSWORD horse");
    let (crittora, ncloud) = (vendor.crittora(), vendor.ncloud());
    let tag = vendor.ncloud_key(false);
    let options = ", granularity: field, retries: 1, breaker: { failures: 1000, pause: 1s }";
    let patient = |text: String| text.replace("timeout: 20s, budget: 20s", "timeout: 2s, budget: 2s, answer: 64KiB");
    let profiles = patient(vendor.direct(&crittora, options))
        + &patient(vendor.seoul(&ncloud, &tag, &options.replace("field", "message")));
    let sidecar = Sidecar::new(&profiles, RULES);
    let mut told = String::new();
    let mut tokens = Vec::new();
    let body = r#"{"ssn":"CANARYVALUE and more","other":{"ssn":"CANARYVALUE"}}"#;
    for of in ["direct", "seoul"] {
        let path = format!("/{of}/CANARYPATH/1?CANARYQUERY=1");
        let reply = sidecar.stage.post(&path, body);
        assert_eq!((reply.status, reply.text()), (200, body.to_owned()));
        let stored = sidecar.stored(&format!("/{of}/CANARYPATH/1"));
        tokens.push(stored["ssn"].as_str().unwrap().rsplit('.').next().unwrap().to_owned());
        tokens.push(stored["other"]["ssn"].as_str().unwrap().rsplit('.').next().unwrap().to_owned());
    }
    // What it says of a value may be the value.
    let echo = |status| {
        Act::Instead(status, vec![("content-type", "application/json".into())], json!({
        "message": "CANARYVALUE", "msg": "CANARYVALUE", "code": "CANARYVALUE", "error": { "errorCode": "CANARYVALUE", "message": "CANARYVALUE" },
        "statusCode": status, "body": { "error": "CANARYVALUE CANARYPASSWORD" }, "__type": "CANARYVALUE",
    }).to_string())
    };
    let acts = [
        echo(200),
        echo(400),
        echo(401),
        echo(403),
        echo(404),
        echo(422),
        echo(429),
        echo(500),
        echo(503),
        Act::html(200),
        Act::html(502),
        Act::redirect(302, "https://localhost:1/CANARYPATH".into()),
        Act::gzip(),
        Act::Reset,
        Act::ResetInHead,
        Act::ResetInBody,
        Act::Noise,
        Act::Truncated,
        Act::Endless,
        Act::Oversized(100_000),
        missing("/body", "encrypted_data"),
        missing("", "data"),
        with("/data", json!("CANARYVALUE")),
        with("/body", json!("CANARYVALUE")),
        with("/data/ciphertext", json!(["CANARYVALUE", 7])),
        with("/data/plaintext", json!(["Q0FOQVJZVkFMVUU=", "Q0FOQVJZVkFMVUU="])),
    ];
    for act in acts {
        crittora.always(act.clone());
        ncloud.always(act);
        for of in ["direct", "seoul"] {
            for reply in [
                sidecar.stage.get(&format!("/{of}/CANARYPATH/1?CANARYQUERY=1")),
                sidecar.stage.post(&format!("/{of}/CANARYPATH/2?CANARYQUERY=1"), body),
            ] {
                if reply.status == 200 {
                    // Some of what it does concerns the other direction, or the other API.
                    assert_eq!(reply.text(), body);
                } else {
                    assert!((400..600).contains(&reply.status), "{}", reply.status);
                    told += &format!("{} {:?}\n", reply.text(), reply.headers);
                }
            }
        }
    }
    crittora.always(Act::Well);
    ncloud.always(Act::Well);
    for of in ["direct", "seoul"] {
        // A log-in that was refused is put off for a while.
        let start = std::time::Instant::now();
        while sidecar.stage.get(&format!("/{of}/CANARYPATH/1")).text() != body {
            assert!(start.elapsed() < 3 * PATIENCE, "it is not back");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
    for (of, token) in [("direct", &tokens[0]), ("seoul", &tokens[2])] {
        sidecar.stage.put(
            &format!("/{of}/CANARYPATH/3"),
            sidecar.stage.stored_text(&format!("/{of}/CANARYPATH/1")).replace(&token[..8], "AAAAAAAA"),
        );
        let reply = sidecar.stage.get(&format!("/{of}/CANARYPATH/3"));
        assert_eq!(reply.status, 502, "{}", reply.text());
        told += &reply.text();
    }
    let metrics = sidecar.metrics();
    // What must be there is.
    for name in ["calls_total", "token_renewals_total", "token_expiry_seconds", "call_duration_seconds_count"] {
        let line = format!(r#"sidecloak_managed_{name}{{profile="partner""#);
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    assert!(metrics.contains(r#"sidecloak_managed_retries_total{profile="seoul""#), "{metrics}");
    drop(sidecar);

    let logged = log.text();
    assert!(logged.contains("profile `partner`") && logged.contains("profile `seoul`"));
    let bearers: Vec<String> = crittora.seen().iter().filter_map(|call| call.field("authorization")).collect();
    let bearer = bearers.last().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
    let signatures: Vec<String> =
        ncloud.seen().iter().filter_map(|call| call.field("x-ncp-apigw-signature-v2")).collect();
    let canaries = ["CANARYVALUE", "CANARYPASSWORD", "CANARYPATH", "CANARYQUERY", "Q0FOQVJZVkFMVUU"].map(str::to_owned);
    let secrets = canaries
        .into_iter()
        .chain(vendor.partner.clone())
        .chain(vendor.ncloud)
        .chain(tokens)
        .chain([bearer])
        .chain(signatures);
    for secret in secrets {
        let line = logged.lines().find(|line| line.contains(&secret));
        assert!(line.is_none(), "{secret:.60} is logged: {line:?}");
        assert!(!metrics.contains(&secret), "{secret:.60} is in a metric");
        assert!(!told.contains(&secret), "{secret:.60} is in an error: {told}");
    }
}
