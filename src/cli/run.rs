//! `sidecloak run`: the proxy.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use clap::builder::FalseyValueParser;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;

use super::common::{KeyringArgs, LogArg};
use super::exit::Failure;
use crate::app::{self, App};
use crate::clock::SystemClock;
use crate::config::{LogLevel, Overrides, Purpose};
use crate::telemetry::{self, Format};

/// See `sidecloak run --help`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Where to listen: 127.0.0.1:8080 or unix:/PATH; may be repeated [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', env = "SIDECLOAK_LISTEN")]
    pub listen: Vec<String>,
    /// Where to forward: http://host:port or unix:/PATH; may be repeated
    #[arg(long, value_name = "URL", value_delimiter = ',', env = "SIDECLOAK_UPSTREAM")]
    pub upstream: Vec<String>,
    /// File or directory of rules [default: rules/ if it is there]
    #[arg(long, value_name = "PATH", env = "SIDECLOAK_RULES")]
    pub rules: Option<PathBuf>,
    /// The admin interface: unix:/PATH, or a loopback address with --admin-token-file
    #[arg(long, value_name = "ADDRESS", env = "SIDECLOAK_ADMIN")]
    pub admin: Option<String>,
    /// File with the token that the admin interface asks for
    #[arg(long, value_name = "FILE", env = "SIDECLOAK_ADMIN_TOKEN_FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Where to answer /livez, /readyz and /metrics
    #[arg(long, value_name = "ADDRESS", env = "SIDECLOAK_PROBE")]
    pub probe: Option<String>,
    /// Worker threads [default: the smaller of 2 and the CPUs allowed]
    #[arg(long, value_name = "N", env = "SIDECLOAK_WORKERS")]
    pub workers: Option<usize>,
    /// Log from this level on [default: info]
    #[arg(long, value_name = "LEVEL", env = "SIDECLOAK_LOG")]
    pub log: Option<LogArg>,
    /// Make a missing keyring and master key, and keep them anywhere. Not for production
    #[arg(long, env = "SIDECLOAK_DEV", value_parser = FalseyValueParser::new())]
    pub dev: bool,
    #[command(flatten)]
    pub keyring: KeyringArgs,
}

impl Args {
    /// What these flags lay over the file.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            listen: self.listen.clone(),
            upstream: self.upstream.clone(),
            rules: self.rules.clone(),
            admin: self.admin.clone(),
            admin_token_file: self.admin_token_file.clone(),
            probe: self.probe.clone(),
            workers: self.workers,
            log: self.log.map(Into::into),
            dev: self.dev,
            ..self.keyring.overrides()
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    // Before the first key is read. Where the system forbids it, the process still serves, and says so.
    let hardened = telemetry::harden();
    let (config, warnings) = args.keyring.read(&args.overrides(), Purpose::Proxy)?;
    telemetry::init(level(config.log), Format::of_stderr());
    if let Err(error) = hardened {
        tracing::warn!(%error, "core dumps and ptrace could not be turned off");
    }
    app::warn(&warnings);
    let signals = Signals::listen()?;
    let app = App::start(&config, SystemClock::shared())?;
    for (listener, address) in app.addresses() {
        tracing::info!(%listener, %address, "listening");
    }
    let stopper = app.stopper();
    signals.lead_to(move || stopper.signal());
    app.wait();
    tracing::info!("stopped");
    Ok(())
}

/// Who hears signals, from before the process can be ready: one that came before anybody heard would end it without draining.
pub(super) struct Signals(Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>);

/// A process that takes so long to start is ended by the first signal.
const STARTED: Duration = Duration::from_secs(1);

impl Signals {
    /// From now on SIGTERM and SIGINT are heard.
    pub(super) fn listen() -> Result<Self, Failure> {
        let failed = |e| Failure::io("the runtime of the signals", &e);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let within = runtime.enter();
        let terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        drop(within);
        let signals = Self(Arc::default());
        let drain = Arc::clone(&signals.0);
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || runtime.block_on(hear(terminate, interrupt, &drain)))
            .map_err(|e| Failure::io("the thread of the signals", &e))?;
        Ok(signals)
    }

    /// The process has started: the first signal drains, the second ends at once.
    pub(super) fn lead_to(&self, signalled: impl Fn() + Send + Sync + 'static) {
        drop(self.0.set(Box::new(signalled)));
    }
}

async fn hear(mut terminate: Signal, mut interrupt: Signal, drain: &OnceLock<Box<dyn Fn() + Send + Sync>>) {
    loop {
        let number = tokio::select! {
            _ = terminate.recv() => SignalKind::terminate(),
            _ = interrupt.recv() => SignalKind::interrupt(),
        };
        let asked = Instant::now();
        while drain.get().is_none() && asked.elapsed() < STARTED {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let Some(signalled) = drain.get() else {
            #[expect(clippy::exit, reason = "it serves nobody yet, and may be waiting for what does not come")]
            std::process::exit(128 + number.as_raw_value());
        };
        tracing::info!("a signal: draining; another one ends at once");
        signalled();
    }
}

pub(super) fn level(level: LogLevel) -> LevelFilter {
    level.word().parse().unwrap_or(LevelFilter::INFO)
}
