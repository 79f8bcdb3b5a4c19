//! A future beside a busy one. Timers and notices seldom have news, and to ask each of them at every read and write of a
//! connection costs more than the reading: this one is asked only when it was woken itself.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// The output of `future`, which is polled at first and then after it was woken. For one task: who polls it later from another
/// must poll it once more than it was woken.
pub(super) async fn aside<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let news = Arc::new(News { any: AtomicBool::new(true), task: AtomicWaker::new() });
    let waker = Waker::from(Arc::clone(&news));
    std::future::poll_fn(|cx| poll(&news, &waker, future.as_mut(), cx)).await
}

fn poll<F: Future>(news: &News, waker: &Waker, future: Pin<&mut F>, cx: &Context<'_>) -> Poll<F::Output> {
    if !news.any.load(Ordering::Relaxed) {
        return Poll::Pending;
    }
    // Before the flag is taken down: news that come from here on wake the task.
    news.task.register(cx.waker());
    news.any.swap(false, Ordering::AcqRel);
    future.poll(&mut Context::from_waker(waker))
}

struct News {
    any: AtomicBool,
    task: AtomicWaker,
}

impl Wake for News {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.any.swap(true, Ordering::AcqRel) {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_asked_only_when_it_was_woken() {
        let asked = Cell::new(0);
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        let side = aside(async {
            for _ in 0..3 {
                poll_fn(|cx| {
                    asked.set(asked.get() + 1);
                    ticks.poll_tick(cx)
                })
                .await;
            }
            "done"
        });
        let mut side = pin!(side);
        let mut rounds = 0;
        let done = loop {
            let polled = poll_fn(|cx| Poll::Ready(side.as_mut().poll(cx))).await;
            if let Poll::Ready(done) = polled {
                break done;
            }
            rounds += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert_eq!(done, "done");
        assert!(rounds >= 200, "{rounds}");
        // Each tick is asked for, and asked for again when it has come.
        assert_eq!(asked.get(), 5);
    }

    #[tokio::test]
    async fn news_from_another_thread_wake_the_task() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let side = tokio::spawn(aside(told));
        std::thread::spawn(move || tell.send(7)).join().unwrap().unwrap();
        assert_eq!(side.await.unwrap(), Ok(7));
    }
}
