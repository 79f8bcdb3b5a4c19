use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

static SIGNER: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_seed(Secret::from_slice(&[8; 32]).unwrap()));
static OTHER_SIGNER: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::from_seed(Secret::from_slice(&[9; 32]).unwrap()));
static PREFIXES: LazyLock<PrefixCache> = LazyLock::new(|| PrefixCache::new(1000));

const EPOCH: EpochId = EpochId([7; 10]);

fn key_of(epoch: EpochId, suite: Suite, partition: &str, class: &str) -> FieldKey {
    let dek = Secret::from_slice(&[1; 32]).unwrap();
    FieldKey::derive(&dek, epoch, suite, &PartitionName::new(partition).unwrap(), &Class::new(class))
}

fn key(suite: Suite) -> FieldKey {
    key_of(EPOCH, suite, "default", "pan")
}

fn string(text: &[u8]) -> Plain<'_> {
    Plain { text, is_string: true, record_id: None, pad: None, signer: None }
}

fn seal(key: &FieldKey, plain: &Plain<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    key.seal(plain, &mut out).unwrap();
    out
}

fn open(key: &FieldKey, text: &[u8], record_id: Option<&[u8]>) -> Result<Opened, OpenError> {
    key.open(&parse(text)?, record_id, &[SIGNER.verifying_key().clone()], &PREFIXES)
}

#[test]
fn a_card_number_comes_back_in_the_promised_lengths() {
    for (suite, length) in [(Suite::Xaes, 96), (Suite::Gcm, 80), (Suite::Siv, 64)] {
        let key = key(suite);
        let mut out = b"kept".to_vec();
        key.seal(&string(b"4111111111111111"), &mut out).unwrap();
        let token = out.strip_prefix(b"kept").unwrap();
        assert_eq!(token.len(), length);
        let opened = open(&key, token, None).unwrap();
        assert_eq!(opened.text.expose(), b"4111111111111111");
        assert!(opened.is_string && opened.signer.is_none());
    }
}

#[test]
fn only_suite_3_repeats_itself() {
    for suite in Suite::ALL {
        let key = key(suite);
        let (one, two) = (seal(&key, &string(b"x")), seal(&key, &string(b"x")));
        assert_eq!(one == two, suite == Suite::Siv);
    }
}

#[test]
fn a_deterministic_value_is_neither_signed_nor_bound() {
    let key = key(Suite::Siv);
    let mut out = Vec::new();
    for plain in [Plain { signer: Some(&SIGNER), ..string(b"x") }, Plain { record_id: Some(b"1"), ..string(b"x") }] {
        assert_eq!(key.seal(&plain, &mut out), Err(SealError::NotDeterministic));
    }
    assert!(out.is_empty());
}

#[test]
fn what_would_not_come_back_is_not_sealed() {
    let mut out = Vec::new();
    for plain in [
        string(b"x\xff"),
        Plain { record_id: Some(b""), ..string(b"x") },
        Plain { pad: Some(usize::MAX / 2), ..string(b"x") },
    ] {
        assert_eq!(key(Suite::Xaes).seal(&plain, &mut out), Err(SealError::Unsealable));
    }
    assert!(out.is_empty());
}

#[test]
fn a_token_opens_only_where_it_was_sealed() {
    for suite in Suite::ALL {
        let token = seal(&key(suite), &string(b"secret"));
        for other in [
            key_of(EPOCH, suite, "default", "ssn"),
            key_of(EPOCH, suite, "tenant-a", "pan"),
            key_of(EPOCH, suite, "defaultp", "an"),
            key_of(EpochId([8; 10]), suite, "default", "pan"),
        ] {
            assert_eq!(open(&other, &token, None).unwrap_err(), OpenError::NotAuthentic);
        }
        for foreign in Suite::ALL.into_iter().filter(|foreign| *foreign != suite) {
            assert_eq!(open(&key(foreign), &token, None).unwrap_err(), OpenError::NotAuthentic);
        }
        open(&key(suite), &token, None).unwrap();
    }
}

#[test]
fn a_header_cannot_be_rewritten() {
    for suite in Suite::ALL {
        let token = parse(&seal(&key(suite), &string(b"some longer value"))).unwrap();
        let epoch = EpochId([6; 10]);
        let other = Suite::ALL.into_iter().find(|other| *other != suite).unwrap();
        for (rewritten, key) in [
            (Token { is_string: false, ..token.clone() }, key(suite)),
            (Token { epoch, ..token.clone() }, key_of(epoch, suite, "default", "pan")),
            (Token { suite: other, ..token.clone() }, key(other)),
            (Token { signed: true, ..token.clone() }, key(suite)),
        ] {
            assert!(key.open(&rewritten, None, &[SIGNER.verifying_key().clone()], &PREFIXES).is_err());
        }
        let bound = Token { bound: true, ..token };
        assert!(key(suite).open(&bound, Some(b"1"), &[], &PREFIXES).is_err());
    }
}

#[test]
fn a_bound_token_opens_in_its_record_only() {
    for suite in [Suite::Xaes, Suite::Gcm] {
        let key = key(suite);
        let bound = seal(&key, &Plain { record_id: Some(b"17"), ..string(b"x") });
        assert!(parse(&bound).unwrap().bound);
        assert_eq!(open(&key, &bound, Some(b"17")).unwrap().text.expose(), b"x");
        for other in [Some(b"18".as_slice()), Some(b"1"), Some(b""), None] {
            assert_eq!(open(&key, &bound, other).unwrap_err(), OpenError::NotAuthentic);
        }
        let unbound = seal(&key, &string(b"x"));
        assert_eq!(open(&key, &unbound, Some(b"17")).unwrap_err(), OpenError::NotAuthentic);
    }
}

#[test]
fn a_signature_is_verified_before_anything_comes_out() {
    for suite in [Suite::Xaes, Suite::Gcm] {
        let key = key(suite);
        let signed = seal(&key, &Plain { signer: Some(&SIGNER), record_id: Some(b"1"), ..string(b"") });
        let opened = open(&key, &signed, Some(b"1")).unwrap();
        assert_eq!(opened.signer, Some(SIGNER.verifying_key().id()));
        assert!(opened.text.expose().is_empty());

        let token = parse(&signed).unwrap();
        let both = [OTHER_SIGNER.verifying_key().clone(), SIGNER.verifying_key().clone()];
        key.open(&token, Some(b"1"), &both, &PREFIXES).unwrap();
        for unlisted in [&[][..], &both[..1]] {
            let refused = key.open(&token, Some(b"1"), unlisted, &PREFIXES).unwrap_err();
            assert_eq!(refused, OpenError::Signature);
        }
    }
}

/// Whoever holds the field key but no signer's key: every such plaintext is refused.
#[test]
fn a_forged_signature_is_refused() {
    let key = key(Suite::Gcm);
    let header = form::header(Suite::Gcm, true, true, false, EPOCH);
    let sign = |signer: &SigningKey, label: &str, class: &[u8], value: &[u8]| {
        signer.sign(label, &[&header, b"default", class, b"", value]).unwrap()
    };
    let id = SIGNER.verifying_key().id();
    let good = sign(&SIGNER, SIGN_LABEL, b"pan", b"value");
    for (id, signature, value, opens) in [
        (id, good.clone(), b"value".as_slice(), true),
        (id, good.clone(), b"value\xff\xff", true),
        (id, good.clone(), b"other", false),
        (OTHER_SIGNER.verifying_key().id(), good, b"value", false),
        (id, sign(&OTHER_SIGNER, SIGN_LABEL, b"pan", b"value"), b"value", false),
        (id, sign(&SIGNER, SIGN_LABEL, b"ssn", b"value"), b"value", false),
        (id, sign(&SIGNER, "sidecloak/1 core", b"pan", b"value"), b"value", false),
    ] {
        let mut body = [&[0; 12], id.as_slice(), &signature, value, &[0; 16]].concat();
        let aad = pae(&[b"sidecloak/1 token", &header, b""]);
        key.cipher.seal(&aad, &mut Batch::default(), &mut body).unwrap();
        let text = format!("sc1.{}.{}", base64url::encode(&header), base64url::encode(&body));
        assert_eq!(open(&key, text.as_bytes(), None).is_ok(), opens);
    }
}

#[test]
fn short_values_that_are_no_strings_look_alike() {
    for suite in Suite::ALL {
        let lengths = ["true", "false", "null", "1", "1234567", "12345678"].map(|text| {
            let token = seal(&key(suite), &Plain { is_string: false, ..string(text.as_bytes()) });
            assert_eq!(open(&key(suite), &token, None).unwrap().text.expose(), text.as_bytes());
            token.len()
        });
        assert_eq!(lengths, [lengths[0]; 6]);
    }
}

/// Flips every bit-carrying character of a token in turn, and cuts and repeats it everywhere.
#[test]
fn every_changed_byte_is_noticed() {
    for suite in Suite::ALL {
        let key = key(suite);
        let token = seal(&key, &Plain { pad: Some(5), ..string(b"4111111111111111") });
        for at in 0..token.len() {
            for byte in [b'A', b'_', b'.', b'=', token[at] ^ 1, token[at] ^ 2, token[at] ^ 0x80] {
                let mut other = token.clone();
                other[at] = byte;
                assert_eq!(open(&key, &other, None).is_ok(), other == token, "{at}");
            }
            assert!(open(&key, &token[..at], None).is_err());
            let repeated = [&token[..at], &token[at..=at], &token[at..]].concat();
            assert!(open(&key, &repeated, None).is_err());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_sealed_opens(
        suite in prop::sample::select(&Suite::ALL),
        text in "\\PC{0,80}",
        is_string: bool,
        record_id in prop::option::of("[0-9a-f]{1,20}"),
        pad in prop::option::of(0usize..70),
        signs in prop::bool::weighted(0.05),
    ) {
        let key = key(suite);
        let free = suite != Suite::Siv;
        let plain = Plain {
            text: text.as_bytes(),
            is_string,
            record_id: record_id.as_deref().map(str::as_bytes).filter(|_| free),
            pad,
            signer: (signs && free).then_some(&SIGNER),
        };
        let token = seal(&key, &plain);
        prop_assert_eq!(token.len(), token_len(suite, text.len(), is_string, pad, plain.signer.is_some()));
        let seen = inspect(&token).unwrap();
        prop_assert!(seen.value_bytes_at_most >= text.len());
        prop_assert_eq!((seen.string, seen.bound, seen.signed), (is_string, plain.record_id.is_some(), plain.signer.is_some()));
        let opened = open(&key, &token, plain.record_id).unwrap();
        prop_assert_eq!(opened.text.expose(), text.as_bytes());
        prop_assert_eq!(opened.is_string, is_string);
        prop_assert_eq!(opened.signer, plain.signer.map(|s| s.verifying_key().id()));
    }

    #[test]
    fn a_changed_token_does_not_open(
        suite in prop::sample::select(&Suite::ALL),
        text in "[a-z]{0,40}",
        at: prop::sample::Index,
        flip in 1u8..=255,
    ) {
        let key = key(suite);
        let mut token = parse(&seal(&key, &string(text.as_bytes()))).unwrap();
        let at = at.index(token.body.len());
        token.body[at] ^= flip;
        prop_assert_eq!(key.open(&token, None, &[], &PREFIXES).unwrap_err(), OpenError::NotAuthentic);
    }
}

#[test]
fn what_is_sealed_is_not_printed() {
    let plain = Plain { text: b"canary", is_string: true, record_id: Some(b"canary"), pad: None, signer: None };
    let shown = format!("{plain:?}");
    assert!(!shown.contains("canary") && !shown.contains("99, 97"), "{shown}");
}
