//! Tokens taken apart: no text makes it panic, and no two texts are the same token (a token cannot be re-spelled).
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidecloak::crypto::base64url;
use sidecloak::token::v1;

fuzz_target!(|text: &[u8]| {
    let parsed = v1::parse(text);
    assert_eq!(parsed.is_ok(), v1::inspect(text).is_ok());
    let Ok(token) = parsed else { return };
    let flags = u8::from(!token.is_string) | u8::from(token.signed) << 3 | u8::from(token.bound) << 5;
    let header = [&[token.suite as u8, flags][..], &token.epoch.0].concat();
    let again = format!("sc1.{}.{}", base64url::encode(&header), base64url::encode(&token.body));
    assert_eq!(again.as_bytes(), text);
});
