//! A document as one shell session: its blocks in order, in one directory, on a loopback of its own.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::markdown::{Block, Kind};
use super::output::differs;
use crate::cluster::Cluster;
use crate::tools::{Process, read, repository};

/// How documents name a database; the test has one for each such name.
const DATABASES: &str = "postgres://sidecloak@db.internal/";

/// Longer than any document takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// Before the first block. A program started in the background is waited for until it listens, as a reader's eyes would.
const BEGIN: &str = r#"
ip link set lo up
set -eEo pipefail
settle() {
  local pid socket began=$SECONDS
  for pid in $(jobs -pr); do
    until listens "$pid"; do
      kill -0 "$pid" 2>/dev/null || break
      test $((SECONDS - began)) -lt 60 || { echo "process $pid does not listen"; exit 98; }
      sleep 0.1
    done
  done
}
listens() {
  local socket
  for socket in $(readlink /proc/"$1"/fd/* | sed -n 's/^socket:\[\(.*\)\]$/\1/p'); do
    if grep -qsE " 0A ([^ ]+ +){5}$socket " /proc/net/tcp /proc/net/tcp6; then return 0; fi
    if grep -qsE " 00010000 0001 01 +$socket " /proc/net/unix; then return 0; fi
  done
  return 1
}
"#;

/// Runs a document: what went wrong.
pub fn run(name: &str, blocks: &[Block]) -> Result<(), String> {
    if !blocks.iter().any(|block| matches!(block.kind, Kind::Run { .. })) {
        return Ok(());
    }
    let Some(isolated) = isolated() else { return Ok(()) };
    let place = tempfile::tempdir().unwrap();
    prepare(&place);
    let mut databases = BTreeMap::new();
    let mut script = BEGIN.to_owned();
    for (number, block) in blocks.iter().enumerate() {
        let Some(text) = with_databases(&block.text, &mut databases) else { return Ok(()) };
        let Block { line, kind, .. } = block;
        match kind {
            Kind::Run { exit } => {
                let (before, after) = match exit {
                    0 => (String::new(), String::new()),
                    _ => ("set +e\n".to_owned(), format!("ended=$?; set -e; test $ended = {exit} || exit 99\n")),
                };
                let out = format!("\"$SAID\"/{number}");
                write!(
                    script,
                    "echo {line} >\"$SAID\"/at\n{before}{{ {text}\n}} >{out} 2>&1\n{after}settle >>{out} 2>&1\n"
                )
                .unwrap();
            }
            Kind::File(file) => {
                let directory = Path::new(file).parent().unwrap().display().to_string();
                let directory = if directory.is_empty() { "." } else { &directory };
                write!(script, "mkdir -p {directory}\ncat >{file} <<'END OF FILE'\n{text}END OF FILE\n").unwrap();
            }
            Kind::NotRun(_) | Kind::Output | Kind::Of(_) | Kind::Other => {}
        }
    }
    let said = tempfile::tempdir().unwrap();
    let path = said.path().join("script");
    std::fs::write(&path, script).unwrap();
    let (code, complaints) = finish(isolated, &path, &place, &said);
    let heard = |number: usize| String::from_utf8_lossy(&read(&said.path().join(number.to_string()))).into_owned();
    if code != "0" {
        let at = std::fs::read_to_string(said.path().join("at")).unwrap_or_default();
        let number = blocks.iter().position(|block| block.line.to_string() == at.trim());
        let out = number.map(heard).unwrap_or_default();
        return Err(format!("{name}:{}: ended with {code}\n{out}{complaints}", at.trim()));
    }
    for (number, block) in blocks.iter().enumerate().filter(|(_, block)| block.kind == Kind::Output) {
        let printed = heard(number - 1);
        if let Some(line) = differs(&block.text, &printed) {
            return Err(format!("{name}:{}: {line} is not what is printed:\n{printed}", block.line));
        }
    }
    Ok(())
}

/// What a reader has: the program on the path, and what a clone has beside it.
fn prepare(place: &TempDir) {
    std::fs::create_dir(place.path().join("bin")).unwrap();
    symlink(env!("CARGO_BIN_EXE_sidecloak"), place.path().join("bin/sidecloak")).unwrap();
    for name in ["rules", "examples", "deploy", "docs", "tests"] {
        if repository().join(name).exists() {
            symlink(repository().join(name), place.path().join(name)).unwrap();
        }
    }
}

/// The text with real databases; nothing where there is no PostgreSQL, which is then said.
fn with_databases(text: &str, known: &mut BTreeMap<String, String>) -> Option<String> {
    let mut parts = text.split(DATABASES);
    let mut real = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(part.len());
        let (name, rest) = part.split_at(end);
        if !known.contains_key(name) {
            known.insert(name.to_owned(), Cluster::shared()?.database());
        }
        real.extend([&known[name], rest]);
    }
    Some(real)
}

/// Runs the script to its end: how it ended, and what it said beside its blocks.
fn finish(mut isolated: Command, script: &Path, place: &TempDir, said: &TempDir) -> (String, String) {
    for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("SIDECLOAK_")) {
        isolated.env_remove(name);
    }
    let path = format!("{}:{}", place.path().join("bin").display(), std::env::var("PATH").unwrap());
    isolated.env("PATH", path).env("SIDECLOAK_I_KNOW", "1").env("SAID", said.path()).env("LC_ALL", "C.UTF-8");
    let status = said.path().join("status");
    isolated.args(["bash", "-c", "bash \"$0\"; echo $? >\"$SAID\"/status"]).arg(script).current_dir(place.path());
    let mut process = Process::start(&mut isolated);
    let start = Instant::now();
    while process.is_running() && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    let complaints = process.kill();
    (std::fs::read_to_string(status).map_or_else(|_| "no end".to_owned(), |s| s.trim().to_owned()), complaints)
}

/// A command that runs what follows it with a network of its own, whose ports are all free, and as the first of its processes,
/// with whose end all others end. Nothing, said loudly, where the machine has none.
fn isolated() -> Option<Command> {
    let tries: [&[&str]; 2] = [&[], &["--user", "--map-root-user"]];
    for more in tries {
        let command = || {
            let mut command = Command::new("unshare");
            command.args(more).args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
            command
        };
        if command().args(["ip", "link", "set", "lo", "up"]).output().is_ok_and(|done| done.status.success()) {
            return Some(command());
        }
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "unshare and ip (util-linux, iproute2) are missing, or namespaces forbidden"
    );
    let line = b"SKIPPED the commands in the documents: unshare and ip are missing, or namespaces forbidden\n";
    std::io::Write::write_all(&mut std::io::stderr(), line).unwrap();
    None
}
