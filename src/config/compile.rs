//! Flags over the file over the defaults, and the checks that need more than one value.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::address::{self, Problem};
use super::file::{self, At, File};
use super::quantity::Size;
use super::read::Many;
use super::scalar::{OnAmbiguous, PathCase, SizeText, Unmatched};
use super::{Admin, Authority, Config, LogLevel, Machine, Overrides, Purpose, scalar};
use crate::authority::listen;
use crate::keyring::store::StorePlace;
use crate::keyring::{KeySource, Managed, Options};
use crate::proxy::settings::{
    Address, Caller, Drain, Limits, Listener, ProxyProtocol, Settings, UpstreamHost, UpstreamLimits, UpstreamProtocol,
};
use crate::report::{Finding, Findings, Source};
use crate::tls;

mod authority;
mod profiles;

const DEFAULT_BIND: &str = "127.0.0.1:8080";
const DEFAULT_RULES: &str = "rules";
const DEFAULT_STORE: &str = "./sidecloak.db";
const DEFAULT_STALE: Duration = Duration::from_mins(5);
const DEFAULT_MASTER_KEY: &str = "./master.key";
/// Threads beyond any machine's processors are a typing error.
const MAX_WORKERS: usize = 1024;
/// Connections and requests beyond what file descriptors and memory allow are a typing error.
const MAX_COUNT: u64 = 1 << 20;

/// Compiles; what is wrong is in `findings`, and the result is then not to be used.
pub(super) fn compile(
    file: File,
    source: &Source,
    flags: &Overrides,
    purpose: Purpose,
    machine: Machine,
    findings: &mut Findings,
) -> Config {
    let mut checks = Checks { source, findings };
    let listeners = match purpose {
        Purpose::Proxy | Purpose::Keys => checks.listeners(value(file.listeners).unwrap_or_default(), flags, purpose),
        Purpose::Authority => Vec::new(),
    };
    let callers = checks.callers(value(file.callers).unwrap_or_default(), &listeners);
    let probe = checks.probe(file.probe, flags.probe.as_deref());
    let admin = checks.admin(file.admin, flags);
    checks.distinct(&listeners, probe.as_ref(), admin.as_ref());
    let rules = flags.rules.clone().or_else(|| value(file.rules).map(PathBuf::from)).or_else(default_rules);
    let keyring = (rules.is_some() || purpose != Purpose::Proxy || file.keyring.is_some() || flags.keyring.is_some())
        .then(|| checks.keyring(value(file.keyring).unwrap_or_default(), flags));
    let profiles = value(file.profiles).map(|profiles| checks.profiles(profiles.0)).unwrap_or_default();
    let telemetry = value(file.telemetry).unwrap_or_default();
    if rules.is_none() && purpose == Purpose::Proxy {
        let finding = Finding::warning("no-rules", "there are no rules: everything passes as it is, nothing is sealed");
        checks.findings.push(finding.help("name a file or directory with --rules"));
    }
    let few = if purpose == Purpose::Authority { machine.cpus } else { machine.cpus.min(2) };
    let workers = checks.workers(file.workers, flags.workers, few);
    let limits = checks.limits(value(file.limits).unwrap_or_default(), machine);
    let drain = checks.drain(value(file.drain).unwrap_or_default());
    let authority = (file.authority.is_some() || purpose == Purpose::Authority).then(|| {
        let max_stale = keyring.as_ref().map_or(DEFAULT_STALE, |options| options.max_stale);
        let file = value(file.authority).unwrap_or_default();
        let (binds, insecure, callers) = checks.authority(file, &flags.authority, max_stale);
        let listen =
            listen::Settings { binds, insecure, workers, limits, drain, timeouts: listen::Timeouts::default() };
        Authority { listen, callers }
    });
    Config {
        profiles,
        authority,
        proxy: Settings {
            listeners: listeners.into_iter().map(Arc::new).collect(),
            workers,
            upstream_limits: checks.upstream_limits(value(file.upstream_limits).unwrap_or_default()),
            callers,
            limits,
            drain,
        },
        rules,
        keyring,
        dev: flags.dev,
        probe,
        admin,
        log: flags.log.or_else(|| value(telemetry.log)).unwrap_or(LogLevel::Info),
    }
}

pub(super) struct Checks<'a> {
    source: &'a Source,
    findings: &'a mut Findings,
}

impl Checks<'_> {
    fn listeners(&mut self, files: Vec<At<file::Listener>>, flags: &Overrides, purpose: Purpose) -> Vec<Listener> {
        let flagged = !flags.listen.is_empty() || !flags.upstream.is_empty();
        if flagged && files.len() > 1 {
            let message = "--listen and --upstream do not say which of the file's listeners they mean";
            self.flag("ambiguous-flag", message, "leave them out, or keep one listener in the file");
        }
        let none = files.is_empty();
        if none && !flagged && purpose == Purpose::Keys {
            return Vec::new();
        }
        // Without a listener in the file, flags and defaults make one.
        let made = none.then(|| At { value: file::Listener::default(), span: 0..0 });
        let mut names = HashSet::new();
        let listeners = files.into_iter().chain(made).enumerate();
        listeners
            .map(|(i, at)| {
                let listener = self.listener(i, at, flags, purpose, none);
                if !names.insert(listener.0.name.clone()) {
                    let message = format!("two listeners are named `{}`", listener.0.name);
                    self.error("duplicate-name", message, &listener.1, "give each its own `name`");
                }
                listener.0
            })
            .collect()
    }

    fn listener(
        &mut self,
        index: usize,
        at: At<file::Listener>,
        flags: &Overrides,
        purpose: Purpose,
        made: bool,
    ) -> (Listener, Range<usize>) {
        let At { value: file, span } = at;
        let name_span = file.name.as_ref().map_or_else(|| span.clone(), |n| n.span.clone());
        let name = match file.name {
            Some(name) => name.value,
            None => {
                if index == 0 {
                    "front".to_owned()
                } else {
                    format!("front-{}", index + 1)
                }
            }
        };
        let bind = match file.bind {
            _ if !flags.listen.is_empty() => self.flag_addresses("--listen", &flags.listen, address::listen),
            Some(bind) => {
                if bind.value.items.is_empty() && !bind.value.refused {
                    let help = "name an address, or leave `bind` out";
                    self.error("no-bind", format!("listener `{name}` listens nowhere"), &bind.span, help);
                }
                many(Some(bind), |b| b.0)
            }
            None => address::listen(DEFAULT_BIND).into_iter().collect(),
        };
        let refused = file.upstream.as_ref().is_some_and(|u| u.value.refused);
        let mut upstream = many(file.upstream, |u| u.0);
        if !flags.upstream.is_empty() {
            upstream = self.flag_addresses("--upstream", &flags.upstream, address::upstream);
        } else if upstream.is_empty() && !refused && purpose == Purpose::Proxy {
            let help = "give --upstream http://127.0.0.1:9000, or `upstream:` in the file";
            if made {
                self.flag("no-upstream", "there is no upstream", help);
            } else {
                self.error("no-upstream", format!("listener `{name}` has no upstream"), &span, help);
            }
        }
        let trusted_peers: Vec<_> = many(file.trusted_peers, |n| n.0);
        if let Some(headers) = file.trusted_headers.as_ref().filter(|_| trusted_peers.is_empty()) {
            let message = "`trusted_headers` without `trusted_peers`: these headers are dropped from everybody";
            self.warning("nobody-trusted", message, &headers.span, "list the peers that set them in `trusted_peers`");
        }
        let listener = Listener {
            name,
            bind,
            upstream,
            tls: None,
            proxy_protocol: ProxyProtocol::Off,
            upstream_protocol: match value(file.upstream_protocol) {
                Some(scalar::UpstreamProtocol::Http2) => UpstreamProtocol::Http2,
                Some(scalar::UpstreamProtocol::Http1) | None => UpstreamProtocol::Http1,
            },
            upstream_tls: None,
            upstream_host: UpstreamHost::Keep,
            reject_unmatched: value(file.unmatched) == Some(Unmatched::Reject),
            reject_ambiguous: value(file.on_ambiguous) != Some(OnAmbiguous::Pass),
            ignore_case: value(file.case) == Some(PathCase::Ignore),
            trusted_peers,
            trusted_headers: many(file.trusted_headers, |h| h.0),
            open_for: file.open_for.map(|networks| many(Some(networks), |n| n.0)),
        };
        (listener, name_span)
    }

    fn callers(&mut self, files: Vec<At<file::Caller>>, listeners: &[Listener]) -> Vec<Caller> {
        let nobody_trusted = listeners.iter().all(|l| l.trusted_peers.is_empty());
        let mut callers = Vec::with_capacity(files.len());
        for At { value: file, span } in files {
            // What was refused by name is already reported; more about the same entry would only distract.
            if file.client.is_some() || file.jwt.is_some() {
                continue;
            }
            let headers = file.header.map(|h| h.value.0).unwrap_or_default();
            let Some(role) = value(file.role) else {
                self.error("no-role", "a caller without a role".to_owned(), &span, "add `role: NAME`");
                continue;
            };
            if headers.is_empty() {
                let message = "a caller that no header describes would match everybody".to_owned();
                self.error("no-caller", message, &span, "add `header: { NAME: VALUE }`");
                continue;
            }
            if nobody_trusted {
                let message = "no listener has `trusted_peers`: this caller never matches";
                self.warning("nobody-trusted", message, &span, "list the peers that set the header in `trusted_peers`");
            }
            callers.push(Caller { headers: headers.into_iter().map(|(n, v)| (n.value, v)).collect(), role });
        }
        callers
    }

    fn keyring(&mut self, mut file: file::Keyring, flags: &Overrides) -> Options {
        let remote = self.remote(&mut file, flags);
        let owner = match flags.owner.as_deref().map(scalar::owner) {
            Some(Ok(owner)) => Some(owner),
            Some(Err(problem)) => self.flag_problem("--owner", problem),
            None => file.owner.take().map(|o| o.value.0),
        };
        let at = file.store.as_ref().filter(|_| flags.keyring.is_none()).map(|store| store.span.clone());
        let place = match flags.keyring.as_deref() {
            // A plain path is a SQLite file; what looks like a URL is checked as in the file.
            Some(text) if text.starts_with("sqlite:") || text.contains("://") => {
                scalar::store(text).map_or_else(|p| self.flag_problem("--keyring", p), Some)
            }
            Some(path) => Some(StorePlace::Sqlite(path.into())),
            None => file.store.take().map(|s| s.value.0),
        };
        let place = place.map(|place| self.at_authority(place, remote, owner.is_some(), at.as_ref(), flags, &file));
        let is_remote = matches!(place, Some(StorePlace::Authority(_)));
        let written = file.master_key.as_ref().map(|m| (m.span.clone(), m.value.refused));
        let master_keys = match &flags.master_key_file {
            Some(path) => vec![KeySource::File(path.clone())],
            None => match file.master_key {
                Some(sources) => many(Some(sources), |s| s.0),
                // Who pins the owner says that it does without the master key.
                None if owner.is_some() || is_remote => Vec::new(),
                None => vec![KeySource::File(DEFAULT_MASTER_KEY.into())],
            },
        };
        if let Some((span, false)) = written.filter(|_| master_keys.is_empty() && owner.is_none()) {
            let message = "a process without a master key must pin the owner of its keyring".to_owned();
            self.error("no-owner", message, &span, "add `owner` (`sidecloak keys list` shows it), or a master key");
        }
        if let Some(issuer) = &file.issuer {
            let problem = match (&owner, master_keys.is_empty()) {
                (None, _) => Some((
                    "a process with an issuer's key must pin the owner of its keyring",
                    "add `owner` (`sidecloak keys list` shows it)",
                )),
                (Some(_), false) => Some(("a process has a master key or an issuer's key, not both", "take one away")),
                (Some(_), true) => None,
            };
            if let Some((message, help)) = problem {
                self.error("issuer", message.to_owned(), &issuer.span, help);
            }
        }
        if let Some(at) = file.epoch_lifetime.as_ref().filter(|at| at.value.0.is_zero()) {
            let message = "`keyring.epoch_lifetime` cannot be 0".to_owned();
            self.error("bad-duration", message, &at.span, "write `24h`, or leave it out");
        }
        Options {
            recipient: file.recipient.map(|s| s.value.0),
            store: place.unwrap_or_else(|| StorePlace::Sqlite(DEFAULT_STORE.into())),
            store_password: file.store_password.map(|s| s.value.0),
            tls: Some(tls::client::for_database),
            master_keys,
            owner,
            recovery: many(file.recovery, |s| s.0),
            mirror: file.mirror.map(|m| PathBuf::from(m.value)),
            max_stale: file.max_stale.map_or(DEFAULT_STALE, |d| d.value.0),
            epoch_lifetime: file.epoch_lifetime.map_or(Duration::from_hours(24), |d| d.value.0),
            require_confirmed: value(file.require_confirmed).unwrap_or(false),
            issuer: file.issuer.map(|s| s.value.0),
            managed: Managed::default(),
            i_know: flags.i_know || flags.dev,
        }
    }

    fn drain(&mut self, file: file::Drain) -> Drain {
        let written = file.delay.as_ref().or(file.deadline.as_ref()).map(|at| at.span.clone());
        let delay = file.delay.map_or(Duration::from_secs(5), |d| d.value.0);
        let deadline = file.deadline.map_or(Duration::from_secs(25), |d| d.value.0);
        if let Some(span) = written.filter(|_| delay > deadline) {
            let message = "`drain.delay` is longer than `drain.deadline`: what runs then is cut without time to end";
            self.warning("drain-delay", message, &span, "the deadline includes the delay: raise it, or lower `delay`");
        }
        Drain { delay, deadline }
    }

    fn probe(&mut self, file: Option<At<file::Probe>>, flag: Option<&str>) -> Option<Address> {
        match flag {
            Some(text) => address::listen(text).map_or_else(|p| self.flag_problem("--probe", p), Some),
            None => file.and_then(|p| p.value.bind).map(|b| b.value.0),
        }
    }

    fn admin(&mut self, file: Option<At<file::Admin>>, flags: &Overrides) -> Option<Admin> {
        let file = value(file).unwrap_or_default();
        let span = file.bind.as_ref().map(|b| b.span.clone());
        let (address, span) = match &flags.admin {
            Some(text) => (address::listen(text).map_or_else(|p| self.flag_problem("--admin", p), Some)?, None),
            None => (file.bind?.value.0, span),
        };
        let token = flags.admin_token_file.clone().map(KeySource::File).or_else(|| file.token.map(|t| t.value.0));
        let problem = match &address {
            Address::Tcp(at) if !at.ip().is_loopback() => {
                Some(("admin-exposed", "the admin interface only listens on loopback or a unix socket"))
            }
            Address::Host(..) => {
                Some(("admin-exposed", "the admin interface only listens on loopback or a unix socket"))
            }
            Address::Tcp(_) if token.is_none() => Some((
                "admin-without-token",
                "an admin interface on loopback needs a token: in a pod the application shares loopback",
            )),
            Address::Tcp(_) | Address::Unix(_) => None,
        };
        if let Some((code, message)) = problem {
            let help = "use `unix:/PATH`, or a loopback address with `token: file:PATH` (--admin-token-file)";
            match span {
                Some(span) => self.error(code, message.to_owned(), &span, help),
                None => self.flag(code, message, help),
            }
        }
        Some(Admin { address, token })
    }

    /// No two parts of the process listen on one address.
    fn distinct(&mut self, listeners: &[Listener], probe: Option<&Address>, admin: Option<&Admin>) {
        let mut taken = HashSet::new();
        let binds = listeners.iter().flat_map(|l| &l.bind).chain(probe).chain(admin.map(|a| &a.address));
        for address in binds {
            let any_port = matches!(address, Address::Tcp(at) if at.port() == 0);
            if !any_port && !taken.insert(address) {
                let message = "two of the listeners, the probe and the admin interface have the same address";
                self.flag("address-taken", message, "give each its own port or socket");
            }
        }
    }

    fn workers(&mut self, file: Option<At<u64>>, flag: Option<usize>, default: usize) -> usize {
        let range = 1..=MAX_WORKERS;
        let help = format!("write a number from 1 to {MAX_WORKERS}");
        match (flag, file) {
            (Some(n), _) if range.contains(&n) => n,
            (Some(_), _) => {
                self.flag("bad-count", "--workers is out of range", &help);
                1
            }
            (None, Some(at)) => usize::try_from(at.value).ok().filter(|n| range.contains(n)).unwrap_or_else(|| {
                self.error("bad-count", "`workers` is out of range".to_owned(), &at.span, &help);
                1
            }),
            (None, None) => default,
        }
    }

    fn upstream_limits(&mut self, file: file::UpstreamLimits) -> UpstreamLimits {
        let connections = self.count("upstream_limits.connections", file.connections, 64, 1);
        UpstreamLimits {
            connections,
            idle: self.count("upstream_limits.idle", file.idle, 16, 0).min(connections),
            idle_timeout: file.idle_timeout.map_or(Duration::from_secs(4), |d| d.value.0),
        }
    }

    fn limits(&mut self, file: file::Limits, machine: Machine) -> Limits {
        let share = machine.memory / 100;
        let memory = match file.memory.as_ref().map_or(Size::Percent(60), |m| m.value.0) {
            Size::Percent(percent) => share.saturating_mul(u64::from(percent)),
            Size::Bytes(bytes) => bytes,
        };
        let memory_span = file.memory.map(|m| m.span);
        let limits = Limits {
            memory: usize::try_from(memory).unwrap_or(usize::MAX),
            header: self.bytes("limits.header", file.header, 32 << 10),
            value: self.bytes("limits.value", file.value, 1 << 20),
            in_flight: self.count("limits.in_flight", file.in_flight, 1024, 1),
            connections: self.count("limits.connections", file.connections, 4096, 1),
            buffer: self.bytes("limits.buffer", file.buffer, 64 << 10),
            decoded: self.bytes("limits.decoded", file.decoded, 256 << 20),
            ratio: self.count("limits.ratio", file.ratio, 200, 1),
        };
        // One request must be able to finish: header, buffer, and a value with its token (4/3) beside it.
        let least = limits.header.saturating_add(limits.buffer).saturating_add(limits.value.saturating_mul(3));
        if limits.memory < least {
            let message =
                format!("`limits.memory` is {} bytes; one request at the other limits needs {least}", limits.memory);
            let help = "raise `limits.memory`, or lower `value`, `buffer` and `header`";
            match memory_span {
                Some(span) => self.error("memory-too-small", message, &span, help),
                None => self.flag("memory-too-small", &message, help),
            }
        }
        limits
    }

    fn bytes(&mut self, key: &str, at: Option<At<SizeText>>, default: usize) -> usize {
        let Some(at) = at else { return default };
        match at.value.0 {
            // What is a limit of one message is never near this; a `usize` of 32 bits holds it.
            Size::Bytes(bytes @ 1..=0x4000_0000) => usize::try_from(bytes).unwrap_or(default),
            Size::Bytes(_) | Size::Percent(_) => {
                let message = format!("`{key}` is out of range");
                self.error("bad-size", message, &at.span, "write a size from `1B` to `1GiB`, such as `64KiB`");
                default
            }
        }
    }

    pub(super) fn count(&mut self, key: &str, at: Option<At<u64>>, default: usize, least: u64) -> usize {
        let Some(at) = at else { return default };
        if (least..=MAX_COUNT).contains(&at.value) {
            return usize::try_from(at.value).unwrap_or(default);
        }
        let help = format!("write a number from {least} to {MAX_COUNT}");
        self.error("bad-count", format!("`{key}` is out of range"), &at.span, &help);
        default
    }

    fn flag_addresses(
        &mut self,
        flag: &str,
        texts: &[String],
        parse: fn(&str) -> Result<Address, Problem>,
    ) -> Vec<Address> {
        texts.iter().filter_map(|text| parse(text).map_or_else(|p| self.flag_problem(flag, p), Some)).collect()
    }

    pub(super) fn flag_problem<T>(&mut self, flag: &str, (code, message, help): Problem) -> Option<T> {
        self.flag(code, &format!("{flag}: {message}"), &help);
        None
    }

    /// An error that is not about a place in the file.
    pub(super) fn flag(&mut self, code: &'static str, message: &str, help: &str) {
        self.findings.push(Finding::error(code, message).help(help));
    }

    /// A warning that is not about a place in the file.
    pub(super) fn flag_warning(&mut self, code: &'static str, message: &str, help: &str) {
        self.findings.push(Finding::warning(code, message).help(help));
    }

    pub(super) fn error(&mut self, code: &'static str, message: String, span: &Range<usize>, help: &str) {
        self.findings.push(Finding::error(code, message).help(help).at(self.source, span.clone()));
    }

    pub(super) fn warning(&mut self, code: &'static str, message: &str, span: &Range<usize>, help: &str) {
        self.findings.push(Finding::warning(code, message).help(help).at(self.source, span.clone()));
    }
}

fn default_rules() -> Option<PathBuf> {
    let path = Path::new(DEFAULT_RULES);
    path.is_dir().then(|| path.to_owned())
}

pub(super) fn value<T>(at: Option<At<T>>) -> Option<T> {
    at.map(|at| at.value)
}

pub(super) fn many<T, U>(list: Option<At<Many<T>>>, unwrap: impl Fn(T) -> U) -> Vec<U> {
    list.map(|list| list.value.items.into_iter().map(|item| unwrap(item.value)).collect()).unwrap_or_default()
}
