//! What goes the quick way (`transform/quick.rs`) comes out as it does the general way.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderMap;
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::audit::Use;
use crate::clock::SystemClock;
use crate::crypto::kem::KemSuite;
use crate::json::framing::Framing;
use crate::keyring::{KeySource, Options, State};
use crate::metrics::{FieldEvent, Metrics};
use crate::name::Class;
use crate::rules::compile::{Context, load_text};
use crate::rules::route::{NormalPath, RequestFacts};
use crate::transform::body::{BodyEdit, CallerRole, Progress};
use crate::transform::plan::{Direction, HalfPlan};

/// Each can do something else.
const ROLES: [(&str, u32); 5] = [
    ("default", Permissions::DEFAULT.0),
    ("sealer", Permissions::ENCRYPT | Permissions::AUDIT_ENCRYPT),
    ("opener", Permissions::DECRYPT),
    ("masked", Permissions::DECRYPT | Permissions::ENCRYPT | Permissions::MASK | Permissions::AUDIT_DECRYPT),
    ("nobody", 0),
];

struct House {
    keyring: Arc<Keyring>,
    _dir: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            store: dir.path().join("keyring.db").into(),
            master_keys: vec![KeySource::File(dir.path().join("master.key"))],
            i_know: true,
            ..Options::default()
        };
        let keyring = Keyring::init(&options, KemSuite::MlKem768, SystemClock::shared()).unwrap();
        keyring.create_partition(&other()).unwrap();
        for partition in [PartitionName::default_name(), other()] {
            let roles = ROLES.map(|(name, bits)| (name.to_owned(), Permissions(bits)));
            keyring.set_roles(&partition, &roles).unwrap();
        }
        Self { keyring: Arc::new(keyring), _dir: dir }
    }

    fn way(&self, quick: bool) -> Arc<Way> {
        let told = Arc::new(Told::default());
        let local = Local::new(Arc::clone(&self.keyring)).recording(Some(Arc::clone(&told) as _));
        Arc::new(Way { local, quick, went_quickly: AtomicUsize::new(0), before: None, told })
    }
}

static HOUSE: LazyLock<House> = LazyLock::new(House::new);

fn other() -> PartitionName {
    PartitionName::new("other").unwrap()
}

/// What the audit log is told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Recorder for Told {
    fn count(&self, caller: &str, partition: &PartitionName, done: &[(&Class, Use, u64)]) {
        self.0.lock().unwrap().push(format!("{caller} {partition} {done:?}"));
    }
}

/// Called with how many have gone quickly, before another may.
type Before = Box<dyn Fn(usize) + Send + Sync>;

/// A sealer that counts who goes the quick way, if anybody may.
struct Way {
    local: Local,
    quick: bool,
    went_quickly: AtomicUsize,
    before: Option<Before>,
    told: Arc<Told>,
}

impl Way {
    fn quickly(&self, go: impl FnOnce() -> bool) -> bool {
        if let Some(before) = &self.before {
            before(self.went());
        }
        let went = self.quick && go();
        self.went_quickly.fetch_add(usize::from(went), Ordering::Relaxed);
        went
    }

    fn went(&self) -> usize {
        self.went_quickly.load(Ordering::Relaxed)
    }
}

impl Sealer for Way {
    fn permissions(&self, partition: &PartitionName, role: &str, memo: &mut Memo) -> Cached<Permissions> {
        self.local.permissions(partition, role, memo)
    }
    fn seal(&self, job: &SealJob<'_>, memo: &mut Memo, out: &mut Vec<u8>) -> Result<Ready<()>, SealFailure> {
        self.local.seal(job, memo, out)
    }
    fn partition_of(&self, epoch: EpochId, memo: &mut Memo) -> Cached<PartitionName> {
        self.local.partition_of(epoch, memo)
    }
    fn open(&self, job: OpenJob<'_>, memo: &mut Memo) -> Result<Ready<Opened>, OpenFailure> {
        self.local.open(job, memo)
    }
    fn seal_again(&self, of: Again<'_>, text: &[u8], memo: &mut Memo, out: &mut Vec<u8>) -> bool {
        self.quickly(|| self.local.seal_again(of, text, memo, out))
    }
    fn open_again(&self, of: Again<'_>, epoch: EpochId, token: &[u8], memo: &mut Memo, out: &mut Vec<u8>) -> bool {
        self.quickly(|| self.local.open_again(of, epoch, token, memo, out))
    }
    fn record(&self, role: &str, partition: &PartitionName, known: Option<Permissions>, done: &[Done<'_>]) {
        self.told.0.lock().unwrap().push(format!("{known:?}"));
        self.local.record(role, partition, known, done);
    }
    fn at_hand(&self, need: &Need, memo: &mut Memo) -> Cached<()> {
        self.local.at_hand(need, memo)
    }
    fn fetch(&self, need: Need) -> Pin<Box<dyn Future<Output = Result<(), KeyringError>> + Send + '_>> {
        self.local.fetch(need)
    }
}

/// Everything that can be told apart from outside.
#[derive(Debug, PartialEq)]
struct Came {
    out: String,
    refused: Option<String>,
    counts: String,
    fields: Vec<String>,
    recorded: Vec<String>,
    values: u64,
}

/// Edits a body in pieces by a rule of these items.
fn edit(way: &Arc<Way>, items: &str, caller: &CallerRole, pieces: &[&[u8]]) -> Came {
    let text = format!("rules:\n  - name: r\n    match: {{ path: /x }}\n    request: [{items}]\n");
    let loaded = load_text("t.yaml", &text, &Context::default());
    let rules = loaded.rules.unwrap_or_else(|| panic!("{items}: {}", loaded.findings));
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
    let plan = Arc::new(plan);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let fetch = |edit: &mut BodyEdit, need| {
        if let Err(error) = runtime.block_on(way.fetch(need)) {
            edit.fetch_failed(error);
        }
    };
    let mut edit = BodyEdit::new(Arc::clone(&plan), Arc::clone(way) as _, caller.clone(), 1 << 20, Framing::One);
    let mut out = Vec::new();
    let mut run = || {
        for piece in pieces {
            let mut at = 0;
            while let Progress::Fetch(need, consumed) = edit.feed(&piece[at..], &mut out)? {
                at += consumed;
                fetch(&mut edit, need);
            }
        }
        while let Progress::Fetch(need, _) = edit.finish(&mut out)? {
            fetch(&mut edit, need);
        }
        Ok(())
    };
    let refused = run().err().map(|refusal: crate::refusal::Refusal| format!("{refusal:?}"));
    let metrics = Metrics::default();
    edit.account(&metrics);
    let values = edit.values();
    drop(edit);
    let fields = plan.fields.iter().map(|field| {
        let stats = field.action.fields[field.index].stats.get();
        let kinds: Vec<_> = stats.kinds().collect();
        let events = FieldEvent::ALL.map(|event| stats.events(event));
        format!("{events:?} {kinds:?} {:?} {}", stats.lengths.read(), stats.bodies())
    });
    Came {
        out: String::from_utf8(out).unwrap(),
        refused,
        counts: sorted(&metrics.render()),
        fields: fields.collect(),
        recorded: std::mem::take(&mut way.told.0.lock().unwrap()),
        values,
    }
}

fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// The same, both ways; and how many went quickly.
fn both(items: &str, caller: &CallerRole, pieces: &[&[u8]]) -> (Came, Came, usize) {
    let [quick, general] = [true, false].map(|quick| HOUSE.way(quick));
    // The first one has the keyring fetch what the second one has at hand.
    let warm = edit(&general, items, caller, pieces);
    assert!(warm.out.len() < 1 << 20);
    let (one, two) = (edit(&quick, items, caller, pieces), edit(&general, items, caller, pieces));
    (one, two, quick.went())
}

/// No two tokens are alike, but all is but their bodies, and those are as long as each other.
fn without_bodies(text: &str) -> String {
    let mut out = String::new();
    for (n, part) in text.split("sc1.").enumerate() {
        // What begins as a token and is none ends before its body would begin.
        let end = part.find('"').unwrap_or(part.len());
        let at = if n == 0 || end < 17 { part.len() } else { 17 };
        let (head, rest) = part.split_at(at);
        let body = end.saturating_sub(at);
        out.push_str(&format!("{head}{body}{}", rest.split_at(body.min(rest.len())).1));
    }
    out
}

fn caller(role: &str) -> CallerRole {
    CallerRole { role: role.to_owned().into(), may_see_plaintext: true }
}

fn lexeme() -> impl Strategy<Value = String> {
    let unusual = [
        "null",
        "1.10",
        "true",
        "\"\"",
        "[1]",
        "{}",
        r#""\u0073c1.x""#,
        r#""s\u00631.x""#,
        r#""sc\u0031.x""#,
        r#""sc1\u002ex""#,
        r#""sc1.x""#,
        r#""sc1""#,
        r#""s""#,
        r#""a\"\\b\n""#,
        r#""****""#,
        r#""\u002a""#,
        r#""[redacted]""#,
        r#""\ud83d""#,
    ];
    prop_oneof![
        8 => "[ -!#-\\[\\]-~]{0,40}".prop_map(|text| format!("\"{text}\"")),
        2 => "[a-z\u{e9}\u{1f600}]{0,100}".prop_map(|text| format!("\"{text}\"")),
        1 => (100_usize..260).prop_map(|length| format!("\"{}\"", "x".repeat(length))),
        3 => prop::sample::select(unusual.to_vec()).prop_map(str::to_owned),
    ]
}

fn body() -> impl Strategy<Value = String> {
    let record = prop::collection::vec((prop::sample::select(&["a", "b", "c", "x"]), lexeme()), 0..6);
    prop::collection::vec(record, 1..6).prop_map(|records| {
        let record = |record: Vec<(&str, String)>| {
            let members: Vec<String> = record.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            format!("{{{}}}", members.join(","))
        };
        format!("[{}]", records.into_iter().map(record).collect::<Vec<_>>().join(", "))
    })
}

const SEALING: &[&str] = &[
    "",
    "",
    "",
    "mode: migrate",
    "mode: read",
    "mode: observe",
    "suite: 2",
    "pad: 16",
    "max_length: 90",
    "deterministic: true",
    "nulls: seal",
    "key: other",
    "on_token: seal",
    "on_token: keep, on_error: pass",
];

const OPENING: &[&str] = &[
    "",
    "",
    "",
    "mode: migrate",
    "mode: read",
    "mode: observe",
    "reveal: mask(4)",
    "on_error: redact, on_plaintext: pass",
    "on_error: nullify, on_plaintext: redact",
    "on_error: pass, on_plaintext: pass",
    "key: other, on_error: pass, on_plaintext: pass",
];

fn item(verb: &str, names: &[&str], options: &str) -> String {
    let fields: Vec<String> = names.iter().map(|name| format!("$..{name}")).collect();
    let comma = if options.is_empty() { "" } else { ", " };
    format!("{{ {verb}: [{}]{comma}{options} }}", fields.join(", "))
}

/// A byte of a token.
type Change = (prop::sample::Index, String);

fn changed(mut sealed: String, changes: Vec<Change>) -> String {
    for (at, byte) in changes {
        let begins: Vec<usize> = sealed.match_indices("sc1.").map(|(begin, _)| begin).collect();
        if begins.is_empty() {
            break;
        }
        let begin = begins[at.index(begins.len())];
        let at = begin + at.index(sealed.split_at(begin).1.find('"').unwrap_or(1));
        sealed.replace_range(at..=at, &byte);
    }
    sealed
}

#[rstest]
#[case("", false)]
#[case("on_token: keep", false)]
#[case("on_token: seal", true)]
fn what_begins_as_a_token_is_one_however_it_is_written(#[case] options: &str, #[case] taken: bool) {
    for token in [r"sc1.x", r"\u0073c1.x", r"s\u00631.x", r"sc\u0031.x", r"sc1\u002ex", r"s\u0063\u0031\u002ex"] {
        let body = format!(r#"[{{"a":"x"}},{{"a":"{token}"}}]"#);
        let (quick, general, _) = both(&item("seal", &["a"], options), &caller("default"), &[body.as_bytes()]);
        assert_eq!((&quick.refused, &quick.recorded), (&general.refused, &general.recorded), "{token}");
        assert_eq!(quick.refused.is_none(), taken, "{token}: {quick:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn both_ways_come_to_the_same(
        body in body(),
        (sealing, sealing_c) in (prop::sample::select(SEALING), prop::sample::select(SEALING)),
        (opening, opening_c) in (prop::sample::select(OPENING), prop::sample::select(OPENING)),
        (sealer, opener) in (0..3 * ROLES.len(), 0..2 * ROLES.len()),
        (cut, sees) in (any::<prop::sample::Index>(), prop::bool::weighted(0.9)),
        changes in prop::collection::vec((any::<prop::sample::Index>(), "[A-Za-z0-9_.=+-]"), 0..3),
    ) {
        let role = |n: usize| caller(ROLES.get(n).map_or("default", |(name, _)| name));
        let rule = |verb: &str, options: &str, of_c: &str| {
            format!("{}, {}", item(verb, &["a", "b"], options), item(verb, &["c"], of_c))
        };
        let split = |text: &str| {
            let at = cut.index(text.len() + 1);
            [text.as_bytes()[..at].to_vec(), text.as_bytes()[at..].to_vec()]
        };
        let pieces = split(&body);
        let pieces = pieces.each_ref().map(Vec::as_slice);
        let (quick, general, _) = both(&rule("seal", sealing, sealing_c), &role(sealer), &pieces);
        prop_assert_eq!(without_bodies(&quick.out), without_bodies(&general.out));
        let sealed = changed(quick.out.clone(), changes);
        prop_assert_eq!(Came { out: String::new(), ..quick }, Came { out: String::new(), ..general });
        let pieces = split(&sealed);
        let pieces = pieces.each_ref().map(Vec::as_slice);
        let caller = CallerRole { may_see_plaintext: sees, ..role(opener) };
        let (quick, general, _) = both(&rule("open", opening, opening_c), &caller, &pieces);
        prop_assert_eq!(quick, general);
    }
}

/// Six strings of one field.
const SIX: &str =
    r#"[{"a":"4111111111111111"},{"a":"b"},{"a":""},{"a":"x-y"},{"a":"Z\u00fcrich"},{"a":"caf\u00e9 \" \\"}]"#;

fn sealed_six(options: &str) -> String {
    let came = edit(&HOUSE.way(false), &item("seal", &["a"], options), &caller("default"), &[SIX.as_bytes()]);
    assert_eq!(came.refused, None);
    came.out
}

#[rstest]
#[case("", "default", 5)]
#[case("suite: 2", "default", 5)]
#[case("mode: migrate", "sealer", 5)]
#[case("key: other", "masked", 5)]
#[case("max_length: 96", "default", 5)]
#[case("max_length: 95", "default", 0)]
#[case("mode: read", "default", 0)]
#[case("mode: observe", "default", 0)]
#[case("pad: 16", "default", 0)]
#[case("deterministic: true", "default", 0)]
#[case("bind: '$.id'", "default", 0)]
#[case("", "nobody", 0)]
fn sealing_goes_quickly_where_nothing_is_unusual(#[case] options: &str, #[case] role: &str, #[case] quickly: usize) {
    let (quick, general, went) = both(&item("seal", &["a"], options), &caller(role), &[SIX.as_bytes()]);
    assert_eq!((without_bodies(&quick.out), &quick.refused), (without_bodies(&general.out), &general.refused));
    assert_eq!(quick.recorded, general.recorded);
    assert_eq!(went, quickly, "{quick:?}");
}

#[rstest]
#[case("", "", "default", 5)]
#[case("suite: 2", "", "default", 5)]
#[case("", "mode: migrate", "opener", 5)]
#[case("key: other", "key: other", "default", 5)]
#[case("", "mode: observe", "default", 0)]
#[case("", "reveal: mask(4)", "default", 0)]
#[case("", "reveal: redact", "default", 0)]
#[case("", "", "masked", 0)]
#[case("", "", "nobody", 0)]
#[case("", "key: other, on_error: pass", "default", 0)]
#[case("", "key: '*'", "default", 0)]
#[case("", "sign: true, on_error: pass", "default", 0)]
#[case("", "sign: true, mode: migrate", "default", 0)]
#[case("pad: 32", "", "default", 0)]
#[case("deterministic: true", "", "default", 0)]
fn opening_goes_quickly_where_nothing_is_unusual(
    #[case] sealing: &str,
    #[case] opening: &str,
    #[case] role: &str,
    #[case] quickly: usize,
) {
    let sealed = sealed_six(sealing);
    let (quick, general, went) = both(&item("open", &["a"], opening), &caller(role), &[sealed.as_bytes()]);
    assert_eq!(quick, general);
    assert_eq!(went, quickly, "{quick:?}");
    if quickly > 0 {
        assert_eq!(quick.out, SIX);
    }
    let unseeing = CallerRole { may_see_plaintext: false, ..caller(role) };
    let (quick, general, went) = both(&item("open", &["a"], opening), &unseeing, &[sealed.as_bytes()]);
    assert_eq!((&quick, went), (&general, 0));
}

#[test]
fn a_change_of_the_keyring_is_felt_by_the_next_value() {
    let house = House::new();
    for verb in ["seal", "open"] {
        let name = PartitionName::new(&format!("{verb}-changes")).unwrap();
        house.keyring.create_partition(&name).unwrap();
        let rule = |verb: &str| item(verb, &["a"], &format!("key: {name}"));
        let sealed = edit(&house.way(true), &rule("seal"), &caller("default"), &[SIX.as_bytes()]);
        assert_eq!(sealed.refused, None);
        let body = if verb == "seal" { SIX } else { &sealed.out };
        let mut way = house.way(true);
        let (keyring, paused) = (Arc::clone(&house.keyring), name.clone());
        let pause = move |went| {
            if went == 2 {
                keyring.set_state(&paused, State::Paused).unwrap();
            }
        };
        Arc::get_mut(&mut way).unwrap().before = Some(Box::new(pause));
        let came = edit(&way, &rule(verb), &caller("default"), &[body.as_bytes()]);
        assert!(came.refused.as_ref().is_some_and(|refused| refused.contains("the partition is paused")), "{came:?}");
        assert_eq!((way.went(), came.values), (2, 3), "{came:?}");
    }
}

#[test]
fn what_fails_to_open_leaves_nothing_in_the_output() {
    let mut sealed = sealed_six("").into_bytes();
    let at = sealed.len() - 6;
    sealed[at] = if sealed[at] == b'A' { b'B' } else { b'A' };
    let (quick, general, went) = both(&item("open", &["a"], "on_error: redact"), &caller("default"), &[&sealed]);
    assert_eq!((&quick, went), (&general, 4));
    assert!(quick.out.ends_with(r#"{"a":"[redacted]"}]"#), "{quick:?}");
}
