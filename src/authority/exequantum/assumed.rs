//! What ExeQuantum's public documents leave open, and what we took it to be.

use crate::authority::credentials::Purpose;

/// Whose keys are its long-lived tokens.
pub const PURPOSE: Purpose = Purpose::Exequantum;

/// Without `expiry_time`, a temporary token lives so many seconds,
pub const EXPIRY: u64 = 3_600;
/// and with it at most so many.
pub const MOST_EXPIRY: u64 = 86_400;
/// Without `expire_after_attempts`, it is good for so many authenticated calls, whatever they answer,
pub const ATTEMPTS: u64 = 10_000;
/// and with it for at most so many.
pub const MOST_ATTEMPTS: u64 = 1_000_000;

/// The service keeps a secret key of `generate_keys` that a temporary token asked for so many seconds,
pub const KEPT: u64 = 86_400;
/// and one that a long-lived token asked for as long as that token's API key lives: so many for each,
pub const KEPT_FOR_GOOD: u64 = 1_000;
/// of which an API key and its temporary tokens may have so many made an hour.
pub const KEPT_AN_HOUR: u64 = 1_000;
/// So many temporary tokens an API key may make an hour.
pub const TOKENS_AN_HOUR: u64 = 1_000;
/// A missing `key` means the last shared key that this token was given; a long-lived token's is kept for so many seconds.
pub const SHARED: u64 = 86_400;

/// Bytes of UTF-8 that one call encrypts, signs or verifies.
pub const TEXT: usize = 1 << 20;
/// Of a request's body: a text in hexadecimal, and the rest.
pub const BODY: usize = 2 * TEXT + 65_536;

/// The algorithms of the later generation, which takes no others.
pub const KEM: &str = "ML-KEM-768";
/// See [`KEM`].
pub const SIGNATURE: &str = "ML-DSA-65";

/// 401, whatever is wrong with a token.
pub const UNAUTHENTICATED: &str = "Invalid or expired token";
/// 403 for a role that may not.
pub const FORBIDDEN: &str = "This token's role does not allow it";
/// 403 for a temporary token that asks for another.
pub const NO_FURTHER: &str = "A temporary token cannot create another";
/// 400 for a public key whose signature does not verify.
pub const BAD_SIGNATURE: &str = "The signature of pk does not verify";
/// 400 for a ciphertext that does not open.
pub const NOT_AUTHENTIC: &str = "Decryption failed";
/// 400 without `key` and without a shared key to take.
pub const NO_KEY: &str = "No key was given, and this token has no shared key";
/// 404 for a `pk` whose secret key is not kept.
pub const NOT_KEPT: &str = "No secret key is kept for this pk";
