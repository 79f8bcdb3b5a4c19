//! `sidecloak demo`: the whole product on a small application.

use super::exit::{Exit, Failure};
use super::out::Out;

/// See `sidecloak demo --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keep running afterwards, to be tried by hand
    #[arg(long)]
    pub keep: bool,
}

pub(crate) fn run(_args: &Args, _out: &mut Out) -> Result<(), Failure> {
    Err(Failure::new(Exit::Internal, "`demo` is not wired"))
}
