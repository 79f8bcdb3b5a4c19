//! What tests run besides Rust, as `tests/tools.sh` installs it, and processes that end with the test that started them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const MOST: u64 = 64 << 20;

/// Where a tool was installed, from the list of packages that the repository has now. Without it the calling test has nothing to run:
/// it says so where everybody sees it, and fails where skipping is a failure.
pub fn installed(name: &str, list: &str) -> Option<PathBuf> {
    let place = repository().join("target/tools").join(name);
    let list = read(&repository().join(list));
    if place.join("installed").exists() && read(&place.join("installed")) == list {
        return Some(place);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "target/tools/{name} is missing or old: run tests/tools.sh");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("SKIPPED {test}: target/tools/{name} is missing or old; run tests/tools.sh\n");
    if SKIPPED.lock().unwrap().insert(line.clone()) {
        // Not `eprintln!`, which a passing test keeps to itself.
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    None
}

/// Said once each.
static SKIPPED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// A file of some size that tests read.
pub fn read(path: &Path) -> Vec<u8> {
    sidecloak::bounded::read_file(path, MOST).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A child process; killed and waited for when dropped.
pub struct Process {
    child: Child,
    out: Option<JoinHandle<Vec<u8>>>,
    err: Option<JoinHandle<Vec<u8>>>,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        // Read as it comes, or a full pipe would stop the child.
        let (out, err) = (child.stdout.take().map(drain), child.stderr.take().map(drain));
        Self { child, out, err }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end, at most two minutes: whether it succeeded, its output, its complaints.
    pub fn finish(mut self) -> (bool, String, String) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < Duration::from_secs(120), "does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        let text = |reader: Option<JoinHandle<Vec<u8>>>| {
            String::from_utf8_lossy(&reader.unwrap().join().unwrap()).into_owned()
        };
        (status.success(), text(self.out.take()), text(self.err.take()))
    }

    /// Ends it now: what it said.
    pub fn kill(mut self) -> String {
        self.end();
        self.out
            .take()
            .into_iter()
            .chain(self.err.take())
            .fold(String::new(), |said, reader| said + &String::from_utf8_lossy(&reader.join().unwrap()))
    }

    fn end(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn drain(pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut said = Vec::new();
        #[expect(clippy::disallowed_methods, reason = "bounded by `take`")]
        drop(pipe.take(MOST).read_to_end(&mut said));
        said
    })
}

/// `node`, told to take packages from where a link stands.
pub fn node(script: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("node");
    command.arg("--preserve-symlinks-main").arg(script);
    command
}
