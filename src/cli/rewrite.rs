//! `sidecloak rewrite`: seals what is already stored, or opens it again.

use clap::Subcommand;

use super::exit::Failure;
use super::out::Out;

mod api;
mod progress;

/// See `sidecloak rewrite --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read every record through the proxy and write it back, so that the proxy seals it
    Api(Box<api::Args>),
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    match &args.command {
        Command::Api(args) => api::run(args, out),
    }
}
