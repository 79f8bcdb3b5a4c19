//! `sidecloak keys`: the keyring, its partitions and keys.

use std::path::PathBuf;
use std::sync::Arc;

use clap::builder::PossibleValuesParser;

use super::common::{KeyringArgs, configured, operator, reaching};
use super::exit::{Exit, Failure};
use super::out::Out;
use crate::audit::{Act, Audit};
use crate::clock::SystemClock;
use crate::config::Purpose;
use crate::crypto::hex::encode as hex;
use crate::crypto::kem::KemSuite;
use crate::keyring::store::StorePlace;
use crate::keyring::{Keyring, KeyringError, Options, State};
use crate::name::PartitionName;

mod change;
mod lifecycle;
pub(super) use list::columns;

mod list;
mod make;
mod recovery;

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
        /// How data keys are encapsulated [default: ml-kem-768]
        #[arg(long, value_parser = PossibleValuesParser::new(["ml-kem-768", "ml-kem-1024", "x-wing"]))]
        kem: Option<String>,
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
    /// Take over what a lost keyring sealed, with its recovery key
    Recover {
        /// The lost keyring, or a copy of it; it is only read
        #[arg(value_name = "KEYRING")]
        from: String,
        /// File with the recovery key; `-`: standard input
        #[arg(long, value_name = "FILE", default_value = "-")]
        key_file: PathBuf,
        /// Owner that the lost keyring must have; without, whoever could write to it is believed
        #[arg(long, value_name = "HEX")]
        from_owner: Option<String>,
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
    /// Destroy a partition's keys, for good, after a time in which it can be called off: what they sealed is lost
    Destroy(lifecycle::DestroyArgs),
    /// Call a destruction off
    Cancel {
        /// The partition, or `epoch:ID`
        #[arg(value_name = "WHAT")]
        what: String,
    },
    /// Roll over every so many days
    Schedule(lifecycle::ScheduleArgs),
    /// Bring epochs to the recipients that their partitions list now, in the background
    Rewrap {
        /// Only this partition
        #[arg(value_name = "PARTITION", conflicts_with = "master")]
        partition: Option<String>,
        /// Instead, seal the authority's directory under the first master key, once every process has it and the old one
        #[arg(long)]
        master: bool,
    },
    /// Take a recipient away from a partition
    RemoveRecipient {
        /// The partition
        #[arg(value_name = "PARTITION")]
        partition: String,
        /// The recipient's id, as `keys list PARTITION` shows it
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Take an issuer away from a partition; the owner vouches for what it made
    RemoveIssuer {
        /// The partition
        #[arg(value_name = "PARTITION")]
        partition: String,
        /// The issuer's id, as `keys list PARTITION --json` shows it
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Show what is scheduled, pending and under way
    Due {
        /// First do what is due now, as a running process does by itself
        #[arg(long)]
        run: bool,
    },
    /// Set what a role may do
    Role {
        /// The partition
        #[arg(value_name = "PARTITION")]
        partition: String,
        /// The role; `default` is everybody's
        #[arg(value_name = "ROLE")]
        role: String,
        /// What it may do; `none` takes the role away
        #[arg(long, value_name = "LIST", value_delimiter = ',', required = true, value_parser = PossibleValuesParser::new(["decrypt", "encrypt", "mask", "none"]))]
        allow: Vec<String>,
    },
    /// Wrap every private key under a new master key
    RotateMaster {
        /// File with the new master key; made if it is missing
        #[arg(long, value_name = "FILE")]
        new_key_file: PathBuf,
        /// Seal the authority's directory under it, too, at once: every authority must hold both keys already
        #[arg(long)]
        reseal: bool,
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
    /// Make a recipient for a process that shall open one partition without the master key
    Recipient {
        /// The partition it opens
        #[arg(value_name = "PARTITION")]
        partition: String,
        /// How data keys are encapsulated to it
        #[arg(long, default_value = "ml-kem-768", value_parser = PossibleValuesParser::new(["ml-kem-768", "ml-kem-1024", "x-wing"]))]
        kem: String,
        /// Where its key is written
        #[arg(long, short, value_name = "FILE", required_unless_present = "own", conflicts_with = "own")]
        output: Option<PathBuf>,
        /// Instead of a new one, the keyring's own: so that the master key opens what only a managed API opened
        #[arg(long, conflicts_with = "kem")]
        own: bool,
    },
    /// Move the keyring from its SQLite file to PostgreSQL, with directory and audit log; the file stays
    Migrate {
        /// An empty database: postgres://USER@HOST:PORT/DATABASE
        #[arg(long, value_name = "URL")]
        to: String,
    },
    /// Make an issuer for a process that seals and cannot open
    EncryptOnly {
        /// The partition it seals for
        #[arg(value_name = "PARTITION")]
        partition: String,
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

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    let config = args.keyring.load(&args.keyring.overrides(), Purpose::Keys, out)?;
    let options = &match args.action {
        // Nothing is opened or wrapped, and the APIs need not be set up yet.
        Action::Init { .. } | Action::Import { .. } | Action::Migrate { .. } => configured(&config)?.clone(),
        _ => reaching(&config, out)?,
    };
    match &args.action {
        Action::Init { kem, partitions } => make::init(options, kem.as_deref(), partitions, out),
        Action::List { partition } => list::list(options, partition.as_deref(), out),
        Action::Recovery { kem, output } => recovery::make(options, suite(kem)?, output, out),
        Action::Recover { from, key_file, from_owner } => {
            recovery::recover(options, from, key_file, from_owner.as_deref(), out)
        }
        Action::Rollover { partition, kind } => change::rollover(options, partition, kind, out),
        Action::Pause(p) => change::state(options, &p.partition, State::Paused, out),
        Action::Resume(p) => change::state(options, &p.partition, State::Active, out),
        Action::DecryptOnly(p) => change::state(options, &p.partition, State::DecryptOnly, out),
        Action::Destroy(destroy) => lifecycle::destroy(options, destroy, out),
        Action::Cancel { what } => lifecycle::cancel(options, what, out),
        Action::Schedule(schedule) => lifecycle::schedule(options, schedule, out),
        Action::Rewrap { partition, master } => lifecycle::rewrap(options, partition.as_deref(), *master, out),
        Action::RemoveRecipient { partition, id } => lifecycle::remove(options, partition, (id, false), out),
        Action::RemoveIssuer { partition, id } => lifecycle::remove(options, partition, (id, true), out),
        Action::Due { run } => lifecycle::due(options, *run, out),
        Action::Role { partition, role, allow } => change::role(options, partition, role, allow, out),
        Action::RotateMaster { new_key_file, reseal } => make::rotate_master(options, new_key_file, *reseal, out),
        Action::Export { file } => make::export(options, file, out),
        Action::Import { file } => make::import(options, file, out),
        Action::Recipient { partition, kem, output: Some(output), .. } => {
            recovery::recipient(options, partition, suite(kem)?, output, out)
        }
        Action::Recipient { partition, output: None, .. } => recovery::own_recipient(options, partition, out),
        Action::Migrate { to } => make::migrate(options, to, out),
        Action::EncryptOnly { partition, output } => recovery::encrypt_only(options, partition, output, out),
    }
}

fn open(options: &Options) -> Result<Arc<Keyring>, Failure> {
    Ok(Arc::new(Keyring::open(options, SystemClock::shared())?))
}

/// Opens the keyring and changes something in it; the audit log says so before and after.
fn change<T>(
    options: &Options,
    (what, on): (&'static str, &str),
    work: impl FnOnce(&Keyring) -> Result<T, KeyringError>,
) -> Result<T, Failure> {
    acting(&open(options)?, (what, on), work)
}

/// The same on a keyring that is open.
pub(super) fn acting<T>(
    keyring: &Arc<Keyring>,
    (what, on): (&'static str, &str),
    work: impl FnOnce(&Keyring) -> Result<T, KeyringError>,
) -> Result<T, Failure> {
    let audit = Audit::for_acts(Arc::clone(keyring), SystemClock::shared())?;
    audit.around(&Act { who: &operator(), what, on }, || work(keyring)).map_err(refused)
}

/// A keyring that is named on the command line beside the configured one.
fn place(text: &str) -> Result<StorePlace, Failure> {
    match StorePlace::parse(text) {
        Some(Err(bad)) => Err(Failure::new(Exit::Usage, bad.message).help(bad.help)),
        Some(Ok(place)) => Ok(place),
        None => Ok(StorePlace::Sqlite(text.into())),
    }
}

fn suite(name: &str) -> Result<KemSuite, Failure> {
    KemSuite::from_name(name).ok_or_else(|| Failure::new(Exit::Usage, format!("there is no KEM {name}")))
}

/// A partition that the operator names.
fn named(text: &str) -> Result<PartitionName, Failure> {
    PartitionName::new(text).map_err(|e| Failure::new(Exit::Usage, e.to_string()))
}

/// What the keyring does not know is the operator's mistake here, not bad data.
fn refused(error: KeyringError) -> Failure {
    let unknown = matches!(error, KeyringError::Unknown(_));
    let mut failure = Failure::from(error);
    if unknown {
        failure.code = Exit::Usage;
        failure.help = Some("`sidecloak keys list` shows the partitions there are".into());
    }
    failure
}

/// What to know or do beside what was asked for; a machine asked for the result alone.
pub(super) fn advise(out: &mut Out, text: &str) {
    if !out.json() {
        out.note(text);
    }
}
