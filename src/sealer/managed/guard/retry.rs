//! Tries after the first, with full jitter: every wait is any time up to a bound that doubles, so that many who failed together do
//! not come back together.

use std::future::Future;
use std::iter;
use std::time::Duration;

use backon::Retryable;

use super::super::{ApiError, Fault};
use super::deadline::Deadline;
use crate::crypto::random;

/// The bound of the first wait.
const FIRST: Duration = Duration::from_millis(100);
/// No wait is longer, unless the API asks for one.
const MOST: Duration = Duration::from_secs(2);

/// Tries until it succeeds, fails for good, or would have to wait beyond the deadline.
pub(super) async fn within<T, F, R>(
    deadline: Deadline,
    retries: u32,
    retried: impl Fn(),
    attempt: F,
) -> Result<T, ApiError>
where
    F: Fn() -> R,
    R: Future<Output = Result<T, ApiError>>,
{
    attempt
        .retry(waits(retries))
        .when(|error: &ApiError| error.kind.is_retryable())
        .adjust(|error, wait| fitting(error.kind, wait?, deadline.left()))
        .notify(|_, _| retried())
        .await
}

/// The wait before the next try; `None` if there is no time for it: who is told no early can do something else.
fn fitting(fault: Fault, wait: Duration, left: Duration) -> Option<Duration> {
    let asked = match fault {
        Fault::Throttled(Some(asked)) => asked,
        _ => Duration::ZERO,
    };
    asked.checked_add(wait).filter(|wait| *wait < left)
}

fn waits(retries: u32) -> impl Iterator<Item = Duration> + Send + Sync + Unpin {
    let bounds = iter::successors(Some(FIRST), |bound| Some(bound.saturating_mul(2).min(MOST)));
    bounds.take(usize::try_from(retries).unwrap_or(usize::MAX)).map(|bound| {
        // Without randomness from the system the bound itself.
        random::bytes().map_or(bound, |bytes| share(bound, u32::from_le_bytes(bytes)))
    })
}

/// Of the bound, as much as the number is of its largest.
fn share(bound: Duration, number: u32) -> Duration {
    bound.mul_f64(f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_wait_is_any_time_up_to_a_bound_that_doubles() {
        assert_eq!(share(FIRST, 0), Duration::ZERO);
        assert_eq!(share(FIRST, u32::MAX), FIRST);
        assert!(share(FIRST, u32::MAX / 2) < ms(51));
        for _ in 0..100 {
            let waits: Vec<_> = waits(7).collect();
            assert_eq!(waits.len(), 7);
            let bounds = [100, 200, 400, 800, 1600, 2000, 2000].map(ms);
            assert!(waits.iter().zip(bounds).all(|(wait, bound)| *wait <= bound), "{waits:?}");
        }
        assert_eq!(waits(0).count(), 0);
        let distinct: std::collections::BTreeSet<_> = (0..100).flat_map(|_| waits(1)).collect();
        assert!(distinct.len() > 50, "there is no jitter");
    }

    #[rstest]
    #[case::no_word(Fault::Server, 50, 1000, Some(50))]
    #[case::throttled(Fault::Throttled(None), 50, 1000, Some(50))]
    #[case::asked(Fault::Throttled(Some(ms(500))), 50, 1000, Some(550))]
    #[case::asked_too_much(Fault::Throttled(Some(ms(1000))), 0, 1000, None)]
    #[case::asked_endlessly(Fault::Throttled(Some(Duration::MAX)), 1, 1000, None)]
    #[case::no_time(Fault::Connection, 50, 50, None)]
    fn a_wait_must_fit(#[case] fault: Fault, #[case] wait: u64, #[case] left: u64, #[case] expected: Option<u64>) {
        assert_eq!(fitting(fault, ms(wait), ms(left)), expected.map(ms));
    }
}
