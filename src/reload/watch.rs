//! Watches the rules: a plain write, an editor's rename, and a ConfigMap's `..data` swap are each taken up within a second.
//!
//! The *directory* is watched, since a watched file goes silent after one rename, and looked at twice a second besides, since
//! the kernel's watches run out, overflow, and do not see through a symlink that is swapped. Events only wake the thread: what
//! counts is the content. It is loaded once it has stood still for a moment, so that a file between truncation and write, or a
//! directory in the middle of a swap, is not taken for the new rules.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _, recommended_watcher};

use crate::bounded;
use crate::crypto::kdf::sha256;
use crate::report::Finding;
use crate::rules::compile::{self, Context, Loaded};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Content must be the same at both ends of this pause.
const SETTLE: Duration = Duration::from_millis(100);
/// More changes in a row than this wait for the next look.
const MAX_SETTLE: usize = 5;
/// Of one file, for noticing a change; the loader has its own bound.
const MAX_FILE: u64 = 16 << 20;
/// Of a directory; more are not looked at.
const MAX_FILES: usize = 4096;

/// Ends the watch when dropped.
#[derive(Debug)]
pub struct Watcher {
    stop: Arc<AtomicBool>,
    wake: SyncSender<()>,
    thread: Option<JoinHandle<()>>,
}

/// Watches the file or directory `path`. `running` is the digest of the rules in force (zeros: none). `on_load` is called, on the
/// watch's own thread, with each load whose digest differs from the last one's: with rules to swap in, or, if there are errors,
/// without any: then the running ones must stay.
pub fn start(
    path: &Path,
    context: Context,
    running: [u8; 32],
    on_load: Box<dyn Fn(Loaded) + Send>,
) -> io::Result<Watcher> {
    start_with(path, running, move |path| compile::load(path, &context), on_load)
}

/// The same with another loader.
pub fn start_with(
    path: &Path,
    running: [u8; 32],
    load: impl Fn(&Path) -> Loaded + Send + 'static,
    on_load: Box<dyn Fn(Loaded) + Send>,
) -> io::Result<Watcher> {
    let stop = Arc::new(AtomicBool::new(false));
    // One waiting wake-up stands for any number of events.
    let (wake, woken) = sync_channel(1);
    let watch = Watch {
        path: path.to_owned(),
        stop: Arc::clone(&stop),
        notifier: Notifier::new(wake.clone()),
        seen: None,
        delivered: running,
        load,
        on_load,
    };
    let thread = thread::Builder::new().name("rules-watch".to_owned()).spawn(move || watch.run(&woken))?;
    Ok(Watcher { stop, wake, thread: Some(thread) })
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // A full channel wakes the thread as well.
        self.wake.try_send(()).ok();
        if let Some(thread) = self.thread.take() {
            // Dropped by its own callback, the thread ends after it; it cannot wait for itself.
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!("the watch of the rules ended by a panic");
            }
        }
    }
}

struct Watch<L> {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    notifier: Notifier,
    /// The content at the last look that was acted on.
    seen: Option<Fingerprint>,
    delivered: [u8; 32],
    load: L,
    on_load: Box<dyn Fn(Loaded) + Send>,
}

/// Each file's name and hash, or that it cannot be read.
type Fingerprint = BTreeMap<PathBuf, Option<[u8; 32]>>;

impl<L: Fn(&Path) -> Loaded> Watch<L> {
    fn run(mut self, woken: &Receiver<()>) {
        while !self.stopped() {
            self.notifier.watch(&self.path);
            self.look();
            // Woken, timed out, or disconnected: each time the next look tells.
            woken.recv_timeout(LOOK_EVERY).ok();
        }
    }

    fn look(&mut self) {
        let Some(content) = self.settled() else { return };
        let mut loaded = (self.load)(&self.path);
        if fingerprint(&self.path) != content {
            return; // changed while it was read: the next look sees it settled
        }
        self.seen = Some(content);
        if loaded.digest == self.delivered || self.stopped() {
            return;
        }
        self.delivered = loaded.digest;
        if loaded.rules.as_ref().is_some_and(|set| set.rules.is_empty()) {
            loaded.rules = None;
            let gone = "no rule is left; the running rules stay";
            let help = "to let everything pass, write a rule with `action: pass` for `/**`, or restart";
            loaded.findings.push(Finding::error("rules-gone", gone).help(help));
        }
        (self.on_load)(loaded);
    }

    /// The content, if it is new and stands still.
    fn settled(&self) -> Option<Fingerprint> {
        let mut content = fingerprint(&self.path);
        if self.seen.as_ref() == Some(&content) {
            return None;
        }
        for _ in 0..MAX_SETTLE {
            thread::sleep(SETTLE);
            let later = fingerprint(&self.path);
            if self.stopped() || self.seen.as_ref() == Some(&later) {
                return None;
            }
            if later == content {
                return Some(content);
            }
            content = later;
        }
        None
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// What stands there now. Contents and not times: two writes within the clock's grain have the same time.
fn fingerprint(path: &Path) -> Fingerprint {
    let hash = |path: PathBuf| {
        let hash = bounded::read_file(&path, MAX_FILE).ok().map(|bytes| sha256(&bytes));
        (path, hash)
    };
    match path.read_dir() {
        Ok(entries) => entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|p| p.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json"))
            .take(MAX_FILES)
            .map(hash)
            .collect(),
        Err(_) => BTreeMap::from([hash(path.to_owned())]),
    }
}

/// The kernel's watch, as far as it can be had.
struct Notifier {
    watcher: Option<RecommendedWatcher>,
    /// The directories watched, as they resolved when the watch began.
    watched: Vec<PathBuf>,
}

impl Notifier {
    fn new(wake: SyncSender<()>) -> Self {
        // Whatever happened, the next look finds out; a full channel means that it is already due.
        let watcher = recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own look opens files: waking for that would never end.
            if !event.is_ok_and(|e| e.kind.is_access()) {
                wake.try_send(()).ok();
            }
        });
        if let Err(error) = &watcher {
            tracing::info!(%error, "no file watch can be had; the rules are looked at twice a second instead");
        }
        Self { watcher: watcher.ok(), watched: Vec::new() }
    }

    /// Watches the directories of `path` where they are now: a swapped symlink leads elsewhere.
    fn watch(&mut self, path: &Path) {
        let Some(watcher) = &mut self.watcher else { return };
        let mut directories = Vec::new();
        if path.is_dir() {
            directories.extend(path.canonicalize());
        }
        // The parent sees a symlink at `path` swapped, and a file at `path` renamed over.
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        directories.extend(parent.canonicalize());
        if directories == self.watched {
            return;
        }
        for gone in self.watched.iter().filter(|w| !directories.contains(w)) {
            // It may be gone with its directory.
            drop(watcher.unwatch(gone));
        }
        for directory in directories.iter().filter(|d| !self.watched.contains(d)) {
            if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
                tracing::info!(%error, "a directory of rules cannot be watched; it is looked at twice a second instead");
            }
        }
        self.watched = directories;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::mpsc::RecvTimeoutError;

    use super::*;
    use crate::report::Findings;
    use crate::rules::compile::load_text;
    use crate::rules::{Rule, RuleSet};

    /// One rule per line of every file, `bad` refused: enough to see what was loaded.
    fn load(path: &Path) -> Loaded {
        let files: Vec<_> = match path.read_dir() {
            Ok(entries) => {
                let mut files: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
                files.retain(|f| f.extension().is_some_and(|e| e == "yaml"));
                files.sort();
                files
            }
            Err(_) => vec![path.to_owned()],
        };
        let text: String =
            files.iter().filter_map(|f| bounded::read_text_file(f, 1 << 20).ok()).collect::<Vec<_>>().join("\n");
        let rules = text.lines().map(rule).collect();
        let rules = (!text.contains("bad")).then_some(RuleSet { rules });
        Loaded { rules, findings: Findings::default(), tests: 0, digest: sha256(text.as_bytes()) }
    }

    fn rule(name: &str) -> Arc<Rule> {
        let text = format!("rules: [{{ name: {name}, match: {{ path: /x }}, action: pass }}]");
        let loaded = load_text("test", &text, &Context::default());
        Arc::clone(&loaded.rules.unwrap().rules[0])
    }

    struct Fixture {
        _watcher: Watcher,
        loads: Receiver<Option<String>>,
    }

    impl Fixture {
        fn watching(path: &Path) -> Self {
            let (send, loads) = sync_channel(16);
            let running = load(path).digest;
            let on_load = Box::new(move |loaded: Loaded| {
                let names = |set: RuleSet| set.rules.iter().map(|r| r.name.to_string()).collect::<Vec<_>>().join(" ");
                send.send(loaded.rules.map(names)).unwrap();
            });
            Self { _watcher: start_with(path, running, load, on_load).unwrap(), loads }
        }

        /// The next load; `None` if it was refused.
        fn next(&self) -> Option<String> {
            self.loads.recv_timeout(Duration::from_secs(5)).expect("no load within 5 s")
        }

        fn stays_quiet(&self) {
            assert_eq!(self.loads.recv_timeout(Duration::from_millis(1200)), Err(RecvTimeoutError::Timeout));
        }
    }

    fn config_map(directory: &Path, version: &str) {
        fs::create_dir(directory.join(version)).unwrap();
        fs::write(directory.join(version).join("rules.yaml"), version).unwrap();
        symlink(version, directory.join("..data_tmp")).unwrap();
        fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
    }

    #[test]
    fn a_plain_write_and_an_editors_rename_are_taken_up_from_a_directory_and_from_a_file() {
        for single in [false, true] {
            let root = tempfile::tempdir().unwrap();
            let file = root.path().join("rules.yaml");
            fs::write(&file, "one").unwrap();
            let fixture = Fixture::watching(if single { &file } else { root.path() });
            fs::write(&file, "two").unwrap();
            assert_eq!(fixture.next().as_deref(), Some("two"));
            for version in ["three", "four"] {
                fs::write(root.path().join(".rules.swp"), version).unwrap();
                fs::rename(root.path().join(".rules.swp"), &file).unwrap();
                assert_eq!(fixture.next().as_deref(), Some(version));
            }
            fs::write(&file, "four").unwrap();
            fixture.stays_quiet();
        }
    }

    #[test]
    fn a_config_map_swap_is_taken_up_however_the_rules_are_named() {
        for name in ["", "rules.yaml", "..data", "link"] {
            let root = tempfile::tempdir().unwrap();
            let mount = root.path().join("mount");
            fs::create_dir(&mount).unwrap();
            config_map(&mount, "..v1");
            symlink("..data/rules.yaml", mount.join("rules.yaml")).unwrap();
            symlink("mount", root.path().join("link")).unwrap();
            let path = if name == "link" { root.path().join(name) } else { mount.join(name) };
            let fixture = Fixture::watching(&path);
            for (version, old) in [("..v2", "..v1"), ("..v3", "..v2")] {
                config_map(&mount, version);
                fs::remove_dir_all(mount.join(old)).unwrap();
                assert_eq!(fixture.next().as_deref(), Some(version), "{name}");
            }
        }
    }

    #[test]
    fn a_swapped_link_to_a_directory_is_taken_up() {
        let root = tempfile::tempdir().unwrap();
        for version in ["v1", "v2"] {
            fs::create_dir(root.path().join(version)).unwrap();
            fs::write(root.path().join(version).join("rules.yaml"), version).unwrap();
        }
        symlink("v1", root.path().join("rules")).unwrap();
        let fixture = Fixture::watching(&root.path().join("rules"));
        symlink("v2", root.path().join("tmp")).unwrap();
        fs::rename(root.path().join("tmp"), root.path().join("rules")).unwrap();
        assert_eq!(fixture.next().as_deref(), Some("v2"));
        // The new target is watched, too.
        fs::write(root.path().join("v2/rules.yaml"), "v3").unwrap();
        assert_eq!(fixture.next().as_deref(), Some("v3"));
    }

    #[test]
    fn a_refused_edit_is_told_once_and_so_is_its_undoing() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("rules.yaml");
        fs::write(&file, "one").unwrap();
        let fixture = Fixture::watching(root.path());
        fs::write(&file, "bad").unwrap();
        assert_eq!(fixture.next(), None);
        fixture.stays_quiet();
        fs::write(&file, "one").unwrap();
        assert_eq!(fixture.next().as_deref(), Some("one"));
    }

    #[test]
    fn rules_that_vanish_unload_nothing() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("rules.yaml");
        fs::write(&file, "one").unwrap();
        let fixture = Fixture::watching(root.path());
        fs::remove_file(&file).unwrap();
        assert_eq!(fixture.next(), None);
        fs::write(&file, "two").unwrap();
        assert_eq!(fixture.next().as_deref(), Some("two"));
    }

    #[test]
    fn a_file_between_truncation_and_write_is_not_taken_for_the_new_rules() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("rules.yaml");
        fs::write(&file, "one").unwrap();
        let fixture = Fixture::watching(root.path());
        for version in ["two", "three", "four"] {
            fs::write(&file, "").unwrap();
            fs::write(&file, version).unwrap();
            assert_eq!(fixture.next().as_deref(), Some(version));
        }
    }

    #[test]
    fn a_change_before_the_start_is_taken_up_and_a_dropped_watch_is_silent() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("rules.yaml");
        fs::write(&file, "one").unwrap();
        let (send, loads) = sync_channel(16);
        let on_load = Box::new(move |_| send.send(()).unwrap());
        let watcher = start_with(root.path(), [0; 32], load, on_load).unwrap();
        loads.recv_timeout(Duration::from_secs(5)).unwrap();
        drop(watcher);
        fs::write(&file, "two").unwrap();
        assert_eq!(loads.recv_timeout(Duration::from_millis(700)), Err(RecvTimeoutError::Disconnected));
    }
}
