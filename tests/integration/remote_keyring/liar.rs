//! An authority that lies: somebody in its place who holds neither the owner's key nor a recipient's. It is the real one with answers
//! exchanged on their way out.

use std::sync::Mutex;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State as Shared};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use serde_json::{Value, json};

use super::*;

type Lie = Arc<dyn Fn(&str, &mut Value) + Send + Sync>;

#[derive(Clone)]
struct Liar(Arc<Mutex<Lie>>);

impl Liar {
    fn tells(&self, lie: impl Fn(&str, &mut Value) + Send + Sync + 'static) {
        *self.0.lock().unwrap() = Arc::new(lie);
    }

    fn tells_the_truth(&self) {
        self.tells(|_, _| {});
    }
}

/// The real authority with a liar before it.
fn stage() -> (Place, Liar, SocketAddr) {
    let (place, _) = authority();
    let liar = Liar(Arc::new(Mutex::new(Arc::new(|_: &str, _: &mut Value| {}))));
    let router = keyring_api::router(Arc::clone(&place.authority)).layer(from_fn_with_state(liar.clone(), tell));
    let address = place.serve(router);
    (place, liar, address)
}

async fn tell(Shared(liar): Shared<Liar>, request: Request, next: Next) -> Response {
    let path = request.uri().path().trim_start_matches("/keyring/v1").to_owned();
    if path == "/events" {
        return next.run(request).await;
    }
    let (parts, body) = next.run(request).await.into_parts();
    let bytes = to_bytes(body, 1 << 24).await.unwrap();
    let Ok(mut value) = serde_json::from_slice::<Value>(&bytes) else {
        return Response::from_parts(parts, Body::from(bytes));
    };
    let lie = Arc::clone(&liar.0.lock().unwrap());
    lie(&path, &mut value);
    if value == json!("silence") {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    Response::from_parts(parts, Body::from(value.to_string()))
}

fn get(place: &Place, path: &str) -> Value {
    let address = place.serve(keyring_api::router(Arc::clone(&place.authority)));
    let key = api_key(place, Purpose::Sidecar, "sidecar", None);
    routes::call(address, "GET", path, &[("authorization", &format!("Bearer {key}"))], b"").1
}

/// With the sidecar that is to be deceived, and one with its own recipient key.
fn victims(place: &Place, address: SocketAddr) -> [Keyring; 2] {
    let key = place.authority.keyring.make_recipient(KemSuite::MlKem768, &name("tenant")).unwrap();
    let recipient = private_file(&place.directory.path().join("victim.key"), key.private_line.expose());
    let helped = options(place, address, &api_key(place, Purpose::Sidecar, "sidecar", None));
    let own = Options { recipient: Some(recipient), ..helped.clone() };
    [open(&helped).unwrap(), open(&own).unwrap()]
}

#[test]
fn another_partitions_record_is_refused() {
    let (place, liar, address) = stage();
    let other = get(&place, "/partitions/default");
    let victims = victims(&place, address);
    liar.tells(move |path, value| {
        if path == "/partitions/tenant" {
            *value = other.clone();
        }
    });
    for victim in victims {
        assert!(matches!(seal(&victim, "tenant", Suite::Xaes), Err(KeyringError::Unknown(_))));
        assert_eq!(victim.alarms(), 1);
    }
}

#[test]
fn an_older_record_does_not_end_a_pause() {
    let (place, liar, address) = stage();
    let keyring = &place.authority.keyring;
    let victims = victims(&place, address);
    let before = get(&place, "/partitions/tenant");
    let tokens = [0, 1].map(|at| seal(&victims[at], "tenant", Suite::Xaes).unwrap());
    keyring.set_state(&name("tenant"), State::Paused).unwrap();
    for (victim, token) in victims.iter().zip(&tokens) {
        until("a pause", victim, || matches!(opened(victim, token), Err(KeyringError::Denied(..))));
    }
    liar.tells(move |path, value| {
        if path == "/partitions/tenant" {
            *value = before.clone();
        } else if path == "/look" {
            // Something else than what they have.
            value["partitions"].as_array_mut().unwrap().fill(Value::Null);
        }
    });
    // So that they look again.
    keyring.create_partition(&name("something-else")).unwrap();
    for (victim, token) in victims.iter().zip(&tokens) {
        until("the alarm", victim, || victim.alarms() > 0);
        assert!(opened(victim, token).is_err());
        assert!(seal(victim, "tenant", Suite::Xaes).is_err());
    }
}

#[test]
fn nothing_is_sealed_under_an_epoch_that_nobody_listed_made() {
    // A keyring of the liar's own, with a partition of the same name: it knows all keys of that one.
    let (theirs, _) = authority();
    for kind in [0, 1] {
        let suite = if kind == 0 { Suite::Xaes } else { Suite::Siv };
        seal(&theirs.authority.keyring, "tenant", suite).unwrap();
        let chosen = get(&theirs, &format!("/partitions/tenant/current?kind={kind}"));
        assert!(chosen["epoch"].is_object());
        let (place, liar, address) = stage();
        let victims = victims(&place, address);
        liar.tells(move |path, value| match path {
            "/partitions/tenant/current" => *value = chosen.clone(),
            "/partitions/tenant/issue" => *value = json!({ "outcome": "done", "record": chosen["epoch"]["record"] }),
            path if path.starts_with("/epochs/") => *value = chosen.clone(),
            _ => {}
        });
        for victim in &victims {
            let error = seal(victim, "tenant", suite).unwrap_err();
            assert!(matches!(&error, KeyringError::Mismatch(text) if text.contains("nothing is sealed")), "{error}");
            assert!(victim.alarms() > 0);
        }
        liar.tells(|path, value| {
            if path == "/partitions/tenant/current" {
                *value = json!({ "epoch": null, "tombstone": null });
            }
        });
        for victim in &victims {
            // Told that there is no epoch, it makes one: of its own key, wrapped to whom the owner listed.
            seal(victim, "tenant", suite).ok();
        }
    }
}

#[test]
fn an_issued_record_is_the_one_that_was_made() {
    let (place, liar, address) = stage();
    let victims = victims(&place, address);
    let (theirs, _) = authority();
    seal(&theirs.authority.keyring, "tenant", Suite::Xaes).unwrap();
    let chosen = get(&theirs, "/partitions/tenant/current?kind=0")["epoch"]["record"].clone();
    seal(&place.authority.keyring, "default", Suite::Xaes).unwrap();
    let others = get(&place, "/partitions/default/current?kind=0")["epoch"]["record"].clone();
    for record in [chosen, others, json!("AAAA"), Value::Null] {
        liar.tells(move |path, value| {
            if path.ends_with("/issue") {
                *value = json!({ "outcome": "done", "record": record });
            } else if path.ends_with("/current") {
                *value = json!({ "epoch": null, "tombstone": null });
            }
        });
        for victim in &victims {
            let error = seal(victim, "tenant", Suite::Xaes).unwrap_err();
            assert!(matches!(&error, KeyringError::Mismatch(text) if text.contains("did not sign")), "{error}");
        }
    }
    liar.tells_the_truth();
    seal(&victims[0], "tenant", Suite::Xaes).unwrap();
}

#[test]
fn another_epochs_record_and_wrong_secrets_open_nothing() {
    let (place, liar, address) = stage();
    let victims = victims(&place, address);
    let keyring = &place.authority.keyring;
    let token = seal(keyring, "tenant", Suite::Xaes).unwrap();
    keyring.rollover(&name("tenant"), &[Kind::Random]).unwrap();
    seal(keyring, "tenant", Suite::Xaes).unwrap();
    let current = get(&place, "/partitions/tenant/current?kind=0");
    liar.tells(move |path, value| {
        if path.starts_with("/epochs/") && path.len() < 40 {
            *value = current.clone();
        }
    });
    for victim in &victims {
        assert!(matches!(opened(victim, &token), Err(KeyringError::Unknown(_))));
        assert_eq!(victim.alarms(), 1, "another record under that name");
    }
    liar.tells(|path, value| {
        if path.ends_with("/decapsulate") {
            value["shared_secret"] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        }
    });
    keyring.create_partition(&name("something-else")).unwrap();
    let [helped, own] = &victims;
    until("what is known as unknown is forgotten", own, || opened(own, &token).is_ok());
    until("the alarm", helped, || opened(helped, &token).is_ok() || helped.alarms() > 1);
    assert!(opened(helped, &token).is_err());
    for secret in ["AAAA", "?", ""] {
        liar.tells(move |path, value| {
            if path.ends_with("/decapsulate") {
                value["shared_secret"] = json!(secret);
            }
        });
        assert!(
            opened(
                &open(&options(&place, address, &api_key(&place, Purpose::Sidecar, "sidecar", None))).unwrap(),
                &token
            )
            .is_err()
        );
    }
}

#[test]
fn a_changed_record_is_refused() {
    let (place, liar, address) = stage();
    let victims = victims(&place, address);
    let token = seal(&place.authority.keyring, "tenant", Suite::Xaes).unwrap();
    // Characters of base64url within partition, times, signature and wraps.
    liar.tells(|path, value| {
        if path.starts_with("/epochs/")
            && let Some(Value::String(record)) = value.pointer_mut("/epoch/record")
        {
            for at in [120, 2000] {
                let other = if record.as_bytes()[at] == b'A' { "B" } else { "A" };
                record.replace_range(at..=at, other);
            }
        }
    });
    for victim in &victims {
        assert!(opened(victim, &token).is_err());
    }
    liar.tells(|path, value| {
        if path.starts_with("/partitions/")
            && let Some(Value::String(record)) = value.get_mut("record")
        {
            let other = if record.as_bytes()[2000] == b'A' { "B" } else { "A" };
            record.replace_range(2000..=2000, other);
        }
    });
    for victim in &victims {
        assert!(seal(victim, "default", Suite::Xaes).is_err());
        assert!(victim.alarms() >= 1);
    }
}

#[test]
fn another_owner_is_refused_at_start() {
    let (place, liar, address) = stage();
    let (theirs, _) = authority();
    let keys = get(&theirs, "/keys");
    let good = options(&place, address, &api_key(&place, Purpose::Sidecar, "sidecar", None));
    liar.tells(move |path, value| {
        if path == "/keys" {
            *value = keys.clone();
        }
    });
    let error = open(&good).unwrap_err();
    assert!(matches!(&error, KeyringError::Mismatch(text) if text.contains("pins")), "{error}");
    liar.tells(|path, value| {
        if path == "/keys" {
            value["version"] = json!(2);
        }
    });
    let error = open(&good).unwrap_err();
    assert!(matches!(&error, KeyringError::Mismatch(text) if text.contains("version 2")), "{error}");
}

#[test]
fn too_much_and_too_late_are_no_answers() {
    let (place, liar, address) = stage();
    let [helped, _] = victims(&place, address);
    let token = seal(&place.authority.keyring, "tenant", Suite::Xaes).unwrap();
    for lie in [json!("x".repeat(3 << 20)), json!("silence"), json!([1, 2]), Value::Null] {
        liar.tells(move |path, value| {
            if path.starts_with("/epochs/") {
                *value = lie.clone();
            }
        });
        let error = opened(&helped, &token).unwrap_err();
        assert!(matches!(error, KeyringError::Unavailable(_)), "{error}");
        // The pause after a call that failed on the way.
        std::thread::sleep(Duration::from_millis(1100));
    }
    liar.tells_the_truth();
    assert_eq!(opened(&helped, &token).unwrap(), b"secret");
}
