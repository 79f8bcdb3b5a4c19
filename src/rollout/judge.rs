//! Whether the next step of `mode` is safe. A pure function of what the processes tell: what is not known is not safe.

use std::collections::BTreeMap;

use serde::Serialize;

use super::fleet::{self, ClassCounts, Replica};
use super::reason::{Code, Reason};
use super::snapshot::{RuleCounts, Snapshot};
use crate::metrics::sketch::Distribution;
use crate::rules::Mode;

mod steps;
pub use steps::time;

/// Where the roll-out goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Toward {
    /// Forward.
    Enforce,
    /// Back.
    Observe,
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// Which way.
    pub toward: Toward,
    /// Fewer requests of a rule, or values of a class, prove nothing.
    pub min_requests: u64,
    /// Seconds without what must not happen any more.
    pub window: u64,
    /// How many processes there are.
    pub replicas: Option<usize>,
    /// Only these; none: all.
    pub rules: Vec<String>,
    /// Reasons that somebody has looked at.
    pub accept: Vec<Code>,
}

/// The answer.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether each rule's next step is safe.
    pub safe: bool,
    /// Which way.
    pub toward: Toward,
    /// The next step of the rules that are furthest behind; `None`: there is none left.
    pub next: Option<Mode>,
    /// All that keeps it from being safe, of the rules, too, and what was accepted.
    pub reasons: Vec<Reason>,
    /// Each rule.
    pub rules: Vec<RuleReport>,
    /// Each process.
    pub replicas: Vec<ReplicaReport>,
}

/// Of one rule.
#[derive(Debug, Clone, Serialize)]
pub struct RuleReport {
    /// Its name.
    pub rule: String,
    /// Its route pattern.
    pub pattern: String,
    /// The mode of what is furthest behind.
    pub mode: Mode,
    /// The next; `None`: there is none left.
    pub next: Option<Mode>,
    /// Whether that is safe.
    pub safe: bool,
    /// Which processes are in which mode.
    pub modes: BTreeMap<Mode, Vec<String>>,
    /// Exchanges that met it, in `mode`.
    pub requests: u64,
    /// For how many seconds every process has been in that mode with this rule.
    pub seconds: u64,
    /// Microseconds that a process added to an exchange.
    pub added_latency_us: Distribution,
    /// Exchanges that it refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Messages that it could not read and that passed, by reason.
    pub unread: BTreeMap<String, u64>,
    /// Why not.
    pub reasons: Vec<Reason>,
    /// What else is to be known.
    pub notes: Vec<Reason>,
    /// By class.
    pub classes: Vec<ClassCounts>,
}

/// Of one process.
#[derive(Debug, Clone, Serialize)]
pub struct ReplicaReport {
    /// As it was named.
    pub address: String,
    /// Why it did not tell.
    pub error: Option<String>,
    /// Random, of the process.
    pub instance: Option<String>,
    /// Of its files of rules.
    pub digest: Option<String>,
    /// How long ago they were loaded, in seconds.
    pub loaded_seconds_ago: Option<u64>,
}

/// Judges what these processes tell.
pub fn judge(replicas: Vec<Replica>, question: &Question) -> Report {
    let replicas = fleet::distinct(replicas);
    let fleet = fleet_reasons(&replicas, question);
    let told = || replicas.iter().filter_map(|replica| Some((replica, replica.told.as_ref().ok()?)));
    let asked = |name: &str| question.rules.is_empty() || question.rules.iter().any(|rule| rule == name);
    let mut names: Vec<&str> = Vec::new();
    for rule in told().flat_map(|(_, snapshot)| &snapshot.rules).filter(|rule| asked(&rule.name)) {
        if !names.contains(&rule.name.as_str()) {
            names.push(&rule.name);
        }
    }
    let of = |name: &&str| {
        let find = |snapshot: &'_ Snapshot| snapshot.rules.iter().position(|rule| rule.name == *name);
        let (have, lack): (Vec<_>, Vec<_>) = told().map(|(r, s)| (r, s, find(s))).partition(|(.., at)| at.is_some());
        let have =
            have.into_iter().filter_map(|(r, s, at)| Some(Seen { replica: r, snapshot: s, rule: s.rules.get(at?)? }));
        let lack: Vec<_> = lack.into_iter().map(|(replica, ..)| replica.address.as_str()).collect();
        steps::rule(name, &have.collect::<Vec<_>>(), &lack, &fleet, question)
    };
    let rules: Vec<RuleReport> = names.iter().filter_map(of).collect();
    let mut reasons = fleet;
    for name in question.rules.iter().filter(|name| !names.contains(&name.as_str())) {
        reasons.push(Reason::new(Code::MissingRule, format!("no replica has the rule {name}")).rule(name));
    }
    if names.is_empty() && question.rules.is_empty() && told().next().is_some() {
        reasons.push(Reason::new(Code::NoRules, "no replica has a rule that seals or opens"));
    }
    accept(&mut reasons, question);
    // What is wrong with the fleet is among each rule's own reasons where it matters to its step.
    let accepted = |reason: &Reason| reason.accepted;
    let safe = match rules.is_empty() {
        true => reasons.iter().all(accepted) && reasons.iter().any(|reason| reason.code == Code::NoRules),
        false => rules.iter().all(|r| r.safe) && reasons.iter().filter(|r| r.rule.is_some()).all(accepted),
    };
    let forward = question.toward == Toward::Enforce;
    let next = rules.iter().filter_map(|rule| rule.next);
    let next = if forward { next.min() } else { next.max() };
    reasons.extend(rules.iter().flat_map(|rule| rule.reasons.iter().filter(|reason| reason.rule.is_some()).cloned()));
    Report {
        safe,
        toward: question.toward,
        next,
        reasons,
        rules,
        replicas: replicas.iter().map(ReplicaReport::of).collect(),
    }
}

/// One process's counts of a rule.
#[derive(Clone, Copy)]
struct Seen<'a> {
    replica: &'a Replica,
    snapshot: &'a Snapshot,
    rule: &'a RuleCounts,
}

/// About processes, not rules.
fn fleet_reasons(replicas: &[Replica], question: &Question) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for Replica { address, told } in replicas {
        match told {
            Err(why) => reasons.push(Reason::new(Code::Unreachable, format!("{address} does not tell: {why}"))),
            Ok(snapshot) if snapshot.process.reload_failed => {
                let text = format!("{address} refused newer rules and goes on with older ones");
                reasons.push(Reason::new(Code::ReloadFailed, text));
            }
            Ok(_) => {}
        }
    }
    let told = replicas.iter().filter(|replica| replica.told.is_ok()).count();
    if let Some(expected) = question.replicas.filter(|expected| told < *expected) {
        let text = format!("{told} of {expected} replicas tell");
        reasons.push(Reason::new(Code::TooFewReplicas, text));
    }
    accept(&mut reasons, question);
    reasons
}

fn accept(reasons: &mut [Reason], question: &Question) {
    for reason in reasons {
        reason.accepted = question.accept.contains(&reason.code);
    }
}

impl ReplicaReport {
    fn of(replica: &Replica) -> Self {
        let told = replica.told.as_ref();
        let process = told.ok().map(|snapshot| &snapshot.process);
        Self {
            address: replica.address.clone(),
            error: told.err().cloned(),
            instance: process.map(|process| process.instance.clone()),
            digest: process.and_then(|process| process.digest.clone()),
            loaded_seconds_ago: process.map(|process| process.now.saturating_sub(process.loaded)),
        }
    }
}

#[cfg(test)]
mod tests;
