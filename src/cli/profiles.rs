//! `sidecloak profiles`: the managed APIs that rules may name as `key`.

use super::common::{KeyringArgs, configured};
use super::exit::{Exit, Failure};
use super::out::Out;
use crate::config::{Config, Purpose};
use crate::sealer::managed::settings::{Granularity, ProfileSettings, Provider};

mod check;
mod init;
mod list;
mod recipient;
mod trial;

/// See `sidecloak profiles --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub action: Action,
    #[command(flatten)]
    pub keyring: KeyringArgs,
}

/// What is done with profiles.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Action {
    /// Try a profile's API, then make its partition, with the API as a recipient where it keeps keys
    Init {
        /// The profile
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// List the profiles, and whether their partitions are set up; calls nobody
    List,
    /// Make one real round trip with each API
    Check {
        /// Only this profile
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    let config = args.keyring.load(&args.keyring.overrides(), Purpose::Keys, out)?;
    match &args.action {
        Action::Init { name } => init::init(named(&config, name)?, configured(&config)?, out),
        Action::List => list::list(&config, out),
        Action::Check { name: Some(name) } => check::check(std::slice::from_ref(named(&config, name)?), out),
        Action::Check { name: None } => check::check(&config.profiles, out),
    }
}

fn named<'c>(config: &'c Config, name: &str) -> Result<&'c ProfileSettings, Failure> {
    config.profiles.iter().find(|profile| &*profile.name == name).ok_or_else(|| {
        let failure = Failure::new(Exit::Usage, format!("there is no profile `{}`", name.escape_debug()));
        failure.help("`sidecloak profiles list` shows those of the configuration; --config names another one")
    })
}

/// As `provider` has it.
fn provider(profile: &ProfileSettings) -> &'static str {
    match profile.provider {
        Provider::Crittora(_) => "crittora",
        Provider::NcloudKms(_) => "ncloud-kms",
        Provider::ExeQuantum(_) => "exequantum",
        Provider::Crypteron(_) => "crypteron",
    }
}

/// As `granularity` has it.
fn granularity(profile: &ProfileSettings) -> &'static str {
    match profile.granularity {
        Granularity::Envelope => "envelope",
        Granularity::Field => "field",
        Granularity::Message => "message",
    }
}
