//! `/manage/v1`: who may do what, and what comes of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};
use sidecloak::authority::credentials::{Limits, NewApiKey, Purpose};
use sidecloak::authority::{Authority, Settings, management};
use sidecloak::keyring::State;
use sidecloak::name::PartitionName;
use sidecloak::token::EpochId;
use tower::ServiceExt;

use super::authority::Place;
use super::tools;

/// An answer.
struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Value,
}

/// Calls as one identity.
struct Caller<'a> {
    place: &'a Place,
    router: Router,
    key: Option<String>,
}

impl Caller<'_> {
    fn send(&self, method: &str, path: &str, body: Option<&Value>, more: &[(&str, &str)]) -> Answer {
        // The one that was there first: a destruction that is asked for makes another.
        let epoch = || String::from_utf8(tools::read(&self.place.directory.path().join("epoch"))).unwrap();
        let (path, body) = if path.contains("EPOCH") {
            let body = body.map(|body| serde_json::from_str(&body.to_string().replace("EPOCH", &epoch())).unwrap());
            (path.replace("EPOCH", &epoch()), body)
        } else {
            (path.to_owned(), body.cloned())
        };
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request =
            request.body(body.as_ref().map_or_else(Body::empty, |body| Body::from(body.to_string()))).unwrap();
        self.place.block_on(async {
            let response = self.router.clone().oneshot(request).await.unwrap();
            let (parts, body) = response.into_parts();
            let bytes = Limited::new(body, 1 << 20).collect().await.unwrap().to_bytes();
            let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
            assert_eq!(parts.headers["cache-control"], "no-store");
            if parts.status.is_client_error() || parts.status.is_server_error() {
                assert_eq!(parts.headers["content-type"], "application/problem+json");
                assert!(method == "HEAD" || body["status"] == parts.status.as_u16(), "{body}");
            }
            Answer { status: parts.status, headers: parts.headers, body }
        })
    }

    fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None, &[])
    }

    #[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
    fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        self.send(method, path, Some(&body).filter(|body| !body.is_null()), &[])
    }
}

fn key(authority: &Authority, purpose: Purpose, role: &str, app: Option<&str>, expires: u64) -> String {
    let new = NewApiKey {
        purpose,
        label: "test".into(),
        app: app.map(Into::into),
        partition: None,
        role: role.into(),
        expires,
        secrets: purpose.secrets(),
    };
    String::from_utf8(authority.credentials.create_api_key(&new).unwrap().0.expose().to_vec()).unwrap()
}

fn caller<'a>(place: &'a Place, authority: &Arc<Authority>, key: Option<String>) -> Caller<'a> {
    Caller { place, router: management::router(Arc::clone(authority)), key }
}

fn admin(place: &Place) -> Caller<'_> {
    let key = key(&place.authority, Purpose::Management, "admin", None, 0);
    caller(place, &place.authority, Some(key))
}

fn state(place: &Place, name: &str) -> State {
    place.authority.keyring.partition_info(&PartitionName::new(name).unwrap()).unwrap().state
}

/// Each call with a body that would do, and the roles that may make it.
fn calls() -> Vec<(&'static str, &'static str, Value, &'static [&'static str])> {
    const ALL: &[&str] = &["auditor", "operator", "admin"];
    const OPERATORS: &[&str] = &["operator", "admin"];
    const ADMINS: &[&str] = &["admin"];
    vec![
        ("GET", "/manage/v1/partitions", Value::Null, ALL),
        ("HEAD", "/manage/v1/partitions", Value::Null, ALL),
        ("POST", "/manage/v1/partitions", json!({"name": "2376.new"}), ADMINS),
        ("GET", "/manage/v1/partitions/2376.a", Value::Null, ALL),
        ("PUT", "/manage/v1/partitions/2376.a/state", json!({"state": "active"}), OPERATORS),
        ("POST", "/manage/v1/partitions/2376.a/rollover", json!({"kinds": ["random"]}), OPERATORS),
        ("GET", "/manage/v1/partitions/2376.a/epochs", Value::Null, ALL),
        ("PUT", "/manage/v1/partitions/2376.a/roles/teller", json!({"permissions": 12}), ADMINS),
        ("DELETE", "/manage/v1/partitions/2376.a/roles/teller", Value::Null, ADMINS),
        ("POST", "/manage/v1/partitions/2376.a/destruction", json!({"confirm": "2376.a"}), ADMINS),
        ("GET", "/manage/v1/partitions/2376.a/destruction", Value::Null, ALL),
        ("DELETE", "/manage/v1/partitions/2376.a/destruction", Value::Null, ADMINS),
        ("POST", "/manage/v1/partitions/2376.a/epochs/EPOCH/destruction", json!({"confirm": "EPOCH"}), ADMINS),
        ("DELETE", "/manage/v1/partitions/2376.a/epochs/EPOCH/destruction", Value::Null, ADMINS),
        ("GET", "/manage/v1/apps", Value::Null, ALL),
        ("POST", "/manage/v1/apps", json!({"id": "other", "label": "Other"}), ADMINS),
        ("GET", "/manage/v1/apps/2376", Value::Null, ALL),
        ("PUT", "/manage/v1/apps/2376/state", json!({"state": "active"}), OPERATORS),
        ("GET", "/manage/v1/apikeys", Value::Null, ALL),
        ("POST", "/manage/v1/apikeys", json!({"purpose": "crypteron", "label": "x", "app": "2376"}), ADMINS),
        ("GET", "/manage/v1/apikeys/1", Value::Null, ALL),
        ("POST", "/manage/v1/apikeys/1/refresh", Value::Null, ADMINS),
        ("DELETE", "/manage/v1/apikeys/1", Value::Null, ADMINS),
        ("GET", "/manage/v1/users", Value::Null, ALL),
        ("POST", "/manage/v1/users", json!({"name": "bob", "password": "long enough"}), ADMINS),
        ("GET", "/manage/v1/users/alice", Value::Null, ALL),
        ("PUT", "/manage/v1/users/alice/password", json!({"password": "long enough"}), ADMINS),
        ("PUT", "/manage/v1/users/alice/role", json!({"role": "teller"}), ADMINS),
        ("DELETE", "/manage/v1/users/alice/sessions", Value::Null, ADMINS),
        ("DELETE", "/manage/v1/users/alice", Value::Null, ADMINS),
    ]
}

/// What every call meets, whatever identity makes it.
fn furnish(place: &Place) {
    let first = key(&place.authority, Purpose::Crypteron, "default", Some("2376"), 0);
    assert!(first.ends_with("-1"));
    place.authority.create_app("2376", "Billing").unwrap();
    let name = PartitionName::new("2376.a").unwrap();
    place.authority.keyring.rollover(&name, &[sidecloak::keyring::Kind::Random]).unwrap();
    let epoch = place.authority.keyring.epoch_page(&name, EpochId([0; 10]), 9).unwrap()[0].0.id.to_string();
    std::fs::write(place.directory.path().join("epoch"), epoch).unwrap();
    let password = sidecloak::secret::SecretBytes::new(b"the password".to_vec());
    place.authority.credentials.put_user("alice", &password, "default").unwrap();
}

#[test]
fn the_list_of_calls_here_is_that_of_the_document() {
    let document = management::openapi();
    let mut listed: Vec<String> = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            listed.push(format!("{} {path} {}", method.to_uppercase(), operation["x-roles"]));
        }
    }
    let pattern = |path: &str| {
        let path = path
            .replace("EPOCH", "{epoch}")
            .replace("2376.a", "{partition}")
            .replace("teller", "{role}")
            .replace("apps/2376", "apps/{app}");
        path.replace("apikeys/1", "apikeys/{number}").replace("alice", "{user}")
    };
    let mut here: Vec<String> = calls()
        .iter()
        .filter(|(method, ..)| *method != "HEAD")
        .map(|(method, path, _, roles)| format!("{method} {} {}", pattern(path), json!(roles)))
        .collect();
    listed.sort();
    here.sort();
    assert_eq!(listed, here);
}

#[test]
fn every_call_is_refused_to_everybody_who_may_not() {
    let place = Place::new(&["2376.a", "99.z"]);
    furnish(&place);
    let authority = &place.authority;
    let good = key(authority, Purpose::Management, "admin", None, 0);
    let revoked = key(authority, Purpose::Management, "admin", None, 0);
    let number: u64 = revoked.rsplit_once('-').unwrap().1.parse().unwrap();
    authority.credentials.revoke_api_key(number).unwrap();
    let expired = key(authority, Purpose::Management, "admin", None, authority.clock.now() + 1);
    while !authority.credentials.api_keys(number, 1).unwrap().is_empty() {
        std::thread::sleep(Duration::from_millis(50));
    }
    let flipped = if good.starts_with('A') { good.replacen('A', "B", 1) } else { format!("A{}", &good[1..]) };
    let unknown = [
        ("none", None),
        ("empty", Some(String::new())),
        ("wrong", Some(flipped)),
        ("another's number", Some(good.rsplit_once('-').unwrap().0.to_owned() + "-1")),
        ("expired", Some(expired)),
        ("revoked", Some(revoked)),
        ("sidecar", Some(key(authority, Purpose::Sidecar, "admin", None, 0))),
        ("crypteron", Some(key(authority, Purpose::Crypteron, "admin", None, 0))),
        ("token", Some("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.".into())),
    ];
    for (name, key) in unknown {
        let caller = caller(&place, authority, key);
        for (method, path, body, _) in calls() {
            let answer = caller.send(method, path, Some(&body).filter(|b| !b.is_null()), &[]);
            assert_eq!(answer.status, 401, "{name}: {method} {path}");
            assert!(answer.headers.contains_key("www-authenticate"));
        }
    }
    for role in ["auditor", "operator"] {
        let caller = caller(&place, authority, Some(key(authority, Purpose::Management, role, None, 0)));
        for (method, path, body, roles) in calls() {
            let answer = caller.send(method, path, Some(&body).filter(|b| !b.is_null()), &[]);
            if roles.contains(&role) {
                // None is pending, since neither may begin one.
                let none = answer.status == 404 && path.ends_with("/destruction");
                assert!(
                    answer.status.is_success() || none,
                    "{role}: {method} {path}: {} {}",
                    answer.status,
                    answer.body
                );
            } else {
                assert_eq!(answer.status, 403, "{role}: {method} {path}");
            }
        }
    }
    // Bound to another application: as if there were nothing, or forbidden where it is about everybody.
    let other = caller(&place, authority, Some(key(authority, Purpose::Management, "admin", Some("99"), 0)));
    for (method, path, body, _) in calls() {
        let answer = other.send(method, path, Some(&body).filter(|b| !b.is_null()), &[]);
        let lists = matches!(path, "/manage/v1/partitions" | "/manage/v1/apps" | "/manage/v1/apikeys");
        if lists && matches!(method, "GET" | "HEAD") {
            assert_eq!(answer.status, 200, "{method} {path}");
            let text = answer.body.to_string();
            assert!(!text.contains("2376"), "{method} {path}: {text}");
        } else {
            assert!(matches!(answer.status.as_u16(), 403 | 404), "{method} {path}: {}", answer.status);
        }
    }
    assert_eq!(other.get("/manage/v1/partitions").body["items"][0]["name"], "99.z");
    // Nothing of all this was done; all of it works for who may.
    let admin = caller(&place, authority, Some(good));
    for (method, path, body, _) in calls() {
        let answer = admin.send(method, path, Some(&body).filter(|b| !b.is_null()), &[]);
        assert!(answer.status.is_success(), "{method} {path}: {} {}", answer.status, answer.body);
    }
}

#[test]
fn a_partition_from_its_making_to_a_pause() {
    let place = Place::new(&[]);
    let admin = admin(&place);
    let made = admin.call("POST", "/manage/v1/partitions", json!({"name": "a%b"}));
    assert_eq!(
        (made.status.as_u16(), &made.headers["location"]),
        (201, &"/manage/v1/partitions/a%25b".parse().unwrap())
    );
    assert_eq!(made.body["state"], "active");
    assert_eq!(admin.call("POST", "/manage/v1/partitions", json!({"name": "a%b"})).status, 409);
    assert_eq!(admin.call("POST", "/manage/v1/partitions", json!({"name": "a/b"})).status, 400);
    let at = "/manage/v1/partitions/a%25b";
    let tag = admin.get(at).headers["etag"].to_str().unwrap().to_owned();
    let rolled = admin.call("POST", &format!("{at}/rollover"), json!({"kinds": ["random", "deterministic"]}));
    assert_eq!((rolled.status.as_u16(), rolled.body["current"].as_array().unwrap().len()), (200, 2));
    for _ in 0..3 {
        admin.call("POST", &format!("{at}/rollover"), json!({"kinds": ["random"]}));
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("{at}/epochs?limit=2&after={after}")).body;
        seen.extend(page["items"].as_array().unwrap().iter().map(|epoch| epoch["current"].as_bool().unwrap()));
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!((seen.len(), seen.iter().filter(|current| **current).count()), (5, 2));
    let role = format!("{at}/roles/teller");
    let names = admin.call("PUT", &role, json!({"permissions": ["AllowDecrypt", "EnforceMask"]}));
    assert_eq!((names.status.as_u16(), &names.body["permissions"]), (200, &json!(0x404)));
    for wrong in
        [json!({"permissions": 0x800}), json!({"permissions": ["AllowAll"]}), json!({"permissions": -1}), json!({})]
    {
        assert_eq!(admin.call("PUT", &role, wrong).status, 400);
    }
    let paused = format!("{at}/state");
    let stale = admin.send("PUT", &paused, Some(&json!({"state": "paused"})), &[("if-match", &tag)]);
    assert_eq!(stale.status, 409);
    assert_eq!(state(&place, "a%b"), State::Active);
    let tag = admin.get(at).headers["etag"].to_str().unwrap().to_owned();
    let fresh = admin.send("PUT", &paused, Some(&json!({"state": "paused"})), &[("if-match", &tag)]);
    assert_eq!((fresh.status.as_u16(), &fresh.body["state"]), (200, &json!("paused")));
    assert_ne!(fresh.headers["etag"], tag);
    assert_eq!(admin.call("POST", &format!("{at}/rollover"), json!({"kinds": ["random"]})).status, 409);
    assert_eq!(admin.call("PUT", &paused, json!({"state": "destroyed"})).status, 400);
    assert_eq!(admin.send("DELETE", &role, None, &[]).status, 204);
    assert_eq!(admin.send("DELETE", &role, None, &[]).status, 404);
    assert_eq!(admin.get("/manage/v1/partitions/none").status, 404);
}

#[test]
fn destroying_waits_and_is_called_off() {
    let place = Place::new(&["2376.a"]);
    furnish(&place);
    let admin = admin(&place);
    let at = "/manage/v1/partitions/2376.a";
    let destruction = format!("{at}/destruction");
    for wrong in [json!({"confirm": "2376.b"}), json!({}), json!({"confirm": "2376.a", "wait_days": 0})] {
        assert_eq!(admin.call("POST", &destruction, wrong).status, 400);
    }
    assert_eq!(
        admin.call("POST", "/manage/v1/partitions/default/destruction", json!({"confirm": "default"})).status,
        400
    );
    assert_eq!(admin.get(&destruction).status, 404);
    let begun = admin.call("POST", &destruction, json!({"confirm": "2376.a", "wait_days": 30}));
    assert_eq!((begun.status.as_u16(), &begun.body["what"]), (202, &json!("partition:2376.a")));
    assert!(begun.body["due"].as_u64().unwrap() >= place.authority.clock.now() + 29 * 86_400);
    assert_eq!(admin.call("POST", &destruction, json!({"confirm": "2376.a"})).status, 409);
    assert_eq!(state(&place, "2376.a"), State::Paused);
    assert_eq!(admin.call("PUT", &format!("{at}/state"), json!({"state": "active"})).status, 409);
    // Neither does its application bring it back.
    for word in ["paused", "active"] {
        assert_eq!(admin.call("PUT", "/manage/v1/apps/2376/state", json!({ "state": word })).status, 200);
        assert_eq!(state(&place, "2376.a"), State::Paused);
    }
    assert_eq!(admin.send("DELETE", &destruction, None, &[]).status, 204);
    assert_eq!(admin.send("DELETE", &destruction, None, &[]).status, 404);
    assert_eq!(state(&place, "2376.a"), State::Active);
    let other = Place::new(&["2376.a"]);
    furnish(&other);
    let epoch =
        other.authority.keyring.epoch_page(&PartitionName::new("2376.a").unwrap(), EpochId([0; 10]), 1).unwrap();
    let elsewhere = format!("{at}/epochs/{}/destruction", epoch[0].0.id);
    assert_eq!(admin.call("POST", &elsewhere, json!({"confirm": epoch[0].0.id.to_string()})).status, 404);
}

#[test]
fn pages_hold_everything_once() {
    let names: Vec<String> = (0..7).map(|n| format!("p{n}")).collect();
    let place = Place::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let admin = admin(&place);
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("/manage/v1/partitions?limit=3&after={after}")).body;
        seen.extend(page["items"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, [vec!["default".to_owned()], names].concat());
    for wrong in ["limit=0", "limit=201", "limit=x", "more=1"] {
        assert_eq!(admin.get(&format!("/manage/v1/partitions?{wrong}")).status, 400, "{wrong}");
    }
}

#[test]
fn a_paused_application_has_nothing_that_seals_and_gets_nothing_new() {
    let place = Place::new(&["2376.a", "2376.b", "2376.c", "23760.a", "2376-.a"]);
    let admin = admin(&place);
    let app = |word: &str| admin.call("PUT", "/manage/v1/apps/2376/state", json!({ "state": word }));
    assert_eq!(app("paused").status, 404);
    assert_eq!(admin.call("POST", "/manage/v1/apps", json!({"id": "2376", "label": "Billing"})).status, 201);
    assert_eq!(admin.call("POST", "/manage/v1/apps", json!({"id": "2376", "label": "Billing"})).status, 409);
    for (name, word) in [("b", "decrypt-only"), ("c", "paused")] {
        admin.call("PUT", &format!("/manage/v1/partitions/2376.{name}/state"), json!({ "state": word }));
    }
    let paused = app("paused");
    assert_eq!((paused.status.as_u16(), &paused.body["state"]), (200, &json!("paused")));
    for name in ["2376", "2376.a", "2376.b", "2376.c"] {
        assert_eq!(state(&place, name), State::Paused, "{name}");
    }
    for name in ["23760.a", "2376-.a", "default"] {
        assert_eq!(state(&place, name), State::Active, "{name}");
    }
    assert_eq!(admin.call("POST", "/manage/v1/partitions", json!({"name": "2376.d"})).status, 409);
    assert_eq!(admin.call("PUT", "/manage/v1/partitions/2376.a/state", json!({"state": "active"})).status, 409);
    // Nor do processes that never ask an authority make one.
    let other = place.another();
    assert!(other.keyring.provision(&PartitionName::new("2376.d").unwrap(), 100).is_err());
    assert!(other.keyring.provision(&PartitionName::new("23761.d").unwrap(), 100).is_ok());
    assert_eq!(app("paused").status, 200, "again");
    // Meant for this partition: it stays when the rest goes on.
    admin.call("PUT", "/manage/v1/partitions/2376.a/state", json!({"state": "paused"}));
    assert_eq!(app("active").status, 200);
    for (name, expected) in
        [("2376", State::Active), ("2376.a", State::Paused), ("2376.b", State::DecryptOnly), ("2376.c", State::Paused)]
    {
        assert_eq!(state(&place, name), expected, "{name}");
    }
    assert_eq!(admin.call("POST", "/manage/v1/partitions", json!({"name": "2376.d"})).status, 201);
}

#[test]
fn keys_are_shown_once_and_reach_no_further_than_their_maker() {
    let place = Place::new(&["2376.a"]);
    let admin = admin(&place);
    let new = json!({"purpose": "crittora", "label": "Partner", "partition": "2376.a", "app": "2376"});
    let made = admin.call("POST", "/manage/v1/apikeys", new);
    assert_eq!(made.status, 201);
    let shown = made.body["key"].as_str().unwrap().to_owned();
    let secret = made.body["secrets"]["secret_key"].as_str().unwrap().to_owned();
    assert!(made.body["secrets"]["access_key"].is_string());
    let at = made.headers["location"].to_str().unwrap().to_owned();
    for path in ["/manage/v1/apikeys", &at] {
        let text = admin.get(path).body.to_string();
        assert!(text.contains("Partner") && !text.contains(&shown) && !text.contains(&secret), "{text}");
    }
    let refreshed = admin.send("POST", &format!("{at}/refresh"), None, &[]);
    assert_ne!(refreshed.body["key"], json!(shown));
    let works = |text: &str| place.block_on(place.authority.credentials.api_key(Purpose::Crittora, text)).is_ok();
    assert!(!works(&shown) && works(refreshed.body["key"].as_str().unwrap()));
    assert_eq!(admin.send("DELETE", &at, None, &[]).status, 204);
    assert!(!works(refreshed.body["key"].as_str().unwrap()));
    for path in [at.as_str(), "/manage/v1/apikeys/0", "/manage/v1/apikeys/x", "/manage/v1/apikeys/18446744073709551615"]
    {
        assert_eq!(admin.get(path).status, 404, "{path}");
    }
    for wrong in [
        json!({"purpose": "crittora", "label": "no partition"}),
        json!({"purpose": "management", "label": "no role"}),
        json!({"purpose": "management", "label": "no such role", "role": "root"}),
        json!({"purpose": "nothing", "label": "x"}),
        json!({"purpose": "sidecar", "label": "x", "expires": 1}),
        json!({"purpose": "sidecar", "label": "x", "secrets": ["a"]}),
    ] {
        assert_eq!(admin.call("POST", "/manage/v1/apikeys", wrong.clone()).status, 400, "{wrong}");
    }
    let bound =
        caller(&place, &place.authority, Some(key(&place.authority, Purpose::Management, "admin", Some("2376"), 0)));
    for (new, status) in [
        (json!({"purpose": "management", "label": "x", "role": "admin"}), 403),
        (json!({"purpose": "management", "label": "x", "role": "admin", "app": "99"}), 403),
        (json!({"purpose": "crittora", "label": "x", "app": "2376", "partition": "99.z"}), 403),
        // Without a partition it would act in `default`.
        (json!({"purpose": "exequantum", "label": "x", "app": "2376"}), 403),
        (json!({"purpose": "crittora", "label": "x", "app": "2376", "partition": "2376.a"}), 201),
    ] {
        assert_eq!(bound.call("POST", "/manage/v1/apikeys", new.clone()).status, status, "{new}");
    }
    assert_eq!(bound.call("POST", "/manage/v1/partitions", json!({"name": "99.z"})).status, 403);
    assert_eq!(bound.get("/manage/v1/users").status, 403);
    let numbers = bound.get("/manage/v1/apikeys").body["items"].as_array().unwrap().len();
    assert_eq!(numbers, 2, "its own and the one it made");
}

#[test]
fn users_log_in_until_they_are_deleted() {
    let place = Place::new(&[]);
    let admin = admin(&place);
    let name = "müller/7 @bank";
    let at = "/manage/v1/users/m%C3%BCller%2F7%20%40bank";
    let made =
        admin.call("POST", "/manage/v1/users", json!({"name": name, "password": "first password", "role": "teller"}));
    assert_eq!((made.status.as_u16(), made.body), (201, json!({"name": name, "role": "teller"})));
    assert_eq!(admin.call("POST", "/manage/v1/users", json!({"name": name, "password": "other password"})).status, 409);
    let works = |password: &str| place.block_on(place.authority.credentials.password(name, password)).is_ok();
    assert!(works("first password"));
    assert_eq!(admin.get(at).body, json!({"name": name, "role": "teller"}));
    assert_eq!(admin.call("PUT", &format!("{at}/password"), json!({"password": "second password"})).status, 204);
    assert!(!works("first password") && works("second password"));
    for wrong in [json!({"password": "short"}), json!({"password": 12345678}), json!({})] {
        let answer = admin.call("PUT", &format!("{at}/password"), wrong);
        assert_eq!(answer.status, 400);
        assert!(!answer.body.to_string().contains("12345678"), "nothing that was sent comes back");
    }
    assert_eq!(admin.call("PUT", &format!("{at}/role"), json!({"role": "clerk"})).body["role"], "clerk");
    assert_eq!(admin.send("DELETE", &format!("{at}/sessions"), None, &[]).status, 204);
    assert_eq!(admin.send("DELETE", at, None, &[]).status, 204);
    assert_eq!(admin.send("DELETE", at, None, &[]).status, 404);
    assert!(!works("second password"));
}

#[test]
fn every_change_is_on_record_and_no_secret_is() {
    let place = Place::new(&["2376.a"]);
    let admin = admin(&place);
    furnish_for_record(&admin);
    let records = place.authority.keyring.records().unwrap();
    let lines = records.audit_after(0, 1000).unwrap();
    let text: String = lines.iter().map(|(_, line)| String::from_utf8_lossy(line).into_owned()).collect();
    for what in ["partition.pause", "role.set", "apikey.create", "user.create", "user.password", "app.create"] {
        assert!(text.contains(what), "{what}");
    }
    assert!(text.contains("apikey 1"), "who");
    assert!(!text.contains("password one") && !text.contains("password two") && !text.contains("argon2"));
    assert!(text.contains("there is such a user already"), "a failure is on record, too");
}

fn furnish_for_record(admin: &Caller<'_>) {
    admin.call("PUT", "/manage/v1/partitions/2376.a/state", json!({"state": "paused"}));
    admin.call("PUT", "/manage/v1/partitions/2376.a/roles/teller", json!({"permissions": 4}));
    admin.call("POST", "/manage/v1/apps", json!({"id": "2376", "label": "Billing"}));
    admin.call("POST", "/manage/v1/apikeys", json!({"purpose": "sidecar", "label": "edge"}));
    for password in ["password one", "password two"] {
        admin.call("POST", "/manage/v1/users", json!({"name": "alice", "password": password}));
    }
    admin.call("PUT", "/manage/v1/users/alice/password", json!({"password": "password two"}));
}

#[test]
fn what_is_no_such_call_is_told_without_a_look_inside() {
    let place = Place::new(&[]);
    let admin = admin(&place);
    assert_eq!(admin.get("/manage/v1").status, 404);
    assert_eq!(admin.get("/manage/v1/secrets").status, 404);
    let wrong = admin.send("PATCH", "/manage/v1/users/alice", None, &[]);
    assert_eq!(wrong.status, 405);
    let allow = wrong.headers["allow"].to_str().unwrap().to_owned();
    for method in ["GET", "HEAD", "DELETE"] {
        assert!(allow.contains(method), "{allow}");
    }
    let plain = Request::post("/manage/v1/apps").header("content-type", "text/plain");
    let key = admin.key.clone().unwrap();
    let plain = plain.header("authorization", format!("bearer {key}")).body(Body::from("{}")).unwrap();
    assert_eq!(place.block_on(admin.router.clone().oneshot(plain)).unwrap().status(), 415);
    let label = "x".repeat(70_000);
    assert_eq!(admin.call("POST", "/manage/v1/apps", json!({"id": "a", "label": label})).status, 413);
}

#[test]
fn too_many_calls_are_told_when_to_come_again() {
    let limits = Limits { per_second: 1, burst: 2 };
    let place = Place::with(&[], &Settings { limits, ..Settings::default() });
    let admin = admin(&place);
    let mut last = admin.get("/manage/v1/apps");
    let until = Instant::now() + Duration::from_secs(30);
    while last.status == 200 && Instant::now() < until {
        last = admin.get("/manage/v1/apps");
    }
    assert_eq!(last.status, 429);
    assert!(last.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
}

#[test]
fn a_revoked_key_is_refused_at_other_processes_soon() {
    let place = Place::new(&[]);
    let key = key(&place.authority, Purpose::Management, "auditor", None, 0);
    let other = place.another();
    let there = caller(&place, &other, Some(key.clone()));
    assert_eq!(there.get("/manage/v1/apps").status, 200);
    let number = key.rsplit_once('-').unwrap().1.parse().unwrap();
    place.authority.credentials.revoke_api_key(number).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while there.get("/manage/v1/apps").status == 200 {
        assert!(Instant::now() < until, "it is still believed");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(there.get("/manage/v1/apps").status, 401);
}

#[test]
fn who_writes_to_the_store_makes_no_key_of_another() {
    let place = Place::new(&[]);
    let weak = key(&place.authority, Purpose::Management, "auditor", None, 0);
    let strong = key(&place.authority, Purpose::Management, "admin", None, 0);
    let records = place.authority.keyring.records().unwrap();
    let rows = records.entries("apikey", "", 10).unwrap();
    let (of_weak, of_strong) = (&rows[0], &rows[1]);
    // The entry of the strong key under the weak one's number, and such edits.
    let moved = sidecloak::keyring::store::EntryRow {
        id: of_weak.id.clone(),
        version: of_weak.version + 1,
        ..of_strong.clone()
    };
    records.put_entry(&moved, of_weak.version).unwrap();
    let mut longer = of_strong.clone();
    longer.version += 1;
    longer.expires = 0xffff_ffff;
    records.put_entry(&longer, of_strong.version).unwrap();
    let mut copied = of_strong.clone();
    copied.id = format!("{:020}", 77);
    copied.version = 1;
    records.put_entry(&copied, 0).unwrap();
    let other = place.another();
    let number = |key: &str, number: u64| format!("{}-{number}", key.rsplit_once('-').unwrap().0);
    for text in [&weak, &strong, &number(&strong, 1), &number(&weak, 2), &number(&strong, 77)] {
        let status = caller(&place, &other, Some(text.clone())).get("/manage/v1/apps").status;
        assert!(matches!(status.as_u16(), 401 | 503), "{text}: {status}");
    }
    // What is left of the directory is still listed.
    let fresh = key(&place.authority, Purpose::Management, "admin", None, 0);
    let listed = caller(&place, &other, Some(fresh)).get("/manage/v1/apikeys");
    assert_eq!((listed.status.as_u16(), listed.body["items"].as_array().unwrap().len()), (200, 1));
}

/// Requests that the document allows and such as it does not, by the hundred: nothing breaks, and nothing is answered that the
/// document does not describe.
#[test]
fn an_api_tester_finds_nothing_beside_the_document() {
    let Some(tools) = tools::installed("clients", "tests/clients/requirements.txt") else { return };
    let place = Place::new(&["2376.a", "99.z"]);
    furnish(&place);
    let key = key(&place.authority, Purpose::Management, "admin", None, 0);
    let url = place.serve(management::router(Arc::clone(&place.authority)));
    let document = place.directory.path().join("openapi.json");
    std::fs::write(&document, management::openapi().to_string()).unwrap();
    let mut command = std::process::Command::new(tools.join("venv/bin/schemathesis"));
    command.current_dir(place.directory.path()).arg("run").arg(&document).args(["--url", &format!("http://{url}")]);
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                  response_schema_conformance,negative_data_rejection,unsupported_method";
    command.args(["--max-examples", "20", "--seed", "7", "--no-color", "--checks", checks]);
    command.args(["-H", &format!("Authorization: Bearer {key}")]);
    let (good, out, err) = tools::Process::start(&mut command).finish();
    assert!(good, "{out}{err}");
}
