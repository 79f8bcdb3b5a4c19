//! Every route for every identity.

use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::*;
use crate::tools;

/// A call and its answer, with no client of ours.
pub fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, Value, http::HeaderMap) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut request = http::Request::builder().method(method).uri(format!("http://{address}/keyring/v1{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(bytes::Bytes::copy_from_slice(body))).unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http();
        let response = client.request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        if parts.headers.get("content-type").is_some_and(|media| media == "text/event-stream") {
            return (parts.status.as_u16(), Value::Null, parts.headers);
        }
        let body = Limited::new(body, 1 << 24).collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), serde_json::from_slice(&body).unwrap_or(Value::Null), parts.headers)
    })
}

/// Who asks, and what each route is to answer, in the order of [`requests`].
type Row = (&'static str, &'static str, [u16; 12]);

#[test]
fn every_route_for_every_identity() {
    let (place, address) = authority();
    let keyring = &place.authority.keyring;
    let token = seal(keyring, "tenant", Suite::Xaes).unwrap();
    let old = v1::parse(&token).unwrap().epoch.to_string();
    keyring.rollover(&name("tenant"), &[Kind::Random]).unwrap();
    let current = keyring.sealing(&name("tenant"), Kind::Random).unwrap().id.to_string();
    keyring.create_partition(&name("foreign")).unwrap();
    keyring.set_role(&name("foreign"), "other", Some(Permissions::DEFAULT)).unwrap();
    keyring.set_role(&name("default"), "other", Some(Permissions::DEFAULT)).unwrap();

    let key = |purpose, role, partition| api_key(&place, purpose, role, partition);
    let keys = [
        ("nobody", String::new()),
        ("wrong", "sck_1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into()),
        ("another face's", key(Purpose::Crittora, "sidecar", None)),
        ("management", key(Purpose::Management, "admin", None)),
        ("sidecar", key(Purpose::Sidecar, "sidecar", None)),
        ("reader", key(Purpose::Sidecar, "reader", None)),
        ("writer", key(Purpose::Sidecar, "writer", None)),
        ("other", key(Purpose::Sidecar, "other", None)),
        ("unlisted", key(Purpose::Sidecar, "unlisted", None)),
        ("scoped away", key(Purpose::Sidecar, "sidecar", Some("default"))),
        ("encrypt-only", key(Purpose::EncryptOnly, "sidecar", None)),
    ];
    // keys events counts tombstones | record current old-epoch wrap-of-old wrap-of-current insert issue provision
    let rows: &[Row] = &[
        ("nobody", "", [401; 12]),
        ("wrong", "", [401; 12]),
        ("another face's", "", [401; 12]),
        ("management", "", [401; 12]),
        ("sidecar", "", [200, 200, 204, 200, 200, 200, 200, 200, 200, 422, 422, 200]),
        ("reader", "", [200, 200, 204, 200, 200, 200, 200, 200, 200, 403, 403, 200]),
        ("writer", "", [200, 200, 204, 200, 200, 200, 200, 404, 200, 422, 422, 200]),
        ("other", "", [200, 200, 204, 200, 404, 404, 404, 404, 404, 404, 404, 404]),
        ("unlisted", "", [200, 200, 204, 200, 404, 404, 404, 404, 404, 404, 404, 404]),
        ("scoped away", "", [200, 200, 204, 200, 404, 404, 404, 404, 404, 404, 404, 404]),
        ("encrypt-only", "", [200, 200, 204, 200, 200, 403, 404, 403, 403, 422, 403, 200]),
    ];
    let truth = &keys[4].1;
    let wrap = |id: &str| {
        let (_, found, _) = call(address, "GET", &format!("/epochs/{id}"), &[("authorization", &bearer(truth))], b"");
        wrap_of(found["epoch"]["record"].as_str().unwrap())
    };
    let (old_wrap, current_wrap) = (wrap(&old), wrap(&current));
    let junk = json!({ "record": "AAAA", "replaces": { "epoch": null }, "under": "A".repeat(43) });
    let own_junk = json!({ "record": "AAAA" });
    let room = json!({ "max": 100 });
    let counts = json!({ "counts": [{ "partition": "tenant", "class": "ssn", "use": "sealed", "values": 3 }] });
    let requests: [(&str, String, Option<&Value>); 12] = [
        ("GET", "/keys".into(), None),
        ("GET", "/events".into(), None),
        ("POST", "/counts".into(), Some(&counts)),
        ("GET", "/tombstones?after=0".into(), None),
        ("GET", "/partitions/tenant".into(), None),
        ("GET", "/partitions/tenant/current?kind=0".into(), None),
        ("GET", format!("/epochs/{old}"), None),
        ("POST", format!("/epochs/{old}/decapsulate"), Some(&old_wrap)),
        ("POST", format!("/epochs/{current}/decapsulate"), Some(&current_wrap)),
        ("POST", "/partitions/tenant/epochs".into(), Some(&own_junk)),
        ("POST", "/partitions/tenant/issue".into(), Some(&junk)),
        ("POST", "/partitions/tenant".into(), Some(&room)),
    ];
    let mut wrong = Vec::new();
    for (who, _, expected) in rows {
        let (_, key) = keys.iter().find(|(name, _)| name == who).unwrap();
        let credential = bearer(key);
        let headers: &[(&str, &str)] = if key.is_empty() { &[] } else { &[("authorization", &credential)] };
        let (status, ..) = call(address, "GET", "/partitions/tenant/previous", headers, b"");
        assert_eq!(status, expected[5], "{who}: whoever may see the current epoch may see the one before");
        for ((method, path, body), expected) in requests.iter().zip(expected) {
            let bearer = bearer(key);
            let mut headers = vec![("content-type", "application/json")];
            if !key.is_empty() {
                headers.push(("authorization", &bearer));
            }
            let body = body.map(Value::to_string).unwrap_or_default();
            let (status, answer, headers) = call(address, method, path, &headers, body.as_bytes());
            if status != *expected {
                wrong.push(format!("{who}: {method} {path}: {status}, not {expected}: {answer}"));
            }
            if status >= 400 {
                assert_eq!(headers["content-type"], "application/problem+json", "{who}: {method} {path}");
                assert_eq!(answer["status"], status);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // A foreign partition, and one that is not there, look the same.
    let asked = bearer(&keys[8].1);
    let answers = ["/partitions/tenant", "/partitions/not-there", "/epochs/00000000000000000000"]
        .map(|path| call(address, "GET", path, &[("authorization", &asked)], b""));
    assert_eq!(answers[0].1, answers[1].1);
    assert_eq!(answers[0].1, answers[2].1);
}

#[test]
fn a_tombstone_is_shown_to_those_whose_partition_it_is_of() {
    let (place, address) = authority();
    let keyring = &place.authority.keyring;
    let token = seal(keyring, "tenant", Suite::Xaes).unwrap();
    let id = v1::parse(&token).unwrap().epoch;
    keyring.destroy_epoch(id).unwrap();
    for (role, seen) in [("sidecar", 1), ("reader", 1), ("unlisted", 0)] {
        let bearer = bearer(&api_key(&place, Purpose::Sidecar, role, None));
        let (_, answer, _) = call(address, "GET", "/tombstones", &[("authorization", &bearer)], b"");
        assert_eq!(answer["tombstones"].as_array().unwrap().len(), seen, "{role}");
        let (status, answer, _) = call(address, "GET", &format!("/epochs/{id}"), &[("authorization", &bearer)], b"");
        assert_eq!((status == 200, answer["tombstone"].is_string()), (seen == 1, seen == 1), "{role}");
    }
}

#[test]
fn what_is_not_the_api_is_refused_as_it_says() {
    let (place, address) = authority();
    let bearer = bearer(&api_key(&place, Purpose::Sidecar, "sidecar", None));
    let id = "00000000000000000000";
    for (method, path, media, body, status) in [
        ("GET", "/nothing", "", "", 404),
        ("PUT", "/keys", "", "", 405),
        ("GET", "/keys?x=1", "", "", 400),
        ("GET", "/partitions/tenant/current", "", "", 422),
        ("GET", "/partitions/tenant/current?kind=2", "", "", 422),
        ("GET", "/partitions/tenant/previous?x=1", "", "", 400),
        ("GET", "/partitions/%ff", "", "", 404),
        ("GET", "/tombstones?after=-1", "", "", 422),
        ("GET", "/tombstones?after=18446744073709551615", "", "", 200),
        ("POST", "/counts", "text/plain", "{}", 415),
        ("POST", "/counts", "application/json", "{}", 400),
        ("POST", "/counts", "application/json", "{\"counts\":[],\"x\":1}", 400),
        ("POST", &format!("/epochs/{id}/decapsulate"), "application/json", &"x".repeat(20_000), 413),
    ] {
        let headers = [("authorization", bearer.as_str()), ("content-type", media)];
        let headers = if media.is_empty() { &headers[..1] } else { &headers[..] };
        let (got, answer, headers) = call(address, method, path, headers, body.as_bytes());
        assert_eq!(got, status, "{method} {path}: {answer}");
        if status >= 400 {
            assert_eq!(headers["content-type"], "application/problem+json", "{method} {path}");
        }
        assert!(status != 405 || headers["allow"].to_str().unwrap().contains("GET"));
    }
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

/// The last wrap of a record as the API wants it: the end of the CBOR is `[[suite, id (16), kem_ct (1088), wrapped (48)]]`.
fn wrap_of(record: &str) -> Value {
    let bytes = sidecloak::crypto::base64url::decode(record.as_bytes()).unwrap();
    let start = bytes.len() - (48 + 2) - (1088 + 3) - (16 + 1) - 1;
    let text = |from: usize, length: usize| sidecloak::crypto::base64url::encode(&bytes[from..from + length]);
    assert_eq!(bytes[start], 1, "ML-KEM-768");
    json!({ "kem_suite": 1, "recipient": text(start + 2, 16), "kem_ct": text(start + 2 + 16 + 3, 1088) })
}

#[test]
fn nothing_answers_otherwise_than_documented() {
    let Some(tools) = tools::installed("clients", "tests/clients/requirements.txt") else { return };
    let (place, address) = authority();
    let document = place.directory.path().join("keyring.json");
    std::fs::write(&document, keyring_api::openapi().to_string()).unwrap();
    // What fits the document need not name an epoch, a wrap or a partition that is there; `1.0` is an integer there, and bytes there
    // need not be canonical.
    let mut settings = String::new();
    for path in [
        "/counts",
        "/look",
        "/partitions/{name}",
        "/partitions/{name}/current",
        "/partitions/{name}/epochs",
        "/partitions/{name}/issue",
        "/epochs/{id}",
        "/epochs/{id}/decapsulate",
    ] {
        settings += &format!(
            "[[operations]]\ninclude-path = {path:?}\nchecks.positive_data_acceptance.expected-statuses = [\"2xx\", 400, 403, 404, 409, 422]\n"
        );
    }
    // A stream that does not end.
    settings += "[[operations]]\ninclude-path = \"/events\"\nenabled = false\n";
    std::fs::write(place.directory.path().join("schemathesis.toml"), settings).unwrap();
    let mut command = std::process::Command::new(tools.join("venv/bin/schemathesis"));
    command.current_dir(place.directory.path()).arg("run").arg(&document);
    command.args([
        "--url",
        &format!("http://{address}/keyring/v1"),
        "--max-examples",
        "30",
        "--seed",
        "7",
        "--no-color",
    ]);
    command.args(["-H", &format!("Authorization: {}", bearer(&api_key(&place, Purpose::Sidecar, "sidecar", None)))]);
    let (good, out, err) = tools::Process::start(&mut command).finish();
    assert!(good, "{out}{err}");
}
