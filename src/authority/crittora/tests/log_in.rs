use super::*;

fn password(user: &str, password: &str) -> Value {
    json!({"ClientId": "client", "AuthFlow": "USER_PASSWORD_AUTH", "AuthParameters": {"USERNAME": user, "PASSWORD": password}})
}

fn refresh(client: &str, token: &Value) -> Value {
    json!({"ClientId": client, "AuthFlow": "REFRESH_TOKEN_AUTH", "AuthParameters": {"REFRESH_TOKEN": token}})
}

fn claims(token: &Value) -> Value {
    let text = token.as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&base64url::decode(text.as_bytes()).unwrap()).unwrap()
}

fn encrypt(place: &Place, partner: &Partner, bearer: &Value) -> u16 {
    place.direct(partner, bearer.as_str().unwrap(), "encrypt", &json!({"data": "x", "requested_actions": ["e"]})).status
}

#[test]
fn the_documented_shapes() {
    let place = Place::new();
    let answer = place.cognito("InitiateAuth", &password("alice", PASSWORD));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/x-amz-json-1.1");
    assert_eq!(answer.json["ChallengeParameters"], json!({}));
    let result = answer.json["AuthenticationResult"].as_object().unwrap();
    let names: Vec<_> = result.keys().map(String::as_str).collect();
    assert_eq!(names, ["AccessToken", "ExpiresIn", "IdToken", "TokenType", "RefreshToken"]);
    assert_eq!((&result["ExpiresIn"], &result["TokenType"]), (&json!(3600), &json!("Bearer")));

    let (id, access) = (claims(&result["IdToken"]), claims(&result["AccessToken"]));
    assert_eq!(
        (&id["token_use"], &id["aud"], &id["cognito:username"]),
        (&json!("id"), &json!("client"), &json!("alice"))
    );
    assert_eq!((&access["token_use"], &access["client_id"]), (&json!("access"), &json!("client")));
    assert_eq!((&access["username"], &access["aud"]), (&json!("alice"), &Value::Null));
    assert_eq!(id["sub"], access["sub"]);
    assert_eq!(id["exp"], json!(1_760_894_907_u64 + 3600));

    let bad = place.cognito("InitiateAuth", &password("alice", "wrong-wrong"));
    assert_eq!(
        (bad.status, bad.json),
        (400, json!({"__type": "NotAuthorizedException", "message": "Incorrect username or password."}))
    );
    assert_eq!(bad.headers["x-amzn-errortype"], "NotAuthorizedException");
    let nobody = place.cognito("InitiateAuth", &password("nobody", PASSWORD));
    assert_eq!(nobody.json["message"], "Incorrect username or password.");
}

#[test]
fn direct_calls_take_the_id_token_and_no_other() {
    let place = Place::new();
    let acme = place.partner("acme", "acme");
    let tokens = place.tokens("alice");
    let bearer = tokens["IdToken"].as_str().unwrap();
    let answer = place.direct(&acme, bearer, "encrypt", &json!({"data": "x", "requested_actions": ["e"]}));
    assert_eq!((answer.status, &answer.json["statusCode"]), (200, &json!(200)));
    let inner: Value = serde_json::from_str(answer.json["body"].as_str().unwrap()).unwrap();
    let opened = place.direct(&acme, bearer, "decrypt", &inner);
    assert_eq!(opened.json, json!({"statusCode": 200, "body": r#"{"decrypted_data":"x"}"#}));
    // Managed and direct are the same service.
    assert_eq!(place.done(&acme, "decrypt", &inner)["decrypted_data"], "x");
    let signed = place.direct(&acme, bearer, "sign-encrypt", &json!({"data": "y", "requested_actions": ["s", "e"]}));
    let inner: Value = serde_json::from_str(signed.json["body"].as_str().unwrap()).unwrap();
    let verified = place.direct(&acme, bearer, "decrypt-verify", &inner);
    let inner: Value = serde_json::from_str(verified.json["body"].as_str().unwrap()).unwrap();
    assert_eq!((&inner["is_valid_signature"], &inner["signed_by"]), (&json!(true), &json!("alice")));

    let (head, tail) = bearer.rsplit_once('.').unwrap();
    for wrong in [
        tokens["AccessToken"].as_str().unwrap().to_owned(),
        tokens["RefreshToken"].as_str().unwrap().to_owned(),
        format!("{head}."),
        format!("{head}.{}", tail.chars().rev().collect::<String>()),
        String::new(),
        "x".repeat(5000),
    ] {
        let answer = place.direct(&acme, &wrong, "encrypt", &json!({"data": "x"}));
        assert_eq!((answer.status, answer.json), (401, json!({"message": "Unauthorized"})), "{wrong}");
    }
    for value in [format!("Basic {bearer}"), bearer.to_owned()] {
        let request = Request::post("/encrypt").header("authorization", value).header("api_key", &acme.api_key);
        assert_eq!(place.send(request.body(Body::empty()).unwrap()).status, 401);
    }
}

#[test]
fn further_secrets_of_direct_calls_are_optional_and_must_be_right() {
    let place = Place::new();
    let acme = place.partner("acme", "acme");
    let bearer = place.tokens("alice")["IdToken"].as_str().unwrap().to_owned();
    let send = |headers: &[(&str, &str)]| {
        let mut request = Request::post("/encrypt").header("authorization", format!("bearer {bearer}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        place.send(request.body(json!({"data": "x"}).to_string().into()).unwrap()).status
    };
    assert_eq!(send(&[]), 403);
    assert_eq!(send(&[("api_key", &acme.api_key)]), 200);
    assert_eq!(send(&[("api_key", &acme.api_key), ("access_key", &acme.access_key)]), 200);
    assert_eq!(send(&[("api_key", &acme.api_key), ("access_key", &acme.secret_key)]), 403);
    assert_eq!(send(&[("api_key", &acme.api_key), ("secret_key", "wrong")]), 403);
}

#[test]
fn tokens_end_and_are_renewed() {
    let place = Place::new();
    let acme = place.partner("acme", "acme");
    let tokens = place.tokens("alice");
    assert_eq!(encrypt(&place, &acme, &tokens["IdToken"]), 200);
    place.clock.advance(3599);
    assert_eq!(encrypt(&place, &acme, &tokens["IdToken"]), 200);
    place.clock.advance(1);
    assert_eq!(encrypt(&place, &acme, &tokens["IdToken"]), 401);

    let renewed = place.cognito("InitiateAuth", &refresh("client", &tokens["RefreshToken"]));
    assert_eq!(renewed.status, 200, "{}", renewed.json);
    let result = &renewed.json["AuthenticationResult"];
    assert_eq!(result.get("RefreshToken"), None, "there is no new refresh token");
    assert_eq!(encrypt(&place, &acme, &result["IdToken"]), 200);
    let (first, second) = (claims(&tokens["IdToken"]), claims(&result["IdToken"]));
    assert_eq!((&first["origin_jti"], &first["auth_time"]), (&second["origin_jti"], &second["auth_time"]));

    let bad = json!({"__type": "NotAuthorizedException", "message": "Invalid Refresh Token"});
    for (client, token) in [
        ("another", tokens["RefreshToken"].clone()),
        ("client", json!("x".repeat(75))),
        ("client", json!(tokens["RefreshToken"].as_str().unwrap().replacen(|_| true, "_", 1))),
        ("client", json!(format!("{}AAAA", tokens["RefreshToken"].as_str().unwrap().get(..71).unwrap()))),
        ("client", tokens["IdToken"].clone()),
    ] {
        let answer = place.cognito("InitiateAuth", &refresh(client, &token));
        assert_eq!((answer.status, answer.json), (400, bad.clone()), "{client}");
    }
    place.clock.advance(30 * 24 * 3600);
    assert_eq!(place.cognito("InitiateAuth", &refresh("client", &tokens["RefreshToken"])).json, bad);
}

#[test]
fn a_user_who_is_logged_out_changed_or_deleted_has_no_sessions() {
    type Change = fn(&Place);
    let changes: [Change; 3] = [
        |place| assert!(place.authority.credentials.log_out("alice").unwrap()),
        |place| place.user("alice", "default"),
        |place| {
            assert!(place.authority.credentials.delete_user("alice").unwrap());
            place.user("alice", "default");
        },
    ];
    for change in changes {
        let place = Place::new();
        let acme = place.partner("acme", "acme");
        let tokens = place.tokens("alice");
        assert_eq!(encrypt(&place, &acme, &tokens["IdToken"]), 200);
        change(&place);
        place.clock.advance(2);
        assert_eq!(encrypt(&place, &acme, &tokens["IdToken"]), 401);
        assert_eq!(place.cognito("InitiateAuth", &refresh("client", &tokens["RefreshToken"])).status, 400);
        assert_eq!(encrypt(&place, &acme, &place.tokens("alice")["IdToken"]), 200);
    }
}

#[test]
fn every_replica_takes_what_one_gave_out_and_no_other_authority_does() {
    let place = Place::new();
    let acme = place.partner("acme", "acme");
    let tokens = place.tokens("alice");
    let mut replica = Place::new();
    assert_eq!(encrypt(&replica, &replica.partner("acme", "acme"), &tokens["IdToken"]), 401);
    let clock: crate::clock::SharedClock = place.clock.clone();
    let again =
        Authority::new(Arc::clone(&place.authority.keyring), clock, &Settings::default()).map(Arc::new).unwrap();
    replica.router = router(again);
    assert_eq!(encrypt(&replica, &acme, &tokens["IdToken"]), 200);
    assert_eq!(replica.cognito("InitiateAuth", &refresh("client", &tokens["RefreshToken"])).status, 200);
}

#[test]
fn what_is_not_offered_is_refused_as_cognito_does() {
    let place = Place::new();
    for operation in ["GetUser", "RevokeToken", "SignUp", "RespondToAuthChallenge", "initiateauth", "", "GlobalSignOut"]
    {
        let answer = place.cognito(operation, &password("alice", PASSWORD));
        assert_eq!((answer.status, &answer.json["__type"]), (400, &json!("UnknownOperationException")), "{operation}");
    }
    let none = place.send(Request::post("/").body(Body::empty()).unwrap());
    assert_eq!((none.status, &none.json["__type"]), (400, &json!("UnknownOperationException")));
    for (body, kind) in [
        (json!({}), "InvalidParameterException"),
        (json!([]), "SerializationException"),
        (json!({"ClientId": 7}), "SerializationException"),
        (json!({"ClientId": "c"}), "InvalidParameterException"),
        (json!({"ClientId": "c c", "AuthFlow": "USER_PASSWORD_AUTH"}), "InvalidParameterException"),
        (
            json!({"ClientId": "c", "AuthFlow": "USER_SRP_AUTH", "AuthParameters": {"USERNAME": "a", "SRP_A": "1"}}),
            "InvalidParameterException",
        ),
        (
            json!({"ClientId": "c", "AuthFlow": "USER_PASSWORD_AUTH", "AuthParameters": {"USERNAME": "alice"}}),
            "InvalidParameterException",
        ),
        (json!({"ClientId": "c", "AuthFlow": "REFRESH_TOKEN_AUTH", "AuthParameters": {}}), "InvalidParameterException"),
        (json!({"ClientId": "x".repeat(70_000)}), "SerializationException"),
    ] {
        let answer = place.cognito("InitiateAuth", &body);
        assert_eq!((answer.status, &answer.json["__type"]), (400, &json!(kind)), "{}", answer.json);
    }
}

#[test]
fn sessions_have_places_of_their_own_and_so_many() {
    let place = Place::new();
    let log_in = || place.tokens("alice")["RefreshToken"].clone();
    let works = |token: &Value| place.cognito("InitiateAuth", &refresh("client", token)).status == 200;
    let tokens: Vec<_> = (0..20).map(|_| log_in()).collect();
    assert!(tokens.iter().all(works));
    let kept = || place.authority.directory.list::<Value>("crittora-refresh", "", 100).unwrap();
    assert_eq!(kept().len(), 20);
    for entry in kept() {
        let bytes = base64url::decode(entry.id.as_bytes()).unwrap();
        let number = u64::from_be_bytes(bytes[16..].try_into().unwrap());
        assert!(number < assumptions::SESSIONS);
        let text = entry.value.to_string();
        assert!(tokens.iter().all(|token| !text.contains(token.as_str().unwrap())), "the store does not hold a token");
    }
    // Who comes to a place that is taken, or where a session has ended, takes it.
    let client = kept()[0].clone();
    let session = serde_json::from_value(client.value).unwrap();
    for after in [0, assumptions::REFRESH_SECONDS] {
        place.clock.advance(after);
        session::keep(&place.authority.directory, &client.id, &session).unwrap();
    }
}

#[test]
fn slow_strangers_take_few_places() {
    use std::task::Poll;

    use futures_util::future::poll_fn;
    let place = Place::new();
    let request = |path: &str| {
        let body = Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
        let target = "AWSCognitoIdentityProviderService.InitiateAuth";
        Request::post(path).header("x-amz-target", target).body(body).unwrap()
    };
    for path in ["/", "/v1/encrypt", "/nowhere"] {
        let mut calls: Vec<_> = (0..200).map(|_| Box::pin(place.router.clone().oneshot(request(path)))).collect();
        let waiting = place.runtime.block_on(poll_fn(|cx| {
            let mut waiting = 0;
            for call in &mut calls {
                waiting += usize::from(call.as_mut().poll(cx).is_pending());
            }
            Poll::Ready(waiting)
        }));
        assert!((1..=64).contains(&waiting), "{path}: {waiting}");
    }
}
