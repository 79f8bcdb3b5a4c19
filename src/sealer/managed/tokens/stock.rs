//! The tokens at hand: the oldest is used first, so that no use is lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::super::{ApiError, Fault};
use super::{Fresh, Lent};
use crate::crypto::random;

/// The one in use and the next; more only if renewals overtake their own count.
const MOST: usize = 4;
/// A token is not lent in its last moments: the call is still to be made.
const LAST_MOMENTS: u64 = 5_000_000;

#[derive(Default)]
pub struct Stock {
    tokens: VecDeque<Token>,
    last_serial: u64,
    /// How many uses are too few, if the last one given was for a number of them.
    reserve: Option<u32>,
}

struct Token {
    lent: Lent,
    given: u64,
    /// From then on another is got.
    renew: u64,
    /// From then on it is not lent.
    last: u64,
    end: u64,
    uses: Option<u32>,
}

impl Stock {
    /// Takes in what was given; `begun` is when it was asked for. All times are microseconds of the clock.
    pub fn add(&mut self, fresh: Fresh, begun: u64, now: u64) -> Result<(), ApiError> {
        let lifetime = u64::try_from(fresh.lifetime.as_micros()).unwrap_or(u64::MAX);
        let end = begun.saturating_add(lifetime);
        let last = end.saturating_sub(LAST_MOMENTS.min(lifetime / 20));
        if last <= now || fresh.uses == Some(0) || fresh.token.expose().is_empty() {
            return Err(ApiError::new(Fault::Lie, "the API gives a token that cannot be used any more"));
        }
        self.last_serial = self.last_serial.saturating_add(1);
        self.reserve = fresh.uses.map(|uses| (uses / 4).max(1));
        if fresh.uses.is_none() || self.tokens.len() >= MOST {
            self.tokens.clear();
        }
        self.tokens.push_back(Token {
            lent: Lent { token: Arc::new(fresh.token), serial: self.last_serial },
            given: now,
            renew: end.saturating_sub(early(lifetime)),
            last,
            end,
            uses: fresh.uses,
        });
        Ok(())
    }

    /// One use of the oldest that is good.
    pub fn take(&mut self, now: u64) -> Option<Lent> {
        self.tokens.retain(|token| now < token.last && token.uses != Some(0));
        let token = self.tokens.front_mut()?;
        token.uses = token.uses.map(|uses| uses.saturating_sub(1));
        Some(token.lent.clone())
    }

    /// Whether it is time for another.
    pub fn is_low(&self, now: u64) -> bool {
        let Some(newest) = self.tokens.back() else { return true };
        let left = |token: &Token| token.uses.unwrap_or(0);
        let few =
            self.reserve.is_some_and(|reserve| self.tokens.iter().map(left).fold(0, u32::saturating_add) <= reserve);
        few || newest.renew <= now
    }

    /// Whether its tokens are for a number of uses.
    pub fn is_counted(&self) -> bool {
        self.reserve.is_some()
    }

    /// Forgets a token; how old it was, if it was there.
    pub fn discard(&mut self, serial: u64, now: u64) -> Option<Duration> {
        let at = self.tokens.iter().position(|token| token.lent.serial == serial)?;
        let token = self.tokens.remove(at)?;
        Some(Duration::from_micros(now.saturating_sub(token.given)))
    }

    /// How long the newest lasts.
    pub fn time_left(&self, now: u64) -> Option<Duration> {
        self.tokens.back().map(|token| Duration::from_micros(token.end.saturating_sub(now)))
    }
}

/// A tenth of the lifetime and up to a twentieth more, so that a fleet that started together does not log in together.
fn early(lifetime: u64) -> u64 {
    let [jitter] = random::bytes::<1>().unwrap_or_default();
    (lifetime / 10).saturating_add((lifetime / 20 / 255).saturating_mul(u64::from(jitter)))
}
