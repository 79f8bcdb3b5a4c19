//! Wake-ups without news. Who takes the last piece of a body from hyper wakes the connection in HTTP/1 that it came by, which has
//! nothing left to do for it: a poll of all that a connection is, once for each body. These connections are polled with wakers that
//! such a wake-up does not pass.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;

thread_local! {
    /// What this thread takes may be a last piece.
    static TAKING: Cell<bool> = const { Cell::new(false) };
    /// Who was woken for it.
    static WOKEN: Cell<Option<Arc<Task>>> = const { Cell::new(None) };
}

/// The waker of one task, and the one that its connection gets instead.
#[derive(Default)]
pub(super) struct Quiet(Option<(Waker, Waker)>);

struct Task(Waker);

impl Quiet {
    /// What to poll the connection with.
    pub(super) fn context(&mut self, cx: &Context<'_>) -> Context<'_> {
        if self.0.as_ref().is_none_or(|(task, _)| !task.will_wake(cx.waker())) {
            self.0 = None;
        }
        let made = || (cx.waker().clone(), Waker::from(Arc::new(Task(cx.waker().clone()))));
        let (_, ours) = self.0.get_or_insert_with(made);
        Context::from_waker(ours)
    }
}

/// Polls a body. If what it gives is the last of it, the connection in HTTP/1 that it came by is not woken for that.
pub(super) fn poll(body: &mut Incoming, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
    let taking = Taking::new();
    let polled = Pin::new(&mut *body).poll_frame(cx);
    if matches!(polled, Poll::Ready(Some(Ok(_)))) && body.is_end_stream() {
        WOKEN.set(None);
    }
    drop(taking);
    polled
}

/// However it ends, nobody is kept from being woken any longer.
struct Taking;

impl Taking {
    fn new() -> Self {
        TAKING.set(true);
        Self
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        TAKING.set(false);
        if let Some(task) = WOKEN.take() {
            task.0.wake_by_ref();
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if !TAKING.get() {
            self.0.wake_by_ref();
        } else if let Some(before) = WOKEN.replace(Some(self)) {
            // Only one is kept: whoever else is woken has news.
            before.0.wake_by_ref();
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if TAKING.get() { Arc::clone(self).wake() } else { self.0.wake_by_ref() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_waker_wakes_its_task_at_once_or_when_nothing_is_taken_any_more() {
        let counted = Arc::new(Counted::default());
        let task = Waker::from(Arc::clone(&counted));
        let mut quiet = Quiet::default();
        let waker = quiet.context(&Context::from_waker(&task)).waker().clone();
        assert!(quiet.context(&Context::from_waker(&task)).waker().will_wake(&waker), "one for all polls");
        let woken = || counted.0.load(Ordering::Relaxed);
        waker.wake_by_ref();
        assert_eq!(woken(), 1);
        let taking = Taking::new();
        waker.wake_by_ref();
        assert_eq!(woken(), 1);
        drop(taking);
        assert_eq!(woken(), 2);

        let taking = Taking::new();
        waker.wake_by_ref();
        WOKEN.set(None);
        drop(taking);
        assert_eq!(woken(), 2, "of a last piece nobody hears");

        let other = Waker::from(Arc::new(Counted::default()));
        assert!(!quiet.context(&Context::from_waker(&other)).waker().will_wake(&waker), "another task");
        waker.wake();
        assert_eq!(woken(), 3);
    }
}
