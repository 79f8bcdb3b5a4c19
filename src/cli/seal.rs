//! `sidecloak seal`: values, or fields of documents, from files or standard input.

use std::path::PathBuf;

use super::common::KeyringArgs;
use super::exit::{Exit, Failure};
use super::out::Out;

/// See `sidecloak seal --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files, `-` or none for standard input
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write here instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The partition whose keys seal
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub partition: String,
    /// The logical field, part of the key [default: the last name in the selector]
    #[arg(long, value_name = "NAME")]
    pub class: Option<String>,
    /// Select these values of a document; without, the input is one value
    #[arg(long, value_name = "JSONPATH", conflicts_with = "rules")]
    pub fields: Vec<String>,
    /// Do what these rules do to a request with --method and --path
    #[arg(long, value_name = "PATH", requires = "path")]
    pub rules: Option<PathBuf>,
    /// The method for --rules
    #[arg(long, value_name = "METHOD", default_value = "POST")]
    pub method: String,
    /// The path for --rules
    #[arg(long, value_name = "PATH", requires = "rules")]
    pub path: Option<String>,
    /// Every line is a document
    #[arg(long)]
    pub ndjson: bool,
    /// Equal values give equal tokens
    #[arg(long, conflicts_with = "sign")]
    pub deterministic: bool,
    /// Sign what is sealed
    #[arg(long)]
    pub sign: bool,
    /// Pad values to multiples of this many bytes
    #[arg(long, value_name = "N")]
    pub pad: Option<usize>,
    #[command(flatten)]
    pub keyring: KeyringArgs,
}

pub(crate) fn run(_args: &Args, _out: &mut Out) -> Result<(), Failure> {
    Err(Failure::new(Exit::Internal, "`seal` is not wired"))
}
