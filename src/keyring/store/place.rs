//! Where a keyring lies, as an operator names it.

use std::fmt;
use std::path::PathBuf;

use super::postgres::PostgresPlace;
use super::{Remote, check_url};

/// A file, or a database.
#[derive(Debug, Clone)]
pub enum StorePlace {
    /// A SQLite file, for the processes of one machine.
    Sqlite(PathBuf),
    /// A PostgreSQL database, for a fleet.
    Postgres(Box<PostgresPlace>),
    /// An authority's API, for processes that do not reach its store.
    Authority(Box<Remote>),
}

/// Why a text names no such place. Repeats nothing of it: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadPlace {
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub help: String,
}

impl StorePlace {
    /// `sqlite:PATH`, `postgres://…` or `https://…`; `None`: none of them.
    pub fn parse(text: &str) -> Option<Result<Self, BadPlace>> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Some(PostgresPlace::parse(text).map(|place| Self::Postgres(Box::new(place))));
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            // Whether plain HTTP will do is looked at where the rest is known.
            return Some(
                check_url(text, true).map(|url| Self::Authority(Box::new(Remote { url, ..Remote::default() }))),
            );
        }
        let path = text.strip_prefix("sqlite:").filter(|path| !path.is_empty())?;
        Some(Ok(Self::Sqlite(path.into())))
    }
}

impl From<PathBuf> for StorePlace {
    fn from(path: PathBuf) -> Self {
        Self::Sqlite(path)
    }
}

/// Without user, password and parameters.
impl fmt::Display for StorePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(place) => place.fmt(f),
            Self::Authority(remote) => remote.url.fmt(f),
        }
    }
}
