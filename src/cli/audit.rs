//! `sidecloak audit`: the log of what was done to the keyring and with it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::common::{KeyringArgs, folder};
use super::exit::{Exit, Failure};
use super::out::Out;
use crate::audit::verify::each_line;
use crate::audit::{Audit, Checkpoint};
use crate::clock::SystemClock;
use crate::config::Purpose;
use crate::keyring::Keyring;

mod list;
mod verify;

/// See `sidecloak audit --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub action: Action,
    #[command(flatten)]
    pub keyring: KeyringArgs,
}

/// What is done with the log.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Action {
    /// Check that no line was changed, taken out, added or moved
    Verify(verify::Args),
    /// List management acts and what became of them
    List(list::Args),
    /// Sign the log as it stands, to be kept where nobody who can write the store comes
    Checkpoint {
        /// The file
        #[arg(long, short, value_name = "FILE")]
        out: PathBuf,
    },
    /// Write the log as it is, a line each, for `audit verify --file` and for others to read
    Export {
        /// The file [default: standard output]
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    match &args.action {
        Action::Verify(verify) => verify::run(verify, &args.keyring, out),
        Action::List(list) => list::run(list, &open(&args.keyring, out)?, out),
        Action::Checkpoint { out: file } => checkpoint(open(&args.keyring, out)?, file, out),
        Action::Export { out: file } => export(&open(&args.keyring, out)?, file.as_deref(), out),
    }
}

fn open(args: &KeyringArgs, out: &mut Out) -> Result<Keyring, Failure> {
    let config = args.load(&args.overrides(), Purpose::Keys, out)?;
    let options = config
        .keyring
        .as_ref()
        .ok_or_else(|| Failure::new(Exit::Usage, "there is no keyring").help("name one with --keyring"))?;
    Ok(Keyring::open(options, SystemClock::shared())?)
}

fn checkpoint(keyring: Keyring, file: &Path, out: &mut Out) -> Result<(), Failure> {
    let audit = Audit::for_acts(Arc::new(keyring), SystemClock::shared())?;
    let Some(checkpoint) = audit.checkpoint()? else {
        return Err(Failure::new(Exit::No, "the audit log is empty: there is nothing to sign yet"));
    };
    let text = serde_json::to_string(&checkpoint).map_err(|e| Failure::internal(e.to_string()))?;
    write(file, |to| to.write_all(text.as_bytes()).and_then(|()| to.write_all(b"\n")))?;
    let Checkpoint { number, hash, time, .. } = checkpoint;
    if out.json() {
        return out.value(&json!({ "file": file.display().to_string(), "number": number, "hash": hash, "time": time }));
    }
    out.line(&format!("signed line {number} and all before it; the checkpoint is in {}", file.display()))?;
    out.note("next: keep it elsewhere; `sidecloak audit verify --checkpoint FILE` then finds a log that was cut");
    Ok(())
}

fn export(keyring: &Keyring, file: Option<&Path>, out: &mut Out) -> Result<(), Failure> {
    let Some(file) = file else {
        return each_line(keyring, |_, line| {
            out.bytes(line)?;
            out.text("\n")
        });
    };
    let mut lines = 0u64;
    write(file, |to| {
        let mut to = std::io::BufWriter::new(to);
        each_line::<Broken>(keyring, |_, line| {
            lines += 1;
            to.write_all(line)?;
            Ok(to.write_all(b"\n")?)
        })
        .map_err(|Broken(error)| error)?;
        to.flush()
    })?;
    if out.json() {
        return out.value(&json!({ "file": file.display().to_string(), "lines": lines }));
    }
    out.line(&format!("wrote {lines} lines to {}", file.display()))
}

/// Text of the log as a terminal may show it: it obeys what a name may hold, and some characters turn round what follows.
fn plain(text: &str) -> String {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.replace(|c: char| c.is_control() || turns(c), "?")
}

struct Broken(std::io::Error);

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        Self(error)
    }
}

impl From<crate::keyring::KeyringError> for Broken {
    fn from(error: crate::keyring::KeyringError) -> Self {
        Self(std::io::Error::other(error.to_string()))
    }
}

/// Writes a file that was not there, whole or not at all.
fn write(file: &Path, content: impl FnOnce(&mut std::fs::File) -> std::io::Result<()>) -> Result<(), Failure> {
    let failed = |e: &std::io::Error| Failure::io(file.display(), e);
    let mut temporary = tempfile::NamedTempFile::new_in(folder(file)).map_err(|e| failed(&e))?;
    content(temporary.as_file_mut()).and_then(|()| temporary.as_file().sync_all()).map_err(|e| failed(&e))?;
    temporary.persist_noclobber(file).map(drop).map_err(|e| match e.error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(Exit::Usage, format!("{} is there already; it was left as it is", file.display()))
                .help("name a file that is not there, or move it away")
        }
        _ => failed(&e.error),
    })
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn a_terminal_obeys_nothing_in_the_log() {
        assert_eq!(plain("alice\u{1b}[2J\r\n\u{9b}1m\u{202e}é 😀"), "alice?[2J???1m?é 😀");
    }
}
