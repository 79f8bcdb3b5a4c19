//! How long a peer may keep us waiting. Time that passes while it owes us something is held against it, and each `rate`
//! bytes that then come take a second off again: who keeps to the rate waits for ever, who stands still or trickles does not.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

/// The account of one peer.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    /// Bytes a second; `None`: any byte makes up for all time before.
    rate: Option<u32>,
    held: Duration,
    since: Option<Instant>,
}

impl Patience {
    /// Patience that ends when `limit` is held against the peer.
    pub(super) fn new(limit: Duration, rate: Option<u32>) -> Self {
        Self { limit, rate, held: Duration::ZERO, since: None }
    }

    /// The peer owes us something from now on, or still does. When patience ends, if nothing moves.
    pub(super) fn waits(&mut self) -> Instant {
        let since = *self.since.get_or_insert_with(Instant::now);
        since + self.limit.saturating_sub(self.held)
    }

    /// Whether the peer owes us something.
    pub(super) fn is_waiting(&self) -> bool {
        self.since.is_some()
    }

    /// The peer has moved so many bytes, and owes nothing until [`Self::waits`] is called again; unless patience has ended:
    /// then `false`.
    #[must_use]
    pub(super) fn moved(&mut self, bytes: usize) -> bool {
        if let Some(since) = self.since.take() {
            self.held += since.elapsed();
        }
        if self.held.is_zero() || bytes == 0 {
            return self.held < self.limit;
        }
        if self.held >= self.limit {
            return false;
        }
        self.held = match self.rate {
            None => Duration::ZERO,
            Some(rate) => {
                let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
                self.held.saturating_sub(Duration::from_secs_f64(f64::from(bytes) / f64::from(rate.max(1))))
            }
        };
        true
    }
}

/// The output of `future`, or `None` after `time`. It is pinned where it was made: moved in here, it would take its room twice.
pub(super) async fn within<F: Future>(time: Option<Duration>, mut future: Pin<&mut F>) -> Option<F::Output> {
    // Boxed, so that who has no limit pays nothing for it.
    let mut timer = time.map(|time| Box::pin(tokio::time::sleep(time)));
    poll_fn(|cx| match (future.as_mut().poll(cx), &mut timer) {
        (Poll::Ready(output), _) => Poll::Ready(Some(output)),
        (Poll::Pending, Some(timer)) => timer.as_mut().poll(cx).map(|()| None),
        (Poll::Pending, None) => Poll::Pending,
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    /// Seconds until patience ends for a peer that sends so many bytes each second.
    async fn lasts(rate: Option<u32>, bytes: usize) -> Option<u64> {
        let mut patience = Patience::new(MINUTE, rate);
        for second in 0..3600 {
            if patience.waits() <= Instant::now() {
                return Some(second);
            }
            tokio::time::advance(Duration::from_secs(1)).await;
            if !patience.moved(bytes) {
                return Some(second + 1);
            }
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn patience_is_for_those_who_keep_to_the_rate() {
        assert_eq!(lasts(Some(240), 0).await, Some(60));
        assert_eq!(lasts(Some(240), 1).await, Some(61));
        assert_eq!(lasts(Some(240), 120).await, Some(119));
        assert_eq!(lasts(Some(240), 240).await, None);
        assert_eq!(lasts(None, 0).await, Some(60));
        assert_eq!(lasts(None, 1).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nothing_is_owed_does_not_count() {
        let mut patience = Patience::new(MINUTE, Some(240));
        patience.waits();
        tokio::time::advance(MINUTE / 2).await;
        assert!(patience.moved(0));
        assert!(!patience.is_waiting());
        tokio::time::advance(MINUTE * 10).await;
        assert_eq!(patience.waits(), Instant::now() + MINUTE / 2);
        // What was good once is no credit for later.
        assert!(patience.moved(1 << 30));
        assert_eq!(patience.waits(), Instant::now() + MINUTE);
    }
}
