//! Credentials that stand in files or variables.

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;

use super::{ApiError, Fault};
use crate::bounded;
use crate::keyring::{KeySource, check_private};
use crate::secret::SecretBytes;

/// Longer is no credential.
const MAX: u64 = 16 * 1024;
/// Between two looks at a file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A secret of one line; a file is read again when it has changed (looked at once a second at most).
pub struct Credential {
    source: KeySource,
    kept: Mutex<Kept>,
}

struct Kept {
    secret: SecretBytes,
    looked: Instant,
    /// Whether the last look came to nothing, which was told.
    failing: bool,
}

impl Credential {
    /// Reads it once, so that a missing one is known at start. The error says which, and what to do.
    pub fn open(source: &KeySource) -> Result<Self, String> {
        let kept = Kept { secret: read(source)?, looked: Instant::now(), failing: false };
        Ok(Self { source: source.clone(), kept: Mutex::new(kept) })
    }

    /// As it stands there now, without the line's end; a file that cannot be read for a moment counts as unchanged.
    pub fn current(&self) -> Result<SecretBytes, ApiError> {
        Ok(self.at(Instant::now()))
    }

    /// The same as a header field's value, marked sensitive.
    pub fn header(&self) -> Result<HeaderValue, ApiError> {
        header(&self.current()?).ok_or_else(|| {
            ApiError::new(Fault::Credential, format!("{} is no text that a header field can hold", self.source))
        })
    }

    fn at(&self, now: Instant) -> SecretBytes {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // A variable stays as it was when the process began.
        if matches!(self.source, KeySource::File(_)) && now.saturating_duration_since(kept.looked) >= LOOK_EVERY {
            kept.looked = now;
            // The content and not its times: a mounted secret is swapped through a symlink, and two writes may have one time.
            match read(&self.source) {
                Ok(secret) => {
                    if secret.expose() != kept.secret.expose() {
                        tracing::info!(source = %self.source, "a credential has changed, and is used from now on");
                        kept.secret = secret;
                    }
                    kept.failing = false;
                }
                Err(problem) if !kept.failing => {
                    tracing::error!("{problem} (what was read before stays in use)");
                    kept.failing = true;
                }
                Err(_) => {}
            }
        }
        kept.secret.clone()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({})", self.source)
    }
}

/// A header field's value that is wiped with its last owner, and that HPACK (RFC 7541, section 7.1.3) keeps in no table.
fn header(secret: &SecretBytes) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(Owner(secret.clone()))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

struct Owner(SecretBytes);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

fn read(source: &KeySource) -> Result<SecretBytes, String> {
    let mut secret = match source {
        KeySource::File(path) => file(path)?,
        KeySource::Env(name) => {
            let text = std::env::var(name).map_err(|_| format!("the variable {name} is not set, or is not text"))?;
            SecretBytes::new(text.into_bytes())
        }
    };
    let line = secret.expose_mut();
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    let problem = match line.as_slice() {
        [] => "is empty",
        line if line.len() as u64 > MAX => "is too long for a credential",
        line if line.iter().any(|b| b.is_ascii_control()) => "has more than one line, or control characters",
        _ => return Ok(secret),
    };
    Err(format!("the credential {source} {problem}; put the credential alone there, as one line"))
}

fn file(path: &Path) -> Result<SecretBytes, String> {
    check_private(path, "the credential").map_err(|error| error.to_string())?;
    let bytes = bounded::read_file(path, MAX + 2)
        .map_err(|error| format!("cannot read the credential {}: {error}", path.display()))?;
    Ok(SecretBytes::new(bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use rstest::rstest;

    use super::*;

    fn private(path: &Path, content: &[u8]) {
        fs::write(path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn later(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[rstest]
    #[case::bare(b"hunter2", Ok("hunter2"))]
    #[case::line(b"hunter2\n", Ok("hunter2"))]
    #[case::windows(b"hunter2\r\n", Ok("hunter2"))]
    #[case::spaces_count(b" hunter 2 ", Ok(" hunter 2 "))]
    #[case::empty(b"", Err("is empty"))]
    #[case::only_a_line_end(b"\n", Err("is empty"))]
    #[case::lines(b"hunter2\nhunter3\n", Err("more than one line"))]
    #[case::control(b"hunter2\x00", Err("control characters"))]
    fn one_line_is_read(#[case] content: &[u8], #[case] expected: Result<&str, &str>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        private(&path, content);
        match (Credential::open(&KeySource::File(path)), expected) {
            (Ok(credential), Ok(text)) => {
                assert_eq!(credential.current().unwrap().expose(), text.as_bytes());
                assert!(!format!("{credential:?}").contains("hunter"));
                assert!(credential.header().unwrap().is_sensitive());
            }
            (Err(error), Err(part)) => assert!(error.contains(part) && !error.contains("hunter"), "{error}"),
            (other, _) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_long_an_open_and_a_missing_file_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        let open = || Credential::open(&KeySource::File(path.clone())).unwrap_err();
        assert!(open().contains("cannot be read"));
        private(&path, &[b'x'; 16 * 1024 + 1]);
        assert!(open().contains("too long"));
        private(&path, &[b'x'; 16 * 1024 + 3]);
        assert!(open().contains("larger"));
        fs::write(&path, "hunter2").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(open().contains("chmod 600"));
        let unset = Credential::open(&KeySource::Env("SIDECLOAK_TEST_NOT_SET".into())).unwrap_err();
        assert!(unset.contains("SIDECLOAK_TEST_NOT_SET"));
    }

    #[test]
    fn a_variable_is_read() {
        let credential = Credential::open(&KeySource::Env("PATH".into())).unwrap();
        assert_eq!(credential.current().unwrap().expose(), std::env::var("PATH").unwrap().as_bytes());
    }

    #[test]
    fn a_swapped_mount_is_seen_and_a_gap_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (version, text) in [("..1", "first"), ("..2", "second")] {
            fs::create_dir(at(version)).unwrap();
            private(&at(version).join("password"), text.as_bytes());
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/password", at("password")).unwrap();
        let credential = Credential::open(&KeySource::File(at("password"))).unwrap();
        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert_eq!(credential.at(Instant::now()).expose(), b"first", "it was looked at a moment ago");
        assert_eq!(credential.at(later(2)).expose(), b"second");
        fs::remove_file(at("..data")).unwrap();
        assert_eq!(credential.at(later(4)).expose(), b"second");
        fs::write(at("..1").join("password"), "").unwrap();
        symlink("..1", at("..data")).unwrap();
        assert_eq!(credential.at(later(6)).expose(), b"second", "somebody is about to write it");
        private(&at("..1").join("password"), b"third");
        assert_eq!(credential.at(later(8)).expose(), b"third");
    }

    #[test]
    fn what_no_header_can_hold_is_an_error_without_it() {
        assert!(header(&SecretBytes::new(b"a\nb".to_vec())).is_none());
        assert_eq!(header(&SecretBytes::new("pässword".into())).unwrap().as_bytes(), "pässword".as_bytes());
    }
}
