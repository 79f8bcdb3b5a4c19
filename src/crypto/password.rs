//! Passwords: argon2id (RFC 9106) with the parameters that OWASP recommends, in PHC form. Takes tens of milliseconds and 19 MiB.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};

use super::RandomError;

/// KiB of memory, passes, lanes.
const COST: (u32, u32, u32) = (19_456, 2, 1);

/// Hashes a password under a new random salt.
pub fn hash(password: &[u8]) -> Result<String, RandomError> {
    // The salt is all that can fail: the parameters are constant, and the password's length is bounded by the caller.
    argon2().hash_password(password).map(|hash| hash.to_string()).map_err(|_| RandomError)
}

/// Whether the password has this hash. `None` for a hash (no such user) costs as much, and is always `false`.
pub fn verify(password: &[u8], hash: Option<&str>) -> bool {
    let nobody = nobody();
    let parsed = hash.and_then(|hash| PasswordHash::new(hash).ok());
    let is_somebody = parsed.is_some();
    let Some(hash) = parsed.or_else(|| PasswordHash::new(&nobody).ok()) else { return false };
    argon2().verify_password(password, &hash).is_ok() && is_somebody
}

fn argon2() -> Argon2<'static> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// A hash of no known password, with the same cost.
fn nobody() -> String {
    let (memory, passes, lanes) = COST;
    format!(
        "$argon2id$v=19$m={memory},t={passes},p={lanes}$c2lkZWNsb2FrLW5vYm9keQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_verifies_against_its_hash_alone() {
        let first = hash(b"correct horse").unwrap();
        assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
        assert_ne!(first, hash(b"correct horse").unwrap(), "salted");
        assert!(verify(b"correct horse", Some(&first)));
        assert!(!verify(b"correct horsf", Some(&first)));
        assert!(!verify(b"correct horse", Some("no hash")));
        assert!(!verify(b"correct horse", None));
    }

    #[test]
    fn who_does_not_exist_costs_the_same() {
        let nobody = nobody();
        let (unknown, known) = (PasswordHash::new(&nobody).unwrap(), hash(b"x").unwrap());
        let known = PasswordHash::new(&known).unwrap();
        assert_eq!(Params::try_from(&unknown).unwrap(), Params::try_from(&known).unwrap());
        assert_eq!(unknown.hash.unwrap().len(), known.hash.unwrap().len());
        assert_eq!(unknown.salt.unwrap().len(), known.salt.unwrap().len());
    }
}
