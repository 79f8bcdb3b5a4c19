//! Managed APIs that do everything wrong, and thousands of requests through a real proxy before them: every answer is right, or an
//! error that is documented. `CHAOS_REQUESTS` and `CHAOS_SEED` change how many and which; `CHAOS_LOG` names a file for the proxy's log.
#![expect(clippy::print_stderr, reason = "the seed, to play the same storm again, and figures that no test can assert")]

#[path = "profiles_chaos/script.rs"]
mod script;
#[path = "profiles_chaos/town.rs"]
mod town;

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::managed::double::Act;
use crate::support::{Client, Message};
use script::{Dice, LATE};
use town::{KINDS, Kind, Town};

/// In every value: nobody but the caller and the API sees it.
const CANARY: &str = "CANARY";
const CLIENTS: usize = 24;
/// Of each kind, looked at once more after the storm.
const AFTER: usize = 60;
/// So much of each kind and method is to come through a storm.
const ENOUGH: usize = 11;
/// So often is tried what must come about in the end. Counted, not timed: on a busy machine everything takes longer.
const TRIES: usize = 1_000;
const PAUSE: Duration = Duration::from_millis(50);

type Outcomes = BTreeMap<(&'static str, &'static str, String), usize>;

/// What a caller stored.
#[derive(Clone)]
struct Record {
    path: String,
    body: String,
}

/// What the callers have seen.
#[derive(Default)]
struct Seen {
    stored: Mutex<BTreeMap<&'static str, Vec<Record>>>,
    outcomes: Mutex<Outcomes>,
}

/// A caller's connection.
struct Caller<'a> {
    town: &'a Town,
    client: Client<TcpStream>,
    seen: &'a Seen,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn every_answer_is_right_or_a_documented_error() {
    let seed = number("CHAOS_SEED", u64::from(std::process::id()) << 20 | 0xc4a05);
    let requests = number("CHAOS_REQUESTS", 2_000) as usize;
    eprintln!("CHAOS_SEED={seed} CHAOS_REQUESTS={requests}");
    let (town, seen) = (Town::new(), Seen::default());
    calm(&town, &seen);

    let began = Instant::now();
    town.storm(seed);
    storm(&town, &seen, seed, requests);
    let took = began.elapsed();
    let more = lingers(&town, &seen, seed, requests);
    let outcomes = seen.outcomes.lock().unwrap().clone();
    eprintln!("{requests} requests in {took:.1?} and {more} more, {} calls of APIs: {outcomes:#?}", calls(&town));
    weathered(&town, &outcomes);

    outage(&town, &seen);
    town.all(&Act::Well);
    recovered(&town, &seen);
    nothing_told(&town, &seen);
    nothing_held(&town);
    let secrets = town.secrets.clone();
    let (code, log) = town.end();
    assert_eq!(code, Some(0));
    if let Ok(path) = std::env::var("CHAOS_LOG") {
        std::fs::write(path, &log).unwrap();
    }
    assert!(log.contains("a managed API fails call after call") && log.contains("answers again"));
    quiet("the log", &log, &secrets);
}

/// Where nothing is wrong all is right.
fn calm(town: &Town, seen: &Seen) {
    let mut caller = Caller::new(town, seen);
    for (n, kind) in KINDS.iter().enumerate() {
        let record = record(kind, 1_000_000 + n, &mut Dice::new(0, 0, n as u64));
        assert_eq!(caller.post(kind, &record), "stored", "{}", kind.name);
        assert_eq!(caller.get(kind, &record), "right", "{}", kind.name);
    }
}

fn storm(town: &Town, seen: &Seen, seed: u64, requests: usize) {
    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut caller = Caller::new(town, seen);
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= requests {
                            return;
                        }
                        let mut dice = Dice::new(seed, 77, n as u64);
                        let kind = &KINDS[dice.below(KINDS.len())];
                        if !caller.once(kind, n, &mut dice) {
                            // As the answer asks, only sooner.
                            std::thread::sleep(Duration::from_millis(10));
                        }
                    }
                })
            })
            .collect();
        // New epochs amid all that, which the APIs wrap or do not.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for partition in ["wrapped", "pqc"] {
                    town.place.run(&["keys", "rollover", partition, "--kind", "all"]);
                }
                std::thread::sleep(Duration::from_millis(400));
            }
        });
        let results: Vec<_> = callers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        results.into_iter().for_each(|result| result.unwrap());
    });
}

/// The storm goes on for one caller with time, until enough of each kind came through: on a busy machine calls run out of time and
/// breakers open, and all requests of the others may be spent meanwhile. Says how many it took.
fn lingers(town: &Town, seen: &Seen, seed: u64, requests: usize) -> usize {
    let mut caller = Caller::new(town, seen);
    for more in 0..TRIES {
        let few = {
            let outcomes = seen.outcomes.lock().unwrap();
            KINDS.iter().find(|kind| !is_enough(&outcomes, kind))
        };
        let Some(kind) = few else { return more };
        let n = requests + more;
        if !caller.once(kind, n, &mut Dice::new(seed, 77, n as u64)) {
            std::thread::sleep(PAUSE);
        }
    }
    TRIES
}

fn is_enough(outcomes: &Outcomes, kind: &Kind) -> bool {
    ["POST", "GET"].iter().all(|method| {
        of(outcomes, kind, method, true) >= ENOUGH && (!kind.each || of(outcomes, kind, method, false) > 0)
    })
}

/// How many of a kind and method went well, or did not.
fn of(outcomes: &Outcomes, kind: &Kind, method: &str, good: bool) -> usize {
    let of = outcomes.iter().filter(|((name, m, outcome), _)| {
        *name == kind.name && *m == method && matches!(&**outcome, "stored" | "right") == good
    });
    of.map(|(_, count)| count).sum()
}

impl<'a> Caller<'a> {
    fn new(town: &'a Town, seen: &'a Seen) -> Self {
        Self { town, client: town.client(), seen }
    }

    /// Stores something new, or gets something that is stored; says whether it may go on at once.
    fn once(&mut self, kind: &Kind, n: usize, dice: &mut Dice) -> bool {
        let known = {
            let stored = self.seen.stored.lock().unwrap();
            let known = stored.get(kind.name).map_or(&[][..], Vec::as_slice);
            // Mostly what came last: an API that is asked for it may mix it up with its neighbours.
            known.len().checked_sub(1).map(|last| known[last - dice.below(known.len().min(20))].clone())
        };
        let outcome = match known {
            Some(record) if dice.one_in(2) => self.get(kind, &record),
            _ => self.post(kind, &record(kind, n, dice)),
        };
        !outcome.starts_with("503") && !outcome.starts_with("502")
    }

    fn post(&mut self, kind: &Kind, record: &Record) -> String {
        let head = format!("POST {} HTTP/1.1\r\nHost: app.test\r\ncontent-type: application/json\r\n", record.path);
        let answer = self.exchange(&format!("{head}content-length: {}\r\n\r\n{}", record.body.len(), record.body));
        let outcome = if answer.status() == 204 {
            let stored = self.town.stored(&record.path).expect("it reached the application");
            let stored: Value = serde_json::from_slice(&stored).unwrap();
            let values: Vec<_> = leaves(&stored).collect();
            assert_eq!(values.len(), leaves(&serde_json::from_str(&record.body).unwrap()).count());
            assert!(values.iter().all(|value| value.starts_with("sc1.")), "{stored}");
            self.seen.stored.lock().unwrap().entry(kind.name).or_default().push(record.clone());
            "stored".to_owned()
        } else {
            assert!(self.town.stored(&record.path).is_none(), "what is refused does not get through");
            problem(kind, &answer, 503, &["key-service", "overload"])
        };
        self.count(kind, "POST", outcome)
    }

    fn get(&mut self, kind: &Kind, record: &Record) -> String {
        let answer = self.exchange(&format!("GET {} HTTP/1.1\r\nHost: app.test\r\n\r\n", record.path));
        let outcome = if answer.status() == 200 {
            assert_eq!(answer.text(), record.body, "another value, or another's");
            "right".to_owned()
        } else {
            problem(kind, &answer, 502, &["key-service", "token", "overload"])
        };
        self.count(kind, "GET", outcome)
    }

    fn exchange(&mut self, request: &str) -> Message {
        let answer = self.client.send(request).receive();
        if answer.field("connection").is_some_and(|field| field.eq_ignore_ascii_case("close")) {
            self.client = self.town.client();
        }
        answer
    }

    fn count(&self, kind: &Kind, method: &'static str, outcome: String) -> String {
        assert!(!kind.local || matches!(&*outcome, "stored" | "right"), "a rule that needs no API: {outcome}");
        *self.seen.outcomes.lock().unwrap().entry((kind.name, method, outcome.clone())).or_default() += 1;
        outcome
    }
}

fn record(kind: &Kind, n: usize, dice: &mut Dice) -> Record {
    let (least, most) = kind.values;
    // All of the same length: nothing but the value itself tells whose it is.
    let value = |field: usize| format!("{CANARY}-{}-{n:08}-{field:02}", kind.name);
    let values: Vec<String> = (0..least + dice.below(most - least + 1)).map(value).collect();
    let body = if kind.name == "kms" {
        serde_json::to_string(&values).unwrap()
    } else {
        let members: Vec<_> = values.iter().enumerate().map(|(at, value)| format!(r#""v{at}":"{value}""#)).collect();
        format!("{{{}}}", members.join(","))
    };
    Record { path: format!("/{}/{n}", kind.name), body }
}

fn leaves(json: &Value) -> Box<dyn Iterator<Item = &str> + '_> {
    match json {
        Value::Array(items) => Box::new(items.iter().flat_map(leaves)),
        Value::Object(members) => Box::new(members.values().flat_map(leaves)),
        value => Box::new(value.as_str().into_iter()),
    }
}

/// An error as it is documented: its status and reason.
fn problem(kind: &Kind, answer: &Message, status: u16, reasons: &[&str]) -> String {
    let text = answer.text();
    assert_eq!(answer.status(), status, "{} {text}", kind.name);
    assert_eq!(answer.field("content-type").as_deref(), Some("application/problem+json"), "{text}");
    assert_eq!(answer.field("retry-after").is_some(), status == 503, "{text}");
    let problem: Value = serde_json::from_str(&text).unwrap();
    let reason = problem["type"].as_str().and_then(|kind| kind.strip_prefix("urn:sidecloak:problem:")).unwrap();
    assert!(reasons.contains(&reason), "{text}");
    assert_eq!(problem["rule"], kind.name, "{text}");
    assert_eq!(problem["upstream_status"].as_u64(), (status == 502).then_some(200), "{text}");
    assert!(!text.contains(CANARY) && !text.contains("hunter2"), "{text}");
    format!("{status} {reason}")
}

/// It was a storm, and some came through.
fn weathered(town: &Town, outcomes: &Outcomes) {
    for kind in &KINDS {
        assert!(is_enough(outcomes, kind), "{}: next to nothing came through, or nothing went wrong", kind.name);
    }
    for name in ["letters", "kms", "single"] {
        let lies = format!("profile=\"{name}\",what=\"encrypt\",outcome=\"lie\"");
        assert!(town.metric("sidecloak_managed_calls_total", &lies) > 0.0, "{name}");
    }
}

/// Nothing answers any more: the breakers open, and nobody waits.
fn outage(town: &Town, seen: &Seen) {
    town.all(&Act::status(503));
    let mut caller = Caller::new(town, seen);
    for (n, kind) in KINDS.iter().enumerate().filter(|(_, kind)| kind.each && kind.name != "signed") {
        let profile = format!("profile=\"{}\"", kind.name);
        let from = 4_000_000 + n * 10_000;
        in_the_end(&format!("{}: its breaker opens", kind.name), |turn| {
            caller.post(kind, &record(kind, from + turn, &mut Dice::new(3, 0, (from + turn) as u64)));
            town.metric("sidecloak_managed_breaker_open", &profile) > 0.0
        });
        assert!(town.metric("sidecloak_managed_breaker_openings_total", &profile) > 0.0, "{}", kind.name);
    }
}

/// Everything works again, and what was proven before it was stored is there.
fn recovered(town: &Town, seen: &Seen) {
    let mut caller = Caller::new(town, seen);
    for (n, kind) in KINDS.iter().enumerate() {
        let from = 2_000_000 + n * 10_000;
        in_the_end(&format!("{} recovers", kind.name), |turn| {
            let record = record(kind, from + turn, &mut Dice::new(1, 0, (from + turn) as u64));
            caller.post(kind, &record) == "stored" && caller.get(kind, &record) == "right"
        });
        let stored = seen.stored.lock().unwrap()[kind.name].clone();
        for record in stored.iter().rev().step_by(stored.len().div_ceil(AFTER)) {
            opens_in_the_end(&mut caller, kind, record);
        }
    }
    for name in ["letters", "kms", "single"] {
        assert_eq!(town.metric("sidecloak_managed_breaker_open", &format!("profile=\"{name}\"")), 0.0, "{name}");
    }
}

fn opens_in_the_end(caller: &mut Caller<'_>, kind: &Kind, record: &Record) {
    in_the_end(&format!("{} opens", record.path), |_| match &*caller.get(kind, record) {
        "right" => true,
        // An API that is not asked to prove what it sealed may have given a ciphertext of something else.
        "502 token" => !kind.proven,
        _ => false,
    });
}

/// Tries until it holds, told the number of the try.
fn in_the_end(what: &str, mut holds: impl FnMut(usize) -> bool) {
    for turn in 0..TRIES {
        if holds(turn) {
            return;
        }
        std::thread::sleep(PAUSE);
    }
    panic!("never: {what}");
}

fn calls(town: &Town) -> usize {
    town.doubles.iter().map(|(_, double)| double.calls()).sum()
}

/// Neither the application nor metrics hold what they must not; nobody followed a redirect.
fn nothing_told(town: &Town, seen: &Seen) {
    for request in town.app.seen.lock().unwrap().iter() {
        assert!(!request.head.contains(CANARY) && !request.text().contains(CANARY), "{}", request.first_line());
        // What an API says in place of a ciphertext is stored as one; nothing of ours is.
        assert!(town.secrets.iter().all(|secret| !request.text().contains(secret)), "{}", request.first_line());
    }
    quiet("metrics", &town.metrics(), &town.secrets);
    assert_eq!((town.elsewhere.calls(), town.elsewhere.connections()), (0, 0));
    assert!(seen.stored.lock().unwrap().values().map(Vec::len).sum::<usize>() > KINDS.len());
}

fn quiet(place: &str, text: &str, secrets: &[String]) {
    for secret in secrets.iter().map(String::as_str).chain([CANARY, "hunter2"]) {
        let line = text.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{place} says {secret}: {line:?}");
    }
}

/// All that was taken is given back.
fn nothing_held(town: &Town) {
    let gauges = [
        ("sidecloak_budget_used_bytes", ""),
        ("sidecloak_in_flight", ""),
        ("sidecloak_managed_in_flight", ""),
        ("sidecloak_managed_queued", ""),
        ("sidecloak_worker_connections", ""),
    ];
    for (name, part) in gauges {
        in_the_end(&format!("{name} is 0"), |_| town.metric(name, part) == 0.0);
    }
    let resident = town.proxy.resident();
    eprintln!("resident: {} MiB", resident >> 20);
    assert!(resident < 256 << 20, "{resident}");
}

/// What a rule of local keys costs while APIs hang is printed beside what it costs while they answer; that it works is what counts.
#[test]
fn rules_of_local_keys_do_not_notice_an_outage() {
    let (town, seen) = (Town::new(), Seen::default());
    calm(&town, &seen);
    let alone = latencies(&town, &seen, 0);
    let well = latencies(&town, &seen, 6);
    town.all(&Act::Late(LATE));
    let hanging = latencies(&town, &seen, 6);
    for (name, before) in [("alone", alone), ("while the APIs answer", well)] {
        let ratio = |at: usize| hanging[at].as_secs_f64() / before[at].as_secs_f64();
        eprintln!(
            "a rule of local keys, {name}: p50 {:?}, p99 {:?}; while they hang: {:?}, {:?}; ratios {:.2}, {:.2}",
            before[0],
            before[1],
            hanging[0],
            hanging[1],
            ratio(0),
            ratio(1)
        );
    }
}

/// Median and 99th of a hundred of a rule of local keys, while so many callers use the others.
fn latencies(town: &Town, seen: &Seen, others: usize) -> [Duration; 2] {
    static NUMBER: AtomicUsize = AtomicUsize::new(3_000_000);
    let over = AtomicBool::new(false);
    let (local, managed): (Vec<&Kind>, Vec<&Kind>) = KINDS.iter().partition(|kind| kind.local);
    std::thread::scope(|scope| {
        for at in 0..others {
            let (over, managed) = (&over, &managed);
            scope.spawn(move || {
                let mut caller = Caller::new(town, seen);
                while !over.load(Ordering::Relaxed) {
                    let (kind, n) = (managed[at % managed.len()], NUMBER.fetch_add(1, Ordering::Relaxed));
                    caller.post(kind, &record(kind, n, &mut Dice::new(2, 0, n as u64)));
                    std::thread::sleep(Duration::from_millis(10));
                }
            });
        }
        let mut caller = Caller::new(town, seen);
        let mut all: Vec<Duration> = (0..200)
            .map(|_| {
                let n = NUMBER.fetch_add(1, Ordering::Relaxed);
                let record = record(local[0], n, &mut Dice::new(2, 0, n as u64));
                let began = Instant::now();
                caller.post(local[0], &record);
                caller.get(local[0], &record);
                began.elapsed()
            })
            .collect();
        over.store(true, Ordering::Relaxed);
        all.sort();
        [all[all.len() / 2], all[all.len() * 99 / 100]]
    })
}
