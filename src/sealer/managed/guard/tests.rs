use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rstest::rstest;
use tokio::sync::Notify;
use tokio::time::{Instant, advance, sleep};

use super::*;
use crate::metrics::Metrics;

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn limits() -> CallLimits {
    CallLimits {
        timeout: ms(1000),
        budget: ms(2500),
        retries: 2,
        concurrency: 2,
        queue: 3,
        breaker_failures: 4,
        breaker_pause: ms(5000),
        ..CallLimits::default()
    }
}

fn guard(limits: &CallLimits) -> (Arc<Guard>, Metrics) {
    let metrics = Metrics::default();
    (Arc::new(Guard::new("partner", limits, metrics.managed("partner").calls)), metrics)
}

fn error(kind: Fault) -> ApiError {
    ApiError::new(kind, format!("said {}", kind.word()))
}

/// Counts its calls, and answers by their number.
async fn counted<T>(guard: &Guard, answer: impl Fn(u32) -> Result<T, Fault>) -> (Result<T, Fault>, u32) {
    let calls = AtomicU32::new(0);
    let result = guard.run("encrypt", || ready(answer(calls.fetch_add(1, Ordering::Relaxed)).map_err(error))).await;
    (result.map_err(|error| error.kind), calls.into_inner())
}

#[rstest]
#[case::success(None, 1)]
#[case::connection(Some(Fault::Connection), 3)]
#[case::timeout(Some(Fault::Timeout), 3)]
#[case::throttled(Some(Fault::Throttled(None)), 3)]
#[case::throttled_for_a_moment(Some(Fault::Throttled(Some(ms(100)))), 3)]
#[case::throttled_for_long(Some(Fault::Throttled(Some(ms(9000)))), 1)]
#[case::server(Some(Fault::Server), 3)]
#[case::credential(Some(Fault::Credential), 1)]
#[case::refused(Some(Fault::Refused), 1)]
#[case::lie(Some(Fault::Lie), 1)]
#[case::saturated(Some(Fault::Saturated), 1)]
#[case::broken(Some(Fault::Broken), 1)]
#[tokio::test(start_paused = true)]
async fn only_what_may_do_better_is_tried_again(#[case] fault: Option<Fault>, #[case] tries: u32) {
    let (guard, metrics) = guard(&limits());
    let (result, calls) = counted(&guard, |_| fault.map_or(Ok(()), Err)).await;
    assert_eq!((result.err(), calls), (fault, tries));
    let text = metrics.render();
    let outcome = fault.map_or("ok", Fault::word);
    let line = format!(r#"managed_calls_total{{profile="partner",what="encrypt",outcome="{outcome}"}} 1"#);
    assert!(text.contains(&line), "{text}");
    let retries = format!(r#"managed_retries_total{{profile="partner",what="encrypt"}} {}"#, tries - 1);
    assert_eq!(text.contains(&retries), tries > 1, "{text}");
    assert!(text.contains(r#"managed_in_flight{profile="partner"} 0"#), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_second_try_that_succeeds_is_success() {
    let (guard, _) = guard(&limits());
    let (result, calls) = counted(&guard, |call| if call == 0 { Err(Fault::Server) } else { Ok(call) }).await;
    assert_eq!((result, calls), (Ok(1), 2));
}

#[tokio::test(start_paused = true)]
async fn an_api_that_says_when_to_come_back_is_not_asked_before() {
    let (guard, _) = guard(&limits());
    let began = Instant::now();
    let (result, _) =
        counted(&guard, |call| if call == 0 { Err(Fault::Throttled(Some(ms(1500)))) } else { Ok(()) }).await;
    // By the clock of the test, which nothing but waiting moves.
    assert!(result.is_ok() && began.elapsed() >= ms(1500) && began.elapsed() < ms(2500));
}

#[tokio::test(start_paused = true)]
async fn one_that_never_answers_is_given_up_within_the_budget() {
    let (guard, _) = guard(&limits());
    let began = Instant::now();
    let calls = AtomicU32::new(0);
    let result = guard
        .run("encrypt", || {
            calls.fetch_add(1, Ordering::Relaxed);
            pending::<Result<(), ApiError>>()
        })
        .await;
    let error = result.unwrap_err();
    assert_eq!(error.kind, Fault::Timeout);
    assert!(error.text.contains("`encrypt`"), "{}", error.text);
    assert_eq!(calls.into_inner(), 3);
    assert!(began.elapsed() <= ms(2500));
}

#[tokio::test(start_paused = true)]
async fn calls_at_once_and_in_the_queue_are_bounded() {
    let (guard, metrics) = guard(&limits());
    let running = Arc::new(AtomicU32::new(0));
    let most = Arc::new(AtomicU32::new(0));
    let go = Arc::new(Notify::new());
    let mut tasks = Vec::new();
    for _ in 0..5 {
        let (guard, running, most, go) = (Arc::clone(&guard), Arc::clone(&running), Arc::clone(&most), Arc::clone(&go));
        tasks.push(tokio::spawn(async move {
            guard
                .run("encrypt", || async {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    go.notified().await;
                    running.fetch_sub(1, Ordering::SeqCst);
                    Ok(())
                })
                .await
        }));
    }
    tokio::task::yield_now().await;
    let text = metrics.render();
    assert!(text.contains(r#"managed_in_flight{profile="partner"} 2"#), "{text}");
    assert!(text.contains(r#"managed_queued{profile="partner"} 3"#), "{text}");
    let (full, calls) = counted(&guard, |_| Ok(())).await;
    assert_eq!((full, calls), (Err(Fault::Saturated), 0));
    for task in tasks {
        go.notify_one();
        go.notify_one();
        task.await.unwrap().unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
    assert!(metrics.render().contains(r#"managed_queued{profile="partner"} 0"#));
    assert!(counted(&guard, |_| Ok(())).await.0.is_ok());
}

#[tokio::test(start_paused = true)]
async fn waiting_counts_against_the_budget_and_not_against_the_api() {
    let limits = CallLimits { concurrency: 1, timeout: ms(10_000), breaker_failures: 1, ..limits() };
    let (guard, _) = guard(&limits);
    let holder = Arc::clone(&guard);
    let held = tokio::spawn(async move { holder.run("encrypt", || sleep_then_ok(ms(2400))).await });
    tokio::task::yield_now().await;
    advance(ms(1)).await;
    let began = Instant::now();
    // Its turn comes when hardly any of its budget is left: what it then has too little time for says nothing of the API.
    let late = guard.run("encrypt", || sleep_then_ok(ms(2000))).await;
    assert_eq!(late.unwrap_err().kind, Fault::Timeout);
    assert!(began.elapsed() <= ms(2500));
    held.await.unwrap().unwrap();
    assert!(!guard.is_open());
    // And one whose turn never comes.
    let holder = Arc::clone(&guard);
    let held = tokio::spawn(async move { holder.run("encrypt", || sleep_then_ok(ms(2499))).await });
    tokio::task::yield_now().await;
    let holder = Arc::clone(&guard);
    let second = tokio::spawn(async move { holder.run("encrypt", || sleep_then_ok(ms(2499))).await });
    tokio::task::yield_now().await;
    let third = guard.run("encrypt", || sleep_then_ok(ms(1))).await.unwrap_err();
    assert!(third.kind == Fault::Timeout && third.text.contains("turn"), "{third}");
    held.await.unwrap().unwrap();
    second.await.unwrap().unwrap_err();
    assert!(!guard.is_open());
}

async fn sleep_then_ok(time: Duration) -> Result<(), ApiError> {
    sleep(time).await;
    Ok(())
}

fn no_retries() -> CallLimits {
    CallLimits { retries: 0, ..limits() }
}

async fn open(guard: &Guard) {
    for _ in 0..4 {
        assert!(!guard.is_open());
        counted::<()>(guard, |_| Err(Fault::Server)).await.0.unwrap_err();
    }
    assert!(guard.is_open());
}

#[tokio::test(start_paused = true)]
async fn the_breaker_opens_probes_and_closes() {
    let (guard, metrics) = guard(&no_retries());
    open(&guard).await;
    assert!(metrics.render().contains(r#"managed_breaker_open{profile="partner"} 1"#));
    let refused = guard.run("encrypt", || ready(Ok(()))).await.unwrap_err();
    assert_eq!(refused.kind, Fault::Broken);
    assert!(refused.text.contains("said server"), "{refused}");
    advance(ms(4999)).await;
    assert!(guard.is_open());
    advance(ms(1)).await;
    assert!(!guard.is_open());
    // The probe fails: open again, for the whole pause.
    assert_eq!(counted::<()>(&guard, |_| Err(Fault::Connection)).await, (Err(Fault::Connection), 1));
    assert_eq!(counted(&guard, |_| Ok(())).await, (Err(Fault::Broken), 0));
    advance(ms(5000)).await;
    assert_eq!(counted(&guard, |_| Ok(())).await, (Ok(()), 1));
    // Closed, with no failures counted.
    for _ in 0..3 {
        counted::<()>(&guard, |_| Err(Fault::Server)).await.0.unwrap_err();
    }
    assert!(!guard.is_open());
    let text = metrics.render();
    assert!(text.contains(r#"managed_breaker_open{profile="partner"} 0"#), "{text}");
    assert!(text.contains(r#"managed_breaker_openings_total{profile="partner"} 1"#), "{text}");
}

#[tokio::test(start_paused = true)]
async fn one_probe_at_a_time() {
    let (guard, _) = guard(&no_retries());
    open(&guard).await;
    advance(ms(5000)).await;
    let prober = Arc::clone(&guard);
    let probe = tokio::spawn(async move { prober.run("encrypt", || sleep_then_ok(ms(500))).await });
    tokio::task::yield_now().await;
    assert!(guard.is_open());
    for _ in 0..10 {
        assert_eq!(counted(&guard, |_| Ok(())).await, (Err(Fault::Broken), 0));
    }
    probe.await.unwrap().unwrap();
    assert_eq!(counted(&guard, |_| Ok(())).await, (Ok(()), 1));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_probe_leaves_its_turn_to_the_next_call() {
    let (guard, metrics) = guard(&no_retries());
    open(&guard).await;
    advance(ms(5000)).await;
    {
        let probe = guard.run("encrypt", pending::<Result<(), ApiError>>);
        tokio::pin!(probe);
        tokio::select! {
            biased;
            _ = &mut probe => panic!("it never ends"),
            () = tokio::task::yield_now() => {}
        }
        assert!(guard.is_open());
    }
    assert!(!guard.is_open());
    assert_eq!(counted(&guard, |_| Ok(())).await, (Ok(()), 1));
    let text = metrics.render();
    assert!(text.contains(r#"outcome="cancelled"} 1"#), "{text}");
    assert!(text.contains(r#"managed_in_flight{profile="partner"} 0"#), "{text}");
}

#[rstest]
#[case(Fault::Connection, true)]
#[case(Fault::Timeout, true)]
#[case(Fault::Throttled(None), true)]
#[case(Fault::Server, true)]
#[case(Fault::Credential, true)]
#[case(Fault::Lie, true)]
#[case(Fault::Refused, false)]
#[case(Fault::Saturated, false)]
#[case(Fault::Broken, false)]
#[tokio::test(start_paused = true)]
async fn only_an_outage_opens_the_breaker(#[case] fault: Fault, #[case] opens: bool) {
    assert_eq!(fault.is_outage(), opens);
    let (guard, _) = guard(&no_retries());
    for _ in 0..4 {
        counted::<()>(&guard, |_| Err(fault)).await.0.unwrap_err();
    }
    assert_eq!(guard.is_open(), opens);
}

#[tokio::test(start_paused = true)]
async fn failures_count_in_a_row_and_a_refusal_is_an_answer() {
    let (guard, _) = guard(&no_retries());
    for round in 0..12_u32 {
        let fault = if round % 4 == 3 { Fault::Refused } else { Fault::Server };
        counted::<()>(&guard, |_| Err(fault)).await.0.unwrap_err();
    }
    assert!(!guard.is_open());
    open(&guard).await;
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_from_before_it_opened_does_not_close_it() {
    let (guard, _) = guard(&no_retries());
    let slow = Arc::clone(&guard);
    let slow = tokio::spawn(async move { slow.run("encrypt", || sleep_then_ok(ms(900))).await });
    tokio::task::yield_now().await;
    open(&guard).await;
    slow.await.unwrap().unwrap();
    assert!(guard.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_opens_stops_the_queue_and_the_retries() {
    let limits = CallLimits { concurrency: 1, retries: 5, breaker_failures: 1, ..limits() };
    let (guard, _) = guard(&limits);
    let tries = Arc::new(AtomicU32::new(0));
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (guard, tries) = (Arc::clone(&guard), Arc::clone(&tries));
            tokio::spawn(async move {
                guard
                    .run("encrypt", || async {
                        tries.fetch_add(1, Ordering::Relaxed);
                        sleep(ms(10)).await;
                        Err::<(), _>(error(Fault::Server))
                    })
                    .await
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap_err().kind, Fault::Broken);
    }
    assert_eq!(tries.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_that_is_dropped_is_not_counted_any_more() {
    let (guard, metrics) = guard(&no_retries());
    open(&guard).await;
    drop(guard);
    assert!(metrics.render().contains(r#"managed_breaker_open{profile="partner"} 0"#));
}

#[tokio::test(start_paused = true)]
async fn a_call_can_move_between_threads() {
    fn sendable<T: Send>(value: T) -> T {
        value
    }
    let (guard, _) = guard(&limits());
    sendable(guard.run("encrypt", || ready(Ok(())))).await.unwrap();
}
