//! Turns: so many at once, so many wait, and none for longer than is useful. Who comes when the queue is full is told so at
//! once, while asking again is still worth it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time;

/// Turns and those who wait for one.
#[derive(Debug)]
pub(super) struct Queue {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    most: usize,
}

impl Queue {
    /// `turns` at once, `most` waiting.
    pub(super) fn new(turns: usize, most: usize) -> Self {
        let turns = Arc::new(Semaphore::new(turns.min(Semaphore::MAX_PERMITS)));
        Self { turns, waiting: AtomicUsize::new(0), most }
    }

    /// A turn, or `None` if the queue is full or none came within `patience`.
    pub(super) async fn turn(&self, patience: Duration) -> Option<OwnedSemaphorePermit> {
        if let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() {
            return Some(turn);
        }
        let _waiter = Waiter::among(self)?;
        time::timeout(patience, Arc::clone(&self.turns).acquire_owned()).await.ok()?.ok()
    }
}

/// One who waits, until it is dropped.
struct Waiter<'a>(&'a AtomicUsize);

impl<'a> Waiter<'a> {
    fn among(queue: &'a Queue) -> Option<Self> {
        let waiter = Self(&queue.waiting);
        // Dropped if it is one too many, which takes it off again.
        (queue.waiting.fetch_add(1, Ordering::Relaxed) < queue.most).then_some(waiter)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_no_longer_than_it_may_be_and_forgets_who_leaves() {
        let queue = Queue::new(1, 2);
        let first = queue.turn(Duration::ZERO).await.unwrap();
        assert!(queue.turn(Duration::from_secs(1)).await.is_none(), "time is over");
        for _ in 0..10 {
            let leaves = time::timeout(Duration::from_millis(1), queue.turn(Duration::from_secs(1)));
            assert!(leaves.await.is_err());
        }
        let (a, b, c, ()) = tokio::join!(
            queue.turn(Duration::from_secs(9)),
            queue.turn(Duration::from_secs(9)),
            async { queue.turn(Duration::from_secs(9)).await.is_none() && queue.waiting.load(Ordering::Relaxed) == 2 },
            async {
                time::sleep(Duration::from_secs(1)).await;
                drop(first);
                time::sleep(Duration::from_secs(9)).await;
            },
        );
        assert!(c, "the third was not turned away at once");
        assert!(a.is_some() && b.is_none(), "one turn for two");
        assert_eq!(queue.waiting.load(Ordering::Relaxed), 0);
    }
}
