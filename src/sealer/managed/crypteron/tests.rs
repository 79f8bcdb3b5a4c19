use http::HeaderMap;
use serde_json::Value;

use super::*;

fn reply(body: &Value) -> Reply {
    Reply { status: StatusCode::OK, headers: HeaderMap::new(), body: SecretBytes::new(body.to_string().into_bytes()) }
}

/// As the vendor prints it.
fn documented() -> Value {
    json!({
        "KeyId": 416, "AppId": 2376, "SecPartId": "tenant4758", "SecPartVer": 1, "Description": "This is tenant 4758",
        "AddedBy": "hunter2", "CreatedAt": "2016-12-08T00:00:13.3357136Z", "ModifiedAt": "2016-12-08T00:00:13.3357136Z",
        "Oid": "2.16.840.1.101.3.4.1.46",
        "AccessControlEntries": [{ "AceId": 472, "RoleId": "default", "Permissions": 983_052, "KeyEntityId": 416 }],
    })
}

fn with(name: &str, to: Value) -> Value {
    let mut changed = documented();
    changed[name] = to;
    changed
}

fn read(shown: &Value) -> Result<Entity, ApiError> {
    Entity::read(&reply(shown), "2376", "tenant4758")
}

#[track_caller]
fn is_lie<T: std::fmt::Debug>(read: Result<T, ApiError>) {
    let error = read.unwrap_err();
    assert_eq!(error.kind, Fault::Lie, "{error}");
    assert!(!error.text.contains("hunter2"), "{error}");
}

#[test]
fn a_partition_is_read_as_documented() {
    let roles = vec![("default".to_owned(), Permissions::DEFAULT)];
    let expected = |version, state| Entity { number: 416, version, state, roles: roles.clone() };
    assert_eq!(read(&documented()), Ok(expected(1, State::Active)));
    assert_eq!(read(&with("AppId", "2376".into())), Ok(expected(1, State::Active)));
    assert_eq!(read(&with("SecPartVer", 9.into())), Ok(expected(9, State::Active)));
    assert_eq!(read(&with("Oid", Value::Null)), Ok(expected(1, State::Active)), "what is not used may be anything");
    for (text, state) in [
        (Value::Null, State::Active),
        ("Active".into(), State::Active),
        ("decryptonly".into(), State::DecryptOnly),
        ("Paused".into(), State::Paused),
        ("Destroyed".into(), State::Destroyed),
    ] {
        assert_eq!(read(&with("State", text)), Ok(expected(1, state)));
    }
    assert_eq!(read(&with("AccessControlEntries", json!([]))).unwrap().roles, vec![]);
}

#[test]
fn lies_about_a_partition_are_told_from_it() {
    let entry = |role: &str, bits: Value| json!({ "RoleId": role, "Permissions": bits });
    for (name, to) in [
        ("KeyId", Value::Null),
        ("KeyId", "416".into()),
        ("KeyId", (-1).into()),
        ("KeyId", 0.into()),
        ("AppId", 2377.into()),
        ("AppId", "02376".into()),
        ("AppId", 2376.5.into()),
        ("AppId", Value::Null),
        ("SecPartId", "tenant4759".into()),
        ("SecPartId", "Tenant4758".into()),
        ("SecPartId", 7.into()),
        ("SecPartVer", 0.into()),
        ("SecPartVer", "1".into()),
        ("SecPartVer", 1.5.into()),
        ("SecPartVer", Value::Null),
        ("SecPartVer", u64::MAX.into()),
        ("State", "hunter2".into()),
        ("State", 7.into()),
        ("State", true.into()),
        ("AccessControlEntries", Value::Null),
        ("AccessControlEntries", "hunter2".into()),
        ("AccessControlEntries", json!([{ "RoleId": "hunter2" }])),
        ("AccessControlEntries", json!([entry("", 4.into())])),
        ("AccessControlEntries", json!([entry("a\nb", 4.into())])),
        ("AccessControlEntries", json!([entry(&"a".repeat(257), 4.into())])),
        ("AccessControlEntries", json!([entry("a", (-1).into())])),
        ("AccessControlEntries", json!([entry("a", (1u64 << 32).into())])),
        ("AccessControlEntries", json!([entry("a", 4.into()), entry("a", 8.into())])),
        ("AccessControlEntries", json!([{ "RoleId": "a", "Permissions": 4, "KeyEntityId": 417 }])),
        ("AccessControlEntries", (0..257).map(|n| entry(&n.to_string(), 4.into())).collect()),
    ] {
        is_lie(read(&with(name, to)));
    }
    for whole in [json!([documented()]), json!("hunter2"), Value::Null] {
        is_lie(read(&whole));
    }
}

#[test]
fn a_partition_is_found_among_others() {
    let find = |listed: Value| Entity::find(&reply(&listed), "2376", "tenant4758");
    let (other, other_app) = (with("SecPartId", "hunter2".into()), with("AppId", 7.into()));
    assert_eq!(find(json!([])), Ok(None));
    assert_eq!(find(json!([other, other_app, 7, null])), Ok(None));
    assert_eq!(find(json!([other, documented(), other_app])).unwrap().unwrap().number, 416);
    is_lie(find(json!([documented(), documented()])));
    is_lie(find(json!([with("SecPartVer", 0.into())])));
    is_lie(find(documented()));
}

#[test]
fn an_application_is_active_or_paused() {
    let state = |shown: Value| answers::app_state(&reply(&shown), "2376");
    assert_eq!(state(json!({ "AppId": 2376, "State": "Active", "Partitions": 7 })), Ok(State::Active));
    assert_eq!(state(json!({ "AppId": "2376", "State": "paused" })), Ok(State::Paused));
    for lie in [
        json!({ "AppId": 2377, "State": "Active" }),
        json!({ "State": "Active" }),
        json!({ "AppId": 2376 }),
        json!({ "AppId": 2376, "State": "DecryptOnly" }),
        json!({ "AppId": 2376, "State": "hunter2" }),
        json!({ "AppId": 2376, "State": null }),
        json!([]),
    ] {
        is_lie(state(lie));
    }
}

#[test]
fn the_credential_is_the_documented_one() {
    let value = basic(&SecretBytes::new(b"XCpHpdIimBEWS3TQBAzPgCiYztxaRRiwzNiBAHKB8RBJ-33".to_vec())).unwrap();
    assert_eq!(value, "Basic OlhDcEhwZElpbUJFV1MzVFFCQXpQZ0NpWXp0eGFSUml3ek5pQkFIS0I4UkJKLTMz");
    assert!(value.is_sensitive());
}

#[test]
fn the_stricter_state_counts() {
    let states = [State::Active, State::DecryptOnly, State::Paused, State::Destroyed];
    for (at, one) in states.into_iter().enumerate() {
        for (other_at, other) in states.into_iter().enumerate() {
            assert_eq!(stricter(one, other), states[at.max(other_at)]);
        }
    }
}
