//! Tokens taken apart: no text makes it panic, and no two texts are the same token (a token cannot be re-spelled).
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidecloak::crypto::base64url;
use sidecloak::token::v1::managed::ManagedSuite;
use sidecloak::token::v1::{self, AnyToken};

fuzz_target!(|text: &[u8]| {
    let parsed = v1::parse_any(text);
    assert_eq!(parsed.is_ok(), v1::inspect(text).is_ok());
    assert_eq!(matches!(parsed, Ok(AnyToken::Local(_))), v1::parse(text).is_ok());
    let Ok(token) = parsed else { return };
    let (suite, [not_string, signed, bound], id, body) = match token {
        AnyToken::Local(token) => {
            let flags = [!token.is_string, token.signed, token.bound];
            (token.suite as u8, flags, token.epoch.0, base64url::encode(&token.body).into_bytes())
        }
        AnyToken::Managed(token) => {
            let body = match token.suite {
                ManagedSuite::AsIs => token.ciphertext,
                ManagedSuite::Encoded => base64url::encode(&token.ciphertext).into_bytes(),
            };
            (token.suite as u8, [!token.is_string, token.signed, token.bound], token.profile, body)
        }
    };
    let flags = u8::from(not_string) | u8::from(signed) << 3 | u8::from(bound) << 5;
    let header = base64url::encode(&[&[suite, flags][..], &id].concat());
    assert_eq!([b"sc1.", header.as_bytes(), b".", &body].concat(), text);
});
