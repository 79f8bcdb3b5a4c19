//! Memory, waits and ends of a body that is driven through its edit.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::HeaderMap;
use http_body_util::BodyExt;

use super::super::budget::Budget;
use super::*;
use crate::json::framing::Framing;
use crate::keyring::{Cached, Memo, Permissions};
use crate::name::PartitionName;
use crate::proxy::tap::Tap;
use crate::rules::compile::{Context as Known, load_text};
use crate::rules::profile::{PerValue, Profile};
use crate::rules::route::{NormalPath, RequestFacts};
use crate::token::EpochId;
use crate::token::v1::Opened;
use crate::transform::Sealer;
use crate::transform::body::CallerRole;
use crate::transform::delegate::{Answer, DelegateError, Delegated, Delegating, Work};
use crate::transform::plan::HalfPlan;
use crate::transform::{OpenFailure, OpenJob, Ready, SealFailure, SealJob};

/// Seals everything to a long text.
struct Long;

impl Sealer for Long {
    fn permissions(&self, _: &PartitionName, _: &str, _: &mut Memo) -> Cached<Permissions> {
        Cached::Hit(Permissions::DEFAULT)
    }
    fn seal(&self, _: &SealJob<'_>, _: &mut Memo, out: &mut Vec<u8>) -> Result<Ready<()>, SealFailure> {
        out.extend_from_slice(&[b'x'; 4_000]);
        Ok(Ready::Now(()))
    }
    fn partition_of(&self, _: EpochId, _: &mut Memo) -> Cached<PartitionName> {
        Cached::Unknown
    }
    fn open(&self, _: OpenJob<'_>, _: &mut Memo) -> Result<Ready<Opened>, OpenFailure> {
        Err(OpenFailure::UnknownEpoch)
    }
    fn at_hand(&self, _: &Need, _: &mut Memo) -> Cached<()> {
        Cached::Hit(())
    }
    fn fetch(&self, _: Need) -> Pin<Box<dyn Future<Output = Result<(), KeyringError>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Comes in these pieces.
struct Pieces(VecDeque<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;
    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.pop_front().map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn pieces(pieces: impl IntoIterator<Item = String>) -> Pieces {
    Pieces(pieces.into_iter().map(Bytes::from).collect())
}

fn edit(mode: &str) -> BodyEdit {
    edit_with(mode, "sign: false")
}

fn edit_with(mode: &str, option: &str) -> BodyEdit {
    let text = format!(
        "rules:\n  - name: r\n    match: {{ path: /x }}\n    mode: {mode}\n    protect: [{{ fields: [$..ssn], {option} }}]\n"
    );
    let rules = load_text("t.yaml", &text, &Known::default()).rules.unwrap();
    let (path, headers) = (NormalPath("/x".into()), HeaderMap::new());
    let facts = RequestFacts {
        method: "POST",
        path: &path,
        ignore_case: false,
        listener: "",
        host: None,
        words: (&headers).into(),
    };
    let plan = HalfPlan::new(Direction::Request, &rules.route(&facts).rules, &headers).unwrap().unwrap();
    let caller = CallerRole { role: "default".into(), may_see_plaintext: true };
    BodyEdit::new(Arc::new(plan), Arc::new(Long), caller, 1 << 20, Framing::One)
}

fn around(buffer: usize) -> Surroundings {
    Surroundings {
        lease: Budget::new(1 << 20).lease(),
        ledger: Ledger::alone(),
        buffer,
        at_once: false,
        pass_invalid: false,
        direction: Direction::Request,
        idle: Duration::from_mins(1),
    }
}

#[tokio::test]
async fn a_whole_body_is_paid_for_until_it_has_left() {
    let around = around(1_000);
    let budget = around.lease.budget().clone();
    let body = pieces([format!("[{}1]", r#"{"ssn":1},"#.repeat(20))]);
    let Ok(Pumped::Whole(bytes, None)) = pump(body, None, Box::new(edit("enforce")), around).await else {
        panic!("not whole")
    };
    assert!(bytes.len() > 80_000);
    assert!(budget.used() >= bytes.len(), "{} of {}", budget.used(), bytes.len());
    drop(bytes);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn little_waits_for_a_slow_reader() {
    let items = r#"{"ssn":1},"#.repeat(20);
    let body = pieces([format!("[{items}"), items.clone(), format!("{items}1]")]);
    let Ok(Pumped::Streaming(mut pipe)) = pump(body, None, Box::new(edit("enforce")), around(100)).await else {
        panic!("not streaming")
    };
    let mut total = 0;
    while let Some(frame) = pipe.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        assert!(data.len() <= PIECE, "{}", data.len());
        total += data.len();
    }
    assert!(total > 240_000);
}

#[tokio::test]
async fn an_observer_that_cannot_pay_looks_away_and_the_body_passes() {
    let budget = Budget::new(10_000);
    let text = [r#"{"ssn":""#.to_owned(), "x".repeat(9_000), "x".repeat(9_000), "\"}".to_owned()];
    let (whole, rule) = (text.concat(), Arc::from("r"));
    let mut tap = Tap::new(pieces(text), None, edit("observe"), (Direction::Request, &rule), Ledger::alone(), &budget);
    let mut passed = Vec::new();
    let mut most = 0;
    while let Some(frame) = tap.frame().await {
        passed.extend_from_slice(&frame.unwrap().into_data().unwrap());
        most = most.max(budget.used());
    }
    assert_eq!(passed, whole.as_bytes());
    assert!((9_000..=10_000).contains(&most), "{most}");
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn signing_many_values_lets_others_have_their_turn() {
    let turns = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&turns);
    let other = tokio::spawn(async move {
        loop {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    let body = pieces([format!("[{}1]", r#"{"ssn":1},"#.repeat(200))]);
    let pumped = pump(body, None, Box::new(edit_with("enforce", "sign: true")), around(10_000)).await;
    assert!(matches!(pumped, Ok(Pumped::Whole(bytes, None)) if bytes.len() > 800_000));
    assert!(turns.load(std::sync::atomic::Ordering::Relaxed) >= 8);
    other.abort();
}

/// Has an API that turns texts around, unless it is down.
#[derive(Default)]
struct Turning {
    calls: std::sync::Mutex<Vec<usize>>,
    down: bool,
}

impl Sealer for Turning {
    fn permissions(&self, _: &PartitionName, _: &str, _: &mut Memo) -> Cached<Permissions> {
        Cached::Hit(Permissions::DEFAULT)
    }
    fn seal(&self, _: &SealJob<'_>, _: &mut Memo, _: &mut Vec<u8>) -> Result<Ready<()>, SealFailure> {
        Err(SealFailure::NoKey("nothing is sealed here"))
    }
    fn partition_of(&self, _: EpochId, _: &mut Memo) -> Cached<PartitionName> {
        Cached::Unknown
    }
    fn open(&self, _: OpenJob<'_>, _: &mut Memo) -> Result<Ready<Opened>, OpenFailure> {
        Err(OpenFailure::UnknownEpoch)
    }
    fn at_hand(&self, _: &Need, _: &mut Memo) -> Cached<()> {
        Cached::Hit(())
    }
    fn delegate(&self, jobs: Vec<Delegated>) -> Delegating<'_> {
        self.calls.lock().unwrap().push(jobs.len());
        let turn = |job: &Delegated| match &job.work {
            Work::Seal(_) if self.down => Err(DelegateError::Unavailable("down".into())),
            Work::Seal(text) => {
                let turned: Vec<u8> = text.expose().iter().rev().copied().collect();
                Ok(Answer::Sealed(crate::crypto::base64url::encode(&turned).into_bytes()))
            }
            Work::Open(_) => Err(DelegateError::Refused("nothing is opened here".into())),
        };
        let answers = jobs.iter().map(turn).collect();
        Box::pin(async move {
            tokio::task::yield_now().await;
            answers
        })
    }
    fn fetch(&self, _: Need) -> Pin<Box<dyn Future<Output = Result<(), KeyringError>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

async fn delegated(sealer: Turning, body: Pieces, buffer: usize) -> (Result<Vec<u8>, ()>, Vec<usize>, usize) {
    let api = PerValue {
        batch: 1,
        bare: false,
        signs: false,
        convergent: false,
        longest: 1_000,
        prefix: "",
        plain_text: true,
    };
    let partition = PartitionName::new("shop").unwrap();
    let profile = Profile { name: "partner".into(), partition, local: false, per_value: Some(api) };
    let known = Known { profiles: vec![Arc::new(profile)], ..Known::default() };
    let text = "rules:\n  - name: r\n    match: { path: /x }\n    protect: [{ fields: [$..ssn], key: partner }]\n";
    let rules = load_text("t.yaml", text, &known).rules.unwrap();
    let (path, headers) = (NormalPath("/x".into()), HeaderMap::new());
    let facts = RequestFacts {
        method: "POST",
        path: &path,
        ignore_case: false,
        listener: "",
        host: None,
        words: (&headers).into(),
    };
    let plan = HalfPlan::new(Direction::Request, &rules.route(&facts).rules, &headers).unwrap().unwrap();
    let caller = CallerRole { role: "default".into(), may_see_plaintext: true };
    let sealer = Arc::new(sealer);
    let edit = BodyEdit::new(Arc::new(plan), Arc::clone(&sealer) as _, caller, 1 << 20, Framing::One);
    let around = Surroundings { lease: Budget::new(4 << 20).lease(), ..around(buffer) };
    let budget = around.lease.budget().clone();
    let mut out = Vec::new();
    let result = match pump(body, None, Box::new(edit), around).await {
        Ok(Pumped::Whole(bytes, None)) => {
            out.extend_from_slice(&bytes);
            Ok(())
        }
        Ok(Pumped::Streaming(mut pipe)) => {
            let mut ended = Ok(());
            while let Some(frame) = pipe.frame().await {
                match frame {
                    Ok(frame) => out.extend_from_slice(&frame.into_data().unwrap()),
                    Err(_) => ended = Err(()),
                }
            }
            ended
        }
        Ok(_) => panic!("passed unread"),
        Err(refusal) => {
            assert_eq!(refusal.reason, Reason::KeyService);
            Err(())
        }
    };
    let calls = sealer.calls.lock().unwrap().clone();
    (result.map(|()| out), calls, budget.used())
}

#[tokio::test]
async fn a_body_becomes_the_same_whole_and_in_a_stream() {
    let items = || [format!("[{}", r#"{"ssn":1},"#.repeat(150)), r#"{"ssn":"2"},"#.repeat(150), "3]".into()];
    let (whole, calls, used) = delegated(Turning::default(), pieces(items()), 1 << 20).await;
    let whole = String::from_utf8(whole.unwrap()).unwrap();
    assert_eq!((whole.matches("sc1.Q").count(), calls, used), (300, vec![300], 0), "one call if it is checked whole");
    let (streamed, calls, used) = delegated(Turning::default(), pieces(items()), 100).await;
    assert_eq!(String::from_utf8(streamed.unwrap()).unwrap(), whole);
    assert_eq!((calls, used), (vec![150, 150], 0), "what came leaves, so one for each piece");
}

#[tokio::test]
async fn an_api_that_is_down_ends_the_body() {
    let items = || [format!("[{}", r#"{"ssn":1},"#.repeat(20)), "3]".into()];
    for buffer in [1 << 20, 100] {
        let down = Turning { down: true, ..Turning::default() };
        let (result, calls, used) = delegated(down, pieces(items()), buffer).await;
        assert!(result.is_err());
        assert_eq!((calls, used), (vec![20], 0));
    }
}
