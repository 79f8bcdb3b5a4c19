use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::clock::{ManualClock, SystemClock};

/// An API that gives tokens named by their number, and knows how often each was used.
#[derive(Default)]
struct Giver {
    given: AtomicUsize,
    at_once: AtomicUsize,
    uses: Mutex<HashMap<Vec<u8>, u32>>,
}

impl Giver {
    fn asked(&self) -> usize {
        self.given.load(Ordering::SeqCst)
    }

    fn renew(
        self: &Arc<Self>,
        lifetime: u64,
        uses: Option<u32>,
        takes: Duration,
    ) -> impl Future<Output = Result<Fresh, ApiError>> + Send + 'static {
        let giver = Arc::clone(self);
        async move {
            assert_eq!(giver.at_once.fetch_add(1, Ordering::SeqCst), 0, "one renewal at a time");
            let number = giver.given.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::time::sleep(takes).await;
            giver.at_once.fetch_sub(1, Ordering::SeqCst);
            let token = SecretBytes::new(format!("token {number}").into_bytes());
            Ok(Fresh { token, lifetime: Duration::from_secs(lifetime), uses })
        }
    }

    fn call(&self, lent: &Lent) -> u32 {
        let mut uses = self.uses.lock().unwrap();
        let count = uses.entry(lent.token.expose().to_vec()).or_insert(0);
        *count += 1;
        *count
    }
}

const SOON: Duration = Duration::from_millis(5);

async fn until(holds: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it never came to hold");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_cold_callers_is_one_log_in() {
    let (giver, cache) = (Arc::new(Giver::default()), TokenCache::new(ManualClock::at(1_000)));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (giver, cache) = (Arc::clone(&giver), cache.clone());
        callers.spawn(async move { cache.lend(|| giver.renew(3600, None, SOON)).await.unwrap().serial });
    }
    let serials = callers.join_all().await;
    assert!(serials.iter().all(|serial| *serial == 1));
    assert_eq!(giver.asked(), 1);
    assert_eq!(cache.seconds_left(), Some(3600));
    assert_eq!(cache.counts().renewals, 1);
}

#[tokio::test]
async fn near_its_end_it_is_renewed_while_it_is_still_lent() {
    let clock = ManualClock::at(1_000);
    let (giver, cache) = (Arc::new(Giver::default()), TokenCache::new(clock.clone()));
    let lend = async || cache.lend(|| giver.renew(1_000, None, SOON)).await.unwrap();
    assert_eq!(lend().await.serial, 1);
    clock.advance(849);
    assert_eq!((lend().await.serial, giver.asked()), (1, 1), "not before 15 % are left");
    clock.advance(52);
    assert_eq!(lend().await.serial, 1, "nobody waits for the new one");
    until(|| cache.counts().renewals == 2).await;
    assert_eq!((lend().await.serial, giver.asked()), (2, 2));
    clock.advance(996);
    let late = lend().await;
    assert_eq!((late.serial, giver.asked()), (3, 3), "in its last moments it is not lent");
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_for_all_who_had_it() {
    let (giver, cache) = (Arc::new(Giver::default()), TokenCache::new(ManualClock::at(1_000)));
    let lend = async || cache.lend(|| giver.renew(1_000, None, SOON)).await.unwrap();
    let (one, two) = (lend().await, lend().await);
    cache.refused(&one);
    assert_eq!(lend().await.serial, 2);
    cache.refused(&two);
    assert_eq!(lend().await.serial, 2, "it had the old one, too");
    assert_eq!(giver.asked(), 2);
}

#[tokio::test]
async fn an_api_that_refuses_all_its_tokens_is_not_asked_for_ever_more() {
    let (giver, cache) = (Arc::new(Giver::default()), TokenCache::new(ManualClock::at(1_000)));
    let mut last = Ok(());
    for _ in 0..100 {
        last = match cache.lend(|| giver.renew(1_000, None, Duration::ZERO)).await {
            Ok(lent) => {
                cache.refused(&lent);
                Ok(())
            }
            Err(error) => Err(error.kind),
        };
    }
    assert_eq!(last, Err(Fault::Credential));
    assert!(giver.asked() <= 4, "{}", giver.asked());
}

#[tokio::test]
async fn a_refused_password_is_tried_once_and_all_are_told() {
    let (tries, cache) = (Arc::new(AtomicUsize::new(0)), TokenCache::new(ManualClock::at(1_000)));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (tries, cache) = (Arc::clone(&tries), cache.clone());
        callers.spawn(async move {
            let renew = || {
                let tries = Arc::clone(&tries);
                async move {
                    tries.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(SOON).await;
                    Err(ApiError::new(Fault::Refused, "Incorrect username or password"))
                }
            };
            cache.lend(renew).await.unwrap_err().kind
        });
    }
    let kinds = callers.join_all().await;
    assert!(kinds.iter().all(|kind| *kind == Fault::Credential), "a log-in's refusal is none of the value");
    assert_eq!(tries.load(Ordering::SeqCst), 1);
    assert_eq!(cache.counts().failures, 1);
}

#[tokio::test]
async fn a_failed_early_renewal_leaves_the_old_token_in_use() {
    const SLOWER: Fault = Fault::Throttled(Some(Duration::from_secs(30)));
    let clock = ManualClock::at(1_000);
    let (giver, cache) = (Arc::new(Giver::default()), TokenCache::new(clock.clone()));
    cache.lend(|| giver.renew(1_000, None, SOON)).await.unwrap();
    clock.advance(950);
    for _ in 0..20 {
        let fails = || async { Err(ApiError::new(SLOWER, "locked")) };
        assert_eq!(cache.lend(fails).await.unwrap().serial, 1);
        tokio::task::yield_now().await;
    }
    assert_eq!(cache.counts().failures, 1, "and is put off");
    clock.advance(60);
    let told = cache.lend(|| giver.renew(1_000, None, SOON)).await.unwrap_err();
    assert_eq!((told.kind, giver.asked()), (SLOWER, 1));
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_nothing_from_the_others() {
    let (giver, cache) = (Arc::new(Giver::default()), TokenCache::new(ManualClock::at(1_000)));
    let slow = Duration::from_millis(60);
    let gone = {
        let (giver, cache) = (Arc::clone(&giver), cache.clone());
        tokio::spawn(async move { cache.lend(|| giver.renew(1_000, None, slow)).await })
    };
    until(|| giver.asked() == 1).await;
    let waits = {
        let (giver, cache) = (Arc::clone(&giver), cache.clone());
        tokio::spawn(async move { cache.lend(|| giver.renew(1_000, None, slow)).await })
    };
    tokio::task::yield_now().await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    assert_eq!(waits.await.unwrap().unwrap().serial, 1);
    assert_eq!(giver.asked(), 1);
}

#[tokio::test]
async fn a_renewal_that_panics_leaves_nothing_locked() {
    let (giver, cache) = (Arc::new(Giver::default()), TokenCache::new(ManualClock::at(1_000)));
    let panics = || async { panic!("a fault of ours") };
    assert_eq!(cache.lend(panics).await.unwrap_err().kind, Fault::Connection);
    tokio::time::sleep(Duration::from_millis(80)).await;
    assert_eq!(cache.lend(|| giver.renew(1_000, None, SOON)).await.unwrap().serial, 1);
}

#[tokio::test]
async fn what_is_useless_when_it_comes_is_not_lent() {
    for (lifetime, uses) in [(0, None), (1_000, Some(0))] {
        let (giver, cache) = (Arc::new(Giver::default()), TokenCache::new(ManualClock::at(1_000)));
        assert_eq!(cache.lend(|| giver.renew(lifetime, uses, SOON)).await.unwrap_err().kind, Fault::Lie);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_three_uses_are_never_used_more_often_and_nobody_fails() {
    let (giver, cache) = (Arc::new(Giver::default()), TokenCache::new(SystemClock::shared()));
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..50u64 {
        let (giver, cache) = (Arc::clone(&giver), cache.clone());
        callers.spawn(async move {
            for round in 0..20 {
                let lent = cache.lend(|| giver.renew(60, Some(3), Duration::from_micros(200))).await.unwrap();
                assert!(giver.call(&lent) <= 3);
                if (caller + round) % 7 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        });
    }
    callers.join_all().await;
    let used: u32 = giver.uses.lock().unwrap().values().sum();
    assert_eq!(used, 1_000);
    assert!((334..=336).contains(&giver.asked()), "no use is lost: {}", giver.asked());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_go_away_at_any_moment_lose_their_own_use_at_most() {
    let (giver, cache) = (Arc::new(Giver::default()), TokenCache::new(SystemClock::shared()));
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..300u64 {
        let (giver, cache) = (Arc::clone(&giver), cache.clone());
        callers.spawn(async move {
            let lending = cache.lend(|| giver.renew(60, Some(3), Duration::from_millis(1)));
            if caller % 3 == 0 {
                let patience = Duration::from_micros(caller * 40);
                return timeout(patience, lending).await.is_ok();
            }
            let lent = lending.await.unwrap();
            assert!(giver.call(&lent) <= 3);
            true
        });
    }
    let served = callers.join_all().await.into_iter().filter(|served| *served).count();
    assert!(served >= 200, "{served}");
}

#[tokio::test]
async fn one_use_each_is_renewed_ahead() {
    let (giver, cache) = (Arc::new(Giver::default()), TokenCache::new(ManualClock::at(1_000)));
    for serial in 1..=5 {
        assert_eq!(cache.lend(|| giver.renew(60, Some(1), Duration::ZERO)).await.unwrap().serial, serial);
        until(|| cache.counts().renewals == serial + 1).await;
    }
    assert_eq!(cache.counts().hits, 4, "only the first caller waited");
}
