//! From threads that may block to futures: a runtime of one thread, owned by the store.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::runtime::{Builder, Runtime};

use super::super::StoreError;

/// See the module.
#[derive(Debug)]
pub struct Bridge(Option<Runtime>);

impl Bridge {
    /// Starts the thread.
    pub fn new() -> Result<Self, StoreError> {
        Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("postgres")
            .enable_all()
            .build()
            .map(|runtime| Self(Some(runtime)))
            .map_err(|e| StoreError::Unavailable(format!("cannot start a thread for the database: {e}")))
    }

    /// Waits for a future here while the runtime's thread drives its sockets and timers. Unlike the runtime's own
    /// `block_on` it may be called from any thread.
    pub fn wait<F: Future>(&self, future: F) -> F::Output {
        let _context = self.0.as_ref().map(Runtime::enter);
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(output) => return output,
                Poll::Pending => thread::park(),
            }
        }
    }

    /// Runs a future until the store is dropped.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.0 {
            drop(runtime.spawn(future));
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Also where waiting for its thread is not allowed, as inside another runtime.
            runtime.shutdown_background();
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
