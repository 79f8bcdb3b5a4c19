//! Memory, waits and ends of a body that is driven through its edit.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::HeaderMap;

use super::*;
use crate::json::framing::Framing;
use crate::keyring::{Cached, Memo, Permissions};
use crate::name::PartitionName;
use crate::proxy::tap::Tap;
use crate::rules::compile::{Context as Known, load_text};
use crate::rules::route::{NormalPath, RequestFacts};
use crate::token::EpochId;
use crate::token::v1::Opened;
use crate::transform::body::CallerRole;
use crate::transform::plan::HalfPlan;
use crate::transform::{OpenFailure, OpenJob, Ready, SealFailure, SealJob};

/// Seals everything to a long text.
struct Long;

impl Sealer for Long {
    fn permissions(&self, _: &PartitionName, _: &str) -> Cached<Permissions> {
        Cached::Hit(Permissions::DEFAULT)
    }
    fn seal(&self, _: &SealJob<'_>, _: &mut Memo, out: &mut Vec<u8>) -> Result<Ready<()>, SealFailure> {
        out.extend_from_slice(&[b'x'; 4_000]);
        Ok(Ready::Now(()))
    }
    fn partition_of(&self, _: EpochId, _: &mut Memo) -> Cached<PartitionName> {
        Cached::Unknown
    }
    fn open(&self, _: &OpenJob<'_>, _: &mut Memo) -> Result<Ready<Opened>, OpenFailure> {
        Err(OpenFailure::UnknownEpoch)
    }
    fn at_hand(&self, _: &Need) -> Cached<()> {
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
    let facts =
        RequestFacts { method: "POST", path: &path, ignore_case: false, listener: "", host: None, headers: &headers };
    let plan = HalfPlan::new(Direction::Request, &rules.route(&facts).rules, &headers).unwrap().unwrap();
    let caller = CallerRole { role: "default".into(), may_see_plaintext: true };
    BodyEdit::new(Arc::new(plan), Arc::new(Long), caller, 1 << 20, Framing::One)
}

fn around(buffer: usize) -> Surroundings {
    Surroundings {
        sealer: Arc::new(Long),
        budget: Budget::new(1 << 20),
        metrics: Metrics::default(),
        buffer,
        at_once: false,
        pass_invalid: false,
        direction: Direction::Request,
    }
}

#[tokio::test]
async fn a_whole_body_is_paid_for_until_it_has_left() {
    let around = around(1_000);
    let budget = around.budget.clone();
    let body = pieces([format!("[{}1]", r#"{"ssn":1},"#.repeat(20))]);
    let Ok(Pumped::Whole(bytes, None)) = pump(body, edit("enforce"), around).await else { panic!("not whole") };
    assert!(bytes.len() > 80_000);
    assert!(budget.used() >= bytes.len(), "{} of {}", budget.used(), bytes.len());
    drop(bytes);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn little_waits_for_a_slow_reader() {
    let items = r#"{"ssn":1},"#.repeat(20);
    let body = pieces([format!("[{items}"), items.clone(), format!("{items}1]")]);
    let Ok(Pumped::Streaming(mut pipe)) = pump(body, edit("enforce"), around(100)).await else {
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
    let whole = text.concat();
    let mut tap = Tap::new(pieces(text), edit("observe"), Arc::from("r"), Metrics::default(), &budget);
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
    let pumped = pump(body, edit_with("enforce", "sign: true"), around(10_000)).await;
    assert!(matches!(pumped, Ok(Pumped::Whole(bytes, None)) if bytes.len() > 800_000));
    assert!(turns.load(std::sync::atomic::Ordering::Relaxed) >= 8);
    other.abort();
}
