use super::*;

#[test]
fn the_documented_shapes() {
    let place = Place::new();
    let acme = place.partner("acme", "acme");
    let answer = place.managed(&acme, "encrypt", &json!({"data": "4111 1111"}));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/json");
    let encrypted = answer.json["body"]["encrypted_data"].as_str().unwrap();
    assert!(encrypted.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{encrypted}");
    assert_eq!(answer.json, json!({"statusCode": 200, "body": {"encrypted_data": encrypted}}));
    let opened = place.managed(&acme, "decrypt", &json!({"encrypted_data": encrypted}));
    assert_eq!(opened.json, json!({"statusCode": 200, "body": {"decrypted_data": "4111 1111"}}));

    let signed = place.encrypted(&acme, "sign-encrypt", &json!({"data": "order \"7\""}));
    let verified = place.done(&acme, "decrypt-verify", &json!({"encrypted_data": signed}));
    assert_eq!(
        verified,
        json!({
            "decrypted_data": "order \"7\"",
            "is_valid_signature": true,
            "signed_by": "alice",
            "signed_timestamp": "2025-10-19T17:28:27.000000+00:00",
        })
    );
}

#[test]
fn what_is_sealed_is_one_of_our_tokens() {
    let place = Place::new();
    let acme = place.partner("acme", "acme");
    let encrypted = place.encrypted(&acme, "encrypt", &json!({"data": "x"}));
    let token = v1::parse(&base64url::decode_public(encrypted.as_bytes()).unwrap()).unwrap();
    assert!(token.is_string && !token.signed && !token.bound && token.suite == Suite::Xaes);
    let epoch = place.authority.keyring.sealing(&partition("acme"), Kind::Random).unwrap();
    assert_eq!(token.epoch, epoch.id);
}

#[test]
fn each_way_to_open_is_for_its_own_way_to_seal() {
    let place = Place::new();
    let acme = place.partner("acme", "acme");
    let plain = place.encrypted(&acme, "encrypt", &json!({"data": "x"}));
    let signed = place.encrypted(&acme, "sign-encrypt", &json!({"data": "x"}));
    let wrong = place.managed(&acme, "decrypt-verify", &json!({"encrypted_data": plain}));
    let message = "encrypted_data is not signed: call decrypt";
    assert_eq!(
        (wrong.status, wrong.json),
        (400, json!({"statusCode": 400, "body": {"error": message}, "message": message}))
    );
    let wrong = place.managed(&acme, "decrypt", &json!({"encrypted_data": signed}));
    assert_eq!((wrong.status, &wrong.json["message"]), (400, &json!("encrypted_data is signed: call decrypt-verify")));
    assert!(!wrong.json.to_string().contains("decrypted_data"));
}

#[test]
fn nothing_that_was_touched_opens() {
    let place = Place::new();
    let acme = place.partner("acme", "acme");
    for (seal, open) in [("encrypt", "decrypt"), ("sign-encrypt", "decrypt-verify")] {
        let encrypted = place.encrypted(&acme, seal, &json!({"data": "sensitive"}));
        let token = base64url::decode_public(encrypted.as_bytes()).unwrap();
        let refused = |bytes: &[u8]| {
            let mut text = Vec::new();
            base64url::encode_public_into(bytes, &mut text);
            let answer = place.managed(&acme, open, &json!({"encrypted_data": String::from_utf8(text).unwrap()}));
            assert_eq!(answer.status, 400, "{}", answer.json);
            assert!(!answer.json.to_string().contains("sensitive"));
        };
        for at in (0..token.len()).step_by(token.len() / 40 + 1) {
            let mut touched = token.clone();
            touched[at] = if touched[at] == b'A' { b'B' } else { b'A' };
            refused(&touched);
            refused(&token[..at]);
        }
        refused(&[&token[..], b"A"].concat());
    }
    for bad in ["x", "=", "ÄÖ", "c2MxLg", "%", "sc1.AA.AA"] {
        let answer = place.managed(&acme, "decrypt", &json!({"encrypted_data": bad}));
        assert_eq!((answer.status, &answer.json["message"]), (400, &json!(OPENS_NOT)), "{bad}");
    }
}

#[test]
fn bad_bodies_are_400_and_say_what_is_wrong() {
    let place = Place::new();
    let acme = place.partner("acme", "acme");
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{}",
        r#"{"data":""}"#,
        r#"{"data":7}"#,
        r#"{"data":null}"#,
        r#"{"data":["a"]}"#,
        r#"{"data":"a","data":"b"}"#,
        r#"{"data":"a"}x"#,
        "{\"data\":\"\n\"}",
        r#"{"data":"\x"}"#,
        r#"{"data":"a","requested_actions":["e","s"]}"#,
        r#"{"data":"a","requested_actions":["d"]}"#,
        r#"{"data":"a","requested_actions":7}"#,
        r#"{"data":"a","permissions":["acme"]}"#,
        r#"{"data":"a","permissions":[{"partner_id":""}]}"#,
        r#"{"data":"a","permissions":[{"partner_id":"b","permissions":["w"]}]}"#,
        r#"{"data":"a","permissions":[{"partner_id":"b","permissions":["v"]}]}"#,
    ] {
        let answer = place.send(managed(&acme, "encrypt").body(body.to_owned().into()).unwrap());
        assert_eq!(answer.status, 400, "{body}: {}", answer.json);
        assert_eq!(answer.json["body"]["error"], answer.json["message"]);
    }
    let bytes = place.send(managed(&acme, "encrypt").body(b"{\"data\":\"\xff\"}".to_vec().into()).unwrap());
    assert_eq!(bytes.status, 400);
    for body in [json!({}), json!({"encrypted_data": 7}), json!({"encrypted_data": ""}), json!([])] {
        assert_eq!(place.managed(&acme, "decrypt", &body).status, 400, "{body}");
    }
    let many: Vec<Value> = (0..65).map(|n| json!({"partner_id": format!("p{n}")})).collect();
    assert_eq!(place.managed(&acme, "encrypt", &json!({"data": "a", "permissions": many})).status, 400);
}

#[test]
fn reading_is_lenient() {
    let place = Place::new();
    let acme = place.partner("acme", "acme");
    for body in [
        r#" { "other" : {"data": 1} , "data" : "a" } "#,
        r#"{"data":"a","requested_actions":[]}"#,
        r#"{"data":"a","requested_actions":["e","e"],"permissions":[]}"#,
        r#"{"data":"a","permissions":null,"requested_actions":null}"#,
    ] {
        let request = managed(&acme, "encrypt").header("content-type", "text/plain");
        assert_eq!(place.send(request.body(body.to_owned().into()).unwrap()).status, 200, "{body}");
    }
    let encrypted = place.encrypted(&acme, "encrypt", &json!({"data": "a"}));
    for permissions in [json!(["x"]), json!([{"partner_id": "x", "permissions": []}]), json!(7)] {
        let body =
            json!({"encrypted_data": format!("{encrypted}=="), "permissions": permissions, "transactionId": "t"});
        assert_eq!(place.done(&acme, "decrypt", &body)["decrypted_data"], "a");
    }
    for order in [json!(["e", "s"]), json!(["s", "e"])] {
        assert_eq!(place.managed(&acme, "sign-encrypt", &json!({"data": "a", "requested_actions": order})).status, 200);
    }
    assert_eq!(place.managed(&acme, "sign-encrypt", &json!({"data": "a", "requested_actions": ["e"]})).status, 400);
}

#[test]
fn the_longest_value_goes_both_ways_and_a_longer_one_does_not() {
    let place = Place::new();
    let acme = place.partner("acme", "acme");
    let longest = "x".repeat(assumptions::MAX_DATA);
    for (seal, open) in [("encrypt", "decrypt"), ("sign-encrypt", "decrypt-verify")] {
        let encrypted = place.encrypted(&acme, seal, &json!({"data": longest}));
        let opened = place.done(&acme, open, &json!({"encrypted_data": encrypted}));
        assert!(opened["decrypted_data"] == longest.as_str());
    }
    let answer = place.managed(&acme, "encrypt", &json!({"data": format!("{longest}x")}));
    assert_eq!(answer.status, 413, "{}", answer.json);
    let answer = place.send(managed(&acme, "encrypt").body(vec![b' '; (8 << 20) + 1].into()).unwrap());
    assert_eq!(answer.status, 413, "{}", answer.json);
}

#[test]
fn other_paths_and_methods() {
    let place = Place::new();
    for (method, path, status) in [
        ("GET", "/v1/encrypt", 405),
        ("PUT", "/encrypt", 405),
        ("GET", "/", 405),
        ("POST", "/v2/encrypt", 404),
        ("POST", "/v1/sign", 404),
        ("GET", "/health", 404),
    ] {
        let answer = place.send(Request::builder().method(method).uri(path).body(Body::empty()).unwrap());
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.json["message"].is_string());
        assert_eq!(answer.headers.get("allow").map(|allow| allow.to_str().unwrap()), (status == 405).then_some("POST"));
    }
}

#[test]
fn any_text_comes_back_as_it_was() {
    let place = Place::new();
    let acme = place.partner("acme", "acme");
    let bearer = place.tokens("alice")["IdToken"].as_str().unwrap().to_owned();
    let texts =
        ["\0", "\u{7f}\u{85}\u{2028}\u{feff}", "😀\u{10ffff}\u{fffe}", r#"{"data":"\u0000"}\"#, " \t\n", "\"", "\\\""];
    for text in texts {
        both_ways(&place, &acme, &bearer, text);
    }
    proptest!(ProptestConfig::with_cases(48), |(text in "\\PC{1,40}|.{1,40}|[\\x00-\\x7f]{1,20}")| {
        both_ways(&place, &acme, &bearer, &text);
    });
    // What a client escapes stays escaped, even what no text is.
    let request = managed(&acme, "encrypt").body(r#"{"data":"\ud800\u00e9\/é"}"#.into()).unwrap();
    let encrypted = place.send(request).json["body"]["encrypted_data"].clone();
    let request = managed(&acme, "decrypt").body(json!({"encrypted_data": encrypted}).to_string().into()).unwrap();
    let (_, _, body) = place.send_raw(request);
    assert_eq!(String::from_utf8(body).unwrap(), r#"{"statusCode":200,"body":{"decrypted_data":"\ud800\u00e9\/é"}}"#);
}

fn both_ways(place: &Place, partner: &Partner, bearer: &str, text: &str) {
    let encrypted = place.encrypted(partner, "encrypt", &json!({"data": text}));
    assert_eq!(place.done(partner, "decrypt", &json!({"encrypted_data": encrypted}))["decrypted_data"], text);
    let body = json!({"data": text, "permissions": [{"partner_id": "beta", "permissions": ["d"]}]});
    let enveloped = place.encrypted(partner, "encrypt", &body);
    for encrypted in [encrypted, enveloped] {
        let answer = place.direct(partner, bearer, "decrypt", &json!({"encrypted_data": encrypted}));
        let inner: Value = serde_json::from_str(answer.json["body"].as_str().unwrap()).unwrap();
        assert_eq!(inner, json!({"decrypted_data": text}));
    }
}
