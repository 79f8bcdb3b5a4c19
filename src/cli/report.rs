//! `sidecloak report`: what the processes of a fleet counted, and whether the next step of a roll-out is safe.

mod ask;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::common::KeyringArgs;
use super::exit::{Exit, Failure};
use super::health;
use super::out::Out;
use crate::bounded;
use crate::config::{self, Overrides, Purpose};
use crate::keyring::KeySource;
use crate::proxy::settings::Address;
use crate::rollout::fleet::Replica;
use crate::rollout::judge::{Question, Toward, judge};
use crate::rollout::reason::Code;
use crate::rollout::snapshot::{Snapshot, VERSION};

/// Of one saved answer, or one that came over the network.
const MAX_SNAPSHOT: u64 = 16 << 20;

/// See `sidecloak report --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Configuration file, whose admin interface or probe is asked if nothing else is named [default: ./sidecloak.yaml]
    #[arg(long, value_name = "FILE", env = "SIDECLOAK_CONFIG")]
    pub config: Option<PathBuf>,
    /// A process's admin interface: unix:/PATH or HOST:PORT; repeat it for each replica
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Vec<String>,
    /// File with the token that admin interfaces over TCP ask for
    #[arg(long, value_name = "FILE", env = "SIDECLOAK_ADMIN_TOKEN_FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// A process's probe: HOST:PORT or unix:/PATH; a name stands for all addresses that it resolves to
    #[arg(long, value_name = "ADDRESS")]
    pub probe: Vec<String>,
    /// An answer of `GET /rollout` that was saved
    #[arg(long, value_name = "FILE")]
    pub from: Vec<PathBuf>,
    /// Which way the roll-out goes
    #[arg(long, value_name = "WAY", value_enum, default_value_t = Way::Enforce)]
    pub toward: Way,
    /// Judge this rule only; may be repeated
    #[arg(long, value_name = "NAME")]
    pub rule: Vec<String>,
    /// Fewer requests of a rule prove nothing
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub min_requests: u64,
    /// How long what must not happen has not happened
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub window: Duration,
    /// How many replicas there are: fewer that answer are not enough
    #[arg(long, value_name = "N")]
    pub replicas: Option<usize>,
    /// A reason that has been looked at and stops nothing, such as type-change; may be repeated
    #[arg(long, value_name = "CODE", value_parser = code)]
    pub accept: Vec<Code>,
    /// Wait at most this many seconds for each replica
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub timeout: u64,
}

/// See [`Toward`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Way {
    Enforce,
    Observe,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    let question = Question {
        toward: match args.toward {
            Way::Enforce => Toward::Enforce,
            Way::Observe => Toward::Observe,
        },
        min_requests: args.min_requests,
        window: args.window.as_secs(),
        replicas: args.replicas,
        rules: args.rule.clone(),
        accept: args.accept.clone(),
    };
    let report = judge(replicas(args, out)?, &question);
    if out.json() {
        let value = serde_json::to_value(&report).map_err(|e| Failure::internal(e.to_string()))?;
        out.value(&value)?;
    } else {
        table::show(&report, out)?;
    }
    if report.safe { Ok(()) } else { Err(Failure::silent(Exit::No)) }
}

/// What all of them tell. That one does not is part of the answer; a file that cannot be read is a mistake.
fn replicas(args: &Args, out: &mut Out) -> Result<Vec<Replica>, Failure> {
    let mut all = Vec::new();
    for path in &args.from {
        all.push(saved(path)?);
    }
    let token = args.admin_token_file.clone().map(KeySource::File);
    let mut whom: Vec<ask::Target> = Vec::new();
    for text in &args.admin {
        whom.push(ask::Target::new(text, token.as_ref())?);
    }
    for text in &args.probe {
        whom.push(ask::Target::new(text, None)?);
    }
    if whom.is_empty() && all.is_empty() {
        whom.push(configured(args, out)?);
    }
    all.extend(ask::all(whom, Duration::from_secs(args.timeout))?);
    Ok(all)
}

fn saved(path: &Path) -> Result<Replica, Failure> {
    let address = path.display().to_string();
    let bytes = bounded::read_file(path, MAX_SNAPSHOT).map_err(|e| Failure::io(&address, &e))?;
    let snapshot = read(&bytes).map_err(|why| {
        Failure::new(Exit::Data, format!("{address}: {why}"))
            .help("save what `GET /rollout` of the admin interface answers")
    })?;
    Ok(Replica { address, told: Ok(snapshot) })
}

/// An answer of `GET /rollout`.
fn read(bytes: &[u8]) -> Result<Snapshot, String> {
    let snapshot: Snapshot =
        serde_json::from_slice(bytes).map_err(|e| format!("this is no answer of /rollout: {e}"))?;
    match snapshot.version {
        VERSION => Ok(snapshot),
        version => Err(format!("its counts are of version {version}, and this program reads version {VERSION}")),
    }
}

/// The process of the configuration: its admin interface, or else its probe.
fn configured(args: &Args, out: &mut Out) -> Result<ask::Target, Failure> {
    let flags = Overrides { admin_token_file: args.admin_token_file.clone(), ..Overrides::default() };
    let source = KeyringArgs { config: args.config.clone(), ..KeyringArgs::default() };
    let config = source.load(&flags, Purpose::Keys, out)?;
    let admin = config.admin.map(|admin| (admin.address, admin.token));
    match admin.or_else(|| config.probe.map(|probe| (probe, None))) {
        Some((address, token)) => {
            let token = token.as_ref().map(health::token).transpose()?;
            Ok(ask::Target { name: address.to_string(), address, token })
        }
        None => Err(Failure::new(Exit::Usage, "there is neither an admin interface nor a probe to ask")
            .help("give --admin ADDRESS or --probe ADDRESS for each replica, or --from FILE")),
    }
}

/// `unix:/PATH` or `HOST:PORT`.
fn address(text: &str) -> Result<Address, Failure> {
    if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
        return Ok(Address::Unix(path.into()));
    }
    let host = || {
        let (host, port) = text.rsplit_once(':')?;
        let plain = !host.is_empty() && !host.contains(['/', '@', '[', ']', ':']);
        Some(Address::Host(host.to_owned(), port.parse().ok()?)).filter(|_| plain)
    };
    text.parse().map(Address::Tcp).ok().or_else(host).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("`{text}` is no address to ask"))
            .help("write HOST:PORT, such as 10.0.0.7:9902, or unix:/PATH")
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    config::duration(text).ok_or_else(|| "write it as 30s, 10m, 24h or 7d".to_owned())
}

fn code(text: &str) -> Result<Code, String> {
    Code::named(text).ok_or_else(|| {
        let words: Vec<&str> = Code::ALL.into_iter().map(Code::word).collect();
        format!("one of {}", words.join(", "))
    })
}

#[cfg(test)]
mod tests;
