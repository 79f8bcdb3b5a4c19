use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use tokio::runtime::{Builder, Runtime};

use super::super::rollover::tests::Place;
use super::*;
use crate::keyring::{Permissions, State};

const MAX_STALE: u64 = 100;
const PATIENCE: Duration = Duration::from_secs(60);

/// A service that says what it is told to, and who watches it.
struct Stage {
    place: Place,
    says: Arc<Mutex<Result<Standing, ApiError>>>,
    asked: Arc<AtomicUsize>,
    watched: Watched,
    _runtime: Runtime,
}

fn standing(version: u64, state: State) -> Standing {
    Standing { version, state, roles: vec![("default".into(), Permissions::DEFAULT)] }
}

impl Stage {
    fn new() -> Self {
        let (place, runtime) =
            (Place::new(), Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());
        let says = Arc::new(Mutex::new(Err(ApiError::new(Fault::Connection, "nobody there"))));
        let asked = Arc::new(AtomicUsize::new(0));
        let watch = Watch {
            profile: "p".into(),
            poll: Duration::from_millis(2),
            max_stale: Duration::from_secs(MAX_STALE),
            clock: place.clock.clone(),
            rollover: place.process(),
        };
        let (said, counted) = (Arc::clone(&says), Arc::clone(&asked));
        let watched = Watched::start(runtime.handle(), watch, move || {
            let answer = said.lock().unwrap().clone();
            counted.fetch_add(1, Ordering::SeqCst);
            Box::pin(async { answer })
        });
        Self { place, says, asked, watched, _runtime: runtime }
    }

    /// Has it say something, and waits until it was heard.
    fn say(&self, answer: Result<Standing, Fault>) {
        *self.says.lock().unwrap() = answer.map_err(|kind| ApiError::new(kind, "as the test wants it"));
        let (before, start) = (self.asked.load(Ordering::SeqCst), Instant::now());
        // The question after the next one is asked once the next one's answer was dealt with.
        while self.asked.load(Ordering::SeqCst) < before + 3 {
            assert!(start.elapsed() < PATIENCE, "it asks no more");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn state(&self) -> Option<State> {
        self.watched.standing().map(|standing| standing.state)
    }
}

#[test]
fn an_answer_holds_through_an_outage_for_so_long_and_not_through_a_refusal() {
    let stage = Stage::new();
    stage.say(Err(Fault::Connection));
    assert_eq!(stage.state(), None, "nothing was said yet");
    stage.say(Ok(standing(1, State::Active)));
    assert_eq!(stage.state(), Some(State::Active));
    stage.say(Ok(standing(1, State::Paused)));
    assert_eq!(stage.state(), Some(State::Paused));
    stage.say(Ok(standing(1, State::Active)));
    for outage in [Fault::Connection, Fault::Timeout, Fault::Server, Fault::Credential, Fault::Lie, Fault::Broken] {
        stage.say(Err(outage));
        assert_eq!(stage.state(), Some(State::Active), "{outage:?}");
    }
    stage.place.clock.advance(MAX_STALE);
    assert_eq!(stage.state(), Some(State::Active));
    stage.place.clock.advance(1);
    assert_eq!(stage.state(), None);
    stage.say(Ok(standing(1, State::Active)));
    assert_eq!(stage.state(), Some(State::Active));
    stage.say(Err(Fault::Refused));
    assert_eq!(stage.state(), None);
    stage.say(Err(Fault::Connection));
    assert_eq!(stage.state(), None, "what was refused does not come back with an outage");
}

#[test]
fn a_version_rolls_over_once_and_never_goes_back() {
    let stage = Stage::new();
    for (version, rolls, told) in [(1, 0, 1), (2, 1, 2), (2, 1, 2), (1, 1, 2), (3, 2, 3)] {
        stage.say(Ok(standing(version, State::Active)));
        assert_eq!(stage.place.rolls(), rolls, "version {version}");
        assert_eq!(stage.watched.standing().unwrap().version, told);
    }
    let other = stage.place.process();
    assert!(!other.follow(3).unwrap(), "it was written down");
}

#[test]
fn who_is_dropped_asks_no_more() {
    let stage = Stage::new();
    stage.say(Ok(standing(1, State::Active)));
    let Stage { asked, watched, _runtime, .. } = stage;
    drop(watched);
    // One may be under way.
    std::thread::sleep(Duration::from_millis(20));
    let before = asked.load(Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(asked.load(Ordering::SeqCst), before);
}

#[test]
fn nobody_asks_later_than_configured() {
    for _ in 0..1000 {
        let wait = jittered(Duration::from_secs(10));
        assert!((Duration::from_secs(8)..=Duration::from_secs(10)).contains(&wait), "{wait:?}");
    }
}

#[test]
fn who_waits_for_the_first_answer_finds_it() {
    let (place, runtime) = (Place::new(), Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());
    let watch = |rollover| Watch {
        profile: "p".into(),
        poll: Duration::from_secs(3600),
        max_stale: Duration::from_secs(MAX_STALE),
        clock: place.clock.clone(),
        rollover,
    };
    let answers = Watched::start(runtime.handle(), watch(place.process()), || {
        Box::pin(async {
            sleep(Duration::from_millis(50)).await;
            Ok(standing(1, State::Active))
        })
    });
    let mut asked = answers.asked();
    let told = async { timeout(PATIENCE, asked.wait_for(|asked| *asked)).await.is_ok() };
    assert!(runtime.block_on(told));
    assert!(answers.standing().is_some());
    let silent = Watched::start(runtime.handle(), watch(place.process()), || Box::pin(std::future::pending()));
    assert!(!*silent.asked().borrow());
    assert!(silent.standing().is_none());
}
