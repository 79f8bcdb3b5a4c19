//! Values that an API opened, kept for a moment: off unless configured, in memory alone, wiped when they go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use moka::sync::Cache;

use super::How;
use super::settings::OpenedCache;
use crate::crypto::kdf::pae;
use crate::crypto::mac::hmac_sha256;
use crate::crypto::random::{self, RandomError};
use crate::secret::{Secret, SecretBytes};

/// No value is kept for longer, whatever the settings say.
const LONGEST: Duration = Duration::from_mins(1);
/// Longer values are not kept, so that so many entries are so much memory.
const LARGEST: usize = 4 << 10;

/// The opened values of one profile.
pub struct OpenedValues {
    /// Of this process and cache: a dump of the names in it tells nothing about which ciphertexts were opened.
    key: Secret<32>,
    values: Cache<[u8; 32], SecretBytes>,
    ttl: Duration,
    /// Whether there may be any: the cache's own count lags behind.
    any: AtomicBool,
}

/// What an opened value is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name([u8; 32]);

impl OpenedValues {
    /// An empty one.
    pub fn new(settings: OpenedCache) -> Result<Self, RandomError> {
        let ttl = settings.ttl.min(LONGEST);
        let values = Cache::builder().max_capacity(settings.entries).time_to_live(ttl).build();
        Ok(Self { key: random::secret()?, values, ttl, any: AtomicBool::new(false) })
    }

    /// Everything that the API's answer depends on.
    pub fn name(&self, profile: &[u8], how: How, ciphertext: &[u8]) -> Name {
        let context = how.context.as_ref().map_or(&[][..], |context| context);
        let parts = pae(&[profile, &[u8::from(how.signed)], context, ciphertext]);
        Name(hmac_sha256(self.key.expose(), &parts))
    }

    /// The value, if it was opened a moment ago.
    pub fn find(&self, name: Name) -> Option<SecretBytes> {
        self.values.get(&name.0)
    }

    /// Keeps a value.
    pub fn keep(&self, name: Name, value: &SecretBytes) {
        if value.expose().len() <= LARGEST {
            self.values.insert(name.0, value.clone());
            self.any.store(true, Ordering::Release);
        }
    }

    /// Forgets all; costs nothing where there is nothing.
    pub fn clear(&self) {
        if self.any.swap(false, Ordering::AcqRel) {
            self.values.invalidate_all();
            self.values.run_pending_tasks();
        }
    }

    /// Wipes what has ended. Without it an idle process would keep values that it lends no more.
    pub fn sweep(&self) {
        self.values.run_pending_tasks();
    }

    /// How often to [`OpenedValues::sweep`].
    pub fn sweep_interval(&self) -> Duration {
        (self.ttl / 2).max(Duration::from_millis(500))
    }

    /// How many there are, about.
    pub fn entries(&self) -> u64 {
        self.values.entry_count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: OpenedCache = OpenedCache { ttl: Duration::from_mins(1), entries: 2 };

    fn text(text: &str) -> SecretBytes {
        SecretBytes::new(text.as_bytes().to_vec())
    }

    #[test]
    fn only_the_same_question_finds_an_answer() {
        let opened = OpenedValues::new(MINUTE).unwrap();
        let how = How::default();
        let name = opened.name(b"partner", how, b"ciphertext");
        opened.keep(name, &text("value"));
        assert_eq!(opened.find(name).unwrap().expose(), b"value");
        for other in [
            opened.name(b"partners", how, b"ciphertext"),
            opened.name(b"partner", How { signed: true, ..how }, b"ciphertext"),
            opened.name(b"partner", How { context: Some([0; 32]), ..how }, b"ciphertext"),
            opened.name(b"partner", how, b"ciphertexT"),
            OpenedValues::new(MINUTE).unwrap().name(b"partner", how, b"ciphertext"),
        ] {
            assert!(opened.find(other).is_none());
        }
        opened.clear();
        assert!(opened.find(name).is_none());
        assert_eq!(opened.entries(), 0);
    }

    #[test]
    fn it_is_bounded_in_number_size_and_time() {
        let opened = OpenedValues::new(MINUTE).unwrap();
        for n in 0..100u8 {
            opened.keep(opened.name(b"partner", How::default(), &[n]), &text("value"));
        }
        opened.sweep();
        assert!(opened.entries() <= 2);
        let name = opened.name(b"partner", How::default(), b"long");
        opened.keep(name, &SecretBytes::new(vec![b'a'; LARGEST + 1]));
        assert!(opened.find(name).is_none());
        let for_long = OpenedValues::new(OpenedCache { ttl: Duration::from_hours(1), entries: 2 }).unwrap();
        assert_eq!(for_long.ttl, LONGEST);

        let short = OpenedValues::new(OpenedCache { ttl: Duration::from_millis(10), entries: 2 }).unwrap();
        let name = short.name(b"partner", How::default(), b"soon gone");
        short.keep(name, &text("value"));
        std::thread::sleep(Duration::from_millis(20));
        assert!(short.find(name).is_none());
        short.sweep();
        assert_eq!(short.entries(), 0, "and it is wiped, not just hidden");
    }
}
