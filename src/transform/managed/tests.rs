//! Values on their way through an API that reverses them, and what else may happen to them there.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use http::HeaderMap;
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::audit::Use;
use crate::crypto::base64url;
use crate::json::framing::Framing;
use crate::keyring::{KeyringError, Memo, Permissions, State};
use crate::name::PartitionName;
use crate::rules::compile::{Context, load_text};
use crate::rules::route::{NormalPath, RequestFacts};
use crate::secret::Secret;
use crate::token::v1::{FieldKey, Plain, PrefixCache};
use crate::token::{EpochId, Suite};
use crate::transform::body::{BodyEdit, CallerRole, Progress};
use crate::transform::delegate::Delegating;
use crate::transform::plan::{Direction, HalfPlan};
use crate::transform::{Done, OpenFailure, OpenJob, SealFailure, SealJob, Sealer};

const EPOCH: EpochId = EpochId([9; 10]);

/// Seals locally for real, and has an API that reverses.
struct Fake {
    state: Mutex<State>,
    permissions: Permissions,
    /// The state after the next call.
    then: Option<State>,
    fails: Option<DelegateError>,
    /// What a ciphertext begins with.
    prefix: &'static str,
    /// How many look-ups of the partition miss before one hits.
    misses: usize,
    asked: AtomicUsize,
    calls: Mutex<Vec<usize>>,
    used: Mutex<Vec<(String, Use, u64)>>,
    prefixes: PrefixCache,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            state: Mutex::new(State::Active),
            permissions: Permissions::DEFAULT,
            then: None,
            fails: None,
            prefix: "",
            misses: 0,
            asked: AtomicUsize::new(0),
            calls: Mutex::default(),
            used: Mutex::default(),
            prefixes: PrefixCache::new(8),
        }
    }
}

impl Fake {
    fn key(&self, suite: Suite, class: &Class) -> FieldKey {
        let dek = Secret::<32>::from_slice(&[7; 32]).unwrap();
        FieldKey::derive(&dek, EPOCH, suite, &partition(), class)
    }

    fn answer(&self, job: &Delegated) -> Result<Answer, DelegateError> {
        if let Some(error) = &self.fails {
            return Err(error.clone());
        }
        match &job.work {
            Work::Seal(text) => Ok(Answer::Sealed(self.encrypt(text.expose(), job.signed))),
            Work::Open(ciphertext) => {
                let no = || DelegateError::Refused("none of mine".into());
                let rest = ciphertext.strip_prefix(self.prefix.as_bytes()).ok_or_else(no)?;
                let mut bytes = base64url::decode(rest).ok_or_else(no)?;
                let padded = bytes.split_off(bytes.len().saturating_sub(16));
                if padded != [if job.signed { b'S' } else { b'-' }; 16] {
                    return Err(no());
                }
                bytes.reverse();
                Ok(Answer::Opened(SecretBytes::new(bytes)))
            }
        }
    }

    fn encrypt(&self, text: &[u8], signed: bool) -> Vec<u8> {
        let mut bytes: Vec<u8> = text.iter().rev().copied().collect();
        bytes.extend([if signed { b'S' } else { b'-' }; 16]);
        format!("{}{}", self.prefix, base64url::encode(&bytes)).into_bytes()
    }

    fn calls(&self) -> Vec<usize> {
        self.calls.lock().unwrap().clone()
    }
}

impl Sealer for Fake {
    fn permissions(&self, name: &PartitionName, _: &str, _: &mut Memo) -> Cached<Permissions> {
        assert_eq!(*name, partition());
        if self.misses > 0 && !self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.misses + 1) {
            return Cached::Miss;
        }
        match *self.state.lock().unwrap() {
            state if !state.opens() => Cached::Denied(state),
            _ => Cached::Hit(self.permissions),
        }
    }
    fn seal(&self, job: &SealJob<'_>, _: &mut Memo, out: &mut Vec<u8>) -> Result<Ready<()>, SealFailure> {
        assert_eq!(*job.partition, partition());
        let plain =
            Plain { text: job.text, is_string: job.is_string, record_id: job.record_id, pad: job.pad, signer: None };
        self.key(job.suite, job.class).seal(&plain, out)?;
        Ok(Ready::Now(()))
    }
    fn partition_of(&self, _: EpochId, _: &mut Memo) -> Cached<PartitionName> {
        Cached::Hit(partition())
    }
    fn open(&self, job: OpenJob<'_>, _: &mut Memo) -> Result<Ready<Opened>, OpenFailure> {
        let opened = self.key(job.token.suite, job.class).open(&job.token, job.record_id, &[], &self.prefixes)?;
        Ok(Ready::Now(opened))
    }
    fn record(&self, _: &str, name: &PartitionName, _: Option<Permissions>, done: &[Done<'_>]) {
        self.used.lock().unwrap().extend(done.iter().map(|(_, what, values)| (name.to_string(), *what, *values)));
    }
    fn at_hand(&self, _: &Need, _: &mut Memo) -> Cached<()> {
        match *self.state.lock().unwrap() {
            State::Active => Cached::Hit(()),
            state => Cached::Denied(state),
        }
    }
    fn delegate(&self, jobs: Vec<Delegated>) -> Delegating<'_> {
        self.calls.lock().unwrap().push(jobs.len());
        if let Some(state) = self.then {
            *self.state.lock().unwrap() = state;
        }
        Box::pin(std::future::ready(jobs.iter().map(|job| self.answer(job)).collect()))
    }
    fn fetch(&self, _: Need) -> std::pin::Pin<Box<dyn Future<Output = Result<(), KeyringError>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

fn partition() -> PartitionName {
    PartitionName::new("shop").unwrap()
}

fn api() -> PerValue {
    PerValue { batch: 100, bare: false, signs: true, convergent: false, longest: 1_000, prefix: "", plain_text: true }
}

fn profile(local: bool, api: PerValue) -> Arc<Profile> {
    Arc::new(Profile { name: "partner".into(), partition: partition(), local, per_value: Some(api) })
}

/// A plan with these options of an action, and of its rule.
fn plan(profile: &Arc<Profile>, verb: &str, options: &str, of_rule: &str) -> Arc<HalfPlan> {
    let text = format!(
        "rules:\n  - name: r\n    match: {{ path: /x }}\n{of_rule}    request: [{{ {verb}: [$..ssn, $..pan], key: partner{options} }}]\n"
    );
    let loaded = load_text("t.yaml", &text, &Context { profiles: vec![Arc::clone(profile)], ..Context::default() });
    let rules = loaded.rules.unwrap_or_else(|| panic!("{}", loaded.findings));
    let (path, headers) = (NormalPath("/x".into()), HeaderMap::new());
    let facts = RequestFacts {
        method: "POST",
        path: &path,
        ignore_case: false,
        listener: "",
        host: None,
        words: (&headers).into(),
    };
    Arc::new(HalfPlan::new(Direction::Request, &rules.route(&facts).rules, &headers).unwrap().unwrap())
}

struct Run<'a> {
    fake: &'a Arc<Fake>,
    may_see: bool,
    framing: Framing,
    /// What came in leaves after each piece.
    flush: bool,
}

impl<'a> Run<'a> {
    fn new(fake: &'a Arc<Fake>) -> Self {
        Self { fake, may_see: true, framing: Framing::One, flush: false }
    }

    fn over(&self, plan: &Arc<HalfPlan>, pieces: &[&[u8]]) -> Result<String, Refusal> {
        let caller = CallerRole { role: "default".into(), may_see_plaintext: self.may_see };
        let sealer: Arc<dyn Sealer> = Arc::clone(self.fake) as _;
        let mut edit = BodyEdit::new(Arc::clone(plan), sealer, caller, 1 << 20, self.framing);
        let mut out = Vec::new();
        for piece in pieces {
            self.drive(&mut edit, piece.len(), |edit, from| edit.feed(&piece[from..], &mut out))?;
            if self.flush {
                self.drive(&mut edit, 0, |edit, _| edit.flush(&mut out))?;
            }
        }
        self.drive(&mut edit, 0, |edit, _| edit.finish(&mut out))?;
        assert_eq!(edit.held_later(), 0, "nothing is left behind");
        Ok(String::from_utf8(out).unwrap())
    }

    fn drive(
        &self,
        edit: &mut BodyEdit,
        length: usize,
        mut step: impl FnMut(&mut BodyEdit, usize) -> Result<Progress, Refusal>,
    ) -> Result<(), Refusal> {
        let mut at = 0;
        for _ in 0..100_000 {
            match step(edit, at)? {
                Progress::All => return Ok(()),
                Progress::Fetch(_, consumed) => at += consumed,
                Progress::Delegate(consumed) => {
                    at += consumed;
                    assert!(edit.held_later() < 1 << 20, "{} bytes wait", edit.held_later());
                    let jobs = edit.jobs();
                    edit.answered(self.fake.delegate(jobs).now_or_never().unwrap());
                }
            }
            assert!(at <= length);
        }
        panic!("it goes round in circles");
    }
}

fn run(fake: &Arc<Fake>, plan: &Arc<HalfPlan>, body: &str) -> Result<String, Refusal> {
    Run::new(fake).over(plan, &[body.as_bytes()])
}

fn reason(result: Result<String, Refusal>) -> Reason {
    result.unwrap_err().reason
}

const BODY: &str =
    r#"{"ssn": "12\u00e9\n", "n":[{"pan":1.10},{"pan":""},{"ssn":null,"pan":{"a" : [1]}}, {"pan":"x"}]}"#;

#[rstest]
#[case(api())]
#[case(PerValue { plain_text: false, batch: 1, ..api() })]
fn every_value_comes_back_byte_for_byte(#[case] api: PerValue) {
    let fake = Arc::new(Fake::default());
    let partner = profile(false, api.clone());
    let sealed = run(&fake, &plan(&partner, "seal", "", ""), BODY).unwrap();
    let suite = if api.plain_text { "sc1.Q" } else { "sc1.QQ" };
    assert_eq!(sealed.matches(suite).count(), 5, "{sealed}");
    assert!(sealed.contains("\"ssn\":null") && !sealed.contains("12"));
    assert_eq!(fake.calls(), [5], "all of a body at once");
    assert_eq!(run(&fake, &plan(&partner, "open", "", ""), &sealed).unwrap(), BODY);
    // `granularity: envelope` of the same profile opens them, too, and seals here.
    let envelope = profile(true, api);
    assert_eq!(run(&fake, &plan(&envelope, "open", "", ""), &sealed).unwrap(), BODY);
    let local = run(&fake, &plan(&envelope, "seal", "", ""), BODY).unwrap();
    assert_eq!((local.matches("sc1.AQ").count(), fake.calls().len()), (5, 3));
    assert_eq!(run(&fake, &plan(&partner, "open", "", ""), &local).unwrap(), BODY);
    let used = fake.used.lock().unwrap();
    assert!(used.iter().all(|(name, ..)| name == "shop"));
    let values = |what| used.iter().filter(|(_, of, _)| *of == what).map(|(.., n)| n).sum::<u64>();
    assert_eq!((values(Use::Sealed), values(Use::Opened)), (10, 15));
}

#[test]
fn a_token_opens_at_its_own_place_only() {
    let fake = Arc::new(Fake::default());
    let partner = profile(false, api());
    let open = plan(&partner, "open", "", "");
    let sealed = run(&fake, &plan(&partner, "seal", "", ""), r#"{"ssn":"1","pan":"2"}"#).unwrap();
    assert_eq!(reason(run(&fake, &open, &sealed.replace("ssn", "x").replace("pan", "ssn"))), Reason::Token);
    // Another flag: a string that becomes a number.
    let retyped = sealed.replacen("sc1.QA", "sc1.QB", 1).replacen("sc1.QAA", "sc1.QAE", 1);
    assert_ne!(retyped, sealed);
    assert_eq!(reason(run(&fake, &open, &retyped)), Reason::Token);
    // Another profile of the same API and partition.
    let other = Arc::new(Profile { name: "other".into(), ..(*partner).clone() });
    let text = "rules:\n  - name: r\n    match: { path: /x }\n    request: [{ open: [$..ssn, $..pan], key: other }]\n";
    let loaded = load_text("t.yaml", text, &Context { profiles: vec![other], ..Context::default() });
    let (path, headers) = (NormalPath("/x".into()), HeaderMap::new());
    let facts = RequestFacts {
        method: "POST",
        path: &path,
        ignore_case: false,
        listener: "",
        host: None,
        words: (&headers).into(),
    };
    let rules = loaded.rules.unwrap();
    let elsewhere = HalfPlan::new(Direction::Request, &rules.route(&facts).rules, &headers).unwrap().unwrap();
    let calls = fake.calls().len();
    assert_eq!(reason(run(&fake, &Arc::new(elsewhere), &sealed)), Reason::Token);
    assert_eq!(fake.calls().len(), calls, "which is seen without a call");
}

#[test]
fn what_a_rule_asks_the_token_must_have() {
    let fake = Arc::new(Fake::default());
    let partner = profile(false, api());
    let body = r#"{"id":7,"ssn":"1"}"#;
    let bound = ", sign: true, bind: \"@.id\"";
    let sealed = run(&fake, &plan(&partner, "seal", bound, ""), body).unwrap();
    assert_eq!(run(&fake, &plan(&partner, "open", bound, ""), &sealed).unwrap(), body);
    let moved = sealed.replace(":7", ":8");
    assert_eq!(reason(run(&fake, &plan(&partner, "open", bound, ""), &moved)), Reason::Token);
    let calls = fake.calls().len();
    assert_eq!(reason(run(&fake, &plan(&partner, "open", "", ""), &sealed)), Reason::Token);
    let plain = run(&fake, &plan(&partner, "seal", "", ""), body).unwrap();
    assert_eq!(reason(run(&fake, &plan(&partner, "open", bound, ""), &plain)), Reason::Token);
    assert_eq!(fake.calls().len(), calls + 1, "what cannot open is not worth a call");
    assert_eq!(run(&fake, &plan(&partner, "open", &format!("{bound}, mode: migrate"), ""), &plain).unwrap(), body);
}

#[test]
fn what_is_too_long_for_the_api_is_sealed_here() {
    let fake = Arc::new(Fake::default());
    let short = PerValue { longest: 150, ..api() };
    let body = format!("{{\"ssn\":\"{}\",\"pan\":\"1\"}}", "x".repeat(151));
    for (convergent, options, suite) in [(false, "", "sc1.AQ"), (true, ", deterministic: true", "sc1.Aw")] {
        let partner = profile(false, PerValue { convergent, ..short.clone() });
        let sealed = run(&fake, &plan(&partner, "seal", options, ""), &body).unwrap();
        assert!(sealed.contains(&format!("\"ssn\":\"{suite}")) && sealed.contains("\"pan\":\"sc1.Q"), "{sealed}");
        assert_eq!(run(&fake, &plan(&partner, "open", options, ""), &sealed).unwrap(), body);
    }
    let bare = profile(false, PerValue { bare: true, ..short });
    assert_eq!(reason(run(&fake, &plan(&bare, "seal", "", ""), &body)), Reason::TooLarge);
}

#[rstest]
#[case("")]
#[case("api:")]
fn bare_is_what_other_clients_of_the_api_read_and_write(#[case] prefix: &'static str) {
    let fake = Arc::new(Fake { prefix, ..Fake::default() });
    let partner = profile(false, PerValue { bare: true, prefix, ..api() });
    let (seal, open) = (plan(&partner, "seal", "", ""), plan(&partner, "open", "", ""));
    let theirs = |text: &str| {
        let ciphertext = String::from_utf8(fake.encrypt(text.as_bytes(), false)).unwrap();
        format!("{{\"ssn\":\"{ciphertext}\"}}")
    };
    assert_eq!(run(&fake, &seal, r#"{"ssn":"\u00e9\/\n\"12"}"#).unwrap(), theirs("é/\n\"12"));
    assert_eq!(run(&fake, &open, &theirs("é/\n\"\u{1}12")).unwrap(), r#"{"ssn":"é/\n\"\u000112"}"#);
    let calls = fake.calls().len();
    for bad in [r#"12"#, r#"true"#, r#"{"a":1}"#, r#""""#, r#""\ud800""#, r#""sc1:x""#, r#""\u0073c1k:x""#] {
        assert_eq!(reason(run(&fake, &seal, &format!("{{\"ssn\":{bad}}}"))), Reason::BadRequest, "{bad}");
    }
    assert_eq!(fake.calls().len(), calls);
    for ours in ["sc1:x", "sc1k:x"] {
        let migrate = plan(&partner, "open", ", mode: migrate", "");
        assert_eq!(reason(run(&fake, &open, &theirs(ours))), Reason::Token);
        assert_eq!(reason(run(&fake, &migrate, &theirs(ours))), Reason::Token);
    }
    // What can be no ciphertext is a plaintext; what can be, and is none, fails once the roll-out is over.
    let calls = fake.calls().len();
    assert_eq!(reason(run(&fake, &open, r#"{"ssn":"123 45"}"#)), Reason::Plaintext);
    assert_eq!(
        run(&fake, &plan(&partner, "open", ", on_plaintext: pass", ""), r#"{"ssn":12}"#).unwrap(),
        r#"{"ssn":12}"#
    );
    assert_eq!(fake.calls().len(), calls);
    let alike = format!("{{\"ssn\":\"{prefix}{}\"}}", "A".repeat(30));
    assert_eq!(reason(run(&fake, &open, &alike)), Reason::Token);
    assert_eq!(run(&fake, &plan(&partner, "open", ", mode: read", ""), &alike).unwrap(), alike);
    // A token of the profile opens, too.
    let wrapped =
        run(&fake, &plan(&profile(false, PerValue { plain_text: false, ..api() }), "seal", "", ""), r#"{"ssn":"1"}"#);
    assert_eq!(run(&fake, &open, &wrapped.unwrap()).unwrap(), r#"{"ssn":"1"}"#);
    // What comes in and looks sealed is refused, or kept if it is.
    if !prefix.is_empty() {
        assert_eq!(reason(run(&fake, &seal, &theirs("1"))), Reason::Token);
    }
    let keep = plan(&partner, "seal", ", on_token: keep", "");
    assert!(prefix.is_empty() || run(&fake, &keep, &theirs("1")).unwrap() == theirs("1"));
    assert!(prefix.is_empty() || reason(run(&fake, &keep, &alike)) == Reason::Token);
}

#[test]
fn a_token_that_comes_in_is_kept_if_it_is_of_this_place() {
    let fake = Arc::new(Fake::default());
    let partner = profile(false, api());
    let keep = plan(&partner, "seal", ", on_token: keep", "");
    let sealed = run(&fake, &keep, r#"{"ssn":"1","pan":"2"}"#).unwrap();
    assert_eq!(run(&fake, &keep, &sealed).unwrap(), sealed);
    assert_eq!(reason(run(&fake, &keep, &sealed.replace("ssn", "x").replace("pan", "ssn"))), Reason::Token);
    assert_eq!(reason(run(&fake, &plan(&partner, "seal", "", ""), &sealed)), Reason::Token);
}

#[rstest]
#[case(DelegateError::Refused("no".into()), Reason::Token)]
#[case(DelegateError::Unavailable("no".into()), Reason::KeyService)]
fn failures_are_as_those_of_local_keys(#[case] error: DelegateError, #[case] opening: Reason) {
    let well = Arc::new(Fake::default());
    let partner = profile(false, api());
    let body = r#"{"ssn":"1","pan":2}"#;
    let sealed = run(&well, &plan(&partner, "seal", "", ""), body).unwrap();
    let ill = Arc::new(Fake { fails: Some(error), ..Fake::default() });
    assert_eq!(reason(run(&ill, &plan(&partner, "seal", "", ""), body)), Reason::KeyService);
    assert_eq!(run(&ill, &plan(&partner, "seal", ", on_error: pass", ""), body).unwrap(), body);
    let open = |how: &str| run(&ill, &plan(&partner, "open", &format!(", on_error: {how}"), ""), &sealed);
    assert_eq!(reason(open("reject")), opening);
    assert_eq!(open("pass").unwrap(), sealed);
    assert_eq!(open("redact").unwrap(), r#"{"ssn":"[redacted]","pan":"[redacted]"}"#);
    assert_eq!(open("nullify").unwrap(), r#"{"ssn":null,"pan":null}"#);
    assert!(ill.used.lock().unwrap().iter().all(|(_, what, _)| *what == Use::Refused));
}

#[test]
fn who_may_not_causes_no_call() {
    let partner = profile(false, api());
    let sealed = run(&Arc::new(Fake::default()), &plan(&partner, "seal", "", ""), r#"{"ssn":"1"}"#).unwrap();
    let none = Arc::new(Fake { permissions: Permissions(0), ..Fake::default() });
    assert_eq!(run(&none, &plan(&partner, "open", "", ""), &sealed).unwrap(), sealed);
    assert_eq!(reason(run(&none, &plan(&partner, "seal", "", ""), r#"{"ssn":"1"}"#)), Reason::Role);
    let fake = Arc::new(Fake::default());
    let unseen = Run { may_see: false, ..Run::new(&fake) };
    assert_eq!(unseen.over(&plan(&partner, "open", "", ""), &[sealed.as_bytes()]).unwrap(), sealed);
    for (state, opens) in [(State::DecryptOnly, true), (State::Paused, false), (State::Destroyed, false)] {
        *fake.state.lock().unwrap() = state;
        assert_eq!(reason(run(&fake, &plan(&partner, "seal", "", ""), r#"{"ssn":"1"}"#)), Reason::PartitionState);
        assert_eq!(fake.calls().len(), 0);
        if !opens {
            assert_eq!(reason(run(&fake, &plan(&partner, "open", "", ""), &sealed)), Reason::PartitionState);
        }
    }
    assert_eq!((none.calls().len(), fake.calls().len()), (0, 0));
}

#[test]
fn a_pause_while_the_api_works_counts() {
    let partner = profile(false, api());
    let body = r#"{"ssn":"1"}"#;
    let sealed = run(&Arc::new(Fake::default()), &plan(&partner, "seal", "", ""), body).unwrap();
    for (state, verb, body) in
        [(State::Paused, "seal", body), (State::DecryptOnly, "seal", body), (State::Paused, "open", sealed.as_str())]
    {
        let fake = Arc::new(Fake { then: Some(state), ..Fake::default() });
        assert_eq!(reason(run(&fake, &plan(&partner, verb, "", ""), body)), Reason::PartitionState);
        assert_eq!(fake.calls(), [1]);
    }
}

#[rstest]
#[case("a.b")]
#[case("")]
fn a_ciphertext_that_cannot_be_is_none(#[case] prefix: &'static str) {
    // The API is said to make plain text, and to begin each ciphertext with something else.
    let fake = Arc::new(Fake { prefix, ..Fake::default() });
    let lies = if prefix.is_empty() { PerValue { bare: true, prefix: "x:", ..api() } } else { api() };
    let partner = profile(false, lies);
    assert_eq!(reason(run(&fake, &plan(&partner, "seal", "", ""), r#"{"ssn":"1"}"#)), Reason::KeyService);
}

#[test]
fn what_is_kept_is_bounded() {
    let fake = Arc::new(Fake::default());
    let partner = profile(false, api());
    let seal = plan(&partner, "seal", "", "");
    let body = format!("[{}1]", r#"{"ssn":"1"},"#.repeat(2_500));
    let sealed = run(&fake, &seal, &body).unwrap();
    assert_eq!(fake.calls(), [1_000, 1_000, 500]);
    assert_eq!(run(&fake, &plan(&partner, "open", "", ""), &sealed).unwrap(), body);
    let fake = Arc::new(Fake::default());
    let partner = profile(false, PerValue { longest: 1 << 20, ..api() });
    let body = format!("[{}1]", format!("{{\"ssn\":\"{}\"}},", "x".repeat(100_000)).repeat(5));
    run(&fake, &plan(&partner, "seal", "", ""), &body).unwrap();
    assert_eq!(fake.calls(), [2, 2, 1]);
}

#[test]
fn a_long_record_id_counts_for_each_value_that_is_bound_to_it() {
    let fake = Arc::new(Fake::default());
    let partner = profile(false, PerValue { longest: 1 << 20, ..api() });
    let values = r#"{"ssn":"1"},"#.repeat(60);
    // What stands in the body beside pays for looking at so long an id so often.
    let body = format!("{{\"id\":\"{}\",\"v\":[{values}{}1]}}", "i".repeat(100_000), "1,".repeat(3_000));
    let bound = ", bind: \"$.id\"";
    let sealed = run(&fake, &plan(&partner, "seal", bound, ""), &body).unwrap();
    assert_eq!(sealed.matches("sc1.QC").count(), 60);
    // What opens nowhere is asked about, too.
    let token = run(&fake, &plan(&partner, "seal", bound, ""), r#"{"id":7,"ssn":"1"}"#).unwrap();
    let token = token.split('"').find(|text| text.starts_with("sc1.")).unwrap();
    let body = body.replace("\"1\"", &format!("\"{token}\""));
    let passes = format!("{bound}, on_error: pass");
    assert!(run(&fake, &plan(&partner, "open", &passes, ""), &body).unwrap() == body);
    assert!(fake.calls().iter().all(|values| *values <= 5), "{:?}", fake.calls());
}

#[test]
fn a_draft_is_bounded_too() {
    let fake = Arc::new(Fake::default());
    let seal = plan(&profile(false, api()), "seal", "", "");
    let caller = CallerRole { role: "default".into(), may_see_plaintext: true };
    let mut edit = BodyEdit::new(seal, Arc::clone(&fake) as _, caller, 1 << 20, Framing::One);
    let mut out = Vec::new();
    let driver = Run::new(&fake);
    let mut body = r#"[{"ssn":"1"}"#.to_owned();
    driver.drive(&mut edit, body.len(), |edit, from| edit.feed(&body.as_bytes()[from..], &mut out)).unwrap();
    for _ in 0..100 {
        let more = format!(",\"{}\"", "x".repeat(64 << 10));
        driver.drive(&mut edit, more.len(), |edit, from| edit.feed(&more.as_bytes()[from..], &mut out)).unwrap();
        assert!(edit.held() < 4 << 20, "{} bytes are held", edit.held());
        body += &more;
    }
    driver.drive(&mut edit, 1, |edit, from| edit.feed(&b"]"[from..], &mut out)).unwrap();
    driver.drive(&mut edit, 0, |edit, _| edit.finish(&mut out)).unwrap();
    let sealed = String::from_utf8(out).unwrap();
    assert_eq!(fake.calls(), [1]);
    assert_eq!(run(&fake, &plan(&profile(false, api()), "open", "", ""), &sealed).unwrap(), body + "]");
}

#[test]
fn an_api_is_none_of_the_signers_that_a_rule_names() {
    let fake = Arc::new(Fake::default());
    let sealed = run(&fake, &plan(&profile(false, api()), "seal", ", sign: true", ""), r#"{"ssn":"1"}"#).unwrap();
    let envelope = profile(true, api());
    assert_eq!(run(&fake, &plan(&envelope, "open", ", sign: true", ""), &sealed).unwrap(), r#"{"ssn":"1"}"#);
    let calls = fake.calls().len();
    for mode in ["enforce", "migrate", "read"] {
        let named = format!(", sign: true, signers: [\"{}\"], mode: {mode}", "0a".repeat(16));
        assert_eq!(reason(run(&fake, &plan(&envelope, "open", &named, ""), &sealed)), Reason::Token, "{mode}");
    }
    assert_eq!(fake.calls().len(), calls);
}

#[test]
fn a_document_that_proves_to_be_none_is_taken_back_with_its_values() {
    let partner = profile(false, api());
    let of_rule = "    on_invalid_json: pass\n";
    let (seal, open) = (plan(&partner, "seal", "", of_rule), plan(&partner, "open", "", of_rule));
    let good = format!("[{}0]", r#"{"ssn":"1"},"#.repeat(1_300));
    let bad = format!("[{}oops\n", r#"{"ssn":"2"},"#.repeat(1_300));
    let body = format!("{good}\n{bad}{good}");
    for (flush, misses) in [(false, 0), (true, 0), (true, 2)] {
        let fake = Arc::new(Fake { misses, ..Fake::default() });
        let run = Run { framing: Framing::Lines, flush, ..Run::new(&fake) };
        let pieces: Vec<&[u8]> = body.as_bytes().chunks(701).collect();
        let sealed = run.over(&seal, &pieces).unwrap();
        let lines: Vec<&str> = sealed.lines().collect();
        assert_eq!((lines.len(), lines[1]), (3, bad.trim_end()));
        for line in [lines[0], lines[2]] {
            assert_eq!(run.over(&open, &[line.as_bytes()]).unwrap(), good);
        }
        assert!(fake.calls().iter().all(|values| *values <= 1_000));
    }
}

#[test]
fn nothing_leaves_from_the_first_value_on_that_waits() {
    let fake = Arc::new(Fake::default());
    let seal = plan(&profile(false, api()), "seal", "", "");
    let caller = CallerRole { role: "default".into(), may_see_plaintext: true };
    let mut edit = BodyEdit::new(seal, Arc::clone(&fake) as _, caller, 1 << 20, Framing::One);
    let mut out = Vec::new();
    assert!(matches!(edit.feed(br#"{"a":1,"ssn":"secret","b":2,"#, &mut out), Ok(Progress::All)));
    assert_eq!(out, br#"{"a":1,"ssn":"#);
    assert!(edit.held() > "secret\",\"b\":2".len());
    assert!(matches!(edit.flush(&mut out), Ok(Progress::Delegate(0))));
    let jobs = edit.jobs();
    edit.answered(fake.delegate(jobs).now_or_never().unwrap());
    assert!(matches!(edit.flush(&mut out), Ok(Progress::All)));
    assert!(out.ends_with(br#"","b":2,"#));
    // Fewer answers than values are none.
    assert!(matches!(edit.feed(br#""ssn":"1","ssn":"2"}"#, &mut out), Ok(Progress::All)));
    assert!(matches!(edit.finish(&mut out), Ok(Progress::Delegate(0))));
    assert_eq!(edit.jobs().len(), 2);
    edit.answered(vec![Ok(Answer::Sealed(b"x".to_vec()))]);
    assert_eq!(edit.finish(&mut out).unwrap_err().reason, Reason::KeyService);
}

#[test]
fn a_required_value_that_waits_is_there() {
    let fake = Arc::new(Fake::default());
    let seal = plan(&profile(false, api()), "seal", ", required: true", "");
    assert!(run(&fake, &seal, r#"{"ssn":"1","pan":"1"}"#).is_ok());
    assert_eq!(reason(run(&fake, &seal, r#"{"ssn":"1"}"#)), Reason::Missing);
}

#[test]
fn masks_and_lengths_are_looked_at_once_the_answer_is_there() {
    let fake = Arc::new(Fake::default());
    let partner = profile(false, api());
    let sealed = run(&fake, &plan(&partner, "seal", "", ""), r#"{"ssn":"123456789"}"#).unwrap();
    let masked = run(&fake, &plan(&partner, "open", ", reveal: mask(4)", ""), &sealed).unwrap();
    assert_eq!(masked, r#"{"ssn":"*****6789"}"#);
    assert_eq!(
        reason(run(&fake, &plan(&partner, "seal", ", max_length: 50", ""), r#"{"ssn":"1"}"#)),
        Reason::MaxLength
    );
}

fn document() -> impl Strategy<Value = String> {
    let value = proptest::sample::select(&["\"1\"", "\"\\u00e9\"", "12", "{\"ssn\":3}", "null", "\"\"", "[ ]"][..]);
    let member = (proptest::sample::select(&["ssn", "pan", "x", "s\\u0073n"][..]), value)
        .prop_map(|(name, value)| format!("\"{name}\": {value}"));
    let object = proptest::collection::vec(member, 0..4).prop_map(|members| format!("{{{}}}", members.join(" ,")));
    proptest::collection::vec(object, 0..4).prop_map(|objects| format!("[{}]", objects.join(", ")))
}

fn body() -> impl Strategy<Value = (Framing, String)> {
    let junk = proptest::sample::select(&["{\"ssn\":\"1\",", "", "[DONE]", " "][..]).prop_map(str::to_owned);
    let piece = prop_oneof![4 => document(), 1 => junk];
    let many = |framing, before: &'static str, after: &'static str, piece| {
        proptest::collection::vec(piece, 0..4)
            .prop_map(move |all| (framing, all.iter().map(|one| format!("{before}{one}{after}")).collect::<String>()))
    };
    prop_oneof![
        document().prop_map(|text| (Framing::One, text)),
        many(Framing::Lines, "", "\n", piece.clone().boxed()),
        many(Framing::Sequence, "\u{1e}", "\n", piece.clone().boxed()),
        many(Framing::Events, "id: 1\ndata: ", "\n\n", piece.boxed()),
    ]
}

proptest! {
    #[test]
    fn however_a_body_comes_it_becomes_the_same(
        (framing, text) in body(), cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
        flush: bool, misses in 0_usize..3, lenient: bool, filter: bool,
    ) {
        let partner = profile(false, api());
        let of_rule = if lenient { "    on_invalid_json: pass\n" } else { "" };
        let seal = if filter {
            // What a filter selects is edited from a buffer.
            let text = "rules:\n  - name: r\n    match: { path: /x }\nOF    request: [{ seal: ['$[?@.x].ssn', $..pan], key: partner }]\n";
            let text = text.replace("OF", of_rule);
            let rules = load_text("t.yaml", &text, &Context { profiles: vec![Arc::clone(&partner)], ..Context::default() }).rules.unwrap();
            let (path, headers) = (NormalPath("/x".into()), HeaderMap::new());
            let facts = RequestFacts { method: "POST", path: &path, ignore_case: false, listener: "", host: None, words: (&headers).into() };
            Arc::new(HalfPlan::new(Direction::Request, &rules.route(&facts).rules, &headers).unwrap().unwrap())
        } else {
            plan(&partner, "seal", "", of_rule)
        };
        // What is no document passed as it came.
        let open = plan(&partner, "open", ", on_plaintext: pass", of_rule);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let fake = Arc::new(Fake::default());
        let whole = Run { framing, ..Run::new(&fake) }.over(&seal, &[text.as_bytes()]);
        let slow = Arc::new(Fake { misses, ..Fake::default() });
        let cut = |text: &str, cuts: &[usize]| -> Vec<Vec<u8>> {
            cuts.windows(2).map(|pair| text.as_bytes()[pair[0]..pair[1]].to_vec()).collect()
        };
        let pieces = cut(&text, &cuts);
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let split = Run { framing, flush, ..Run::new(&slow) }.over(&seal, &pieces);
        let told = |result: &Result<String, Refusal>| result.clone().map_err(|refusal| refusal.reason);
        prop_assert_eq!(told(&split), told(&whole));
        if let (Ok(sealed), false) = (&whole, filter) {
            let back = Run { framing, ..Run::new(&fake) }.over(&open, &[sealed.as_bytes()]).unwrap();
            prop_assert_eq!(&back, &text);
            let bytes: Vec<&[u8]> = sealed.as_bytes().chunks(1).collect();
            prop_assert_eq!(&Run { framing, flush, ..Run::new(&slow) }.over(&open, &bytes).unwrap(), &text);
        }
    }
}
