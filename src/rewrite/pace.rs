//! How fast requests leave: no more than so many a second, and none while the other side wants to be left alone.

use std::sync::{Mutex as Lock, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

/// See the module.
pub struct Pace {
    /// Ticks once for each request.
    ticks: Option<Mutex<Interval>>,
    not_before: Lock<Option<Instant>>,
}

impl Pace {
    /// At most one request in each such time. In a runtime.
    pub fn new(apart: Option<Duration>) -> Self {
        let ticks = apart.map(|apart| {
            let mut ticks = interval(apart);
            // What was not sent in time is not made up for: the rate holds in every second.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            Mutex::new(ticks)
        });
        Self { ticks, not_before: Lock::default() }
    }

    /// Waits for the next request's turn.
    pub async fn turn(&self) {
        if let Some(ticks) = &self.ticks {
            ticks.lock().await.tick().await;
        }
        while let Some(until) = self.held() {
            sleep_until(until).await;
        }
    }

    /// No request leaves for so long.
    pub fn hold(&self, time: Duration) {
        let Some(until) = Instant::now().checked_add(time) else { return };
        let mut not_before = self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        *not_before = Some(not_before.map_or(until, |known| known.max(until)));
    }

    fn held(&self) -> Option<Instant> {
        let not_before = *self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        not_before.filter(|until| *until > Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_second_has_more_than_its_rate() {
        let pace = Pace::new(Some(Duration::from_millis(20)));
        let start = Instant::now();
        let mut sent = Vec::new();
        for number in 0..500u32 {
            // A pause, after which nothing is made up for.
            if number == 200 {
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
            pace.turn().await;
            sent.push(start.elapsed());
        }
        for (at, first) in sent.iter().enumerate() {
            let second = sent.iter().skip(at).take_while(|time| **time < *first + Duration::from_secs(1)).count();
            assert!(second <= 50, "{second} in the second from {first:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_wants_to_be_left_alone_is() {
        let pace = Pace::new(None);
        let start = Instant::now();
        pace.turn().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        pace.hold(Duration::from_secs(7));
        pace.hold(Duration::from_secs(2));
        pace.turn().await;
        assert!(start.elapsed() >= Duration::from_secs(7));
    }
}
