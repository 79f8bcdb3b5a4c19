//! Every route for every identity that may not.

use super::*;

/// Method, what follows the keyTag (or the keys), and whether a token may do it.
const ROUTES: &[(&str, &str, bool)] = &[
    ("POST", "/encrypt", true),
    ("POST", "/decrypt", true),
    ("POST", "/re-encrypt", true),
    ("POST", "/reencrypt", true),
    ("POST", "/create-custom-key", true),
    ("POST", "/sign", true),
    ("POST", "/verify", true),
    ("POST", "/get-pub-key", true),
    ("POST", "/token-set", false),
    ("GET", "", false),
    ("DELETE", "", false),
    ("POST", "/enable", false),
    ("POST", "/disable", false),
    ("POST", "/rotate", false),
    ("POST", "/request-deletion", false),
    ("POST", "/cancel-deletion", false),
    ("PUT", "/rotation-period", false),
    ("POST", "/enable-auto-rotation", false),
    ("POST", "/disable-auto-rotation", false),
    ("GET", "/versions", false),
    ("POST", "/versions/1/enable", false),
    ("POST", "/versions/1/disable", false),
];

const BODY: &str = r#"{"plaintext":"YQ==","ciphertext":"ncpkms:v1:YQ==","data":"YQ==","signature":"ncpkms:v1:YQ==","rotationPeriod":5}"#;

#[test]
fn every_route_refuses_every_identity_that_may_not() {
    let stage = Stage::new();
    let tag = stage.make_key("guarded", "AES256", false);
    let rsa = stage.make_key("guarded-rsa", "RSA2048", false);
    let stranger = stage.access("stranger");
    let default = stage.access("default");
    let wrong = Access { secret: "wrong".into(), ..stage.admin.clone() };
    let unknown = Access { id: "nobody-1".into(), ..stage.admin.clone() };
    for tag in [&tag, &rsa] {
        for (method, rest, _) in ROUTES {
            let target = format!("/kms/v1/keys/{tag}{rest}");
            let bare = Request::builder().method(*method).uri(&target).body(Body::from(BODY)).unwrap();
            let (status, answer) = stage.send(bare);
            assert_eq!(
                (status.as_u16(), &answer["error"]["errorCode"]),
                (401, &json!("200")),
                "{method} {target}: none"
            );
            for (who, by) in [("wrong secret", &wrong), ("unknown key", &unknown)] {
                let (status, answer) = stage.send(stage.signed(by, method, &target, BODY));
                assert_eq!(
                    (status.as_u16(), &answer["error"]["errorCode"]),
                    (401, &json!("200")),
                    "{method} {target}: {who}"
                );
                assert_eq!(answer["error"]["message"], "Authentication Failed");
            }
            let elsewhere = stage.signed(&stage.admin, method, "/kms/v1/keys", BODY).into_parts().0.headers;
            let mut moved = Request::builder().method(*method).uri(&target).body(Body::from(BODY)).unwrap();
            *moved.headers_mut() = elsewhere;
            assert_eq!(stage.send(moved).0, 401, "{method} {target}: a signature for another target");

            let stale = stage.signed(&stage.admin, method, &target, BODY);
            stage.clock.advance(301);
            assert_eq!(stage.send(stale).0, 401, "{method} {target}: stale");

            let (status, answer) = stage.send(stage.signed(&stranger, method, &target, BODY));
            assert_eq!(
                (status.as_u16(), &answer["code"]),
                (403, &json!("FORBIDDEN")),
                "{method} {target}: other's key"
            );
            let nowhere = target.replace(tag.as_str(), &"0".repeat(52));
            for by in [&stranger, &stage.admin] {
                let (gone, message) = stage.send(stage.signed(by, method, &nowhere, BODY));
                assert_eq!((gone, &message), (status, &answer), "{method} {nowhere}: no key looks like another's");
            }
        }
    }
    // Role `default` may use every key that was made from the template, and manage none.
    for (method, rest, uses) in ROUTES.iter().filter(|(method, rest, _)| *method != "GET" && *rest != "/token-set") {
        let signs = matches!(*rest, "/sign" | "/verify" | "/get-pub-key");
        let (status, answer) = stage.send(stage.signed(&default, method, &format!("/kms/v1/keys/{rsa}{rest}"), BODY));
        assert_eq!(status == 403, !uses || signs, "{method} {rest}: {answer}");
    }
    assert_eq!(stage.call(&default, "POST", "/kms/v1/keys", &json!({ "keyName": "mine", "keyType": "AES256" })).0, 403);
    assert_eq!(stage.call(&stranger, "GET", "/kms/v1/keys", &Value::Null).1["data"]["totalCount"], 0);
}

#[test]
fn a_key_of_another_purpose_signs_nothing() {
    let stage = Stage::new();
    let new = NewApiKey {
        purpose: Purpose::Crypteron,
        label: "x".into(),
        app: None,
        partition: None,
        role: "admin".into(),
        expires: 0,
        secrets: &[ncloud_kms::SECRET_KEY],
    };
    let (id, key) = stage.authority.credentials.create_api_key(&new).unwrap();
    let id = String::from_utf8(id.expose().to_vec()).unwrap();
    let by = Access { id, secret: key.secrets[0].1.clone(), number: key.number };
    assert_eq!(stage.call(&by, "GET", "/kms/v1/keys", &Value::Null).0, 401);
}

#[test]
fn what_is_no_route_is_not_found_in_the_gateways_words() {
    let stage = Stage::new();
    for (method, target) in [
        ("GET", "/"),
        ("POST", "/kms/v1/keys/x/unknown"),
        ("GET", "/kms/v1/keys/x/encrypt"),
        ("PATCH", "/kms/v1/keys"),
        ("POST", "/kms/v1/keys/x/versions/y/enable"),
        ("POST", "/kms/v1/keys/%ff/encrypt"),
    ] {
        let (status, answer) = stage.send(stage.signed(&stage.admin, method, target, Body::empty()));
        assert_eq!((status.as_u16(), &answer["error"]["errorCode"]), (404, &json!("300")), "{method} {target}");
    }
}

#[test]
fn partitions_without_a_key_entry_are_no_keys() {
    let stage = Stage::new();
    for name in ["default", "..", "%2e%2e", "a%20b"] {
        let (status, answer) = stage.call(&stage.admin, "POST", &of(name, "encrypt"), &json!({ "plaintext": "YQ==" }));
        assert_eq!((status, &answer["code"]), (403, &json!("FORBIDDEN")), "{name}");
    }
}

#[test]
fn a_body_that_is_none_is_refused_without_a_quote() {
    let stage = Stage::new();
    let tag = stage.make_key("bodies", "AES256", false);
    for body in
        ["", "{", "[]", "null", r#"{"plaintext":"canary"}"#, r#"{"plaintext":{"canary":1}}"#, r#"{"canary":"YQ=="}"#]
    {
        let (status, answer) = stage.send(stage.signed(&stage.admin, "POST", &of(&tag, "encrypt"), body));
        assert_eq!((status.as_u16(), &answer["code"]), (400, &json!("INVALID_REQUEST")), "{body}");
        assert!(!answer.to_string().contains("canary"), "{answer}");
    }
}
