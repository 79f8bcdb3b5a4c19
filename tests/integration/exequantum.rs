//! The ExeQuantum face, as its clients see it.

use std::net::SocketAddr;

use serde_json::{Value, json};
use sidecloak::authority::credentials::Purpose;
use sidecloak::authority::exequantum;
use sidecloak::crypto::sign::plain;
use sidecloak::directory::Ends;
use sidecloak::keyring::State;
use sidecloak::name::PartitionName;

use super::calls::{House, NOW, call, json as read};
use super::tools::{self, Process};

/// Every permission that the face asks for.
const ALL: u32 = 0xFC | 0xF_0000;

struct Stage {
    house: House,
    at: SocketAddr,
    key: String,
}

impl Stage {
    fn new() -> Self {
        let house = House::new();
        house.role("pqc", ALL);
        let key = house.key(Purpose::Exequantum, "pqc", None, 0).0;
        let at = house.serve(exequantum::router(house.authority.clone()));
        Self { house, at, key }
    }

    fn get(&self, target: &str) -> Value {
        let answer = call(self.at, "GET", target, &format!("bearer {}", self.key), None);
        assert_eq!(answer.status(), 200, "{target}: {}", answer.text());
        read(&answer)
    }

    fn post(&self, target: &str, body: &Value) -> Value {
        let (status, answer) = self.post_as(&self.key, target, body);
        assert_eq!(status, 200, "{target}: {answer}");
        answer
    }

    fn post_as(&self, key: &str, target: &str, body: &Value) -> (u16, Value) {
        let answer = call(self.at, "POST", target, &format!("auth_token {key}"), Some(&body.to_string()));
        (answer.status(), read(&answer))
    }

    fn temporary(&self, query: &str) -> String {
        self.get(&format!("/api/token/new{query}"))["new_token"].as_str().unwrap().to_owned()
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    assert_eq!(text, text.to_lowercase(), "lower case");
    hex::decode(text).unwrap()
}

/// A well-formed call of every route: method, target, body.
fn every_route() -> Vec<(&'static str, &'static str, Option<Value>)> {
    let (pk, cipher) = ("00".repeat(1184), "00".repeat(1088));
    let (signature, verifier) = ("00".repeat(3309), "00".repeat(1952));
    let (seed, sign_seed, key) = ("00".repeat(64), "00".repeat(32), "00".repeat(32));
    vec![
        ("GET", "/api/token/new", None),
        ("GET", "/api/kem/generate_keys", None),
        ("POST", "/api/kem/encapsulate_key", Some(json!({ "pk": pk, "signature": signature, "verif_key": verifier }))),
        ("POST", "/api/kem/decapsulate_key", Some(json!({ "cipher": cipher, "sk": seed }))),
        ("POST", "/api/signature/sign", Some(json!({ "data": "text" }))),
        ("POST", "/api/signature/verify", Some(json!({ "data": "text", "pk": verifier, "signature": signature }))),
        ("POST", "/api/aes/encrypt_text", Some(json!({ "unencrypted": "text", "key": key }))),
        ("POST", "/api/aes/decrypt_text", Some(json!({ "ciphertext": "00".repeat(40), "key": key }))),
        ("POST", "/api/v1/pqc/kem/generate-keys/", Some(json!({ "algorithm": "ML-KEM-768" }))),
        ("POST", "/api/v1/pqc/kem/encapsulate/", Some(json!({ "encapsulation_key": pk }))),
        ("POST", "/api/v1/pqc/kem/decapsulate/", Some(json!({ "ciphertext": cipher, "decapsulation_key": seed }))),
        ("POST", "/api/v1/pqc/sign/generate-keys/", Some(json!({ "algorithm": "ML-DSA-65" }))),
        ("POST", "/api/v1/pqc/sign/sign/", Some(json!({ "message": "text", "secret_key": sign_seed }))),
        (
            "POST",
            "/api/v1/pqc/sign/verify/",
            Some(json!({ "message": "text", "public_key": verifier, "signature": signature })),
        ),
    ]
}

#[test]
fn the_first_generation_does_what_it_says() {
    let stage = Stage::new();
    let made = stage.get("/api/kem/generate_keys");
    let names: Vec<&String> = made.as_object().unwrap().keys().collect();
    assert_eq!(names, ["pk", "sk", "verification_key", "verification_signature", "signature"]);
    assert_eq!(made["signature"], made["verification_signature"]);
    assert_eq!((bytes(&made["pk"]).len(), bytes(&made["sk"]).len()), (1184, 2400));
    plain::verify(&bytes(&made["verification_key"]), &bytes(&made["pk"]), &bytes(&made["signature"])).unwrap();

    let sent = json!({ "pk": made["pk"], "signature": made["signature"], "verif_key": made["verification_key"] });
    let carried = stage.post("/api/kem/encapsulate_key", &sent);
    assert_eq!((bytes(&carried["cipher"]).len(), bytes(&carried["shared_key"]).len()), (1088, 32));
    // The last shared key is the key of a call without one, whichever way it came.
    let sealed = stage.post("/api/aes/encrypt_text", &json!({ "unencrypted": "größer" }));
    assert_eq!(bytes(&sealed).len(), 12 + "größer".len() + 16);
    let shared = &carried["shared_key"];
    assert_eq!(stage.post("/api/aes/decrypt_text", &json!({ "ciphertext": sealed, "key": shared })), "größer");

    let upper = made["sk"].as_str().unwrap().to_uppercase();
    for by in [json!({ "sk": made["sk"] }), json!({ "sk": upper }), json!({ "pk": made["pk"] })] {
        let mut sent = by;
        sent["cipher"] = carried["cipher"].clone();
        assert_eq!(stage.post("/api/kem/decapsulate_key", &sent), json!({ "shared_key": shared }));
        assert_eq!(stage.post("/api/aes/decrypt_text", &json!({ "ciphertext": sealed })), "größer");
    }

    let signed = stage.post("/api/signature/sign", &json!({ "data": "größer" }));
    assert_eq!((bytes(&signed["pk"]).len(), bytes(&signed["sk"]).len()), (1952, 4032));
    for (name, data, verified) in [("data", "größer", true), ("message", "größer", true), ("data", "Größer", false)]
    {
        let sent = json!({ name: data, "pk": signed["pk"], "signature": signed["signature"] });
        assert_eq!(stage.post("/api/signature/verify", &sent), json!({ "verified": verified }));
    }
    let short = json!({ "data": "größer", "pk": signed["pk"], "signature": "00" });
    assert_eq!(stage.post("/api/signature/verify", &short), json!({ "verified": false }));
}

#[test]
fn the_later_generation_does_what_it_says() {
    let stage = Stage::new();
    for end in ["", "/"] {
        let at = |path: &str| format!("/api/v1/pqc/{path}{end}");
        let made = stage.post(&at("kem/generate-keys"), &json!({ "algorithm": "ML-KEM-768" }));
        assert_eq!(made["algorithm"], "ML-KEM-768");
        let carried = stage.post(&at("kem/encapsulate"), &json!({ "encapsulation_key": made["encapsulation_key"] }));
        let sent = json!({
            "algorithm": "ML-KEM-768",
            "decapsulation_key": made["decapsulation_key"],
            "ciphertext": carried["ciphertext"],
        });
        let taken = stage.post(&at("kem/decapsulate"), &sent);
        assert_eq!(taken["shared_secret"], carried["shared_secret"]);
        assert_eq!(bytes(&taken["shared_secret"]).len(), 32);

        let made = stage.post(&at("sign/generate-keys"), &json!({}));
        let signed = stage.post(&at("sign/sign"), &json!({ "message": "m", "secret_key": made["secret_key"] }));
        for (message, valid) in [("m", true), ("n", false)] {
            let sent =
                json!({ "message": message, "signature": signed["signature"], "public_key": made["public_key"] });
            assert_eq!(stage.post(&at("sign/verify"), &sent), json!({ "algorithm": "ML-DSA-65", "valid": valid }));
        }
    }
    let (status, answer) =
        stage.post_as(&stage.key, "/api/v1/pqc/kem/generate-keys/", &json!({ "algorithm": "ML-KEM-512" }));
    assert_eq!((status, &answer["detail"][0]["loc"]), (422, &json!(["body", "algorithm"])));
}

#[test]
fn nobody_gets_in_without_the_right() {
    let stage = Stage::new();
    let house = &stage.house;
    house.role("plain", 983_052);
    house.role("masked", 983_052 | 0x400);
    house.role("nothing", 0);
    let key = |role: &str| house.key(Purpose::Exequantum, role, None, 0).0;
    let expired = house.key(Purpose::Exequantum, "pqc", None, NOW + 10).0;
    let gone = stage.temporary("?expiry_time=10");
    let used_up = stage.temporary("?expire_after_attempts=1");
    let (plain, masked, nothing, unknown) = (key("plain"), key("masked"), key("nothing"), key("unlisted"));
    let (revoked, number) = house.key(Purpose::Exequantum, "pqc", None, 0);
    assert!(house.authority.credentials.revoke_api_key(number).unwrap());
    let other_face = house.key(Purpose::Crypteron, "pqc", None, 0).0;
    assert_eq!(stage.post_as(&used_up, "/api/v1/pqc/kem/generate-keys", &json!({})).0, 200);
    house.clock.advance(10);

    for (method, target, body) in every_route() {
        let status = |authorization: &str| {
            call(stage.at, method, target, authorization, body.as_ref().map(Value::to_string).as_deref())
        };
        let encrypts = target == "/api/aes/encrypt_text";
        let decrypts = target == "/api/aes/decrypt_text";
        for (who, authorization) in [
            ("nobody", String::new()),
            ("no scheme", stage.key.clone()),
            ("another scheme", format!("Basic {}", stage.key)),
            ("a wrong token", "bearer wrong".into()),
            ("a wrong temporary token", "bearer exqt.wrong".into()),
            ("an expired key", format!("bearer {expired}")),
            ("an expired temporary token", format!("auth_token {gone}")),
            ("a used-up temporary token", format!("auth_token {used_up}")),
            ("a revoked key", format!("bearer {revoked}")),
            ("another face's key", format!("bearer {other_face}")),
        ] {
            let answer = status(&authorization);
            assert_eq!(answer.status(), 401, "{who}: {target}");
            assert_eq!(answer.text(), r#"{"detail":"Invalid or expired token"}"#, "{who}: {target}");
            assert!(answer.field("www-authenticate").is_some());
        }
        for (who, key, allowed) in [
            ("default's permissions", &plain, encrypts || decrypts),
            ("masked", &masked, encrypts),
            ("no permission", &nothing, false),
            ("a role that is not listed", &unknown, false),
        ] {
            // Making a token is no use of a permission; what it may is looked at then.
            let expected = if allowed || target == "/api/token/new" { [200, 400] } else { [403, 403] };
            let answer = status(&format!("bearer {key}"));
            assert!(expected.contains(&answer.status()), "{who}: {target}: {}", answer.text());
        }
    }
}

#[test]
fn a_partition_that_is_paused_or_only_opens_says_so() {
    let stage = Stage::new();
    let default = PartitionName::default_name();
    let seals = ["/encapsulate", "/sign", "encrypt_text", "sign/generate-keys/"];
    for state in [State::DecryptOnly, State::Paused] {
        stage.house.authority.keyring.set_state(&default, state).unwrap();
        for (method, target, body) in every_route().into_iter().skip(1) {
            let body = body.as_ref().map(Value::to_string);
            let answer = call(stage.at, method, target, &format!("bearer {}", stage.key), body.as_deref());
            let refused =
                state == State::Paused || seals.iter().any(|part| target.contains(part) && !target.contains("verify"));
            assert_eq!(answer.status() == 403, refused, "{state}: {target}: {}", answer.text());
        }
    }
}

#[test]
fn tokens_are_bounded() {
    let stage = Stage::new();
    for (query, field, kind) in [
        ("?expiry_time=0", "expiry_time", "value_error.number.not_ge"),
        ("?expiry_time=86401", "expiry_time", "value_error.number.not_le"),
        ("?expire_after_attempts=1000001", "expire_after_attempts", "value_error.number.not_le"),
        ("?expire_after_attempts=x", "expire_after_attempts", "type_error.integer"),
    ] {
        let answer = call(stage.at, "GET", &format!("/api/token/new{query}"), &format!("bearer {}", stage.key), None);
        assert_eq!(answer.status(), 422, "{query}");
        let line = &read(&answer)["detail"][0];
        assert_eq!((&line["loc"], &line["type"]), (&json!(["query", field]), &json!(kind)), "{query}");
    }
    let temporary = stage.temporary("?expiry_time=100&expire_after_attempts=3");
    let answer = call(stage.at, "GET", "/api/token/new", &format!("bearer {temporary}"), None);
    assert_eq!(
        (answer.status(), answer.text()),
        (403, r#"{"detail":"A temporary token cannot create another"}"#.into())
    );
    // That was an attempt, and so is what is refused for its body.
    assert_eq!(stage.post_as(&temporary, "/api/signature/sign", &json!({})).0, 422);
    assert_eq!(stage.post_as(&temporary, "/api/signature/sign", &json!({ "data": "" })).0, 200);
    assert_eq!(stage.post_as(&temporary, "/api/signature/sign", &json!({ "data": "" })).0, 401);
    // A token that nobody reads is not made.
    let head = call(stage.at, "HEAD", "/api/token/new", &format!("bearer {}", stage.key), None);
    assert_eq!((head.status(), head.field("allow").as_deref()), (405, Some("GET")));
}

#[test]
fn a_temporary_token_ends_with_its_key() {
    let stage = Stage::new();
    let (text, number) = stage.house.key(Purpose::Exequantum, "pqc", None, 0);
    let made = |text: &str| {
        let answer = call(stage.at, "GET", "/api/token/new", &format!("bearer {text}"), None);
        read(&answer)["new_token"].as_str().unwrap().to_owned()
    };
    let works = |token: &str| stage.post_as(token, "/api/v1/pqc/kem/generate-keys/", &json!({})).0;
    let first = made(&text);
    assert_eq!(works(&first), 200);
    let (refreshed, _) = stage.house.authority.credentials.refresh_api_key(number).unwrap().unwrap();
    let second = made(std::str::from_utf8(refreshed.expose()).unwrap());
    assert_eq!((works(&first), works(&second)), (401, 200), "made on a text that is no more");
    stage.house.authority.credentials.revoke_api_key(number).unwrap();
    assert_eq!(works(&second), 401);
}

#[test]
fn attempts_are_never_exceeded_by_many_callers_at_two_authorities() {
    let stage = Stage::new();
    let other = stage.house.serve(exequantum::router(stage.house.another()));
    for round in 0..3 {
        let token = stage.temporary("?expire_after_attempts=3");
        let answers = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..50)
                .map(|n| {
                    let (token, at) = (&token, if n % 2 == 0 { stage.at } else { other });
                    scope.spawn(move || {
                        let body = json!({ "unencrypted": "x", "key": "00".repeat(32) }).to_string();
                        call(at, "POST", "/api/aes/encrypt_text", &format!("auth_token {token}"), Some(&body)).status()
                    })
                })
                .collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 3, "round {round}: {answers:?}");
        assert_eq!(answers.iter().filter(|status| **status == 401).count(), 47, "round {round}: {answers:?}");
    }
}

#[test]
fn a_public_key_whose_signature_is_another_s_gets_no_shared_key() {
    let stage = Stage::new();
    let (one, other) = (stage.get("/api/kem/generate_keys"), stage.get("/api/kem/generate_keys"));
    let mut changed = bytes(&one["pk"]);
    changed[0] ^= 1;
    for (pk, signature, key) in [
        (&other["pk"], &one["signature"], &one["verification_key"]),
        (&one["pk"], &other["signature"], &one["verification_key"]),
        (&one["pk"], &one["signature"], &other["verification_key"]),
        (&json!(hex::encode(changed)), &one["signature"], &one["verification_key"]),
    ] {
        let sent = json!({ "pk": pk, "signature": signature, "verification_key": key });
        let (status, answer) = stage.post_as(&stage.key, "/api/kem/encapsulate_key", &sent);
        assert_eq!((status, answer), (400, json!({ "detail": "The signature of pk does not verify" })));
    }
    let (status, answer) = stage.post_as(&stage.key, "/api/aes/encrypt_text", &json!({ "unencrypted": "x" }));
    assert_eq!((status, answer["detail"].is_string()), (400, true), "no shared key was remembered");
}

#[test]
fn what_is_kept_is_its_owner_s_ends_and_is_bounded() {
    let stage = Stage::new();
    let (text, number) = stage.house.key(Purpose::Exequantum, "pqc", None, 0);
    let made = stage.get("/api/kem/generate_keys");
    let sent = json!({ "pk": made["pk"], "signature": made["signature"], "verif_key": made["verification_key"] });
    let carried = stage.post("/api/kem/encapsulate_key", &sent);
    let by_pk = json!({ "cipher": carried["cipher"], "pk": made["pk"] });
    let (status, answer) = stage.post_as(&text, "/api/kem/decapsulate_key", &by_pk);
    assert_eq!((status, answer), (404, json!({ "detail": "No secret key is kept for this pk" })));
    // Its temporary tokens are the owner, and have a last shared key each.
    let temporary = stage.temporary("");
    assert_eq!(stage.post_as(&temporary, "/api/aes/encrypt_text", &json!({ "unencrypted": "x" })).0, 400);
    assert_eq!(stage.post_as(&temporary, "/api/kem/decapsulate_key", &by_pk).0, 200);
    assert_eq!(stage.post_as(&temporary, "/api/aes/encrypt_text", &json!({ "unencrypted": "x" })).0, 200);

    let (hour, directory) = (NOW / 3600, &stage.house.authority.directory);
    let ends = Ends { at: (hour + 1) * 3600, after: Some(1) };
    let id = format!("{number:020}.{hour}");
    directory.put("exequantum-keys-made", &id, 0, &(), ends).unwrap();
    let answers: Vec<_> =
        (0..2).map(|_| call(stage.at, "GET", "/api/kem/generate_keys", &format!("bearer {text}"), None)).collect();
    assert_eq!((answers[0].status(), answers[1].status()), (200, 429));
    assert!(answers[1].field("retry-after").unwrap().parse::<u64>().unwrap() <= 3600);

    stage.house.clock.advance(86_400);
    assert_eq!(stage.post_as(&stage.key, "/api/aes/encrypt_text", &json!({ "unencrypted": "x" })).0, 400);
    // What has ended is not in the way of the next.
    assert_eq!(stage.post_as(&stage.key, "/api/kem/encapsulate_key", &sent).0, 200);
    assert_eq!(stage.post_as(&stage.key, "/api/aes/encrypt_text", &json!({ "unencrypted": "x" })).0, 200);
}

/// What a recipient of long-lived data keys needs.
#[test]
fn a_long_lived_token_s_keys_are_kept_while_its_api_key_lives() {
    let stage = Stage::new();
    let house = &stage.house;
    let (text, number) = house.key(Purpose::Exequantum, "pqc", None, 0);
    let temporary = {
        let answer = call(stage.at, "GET", "/api/token/new?expiry_time=86400", &format!("bearer {text}"), None);
        read(&answer)["new_token"].as_str().unwrap().to_owned()
    };
    let made = |token: &str| {
        let answer = call(stage.at, "GET", "/api/kem/generate_keys", &format!("bearer {token}"), None);
        let made = read(&answer);
        let sent = json!({ "pk": made["pk"], "signature": made["signature"], "verif_key": made["verification_key"] });
        let carried = stage.post("/api/kem/encapsulate_key", &sent);
        (json!({ "cipher": carried["cipher"], "pk": made["pk"] }), carried["shared_key"].clone())
    };
    let ((for_good, shared), (for_a_day, _)) = (made(&text), made(&temporary));
    let taken = |token: &str, sent: &Value| stage.post_as(token, "/api/kem/decapsulate_key", sent);
    assert_eq!(taken(&text, &for_a_day).0, 200);

    house.clock.advance(86_400);
    assert_eq!(taken(&text, &for_a_day).0, 404);
    house.clock.advance(10 * 365 * 86_400);
    assert_eq!(taken(&text, &for_good), (200, json!({ "shared_key": shared })));
    let (refreshed, _) = house.authority.credentials.refresh_api_key(number).unwrap().unwrap();
    let refreshed = String::from_utf8(refreshed.expose().to_vec()).unwrap();
    assert_eq!(taken(&refreshed, &for_good).0, 200);

    // As many as there may be, less one.
    let (directory, id) = (&house.authority.directory, format!("{number:020}"));
    while directory.take("exequantum-keys-kept", &id).unwrap().unwrap() > 1 {}
    let answers: Vec<_> =
        (0..2).map(|_| call(stage.at, "GET", "/api/kem/generate_keys", &format!("bearer {refreshed}"), None)).collect();
    assert_eq!((answers[0].status(), answers[1].status()), (200, 429));
    assert!(answers[1].field("retry-after").is_some());
    house.authority.credentials.revoke_api_key(number).unwrap();
    assert_eq!(taken(&refreshed, &for_good).0, 401);
    assert_eq!(taken(&stage.key, &for_good).0, 404, "nobody else's");
}

#[test]
fn bad_input_is_told_by_field() {
    let stage = Stage::new();
    let call = |target: &str, body: &str| call(stage.at, "POST", target, &format!("bearer {}", stage.key), Some(body));
    let answer = call("/api/kem/encapsulate_key", r#"{"pk":"zz","signature":7}"#);
    assert_eq!(answer.status(), 422);
    assert_eq!(
        answer.text(),
        r#"{"detail":[{"loc":["body","pk"],"msg":"1184 bytes in hexadecimal expected","type":"value_error"},{"loc":["body","signature"],"msg":"str type expected","type":"type_error.str"},{"loc":["body","verif_key"],"msg":"field required","type":"value_error.missing"}]}"#
    );
    for (body, status) in [("[]", 422), ("{", 422), ("", 422), (r#"{"data":"\ud800"}"#, 422)] {
        assert_eq!(call("/api/signature/sign", body).status(), status, "{body}");
    }
    let long = json!({ "data": "x".repeat((1 << 20) + 1) }).to_string();
    assert_eq!(call("/api/signature/sign", &long).status(), 422);
    // 3 MiB; the answer may come before all of it was sent.
    assert_eq!(call("/api/aes/decrypt_text", &json!({ "ciphertext": "0".repeat(3 << 20) }).to_string()).status(), 413);
    // Keys that are none.
    let other = json!({ "cipher": "00".repeat(1088), "sk": "00".repeat(2400) });
    assert_eq!(call("/api/kem/decapsulate_key", &other.to_string()).status(), 422);
    let ff = json!({ "encapsulation_key": "ff".repeat(1184) });
    assert_eq!(call("/api/v1/pqc/kem/encapsulate/", &ff.to_string()).status(), 422);
    let ff = json!({ "message": "m", "secret_key": "ff".repeat(4032) });
    assert_eq!(call("/api/v1/pqc/sign/sign/", &ff.to_string()).status(), 422);
    let changed = json!({ "ciphertext": "00".repeat(40), "key": "00".repeat(32) });
    let answer = call("/api/aes/decrypt_text", &changed.to_string());
    assert_eq!((answer.status(), answer.text()), (400, r#"{"detail":"Decryption failed"}"#.into()));
}

#[test]
fn what_is_not_there_is_answered_as_json() {
    let stage = Stage::new();
    let answer = call(stage.at, "GET", "/api/nothing", "", None);
    assert_eq!((answer.status(), answer.text()), (404, r#"{"detail":"Not Found"}"#.into()));
    let answer = call(stage.at, "DELETE", "/api/signature/sign", "", None);
    assert_eq!((answer.status(), answer.field("allow").as_deref()), (405, Some("POST")));
    assert_eq!(answer.text(), r#"{"detail":"Method Not Allowed"}"#);
}

/// The calls as the vendor's pages print them, with this host.
#[test]
fn curl_speaks_to_it() {
    let stage = Stage::new();
    let curl = |arguments: &[&str]| {
        let mut command = std::process::Command::new("curl");
        command.args(["--silent", "--show-error", "--fail-with-body"]).args(arguments);
        let (succeeded, out, err) = Process::start(&mut command).finish();
        assert!(succeeded, "{out}{err}");
        serde_json::from_str::<Value>(&out).unwrap()
    };
    let at = |path: &str| format!("http://{}{path}", stage.at);
    let long_lived = format!("Authorization: auth_token {}", stage.key);
    let made = curl(&[
        "--request",
        "GET",
        "--url",
        &at("/api/token/new?expiry_time=60&expire_after_attempts=5"),
        "--header",
        &long_lived,
    ]);
    let token = format!("Authorization: Bearer {}", made["new_token"].as_str().unwrap());
    let pair = curl(&["-X", "GET", &at("/api/kem/generate_keys"), "-H", &token]);
    let body = json!({ "pk": pair["pk"], "signature": pair["signature"], "verif_key": pair["verification_key"] });
    let json_type = "Content-Type: application/json";
    let carried =
        curl(&["-X", "POST", &at("/api/kem/encapsulate_key"), "-H", &token, "-H", json_type, "-d", &body.to_string()]);
    let sealed = curl(&[
        "-X",
        "POST",
        &at("/api/aes/encrypt_text"),
        "-H",
        &token,
        "-H",
        json_type,
        "-d",
        r#"{"unencrypted":"Hello"}"#,
    ]);
    let body = json!({ "ciphertext": sealed, "key": carried["shared_key"] }).to_string();
    assert_eq!(
        curl(&["-X", "POST", &at("/api/aes/decrypt_text"), "-H", &token, "-H", json_type, "-d", &body]),
        "Hello"
    );
}

/// Other people's ML-KEM and ML-DSA take what the face makes, and it takes theirs.
#[test]
fn independent_libraries_agree_with_it() {
    let stage = Stage::new();
    let base = format!("http://{}", stage.at);
    if let Some(place) = tools::installed("python", "tests/interop/python/requirements.txt") {
        let script = tools::repository().join("tests/clients/exequantum.py");
        let mut command = std::process::Command::new(place.join("venv/bin/python"));
        let (agrees, out, err) = Process::start(command.arg("-B").arg(script).args([&base, &stage.key])).finish();
        assert!(agrees, "{out}{err}");
        assert_eq!(out.trim(), "ok");
    }
    if let Some(place) = tools::installed("javascript", "tests/interop/javascript/package.json") {
        let script = tools::read(&tools::repository().join("tests/clients/exequantum.mjs"));
        let mut command = std::process::Command::new("node");
        // From standard input's place, packages are looked for where it runs.
        command.args(["--input-type=module", "--eval"]).arg(String::from_utf8(script).unwrap());
        let (agrees, out, err) = Process::start(command.args([&base, &stage.key]).current_dir(place)).finish();
        assert!(agrees, "{out}{err}");
        assert_eq!(out.trim(), "ok");
    }
}

#[test]
fn a_tester_finds_nothing_outside_its_document() {
    let stage = Stage::new();
    super::described::holds(stage.at, &exequantum::openapi(), &format!("Authorization: bearer {}", stage.key));
}
