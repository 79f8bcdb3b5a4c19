//! Seals what is already stored, or opens it again: record by record through the application's own API ([`walk`]), or in streams
//! of rows ([`rows`]).

pub mod client;
pub mod journal;
pub mod pages;
pub mod record;
pub mod rows;
pub mod shape;
pub mod stored;
pub mod walk;

mod pace;
mod retry;

use std::fmt;

/// Why a walk ends before its end. Holds no value of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halt {
    /// What kind of reason.
    pub kind: HaltKind,
    /// In a sentence.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
}

/// See [`Halt::kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HaltKind {
    /// Somebody asked for it.
    Stopped,
    /// Going on would do harm, or nothing.
    Refused,
    /// What was asked for cannot be asked so.
    Usage,
    /// Nobody answers.
    Away,
    /// The application does not take the credentials.
    Denied,
    /// A file.
    Io,
}

impl Halt {
    /// With no way out to tell yet.
    pub fn new(kind: HaltKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), help: None }
    }

    /// Adds the way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Somebody asked for it.
    pub fn stopped() -> Self {
        Self::new(HaltKind::Stopped, "stopped before the end")
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
