//! The Crypteron management face, as its clients see it.

use std::net::SocketAddr;

use serde_json::{Value, json};
use sidecloak::authority::credentials::Purpose;
use sidecloak::authority::lifecycle::Lifecycle;
use sidecloak::authority::{Refused, crypteron};
use sidecloak::keyring::{Permissions, State};
use sidecloak::name::PartitionName;

use super::calls::{House, NOW, call, json as read};
use super::support::Message;
use super::tools::{self, Process};

struct Stage {
    house: House,
    at: SocketAddr,
    /// Of application 2376, an admin's.
    key: String,
    number: u64,
}

impl Stage {
    fn new() -> Self {
        let house = House::new();
        let (key, number) = house.key(Purpose::Crypteron, "admin", Some("2376"), 0);
        let at = house.serve(crypteron::router(house.authority.clone()));
        Self { house, at, key, number }
    }

    fn call(&self, method: &str, target: &str, body: Option<&Value>) -> Message {
        self.call_as(&self.key, method, target, body)
    }

    fn call_as(&self, key: &str, method: &str, target: &str, body: Option<&Value>) -> Message {
        call(self.at, method, target, &basic(key), body.map(Value::to_string).as_deref())
    }

    /// The number of a new key.
    fn make(&self, sec_part: &str) -> u64 {
        let answer = self.call("POST", "/v1/keys", Some(&json!({ "AppId": 2376, "SecPartId": sec_part })));
        assert_eq!(answer.status(), 201, "{}", answer.text());
        read(&answer)["KeyId"].as_u64().unwrap()
    }

    fn state(&self, partition: &str) -> State {
        self.house.authority.keyring.partition(&PartitionName::new(partition).unwrap()).unwrap().state
    }
}

fn basic(key: &str) -> String {
    format!("Basic {}", sidecloak::crypto::base64::encode(format!(":{key}").as_bytes()))
}

#[test]
fn the_documented_credential_is_encoded_so() {
    let vector = "Basic OlhDcEhwZElpbUJFV1MzVFFCQXpQZ0NpWXp0eGFSUml3ek5pQkFIS0I4UkJKLTMz";
    assert_eq!(basic("XCpHpdIimBEWS3TQBAzPgCiYztxaRRiwzNiBAHKB8RBJ-33"), vector);
    // No such key here, but one of its form.
    let stage = Stage::new();
    assert_eq!(call(stage.at, "GET", "/v1/keys", vector, None).status(), 401);
}

#[test]
fn a_key_is_shown_as_documented_to_the_letter() {
    let stage = Stage::new();
    let body = r#"{"AppId":"2376","SecPartId":"tenant4758","Description":"This is tenant 4758"}"#;
    let answer = call(stage.at, "POST", "/v1/keys", &basic(&stage.key), Some(body));
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.field("location").as_deref(), Some("/v1/Keys/1"));
    assert_eq!(answer.field("content-type").as_deref(), Some("application/json; charset=utf-8"));
    let shown = |version: u64, time: &str| {
        format!(
            r#"{{"KeyId":1,"AppId":2376,"SecPartId":"tenant4758","SecPartVer":{version},"Description":"This is tenant 4758","AddedBy":"apikey {}","CreatedAt":"2027-01-15T08:00:00.0000000Z","ModifiedAt":"2027-01-15T{time}.0000000Z","Oid":"2.16.840.1.101.3.4.1.46","AccessControlEntries":[{{"AceId":1,"RoleId":"default","Permissions":983052,"KeyEntityId":1}}]}}"#,
            stage.number
        )
    };
    assert_eq!(answer.text(), shown(1, "08:00:00"));
    assert_eq!(stage.call("GET", "/V1/Keys/1", None).text(), shown(1, "08:00:00"));
    assert_eq!(stage.call("GET", "/v1/KEYS/", None).text(), format!("[{}]", shown(1, "08:00:00")));

    // Asked for again, it rolls: 201, the same key, one version up.
    let partition = PartitionName::new("2376.tenant4758").unwrap();
    let old = stage.house.seal(&stage.house.authority, "2376.tenant4758").unwrap();
    stage.house.clock.advance(61);
    let body = json!({ "AppId": 2376, "SecPartId": "tenant4758" });
    let answer = stage.call("POST", "/v1/Keys", Some(&body));
    assert_eq!((answer.status(), answer.text()), (201, shown(2, "08:01:01")));
    assert_eq!(answer.field("location").as_deref(), Some("/v1/Keys/1"));
    let new = stage.house.seal(&stage.house.authority, "2376.tenant4758").unwrap();
    let epoch = |token: &[u8]| sidecloak::token::v1::parse(token).unwrap().epoch;
    assert_ne!(epoch(&old), epoch(&new), "writes go under the new version");
    let caller = sidecloak::authority::Caller { name: "test".into(), role: "default".into() };
    for token in [old, new] {
        let class = sidecloak::name::Class::new("crittora");
        stage.house.block_on(stage.house.authority.vault.open(&caller, &partition, &class, &token)).unwrap();
    }
}

#[test]
fn one_key_is_found_by_its_name() {
    let stage = Stage::new();
    let (all, _) = stage.house.key(Purpose::Crypteron, "auditor", None, 0);
    stage.make("a.b");
    stage.make("größe 38");
    let found = |key: &str, target: &str| {
        let answer = stage.call_as(key, "GET", target, None);
        assert_eq!(answer.status(), 200, "{target}: {}", answer.text());
        let listed = read(&answer);
        let ids = listed.as_array().unwrap().iter().map(|shown| shown["SecPartId"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    for key in [&stage.key, &all] {
        assert_eq!(found(key, "/v1/keys?appId=2376&secPartId=gr%C3%B6%C3%9Fe%2038"), ["größe 38"]);
        assert_eq!(found(key, "/v1/keys?secPartId=a.b"), ["a.b"]);
        assert_eq!(found(key, "/v1/keys?appId=2376&secPartId=A.b"), Vec::<String>::new());
        assert_eq!(found(key, "/v1/keys?appId=2376"), ["a.b", "größe 38"]);
    }
    let answer = stage.call("GET", &format!("/v1/keys?appId=2376&secPartId={}", "a".repeat(129)), None);
    assert_eq!(answer.status(), 400);
    let number = stage.make("gone");
    assert_eq!(stage.call("DELETE", &format!("/v1/keys/{number}"), None).status(), 204);
    assert_eq!(found(&stage.key, "/v1/keys?appId=2376&secPartId=gone"), Vec::<String>::new());
}

#[test]
fn names_are_kept_apart() {
    let stage = Stage::new();
    let (all, _) = stage.house.key(Purpose::Crypteron, "admin", None, 0);
    let make = |app: Value, sec_part: &str| {
        let answer = stage.call_as(&all, "POST", "/v1/keys", Some(&json!({ "AppId": app, "SecPartId": sec_part })));
        (answer.status(), read(&answer))
    };
    for (app, sec_part, partition) in [
        (json!(1), "2.3", "1.2%2E3"),
        (json!("1"), "2", "1.2"),
        (json!("shop"), "2%2E3", "shop.2%252E3"),
        (json!("Shop"), "größe 38", "Shop.gr%C3%B6%C3%9Fe%2038"),
    ] {
        let (status, shown) = make(app.clone(), sec_part);
        assert_eq!((status, &shown["SecPartId"]), (201, &json!(sec_part)));
        assert_eq!(shown["SecPartVer"], 1, "no two are one");
        assert_eq!(shown["AppId"], if app == "1" { json!(1) } else { app });
        assert_eq!(stage.state(partition), State::Active);
    }
    for (app, sec_part, field) in [
        (json!("1.2"), "3", "AppId"),
        (json!("01"), "3", "AppId"),
        (json!(1.5), "3", "AppId"),
        (json!(""), "3", "AppId"),
        (json!(null), "3", "AppId"),
        (json!("1/../2"), "3", "AppId"),
        (json!(1), "", "SecPartId"),
        (json!(1), &"x".repeat(129), "SecPartId"),
    ] {
        let (status, answer) = make(app.clone(), sec_part);
        assert_eq!((status, &answer["Message"]), (400, &json!("The request is invalid.")), "{app}");
        let named: Vec<&String> = answer["ModelState"].as_object().unwrap().keys().collect();
        assert_eq!(named, [field], "{app} {sec_part}");
    }
}

/// A call of every route, on things of application 2376: method, target, body, and who may at least.
fn every_route(stage: &Stage) -> Vec<(&'static str, String, Option<Value>, &'static str)> {
    let id = stage.make("first");
    let (other, doomed) = (stage.house.key(Purpose::Crypteron, "auditor", Some("2376"), 0).1, stage.make("doomed"));
    let role = json!({ "RoleId": "teller", "Permissions": 8 });
    vec![
        ("GET", "/v1/keys".into(), None, "auditor"),
        ("GET", "/v1/keys?AppId=2376".into(), None, "auditor"),
        ("POST", "/v1/keys".into(), Some(json!({ "AppId": 2376, "SecPartId": "first" })), "operator"),
        (
            "POST",
            "/v1/keys".into(),
            Some(json!({ "AppId": 2376, "SecPartId": "first", "AccessControlEntries": [role] })),
            "admin",
        ),
        ("GET", format!("/v1/keys/{id}"), None, "auditor"),
        ("PUT", format!("/v1/keys/{id}"), Some(json!({ "Description": "again" })), "operator"),
        ("PUT", format!("/v1/keys/{id}"), Some(json!({ "AccessControlEntries": [role] })), "admin"),
        ("GET", "/v1/apps/2376".into(), None, "auditor"),
        ("PUT", "/v1/apps/2376".into(), Some(json!({ "State": "Active" })), "operator"),
        ("GET", "/v1/apps/2376/roles".into(), None, "auditor"),
        ("POST", "/v1/apps/2376/roles".into(), Some(role), "admin"),
        ("PUT", "/v1/apps/2376/roles/teller".into(), Some(json!({ "Permissions": 12 })), "admin"),
        ("DELETE", "/v1/apps/2376/roles/teller".into(), None, "admin"),
        ("GET", "/v1/apikeys".into(), None, "admin"),
        ("POST", "/v1/apikeys".into(), Some(json!({ "AppId": 2376, "RoleId": "auditor" })), "admin"),
        ("GET", format!("/v1/apikeys/{other}"), None, "admin"),
        ("POST", format!("/v1/apikeys/{other}/refresh"), None, "admin"),
        ("DELETE", format!("/v1/apikeys/{other}"), None, "admin"),
        ("DELETE", format!("/v1/keys/{doomed}"), None, "admin"),
    ]
}

#[test]
fn nobody_does_what_is_not_theirs() {
    let stage = Stage::new();
    let house = &stage.house;
    let routes = every_route(&stage);
    let key = |role: &str, app: Option<&str>| house.key(Purpose::Crypteron, role, app, 0).0;
    let expired = house.key(Purpose::Crypteron, "admin", Some("2376"), NOW + 5).0;
    let bearer = |key: &str| {
        let answer = stage.call_as(key, "POST", "/v1/token", None);
        format!("Bearer {}", read(&answer)["access_token"].as_str().unwrap())
    };
    let of_the_other = key("admin", Some("7"));
    let (revoked, number) = house.key(Purpose::Crypteron, "admin", Some("2376"), 0);
    let (old_text, refreshed) = house.key(Purpose::Crypteron, "admin", Some("2376"), 0);
    let (revoked_bearer, old_bearer) = (bearer(&revoked), bearer(&old_text));
    house.authority.credentials.revoke_api_key(number).unwrap();
    house.authority.credentials.refresh_api_key(refreshed).unwrap();
    let management = house.key(Purpose::Management, "admin", None, 0).0;
    house.clock.advance(5);
    let unauthenticated = [
        ("nobody", String::new()),
        ("no scheme", stage.key.clone()),
        ("a user name", format!("Basic {}", sidecloak::crypto::base64::encode(format!("me:{}", stage.key).as_bytes()))),
        ("no base64", format!("Basic :{}", stage.key)),
        ("a wrong key", basic("wrong")),
        ("an expired key", basic(&expired)),
        ("a revoked key", basic(&revoked)),
        ("a revoked key's Bearer", revoked_bearer),
        ("a refreshed key's old text", basic(&old_text)),
        ("a refreshed key's old Bearer", old_bearer),
        ("a key as Bearer", format!("Bearer {}", stage.key)),
        ("another face's key", basic(&management)),
    ];
    let ranks = ["other", "auditor", "operator", "admin"];
    let keys = ranks.map(|role| key(role, Some("2376")));
    for (method, target, body, least) in routes {
        let body = body.as_ref().map(Value::to_string);
        let ask = |authorization: &str| call(stage.at, method, &target, authorization, body.as_deref());
        for (who, authorization) in &unauthenticated {
            let answer = ask(authorization);
            assert_eq!(answer.status(), 401, "{who}: {method} {target}");
            assert_eq!(answer.text(), r#"{"Message":"Authorization has been denied for this request."}"#);
            assert_eq!(answer.field("www-authenticate").as_deref(), Some("Basic"));
        }
        let answer = ask(&basic(&of_the_other));
        match (method, target.as_str()) {
            ("GET", "/v1/keys") => assert_eq!(answer.text(), "[]"),
            ("GET", "/v1/apikeys") => assert_eq!(read(&answer).as_array().unwrap().len(), 1, "its own"),
            _ => assert_eq!(answer.status(), 404, "another application's admin: {method} {target}: {}", answer.text()),
        }
        for (rank, key) in ranks.iter().zip(&keys) {
            let may = ranks.iter().position(|r| r == rank) >= ranks.iter().position(|r| *r == least);
            let answer = if rank == &"admin" { ask(&bearer(key)) } else { ask(&basic(key)) };
            if may {
                assert!((200..300).contains(&answer.status()), "{rank}: {method} {target}: {}", answer.text());
            } else {
                assert_eq!(answer.status(), 403, "{rank}: {method} {target}");
            }
            if may && method == "DELETE" {
                break;
            }
        }
    }
}

#[test]
fn a_bearer_is_good_for_an_hour() {
    let stage = Stage::new();
    let answer = stage.call("POST", "/v1/Token", None);
    assert_eq!(answer.status(), 200);
    let names: Vec<String> = read(&answer).as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["access_token", "token_type", "expires_in"]);
    let bearer = format!("bearer {}", read(&answer)["access_token"].as_str().unwrap());
    assert_eq!(call(stage.at, "GET", "/v1/keys", &bearer, None).status(), 200);
    assert_eq!(call(stage.at, "POST", "/v1/token", &bearer, None).status(), 401, "it makes no further one");
    stage.house.clock.advance(3_599);
    assert_eq!(call(stage.at, "GET", "/v1/keys", &bearer, None).status(), 200);
    stage.house.clock.advance(1);
    assert_eq!(call(stage.at, "GET", "/v1/keys", &bearer, None).status(), 401);
    for (form, status) in [
        (format!("grant_type=client_credentials&client_secret={}", stage.key), 200),
        (format!("grant_type=password&username=&password={}", stage.key), 200),
        (format!("grant_type=implicit&password={}", stage.key), 401),
        ("grant_type=password&password=wrong".into(), 401),
        (String::new(), 401),
    ] {
        assert_eq!(call(stage.at, "POST", "/v1/token", "", Some(&form)).status(), status, "{form}");
    }
}

#[test]
fn the_breach_switch_reaches_every_partition_and_the_vault() {
    let stage = Stage::new();
    for tenant in ["a", "b", "by-itself", "opens-only"] {
        stage.make(tenant);
    }
    let keyring = &stage.house.authority.keyring;
    let set = |name: &str, state| keyring.set_state(&PartitionName::new(name).unwrap(), state).unwrap();
    set("2376.by-itself", State::Paused);
    set("2376.opens-only", State::DecryptOnly);
    // One that a sidecar made, and one whose name only begins like it.
    for name in ["2376.made-elsewhere", "23760.a"] {
        keyring.create_partition(&PartitionName::new(name).unwrap()).unwrap();
    }
    let another = stage.house.another();
    stage.house.seal(&stage.house.authority, "2376.a").unwrap();
    stage.house.seal(&another, "2376.a").unwrap();

    let answer = stage.call("PUT", "/v1/Apps/2376", Some(&json!({ "State": "Paused" })));
    let time = "2027-01-15T08:00:00.0000000Z";
    let shown = |state: &str| format!(r#"{{"AppId":2376,"State":"{state}","CreatedAt":"{time}","Partitions":5}}"#);
    assert_eq!((answer.status(), answer.text()), (200, shown("Paused")));
    for name in ["a", "b", "by-itself", "opens-only", "made-elsewhere"] {
        assert_eq!(stage.state(&format!("2376.{name}")), State::Paused, "{name}");
    }
    assert_eq!(stage.state("23760.a"), State::Active);
    let paused = Err(Refused::State(State::Paused));
    assert_eq!(stage.house.seal(&stage.house.authority, "2376.a"), paused);
    assert_eq!(stage.house.seal(&stage.house.another(), "2376.a"), paused, "a process that starts now");
    let list = read(&stage.call("GET", "/v1/keys", None));
    assert!(list.as_array().unwrap().iter().all(|key| key["State"] == "Paused"), "{list}");

    for sec_part in ["a", "new"] {
        let answer = stage.call("POST", "/v1/keys", Some(&json!({ "AppId": 2376, "SecPartId": sec_part })));
        assert_eq!((answer.status(), answer.text()), (409, r#"{"Message":"The application is paused."}"#.into()));
    }
    assert!(keyring.partition(&PartitionName::new("2376.new").unwrap()).is_err());

    // Said twice, it is the same.
    assert_eq!(stage.call("PUT", "/v1/apps/2376", Some(&json!({ "state": "PAUSED" }))).text(), shown("Paused"));
    assert_eq!(stage.call("PUT", "/v1/apps/2376", Some(&json!({ "State": "Active" }))).text(), shown("Active"));
    for (name, state) in [
        ("a", State::Active),
        ("made-elsewhere", State::Active),
        ("by-itself", State::Paused),
        ("opens-only", State::DecryptOnly),
    ] {
        assert_eq!(stage.state(&format!("2376.{name}")), state, "{name}");
    }
    stage.house.seal(&stage.house.authority, "2376.a").unwrap();
    for wrong in [json!({}), json!({ "State": "Off" }), json!({ "State": "Active", "AppId": 7 })] {
        assert_eq!(stage.call("PUT", "/v1/apps/2376", Some(&wrong)).status(), 400, "{wrong}");
    }
}

#[test]
fn an_application_nobody_knows_is_not_there() {
    let stage = Stage::new();
    let (all, _) = stage.house.key(Purpose::Crypteron, "admin", None, 0);
    assert_eq!(stage.call_as(&all, "GET", "/v1/apps/999", None).status(), 404);
    assert_eq!(stage.call("GET", "/v1/apps/2376", None).status(), 200, "its own always is");
    assert_eq!(stage.call_as(&all, "PUT", "/v1/apps/999", Some(&json!({ "State": "Paused" }))).status(), 200);
    assert_eq!(read(&stage.call_as(&all, "GET", "/v1/apps/999", None))["State"], "Paused");
    let body = json!({ "AppId": 999, "SecPartId": "x" });
    assert_eq!(stage.call_as(&all, "POST", "/v1/keys", Some(&body)).status(), 409);
    // The switch of what would be an application by this name is another API's partition's.
    stage.house.authority.keyring.create_partition(&PartitionName::new("partner").unwrap()).unwrap();
    for name in ["default", "partner"] {
        let paused = stage.call_as(&all, "PUT", &format!("/v1/apps/{name}"), Some(&json!({ "State": "Paused" })));
        let body = json!({ "AppId": name, "SecPartId": "x" });
        assert_eq!((paused.status(), stage.call_as(&all, "POST", "/v1/keys", Some(&body)).status()), (409, 409));
        assert_eq!(stage.state(name), State::Active);
    }
}

#[test]
fn entries_are_the_partition_s_roles_under_numbers_that_stay() {
    let stage = Stage::new();
    let id = stage.make("x");
    let target = format!("/v1/keys/{id}");
    let name = PartitionName::new("2376.x").unwrap();
    let entries = [("teller", 8), ("default", 983_052), ("clerk", 12)];
    let entries: Vec<Value> = entries.iter().map(|(role, p)| json!({ "RoleId": role, "Permissions": p })).collect();
    let shown = read(&stage.call("PUT", &target, Some(&json!({ "AccessControlEntries": entries }))));
    let numbers: Vec<u64> =
        shown["AccessControlEntries"].as_array().unwrap().iter().map(|e| e["AceId"].as_u64().unwrap()).collect();
    assert_eq!(numbers[1], 1, "default's from before");
    let record = stage.house.authority.keyring.partition(&name).unwrap();
    assert_eq!(record.permissions("teller"), Permissions(8));
    assert_eq!(record.permissions("clerk"), Permissions(12));
    // Taken away by hand, and given again: the number is the same.
    stage.house.authority.keyring.set_role(&name, "clerk", None).unwrap();
    assert_eq!(read(&stage.call("GET", &target, None))["AccessControlEntries"].as_array().unwrap().len(), 2);
    stage.house.authority.keyring.set_role(&name, "clerk", Some(Permissions(4))).unwrap();
    let again = read(&stage.call("GET", &target, None))["AccessControlEntries"].clone();
    assert_eq!((&again[2]["AceId"], &again[2]["Permissions"]), (&json!(numbers[2]), &json!(4)));
    // What was shown may be sent back.
    let whole = read(&stage.call("GET", &target, None));
    let mut answer = read(&stage.call("PUT", &target, Some(&whole)));
    answer["ModifiedAt"] = whole["ModifiedAt"].clone();
    assert_eq!(answer, whole);
    for (wrong, field) in [
        (json!({ "AppId": 7 }), "AppId"),
        (json!({ "SecPartId": "y" }), "SecPartId"),
        (json!({ "KeyId": 99 }), "KeyId"),
        (json!({ "Description": 7 }), "Description"),
        (json!({ "RolloverDays": 4_000 }), "RolloverDays"),
        (json!({ "AccessControlEntries": [{ "RoleId": "a b", "Permissions": 4 }] }), "AccessControlEntries"),
    ] {
        let answer = stage.call("PUT", &target, Some(&wrong));
        assert_eq!(answer.status(), 400, "{wrong}");
        assert!(read(&answer)["ModelState"][field].is_array(), "{}", answer.text());
    }
    let shown = read(&stage.call("PUT", &target, Some(&json!({ "RolloverDays": 90, "Description": "d" }))));
    assert_eq!((&shown["RolloverDays"], &shown["Description"]), (&json!(90), &json!("d")));
    let shown = read(&stage.call("PUT", &target, Some(&json!({ "RolloverDays": null, "Description": null }))));
    assert_eq!((shown.get("RolloverDays"), &shown["Description"]), (None, &Value::Null));
}

#[test]
fn roles_of_an_application_are_those_of_all_its_partitions() {
    let stage = Stage::new();
    stage.make("before");
    let answer = stage.call("POST", "/v1/apps/2376/roles", Some(&json!({ "RoleId": "teller", "Permissions": 8 })));
    assert_eq!((answer.status(), answer.text()), (201, r#"{"RoleId":"teller","Permissions":8}"#.into()));
    stage.make("after");
    let permissions = |name: &str| {
        stage.house.authority.keyring.partition(&PartitionName::new(name).unwrap()).unwrap().permissions("teller").0
    };
    assert_eq!((permissions("2376.before"), permissions("2376.after"), permissions("default")), (8, 8, 0));
    let answer = stage.call("PUT", "/v1/apps/2376/Roles/teller", Some(&json!({ "Permissions": 12 })));
    assert_eq!((answer.status(), permissions("2376.before")), (200, 12));
    assert_eq!(stage.call("GET", "/v1/apps/2376/roles", None).text(), r#"[{"RoleId":"teller","Permissions":12}]"#);
    assert_eq!(stage.call("DELETE", "/v1/apps/2376/roles/Teller", None).status(), 404, "names have a case");
    assert_eq!(stage.call("DELETE", "/v1/apps/2376/roles/teller", None).status(), 204);
    assert_eq!((permissions("2376.after"), permissions("2376.before")), (0, 0));
}

#[test]
fn api_keys_are_shown_once_refreshed_and_revoked() {
    let stage = Stage::new();
    let body = json!({ "RoleId": "operator", "Description": "ci", "ExpiresAt": "2027-02-01T00:00:00Z" });
    let answer = stage.call("POST", "/v1/ApiKeys", Some(&body));
    assert_eq!(answer.status(), 201);
    let made = read(&answer);
    let (id, text) = (made["ApiKeyId"].as_u64().unwrap(), made["ApiKey"].as_str().unwrap());
    let shown = format!(
        r#"{{"ApiKeyId":{id},"AppId":2376,"RoleId":"operator","Description":"ci","CreatedAt":"2027-01-15T08:00:00.0000000Z","ExpiresAt":"2027-02-01T00:00:00.0000000Z""#
    );
    assert_eq!(answer.text(), format!(r#"{shown},"ApiKey":"{text}"}}"#));
    let target = format!("/v1/apikeys/{id}");
    assert_eq!(stage.call("GET", &target, None).text(), format!("{shown}}}"));
    assert!(!stage.call("GET", "/v1/apikeys", None).text().contains(text));
    assert_eq!(stage.call_as(text, "GET", "/v1/keys", None).status(), 200);

    let again = read(&stage.call("POST", &format!("{target}/Refresh"), None));
    let new = again["ApiKey"].as_str().unwrap();
    stage.house.clock.advance(2);
    assert_eq!((stage.call_as(text, "GET", "/v1/keys", None).status()), 401);
    assert_eq!((stage.call_as(new, "GET", "/v1/keys", None).status()), 200);
    assert_eq!(stage.call("DELETE", &target, None).status(), 204);
    assert_eq!((stage.call_as(new, "GET", "/v1/keys", None).status()), 401);
    assert_eq!(stage.call("DELETE", &target, None).status(), 404);

    // Nobody makes more than they are.
    for (body, status) in [
        (json!({ "AppId": 7, "RoleId": "auditor" }), 404),
        (json!({ "RoleId": "root" }), 400),
        (json!({ "AppId": 2376 }), 400),
        (json!({ "RoleId": "auditor", "ExpiresAt": "2020-01-01T00:00:00Z" }), 400),
        (json!({ "RoleId": "auditor", "Description": "" }), 400),
    ] {
        assert_eq!(stage.call("POST", "/v1/apikeys", Some(&body)).status(), status, "{body}");
    }
    let (all, _) = stage.house.key(Purpose::Crypteron, "admin", None, 0);
    let made = read(&stage.call_as(&all, "POST", "/v1/apikeys", Some(&json!({ "RoleId": "auditor" }))));
    assert_eq!(made["AppId"], Value::Null);
    let hidden = format!("/v1/apikeys/{}", made["ApiKeyId"]);
    assert_eq!((stage.call("GET", &hidden, None).status(), stage.call("DELETE", &hidden, None).status()), (404, 404));
    // Keys of other faces are none here.
    let (_, management) = stage.house.key(Purpose::Management, "admin", None, 0);
    assert_eq!(stage.call_as(&all, "DELETE", &format!("/v1/apikeys/{management}"), None).status(), 404);
}

#[test]
fn a_deleted_key_is_gone_and_its_name_is_used_up() {
    let stage = Stage::new();
    let id = stage.make("x");
    assert_eq!(stage.call("DELETE", &format!("/v1/keys/{id}"), None).status(), 204);
    assert!(!stage.state("2376.x").opens());
    for method in ["GET", "DELETE"] {
        assert_eq!(stage.call(method, &format!("/v1/keys/{id}"), None).status(), 404);
    }
    assert_eq!(stage.call("PUT", &format!("/v1/keys/{id}"), Some(&json!({}))).status(), 404);
    assert_eq!(stage.call("GET", "/v1/keys", None).text(), "[]");
    let again = json!({ "AppId": 2376, "SecPartId": "x" });
    let answer = stage.call("POST", "/v1/keys", Some(&again));
    assert_eq!(answer.status(), 409, "{}", answer.text());
    // Neither does its application wake it, but whoever calls its destruction off does.
    for state in ["Paused", "Active"] {
        assert_eq!(stage.call("PUT", "/v1/apps/2376", Some(&json!({ "State": state }))).status(), 200);
        assert_eq!(stage.state("2376.x"), State::Paused);
    }
    let lifecycle = Lifecycle::of(&stage.house.authority).unwrap();
    lifecycle.cancel("test", "partition:2376.x").unwrap();
    let answer = stage.call("POST", "/v1/keys", Some(&again));
    assert_eq!((answer.status(), &read(&answer)["KeyId"]), (201, &json!(id)), "{}", answer.text());
    assert_eq!(stage.call("DELETE", &format!("/v1/keys/{id}"), None).status(), 204);
    stage.house.clock.advance(8 * 86_400);
    lifecycle.run_due();
    assert_eq!(stage.state("2376.x"), State::Destroyed);
    assert_eq!(stage.call("POST", "/v1/keys", Some(&again)).status(), 409);
}

#[test]
fn a_key_rolls_by_itself_and_counts_only_what_was_asked_for() {
    let stage = Stage::new();
    let body = json!({ "AppId": 2376, "SecPartId": "x", "RolloverDays": 90 });
    assert_eq!(read(&stage.call("POST", "/v1/keys", Some(&body)))["RolloverDays"], 90);
    let epoch = || {
        let token = stage.house.seal(&stage.house.authority, "2376.x").unwrap();
        sidecloak::token::v1::parse(&token).unwrap().epoch
    };
    let lifecycle = Lifecycle::of(&stage.house.authority).unwrap();
    let next = || lifecycle.schedules().unwrap().first().map(|schedule| schedule.next);
    assert_eq!(next(), Some(NOW + 90 * 86_400));
    let before = epoch();
    stage.house.clock.advance(90 * 86_400);
    lifecycle.run_due();
    assert_ne!(epoch(), before);
    assert_eq!(next(), Some(NOW + 180 * 86_400));
    stage.house.clock.advance(60);
    let shown = read(&stage.call("GET", "/v1/keys/1", None));
    assert_eq!((&shown["SecPartVer"], &shown["RolloverDays"]), (&json!(1), &json!(90)));
    // Sent back as it was shown, it changes nothing.
    assert_eq!(stage.call("PUT", "/v1/keys/1", Some(&shown)).status(), 200);
    assert_eq!(next(), Some(NOW + 180 * 86_400));
    assert_eq!(stage.call("PUT", "/v1/keys/1", Some(&json!({ "RolloverDays": 0 }))).status(), 200);
    assert_eq!(next(), None);
    let body = json!({ "RolloverDays": 0 });
    assert_eq!(stage.call("PUT", "/v1/keys/1", Some(&body)).status(), 200, "said twice");
}

#[test]
fn many_who_ask_for_one_key_get_one_key() {
    let stage = Stage::new();
    let other = stage.house.serve(crypteron::router(stage.house.another()));
    let answers: Vec<Message> = std::thread::scope(|scope| {
        let ask = |n: usize| {
            let body = json!({ "AppId": 2376, "SecPartId": "x" }).to_string();
            call(
                if n.is_multiple_of(2) { stage.at } else { other },
                "POST",
                "/v1/keys",
                &basic(&stage.key),
                Some(&body),
            )
        };
        let callers: Vec<_> = (0..8).map(|n| scope.spawn(move || ask(n))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let done: Vec<Value> = answers.iter().filter(|answer| answer.status() == 201).map(read).collect();
    assert!(!done.is_empty() && done.iter().all(|key| key["KeyId"] == done[0]["KeyId"]), "{answers:?}");
    let mut versions: Vec<u64> = done.iter().map(|key| key["SecPartVer"].as_u64().unwrap()).collect();
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), done.len(), "each rollover has a version of its own");
    assert!(answers.iter().all(|answer| [201, 409, 503].contains(&answer.status())), "{answers:?}");
}

#[test]
fn what_is_not_there_is_answered_as_json() {
    let stage = Stage::new();
    for target in ["/v1/keys/9", "/v1/keys/x", "/v1/keys/01", "/v1/apps/a.b", "/v1/nothing", "/v1/keys/%ff", "/"] {
        assert_eq!(stage.call("GET", target, None).status(), 404, "{target}");
    }
    let answer = stage.call("PATCH", "/v1/keys", None);
    assert_eq!((answer.status(), answer.field("allow").as_deref()), (405, Some("GET,HEAD,POST")));
    let long = format!("{{\"Description\":\"{}\"}}", "x".repeat(70_000));
    assert_eq!(call(stage.at, "POST", "/v1/keys", &basic(&stage.key), Some(&long)).status(), 413);
    for body in ["", "[]", "{", r#"{"AppId":1,"appid":2}"#] {
        let answer = call(stage.at, "POST", "/v1/keys", &basic(&stage.key), Some(body));
        assert!(answer.text().starts_with(r#"{"Message":"The request is invalid.","ModelState":{"Body":["#), "{body}");
    }
}

/// The calls as the vendor's pages print them, with this host.
#[test]
fn curl_speaks_to_it() {
    let stage = Stage::new();
    let url = format!("http://{}/v1/keys", stage.at);
    let mut command = std::process::Command::new("curl");
    command.args(["--silent", "--show-error", "--include", "-X", "POST", "--user", &format!(":{}", stage.key)]);
    command.args(["-H", "Content-Type: application/json", "-d"]);
    command.arg(r#"{"AppId":"2376","SecPartId":"tenant4758","Description":"This is tenant 4758"}"#).arg(url);
    let (succeeded, out, err) = Process::start(&mut command).finish();
    assert!(succeeded, "{err}");
    assert!(out.starts_with("HTTP/1.1 201"), "{out}");
    assert!(out.contains("location: /v1/Keys/1\r\n") && out.contains(r#""SecPartVer":1,"#), "{out}");
}

#[test]
fn management_is_in_the_audit_log_and_no_key_is() {
    let stage = Stage::new();
    let id = stage.make("x");
    stage.make("x");
    let made = read(&stage.call("POST", "/v1/apikeys", Some(&json!({ "RoleId": "auditor" }))));
    stage.call("PUT", "/v1/apps/2376", Some(&json!({ "State": "Paused" })));
    stage.call("DELETE", &format!("/v1/keys/{id}"), None);
    let records = stage.house.authority.keyring.records().unwrap();
    let log: String = records
        .audit_after(0, 1_000)
        .unwrap()
        .iter()
        .map(|(_, line)| String::from_utf8_lossy(line).into_owned() + "\n")
        .collect();
    for act in ["partition.create", "partition.rollover", "apikey.create", "app.pause", "partition.destroy-later"] {
        assert!(log.contains(act), "{act}: {log}");
    }
    assert!(log.contains(&format!("apikey {}", stage.number)) && log.contains("2376.x"));
    for secret in [stage.key.as_str(), made["ApiKey"].as_str().unwrap()] {
        assert!(!log.contains(secret.rsplit_once('-').unwrap().0));
    }
}

#[test]
fn a_tester_finds_nothing_outside_its_document() {
    let stage = Stage::new();
    let key = stage.house.key(Purpose::Crypteron, "admin", None, 0).0;
    if tools::installed("clients", "tests/clients/requirements.txt").is_some() {
        stage.make("x");
    }
    super::described::holds(stage.at, &crypteron::openapi(), &format!("Authorization: {}", basic(&key)));
}
