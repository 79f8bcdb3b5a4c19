//! Bodies of callers that nobody knows yet, such as those who log in: few at once are waited for, and not for long, so that slow
//! strangers never take the places of calls whose callers are known.

use std::future::ready;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::Semaphore;

const AT_ONCE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(5);

static PLACES: Places = Places(Semaphore::const_new(AT_ONCE));

struct Places(Semaphore);

/// What reading a body gives; `None`: it did not come in time, or too many strangers are at it. What is there already needs no
/// place.
pub async fn read<T>(reading: impl Future<Output = T>) -> Option<T> {
    PLACES.read(reading).await
}

impl Places {
    async fn read<T>(&self, reading: impl Future<Output = T>) -> Option<T> {
        let mut reading = pin!(reading);
        tokio::select! {
            biased;
            read = reading.as_mut() => return Some(read),
            () = ready(()) => {}
        }
        let _place = self.0.try_acquire().ok()?;
        tokio::time::timeout(PATIENCE, reading).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[tokio::test]
    async fn few_wait_and_who_has_all_there_is_read_at_once() {
        let (places, mut cx) = (Places(Semaphore::new(1)), Context::from_waker(Waker::noop()));
        let mut first = Box::pin(places.read(pending::<()>()));
        assert_eq!(first.as_mut().poll(&mut cx), Poll::Pending);
        assert_eq!(places.read(pending::<()>()).await, None);
        assert_eq!(places.read(ready(7)).await, Some(7));
        drop(first);
        assert_eq!(pin!(places.read(pending::<()>())).poll(&mut cx), Poll::Pending);
    }
}
