//! What becomes of keys and tokens in time.

use super::*;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

fn status(stage: &Stage, tag: &str) -> String {
    text(&stage.ok("GET", &format!("/kms/v1/keys/{tag}"), &Value::Null)["status"])
}

#[test]
fn a_disabled_key_is_used_for_nothing() {
    let stage = Stage::new();
    let tag = stage.make_key("disabled", "AES256", false);
    let sealed = stage.encrypt(&tag, b"x");
    let disabled = stage.ok("POST", &of(&tag, "disable"), &Value::Null);
    assert_eq!(disabled, json!({ "keyTag": tag, "status": "DISABLE", "statusDate": NOW * 1000 }));
    assert_eq!(stage.authority.keyring.partition(&partition(&tag)).unwrap().state, State::Paused, "at every face");
    let asked = json!({ "plaintext": "YQ==", "ciphertext": sealed });
    for verb in ["encrypt", "decrypt", "re-encrypt", "create-custom-key", "rotate"] {
        let refused = stage.refused("POST", &of(&tag, verb), &asked);
        assert_eq!(refused, (422, "UNPROCESSABLE_ENTITY".into()), "{verb}");
    }
    assert_eq!(stage.ok("POST", &of(&tag, "disable"), &Value::Null)["status"], "DISABLE", "again");
    assert_eq!(stage.ok("POST", &of(&tag, "enable"), &Value::Null)["status"], "ENABLE");
    assert_eq!(stage.decrypt(&tag, &sealed), b"x");
}

#[test]
fn enabling_undoes_nothing_that_an_operator_did() {
    let stage = Stage::new();
    let keyring = &stage.authority.keyring;
    let tag = stage.make_key("operated", "AES256", false);
    keyring.set_state(&partition(&tag), State::Paused).unwrap();
    assert_eq!(status(&stage, &tag), "DISABLE");
    assert_eq!(stage.refused("POST", &of(&tag, "enable"), &Value::Null).0, 422);
    stage.ok("POST", &of(&tag, "disable"), &Value::Null);
    assert_eq!(stage.refused("POST", &of(&tag, "enable"), &Value::Null).0, 422);
    assert_eq!(keyring.partition(&partition(&tag)).unwrap().state, State::Paused);
    keyring.set_state(&partition(&tag), State::Active).unwrap();
    stage.ok("POST", &of(&tag, "enable"), &Value::Null);
    stage.encrypt(&tag, b"x");

    let tag = stage.make_key("operated-2", "AES256", false);
    keyring.set_state(&partition(&tag), State::DecryptOnly).unwrap();
    stage.ok("POST", &of(&tag, "disable"), &Value::Null);
    stage.ok("POST", &of(&tag, "enable"), &Value::Null);
    assert_eq!(keyring.partition(&partition(&tag)).unwrap().state, State::DecryptOnly);
}

#[test]
fn a_deletion_waits_three_days_and_is_final() {
    let stage = Stage::new();
    let (tag, kept) = (stage.make_key("deleted", "RSA2048", false), stage.make_key("kept", "AES256", false));
    let sealed = stage.encrypt(&tag, b"x");
    let epoch = stage.authority.keyring.sealing(&partition(&tag), Kind::Deterministic).unwrap().id;
    assert_eq!(stage.refused("DELETE", &format!("/kms/v1/keys/{tag}"), &Value::Null).0, 400, "not requested");
    for tag in [&tag, &kept] {
        let requested = stage.ok("POST", &of(tag, "request-deletion"), &Value::Null);
        assert_eq!(requested, json!({ "keyTag": tag, "status": "REVOKE", "statusDate": NOW * 1000 }));
    }
    assert_eq!(stage.refused("POST", &of(&tag, "decrypt"), &json!({ "ciphertext": sealed })).0, 422);
    for verb in ["enable", "disable", "request-deletion"] {
        assert_eq!(stage.refused("POST", &of(&tag, verb), &Value::Null).0, 400, "{verb}");
    }
    let canceled = stage.ok("POST", &of(&kept, "cancel-deletion"), &Value::Null);
    assert_eq!(canceled["status"], "DISABLE");
    assert_eq!(stage.refused("POST", &of(&kept, "cancel-deletion"), &Value::Null).0, 400);

    stage.clock.advance(3 * DAY - 1);
    assert_eq!(ncloud_kms::run_due(&stage.authority).unwrap(), ncloud_kms::Due::default());
    assert_eq!(status(&stage, &tag), "REVOKE");
    stage.clock.advance(1);
    assert_eq!(
        stage.call(&stage.admin, "POST", &of(&tag, "cancel-deletion"), &Value::Null).0,
        422,
        "its time has come"
    );
    assert_eq!(ncloud_kms::run_due(&stage.authority).unwrap().destroyed, 1);
    assert_eq!(ncloud_kms::run_due(&stage.authority).unwrap(), ncloud_kms::Due::default());
    assert_eq!(stage.refused("GET", &format!("/kms/v1/keys/{tag}"), &Value::Null).0, 403, "gone");
    assert!(stage.authority.keyring.opening(epoch).is_err(), "a tombstone stands where the key was");
    assert_eq!(stage.authority.keyring.partition(&partition(&tag)).unwrap().state, State::Destroyed);
    assert!(stage.authority.directory.list::<Value>("ncloud-private", "", 10).unwrap().is_empty());
    assert_eq!(status(&stage, &kept), "DISABLE");
    stage.make_key("deleted", "AES256", false);

    stage.ok("POST", &of(&kept, "request-deletion"), &Value::Null);
    assert_eq!(stage.ok("DELETE", &format!("/kms/v1/keys/{kept}"), &Value::Null), Value::Null);
    assert_eq!(stage.refused("DELETE", &format!("/kms/v1/keys/{kept}"), &Value::Null).0, 403);
}

#[test]
fn keys_rotate_by_schedule_once_however_many_look() {
    let stage = Stage::new();
    let asked = json!({ "keyName": "monthly", "keyType": "ECDSA", "isAutoRotation": true, "rotationPeriod": 30 });
    let tag = text(&stage.ok("POST", "/kms/v1/keys", &asked)["keyTag"]);
    let never = stage.make_key("never", "AES256", false);
    let other = stage.another();
    assert_eq!(ncloud_kms::run_due(&stage.authority).unwrap().rotated, 0);
    stage.clock.advance(30 * DAY);
    let rotated: usize =
        [&stage.authority, &other].map(|authority| ncloud_kms::run_due(authority).unwrap().rotated).iter().sum();
    assert_eq!(rotated, 1);
    let shown = |tag: &str| stage.ok("GET", &format!("/kms/v1/keys/{tag}"), &Value::Null);
    assert_eq!(shown(&tag)["currentVersion"], 2);
    assert_eq!(shown(&tag)["nextRotationDate"], (NOW + 60 * DAY) * 1000);
    assert_eq!(shown(&never)["currentVersion"], 1);
    assert_eq!(shown(&never)["nextRotationDate"], Value::Null);

    let changed = stage.ok("PUT", &of(&tag, "rotation-period"), &json!({ "rotationPeriod": 1 }));
    assert_eq!(changed["nextRotationDate"], (NOW + 31 * DAY) * 1000);
    assert_eq!(stage.refused("PUT", &of(&tag, "rotation-period"), &json!({ "rotationPeriod": 731 })).0, 400);
    let off = stage.ok("POST", &of(&tag, "disable-auto-rotation"), &Value::Null);
    assert_eq!(off, json!({ "keyTag": tag, "isAutoRotation": false }));
    stage.clock.advance(10 * DAY);
    assert_eq!(ncloud_kms::run_due(&stage.authority).unwrap().rotated, 0);
    stage.ok("POST", &of(&tag, "enable-auto-rotation"), &Value::Null);
    stage.clock.advance(DAY);
    assert_eq!(ncloud_kms::run_due(&stage.authority).unwrap().rotated, 1);
}

#[test]
fn one_version_is_disabled_and_enabled() {
    let stage = Stage::new();
    let tag = stage.make_key("versions", "AES256", false);
    let first = stage.encrypt(&tag, b"one");
    stage.ok("POST", &of(&tag, "rotate"), &Value::Null);
    let off = stage.ok("POST", &of(&tag, "versions/1/disable"), &Value::Null);
    assert_eq!(off, json!({ "version": 1, "status": "DISABLE", "statusDate": NOW * 1000 }));
    assert_eq!(stage.refused("POST", &of(&tag, "decrypt"), &json!({ "ciphertext": first })).0, 422);
    stage.ok("POST", &of(&tag, "versions/1/enable"), &Value::Null);
    assert_eq!(stage.decrypt(&tag, &first), b"one");
    for bad in ["versions/2/disable", "versions/0/disable", "versions/3/disable"] {
        assert_eq!(stage.refused("POST", &of(&tag, bad), &Value::Null).0, 400, "{bad}");
    }
}

#[test]
fn what_one_process_changes_another_sees_within_a_second() {
    let stage = Stage::new();
    let tag = stage.make_key("shared", "AES256", false);
    let there = ncloud_kms::router(stage.another());
    let body = || json!({ "plaintext": "YQ==" }).to_string();
    let ask = |router: &Router| stage.send_to(router, stage.signed(&stage.admin, "POST", &of(&tag, "encrypt"), body()));
    assert_eq!(ask(&there).0, 200);
    stage.ok("POST", &of(&tag, "rotate"), &Value::Null);
    stage.ok("POST", &of(&tag, "disable"), &Value::Null);
    stage.clock.advance(1);
    assert_eq!(ask(&there).0, 422);
}

#[test]
fn tokens_are_for_one_key_and_one_use_and_end() {
    let stage = Stage::new();
    let (tag, other) = (stage.make_key("tokens", "AES256", false), stage.make_key("tokens-2", "AES256", false));
    let user = stage.access("user");
    for tag in [&tag, &other] {
        stage.authority.keyring.set_role(&partition(tag), "user", Some(Permissions::DEFAULT)).unwrap();
    }
    let hours = json!({ "accessTokenHours": 1, "refreshTokenHours": "2" });
    let (made, answer) = stage.call(&user, "POST", &of(&tag, "token-set"), &hours);
    assert_eq!(made, 200, "{answer}");
    let (access, refresh) = (text(&answer["data"]["accessToken"]), text(&answer["data"]["refreshToken"]));
    let with = |token: &str, method: &str, target: &str, body: &Value| {
        let request = Request::builder().method(method).uri(target).header("x-ncp-ocapi-token", token);
        let (status, answer) = stage.send(request.body(Body::from(body.to_string())).unwrap());
        (status.as_u16(), answer)
    };
    let encrypt = |token: &str, tag: &str| with(token, "POST", &of(tag, "encrypt"), &json!({ "plaintext": "YQ==" })).0;
    assert_eq!(encrypt(&access, &tag), 200);
    assert_eq!([encrypt(&access, &other), encrypt(&refresh, &tag), encrypt("", &tag), encrypt("x", &tag)], [401; 4]);
    assert_eq!(with(&access, "POST", &of(&tag, "decrypt"), &json!({ "ciphertext": stage.encrypt(&tag, b"a") })).0, 200);
    let (status, answer) = with(&access, "POST", &of(&tag, "access-token"), &json!({}));
    assert_eq!((status, &answer["code"]), (401, &json!("UNAUTHORIZED")), "an access token makes none");
    assert_eq!(with(&access, "POST", &of(&tag, "rotate"), &json!({})).0, 401, "a token manages nothing");

    let (status, answer) = with(&refresh, "POST", &of(&tag, "access-token"), &json!({ "accessTokenHours": "UL" }));
    assert_eq!(status, 200, "{answer}");
    let endless = text(&answer["data"]["accessToken"]);
    let (status, answer) = with(&refresh, "PUT", &of(&tag, "token-set"), &json!({}));
    assert_eq!(status, 200, "{answer}");
    let renewed = text(&answer["data"]["accessToken"]);
    assert_eq!([encrypt(&endless, &tag), encrypt(&renewed, &tag), encrypt(&access, &tag)], [200; 3]);

    stage.clock.advance(HOUR);
    assert_eq!([encrypt(&endless, &tag), encrypt(&renewed, &tag), encrypt(&access, &tag)], [200, 200, 401]);
    assert_eq!(with(&refresh, "PUT", &of(&tag, "token-set"), &json!({ "accessTokenHours": 17_521 })).0, 400);
    stage.clock.advance(HOUR);
    assert_eq!(with(&refresh, "PUT", &of(&tag, "token-set"), &json!({})).0, 401);
    stage.authority.keyring.set_role(&partition(&tag), "user", None).unwrap();
    assert_eq!(encrypt(&endless, &tag), 403, "a token may what its access key may");
    stage.authority.keyring.set_role(&partition(&tag), "user", Some(Permissions::DEFAULT)).unwrap();
    assert!(stage.authority.credentials.revoke_api_key(user.number).unwrap());
    stage.clock.advance(2);
    assert_eq!(encrypt(&endless, &tag), 401, "and ends with it");
}

#[test]
fn what_lies_in_the_store_tells_nothing() {
    let stage = Stage::new();
    let tag = stage.make_key("stored", "RSA2048", false);
    let tokens = stage.ok("POST", &of(&tag, "token-set"), &Value::Null);
    let mut bytes = Vec::new();
    for name in ["keyring.db", "keyring.db-wal"] {
        if let Ok(more) = std::fs::read(stage.directory.path().join(name)) {
            bytes.extend(more);
        }
    }
    let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has(&tag), "the keyTag is no secret");
    for secret in [&text(&tokens["accessToken"]), &text(&tokens["refreshToken"]), &stage.admin.secret, &stage.admin.id]
    {
        assert!(!has(secret));
    }
}

#[test]
fn tokens_end_when_their_access_key_gets_another_text() {
    let stage = Stage::new();
    let tag = stage.make_key("tokens", "AES256", false);
    let thief = stage.access("admin");
    let (_, answer) = stage.call(&thief, "POST", &of(&tag, "token-set"), &json!({ "accessTokenHours": "UL" }));
    let (access, refresh) = (text(&answer["data"]["accessToken"]), text(&answer["data"]["refreshToken"]));
    let with = |token: &str, method: &str, verb: &str, body: &Value| {
        let request = Request::builder().method(method).uri(of(&tag, verb)).header("x-ncp-ocapi-token", token);
        stage.send(request.body(Body::from(body.to_string())).unwrap()).0.as_u16()
    };
    let encrypt = || with(&access, "POST", "encrypt", &json!({ "plaintext": "YQ==" }));
    assert_eq!(encrypt(), 200);
    stage.authority.credentials.refresh_api_key(thief.number).unwrap().unwrap();
    stage.clock.advance(2);
    assert_eq!(encrypt(), 401);
    assert_eq!(with(&refresh, "PUT", "token-set", &json!({})), 401);
    assert_eq!(with(&refresh, "POST", "access-token", &json!({})), 401);
}

#[test]
fn enabling_a_key_calls_no_destruction_of_an_operator_off() {
    use sidecloak::authority::lifecycle::{Lifecycle, Wait};
    let stage = Stage::new();
    let tag = stage.make_key("doomed", "AES256", false);
    stage.ok("POST", &of(&tag, "disable"), &Value::Null);
    let lifecycle = Lifecycle::of(&stage.authority).unwrap();
    let wait = Wait::For(std::time::Duration::from_secs(7 * DAY));
    lifecycle.destroy_partition("operator", &partition(&tag), wait).unwrap();
    assert_eq!(stage.refused("POST", &of(&tag, "enable"), &Value::Null).0, 422);
    assert_eq!(stage.authority.keyring.partition(&partition(&tag)).unwrap().state, State::Paused);
    assert_eq!(status(&stage, &tag), "DISABLE");
}

#[test]
fn nobody_fills_the_store_with_tokens() {
    use sidecloak::directory::Ends;
    let stage = Stage::new();
    let tag = stage.make_key("tokens", "AES256", false);
    let make = || stage.call(&stage.admin, "POST", &of(&tag, "token-set"), &json!({ "accessTokenHours": "UL" })).0;
    let hour = NOW / HOUR;
    let counter = format!("{:020}.{hour}", stage.admin.number);
    let ends = Ends { at: (hour + 1) * HOUR, after: Some(1) };
    stage.authority.directory.put("ncloud-tokens-made", &counter, 0, &(), ends).unwrap();
    assert_eq!([make(), make()], [200, 429]);
    stage.clock.advance(HOUR);
    assert_eq!(make(), 200);
}
