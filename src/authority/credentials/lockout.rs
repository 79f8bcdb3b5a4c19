//! Failed log-ins and what they cost: waiting, twice as long each time.
//!
//! Counted twice. By user name and address: after five failures. By user name alone, against guesses from many addresses: after
//! fifty, never for more than a minute, and not at addresses where that user logged in before, so that nobody locks out another
//! by guessing. An attempt counts as failed from its beginning: a thousand at once are a thousand.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::sync::Cache;

use crate::clock::SharedClock;
use crate::crypto::kdf::pae;
use crate::crypto::mac::hmac_sha256;
use crate::secret::Secret;

const REMEMBERED: u64 = 65_536;
/// After so many quiet seconds all is forgotten.
const FORGIVEN: u64 = 3600;
/// How long an address where a user logged in is exempt from guesses made elsewhere.
const FAMILIAR: Duration = Duration::from_secs(30 * 24 * 3600);

const HERE: Patience = Patience { free: 5, longest: 900 };
const ANYWHERE: Patience = Patience { free: 50, longest: 60 };

/// See the module.
pub struct Lockout {
    clock: SharedClock,
    /// Of this process: who chooses names cannot choose which are forgotten first.
    key: Secret<32>,
    tries: Cache<[u8; 32], Arc<Mutex<Tries>>>,
    familiar: Cache<[u8; 32], ()>,
}

/// An attempt that was let through.
pub struct Attempt {
    place: [u8; 32],
    here: Arc<Mutex<Tries>>,
    anywhere: Arc<Mutex<Tries>>,
}

#[derive(Debug, Default)]
struct Tries {
    failed: u32,
    last: u64,
}

struct Patience {
    free: u32,
    longest: u64,
}

impl Lockout {
    pub fn new(clock: SharedClock, key: Secret<32>) -> Self {
        let tries = Cache::builder().max_capacity(REMEMBERED).time_to_idle(Duration::from_secs(FORGIVEN)).build();
        let familiar = Cache::builder().max_capacity(REMEMBERED).time_to_live(FAMILIAR).build();
        Self { clock, key, tries, familiar }
    }

    /// Lets an attempt through, or says how many seconds to wait.
    pub fn begin(&self, name: &str, from: Option<IpAddr>) -> Result<Attempt, u64> {
        let place = self.digest(&[b"here", name.as_bytes(), &network(from)]);
        let attempt = Attempt {
            place,
            here: self.tries.get_with(place, Arc::default),
            anywhere: self.tries.get_with(self.digest(&[b"anywhere", name.as_bytes()]), Arc::default),
        };
        let now = self.clock.now();
        {
            let mut here = attempt.here.lock().unwrap_or_else(PoisonError::into_inner);
            let mut anywhere = attempt.anywhere.lock().unwrap_or_else(PoisonError::into_inner);
            let known = self.familiar.contains_key(&place);
            let wait = here.wait(&HERE, now).max(if known { 0 } else { anywhere.wait(&ANYWHERE, now) });
            if wait > 0 {
                return Err(wait);
            }
            here.fail(now);
            anywhere.fail(now);
        }
        Ok(attempt)
    }

    /// The password was right.
    pub fn succeeded(&self, attempt: &Attempt) {
        attempt.here.lock().unwrap_or_else(PoisonError::into_inner).failed = 0;
        attempt.forgive(&attempt.anywhere);
        self.familiar.insert(attempt.place, ());
    }

    fn digest(&self, parts: &[&[u8]]) -> [u8; 32] {
        hmac_sha256(self.key.expose(), &pae(parts))
    }
}

impl Attempt {
    /// The password was not looked at.
    pub fn not_made(&self) {
        self.forgive(&self.here);
        self.forgive(&self.anywhere);
    }

    #[expect(clippy::unused_self, reason = "only an attempt takes back what it counted")]
    fn forgive(&self, tries: &Mutex<Tries>) {
        let mut tries = tries.lock().unwrap_or_else(PoisonError::into_inner);
        tries.failed = tries.failed.saturating_sub(1);
    }
}

impl Tries {
    fn wait(&mut self, patience: &Patience, now: u64) -> u64 {
        if now.saturating_sub(self.last) > FORGIVEN {
            self.failed = 0;
        }
        let Some(over) = self.failed.checked_sub(patience.free) else { return 0 };
        let pause = 1_u64.checked_shl(over).unwrap_or(u64::MAX).clamp(1, patience.longest);
        self.last.saturating_add(pause).saturating_sub(now)
    }

    fn fail(&mut self, now: u64) {
        self.failed = self.failed.saturating_add(1);
        self.last = now;
    }
}

/// Who has one IPv6 address has all of its /64.
fn network(from: Option<IpAddr>) -> [u8; 16] {
    match from.map(|ip| ip.to_canonical()) {
        Some(IpAddr::V4(ip)) => ip.to_ipv6_mapped().octets(),
        Some(IpAddr::V6(ip)) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).octets(),
        None => [0xff; 16],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::crypto::random;

    fn lockout() -> (Lockout, Arc<ManualClock>) {
        let clock = ManualClock::at(1_000_000);
        (Lockout::new(clock.clone(), random::secret().unwrap()), clock)
    }

    fn ip(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, n]))
    }

    #[test]
    fn waiting_doubles_and_ends() {
        let (lockout, clock) = lockout();
        for _ in 0..5 {
            assert!(lockout.begin("alice", ip(1)).is_ok());
        }
        for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            assert_eq!(lockout.begin("alice", ip(1)).err(), Some(wait));
            assert_eq!(lockout.begin("alice", ip(1)).err(), Some(wait), "asking again is no attempt");
            assert!(lockout.begin("bob", ip(1)).is_ok_and(|attempt| {
                attempt.not_made();
                true
            }));
            clock.advance(wait);
            assert!(lockout.begin("alice", ip(1)).is_ok());
        }
        clock.advance(FORGIVEN + 1);
        for _ in 0..5 {
            assert!(lockout.begin("alice", ip(1)).is_ok());
        }
    }

    #[test]
    fn a_success_starts_anew_and_what_was_not_looked_at_counts_for_nothing() {
        let (lockout, _) = lockout();
        for _ in 0..40 {
            lockout.begin("alice", ip(1)).unwrap().not_made();
        }
        for _ in 0..40 {
            let attempt = lockout.begin("alice", ip(1)).unwrap();
            lockout.succeeded(&attempt);
        }
    }

    #[test]
    fn guesses_from_everywhere_lock_out_but_not_where_the_user_is_known() {
        let (lockout, clock) = lockout();
        let attempt = lockout.begin("alice", ip(250)).unwrap();
        lockout.succeeded(&attempt);
        for n in 0..50 {
            assert!(lockout.begin("alice", ip(n)).is_ok(), "{n}");
        }
        assert_eq!(lockout.begin("alice", ip(99)).err(), Some(1));
        assert!(lockout.begin("alice", ip(250)).is_ok());
        clock.advance(60);
        assert!(lockout.begin("alice", ip(99)).is_ok());
    }

    #[test]
    fn one_ipv6_network_is_one_place() {
        let (lockout, _) = lockout();
        let from = |n: u16| Some(IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, n]));
        for n in 0..5 {
            assert!(lockout.begin("alice", from(n)).is_ok());
        }
        assert!(lockout.begin("alice", from(5)).is_err());
        assert!(lockout.begin("alice", Some(IpAddr::from([0x2001, 0xdb8, 0, 2, 0, 0, 0, 1]))).is_ok());
    }
}
