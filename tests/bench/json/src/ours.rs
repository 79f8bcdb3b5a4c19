//! Sidecloak's own part.

use std::sync::Arc;

use sidecloak::clock::SystemClock;
use sidecloak::crypto::kem::KemSuite;
use sidecloak::json::framing::Framing;
use sidecloak::json::index::Sight;
use sidecloak::json::splice::{Replace, Step};
use sidecloak::jsonpath::{Editor, Path, Selectors, compile};
use sidecloak::keyring::{KeySource, Keyring, Kind, Options};
use sidecloak::name::PartitionName;
use sidecloak::rules::compile::{Context, load_text};
use sidecloak::rules::route::{NormalPath, RequestFacts};
use sidecloak::sealer::local::Local;
use sidecloak::transform::body::{BodyEdit, CallerRole, Progress};
use sidecloak::transform::plan::{Direction, HalfPlan};
use sidecloak::transform::{Need, Sealer};

/// Selectors, ready.
pub fn selectors(texts: &[&str]) -> Selectors {
    let paths: Vec<Arc<Path>> =
        texts.iter().flat_map(|text| compile(text).expect("a selector")).map(|compiled| compiled.path).collect();
    Selectors::new(&paths)
}

/// Finds the values and passes everything; how many there are.
pub fn scan(document: &[u8], selectors: &Selectors, sight: Sight, out: &mut Vec<u8>) -> usize {
    out.clear();
    let mut editor = Editor::over(selectors.clone(), 512).seeing(sight);
    let mut count = Count(0);
    editor.feed(document, out, &mut count).expect("JSON");
    editor.finish(out, &mut count).expect("JSON");
    count.0
}

struct Count(usize);

impl Replace for Count {
    type Error = ();

    fn begin(&mut self, _: usize) -> usize {
        usize::MAX
    }

    fn buffer(&mut self) -> usize {
        usize::MAX
    }

    fn too_large(&mut self, _: usize) -> Result<(), ()> {
        Ok(())
    }

    fn replace(&mut self, _: usize, raw: &[u8], _: Option<&[u8]>, out: &mut Vec<u8>) -> Result<Step, ()> {
        self.0 += 1;
        out.extend_from_slice(raw);
        Ok(Step::Done)
    }
}

/// A body's way through the engine as the proxy takes it, under a keyring on SQLite.
pub struct Bodies {
    sealer: Arc<Local>,
    seal: Arc<HalfPlan>,
    open: Arc<HalfPlan>,
    pub keyring: Arc<Keyring>,
    _dir: tempfile::TempDir,
}

impl Bodies {
    /// For these fields.
    pub fn new(fields: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let options = Options {
            store: dir.path().join("keyring.db").into(),
            master_keys: vec![KeySource::File(dir.path().join("master.key"))],
            i_know: true,
            ..Options::default()
        };
        let keyring = Arc::new(Keyring::init(&options, KemSuite::MlKem768, SystemClock::shared()).expect("a keyring"));
        let name = PartitionName::new("default").expect("a name");
        keyring.sealing(&name, Kind::Random).expect("an epoch");
        let text = format!(
            "rules:\n  - name: bench\n    match: {{ path: /** }}\n    protect: [{{ fields: {} }}]\n",
            serde_json::to_string(fields).expect("JSON")
        );
        let rules = load_text("bench.yaml", &text, &Context::default()).rules.expect("rules");
        let headers = http::HeaderMap::new();
        let path = NormalPath("/".into());
        let facts = RequestFacts { method: "POST", path: &path, ignore_case: false, listener: "", host: None, words: (&headers).into() };
        let route = rules.route(&facts);
        let plan = |direction| Arc::new(HalfPlan::new(direction, &route.rules, &headers).expect("a plan").expect("fields"));
        let (seal, open) = (plan(Direction::Request), plan(Direction::Response));
        let sealer = Arc::new(Local::new(Arc::clone(&keyring)));
        Self { sealer, seal, open, keyring, _dir: dir }
    }

    /// Seals the fields of a body.
    pub fn seal(&self, body: &[u8], framing: Framing, out: &mut Vec<u8>) {
        self.edit(&self.seal, body, framing, out);
    }

    /// Opens them.
    pub fn open(&self, body: &[u8], framing: Framing, out: &mut Vec<u8>) {
        self.edit(&self.open, body, framing, out);
    }

    fn edit(&self, plan: &Arc<HalfPlan>, body: &[u8], framing: Framing, out: &mut Vec<u8>) {
        out.clear();
        let caller = CallerRole { role: "default".into(), may_see_plaintext: true };
        let mut edit = BodyEdit::new(Arc::clone(plan), Arc::clone(&self.sealer) as Arc<dyn Sealer>, caller, 1 << 20, framing);
        // In windows, as a body comes.
        for window in body.chunks(64 * 1024) {
            let mut at = 0;
            while let Progress::Fetch(need, taken) = edit.feed(&window[at..], out).expect("a body") {
                at += taken;
                self.fetch(&need);
            }
        }
        while let Progress::Fetch(need, _) = edit.finish(out).expect("a body") {
            self.fetch(&need);
        }
    }

    /// Only the first body needs something.
    fn fetch(&self, need: &Need) {
        match need {
            Need::Partition(name, _) => drop(self.keyring.partition(name).expect("a partition")),
            Need::Sealing(name, kind) => drop(self.keyring.sealing(name, *kind).expect("an epoch")),
            Need::Opening(id) => drop(self.keyring.opening(*id).expect("an epoch")),
            other => panic!("{other:?}"),
        }
    }
}
