//! What names, roles and keys look like.

use super::super::Refused;
use crate::crypto::kdf::{pae, sha256};
use crate::crypto::{RandomError, base64url, random};
use crate::secret::SecretBytes;

/// Characters of the secret part: 256 bits in base64url.
const SECRET: usize = 43;
const LABEL: &[u8] = b"sidecloak/1 api key";

/// An API key as it was sent: `<43 characters>-<number>`.
pub struct Presented<'a> {
    pub number: u64,
    secret: &'a str,
}

impl<'a> Presented<'a> {
    pub fn parse(text: &'a str) -> Option<Self> {
        let (secret, digits) = text.rsplit_once('-')?;
        let number: u64 = digits.parse().ok()?;
        // One text names one number: what is no canonical form is no key, and asks nobody.
        let fits = secret.len() == SECRET && base64url::decode(secret.as_bytes()).is_some();
        (fits && number.to_string() == digits).then_some(Self { number, secret })
    }

    /// What is kept of it. Of 256 random bits nobody finds the preimage, so no key, salt or slow hash is needed; the entry that
    /// holds it is sealed besides.
    pub fn digest(&self) -> String {
        let digest = sha256(&pae(&[LABEL, &self.number.to_le_bytes(), self.secret.as_bytes()]));
        base64url::encode(&digest)
    }
}

/// The text of a new key with its digest.
pub fn new_key(number: u64) -> Result<(SecretBytes, String), RandomError> {
    let mut text = SecretBytes::new(Vec::with_capacity(SECRET + 21));
    base64url::encode_into(random::secret::<32>()?.expose(), text.expose_mut());
    let digest = {
        let secret = std::str::from_utf8(text.expose()).unwrap_or_default();
        Presented { number, secret }.digest()
    };
    text.expose_mut().extend_from_slice(format!("-{number}").as_bytes());
    Ok((text, digest))
}

/// A further secret of a key.
pub fn new_secret() -> Result<String, RandomError> {
    Ok(base64url::encode(random::secret::<32>()?.expose()))
}

/// Refuses what no user name or label may be: 1 to `max` bytes, no control characters, no spaces at either end.
pub fn check_text(what: &str, text: &str, max: usize) -> Result<(), Refused> {
    let fits = !text.is_empty() && text.len() <= max && text.trim() == text && !text.chars().any(char::is_control);
    if fits {
        return Ok(());
    }
    Err(Refused::Invalid(format!(
        "{what} has 1 to {max} bytes, no control characters, and no white space at either end"
    )))
}

/// Refuses what no role may be called.
pub fn check_role(role: &str) -> Result<(), Refused> {
    let fits = (1..=64).contains(&role.len())
        && role.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-'));
    if fits { Ok(()) } else { Err(Refused::Invalid("a role has 1 to 64 characters of A-Z a-z 0-9 . _ : -".into())) }
}

/// Refuses what no application may be called. A dot ends it in the names of its partitions.
pub fn check_app(app: &str) -> Result<(), Refused> {
    let fits =
        (1..=64).contains(&app.len()) && app.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if fits { Ok(()) } else { Err(Refused::Invalid("an application has 1 to 64 characters of A-Z a-z 0-9 _ -".into())) }
}
