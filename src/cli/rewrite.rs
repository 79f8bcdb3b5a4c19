//! `sidecloak rewrite`: seals what is already stored, or opens it again.

use clap::Subcommand;

use super::exit::Failure;
use super::out::Out;

mod api;
mod progress;
mod stream;

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
    /// Rewrite a document per line
    Ndjson(Box<stream::NdjsonArgs>),
    /// Rewrite columns of CSV
    Csv(Box<stream::CsvArgs>),
    /// Rewrite columns of what PostgreSQL's COPY or pg_dump writes
    Copy(Box<stream::CopyArgs>),
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    match &args.command {
        Command::Api(args) => api::run(args, out),
        Command::Ndjson(args) => stream::ndjson(args, out),
        Command::Csv(args) => stream::csv(args, out),
        Command::Copy(args) => stream::copy(args, out),
    }
}
