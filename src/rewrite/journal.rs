//! What a walk leaves on disk: where it is, so that it goes on after it was broken off, and which records failed. No value of a
//! record is in either; an id only if that is asked for.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::pages::Position;
use super::{Halt, HaltKind};
use crate::bounded;
use crate::crypto::{hex, kdf};

const MAX_STATE: u64 = 1 << 20;
const VERSION: u8 = 1;

/// What was done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Records that were looked at.
    pub records: u64,
    /// Written.
    pub written: u64,
    /// Stored as they should be.
    pub already: u64,
    /// Not there any more.
    pub gone: u64,
    /// Not written.
    pub failed: u64,
    /// Times that somebody else was faster.
    pub conflicts: u64,
    /// In a dry run: would be written.
    pub would: u64,
    /// Of those, without an entity tag that can be relied on.
    pub untagged: u64,
    /// Looked at, without anything that the rules select.
    pub unselected: u64,
    /// What was seen stored before anything was written, by class.
    pub classes: BTreeMap<String, Seen>,
}

/// Values of one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// In the clear.
    pub plaintext: u64,
    /// Sealed.
    pub sealed: u64,
}

/// Where a walk is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    version: u8,
    /// Stands for what is walked.
    walk: String,
    /// The page that is worked on.
    pub at: Position,
    /// So many of its records are done,
    pub done: u64,
    /// if they are still the same.
    pub same: String,
    /// Stands for the lines of a file in front of the page.
    #[serde(default)]
    pub passed: String,
    /// There is nothing left.
    pub finished: bool,
    /// So far.
    pub counts: Counts,
}

impl State {
    /// Of a walk that nobody goes on with.
    pub fn unsaved(at: Position) -> Self {
        Self {
            version: VERSION,
            walk: String::new(),
            at,
            done: 0,
            same: String::new(),
            passed: String::new(),
            finished: false,
            counts: Counts::default(),
        }
    }
}

/// The file of a walk's state.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    walk: String,
}

impl Journal {
    /// The state in the file, if there is one, which must be of a walk with this description.
    pub fn open(path: &Path, description: &str) -> Result<(Self, Option<State>), Halt> {
        let journal = Self { path: path.to_owned(), walk: hex::encode(&kdf::sha256(description.as_bytes())) };
        let bytes = match bounded::read_file(path, MAX_STATE) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((journal, None)),
            Err(error) => return Err(journal.io(&error)),
        };
        let state: Option<State> = serde_json::from_slice(&bytes).ok();
        let Some(state) = state.filter(|state| state.version == VERSION) else {
            let message = format!("{} holds no state of a walk", path.display());
            return Err(Halt::new(HaltKind::Usage, message).help("name another file, or take this one away"));
        };
        if state.walk != journal.walk {
            let message = format!("{} is the state of a walk over something else", path.display());
            let help = "give the same flags as before, or name another file with --state";
            return Err(Halt::new(HaltKind::Usage, message).help(help));
        }
        Ok((journal, Some(state)))
    }

    /// The state that a walk begins with.
    pub fn state(&self, at: Position) -> State {
        State { walk: self.walk.clone(), ..State::unsaved(at) }
    }

    /// Replaces the file in one step; it is on disk when this returns. Only its owner may read it.
    pub fn save(&self, state: &State) -> Result<(), Halt> {
        let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let text = serde_json::to_vec(state).map_err(|error| self.io(&error.into()))?;
        let written = || {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(&text)?;
            file.as_file().sync_all()?;
            file.persist(&self.path)?;
            File::open(folder)?.sync_all()
        };
        written().map_err(|error| self.io(&error))
    }

    fn io(&self, error: &io::Error) -> Halt {
        Halt::new(HaltKind::Io, format!("the state file {}: {error}", self.path.display()))
    }
}

/// Stands for the first records of a page: whether they are the same when it is read again.
pub fn sameness<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let parts: Vec<&[u8]> = names.map(|name| name.as_bytes()).collect();
    hex::encode(&kdf::sha256(&kdf::pae(&parts)))
}

/// The file of the records that failed: a line of JSON for each.
#[derive(Debug)]
pub struct Failures {
    path: PathBuf,
    file: File,
    with_ids: bool,
}

impl Failures {
    /// Adds to the file, which only its owner may read.
    pub fn open(path: &Path, with_ids: bool) -> Result<Self, Halt> {
        let open = || {
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
            // One that was there already, too; a pipe is somebody else's.
            if file.metadata()?.is_file() {
                file.set_permissions(Permissions::from_mode(0o600))?;
            }
            Ok(file)
        };
        match open() {
            Ok(file) => Ok(Self { path: path.to_owned(), file, with_ids }),
            Err(error) => Err(io_failed(path, &error)),
        }
    }

    /// Adds a record: where it stands, and why it failed.
    pub fn add(&mut self, at: &Position, item: u64, name: &str, why: &str) -> Result<(), Halt> {
        let mut line = match at {
            Position::Line(line) => json!({ "batch": line, "item": item, "why": why }),
            Position::Page(page) => json!({ "page": page, "item": item, "why": why }),
            Position::Offset(offset) => json!({ "offset": offset, "item": item, "why": why }),
            Position::First | Position::Cursor(_) | Position::Link(_) => json!({ "item": item, "why": why }),
        };
        if let Some(members) = line.as_object_mut().filter(|_| self.with_ids) {
            members.insert("id".to_owned(), name.into());
        }
        let written = self.file.write_all(format!("{line}\n").as_bytes());
        written.map_err(|error| io_failed(&self.path, &error))
    }
}

fn io_failed(path: &Path, error: &io::Error) -> Halt {
    Halt::new(HaltKind::Io, format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_of_one_walk_and_of_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        let (journal, none) = Journal::open(&path, "a").unwrap();
        assert!(none.is_none());
        let state = State { done: 7, ..journal.state(Position::Page(3)) };
        journal.save(&state).unwrap();
        journal.save(&state).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (_, again) = Journal::open(&path, "a").unwrap();
        let again = again.unwrap();
        assert_eq!((again.at, again.done), (Position::Page(3), 7));
        assert!(Journal::open(&path, "b").unwrap_err().message.contains("something else"));
        std::fs::write(&path, "{}").unwrap();
        assert!(Journal::open(&path, "a").unwrap_err().message.contains("no state"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn failures_have_an_id_only_if_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("failed");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        for with_ids in [false, true] {
            Failures::open(&path, with_ids)
                .unwrap()
                .add(&Position::Page(2), 5, "zoe@example.com", "writing: 400")
                .unwrap();
        }
        let text = bounded::read_text_file(&path, 1 << 20).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], r#"{"page":2,"item":5,"why":"writing: 400"}"#);
        assert_eq!(lines[1], r#"{"page":2,"item":5,"why":"writing: 400","id":"zoe@example.com"}"#);
    }
}
