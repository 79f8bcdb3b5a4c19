//! Strings that hold JSON, on their way out and back.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderMap;
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::json::framing::Framing;
use crate::keyring::{Cached, KeyringError, Kind, Memo, Permissions};
use crate::name::{Class, PartitionName};
use crate::rules::compile::{Context, load_text};
use crate::rules::profile::{PerValue, Profile};
use crate::rules::route::{NormalPath, RequestFacts};
use crate::secret::Secret;
use crate::token::v1::managed::{ManagedSuite, Place};
use crate::token::v1::{FieldKey, Opened, Plain, PrefixCache};
use crate::token::{EpochId, Suite};
use crate::transform::body::{BodyEdit, CallerRole, Progress};
use crate::transform::plan::Direction;
use crate::transform::{Need, OpenFailure, OpenJob, Ready, SealFailure, SealJob, Sealer};

const EPOCH: EpochId = EpochId([9; 10]);

/// Seals for real, after so many misses for each value.
struct Fake {
    misses: usize,
    asked: AtomicUsize,
    /// How many values were sealed or opened.
    done: AtomicUsize,
    prefixes: PrefixCache,
}

impl Fake {
    fn new(misses: usize) -> Arc<Self> {
        Arc::new(Self { misses, asked: AtomicUsize::new(0), done: AtomicUsize::new(0), prefixes: PrefixCache::new(8) })
    }

    fn key(suite: Suite, class: &Class) -> FieldKey {
        let dek = Secret::<32>::from_slice(&[7; 32]).unwrap();
        FieldKey::derive(&dek, EPOCH, suite, &PartitionName::default_name(), class)
    }

    fn must_wait(&self) -> bool {
        !(self.asked.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(self.misses + 1)
    }

    fn done(&self) -> usize {
        self.done.swap(0, Ordering::Relaxed)
    }
}

impl Sealer for Fake {
    fn permissions(&self, _: &PartitionName, _: &str, _: &mut Memo) -> Cached<Permissions> {
        Cached::Hit(Permissions::DEFAULT)
    }
    fn seal(&self, job: &SealJob<'_>, _: &mut Memo, out: &mut Vec<u8>) -> Result<Ready<()>, SealFailure> {
        if self.must_wait() {
            return Ok(Ready::After(Need::Sealing(job.partition.clone(), Kind::Random)));
        }
        let plain =
            Plain { text: job.text, is_string: job.is_string, record_id: job.record_id, pad: job.pad, signer: None };
        Self::key(job.suite, job.class).seal(&plain, out)?;
        self.done.fetch_add(1, Ordering::Relaxed);
        Ok(Ready::Now(()))
    }
    fn partition_of(&self, _: EpochId, _: &mut Memo) -> Cached<PartitionName> {
        Cached::Hit(PartitionName::default_name())
    }
    fn open(&self, job: OpenJob<'_>, _: &mut Memo) -> Result<Ready<Opened>, OpenFailure> {
        if self.must_wait() {
            return Ok(Ready::After(Need::Opening(EPOCH)));
        }
        let opened = Self::key(job.token.suite, job.class).open(&job.token, job.record_id, &[], &self.prefixes)?;
        self.done.fetch_add(1, Ordering::Relaxed);
        Ok(Ready::Now(opened))
    }
    fn at_hand(&self, _: &Need, _: &mut Memo) -> Cached<()> {
        Cached::Hit(())
    }
    fn fetch(&self, _: Need) -> std::pin::Pin<Box<dyn Future<Output = Result<(), KeyringError>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

const BOTH: &str = "[$..payload], parse: json, inside: [$..ssn, $..pan]";

/// A plan with one item, under further options of its rule.
fn plan(item: &str, of_rule: &str, profiles: Vec<Arc<Profile>>) -> Arc<HalfPlan> {
    let text = format!("rules:\n  - name: r\n    match: {{ path: /x }}\n{of_rule}    request: [{{ {item} }}]\n");
    let loaded = load_text("t.yaml", &text, &Context { profiles, ..Context::default() });
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

fn sealing(selectors: &str) -> Arc<HalfPlan> {
    plan(&format!("seal: {selectors}"), "", Vec::new())
}

fn opening(selectors: &str) -> Arc<HalfPlan> {
    plan(&format!("open: {selectors}"), "", Vec::new())
}

struct Run<'a> {
    fake: &'a Arc<Fake>,
    framing: Framing,
    max_value: usize,
    /// Which of the fetches fail.
    fails: &'a [usize],
}

impl<'a> Run<'a> {
    fn new(fake: &'a Arc<Fake>) -> Self {
        Self { fake, framing: Framing::One, max_value: 1 << 20, fails: &[] }
    }

    fn over(&self, plan: &Arc<HalfPlan>, pieces: &[&[u8]]) -> Result<String, Refusal> {
        let caller = CallerRole { role: "default".into(), may_see_plaintext: true };
        let sealer: Arc<dyn Sealer> = Arc::clone(self.fake) as _;
        let mut edit = BodyEdit::new(Arc::clone(plan), sealer, caller, self.max_value, self.framing);
        let (mut out, mut fetched) = (Vec::new(), 0);
        for piece in pieces {
            let mut at = 0;
            while let Progress::Fetch(_, consumed) = edit.feed(&piece[at..], &mut out)? {
                at += consumed;
                self.fetch(&mut edit, &mut fetched);
            }
        }
        while let Progress::Fetch(..) = edit.finish(&mut out)? {
            self.fetch(&mut edit, &mut fetched);
        }
        assert!(edit.held() < 4096, "nothing is left behind: {}", edit.held());
        Ok(String::from_utf8(out).unwrap())
    }

    fn fetch(&self, edit: &mut BodyEdit, fetched: &mut usize) {
        if self.fails.contains(fetched) {
            edit.fetch_failed(KeyringError::Unavailable("down".into()));
        }
        *fetched += 1;
    }
}

fn run(plan: &Arc<HalfPlan>, body: &str) -> Result<String, Refusal> {
    Run::new(&Fake::new(0)).over(plan, &[body.as_bytes()])
}

fn tokens(text: &str) -> usize {
    text.matches("sc1.").count()
}

/// A JSON value with its names and texts unescaped.
#[derive(Debug, Clone)]
enum Value {
    Lexeme(&'static str),
    Text(String),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        prop::sample::select(&["null", "true", "-0.50e+7", "12345678901234567890", "1.10"]).prop_map(Value::Lexeme),
        any::<String>().prop_map(Value::Text),
        "[\"/\\\\a-c\u{e9}\u{1f600}\n\t]{0,6}".prop_map(Value::Text),
    ];
    let name = prop_oneof![
        4 => prop::sample::select(&["ssn", "pan", "id", "x", "ss", "ssn2"]).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((name.clone(), inner), 0..5).prop_map(Value::Object),
        ]
    })
}

/// Writes with a different spelling each time.
struct Spelling<'a> {
    how: std::iter::Cycle<std::slice::Iter<'a, u8>>,
}

impl Spelling<'_> {
    fn next(&mut self) -> u8 {
        self.how.next().copied().unwrap_or_default()
    }

    fn content(&mut self, text: &str, out: &mut String) {
        for c in text.chars() {
            let how = self.next() % 4;
            let short = match c {
                '"' => Some("\\\""),
                '\\' => Some("\\\\"),
                '/' => Some("\\/"),
                '\n' => Some("\\n"),
                '\t' => Some("\\t"),
                '\r' => Some("\\r"),
                '\u{8}' => Some("\\b"),
                '\u{c}' => Some("\\f"),
                _ => None,
            };
            match (short, how) {
                (_, 0) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        write!(out, "\\u{unit:04x}").unwrap();
                    }
                }
                (_, 1) if c < ' ' => write!(out, "\\u{:04X}", u32::from(c)).unwrap(),
                (Some(short), _) if c != '/' || how == 2 => out.push_str(short),
                _ if c < ' ' => write!(out, "\\u{:04X}", u32::from(c)).unwrap(),
                _ => out.push(c),
            }
        }
    }

    fn white(&mut self, out: &mut String) {
        out.push_str(["", "", "", " ", "\n", "\t"][usize::from(self.next() % 6)]);
    }

    /// The text of a value in pieces, each with whether it is selected as a whole.
    fn value(&mut self, value: &Value, within: bool, out: &mut Vec<(String, bool)>) {
        match value {
            Value::Lexeme(lexeme) => append(lexeme, within, out),
            Value::Text(text) => {
                let mut written = String::from("\"");
                self.content(text, &mut written);
                written.push('"');
                append(&written, within, out);
            }
            Value::Array(elements) => {
                append("[", within, out);
                for (n, element) in elements.iter().enumerate() {
                    self.between(n, within, out);
                    self.value(element, within, out);
                }
                append("]", within, out);
            }
            Value::Object(members) => {
                append("{", within, out);
                for (n, (name, member)) in members.iter().enumerate() {
                    self.between(n, within, out);
                    let mut written = String::from("\"");
                    self.content(name, &mut written);
                    written.push_str("\":");
                    self.white(&mut written);
                    append(&written, within, out);
                    let null = matches!(member, Value::Lexeme("null"));
                    if within || null || !["ssn", "pan"].contains(&name.as_str()) {
                        self.value(member, within, out);
                    } else {
                        let mut whole = vec![(String::new(), true)];
                        self.value(member, true, &mut whole);
                        out.extend(whole);
                        out.push((String::new(), false));
                    }
                }
                append("}", within, out);
            }
        }
    }

    fn between(&mut self, n: usize, within: bool, out: &mut Vec<(String, bool)>) {
        let mut text = String::from(if n > 0 { "," } else { "" });
        self.white(&mut text);
        append(&text, within, out);
    }
}

fn append(text: &str, within: bool, out: &mut Vec<(String, bool)>) {
    match out.last_mut() {
        Some((last, selected)) if *selected == within => last.push_str(text),
        _ => out.push((text.to_owned(), within)),
    }
}

/// Takes a token that stands in a string off the front.
fn token(rest: &str) -> Option<&str> {
    rest.strip_prefix(r#"\"sc1."#)?.split_once(r#"\""#).map(|(_, rest)| rest)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn what_is_selected_inside_is_sealed_and_all_else_stays_byte_for_byte(
        values in prop::collection::vec(value(), 1..4),
        how in prop::collection::vec(any::<u8>(), 1..64),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        misses in 0..3_usize,
    ) {
        let mut spelling = Spelling { how: how.iter().cycle() };
        let mut body = vec![("{\"n\":[".to_owned(), None)];
        for (n, value) in values.iter().enumerate() {
            let mut pieces = vec![(String::new(), false)];
            spelling.value(value, false, &mut pieces);
            body.push((format!("{}{{\"payload\": \"", if n > 0 { "," } else { "" }), None));
            for (text, selected) in pieces {
                let mut raw = String::new();
                spelling.content(&text, &mut raw);
                body.push((raw, selected.then_some(text)));
            }
            body.push(("\"}".to_owned(), None));
        }
        body.push(("]}".to_owned(), None));
        let whole: String = body.iter().map(|(raw, _)| raw.as_str()).collect();
        let expected = body.iter().filter(|(_, selected)| selected.is_some()).count();

        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len() + 1)).collect();
        at.extend([0, whole.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|two| &whole.as_bytes()[two[0]..two[1]]).collect();
        let fake = Fake::new(misses);
        let stored = Run::new(&fake).over(&sealing(BOTH), &pieces).unwrap();
        prop_assert_eq!(fake.done(), expected, "each is sealed once: {}", stored);
        let mut rest = stored.as_str();
        for (raw, selected) in &body {
            let after = if selected.is_some() { token(rest) } else { rest.strip_prefix(raw.as_str()) };
            rest = after.ok_or_else(|| TestCaseError::fail(format!("{raw:?} is not at {rest:?} in {stored:?}")))?;
        }
        prop_assert_eq!(rest, "");

        let at: Vec<usize> = at.iter().map(|at| at * stored.len() / whole.len()).collect();
        let pieces: Vec<&[u8]> = at.windows(2).map(|two| &stored.as_bytes()[two[0]..two[1]]).collect();
        let opened = Run::new(&fake).over(&opening(BOTH), &pieces).unwrap();
        prop_assert_eq!(fake.done(), expected);
        let mut back = Vec::new();
        for (raw, selected) in &body {
            match selected {
                Some(text) => escape_into(text, &mut back),
                None => back.extend_from_slice(raw.as_bytes()),
            }
        }
        prop_assert_eq!(opened, String::from_utf8(back).unwrap());
    }
}

#[rstest]
#[case(r#"{"p\u0061yload":"{\"ssn\":1}"}"#, 1)]
#[case(r#"{"payload":"{\"s\u0073n\":1}"}"#, 1)]
#[case(r#"{"payload":"{\"s\\u0073n\":1}"}"#, 1)]
#[case(r#"{"payload":"{\"s\u005cu0073n\":1}"}"#, 1)]
#[case(r#"{"payload":"{\"s\u005c\u00750073n\":1}"}"#, 1)]
#[case(r#"{"payload":"\u007b\u0022ssn\u0022\u003a1\u007d"}"#, 1)]
#[case(r#"{"payload":"{\"ssn\":1,\"ssn\":2,\"s\\u0073n\":3}"}"#, 3)]
#[case(r#"{"payload":"{\"ssn\":1}","payload":"{\"ssn\":2}"}"#, 2)]
#[case(r#"{"payload":" [ {\"ssn\":{\"ssn\":[1]}} ]\n"}"#, 1)]
#[case(r#"[{"payload":"{\"pan\":\"\"}"},{"payload":"[]"},{"payload":"7"}]"#, 1)]
#[case(r#"{"payload":"\"sc1.x\""}"#, 1)]
#[case(r#"{"payload":"{\"payload\":\"{\\\"ssn\\\":1}\"}"}"#, 0)]
fn no_spelling_hides_a_value(#[case] body: &str, #[case] count: usize) {
    let stored = run(&sealing(BOTH), body).unwrap();
    assert_eq!(tokens(&stored), count, "{stored}");
    assert_eq!(
        stored.matches(":1").count(),
        body.matches(":1").count() - usize::from(count > 0 && body.contains(":1"))
    );
    assert!(serde_json::from_str::<serde_json::Value>(&stored).is_ok());
}

#[rstest]
#[case(r#""{\"ssn\":1} x""#)]
#[case(r#""{\"ssn\":1}{\"ssn\":2}""#)]
#[case(r#""{\"ssn\":1}\n{\"ssn\":2}\n""#)]
#[case(r#""{\"ssn\":1""#)]
#[case(r#""\ufeff{\"ssn\":1}""#)]
#[case("\"\u{feff}{\\\"ssn\\\":1}\"")]
#[case(r#""{'ssn':1}""#)]
#[case(r#""{\"ssn\":1,}""#)]
#[case(r#""{\"ssn\":1}\u0000""#)]
#[case(r#""{\"ssn\":\"\ud83d\"}""#)]
#[case(r#""{\"ssn\":\"\u000a\"}""#)]
#[case(r#""ssn=1""#)]
#[case(r#""sc1.AQ""#)]
#[case(r#"{"ssn":1}"#)]
#[case(r#"[{"ssn":1}]"#)]
#[case("1")]
#[case("true")]
fn what_is_no_json_is_refused_when_sealing_and_passes_when_opening(#[case] payload: &str) {
    let body = format!(r#"{{"payload": {payload} ,"ssn":2}}"#);
    let refusal = run(&sealing(BOTH), &body).unwrap_err();
    assert_eq!(refusal.reason, Reason::InvalidJson);
    assert_eq!(refusal.rule.as_deref(), Some("r"));
    assert_eq!(run(&opening(BOTH), &body).unwrap(), body);
    let on =
        |item: &str, on: &str| plan(&format!("{item}: {BOTH}"), &format!("    on_invalid_json: {on}\n"), Vec::new());
    assert_eq!(run(&on("seal", "pass"), &body).unwrap(), body);
    assert_eq!(run(&on("open", "reject"), &body).unwrap_err().reason, Reason::InvalidJson);
}

#[rstest]
#[case("null")]
#[case(r#""""#)]
#[case(r#"" \n\t\r\u0020""#)]
#[case(r#""{\"ssn\":null, \"x\":\"\\u0031\"}""#)]
fn where_there_is_nothing_all_stays(#[case] payload: &str) {
    let body = format!(r#"{{"payload": {payload} }}"#);
    assert_eq!(run(&sealing(BOTH), &body).unwrap(), body);
    assert_eq!(run(&opening(BOTH), &body).unwrap(), body);
}

#[test]
fn depth_is_bounded() {
    let body = |depth: usize| format!(r#"{{"payload":"{}{}"}}"#, "[".repeat(depth), "]".repeat(depth));
    assert!(run(&sealing(BOTH), &body(512)).is_ok());
    assert_eq!(run(&sealing(BOTH), &body(513)).unwrap_err().reason, Reason::InvalidJson);
}

#[test]
fn modes_that_only_look_change_no_byte() {
    let body = r#"{"payload":"{\u0022ssn\":\"sc1.x\",\"pan\":1}"}"#;
    for item in
        ["seal: [$..payload], mode: observe", "seal: [$..payload], mode: read", "open: $..payload, mode: observe"]
    {
        let plan = plan(&format!("{item}, parse: json, inside: [$..ssn, $..pan]"), "", Vec::new());
        assert_eq!(run(&plan, body).unwrap(), body);
        let broken = r#"{"payload":"{\"ssn\":1"}"#;
        assert_eq!(run(&plan, broken).unwrap(), broken);
    }
}

#[test]
fn filters_and_what_values_are_bound_to_stand_in_the_text() {
    let selectors = "$.payload, parse: json, inside: ['$.list[?@.secret == $.yes].value', '$.log[-1]'], class: v";
    let body = r#"{"yes":2,"payload":"{\"list\":[{\"secret\":1,\"value\":\"a\"},{\"secret\":2,\"value\":\"b\"}],\"yes\":1,\"log\":[7,8]}"}"#;
    let stored = run(&sealing(selectors), body).unwrap();
    assert!(tokens(&stored) == 2 && stored.contains(r#"\"b\""#) && stored.contains("[7,"), "{stored}");
    assert_eq!(run(&opening(selectors), &stored).unwrap(), body);
    let duplicate = body.replace(r#"\"yes\":1"#, r#"\"yes\":1,\"yes\":2"#);
    assert_eq!(run(&sealing(selectors), &duplicate).unwrap_err().reason, Reason::Undecided);

    let bound = |at: &str| format!("$..payload, parse: json, inside: $..ssn, bind: '{at}'");
    for (at, moved) in [("@.id", true), ("$.c.id", false)] {
        let body =
            r#"[{"payload":"{\"c\":{\"ssn\":\"1\",\"id\":7}}"},{"id":7,"payload":"{\"c\":{\"ssn\":\"2\",\"id\":8}}"}]"#;
        let stored = run(&sealing(&bound(at)), body).unwrap();
        assert_eq!(run(&opening(&bound(at)), &stored).unwrap(), body);
        let other = stored.replace(r#"\"id\":7"#, r#"\"id\":9"#);
        assert_eq!(run(&opening(&bound(at)), &other).unwrap_err().reason, Reason::Token, "{moved}");
        let nothing = r#"{"id":7,"c":{"id":7},"payload":"{\"ssn\":\"1\"}"}"#;
        assert_eq!(run(&sealing(&bound(at)), nothing).unwrap_err().reason, Reason::Missing);
    }
}

#[test]
fn equal_values_give_equal_tokens_however_they_are_spelled() {
    let deterministic = sealing(&format!("{BOTH}, deterministic: true"));
    let stored = run(
        &deterministic,
        r#"[{"payload":"{\"ssn\":\"1\u00e9\"}"},{"payload":"{\"ssn\":\"\\u0031é\"}"},{"payload":"{\"pan\":\"1é\"}"}]"#,
    )
    .unwrap();
    let tokens: Vec<&str> = stored.split(r#"\""#).filter(|text| text.starts_with("sc1.")).collect();
    assert!(tokens.len() == 3 && tokens[0] == tokens[1] && tokens[1] != tokens[2], "{stored}");
}

#[test]
fn masks_and_what_does_not_open_are_written_into_the_text() {
    let stored = run(&sealing(BOTH), r#"{"payload":"{\"ssn\":\"a\\\"123\",\"pan\":5}"}"#).unwrap();
    let shown = run(&opening(&format!("{BOTH}, reveal: mask(4)")), &stored).unwrap();
    assert_eq!(shown, r#"{"payload":"{\"ssn\":\"*\\\"123\",\"pan\":\"****\"}"}"#);
    // A token of the one class stands in the place of the other.
    let swapped = stored.replace("ssn", "x").replace("pan", "ssn");
    assert_eq!(run(&opening(BOTH), &swapped).unwrap_err().reason, Reason::Token);
    for (on_error, shown) in [("redact", r#"\"[redacted]\""#), ("nullify", "null")] {
        let opened = run(&opening(&format!("{BOTH}, on_error: {on_error}")), &swapped).unwrap();
        assert!(opened.contains(&format!(r#"\"ssn\":{shown}"#)), "{opened}");
    }
    assert_eq!(run(&opening(&format!("{BOTH}, on_error: pass")), &swapped).unwrap(), swapped);
    let plain = r#"{"payload":"{\"ssn\":1}"}"#;
    assert_eq!(run(&opening(BOTH), plain).unwrap_err().reason, Reason::Plaintext);
}

#[test]
fn a_fetch_that_fails_is_about_the_value_that_waited() {
    let body = r#"{"payload":"{\"ssn\":\u0022one\u0022,\"pan\":\"two\",\"list\":[{\"ssn\":\"three\"}]}"}"#;
    for (which, stays) in [r#"\u0022one\u0022"#, r#"\"two\""#, r#"\"three\""#].into_iter().enumerate() {
        let fake = Fake::new(1);
        let pass = sealing(&format!("{BOTH}, on_error: pass"));
        let stored = Run { fails: &[which], ..Run::new(&fake) }.over(&pass, &[body.as_bytes()]).unwrap();
        assert_eq!((tokens(&stored), fake.done()), (2, 2), "{stored}");
        assert!(stored.contains(stays), "{stored}");
        let refusal = Run { fails: &[which], ..Run::new(&Fake::new(1)) }.over(&sealing(BOTH), &[body.as_bytes()]);
        assert_eq!(refusal.unwrap_err().reason, Reason::KeyService);
    }
}

#[test]
fn strings_and_values_have_their_bounds() {
    let fake = Fake::new(0);
    let over = |limits: &str, body: &str| {
        let plan = plan(&format!("seal: {BOTH}"), limits, Vec::new());
        Run { max_value: 40, ..Run::new(&fake) }.over(&plan, &[body.as_bytes()]).map_err(|refusal| refusal.reason)
    };
    let body = |value: usize, rest: usize| {
        format!(r#"{{"payload":"{{\"ssn\":\"{}\"}}{}"}}"#, "v".repeat(value), " ".repeat(rest))
    };
    assert!(over("", &body(10, 10)).is_ok());
    assert_eq!(over("", &body(10, 20)), Err(Reason::TooLarge), "without `max_buffered`, as a value");
    let more = "    max_buffered: 200\n";
    assert!(over(more, &body(38, 100)).is_ok());
    assert_eq!(over(more, &body(39, 0)), Err(Reason::TooLarge));
    assert_eq!(over(more, &body(10, 200)), Err(Reason::TooLarge));
    let pass = "    max_buffered: 200\n    on_too_large: pass\n";
    for long in [body(39, 0), body(10, 200)] {
        assert_eq!(over(pass, &long).as_ref(), Ok(&long));
    }
    let filtered = plan(
        "seal: $.payload, parse: json, inside: '$.list[?match(@.a, @.p)].v'",
        "    max_buffered: 65536\n",
        Vec::new(),
    );
    let patterns = |from: usize, to: usize| {
        let one = |n: usize| format!(r#"{{\"a\":\"{n}\",\"p\":\"{n}\",\"v\":1}}"#);
        let list = (from..to).map(one).collect::<Vec<_>>().join(",");
        format!(r#""payload":"{{\"list\":[{list}]}}""#)
    };
    let (some, more) = (patterns(0, 60), patterns(60, 120));
    let lines = format!("{{{some}}}\n{{{more}}}");
    let several = Run { framing: Framing::Lines, ..Run::new(&fake) }.over(&filtered, &[lines.as_bytes()]);
    assert_eq!(tokens(&several.unwrap()), 120);
    let one = format!("{{{some},{more}}}");
    assert_eq!(run(&filtered, &one).unwrap_err().reason, Reason::Undecided, "of all strings of a document");
}

#[test]
fn a_required_value_must_be_inside() {
    let required = sealing(&format!("{BOTH}, required: true"));
    let both = r#"[{"payload":"{\"ssn\":1}"},{"payload":"{\"pan\":1}"}]"#;
    assert!(run(&required, both).is_ok());
    for body in ["{}", r#"{"payload":null}"#, r#"{"payload":"{\"ssn\":1}"}"#, r#"{"payload":"","ssn":1,"pan":1}"#] {
        assert_eq!(run(&required, body).unwrap_err().reason, Reason::Missing, "{body}");
    }
}

#[test]
fn in_a_merge_patch_null_removes_the_string_and_nothing_inside() {
    let fake = Fake::new(0);
    let plan = sealing(&format!("{BOTH}, nulls: seal"));
    let body = br#"{"a":{"payload":null},"payload":"{\"ssn\":null}"}"#;
    let stored = Run { framing: Framing::Merge, ..Run::new(&fake) }.over(&plan, &[body]).unwrap();
    assert!(tokens(&stored) == 1 && stored.contains(r#"{"payload":null}"#), "{stored}");
}

#[test]
fn a_patch_writes_strings_and_takes_them_to_their_like() {
    let fake = Fake::new(0);
    let run = |plan: &Arc<HalfPlan>, body: &str| {
        Run { framing: Framing::Patch, ..Run::new(&fake) }.over(plan, &[body.as_bytes()])
    };
    let plan = sealing("[$.a, $.b], parse: json, inside: [$..ssn, $..pan]");
    let body = r#"[{"op":"add","path":"/a","value":"{\"pan\":1}"},{"op":"move","from":"/a","path":"/b"}]"#;
    assert_eq!(tokens(&run(&plan, body).unwrap()), 1);
    let text = "rules:\n  - name: r\n    match: { path: /x }\n    request:\n      - { seal: $.a, parse: json, inside: $.ssn }\n      - { seal: $.b, parse: json, inside: $.ssn, pad: 16 }\n      - { seal: $.ssn }\n";
    let rules = load_text("t.yaml", text, &Context::default()).rules.unwrap();
    let (path, headers) = (NormalPath("/x".into()), HeaderMap::new());
    let facts = RequestFacts {
        method: "POST",
        path: &path,
        ignore_case: false,
        listener: "",
        host: None,
        words: (&headers).into(),
    };
    let plan = Arc::new(HalfPlan::new(Direction::Request, &rules.route(&facts).rules, &headers).unwrap().unwrap());
    for (from, to) in [("a", "b"), ("a", "ssn"), ("ssn", "a")] {
        let body = format!(r#"[{{"op":"move","from":"/{from}","path":"/{to}"}}]"#);
        assert_eq!(run(&plan, &body).unwrap_err().reason, Reason::Undecided);
    }
}

#[test]
fn a_token_that_an_api_made_fails_inside_a_string() {
    let api = PerValue {
        batch: 100,
        bare: false,
        signs: true,
        convergent: false,
        longest: 1_000,
        prefix: "",
        plain_text: true,
    };
    let partition = PartitionName::default_name();
    let profile = Arc::new(Profile { name: "partner".into(), partition, local: true, per_value: Some(api) });
    let place =
        Place { profile: "partner", class: &Class::new("ssn"), record_id: None, is_string: true, signed: false };
    let mut token = Vec::new();
    place.token(ManagedSuite::of(true), &[b'x'; 40], &mut token).unwrap();
    let body = format!(r#"{{"payload":"{{\"ssn\":\"{}\"}}"}}"#, String::from_utf8(token).unwrap());
    let opening = |more: &str| plan(&format!("open: {BOTH}, key: partner{more}"), "", vec![Arc::clone(&profile)]);
    assert_eq!(run(&opening(""), &body).unwrap_err().reason, Reason::Token);
    assert_eq!(run(&opening(", on_error: nullify"), &body).unwrap(), r#"{"payload":"{\"ssn\":null}"}"#);
    let sealing = plan(&format!("seal: {BOTH}, key: partner"), "", vec![Arc::clone(&profile)]);
    let plain = r#"{"payload":"{\"ssn\":\"1\"}"}"#;
    assert_eq!(run(&opening(""), &run(&sealing, plain).unwrap()).unwrap(), plain);
}
