//! The only wiring: from a checked configuration to a running process, and back down in order.

pub mod authority;
mod due;
pub mod injector;
pub mod keys;
pub mod profiles;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::admin::{self, AdminError, Operations, Ports, RulesStatus};
use crate::audit::{Audit, Recorder, Reports};
use crate::authority::listen::ListenError;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::jwt::refresh::Refresher;
use crate::keyring::{Keyring, KeyringError};
use crate::metrics::Metrics;
use crate::proxy::server::{Server, StartError, Stopper};
use crate::proxy::settings::Address;
use crate::proxy::shared::Shared;
use crate::reload::watch::{self, Watcher};
use crate::report::{Finding, Findings};
use crate::rollout;
use crate::rules::RuleSet;
use crate::rules::compile::{Context, Loaded, Senders, load};
use crate::sealer::joined::Joined;
use crate::sealer::local::Local;
use crate::sealer::managed::set::{ProfileError, Profiles};
use profiles::Configured;

/// How often the keyring looks for what others wrote and for what is due.
const TICK: Duration = Duration::from_millis(250);

/// A running process.
pub struct App {
    server: Server,
    shared: Arc<Shared>,
    keyring: Option<Arc<Keyring>>,
    profiles: Option<Arc<Profiles>>,
    audit: Option<Arc<Audit>>,
    reports: Option<Arc<Reports>>,
    due: Option<due::Due>,
    ticker: Option<Ticker>,
    _watcher: Option<Watcher>,
    _key_sets: Option<Refresher>,
    ports: Ports,
}

/// Why a process does not start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The rules are refused.
    #[error("the rules are refused")]
    Rules(Findings),
    /// See there.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// See there.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A listener of the authority.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The probe or admin interface.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// See there.
    #[error(transparent)]
    Profiles(#[from] ProfileError),
    /// A thread, a watch.
    #[error("cannot start: {0}")]
    Io(#[from] std::io::Error),
}

impl App {
    /// Loads rules and keys, then opens the doors. What is wrong with the rules is all in the error; warnings go to the log.
    pub fn start(config: &Config, clock: SharedClock) -> Result<Self, AppError> {
        let metrics = Metrics::default();
        let context = context(config);
        let loaded = config.rules.as_deref().map(|path| load(path, &context));
        let running = loaded.as_ref().map(|l| l.digest).unwrap_or_default();
        let rules = match loaded {
            Some(Loaded { rules: Some(rules), findings, .. }) => {
                warn(&findings.0);
                rules
            }
            Some(Loaded { findings, .. }) => return Err(AppError::Rules(findings)),
            None => RuleSet::default(),
        };
        let (profiles, unusable, keyring) = match &config.keyring {
            Some(options) => {
                let (profiles, unusable) = profiles::open_usable(config, &clock, &metrics)?;
                let options = profiles::reaching(options, profiles.as_ref());
                (profiles, unusable, Some(Arc::new(keys::open(&options, config.dev, &clock)?)))
            }
            None => (None, Vec::new(), None),
        };
        let configured = Configured::new(config, unusable);
        let found = fits(&rules, &configured, keyring.as_deref(), config.dev).map_err(AppError::Rules)?;
        warn(&found.0);

        metrics.reloaded(Some(rules.rules.len()), clock.now());
        rollout::begin(&rules, None, clock.now());
        let audit = match &keyring {
            Some(keyring) if keyring.records().is_ok() => {
                Some(Arc::new(Audit::open(Arc::clone(keyring), Arc::clone(&clock))?))
            }
            _ => None,
        };
        // A store without a log is an authority's API, and the log is there.
        let reports = match &keyring {
            Some(keyring) if keyring.is_remote() => Some(Arc::new(Reports::start(Arc::clone(keyring))?)),
            _ => None,
        };
        let recorder = audit.clone().map(|audit| audit as Arc<dyn Recorder>);
        let recorder = recorder.or_else(|| reports.clone().map(|reports| reports as _));
        let sealer = sealer(keyring.as_ref(), profiles.clone(), audit.as_ref(), recorder, &clock)?;
        let shared = Shared::new(config.proxy.clone(), rules, sealer, metrics, clock).map_err(KeyringError::from)?;
        let shared = Arc::new(shared);
        let counted = Arc::downgrade(&shared);
        shared.metrics.watch_series(move || {
            counted.upgrade().map_or_else(Vec::new, |shared| rollout::series::series(&shared.rules.load()))
        });
        shared.callers.read_keys().map_err(|error| KeyringError::NoKey(error.to_string()))?;
        let key_sets = Refresher::start(shared.callers.key_sets())?;
        shared.health.rules_loaded();
        if let Some(keyring) = &keyring {
            keys::watch_stats(keyring, (audit.as_ref(), reports.as_ref()), &shared.metrics);
        }
        shared.health.keyring_works(keyring.as_deref().is_none_or(keys::canary));

        let server = Server::start(Arc::clone(&shared))?;
        let reload = Arc::new(Reload {
            status: Mutex::new(RulesStatus { digest: Some(running), loaded: shared.clock.now(), last_error: None }),
            path: config.rules.clone(),
            shared: Arc::clone(&shared),
            keyring: keyring.clone(),
            configured,
            context,
            dev: config.dev,
            waiting: Mutex::default(),
        });
        let operations: Arc<dyn Operations> = Arc::clone(&reload) as _;
        let ports = Ports::open(&ports(config)?, Arc::clone(&shared), operations)?;
        let watcher = match &config.rules {
            Some(path) => {
                let context = reload.context.clone();
                let taker = Arc::clone(&reload);
                let take = Box::new(move |loaded| drop(taker.take(loaded)));
                Some(watch::start(path, context, running, take)?)
            }
            None => None,
        };
        let ticker = match &keyring {
            Some(keyring) => {
                let (ticked, shared, reload) = (Arc::clone(keyring), Arc::clone(&shared), Arc::clone(&reload));
                let tick = move |round: u32| {
                    ticked.tick();
                    if round.is_multiple_of(4) {
                        reload.retry();
                    }
                    if round.is_multiple_of(20) {
                        shared.health.keyring_works(keys::canary(&ticked));
                    }
                };
                Some(Ticker::start("keyring", tick, waiting(keyring))?)
            }
            None => None,
        };
        let due = match (&keyring, &audit) {
            (Some(keyring), Some(audit)) => due::Due::start(keyring, audit, Arc::clone(&shared.clock))?,
            _ => None,
        };
        Ok(Self {
            server,
            shared,
            keyring,
            profiles,
            audit,
            reports,
            due,
            ticker,
            _watcher: watcher,
            _key_sets: key_sets,
            ports,
        })
    }

    /// Where the listeners are, by name, with the real ports.
    pub fn addresses(&self) -> &[(String, Address)] {
        self.server.addresses()
    }

    /// What all workers share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The keyring, if rules or configuration name one.
    pub fn keyring(&self) -> Option<&Arc<Keyring>> {
        self.keyring.as_ref()
    }

    /// Where the probe and the admin interface are.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// For a signal handler: the first signal drains, the second ends.
    pub fn stopper(&self) -> Stopper {
        self.server.stopper()
    }

    /// Drains now and waits for the end.
    pub fn stop(self) {
        self.server.drain();
        self.wait();
    }

    /// Waits for the end of a drain, then closes what lies below: keyring, probe last.
    pub fn wait(self) {
        self.server.join();
        drop(self.ticker);
        drop(self.due);
        if let Some(audit) = &self.audit {
            audit.stop();
        }
        if let Some(reports) = &self.reports {
            reports.stop();
        }
        drop(self.keyring);
        // The keyring's calls end first.
        drop(self.profiles);
        drop(self.ports);
    }
}

/// Whether keyring and profiles have what the rules name; what else is to be said of them.
fn fits(rules: &RuleSet, configured: &Configured, keyring: Option<&Keyring>, dev: bool) -> Result<Findings, Findings> {
    let mut findings = configured.check(Some(rules), keyring, dev);
    if let Err(more) = keys::check_partitions(rules, configured, keyring, dev) {
        findings.0.extend(more.0);
    }
    if findings.has_errors() { Err(findings) } else { Ok(findings) }
}

/// What the rules are checked against.
pub fn context(config: &Config) -> Context {
    let listeners = &config.proxy.listeners;
    Context {
        listeners: listeners.iter().map(|l| l.name.clone()).collect(),
        trusted_headers: listeners.iter().flat_map(|l| &l.trusted_headers).map(|h| h.as_str().to_owned()).collect(),
        profiles: profiles::facts(config),
        ignore_case: listeners.iter().any(|l| l.ignore_case),
        senders: (!listeners.is_empty()).then(|| Senders {
            tls: listeners.iter().any(|l| l.tls.is_some()),
            certificates: listeners.iter().any(|l| l.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some())),
            tokens: config.proxy.callers.iter().any(|caller| caller.jwt.is_some()),
        }),
    }
}

/// Puts freshly loaded rules in force, all or nothing.
struct Reload {
    path: Option<PathBuf>,
    shared: Arc<Shared>,
    keyring: Option<Arc<Keyring>>,
    configured: Configured,
    context: Context,
    dev: bool,
    status: Mutex<RulesStatus>,
    /// The last rules, if only the keyring refused them. Locked by whoever loads or puts rules in force, so that an older load
    /// never comes after a newer one.
    waiting: Mutex<Option<(RuleSet, [u8; 32])>>,
}

impl Reload {
    fn take(&self, loaded: Loaded) -> Result<(), Findings> {
        self.put(loaded, &mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, loaded: Loaded, waiting: &mut Option<(RuleSet, [u8; 32])>) -> Result<(), Findings> {
        let Loaded { rules, mut findings, digest, .. } = loaded;
        *waiting = None;
        if let Some(rules) = rules {
            match self.fits(&rules) {
                // What may be wrong with profiles that no rule uses was told at the start.
                Ok(_) => {
                    warn(&findings.0);
                    self.in_force(rules, digest);
                    return Ok(());
                }
                Err(more) => {
                    findings.0.extend(more.0);
                    *waiting = Some((rules, digest));
                }
            }
        }
        self.shared.metrics.reloaded(None, self.shared.clock.now());
        let text = findings.to_string();
        tracing::error!("the rules are refused, the running ones stay:\n{text}");
        self.status().last_error = Some(text);
        Err(findings)
    }

    /// Tries once more what only the keyring refused: its partition may have been made since, or it may be back, and nobody
    /// would write the same file again for that.
    fn retry(&self) {
        let Ok(mut waiting) = self.waiting.try_lock() else { return };
        if let Some((rules, digest)) = waiting.take_if(|(rules, _)| self.fits(rules).is_ok()) {
            self.in_force(rules, digest);
        }
    }

    fn fits(&self, rules: &RuleSet) -> Result<Findings, Findings> {
        fits(rules, &self.configured, self.keyring.as_deref(), self.dev)
    }

    fn in_force(&self, rules: RuleSet, digest: [u8; 32]) {
        let (count, now) = (rules.rules.len(), self.shared.clock.now());
        rollout::begin(&rules, Some(&self.shared.rules.load()), now);
        self.shared.rules.store(Arc::new(rules));
        self.shared.metrics.reloaded(Some(count), now);
        *self.status() = RulesStatus { digest: Some(digest), loaded: now, last_error: None };
        tracing::info!(rules = count, "rules reloaded");
    }

    fn status(&self) -> MutexGuard<'_, RulesStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Operations for Reload {
    fn reload(&self) -> Result<(), Findings> {
        match &self.path {
            Some(path) => {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                self.put(load(path, &self.context), &mut waiting)
            }
            None => Err(Findings(vec![
                Finding::error("no-rules", "there are no rules to reload").help("start the process with --rules"),
            ])),
        }
    }

    fn rules_status(&self) -> RulesStatus {
        self.status().clone()
    }
}

/// Puts warnings into the log, each with its place and its way out.
pub(crate) fn warn(warnings: &[Finding]) {
    for warning in warnings {
        tracing::warn!(
            code = warning.code,
            file = warning.place.as_ref().map(|(source, _)| &*source.name),
            line = warning.line_column().map(|(line, _)| line),
            help = warning.help.as_deref(),
            "{}",
            warning.message
        );
    }
}

fn sealer(
    keyring: Option<&Arc<Keyring>>,
    profiles: Option<Arc<Profiles>>,
    audit: Option<&Arc<Audit>>,
    recorder: Option<Arc<dyn Recorder>>,
    clock: &SharedClock,
) -> Result<Option<Arc<dyn crate::transform::Sealer>>, ProfileError> {
    let Some(keyring) = keyring else { return Ok(None) };
    let local = Local::new(Arc::clone(keyring)).recording(recorder);
    Ok(Some(match profiles {
        Some(profiles) => Arc::new(Joined::open(local, profiles, keyring, audit.cloned(), clock)?),
        None => Arc::new(local),
    }))
}

fn ports(config: &Config) -> Result<admin::Settings, AppError> {
    let token = config.admin.as_ref().and_then(|admin| admin.token.as_ref());
    let token = match token.map(keys::read_secret).transpose()? {
        Some(secret) => Some(
            String::from_utf8(secret.expose().to_vec())
                .map_err(|_| KeyringError::NoKey("the admin token is not text".into()))?,
        ),
        None => None,
    };
    Ok(admin::Settings {
        probe: config.probe.clone(),
        admin: config.admin.as_ref().map(|admin| admin.address.clone()),
        token,
    })
}

/// Calls something again and again, on a thread of its own.
struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Ticker {
    /// `tick` is told how often it was called; `wait` comes between two of them, and may be woken early.
    fn start(
        name: &str,
        tick: impl Fn(u32) + Send + 'static,
        wait: impl Fn() + Send + 'static,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name(name.into()).spawn(move || {
            let mut round = 0u32;
            while !stopped.load(Ordering::Acquire) {
                round = round.wrapping_add(1);
                tick(round);
                wait();
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

/// Until the keyring's store tells of a change, or it is time to look.
fn waiting(keyring: &Arc<Keyring>) -> impl Fn() + Send + 'static {
    let keyring = Arc::clone(keyring);
    move || keyring.wait(TICK)
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}

/// A finding about a key that a rule names.
fn unknown_partition(rule: &str, name: &str, profiles: &Configured) -> Finding {
    let mut help =
        format!("make it with `sidecloak keys init --partition {name}`, or set `provision: true` on the rule");
    // A profile's name spelled wrong must not end as a partition of local keys.
    let text = match profiles.names().as_slice() {
        [] => format!("rule `{rule}`: the keyring has no partition `{name}`"),
        names => {
            help = format!("if a profile was meant, write one of {}; else {help}", names.join(", "));
            format!("rule `{rule}`: the keyring has no partition `{name}`, and there is no profile of that name")
        }
    };
    Finding::error("unknown-partition", text).help(help)
}
