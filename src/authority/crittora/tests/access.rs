use super::*;

#[test]
fn who_may_not_is_told_as_documented() {
    let place = Place::new();
    let acme = place.partner("acme", "acme");
    let body = || Body::from(json!({"data": "x"}).to_string());
    let with = |change: &dyn Fn(&mut HeaderMap)| {
        let mut request = managed(&acme, "encrypt").body(body()).unwrap();
        change(request.headers_mut());
        place.send(request)
    };
    let unauthorized = json!({"message": "Unauthorized"});
    let forbidden = json!({"message": "Forbidden"});
    for header in ["api_key", "access_key", "secret_key"] {
        for value in ["", "wrong"] {
            let answer = with(&|headers| drop(headers.insert(header, value.parse().unwrap())));
            assert_eq!((answer.status, answer.json), (403, forbidden.clone()), "{header} {value}");
        }
        let answer = with(&|headers| drop(headers.remove(header)));
        assert_eq!((answer.status, answer.json), (403, forbidden.clone()), "{header}");
    }
    for header in ["username", "password"] {
        let wrong = with(&|headers| drop(headers.insert(header, "wrong-wrong".parse().unwrap())));
        let words = "Username and/or Password Incorrect";
        let expected = json!({"statusCode": 500, "body": {"error": words}, "message": words});
        assert_eq!((wrong.status, wrong.json), (500, expected), "{header}");
        let none = with(&|headers| drop(headers.remove(header)));
        assert_eq!((none.status, none.json), (401, unauthorized.clone()));
    }
    assert_eq!(with(&|_| ()).status, 200);
}

#[test]
fn older_header_names_and_texts_in_latin_1_are_read() {
    let place = Place::new();
    let acme = place.partner("acme", "acme");
    place.user("zoë", "default");
    for name in [&b"zo\xeb"[..], "zoë".as_bytes()] {
        let request = Request::post("/v1/encrypt")
            .header("username", http::HeaderValue::from_bytes(name).unwrap())
            .header("password", PASSWORD)
            .header("x-api-key", &acme.api_key)
            .header("x-access-key", &acme.access_key)
            .header("x-secret-key", &acme.secret_key);
        let answer = place.send(request.body(json!({"data": "x"}).to_string().into()).unwrap());
        assert_eq!(answer.status, 200, "{}", answer.json);
    }
}

#[test]
fn guessing_a_password_is_slowed_down() {
    let place = Place::new();
    let acme = place.partner("acme", "acme");
    let mut seen = Vec::new();
    for _ in 0..7 {
        let mut request = managed(&acme, "encrypt").body(Body::empty()).unwrap();
        request.headers_mut().insert("password", "wrong-wrong".parse().unwrap());
        let answer = place.send(request);
        seen.push(answer.status);
        if answer.status == 429 {
            assert_eq!(answer.json, json!({"message": "Too Many Requests"}));
            assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
        }
    }
    assert!(seen.starts_with(&[500, 500, 500, 500, 500]) && seen.ends_with(&[429]), "{seen:?}");
    let body = json!({"ClientId": "c", "AuthFlow": "USER_PASSWORD_AUTH", "AuthParameters": {"USERNAME": "alice", "PASSWORD": PASSWORD}});
    let answer = place.cognito("InitiateAuth", &body);
    assert_eq!((answer.status, &answer.json["__type"]), (400, &json!("TooManyRequestsException")));
}

#[test]
fn keys_of_other_faces_and_revoked_ones_are_none() {
    let place = Place::new();
    let acme = place.partner("acme", "acme");
    let (text, key) = place
        .authority
        .credentials
        .create_api_key(&NewApiKey {
            purpose: Purpose::Crypteron,
            label: "acme".into(),
            app: None,
            partition: Some("acme".into()),
            role: "default".into(),
            expires: 0,
            secrets: &["access_key", "secret_key"],
        })
        .unwrap();
    let other = Partner {
        api_key: String::from_utf8(text.expose().to_vec()).unwrap(),
        access_key: key.secrets[0].1.clone(),
        secret_key: key.secrets[1].1.clone(),
        number: key.number,
    };
    assert_eq!(place.managed(&other, "encrypt", &json!({"data": "x"})).status, 403);
    assert_eq!(place.managed(&acme, "encrypt", &json!({"data": "x"})).status, 200);
    place.authority.credentials.revoke_api_key(acme.number).unwrap();
    place.clock.advance(2);
    assert_eq!(place.managed(&acme, "encrypt", &json!({"data": "x"})).status, 403);
    let homeless = place.partner_as("homeless", None, "default");
    let answer = place.managed(&homeless, "encrypt", &json!({"data": "x"}));
    assert_eq!(answer.status, 403);
    assert!(answer.json["message"].as_str().unwrap().contains("no partition"));
    let lost = place.partner_as("lost", Some("no-such-partition"), "default");
    assert_eq!(place.managed(&lost, "encrypt", &json!({"data": "x"})).status, 403);
    assert_eq!(place.managed(&lost, "decrypt", &json!({"encrypted_data": "x"})).status, 403);
}

#[test]
fn the_state_of_the_partition_is_obeyed() {
    let place = Place::new();
    let acme = place.partner("acme", "acme");
    let encrypted = place.encrypted(&acme, "encrypt", &json!({"data": "x"}));
    let set = |state| place.authority.keyring.set_state(&partition("acme"), state).unwrap();
    set(Standing::DecryptOnly);
    assert_eq!(place.managed(&acme, "encrypt", &json!({"data": "x"})).status, 403);
    assert_eq!(place.managed(&acme, "decrypt", &json!({"encrypted_data": encrypted})).status, 200);
    set(Standing::Paused);
    for (call, body) in [("encrypt", json!({"data": "x"})), ("decrypt", json!({"encrypted_data": encrypted}))] {
        let answer = place.managed(&acme, call, &body);
        let expected = json!({"message": "Forbidden: the partition is paused"});
        assert_eq!((answer.status, answer.json), (403, expected), "{call}");
    }
    set(Standing::Active);
    assert_eq!(place.managed(&acme, "decrypt", &json!({"encrypted_data": encrypted})).status, 200);
}

#[test]
fn the_roles_of_key_and_user_must_both_allow_it() {
    let place = Place::new();
    let acme = place.partner("acme", "acme");
    let powerless = place.partner_as("powerless", Some("acme"), "no-such-role");
    let encrypted = place.encrypted(&acme, "encrypt", &json!({"data": "x"}));
    for (call, body) in [("encrypt", json!({"data": "x"})), ("decrypt", json!({"encrypted_data": encrypted}))] {
        assert_eq!(place.managed(&powerless, call, &body).status, 403, "{call}");
        assert_eq!(place.managed(&acme, call, &body).status, 200, "{call}");
    }
    place.user("alice", "no-such-role");
    place.clock.advance(2);
    for (call, body) in [("encrypt", json!({"data": "x"})), ("decrypt", json!({"encrypted_data": encrypted}))] {
        let answer = place.managed(&acme, call, &body);
        assert_eq!(answer.status, 403, "{call}");
        assert!(answer.json["message"].as_str().unwrap().contains("role"), "{}", answer.json);
    }
}

/// Every route, every identity.
#[test]
fn the_table_of_who_may_what() {
    let place = Place::new();
    let acme = place.partner("acme", "acme");
    let (plain, signed) = (
        place.encrypted(&acme, "encrypt", &json!({"data": "x"})),
        place.encrypted(&acme, "sign-encrypt", &json!({"data": "x"})),
    );
    let tokens = place.tokens("alice");
    let bearer = tokens["IdToken"].as_str().unwrap().to_owned();
    let body = |call: Call| match call {
        Call::Encrypt | Call::SignEncrypt => json!({"data": "x"}),
        Call::Decrypt => json!({"encrypted_data": plain}),
        Call::DecryptVerify => json!({"encrypted_data": signed}),
    };
    let ask = |shape: Shape, call: Call, change: &dyn Fn(&mut HeaderMap)| {
        let mut request = managed(&acme, call.name()).body(Body::from(body(call).to_string())).unwrap();
        if shape == Shape::Direct {
            *request.uri_mut() = format!("/{}", call.name()).parse().unwrap();
            let headers = request.headers_mut();
            headers.remove("username");
            headers.remove("password");
            headers.insert("authorization", format!("Bearer {bearer}").parse().unwrap());
        }
        change(request.headers_mut());
        place.send(request).status
    };
    let set = |name: &'static str, value: &str| {
        let value: http::HeaderValue = value.parse().unwrap();
        move |headers: &mut HeaderMap| drop(headers.insert(name, value.clone()))
    };
    let everywhere = |what: &str, managed: u16, direct: u16, change: &dyn Fn(&mut HeaderMap)| {
        for call in Call::ALL {
            assert_eq!(ask(Shape::Managed, call, change), managed, "managed {call:?}: {what}");
            assert_eq!(ask(Shape::Direct, call, change), direct, "direct {call:?}: {what}");
        }
    };
    everywhere("all is right", 200, 200, &|_| ());
    everywhere("nobody", 403, 401, &|headers| headers.clear());
    everywhere("no partner", 403, 403, &|headers| drop(headers.remove("api_key")));
    everywhere("another's secret", 403, 403, &set("secret_key", &place.partner("beta", "beta").secret_key));
    everywhere("no bearer", 200, 401, &|headers| drop(headers.remove("authorization")));
    everywhere(
        "an access token",
        200,
        401,
        &set("authorization", &format!("Bearer {}", tokens["AccessToken"].as_str().unwrap())),
    );
    everywhere("a password and no bearer", 200, 401, &set("authorization", "Basic YWxpY2U6eA=="));

    place.authority.keyring.set_role(&partition("acme"), "writer", Some(crate::keyring::Permissions(8))).unwrap();
    place.authority.keyring.set_role(&partition("acme"), "reader", Some(crate::keyring::Permissions(4))).unwrap();
    place
        .authority
        .keyring
        .set_role(&partition("acme"), "masked", Some(crate::keyring::Permissions(12 | 0x400)))
        .unwrap();
    for (role, seals, opens) in [("writer", 200, 403), ("reader", 403, 200), ("masked", 200, 403), ("none", 403, 403)] {
        let key = place.partner_as(role, Some("acme"), role);
        let user = format!("user-{role}");
        place.user(&user, role);
        let as_user = place.tokens(&user)["IdToken"].as_str().unwrap().to_owned();
        for call in Call::ALL {
            let expected = if matches!(call, Call::Encrypt | Call::SignEncrypt) { seals } else { opens };
            let by_key = |headers: &mut HeaderMap| {
                set("api_key", &key.api_key)(headers);
                set("access_key", &key.access_key)(headers);
                set("secret_key", &key.secret_key)(headers);
            };
            let by_user = |headers: &mut HeaderMap| {
                set("username", &user)(headers);
                set("authorization", &format!("Bearer {as_user}"))(headers);
            };
            for shape in [Shape::Managed, Shape::Direct] {
                assert_eq!(ask(shape, call, &by_key), expected, "{shape:?} {call:?} by key as {role}");
                assert_eq!(ask(shape, call, &by_user), expected, "{shape:?} {call:?} by user as {role}");
            }
        }
    }
    place.clock.advance(3600);
    everywhere("an hour later", 200, 401, &|_| ());
    place.authority.credentials.revoke_api_key(acme.number).unwrap();
    place.clock.advance(2);
    everywhere("a key that was revoked", 403, 401, &|_| ());
}
