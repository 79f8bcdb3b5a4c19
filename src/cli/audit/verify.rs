//! `sidecloak audit verify`: of the log in the store, or of an export, without a keyring.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::super::common::KeyringArgs;
use super::super::exit::{Exit, Failure};
use super::super::out::Out;
use super::plain;
use crate::audit::Checkpoint;
use crate::audit::line::unhex;
use crate::audit::verify::{Bad, Report, Verifier, each_line};
use crate::bounded;
use crate::keyring::KeyringError;

/// A line is at most 1 MiB in a store.
const MAX_LINE: u64 = 1 << 20;
const MAX_CHECKPOINT: u64 = 64 << 10;
/// Open acts that are shown to people; `--json` has them all.
const SHOWN: usize = 10;

/// See `sidecloak audit verify --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An export to check instead of the log in the store; `-`: standard input. Pin its owner with --owner
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// A checkpoint that was kept elsewhere, against which the log is held; may be repeated
    #[arg(long = "checkpoint", value_name = "FILE")]
    pub checkpoints: Vec<PathBuf>,
}

enum Stopped {
    Bad(Bad),
    Failed(Failure),
}

impl From<KeyringError> for Stopped {
    fn from(error: KeyringError) -> Self {
        Self::Failed(error.into())
    }
}

pub(super) fn run(args: &Args, keyring: &KeyringArgs, out: &mut Out) -> Result<(), Failure> {
    let progress = if out.err_terminal() { spinner() } else { ProgressBar::hidden() };
    let checked = match &args.file {
        Some(file) => check_file(file, args, keyring, &progress),
        None => {
            let keyring = super::open(keyring, out)?;
            let mut verifier = verifier(Some(keyring.owner_fingerprint()), &args.checkpoints)?;
            let each = |number, line: &[u8]| {
                progress.inc(1);
                verifier.feed(Some(number), line).map(drop).map_err(Stopped::Bad)
            };
            each_line(&keyring, each).and_then(|()| verifier.finish().map_err(Stopped::Bad))
        }
    };
    progress.finish_and_clear();
    match checked {
        Ok(report) => tell(&report, args.file.is_some() && keyring.owner.is_none(), out),
        Err(Stopped::Failed(failure)) => Err(failure),
        Err(Stopped::Bad(bad)) => {
            if out.json() {
                out.value(&json!({ "ok": false, "first_bad": bad.number, "why": bad.why }))?;
                return Err(Failure::silent(Exit::No));
            }
            let failure = Failure::new(Exit::No, format!("the audit log was tampered with, or damaged: {bad}"));
            Err(failure.help("keep the store and its log as they are, compare them with an earlier export or backup, and find out who can write there"))
        }
    }
}

fn check_file(file: &Path, args: &Args, keyring: &KeyringArgs, progress: &ProgressBar) -> Result<Report, Stopped> {
    let owner = keyring.owner.as_deref().map(|hex| {
        let help = "`sidecloak keys list` shows 64 hexadecimal digits";
        unhex(&hex.to_ascii_lowercase()).ok_or_else(|| Failure::new(Exit::Usage, "--owner is no owner").help(help))
    });
    let owner = owner.transpose().map_err(Stopped::Failed)?;
    let mut verifier = verifier(owner, &args.checkpoints).map_err(Stopped::Failed)?;
    let failed = |e: &io::Error| Stopped::Failed(Failure::io(file.display(), e));
    let input: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(file).map_err(|e| failed(&e))?)
    };
    let mut input = BufReader::with_capacity(1 << 16, input);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = input.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut line).map_err(|e| failed(&e))?;
        if read == 0 {
            return verifier.finish().map_err(Stopped::Bad);
        }
        // A last line without its end was cut, and is not in its one form then, or it was whole.
        let content = line.strip_suffix(b"\n").unwrap_or(&line);
        verifier.feed(None, content).map_err(Stopped::Bad)?;
        progress.inc(1);
    }
}

fn verifier(owner: Option<[u8; 32]>, checkpoints: &[PathBuf]) -> Result<Verifier, Failure> {
    let mut verifier = Verifier::new(owner);
    for file in checkpoints {
        let text = bounded::read_file(file, MAX_CHECKPOINT).map_err(|e| Failure::io(file.display(), &e))?;
        let checkpoint: Checkpoint = serde_json::from_slice(&text).map_err(|_| {
            let failure = Failure::new(Exit::Data, format!("{} is no checkpoint", file.display()));
            failure.help("`sidecloak audit checkpoint` writes one")
        })?;
        if !verifier.hold(&checkpoint) {
            let text = format!("{} is not signed by the owner of this log, or contradicts another", file.display());
            return Err(Failure::new(Exit::No, text));
        }
    }
    Ok(verifier)
}

fn tell(report: &Report, unpinned: bool, out: &mut Out) -> Result<(), Failure> {
    if out.json() {
        let open: Vec<Value> = report
            .open
            .iter()
            .map(|(number, act)| json!({ "number": number, "who": act.who, "what": act.what, "on": act.on }))
            .collect();
        return out.value(&json!({
            "ok": true, "lines": report.lines, "head": report.head, "owner": report.owner,
            "checkpoints": report.checkpoints, "signed_up_to": report.signed_up_to, "open": open,
        }));
    }
    out.line(&format!("sound: {} lines, chained without a gap", report.lines))?;
    out.line(&format!("owner          {}", report.owner))?;
    out.line(&format!("last line      {}", report.head))?;
    out.line(&format!(
        "checkpoints    {}, the last for line {} and all before it",
        report.checkpoints, report.signed_up_to
    ))?;
    for (number, act) in report.open.iter().take(SHOWN) {
        let text = format!("without outcome: line {number}, {} on {} by {}", act.what, act.on, act.who);
        out.line(&plain(&text))?;
    }
    if report.open.len() > SHOWN {
        out.line(&format!("without outcome: {} more", report.open.len() - SHOWN))?;
    }
    if unpinned {
        out.note(
            "note: without --owner the log is believed to be whose it says; `sidecloak keys list` shows the owner",
        );
    }
    Ok(())
}

fn spinner() -> ProgressBar {
    let progress = ProgressBar::new_spinner();
    match ProgressStyle::with_template("{spinner} {pos} lines, {per_sec}") {
        Ok(style) => progress.with_style(style),
        Err(_) => progress,
    }
}
