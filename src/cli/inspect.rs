//! `sidecloak inspect`: what a token says without keys.

use super::exit::{Exit, Failure};
use super::out::Out;

/// See `sidecloak inspect --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Tokens; `-` or none: one per line of standard input
    #[arg(value_name = "TOKEN")]
    pub tokens: Vec<String>,
}

pub(crate) fn run(_args: &Args, _out: &mut Out) -> Result<(), Failure> {
    Err(Failure::new(Exit::Internal, "`inspect` is not wired"))
}
