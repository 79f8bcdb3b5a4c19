//! A password that goes out with every call: one that the API does not take is not shown again and again, which would lock its
//! account.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::super::tokens::backoff::Backoff;
use super::super::{ApiError, Fault};

/// What is known of the password of one account.
#[derive(Default)]
pub(super) struct Password {
    state: Mutex<State>,
    /// Held by who shows what was not taken before.
    turn: tokio::sync::Mutex<()>,
}

/// Credentials are told apart by a digest of all that a call shows.
#[derive(Default)]
struct State {
    taken: Option<[u8; 32]>,
    refused: Option<[u8; 32]>,
    backoff: Backoff,
}

impl Password {
    /// Makes a call that shows these credentials, unless they were not taken a moment ago: then the same error is the answer. Until
    /// they are taken for the first time, they are shown by one call at a time.
    pub(super) async fn show<T>(
        &self,
        shown: [u8; 32],
        call: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let mut turn = None;
        if !self.is_taken(shown)? {
            let first = self.turn.lock().await;
            // Whoever was before may have found out.
            turn = (!self.is_taken(shown)?).then_some(first);
        }
        let done = call.await;
        self.note(shown, &done);
        drop(turn);
        done
    }

    fn is_taken(&self, shown: [u8; 32]) -> Result<bool, ApiError> {
        let state = self.state();
        match state.backoff.error(Instant::now()).filter(|_| state.refused == Some(shown)) {
            Some(error) => Err(error),
            None => Ok(state.taken == Some(shown)),
        }
    }

    fn note<T>(&self, shown: [u8; 32], done: &Result<T, ApiError>) {
        let mut state = self.state();
        match done {
            Err(error) if error.kind == Fault::Credential => {
                if state.refused != Some(shown) {
                    *state = State { refused: Some(shown), ..State::default() };
                }
                state.taken = None;
                state.backoff.failed(error, Instant::now());
            }
            Ok(_) => *state = State { taken: Some(shown), ..State::default() },
            // What it says of a value it may say to anybody, before it looks at the password.
            Err(_) => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::time::{advance, sleep};

    use super::*;

    const WRONG: [u8; 32] = [1; 32];
    const RIGHT: [u8; 32] = [2; 32];

    #[derive(Default)]
    struct Api {
        password: Password,
        shown: AtomicUsize,
        most: AtomicUsize,
    }

    impl Api {
        async fn call(&self, shown: [u8; 32]) -> Result<(), ApiError> {
            let call = async {
                let now = self.shown.fetch_add(1, Ordering::SeqCst) + 1;
                sleep(Duration::from_millis(10)).await;
                self.most.fetch_max(self.shown.load(Ordering::SeqCst) - now, Ordering::SeqCst);
                if shown == RIGHT { Ok(()) } else { Err(ApiError::new(Fault::Credential, "not taken")) }
            };
            self.password.show(shown, call).await
        }

        async fn many(&self, shown: [u8; 32]) -> (usize, usize) {
            let before = self.shown.load(Ordering::SeqCst);
            let done = join_all((0..50).map(|_| self.call(shown))).await;
            (done.iter().filter(|done| done.is_ok()).count(), self.shown.load(Ordering::SeqCst) - before)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_password_is_shown_a_few_times_however_many_call() {
        let api = Api::default();
        assert_eq!(api.many(WRONG).await, (0, 1));
        assert_eq!(api.many(WRONG).await, (0, 0), "not so soon");
        let mut shown = 0;
        for _ in 0..600 {
            advance(Duration::from_secs(1)).await;
            shown += api.many(WRONG).await.1;
        }
        assert!((5..20).contains(&shown), "{shown} in ten minutes");
        assert_eq!(api.many(RIGHT).await, (50, 50), "another is tried at once");
        assert!(api.most.load(Ordering::SeqCst) > 1, "and once it is taken, calls do not wait for each other");
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_that_does_not_answer_says_nothing_of_the_password() {
        let api = Api::default();
        let away = || async { Err::<(), _>(ApiError::new(Fault::Server, "down")) };
        for _ in 0..3 {
            assert_eq!(api.password.show(RIGHT, away()).await.unwrap_err().kind, Fault::Server);
        }
        let no = || async { Err::<(), _>(ApiError::new(Fault::Refused, "no ciphertext")) };
        assert_eq!(api.call(WRONG).await.unwrap_err().kind, Fault::Credential);
        advance(Duration::from_secs(2)).await;
        assert_eq!(api.password.show(WRONG, no()).await.unwrap_err().kind, Fault::Refused);
        assert!(api.many(WRONG).await.1 <= 1, "nor does a value that it refuses");
        // Nor does who goes away in the middle keep the others waiting.
        let hangs = api.password.show(RIGHT, std::future::pending::<Result<(), ApiError>>());
        assert!(tokio::time::timeout(Duration::from_secs(2), hangs).await.is_err());
        api.call(RIGHT).await.unwrap();
        assert_eq!(api.call(WRONG).await.unwrap_err().kind, Fault::Credential);
        api.call(RIGHT).await.unwrap();
    }
}
