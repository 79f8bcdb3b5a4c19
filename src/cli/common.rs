//! Arguments that several commands share.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::builder::FalseyValueParser;

use super::exit::{Exit, Failure};
use super::out::Out;
use crate::app;
use crate::bounded;
use crate::clock::SystemClock;
use crate::config::{self, Config, LogLevel, Machine, Overrides, Purpose};
use crate::keyring::Options;
use crate::metrics::Metrics;
use crate::report::Finding;
use crate::sealer::managed::set::Profiles;

/// Which keyring, and with which keys.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Configuration and keys")]
pub(crate) struct KeyringArgs {
    /// Configuration file [default: ./sidecloak.yaml if it is there]
    #[arg(long, global = true, value_name = "FILE", env = "SIDECLOAK_CONFIG")]
    pub config: Option<PathBuf>,
    /// The keyring: a SQLite file, a postgres:// URL, or an authority at https:// [default: ./sidecloak.db]
    #[arg(long, global = true, value_name = "KEYRING", env = "SIDECLOAK_KEYRING")]
    pub keyring: Option<String>,
    /// File with the master key [default: ./master.key]
    #[arg(long, global = true, value_name = "FILE", env = "SIDECLOAK_MASTER_KEY_FILE")]
    pub master_key_file: Option<PathBuf>,
    /// Key id of the keyring's owner, pinned by a process without the master key
    #[arg(long, global = true, value_name = "HEX", env = "SIDECLOAK_OWNER")]
    pub owner: Option<String>,
    /// File with the API key that is shown to the authority
    #[arg(long, global = true, value_name = "FILE", env = "SIDECLOAK_API_KEY_FILE")]
    pub api_key_file: Option<PathBuf>,
    /// PEM file of who may have issued the authority's certificate [default: whom the system trusts]
    #[arg(long, global = true, value_name = "FILE", env = "SIDECLOAK_CA")]
    pub ca: Option<PathBuf>,
    /// Keep the keyring on a file system that may lose it (tmpfs, overlay, nfs, cifs, fuse)
    #[arg(long, global = true, env = "SIDECLOAK_I_KNOW", value_parser = FalseyValueParser::new())]
    pub i_know: bool,
}

impl KeyringArgs {
    /// What these flags lay over the file.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            keyring: self.keyring.clone(),
            master_key_file: self.master_key_file.clone(),
            owner: self.owner.clone(),
            api_key_file: self.api_key_file.clone(),
            ca: self.ca.clone(),
            i_know: self.i_know,
            ..Overrides::default()
        }
    }

    /// Loads the configuration with `flags` over it. Warnings go to standard error.
    pub fn load(&self, flags: &Overrides, purpose: Purpose, out: &mut Out) -> Result<Config, Failure> {
        let (config, warnings) = self.read(flags, purpose)?;
        for warning in warnings {
            if out.json() { out.note(&warning.to_json().to_string()) } else { out.note(&warning.to_string()) }
        }
        Ok(config)
    }

    /// The same with the warnings left to the caller.
    pub fn read(&self, flags: &Overrides, purpose: Purpose) -> Result<(Config, Vec<Finding>), Failure> {
        Failure::config(config::load(self.config.as_deref(), flags, purpose, Machine::detect()))
    }
}

/// How the configured keyring is opened, with its profiles' APIs to open epochs.
pub(super) fn reaching(config: &Config, out: &mut Out) -> Result<Options, Failure> {
    let profiles = usable(config, out)?;
    Ok(app::profiles::reaching(configured(config)?, profiles.as_ref()))
}

/// The configured profiles. One that cannot be used is left out with a warning, since the command may do without it.
pub(super) fn usable(config: &Config, out: &mut Out) -> Result<Option<Arc<Profiles>>, Failure> {
    let (profiles, errors) = app::profiles::open_usable(config, &SystemClock::shared(), &Metrics::default())?;
    for error in errors {
        let warning = Finding::warning("profile", format!("{error}; what its API keeps closed stays closed"));
        out.note(&if out.json() { warning.to_json().to_string() } else { warning.to_string() });
    }
    Ok(profiles)
}

/// How the configured keyring is opened.
pub(super) fn configured(config: &Config) -> Result<&Options, Failure> {
    let none = || Failure::new(Exit::Usage, "there is no keyring").help("name one with --keyring");
    config.keyring.as_ref().ok_or_else(none)
}

/// The values of `--log`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogArg {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<LogArg> for LogLevel {
    fn from(arg: LogArg) -> Self {
        match arg {
            LogArg::Off => Self::Off,
            LogArg::Error => Self::Error,
            LogArg::Warn => Self::Warn,
            LogArg::Info => Self::Info,
            LogArg::Debug => Self::Debug,
            LogArg::Trace => Self::Trace,
        }
    }
}

/// Who runs this command, for the audit log. The name is only for reading: the number is what the system knows.
pub(super) fn operator() -> String {
    let uid = rustix::process::getuid().as_raw();
    let accounts = bounded::read_text_file(Path::new("/etc/passwd"), 1 << 20).unwrap_or_default();
    let number = uid.to_string();
    let name = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then_some(name)
    });
    name.map_or_else(|| format!("local uid {uid}"), |name| format!("local uid {uid} ({name})"))
}

/// A file that was not there before, and is gone again unless it is finished.
#[derive(Debug)]
pub(super) struct NewFile {
    path: PathBuf,
    file: File,
    finished: bool,
}

impl NewFile {
    /// Creates it with this mode; `AlreadyExists` leaves the old one.
    pub fn create(path: &Path, mode: u32) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        Ok(Self { path: path.to_owned(), file, finished: false })
    }

    /// Writes it whole; it is on disk, name and content, when this returns.
    pub fn finish(mut self, content: &[u8]) -> Result<(), Failure> {
        let written = self.file.write_all(content).and_then(|()| self.file.sync_all());
        let synced = written.and_then(|()| File::open(folder(&self.path))?.sync_all());
        synced.map_err(|e| Failure::io(self.path.display(), &e))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.finished {
            // It holds nothing that anybody was promised.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// The directory a file stands in.
pub(super) fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}
