//! `sidecloak check`: configuration and rules.

use std::path::PathBuf;

use super::common::KeyringArgs;
use super::exit::{Exit, Failure};
use super::out::Out;

/// See `sidecloak check --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File or directory of rules [default: the configuration's]
    #[arg(value_name = "RULES")]
    pub rules: Option<PathBuf>,
    /// Take warnings for errors
    #[arg(long)]
    pub strict: bool,
    #[command(flatten)]
    pub keyring: KeyringArgs,
}

pub(crate) fn run(_args: &Args, _out: &mut Out) -> Result<(), Failure> {
    Err(Failure::new(Exit::Internal, "`check` is not wired"))
}
