//! Many calls of an API that does everything wrong at times.

use std::collections::BTreeMap;
use std::time::Instant;

use super::*;
use crate::support::PATIENCE;

fn limits() -> CallLimits {
    CallLimits {
        timeout: Duration::from_millis(500),
        budget: Duration::from_secs(2),
        retries: 2,
        concurrency: 8,
        queue: 1000,
        breaker_failures: 6,
        breaker_pause: Duration::from_millis(20),
        answer: LONGEST,
    }
}

fn misbehaviour(number: usize) -> Act {
    match number % 23 {
        1 => Act::throttled(0),
        2 => Act::status(500),
        4 => Act::Reset,
        5 => Act::ResetInBody,
        7 => Act::Truncated,
        8 => Act::html(200),
        9 => Act::redirect(302, "/elsewhere".into()),
        11 => shortened("/data/texts"),
        13 => with("/data", json!(SECRET)),
        14 => Act::Endless,
        16 => Act::gzip(),
        17 => Act::Length(5),
        19 => Act::ResetAfterHead,
        20 if number.is_multiple_of(3) => Act::Late(Duration::from_millis(800)),
        22 => Act::status(503),
        _ => Act::Well,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_right_or_a_fault() {
    let trust = Trust::new();
    let double = Double::tls(&trust.pair, api);
    let http = trust.http(&double);
    double.by(|number, _| misbehaviour(number));
    let (guard, metrics) = guard(&limits());
    let mut outcomes = BTreeMap::new();
    // On a busy machine calls run out of time and the breaker opens: then there are more of them, up to a bound.
    for round in 0..10 {
        for (outcome, count) in round_of_calls(&guard, &http, round * 600).await {
            *outcomes.entry(outcome).or_insert(0) += count;
        }
        if came_through(&outcomes) {
            break;
        }
    }
    assert!(came_through(&outcomes), "{outcomes:?}");
    assert!(outcomes.contains_key("lie"), "{outcomes:?}");
    assert!(!outcomes.contains_key("refused") && !outcomes.contains_key("saturated"), "{outcomes:?}");
    assert!(double.most_at_once() >= 2, "{}", double.most_at_once());
    let text = metrics.render();
    assert!(text.contains(r#"managed_in_flight{profile="partner"} 0"#), "{text}");
    assert!(text.contains(r#"managed_queued{profile="partner"} 0"#), "{text}");
    for (outcome, count) in &outcomes {
        let line = format!(r#"outcome="{outcome}"}} {count}"#);
        assert!(text.contains(&line), "{line} is not in {text}");
    }
}

fn came_through(outcomes: &BTreeMap<&str, u32>) -> bool {
    outcomes.get("ok").is_some_and(|count| *count > 100)
}

/// Six hundred calls, and what became of them.
async fn round_of_calls(guard: &Arc<Guard>, http: &Http, from: u32) -> BTreeMap<&'static str, u32> {
    let calls: Vec<_> = (from..from + 600)
        .map(|number| {
            let (guard, http) = (Arc::clone(guard), http.clone());
            tokio::spawn(async move {
                let text = format!("{SECRET}-{number}");
                // Not all at once, so that the breaker has the time to close again.
                tokio::time::sleep(Duration::from_millis(u64::from(number - from) * 2)).await;
                let texts = [text.as_str()];
                let result = guard.run("reverse", || reverse(&http, &texts)).await;
                (text, result)
            })
        })
        .collect();
    let mut outcomes = BTreeMap::new();
    for call in calls {
        let (text, result) = call.await.unwrap();
        let outcome = match result {
            Ok(texts) => {
                assert_eq!(texts, [text.chars().rev().collect::<String>()]);
                "ok"
            }
            Err(error) => {
                assert!(!error.text.contains(SECRET), "{error}");
                error.kind.word()
            }
        };
        *outcomes.entry(outcome).or_insert(0) += 1;
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_that_is_down_is_left_in_peace_and_found_again() {
    let trust = Trust::new();
    let double = Double::tls(&trust.pair, api);
    let http = trust.http(&double);
    double.always(Act::status(503));
    let (guard, metrics) = guard(&CallLimits { breaker_pause: Duration::from_secs(1), retries: 0, ..limits() });
    let call = || guard.run("reverse", || reverse(&http, &["abc"]));
    for _ in 0..6 {
        assert_eq!(call().await.unwrap_err().kind, Fault::Server);
    }
    for _ in 0..1000 {
        let kind = call().await.unwrap_err().kind;
        assert!(matches!(kind, Fault::Broken | Fault::Server), "{kind:?}");
    }
    // Six and the probes, of which each needs a pause before it.
    assert!(double.calls() < 50, "{}", double.calls());
    assert!(metrics.render().contains(r#"managed_breaker_open{profile="partner"} 1"#));
    double.always(Act::Well);
    let until = Instant::now() + PATIENCE;
    while call().await.is_err() {
        assert!(Instant::now() < until, "it is not found again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!guard.is_open());
    assert!(metrics.render().contains(r#"managed_breaker_open{profile="partner"} 0"#));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_at_once_are_bounded_on_the_wire() {
    let trust = Trust::new();
    let double = Double::tls(&trust.pair, api);
    let http = trust.http(&double);
    double.always(Act::Late(Duration::from_millis(20)));
    let patient = CallLimits { timeout: PATIENCE, budget: PATIENCE, concurrency: 3, ..limits() };
    let (guard, _) = guard(&patient);
    let calls: Vec<_> = (0..60)
        .map(|_| {
            let (guard, http) = (Arc::clone(&guard), http.clone());
            tokio::spawn(async move { guard.run("reverse", || reverse(&http, &["abc"])).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), ["cba"]);
    }
    assert_eq!(double.calls(), 60);
    assert!((2..=3).contains(&double.most_at_once()), "{}", double.most_at_once());
    assert!(double.connections() < 30, "{}", double.connections());
}
