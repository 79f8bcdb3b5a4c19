//! `sidecloak schema`: the JSON Schema of the operator's files.

use super::exit::Failure;
use super::out::Out;
use crate::{config, rules};

/// See `sidecloak schema --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Of which files
    #[arg(value_name = "WHICH", default_value = "rules")]
    pub which: Which,
}

/// Which files.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Which {
    /// The rules
    Rules,
    /// `sidecloak.yaml`
    Config,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    out.text(&match args.which {
        Which::Rules => rules::schema::schema(),
        Which::Config => config::schema::schema(),
    })
}
