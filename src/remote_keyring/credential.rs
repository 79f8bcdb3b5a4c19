//! What a process shows an authority.

use http::HeaderValue;

use crate::bounded;
use crate::keyring::store::Credential;
use crate::keyring::{KeySource, check_private};
use crate::secret::SecretBytes;

/// Longer is no key and no token.
const MAX: u64 = 64 * 1024;

/// The `authorization` header, read anew: a token's file is written again while this process runs, and so may be a key's.
pub fn header(credential: &Credential) -> Result<HeaderValue, String> {
    let secret = match credential {
        Credential::ApiKey(KeySource::File(path)) => {
            check_private(path, "the API key").map_err(|error| error.to_string())?;
            bounded::read_file(path, MAX)
                .map_err(|error| format!("cannot read the API key {}: {error}", path.display()))?
        }
        Credential::ApiKey(KeySource::Env(name)) => {
            std::env::var(name).map_err(|_| format!("the variable {name} is not set, or is not text"))?.into_bytes()
        }
        // Not private: Kubernetes mounts it for everybody in the pod.
        Credential::Token(path) => bounded::read_file(path, MAX)
            .map_err(|error| format!("cannot read the token {}: {error}", path.display()))?,
    };
    let secret = SecretBytes::new(secret);
    let text = secret.expose().trim_ascii();
    let line = SecretBytes::new([b"Bearer ".as_slice(), text].concat());
    let mut value = HeaderValue::from_bytes(line.expose())
        .ok()
        .filter(|_| !text.is_empty())
        .ok_or("what is to be shown to the authority is not one line of text")?;
    value.set_sensitive(true);
    Ok(value)
}
