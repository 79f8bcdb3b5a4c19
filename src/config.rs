//! What the process is told besides its rules: `sidecloak.yaml`, `SIDECLOAK_*` variables and flags, checked and compiled.

use std::path::{Path, PathBuf};

use crate::authority::{Settings as Callers, listen};
use crate::bounded;
use crate::keyring::{self, KeySource};
use crate::proxy::settings::{Address, Settings};
use crate::report::{Finding, Findings, Source};
use crate::sealer::managed::settings::ProfileSettings;

mod address;
mod authority;
mod compile;
mod file;
pub mod machine;
mod node;
mod profiles;
mod quantity;
mod read;
mod scalar;
pub mod schema;
mod tls;

pub use machine::Machine;
pub(crate) use quantity::duration;
pub(crate) use tls::exposed;

/// The file that is read when `--config` is not given and it is there.
pub const DEFAULT_FILE: &str = "sidecloak.yaml";

const MAX_FILE: u64 = 1 << 20;

/// The whole configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Managed APIs that rules may name as `key`.
    pub profiles: Vec<ProfileSettings>,
    /// For the proxy. Without listeners if the purpose is [`Purpose::Keys`] and none are configured.
    pub proxy: Settings,
    /// A file or directory of rules; `None`: the proxy only passes on.
    pub rules: Option<PathBuf>,
    /// How the keyring is opened; `None` if there are no rules and none is named.
    pub keyring: Option<keyring::Options>,
    /// `--dev`: a missing keyring and master key are made, any file system will do.
    pub dev: bool,
    /// `/livez`, `/readyz`, `/metrics`, and nothing else.
    pub probe: Option<Address>,
    /// The admin interface.
    pub admin: Option<Admin>,
    /// `None` if nothing asks for one.
    pub authority: Option<Authority>,
    /// The log's threshold.
    pub log: LogLevel,
}

/// An authority.
#[derive(Debug, Clone)]
pub struct Authority {
    /// Its listeners.
    pub listen: listen::Settings,
    /// Whom it believes.
    pub callers: Callers,
}

/// The admin interface: a unix socket, or loopback with a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub address: Address,
    /// Always there when `address` is TCP: in a pod the application shares loopback.
    pub token: Option<KeySource>,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What needs somebody.
    Error,
    /// What may need somebody.
    Warn,
    /// Start, stop, reloads and a line per request.
    Info,
    /// Decisions within a request.
    Debug,
    /// Everything; still no value, key, raw path or query.
    Trace,
}

impl LogLevel {
    /// The level as a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// What flags and variables say; each stands above the file. Texts are as typed and checked together with the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--listen`; empty: not given.
    pub listen: Vec<String>,
    /// `--upstream`; empty: not given.
    pub upstream: Vec<String>,
    /// `--rules`
    pub rules: Option<PathBuf>,
    /// `--keyring`: a path, or `sqlite:PATH`.
    pub keyring: Option<String>,
    /// `--master-key-file`
    pub master_key_file: Option<PathBuf>,
    /// `--owner`
    pub owner: Option<String>,
    /// `--api-key-file`
    pub api_key_file: Option<PathBuf>,
    /// `--ca`
    pub ca: Option<PathBuf>,
    /// `--admin`
    pub admin: Option<String>,
    /// `--admin-token-file`
    pub admin_token_file: Option<PathBuf>,
    /// `--probe`
    pub probe: Option<String>,
    /// `--workers`
    pub workers: Option<usize>,
    /// `--log`
    pub log: Option<LogLevel>,
    /// `--dev`
    pub dev: bool,
    /// `--i-know`
    pub i_know: bool,
    /// The authority's.
    pub authority: AuthorityOverrides,
}

/// What flags and variables of `sidecloak authority` say.
#[derive(Debug, Clone, Default)]
pub struct AuthorityOverrides {
    /// `--listen`
    pub listen: Option<String>,
    /// `--crittora`
    pub crittora: Option<String>,
    /// `--crypteron`
    pub crypteron: Option<String>,
    /// `--ncloud-kms`
    pub ncloud_kms: Option<String>,
    /// `--exequantum`
    pub exequantum: Option<String>,
    /// `--tls-cert`
    pub tls_cert: Option<PathBuf>,
    /// `--tls-key`
    pub tls_key: Option<PathBuf>,
    /// `--client-ca`
    pub client_ca: Option<PathBuf>,
    /// `--require-client-cert`
    pub require_client_cert: bool,
    /// `--pq-only`
    pub pq_only: bool,
    /// `--insecure-listen`
    pub insecure_listen: bool,
}

/// Which command asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Runs or checks a proxy: there must be an upstream.
    Proxy,
    /// Works on the keyring: there need not be one.
    Keys,
    /// Runs an authority: the file's listeners are not its own.
    Authority,
}

/// What a load gives.
#[derive(Debug)]
pub struct Loaded {
    /// `None` if there are errors.
    pub config: Option<Config>,
    /// Errors and warnings, all of them.
    pub findings: Findings,
}

/// Reads `file` (or `./sidecloak.yaml` if it is there) and lays the flags over it.
pub fn load(file: Option<&Path>, flags: &Overrides, purpose: Purpose, machine: Machine) -> Loaded {
    let (path, optional) = (file.unwrap_or_else(|| Path::new(DEFAULT_FILE)), file.is_none());
    match bounded::read_text_file(path, MAX_FILE) {
        Ok(text) => load_text(&path.display().to_string(), &text, flags, purpose, machine),
        Err(error) if optional && error.kind() == std::io::ErrorKind::NotFound => {
            load_text(DEFAULT_FILE, "", flags, purpose, machine)
        }
        Err(error) => {
            let finding = Finding::error("config-unreadable", format!("cannot read {}: {error}", path.display()))
                .help("name a readable file with --config, or leave it out and use flags");
            Loaded { config: None, findings: Findings(vec![finding]) }
        }
    }
}

/// The same for text that is not in a file.
pub fn load_text(name: &str, text: &str, flags: &Overrides, purpose: Purpose, machine: Machine) -> Loaded {
    let source = Source { name: name.into(), text: text.into() };
    let mut findings = Findings::default();
    let config = file::parse(&source, &mut findings)
        .map(|(file, shown)| compile::compile(file, &shown, flags, purpose, machine, &mut findings))
        .filter(|_| !findings.has_errors());
    Loaded { config, findings }
}

#[cfg(test)]
mod tests;
