//! `sidecloak explain`: which rule and selector would act on a message, and why not.

use std::path::PathBuf;

use super::exit::{Exit, Failure};
use super::out::Out;

/// See `sidecloak explain --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File or directory of rules
    #[arg(long, value_name = "PATH", env = "SIDECLOAK_RULES", hide_env_values = true, default_value = "rules")]
    pub rules: PathBuf,
    /// The request's method
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    pub method: String,
    /// The request's path, as it is sent
    #[arg(long, value_name = "PATH")]
    pub path: String,
    /// A header of the request; may be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME:VALUE")]
    pub headers: Vec<String>,
    /// The listener that takes the request
    #[arg(long, value_name = "NAME", default_value = "front")]
    pub listener: String,
    /// The message's body: a file, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub body: Option<PathBuf>,
    /// The message's media type
    #[arg(long, value_name = "TYPE", default_value = "application/json")]
    pub content_type: String,
    /// The body is the response's
    #[arg(long)]
    pub response: bool,
    /// The response's status
    #[arg(long, value_name = "CODE", default_value_t = 200, requires = "response")]
    pub status: u16,
}

pub(crate) fn run(_args: &Args, _out: &mut Out) -> Result<(), Failure> {
    Err(Failure::new(Exit::Internal, "`explain` is not wired"))
}
