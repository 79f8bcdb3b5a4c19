//! `sidecloak check`: configuration, rules with their tests, and the keyring if there is one.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::common::KeyringArgs;
use super::exit::{Exit, Failure};
use super::out::Out;
use crate::app;
use crate::app::profiles::Configured;
use crate::clock::SystemClock;
use crate::config::{self, Config, Machine, Purpose};
use crate::jsonpath::Buffering;
use crate::jwt::keys::{KeySet, Source};
use crate::keyring::{Keyring, Options, State};
use crate::metrics::Metrics;
use crate::report::{Finding, Findings, Severity};
use crate::rules::compile::{Context, load};
use crate::rules::{RuleKind, RuleSet};
use crate::tls::server::Server;
use crate::tls::{ClientTls, ServerTls, client};

/// Of a certificate's life (seconds): by then its successor should be there.
const SOON: u64 = 7 * 24 * 3600;

/// See `sidecloak check --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File or directory of rules [default: the configuration's]
    #[arg(value_name = "RULES")]
    pub rules: Option<PathBuf>,
    /// Take warnings for errors
    #[arg(long)]
    pub strict: bool,
    #[command(flatten)]
    pub keyring: KeyringArgs,
}

/// What was looked at, and what was found.
#[derive(Debug, Default)]
struct Report {
    findings: Findings,
    configuration: bool,
    rules: usize,
    tests: usize,
    /// Selectors that hold more of a body than the values they select.
    buffered: Vec<Buffered>,
    /// Selectors whose values managed APIs seal and open.
    delegated: Vec<Delegated>,
    keyring: Option<String>,
    /// The configuration has errors, so that nothing it names was looked at.
    refused: bool,
    /// How the keyring refuses to be opened.
    closed: Option<Exit>,
}

/// See [`Report::buffered`].
#[derive(Debug, PartialEq, Eq)]
struct Buffered {
    rule: Arc<str>,
    selector: Arc<str>,
    buffering: Buffering,
}

impl Buffered {
    fn of(rules: &RuleSet) -> Vec<Self> {
        let mut all = Vec::new();
        for rule in &rules.rules {
            let RuleKind::Fields { request, response } = &rule.kind else { continue };
            for field in request.iter().chain(response).flat_map(|action| &action.fields) {
                let Some(path) = field.path() else { continue };
                let (selector, buffering) = (Arc::clone(&field.selector), path.buffering());
                let one = Self { rule: Arc::clone(&rule.name), selector, buffering };
                if buffering > Buffering::Streaming && !all.contains(&one) {
                    all.push(one);
                }
            }
        }
        all
    }

    fn cost(&self) -> &'static str {
        match self.buffering {
            Buffering::Streaming => "holds the selected values alone",
            Buffering::Element => "holds each element or array it looks at, up to `max_buffered`",
            Buffering::Document => "holds the whole document, up to `max_buffered`, since its filter looks at `$`",
        }
    }
}

/// See [`Report::delegated`].
#[derive(Debug, PartialEq, Eq)]
struct Delegated {
    rule: Arc<str>,
    selector: Arc<str>,
    profile: Arc<str>,
    cost: String,
}

impl Delegated {
    fn of(rules: &RuleSet) -> Vec<Self> {
        let mut all = Vec::new();
        for rule in &rules.rules {
            let RuleKind::Fields { request, response } = &rule.kind else { continue };
            for action in request.iter().chain(response) {
                let Some((profile, api)) = action.key.delegated() else { continue };
                for field in &action.fields {
                    let one = Self {
                        rule: Arc::clone(&rule.name),
                        selector: Arc::clone(&field.selector),
                        profile: Arc::clone(&profile.name),
                        cost: api.cost(),
                    };
                    if !all.contains(&one) {
                        all.push(one);
                    }
                }
            }
        }
        all
    }
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    let mut report = Report::default();
    let config = configuration(args, &mut report);
    report.refused = config.is_none();
    let rules = rules(args, config.as_ref(), &mut report)?;
    if let Some(config) = &config {
        report.findings.0.extend(config::exposed(&config.proxy));
        tls(config, &mut report.findings);
    }
    if let Some(config) = &config {
        key_sets(config, &mut report.findings);
    }
    let there = |c: &&Config| c.keyring.as_ref().is_some_and(|o| Keyring::exists(o).unwrap_or(true));
    if let Some(config) = config.as_ref().filter(there) {
        keyring(config, rules.as_ref(), &mut report);
    }
    show(&report, args.strict, out)
}

/// The file and the flags; a proxy's upstream may still come from the command line of `run`.
fn configuration(args: &Args, report: &mut Report) -> Option<Config> {
    let file = args.keyring.config.as_deref();
    report.configuration = file.is_some() || Path::new(config::DEFAULT_FILE).exists();
    let loaded = config::load(file, &args.keyring.overrides(), Purpose::Keys, Machine::detect());
    report.findings.0.extend(loaded.findings.0);
    if report.configuration {
        writable_by_others(file.unwrap_or_else(|| Path::new(config::DEFAULT_FILE)), &mut report.findings);
    }
    let config = loaded.config?;
    for listener in config.proxy.listeners.iter().filter(|l| l.upstream.is_empty()) {
        let text = format!("listener `{}` has no upstream; `sidecloak run` then needs --upstream", listener.name);
        let help = "add `upstream: http://127.0.0.1:9000` to it";
        report.findings.push(Finding::warning("no-upstream", text).help(help));
    }
    Some(config)
}

fn rules(args: &Args, config: Option<&Config>, report: &mut Report) -> Result<Option<RuleSet>, Failure> {
    let Some(path) = args.rules.as_deref().or_else(|| config.and_then(|c| c.rules.as_deref())) else {
        if !report.configuration {
            let failure =
                Failure::new(Exit::Usage, "there is nothing to check: neither rules/ nor sidecloak.yaml is here");
            return Err(failure.help("name a file or directory of rules, or a configuration with --config"));
        }
        // An authority's own configuration has none.
        if config.is_some_and(|c| c.authority.is_none() || !c.proxy.listeners.is_empty()) {
            let finding =
                Finding::warning("no-rules", "there are no rules: everything passes as it is, nothing is sealed");
            report.findings.push(finding.help("name a file or directory as `rules`"));
        }
        return Ok(None);
    };
    // A configuration with errors says nothing reliable about its listeners.
    let context = config.filter(|_| report.configuration).map_or_else(Context::default, app::context);
    let loaded = load(path, &context);
    report.findings.0.extend(loaded.findings.0);
    report.tests = loaded.tests;
    report.buffered = loaded.rules.as_ref().map(Buffered::of).unwrap_or_default();
    report.delegated = loaded.rules.as_ref().map(Delegated::of).unwrap_or_default();
    report.rules = loaded.rules.as_ref().map_or(0, |rules| rules.rules.len());
    writable_by_others(path, &mut report.findings);
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        writable_by_others(&entry.path(), &mut report.findings);
    }
    Ok(loaded.rules)
}

/// The files of all listeners and for all upstreams, read as a process would read them.
fn tls(config: &Config, findings: &mut Findings) {
    let authority =
        config.authority.iter().flat_map(|authority| &authority.listen.binds).filter_map(|b| b.tls.as_ref());
    let listeners = &config.proxy.listeners;
    let mut servers: Vec<&ServerTls> = Vec::new();
    for tls in authority.chain(listeners.iter().filter_map(|listener| listener.tls.as_ref())) {
        if servers.contains(&tls) {
            continue;
        }
        servers.push(tls);
        match Server::new(tls).map(|server| server.expires().saturating_sub(SystemClock::shared().now())) {
            Err(error) => findings.push(Finding::error("tls", error.to_string())),
            Ok(left) if left <= SOON => {
                let file = tls.cert.display();
                let several = if tls.more.is_empty() { "" } else { " or another of its listener" };
                let text = match left {
                    0 => format!("the certificate {file}{several} has expired: clients will refuse it"),
                    _ => format!("the certificate {file}{several} ends within a week"),
                };
                findings
                    .push(Finding::warning("certificate", text).help("replace it; it is read again when it changes"));
            }
            Ok(_) => {}
        }
    }
    let mut clients: Vec<&ClientTls> = Vec::new();
    for tls in listeners.iter().filter_map(|listener| listener.upstream_tls.as_ref()).map(|upstream| &upstream.client) {
        if clients.contains(&tls) {
            continue;
        }
        clients.push(tls);
        if let Err(error) = client::config(tls) {
            findings.push(Finding::error("tls", error.to_string()));
        }
    }
}

/// The files of issuers' keys, read as a process would read them; nothing is fetched.
fn key_sets(config: &Config, findings: &mut Findings) {
    let of_callers = config.proxy.callers.iter().filter_map(|caller| Some(&caller.jwt.as_ref()?.keys));
    let issuers = config.authority.iter().flat_map(|authority| &authority.callers.issuers);
    let mut seen: Vec<&Source> = Vec::new();
    for source in of_callers.chain(issuers.map(|issuer| &issuer.jwks)) {
        if seen.contains(&source) {
            continue;
        }
        seen.push(source);
        if let Err(error) = KeySet::open(source) {
            findings.push(Finding::error("jwks", error.to_string()));
        }
    }
}

/// Whoever writes these files decides what is sealed.
fn writable_by_others(path: &Path, findings: &mut Findings) {
    let Ok(metadata) = std::fs::metadata(path) else { return };
    let kept = metadata.is_file() || metadata.is_dir();
    if kept && metadata.permissions().mode() & 0o002 != 0 {
        let text =
            format!("{} can be changed by every user of this machine, who could turn sealing off", path.display());
        findings.push(Finding::warning("writable", text).help(format!("run `chmod o-w {}`", path.display())));
    }
}

fn keyring(config: &Config, rules: Option<&RuleSet>, report: &mut Report) {
    let Some(options) = &config.keyring else { return };
    report.keyring = Some(options.store.to_string());
    if let Err(failure) = opened(options, config, rules, &mut report.findings) {
        let finding = Finding::error("keyring", failure.message);
        report.findings.push(match failure.help {
            Some(help) => finding.help(help),
            None => finding,
        });
        report.closed = Some(failure.code);
    }
}

fn opened(options: &Options, config: &Config, rules: Option<&RuleSet>, findings: &mut Findings) -> Result<(), Failure> {
    let keyring = app::keys::open(options, false, &SystemClock::shared())?;
    // Their files are read as a process would read them; nobody is called.
    let (_, unusable) = app::profiles::open_usable(config, &SystemClock::shared(), &Metrics::default())?;
    let profiles = Configured::new(config, unusable);
    findings.0.extend(profiles.check(rules, Some(&keyring), false).0);
    // Whatever `provision` would make on first use is not missing, and a check makes nothing.
    let fixed = RuleSet {
        rules: rules.into_iter().flat_map(|set| &set.rules).filter(|rule| !rule.limits.provision).cloned().collect(),
    };
    if let Err(more) = app::keys::check_partitions(&fixed, &profiles, Some(&keyring), false) {
        findings.0.extend(more.0);
    }
    // An authority lists none for a sidecar, and whether all could be recovered is its own matter.
    let partitions = if keyring.is_remote() { Vec::new() } else { keyring.list()? };
    let here = |r: &crate::keyring::RecipientInfo| r.ours || r.profile.is_some();
    let lost = |p: &&crate::keyring::PartitionInfo| p.state != State::Destroyed && p.recipients.iter().all(here);
    let names: Vec<&str> = partitions.iter().filter(lost).map(|p| p.name.as_str()).collect();
    if !names.is_empty() {
        let text =
            format!("no recovery recipient: if the master key is lost, so is all that {} sealed", names.join(", "));
        let help = "make one with `sidecloak keys recovery`, and put its key into a safe";
        findings.push(Finding::warning("no-recovery", text).help(help));
    }
    if keyring.alarms() > 0 {
        let text = format!("{} records of the keyring do not verify, so nobody uses them", keyring.alarms());
        let help = "find out who can write to the keyring, and restore it from a backup";
        findings.push(Finding::error("keyring-alarm", text).help(help));
    }
    Ok(())
}

fn show(report: &Report, strict: bool, out: &mut Out) -> Result<(), Failure> {
    let count = |severity| report.findings.0.iter().filter(|f| f.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let code = match (errors, warnings, report.closed) {
        // The keyring's own code where that is all there is.
        (1, _, Some(code)) => code,
        (1.., _, _) => Exit::Usage,
        (0, 1.., _) if strict => Exit::No,
        _ => Exit::Ok,
    };
    if out.json() {
        out.value(&json!({
            "ok": code == Exit::Ok,
            "rules": report.rules,
            "tests": report.tests,
            "errors": errors,
            "warnings": warnings,
            "buffered": report.buffered.iter().map(|b| json!({
                "rule": &*b.rule, "selector": &*b.selector, "buffering": b.buffering.name(),
            })).collect::<Vec<_>>(),
            "delegated": report.delegated.iter().map(|d| json!({
                "rule": &*d.rule, "selector": &*d.selector, "profile": &*d.profile, "cost": d.cost,
            })).collect::<Vec<_>>(),
            "keyring": report.keyring,
            "findings": report.findings.0.iter().map(Finding::to_json).collect::<Vec<_>>(),
        }))?;
    } else {
        if !report.findings.0.is_empty() {
            out.line(&format!("{}\n", report.findings))?;
        }
        for one in &report.buffered {
            let Buffered { rule, selector, buffering } = one;
            out.line(&format!("rule `{rule}`: {selector} is {}: {}", buffering.name(), one.cost()))?;
        }
        for Delegated { rule, selector, profile, cost } in &report.delegated {
            out.line(&format!(
                "rule `{rule}`: {selector} is sealed and opened by the API of profile `{profile}`: {cost}"
            ))?;
        }
        let mut parts = vec![number(report.rules, "rule"), number(report.tests, "test")];
        parts.extend((errors > 0).then(|| number(errors, "error")));
        parts.extend((warnings > 0).then(|| number(warnings, "warning")));
        if report.refused {
            parts.push("the configuration has errors, so what it names was not looked at".into());
        } else if report.keyring.is_none() {
            parts.push("no keyring here, so partitions were not looked up".into());
        }
        let verdict = match code {
            Exit::Ok => "ok",
            Exit::No => "warnings, and --strict",
            _ => "refused",
        };
        out.line(&format!("{}: {verdict}", parts.join(", ")))?;
    }
    if code == Exit::Ok { Ok(()) } else { Err(Failure::silent(code)) }
}

fn number(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
