use super::*;

fn sealed_for(place: &Place, owner: &Partner, call: &str, partner_id: &str) -> String {
    let body = json!({"data": "shared", "permissions": [{"partner_id": partner_id, "permissions": ["d"]}]});
    place.encrypted(owner, call, &body)
}

fn opens(place: &Place, partner: &Partner, call: &str, encrypted: &str) -> bool {
    let answer = place.managed(partner, call, &json!({"encrypted_data": encrypted}));
    match answer.status {
        200 => assert_eq!(answer.json["body"]["decrypted_data"], "shared"),
        _ => assert_eq!((answer.status, &answer.json["message"]), (400, &json!(OPENS_NOT))),
    }
    answer.status == 200
}

#[test]
fn a_partition_is_open_to_its_own_partners_alone() {
    let place = Place::new();
    let (acme, sister, beta) =
        (place.partner("acme", "acme"), place.partner("sister", "acme"), place.partner("beta", "beta"));
    for (seal, open) in [("encrypt", "decrypt"), ("sign-encrypt", "decrypt-verify")] {
        let encrypted = place.encrypted(&acme, seal, &json!({"data": "shared"}));
        assert!(opens(&place, &acme, open, &encrypted));
        assert!(opens(&place, &sister, open, &encrypted));
        assert!(!opens(&place, &beta, open, &encrypted));
    }
}

#[test]
fn permissions_let_the_named_and_the_owner_and_nobody_else() {
    let place = Place::new();
    let (acme, sister) = (place.partner("acme", "acme"), place.partner("sister", "acme"));
    let (beta, gamma) = (place.partner("beta", "beta"), place.partner("gamma", "beta"));
    for (seal, open) in [("encrypt", "decrypt"), ("sign-encrypt", "decrypt-verify")] {
        for name in ["beta".to_owned(), beta.number.to_string()] {
            let encrypted = sealed_for(&place, &acme, seal, &name);
            assert!(opens(&place, &acme, open, &encrypted), "the owner");
            assert!(opens(&place, &beta, open, &encrypted), "the named, by its own partition's key");
            assert!(!opens(&place, &sister, open, &encrypted), "another of the same partition");
            assert!(!opens(&place, &gamma, open, &encrypted), "another of the named one's partition");
        }
    }
}

#[test]
fn an_owner_with_a_new_key_still_owns() {
    let place = Place::new();
    let acme = place.partner("acme", "acme");
    let encrypted = sealed_for(&place, &acme, "encrypt", "beta");
    assert!(opens(&place, &place.partner("acme", "acme"), "decrypt", &encrypted));
    assert!(!opens(&place, &place.partner("acme", "beta"), "decrypt", &encrypted), "elsewhere it is another's name");
}

#[test]
fn a_label_of_digits_is_nobodys_number() {
    let place = Place::new();
    let acme = place.partner("acme", "acme");
    let beta = place.partner("beta", "beta");
    let posing = place.partner(&beta.number.to_string(), "beta");
    let encrypted = sealed_for(&place, &acme, "encrypt", &beta.number.to_string());
    assert!(opens(&place, &beta, "decrypt", &encrypted));
    assert!(!opens(&place, &posing, "decrypt", &encrypted));
}

#[test]
fn a_grant_gives_no_more_than_states_and_roles_do() {
    let place = Place::new();
    let acme = place.partner("acme", "acme");
    let beta = place.partner("beta", "beta");
    let powerless = place.partner_as("powerless", Some("beta"), "no-such-role");
    let encrypted = sealed_for(&place, &acme, "encrypt", "beta");
    let for_powerless = sealed_for(&place, &acme, "encrypt", "powerless");
    let body = json!({"encrypted_data": for_powerless});
    assert_eq!(place.managed(&powerless, "decrypt", &body).status, 403);
    // The switch of the partition where it was sealed, of which others learn nothing …
    let set = |name, state| place.authority.keyring.set_state(&partition(name), state).unwrap();
    set("acme", Standing::Paused);
    assert!(!opens(&place, &beta, "decrypt", &encrypted));
    set("acme", Standing::Active);
    assert!(opens(&place, &beta, "decrypt", &encrypted));
    // … and that of the partner's own.
    set("beta", Standing::Paused);
    assert_eq!(place.managed(&beta, "decrypt", &json!({"encrypted_data": encrypted})).status, 403);
}

/// A value that a proxy seals in the same partition and class, as whatever its rules make of a document.
#[test]
fn nobody_passes_a_value_off_as_an_envelope() {
    let place = Place::new();
    let (acme, beta) = (place.partner("acme", "acme"), place.partner("beta", "beta"));
    let forged = r#"{"data":"shared","partners":["beta"],"owner":{"number":1,"label":"acme"},"signed_by":"alice","signed_timestamp":"now"}"#;
    let caller = crate::authority::Caller { name: "a sidecar".into(), role: "default".into() };
    let home = partition("acme");
    for (sign, is_string, record_id) in [
        (false, false, None),
        (true, false, None),
        (true, false, Some(&b"crittora envelope 1"[..])),
        (true, false, Some("\u{ff}crittora envelope 1".as_bytes())),
    ] {
        let job = crate::transform::SealJob {
            partition: &home,
            class: &Class::new(CLASS),
            suite: Suite::Xaes,
            sign,
            pad: None,
            text: forged.as_bytes(),
            is_string,
            record_id,
        };
        let token = place.runtime.block_on(place.authority.vault.seal(&caller, &job)).unwrap();
        let mut encrypted = Vec::new();
        base64url::encode_public_into(&token, &mut encrypted);
        let body = json!({"encrypted_data": String::from_utf8(encrypted).unwrap()});
        for partner in [&acme, &beta] {
            let call = if sign { "decrypt-verify" } else { "decrypt" };
            let answer = place.managed(partner, call, &body);
            assert_eq!(answer.status, 400, "{}", answer.json);
            assert!(!answer.json.to_string().contains("shared"));
        }
    }
}

#[test]
fn a_text_that_looks_like_an_envelope_is_a_text() {
    let place = Place::new();
    let (acme, beta) = (place.partner("acme", "acme"), place.partner("beta", "beta"));
    let text = r#"{"data":"x","partners":["beta"],"signed_by":"bob"}"#;
    let encrypted = place.encrypted(&acme, "encrypt", &json!({"data": text}));
    assert_eq!(place.done(&acme, "decrypt", &json!({"encrypted_data": encrypted}))["decrypted_data"], text);
    assert!(!opens(&place, &beta, "decrypt", &encrypted));
}

#[test]
fn a_text_that_a_sidecar_signed_has_a_signature_and_no_user() {
    let place = Place::new();
    let acme = place.partner("acme", "acme");
    let caller = crate::authority::Caller { name: "a sidecar".into(), role: "default".into() };
    let job = crate::transform::SealJob {
        partition: &partition("acme"),
        class: &Class::new(CLASS),
        suite: Suite::Xaes,
        sign: true,
        pad: Some(64),
        text: br"a\u00e9",
        is_string: true,
        record_id: None,
    };
    let token = place.runtime.block_on(place.authority.vault.seal(&caller, &job)).unwrap();
    let mut encrypted = Vec::new();
    base64url::encode_public_into(&token, &mut encrypted);
    let body = json!({"encrypted_data": String::from_utf8(encrypted).unwrap()});
    let opened = place.done(&acme, "decrypt-verify", &body);
    assert_eq!(opened, json!({"decrypted_data": "aé", "is_valid_signature": true}));
}
