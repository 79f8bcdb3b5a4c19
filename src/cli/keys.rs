//! `sidecloak keys`: the keyring, its partitions and keys.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;

use super::common::KeyringArgs;
use super::exit::{Exit, Failure};
use super::out::Out;

/// See `sidecloak keys --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub action: Action,
    #[command(flatten)]
    pub keyring: KeyringArgs,
}

/// What is done to the keyring.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Action {
    /// Make a keyring and its master key (0600)
    Init {
        /// How data keys are encapsulated
        #[arg(long, default_value = "ml-kem-768", value_parser = PossibleValuesParser::new(["ml-kem-768", "ml-kem-1024", "x-wing"]))]
        kem: String,
        /// Make this partition, too; may be repeated, also for a keyring that is already there
        #[arg(long = "partition", value_name = "NAME")]
        partitions: Vec<String>,
    },
    /// List the owner, partitions, epochs and roles
    List {
        /// Only this partition
        #[arg(value_name = "PARTITION")]
        partition: Option<String>,
    },
    /// Make an offline recipient for every epoch; its private key is printed once, for the safe
    Recovery {
        /// How data keys are encapsulated to it
        #[arg(long, default_value = "ml-kem-1024", value_parser = PossibleValuesParser::new(["ml-kem-768", "ml-kem-1024", "x-wing"]))]
        kem: String,
        /// Where its public key is written
        #[arg(long, short, value_name = "FILE", default_value = "recovery.pub")]
        output: PathBuf,
    },
    /// Begin a new epoch; what older ones sealed stays readable
    Rollover {
        /// The partition
        #[arg(value_name = "PARTITION")]
        partition: String,
        /// Which epochs: rolling deterministic ones ends equality with older tokens
        #[arg(long, value_name = "KIND", default_value = "random", value_parser = PossibleValuesParser::new(["random", "deterministic", "all"]))]
        kind: String,
    },
    /// Neither seal nor open, until resumed
    Pause(Partition),
    /// Seal and open again
    Resume(Partition),
    /// Open, but do not seal
    DecryptOnly(Partition),
    /// Destroy the partition's keys, for good: what they sealed is lost
    Destroy {
        /// The partition
        #[arg(value_name = "PARTITION")]
        partition: String,
        /// The partition's name once more
        #[arg(long, value_name = "PARTITION")]
        confirm: Option<String>,
    },
    /// Set what a role may do
    Role {
        /// The partition
        #[arg(value_name = "PARTITION")]
        partition: String,
        /// The role; `default` is everybody's
        #[arg(value_name = "ROLE")]
        role: String,
        /// What it may do; empty: nothing
        #[arg(long, value_name = "LIST", value_delimiter = ',', required = true, value_parser = PossibleValuesParser::new(["decrypt", "encrypt", "mask", "none"]))]
        allow: Vec<String>,
    },
    /// Wrap every private key under a new master key
    RotateMaster {
        /// File with the new master key; made if it is missing
        #[arg(long, value_name = "FILE")]
        new_key_file: PathBuf,
    },
    /// Write the keyring, sealed under the master key, into one file
    Export {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Read an export into a new keyring
    Import {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Make an issuer for a process that seals and cannot open
    EncryptOnly {
        /// The partitions it seals for
        #[arg(value_name = "PARTITION", required = true)]
        partitions: Vec<String>,
        /// Where its key is written
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
}

/// One partition.
#[derive(Debug, clap::Args)]
pub(crate) struct Partition {
    /// The partition
    #[arg(value_name = "PARTITION")]
    pub partition: String,
}

pub(crate) fn run(_args: &Args, _out: &mut Out) -> Result<(), Failure> {
    Err(Failure::new(Exit::Internal, "`keys` is not wired"))
}
