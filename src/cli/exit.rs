//! How a command ends.

use std::fmt::Display;
use std::io;

use crate::app::AppError;
use crate::app::profiles::UNUSABLE;
use crate::authority::listen::ListenError;
use crate::config;
use crate::keyring::KeyringError;
use crate::proxy::server::StartError;
use crate::refusal::{Reason, Refusal};
use crate::report::{Finding, Findings, Severity};
use crate::sealer::managed::set::ProfileError;

/// The exit codes, as documented in `docs/cli.md`; most are those of `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// The command ran, and its answer is no: not ready, a failing check, a token that does not open.
    No = 1,
    /// Configuration, rules or arguments.
    Usage = 64,
    /// Data that was given is malformed.
    Data = 65,
    /// An input that was named is not there.
    NoInput = 66,
    /// A port is in use, or a service cannot be reached.
    Unavailable = 69,
    /// A fault of this program.
    Internal = 70,
    /// Reading or writing failed.
    Io = 74,
    /// A key is missing, or may not be used or read.
    NoPermission = 77,
    /// The keyring does not fit the key, or is damaged.
    Mismatch = 78,
}

/// Why a command did not do what it was asked. Holds no value, key or credential.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// How the process ends.
    pub code: Exit,
    /// What failed, in a sentence; empty: the findings, or the output, say it all.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
    /// What is wrong with the operator's files.
    pub findings: Findings,
}

impl Failure {
    /// A failure with a message.
    pub fn new(code: Exit, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: None, findings: Findings::default() }
    }

    /// Adds the way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Files that are refused.
    pub fn findings(code: Exit, findings: Findings) -> Self {
        Self { findings, ..Self::new(code, "") }
    }

    /// A fault of this program.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Exit::Internal, message)
    }

    /// Nothing more to say than the code.
    pub fn silent(code: Exit) -> Self {
        Self::new(code, "")
    }

    /// A file or stream that cannot be read or written.
    pub fn io(what: impl Display, error: &io::Error) -> Self {
        let code = match error.kind() {
            // The reader has gone (`sidecloak … | head`): nobody is left to tell, and nothing went wrong.
            io::ErrorKind::BrokenPipe => return Self::silent(Exit::Ok),
            io::ErrorKind::NotFound => Exit::NoInput,
            io::ErrorKind::PermissionDenied => Exit::NoPermission,
            io::ErrorKind::AddrInUse => Exit::Unavailable,
            io::ErrorKind::InvalidData => Exit::Data,
            _ => Exit::Io,
        };
        Self::new(code, format!("{what}: {error}"))
    }

    /// The configuration of a load, its warnings aside; or all that is wrong with it.
    pub fn config(loaded: config::Loaded) -> Result<(config::Config, Vec<Finding>), Self> {
        match loaded.config {
            Some(config) => Ok((config, loaded.findings.0)),
            None => Err(Self::findings(Exit::Usage, loaded.findings)),
        }
    }

    /// The failure for a machine.
    pub fn to_json(&self) -> serde_json::Value {
        let findings: Vec<_> = self.findings.0.iter().map(Finding::to_json).collect();
        let message = if self.message.is_empty() { None } else { Some(&self.message) };
        serde_json::json!({ "error": { "code": self.code as u8, "message": message, "help": self.help, "findings": findings } })
    }
}

impl From<KeyringError> for Failure {
    fn from(error: KeyringError) -> Self {
        let code = match &error {
            KeyringError::Denied(..) | KeyringError::NoKey(_) => Exit::NoPermission,
            KeyringError::Unknown(_) => Exit::Data,
            KeyringError::Unavailable(_) => Exit::Io,
            KeyringError::Mismatch(_) => Exit::Mismatch,
            KeyringError::Random(_) => Exit::Internal,
        };
        Self::new(code, error.to_string())
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Rules(findings) => {
                let mut errors = findings.0.iter().filter(|finding| finding.severity == Severity::Error).peekable();
                // Credentials that cannot be read, and nothing else, are no fault of what was written.
                let unreadable = errors.peek().is_some() && errors.all(|finding| finding.code == UNUSABLE);
                Self::findings(if unreadable { Exit::NoPermission } else { Exit::Usage }, findings)
            }
            AppError::Keyring(error) => error.into(),
            AppError::Start(error @ StartError::InUse { .. }) => Self::new(Exit::Unavailable, error.to_string()),
            AppError::Start(error @ StartError::Tls { .. }) => Self::new(Exit::NoPermission, error.to_string()),
            AppError::Start(error) => Self::new(Exit::Io, error.to_string()),
            AppError::Listen(error) => {
                let code = match &error {
                    ListenError::InUse { .. } => Exit::Unavailable,
                    ListenError::Exposed { .. } => Exit::Usage,
                    ListenError::Tls { .. } => Exit::NoPermission,
                    ListenError::Bind { .. } | ListenError::Runtime(_) => Exit::Io,
                };
                Self::new(code, error.to_string())
            }
            AppError::Admin(error) => Self::new(Exit::Unavailable, error.to_string()),
            AppError::Profiles(error) => error.into(),
            AppError::Io(error) => Self::io("starting", &error),
        }
    }
}

impl From<ProfileError> for Failure {
    fn from(error: ProfileError) -> Self {
        let code = match error {
            ProfileError::Profile(..) => Exit::NoPermission,
            ProfileError::Threads(_) => Exit::Io,
        };
        Self::new(code, error.to_string())
    }
}

impl From<Refusal> for Failure {
    /// A message that the engine refuses, outside an exchange.
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.reason {
            Reason::PartitionState | Reason::Role => Exit::NoPermission,
            Reason::KeyService => Exit::Io,
            Reason::Token
            | Reason::Plaintext
            | Reason::Missing
            | Reason::MaxLength
            | Reason::Undecided
            | Reason::Masked => Exit::No,
            _ => Exit::Data,
        };
        let failure = Self::new(code, refusal.to_string());
        match refusal.reason {
            Reason::Token => failure
                .help("a token opens in the partition and class, and with the value, that it was sealed for, unaltered; see `sidecloak inspect`"),
            Reason::KeyService => failure.help("see `sidecloak keys list`"),
            _ => failure,
        }
    }
}
