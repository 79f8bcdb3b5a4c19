//! Documents on the command line, through the same engine as a body in the proxy: streamed, in constant memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::HeaderMap;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::common::{configured, folder, usable};
use super::exit::{Exit, Failure};
use super::out::Out;
use crate::app::{AppError, keys, profiles};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::json::framing::Framing;
use crate::keyring::KeyringError;
use crate::refusal::Reason;
use crate::rules::compile::{Context, Loaded, load, load_text};
use crate::rules::route::{RequestFacts, normalize};
use crate::sealer::joined::Joined;
use crate::sealer::local::Local;
use crate::sealer::managed::settings::Provider;
use crate::transform::Sealer;
use crate::transform::body::{BodyEdit, CallerRole, Progress};
use crate::transform::plan::{Direction, HalfPlan};

const CHUNK: usize = 64 * 1024;

/// What is done to each document.
pub(super) struct Work {
    plan: Arc<HalfPlan>,
    engine: Engine,
}

/// The keyring, and what else it takes to seal and open.
pub(super) struct Engine {
    sealer: Arc<dyn Sealer>,
    runtime: tokio::runtime::Runtime,
    max_value: usize,
}

/// Where results go.
pub(super) type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Failure>;

/// Where the fields come from.
pub(super) enum Fields<'a> {
    /// One action, its options as in a rule file.
    Action(serde_json::Value),
    /// The rules that a request with this method and path meets.
    Rules { path: &'a Path, method: &'a str, request_path: &'a str },
}

/// Reads and writes of a command.
pub(super) struct Streams<'a> {
    pub files: &'a [PathBuf],
    pub output: Option<&'a Path>,
    pub ndjson: bool,
}

impl Work {
    pub(super) fn new(
        direction: Direction,
        fields: &Fields<'_>,
        config: &Config,
        out: &mut Out,
    ) -> Result<Self, Failure> {
        let plan = plan(direction, fields, config)?;
        Ok(Self { plan: Arc::new(plan), engine: Engine::open(config, out)? })
    }

    /// All files, or standard input, to standard output or a file.
    pub(super) fn run(&self, streams: &Streams<'_>, out: &mut Out) -> Result<(), Failure> {
        let terminal = out.err_terminal();
        deliver(streams.output, out, |write| self.all(streams, terminal, write))
    }

    fn all(&self, streams: &Streams<'_>, terminal: bool, write: Sink<'_>) -> Result<(), Failure> {
        let standard = [PathBuf::from("-")];
        let files = if streams.files.is_empty() { &standard } else { streams.files };
        for path in files {
            let what = path.display().to_string();
            let (mut input, progress) = input(path, terminal)?;
            let done = if streams.ndjson {
                self.lines(&mut input, &what, write)
            } else {
                self.engine.document(&self.plan, &mut input, &what, write).map(drop)
            };
            progress.finish_and_clear();
            done?;
        }
        Ok(())
    }

    /// A document per line; empty lines stay.
    fn lines(&self, input: &mut impl BufRead, what: &str, write: Sink<'_>) -> Result<(), Failure> {
        let mut number = 1u64;
        while let Some(first) = blank(input, what, write)? {
            let mut line = Line { input, ended: false };
            if first == b'\n' {
                io::copy(&mut line, &mut io::sink()).map_err(|e| Failure::io(what, &e))?;
            } else {
                let place = format!("{what}, line {number}");
                self.engine.document(&self.plan, &mut line, &place, write)?;
            }
            if line.ended {
                write(b"\n")?;
            }
            number += 1;
        }
        Ok(())
    }
}

impl Engine {
    /// With the configured keyring.
    pub(super) fn open(config: &Config, out: &mut Out) -> Result<Self, Failure> {
        let (profiles, clock) = (usable(config, out)?, SystemClock::shared());
        let options = profiles::reaching(configured(config)?, profiles.as_ref());
        let keyring = Arc::new(keys::open(&options, false, &clock)?);
        for profile in &config.profiles {
            // What its control plane forbids must not be done for want of asking it.
            let is_asked = profiles.as_ref().is_some_and(|profiles| profiles.has(&profile.name));
            if matches!(profile.provider, Provider::Crypteron(_)) && !is_asked {
                let text = format!("what Crypteron allows of profile `{}` cannot be asked", profile.name);
                let help = format!("mend the profile: `sidecloak profiles check {}` tries it", profile.name);
                return Err(Failure::new(Exit::NoPermission, text).help(help));
            }
            // Nothing is sealed under other keys than the profile says.
            if profiles::partition(profile, &keyring)? == profiles::Partition::Another {
                let text = format!("the API of profile `{}` is no recipient of its partition", profile.name);
                let help = format!("run `sidecloak profiles init {}`", profile.name);
                return Err(Failure::new(Exit::Usage, text).help(help));
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|e| Failure::io("a runtime", &e))?;
        let local = Local::new(Arc::clone(&keyring));
        let sealer: Arc<dyn Sealer> = match profiles {
            Some(profiles) => {
                Arc::new(Joined::open(local, profiles, &keyring, None, &clock).map_err(AppError::Profiles)?)
            }
            None => Arc::new(local),
        };
        Ok(Self { sealer, runtime, max_value: config.proxy.limits.value })
    }

    /// One document, and how many values were selected in it; failures name it as `what`, unless that is empty.
    pub(super) fn document(
        &self,
        plan: &Arc<HalfPlan>,
        input: &mut impl Read,
        what: &str,
        write: Sink<'_>,
    ) -> Result<u64, Failure> {
        let refused = |refusal: crate::refusal::Refusal| {
            let invalid = refusal.reason == Reason::InvalidJson;
            let mut failure = Failure::from(refusal);
            if what.is_empty() {
                return failure;
            }
            failure.message = format!("{what}: {}", failure.message);
            if invalid {
                let help = "the input is JSON: a text or token stands in double quotes; with --ndjson every line is a document";
                return failure.help(help);
            }
            failure
        };
        let caller = CallerRole { role: "default".into(), may_see_plaintext: true };
        let mut edit = BodyEdit::new(Arc::clone(plan), Arc::clone(&self.sealer), caller, self.max_value, Framing::One);
        let mut buffer = vec![0; CHUNK];
        let mut out = Vec::new();
        loop {
            let read = input.read(&mut buffer).map_err(|e| Failure::io(what, &e))?;
            let mut chunk = buffer.get(..read).unwrap_or_default();
            loop {
                let progress = if read == 0 { edit.finish(&mut out) } else { edit.feed(chunk, &mut out) };
                match progress.map_err(refused)? {
                    Progress::All => break,
                    Progress::Fetch(need, consumed) => {
                        chunk = chunk.get(consumed..).unwrap_or_default();
                        match self.runtime.block_on(self.sealer.fetch(need)) {
                            Ok(()) => {}
                            Err(error @ (KeyringError::NoKey(_) | KeyringError::Mismatch(_))) => {
                                return Err(error.into());
                            }
                            Err(error) => edit.fetch_failed(error),
                        }
                    }
                    Progress::Delegate(consumed) => {
                        chunk = chunk.get(consumed..).unwrap_or_default();
                        let jobs = edit.jobs();
                        edit.answered(self.runtime.block_on(self.sealer.delegate(jobs)));
                    }
                }
            }
            write(&out)?;
            out.clear();
            if read == 0 {
                return Ok(edit.values());
            }
        }
    }
}

/// Has `all` write to standard output, or to a file, of which a reader never finds half under the name it was promised.
pub(super) fn deliver(
    output: Option<&Path>,
    out: &mut Out,
    all: impl FnOnce(Sink<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Some(path) = output else { return all(&mut |bytes| out.bytes(bytes)) };
    let what = path.display().to_string();
    let failed = |e: &io::Error| Failure::io(&what, e);
    let there = match std::fs::metadata(path) {
        Ok(metadata) => Some(metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(&error)),
    };
    // A pipe or device is written to, not replaced by a file.
    if there.as_ref().is_some_and(|metadata| !metadata.is_file()) {
        let mut file = File::options().write(true).open(path).map_err(|e| failed(&e))?;
        return all(&mut |bytes| file.write_all(bytes).map_err(|e| failed(&e)));
    }
    // Nor is a link.
    let path = if there.is_some() { path.canonicalize().map_err(|e| failed(&e))? } else { path.to_owned() };
    let mut file = tempfile::NamedTempFile::new_in(folder(&path)).map_err(|e| failed(&e))?;
    all(&mut |bytes| file.write_all(bytes).map_err(|e| failed(&e)))?;
    if let Some(metadata) = there {
        file.as_file().set_permissions(metadata.permissions()).map_err(|e| failed(&e))?;
    }
    file.as_file().sync_all().map_err(|e| failed(&e))?;
    file.persist(&path).map_err(|e| failed(&e.error))?;
    Ok(())
}

/// A file, or standard input for `-`, with the bar that shows how much of it was read.
pub(super) fn input(path: &Path, terminal: bool) -> Result<(BufReader<impl Read>, ProgressBar), Failure> {
    let what = path.display().to_string();
    let (input, size): (Box<dyn Read>, Option<u64>) = if what == "-" {
        (Box::new(io::stdin()), None)
    } else {
        let file = File::open(path).map_err(|e| Failure::io(&what, &e))?;
        let size = file.metadata().ok().map(|m| m.len());
        (Box::new(file), size)
    };
    let progress = if terminal { bar(size, &what) } else { ProgressBar::hidden() };
    Ok((BufReader::with_capacity(CHUNK, progress.wrap_read(input)), progress))
}

fn plan(direction: Direction, fields: &Fields<'_>, config: &Config) -> Result<HalfPlan, Failure> {
    let context = Context { profiles: profiles::facts(config), ..Context::default() };
    let (loaded, method, path) = match fields {
        Fields::Rules { path, method, request_path } => (load(path, &context), *method, *request_path),
        Fields::Action(action) => {
            let half = if direction == Direction::Request { "request" } else { "response" };
            let rule = json!({ "rules": [{ "name": "command-line", "match": { "path": "/" }, half: [action] }] });
            (load_text("the command line", &rule.to_string(), &context), "POST", "/")
        }
    };
    let Loaded { rules: Some(rules), .. } = loaded else {
        return Err(Failure::findings(Exit::Usage, loaded.findings));
    };
    let normal = normalize(path, false).map_err(|e| Failure::new(Exit::Usage, format!("--path: {e}")))?;
    let headers = HeaderMap::new();
    let facts = RequestFacts {
        method,
        path: &normal,
        ignore_case: false,
        listener: "front",
        host: None,
        words: (&headers).into(),
    };
    let route = rules.route(&facts);
    HalfPlan::new(direction, &route.rules, &headers)?.ok_or_else(|| {
        Failure::new(Exit::No, "no rule does anything to such a message").help("see `sidecloak explain`")
    })
}

fn bar(size: Option<u64>, what: &str) -> ProgressBar {
    let (bar, template) = match size {
        Some(size) => (ProgressBar::new(size), "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}"),
        None => (ProgressBar::new_spinner(), "{msg} {spinner} {bytes} {bytes_per_sec}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.with_message(what.to_owned())
}

/// Hands on the white space that a line begins with; then the first byte after it, or nothing at the end.
fn blank(input: &mut impl BufRead, what: &str, write: Sink<'_>) -> Result<Option<u8>, Failure> {
    loop {
        let available = input.fill_buf().map_err(|e| Failure::io(what, &e))?;
        let length = available.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\r')).count();
        if length == 0 {
            return Ok(available.first().copied());
        }
        write(available.get(..length).unwrap_or_default())?;
        input.consume(length);
    }
}

/// Reads up to and over the next line feed, which it does not give back.
struct Line<'a, R> {
    input: &'a mut R,
    ended: bool,
}

impl<R: BufRead> Read for Line<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let available = self.input.fill_buf()?;
        let window = available.get(..available.len().min(buffer.len())).unwrap_or_default();
        let line = window.iter().position(|b| *b == b'\n');
        let take = line.unwrap_or(window.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..take), window.get(..take)) {
            to.copy_from_slice(from);
        }
        self.input.consume(take + usize::from(line.is_some()));
        self.ended = line.is_some();
        Ok(take)
    }
}
