//! Looks whether files have changed. Their *directories* are watched, since a watched file goes silent after one rename, and the
//! files looked at twice a second besides: the kernel's watches run out, overflow, and do not see through a swapped symlink.
//! Events only wake the thread: what counts is the content, once it has stood still.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _, recommended_watcher};

use super::TlsError;
use super::store::digests;

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Content must be the same at both ends of this pause.
const SETTLE: Duration = Duration::from_millis(100);

/// What is read from files, and again when they change.
pub(super) trait Reloads: Send + Sync + 'static {
    /// Which files.
    fn files(&self) -> &[PathBuf];

    /// Reads them again, all or nothing: what was read before stays if one is bad.
    fn reload(&self) -> Result<(), TlsError>;
}

/// Watches for as long as somebody holds `live`. `seen`: the files' digests from before they were first read.
pub(super) fn watch<T: Reloads>(live: &Arc<T>, seen: Vec<Option<[u8; 32]>>) -> io::Result<()> {
    let live = Arc::downgrade(live);
    thread::Builder::new().name("tls-watch".into()).spawn(move || run(&live, seen)).map(drop)
}

fn run<T: Reloads>(live: &Weak<T>, mut seen: Vec<Option<[u8; 32]>>) {
    // One waiting wake-up stands for any number of events.
    let (wake, woken) = sync_channel(1);
    let mut directories = Directories::new(wake);
    loop {
        let Some(live) = live.upgrade() else { return };
        directories.watch(live.files());
        if let Some(content) = settled(live.files(), &seen) {
            let outcome = live.reload();
            if digests(live.files()) != content {
                continue; // changed while it was read: the next look sees it settled
            }
            seen = content;
            let files: Vec<String> = live.files().iter().map(|file| file.display().to_string()).collect();
            match outcome {
                Ok(()) => tracing::info!(?files, "TLS: files reloaded"),
                Err(error) => tracing::error!("{error} (what was read before stays in force)"),
            }
        }
        drop(live);
        // Woken, timed out, or disconnected: each time the next look tells.
        woken.recv_timeout(LOOK_EVERY).ok();
    }
}

/// The content, if it is new and stands still.
fn settled(files: &[PathBuf], seen: &[Option<[u8; 32]>]) -> Option<Vec<Option<[u8; 32]>>> {
    let content = digests(files);
    if content == seen {
        return None;
    }
    thread::sleep(SETTLE);
    (digests(files) == content).then_some(content)
}

/// The kernel's watch, as far as it can be had.
struct Directories {
    watcher: Option<RecommendedWatcher>,
    watched: Vec<PathBuf>,
}

impl Directories {
    fn new(wake: SyncSender<()>) -> Self {
        let watcher = recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own look opens files: waking for that would never end.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                wake.try_send(()).ok();
            }
        });
        Self { watcher: watcher.ok(), watched: Vec::new() }
    }

    /// Watches the directories of the files, and those that their symlinks lead to.
    fn watch(&mut self, files: &[PathBuf]) {
        let Some(watcher) = &mut self.watcher else { return };
        let mut directories: Vec<PathBuf> =
            files.iter().flat_map(|file| [parent(file), resolved(file)]).flatten().collect();
        directories.sort();
        directories.dedup();
        if directories == self.watched {
            return;
        }
        for gone in self.watched.iter().filter(|w| !directories.contains(w)) {
            // It may be gone with its directory.
            drop(watcher.unwatch(gone));
        }
        for directory in directories.iter().filter(|d| !self.watched.contains(d)) {
            // Where there is no watch, the look twice a second does.
            drop(watcher.watch(directory, RecursiveMode::NonRecursive));
        }
        self.watched = directories;
    }
}

fn parent(file: &Path) -> Option<PathBuf> {
    let parent = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    parent.canonicalize().ok()
}

fn resolved(file: &Path) -> Option<PathBuf> {
    file.canonicalize().ok()?.parent().map(Path::to_owned)
}
