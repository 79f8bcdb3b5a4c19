//! One rule: which step comes next, and what each step asks for.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Way;
use super::super::fleet::{self, ClassCounts};
use super::super::reason::{Code, Reason};
use super::super::snapshot::RuleCounts;
use super::{Question, RuleReport, Seen, Toward, accept};
use crate::metrics::FieldEvent;
use crate::metrics::sketch::Distribution;
use crate::rules::{Mode, Verb};

/// Judges a rule that these processes have and those lack; `None`: it has no field at all.
pub(super) fn rule(
    name: &str,
    have: &[Seen<'_>],
    lack: &[&str],
    fleet: &[Reason],
    question: &Question,
) -> Option<RuleReport> {
    let forward = question.toward == Toward::Enforce;
    let furthest_behind = |rule: &RuleCounts| mode(rule, forward);
    let modes = have.iter().filter_map(|seen| furthest_behind(seen.rule));
    let current = if forward { modes.min() } else { modes.max() }?;
    let next = next(current, question.toward);
    let behind: Vec<&Seen<'_>> = have.iter().filter(|seen| furthest_behind(seen.rule) == Some(current)).collect();
    let now = behind.iter().map(|seen| (seen.snapshot, seen.rule));
    let mut classes = fleet::classes(now.clone());
    classes.retain(|class| class.mode == current);
    let seconds =
        now.clone().map(|(snapshot, rule)| snapshot.process.now.saturating_sub(rule.since)).min().unwrap_or_default();
    let requests = now.clone().fold(0, |sum: u64, (_, rule)| sum.saturating_add(rule.requests));

    let mut step = Step { name, question, current, seconds, reasons: Vec::new(), notes: Vec::new() };
    let way_out = current == Mode::Enforce && !forward;
    if way_out {
        // Of all steps this one is right whatever the others do.
        step.notes.extend(fleet.iter().cloned());
    } else {
        step.reasons.extend(fleet.iter().cloned());
        step.agree(have, lack);
    }
    step.under_way(have, furthest_behind);
    match (next, question.toward) {
        (Some(next), Toward::Enforce) => {
            step.no_trouble(have);
            step.evidence(requests);
            match next {
                Mode::Observe | Mode::Read => step.before_read(&classes, &behind),
                Mode::Migrate => step.before_migrate(&classes, &behind),
                Mode::Enforce => step.before_enforce(&classes),
            }
        }
        (Some(Mode::Observe), Toward::Observe) => {
            step.evidence(requests);
            step.before_observe(&classes);
        }
        (Some(_), Toward::Observe) | (None, _) => {}
    }
    accept(&mut step.reasons, question);
    let Step { reasons, notes, .. } = step;
    let mut by_mode: BTreeMap<Mode, Vec<String>> = BTreeMap::new();
    for seen in have {
        let at = furthest_behind(seen.rule).unwrap_or(current);
        by_mode.entry(at).or_default().push(seen.replica.address.clone());
    }
    let sum = |of: fn(&RuleCounts) -> Vec<&BTreeMap<String, u64>>| {
        let mut all: BTreeMap<String, u64> = BTreeMap::new();
        let counts = have.iter().flat_map(|seen| of(seen.rule)).flatten();
        counts.for_each(|(word, count)| *all.entry(word.clone()).or_default() += count);
        all
    };
    Some(RuleReport {
        rule: name.to_owned(),
        pattern: have.first().map(|seen| seen.rule.pattern.clone()).unwrap_or_default(),
        mode: current,
        next,
        safe: reasons.iter().all(|reason| reason.accepted),
        modes: by_mode,
        requests,
        seconds,
        added_latency_us: now.fold(Distribution::default(), |all, (_, rule)| all.with(&rule.added_latency_us)),
        refused: sum(|rule| vec![&rule.refused]),
        unread: sum(|rule| vec![&rule.unread_requests, &rule.unread_responses]),
        reasons,
        notes,
        classes,
    })
}

/// What is furthest behind in a process: a rule's items may have modes of their own.
fn mode(rule: &RuleCounts, forward: bool) -> Option<Mode> {
    let modes = rule.fields.iter().map(|field| field.mode);
    if forward { modes.min() } else { modes.max() }
}

fn next(current: Mode, toward: Toward) -> Option<Mode> {
    let at = Mode::ALL.iter().position(|mode| *mode == current)?;
    let next = match toward {
        Toward::Enforce => at.checked_add(1)?,
        Toward::Observe => at.checked_sub(1)?,
    };
    Mode::ALL.get(next).copied()
}

struct Step<'a> {
    name: &'a str,
    question: &'a Question,
    current: Mode,
    /// For so long every process that is behind has been in the current mode.
    seconds: u64,
    reasons: Vec<Reason>,
    notes: Vec<Reason>,
}

impl Step<'_> {
    /// All processes have one rule, and none is two steps from another.
    fn agree(&mut self, have: &[Seen<'_>], lack: &[&str]) {
        if !lack.is_empty() {
            self.no(
                Code::MissingRule,
                format!("{} without the rule: {}", count(lack.len(), "replica"), lack.join(", ")),
            );
        }
        let mut prints: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for seen in have {
            prints.entry(&seen.rule.fingerprint).or_default().push(&seen.replica.address);
        }
        if prints.len() > 1 {
            let told: Vec<String> = prints.iter().map(|(print, at)| format!("{print} at {}", at.join(", "))).collect();
            self.no(Code::RulesDiffer, format!("replicas do different things: {}", told.join("; ")));
        }
        let modes: BTreeSet<Mode> = have.iter().flat_map(|seen| &seen.rule.fields).map(|field| field.mode).collect();
        if let (Some(first), Some(last)) = (modes.first(), modes.last())
            && *last as usize > *first as usize + 1
        {
            let why = match first {
                Mode::Observe => "tokens reach callers through those in observe",
                Mode::Read | Mode::Migrate | Mode::Enforce => "those in enforce refuse what those in read let through",
            };
            self.no(
                Code::ModesApart,
                format!("some replicas are in {}, others in {}: {why}", first.word(), last.word()),
            );
        }
    }

    fn under_way(&mut self, have: &[Seen<'_>], at: impl Fn(&RuleCounts) -> Option<Mode>) {
        let gone = have.iter().filter(|seen| at(seen.rule) != Some(self.current)).count();
        if gone > 0 {
            let text = format!("{gone} of {} have left {}", count(have.len(), "replica"), self.current.word());
            self.note(Code::UnderWay, text);
        }
    }

    /// Nothing was refused of late, anywhere.
    fn no_trouble(&mut self, have: &[Seen<'_>]) {
        let late = |seen: &&Seen<'_>| {
            seen.rule
                .last_refused
                .is_some_and(|last| seen.snapshot.process.now.saturating_sub(last) < self.question.window)
        };
        let mut refused: BTreeMap<&str, u64> = BTreeMap::new();
        for (reason, times) in have.iter().filter(late).flat_map(|seen| &seen.rule.refused) {
            *refused.entry(reason).or_default() += times;
        }
        if !refused.is_empty() {
            self.no(Code::Refusals, format!("the rule refused exchanges: {}", words(&refused)));
        }
    }

    fn evidence(&mut self, requests: u64) {
        let least = self.question.min_requests;
        if requests < least {
            let text =
                format!("{} met the rule in {}, of at least {least}", count(requests, "request"), self.current.word());
            self.no(Code::TooLittleEvidence, text);
        }
    }

    /// observe → read: changes nothing but tokens, so it is enough that something is found.
    fn before_read(&mut self, classes: &[ClassCounts], behind: &[&Seen<'_>]) {
        let names: BTreeSet<&str> = classes.iter().map(|class| class.class.as_str()).collect();
        for name in names {
            let of = || classes.iter().filter(|class| class.class == name);
            if of().all(|class| class.matched == 0)
                && let Some(class) = of().next()
            {
                self.unmatched(class, of().map(|class| class.absent).sum());
            }
        }
        // Told early: it will keep the step after this one waiting.
        let before = self.reasons.len();
        self.fits(classes, behind);
        let early = self.reasons.split_off(before);
        self.notes.extend(early);
        self.silent(classes);
    }

    /// read → migrate: from now on tokens are stored.
    fn before_migrate(&mut self, classes: &[ClassCounts], behind: &[&Seen<'_>]) {
        for class in classes.iter().filter(|class| class.verb == Verb::Seal && class.matched == 0) {
            self.unmatched(class, class.absent);
        }
        self.failing(classes);
        self.fits(classes, behind);
        self.silent(classes);
    }

    /// migrate → enforce: plaintext is refused.
    fn before_enforce(&mut self, classes: &[ClassCounts]) {
        self.failing(classes);
        let opens = |class: &&ClassCounts| class.verb == Verb::Open;
        for class in classes.iter().filter(opens) {
            let least = |event: FieldEvent| class.event(event) > 0;
            let code = if least(FieldEvent::Plaintext) { Code::Plaintext } else { Code::Lesser };
            let what = if code == Code::Plaintext { "a plaintext" } else { "a token that lacks what the rule asks" };
            self.quiet(class, code, what);
        }
        for class in classes.iter().filter(|class| class.verb == Verb::Seal && class.matched == 0) {
            let opened = classes.iter().filter(opens).any(|open| open.class == class.class);
            if !opened {
                self.unmatched(class, class.absent);
            }
        }
        self.early(classes.iter().any(|class| class.verb == Verb::Open));
        self.note(
            Code::UnreadRows,
            "rows that nobody read were not seen; plaintext in them will be refused when it is read",
        );
    }

    /// read → observe: nothing opens tokens any more.
    fn before_observe(&mut self, classes: &[ClassCounts]) {
        for class in classes.iter().filter(|class| class.verb == Verb::Open) {
            self.quiet(class, Code::TokensSeen, "a token");
        }
        self.early(classes.iter().any(|class| class.verb == Verb::Open));
        self.note(Code::UnreadRows, "rows that nobody read were not seen; callers will be given the tokens in them");
    }

    /// What the application would be given instead of plaintexts.
    fn fits(&mut self, classes: &[ClassCounts], behind: &[&Seen<'_>]) {
        for class in classes.iter().filter(|class| class.verb == Verb::Seal) {
            if class.unfit > 0 {
                let longest = class.token_length.as_ref().map_or(0, |lengths| lengths.max);
                let why = match class.max_length {
                    _ if class.format_refuses => "its format lets no token pass".to_owned(),
                    Some(max) => format!("the longest would have {longest} characters, and max_length is {max}"),
                    None => format!("the longest would have {longest} characters"),
                };
                self.of(
                    Code::Unfit,
                    class,
                    format!(
                        "the application would not take {} of {}: {why}",
                        count(class.unfit, "token"),
                        class.matched
                    ),
                );
            }
            let tokens = class.event(FieldEvent::AlreadySealed);
            if tokens > 0 && class.refuses_tokens {
                self.of(
                    Code::TokensSent,
                    class,
                    format!("{} came in where `on_token: reject` will refuse them", count(tokens, "token")),
                );
            }
            if !class.types.is_empty() {
                let types = class.types.iter().map(|(word, n)| (word.as_str(), *n)).collect();
                self.of(
                    Code::TypeChange,
                    class,
                    format!("values that are no strings become strings: {}", words(&types)),
                );
            }
            if let Some(lengths) = class.token_length.as_ref().filter(|l| l.count > 0 && class.max_length.is_none()) {
                let text = format!(
                    "tokens will have {} characters in half of all cases, {} at most; the rule gives no max_length",
                    lengths.p50, lengths.max
                );
                let note = Reason::new(Code::NoMaxLength, text).rule(self.name).class(&class.class, class.direction);
                self.notes.push(note);
            }
        }
        for way in [Way::Request, Way::Response] {
            if !classes.iter().any(|class| class.verb == Verb::Seal && class.direction == way) {
                continue;
            }
            let mut unread: BTreeMap<&str, u64> = BTreeMap::new();
            let counts = behind.iter().flat_map(|seen| match way {
                Way::Request => &seen.rule.unread_requests,
                Way::Response => &seen.rule.unread_responses,
            });
            counts.for_each(|(reason, times)| *unread.entry(reason).or_default() += times);
            if !unread.is_empty() {
                let text = format!(
                    "the rule could not read some {}s, which it would refuse or let pass unsealed: {}",
                    way.word(),
                    words(&unread)
                );
                self.no(Code::Unreadable, text);
            }
        }
    }

    /// No value fails.
    fn failing(&mut self, classes: &[ClassCounts]) {
        for class in classes.iter().filter(|class| class.event(FieldEvent::Refused) > 0) {
            let failed = count(class.event(FieldEvent::Refused), "value");
            let verb = if class.verb == Verb::Seal { "sealed" } else { "opened" };
            self.of(
                Code::FailingValues,
                class,
                format!("{failed} could not be {verb}, or were too long to be looked at"),
            );
        }
    }

    /// Enough values were read since the last one that must not come any more, and that is long ago.
    fn quiet(&mut self, class: &ClassCounts, code: Code, what: &str) {
        if class.matched == 0 {
            return self.unmatched(class, class.absent);
        }
        if let Some(ago) = class.unwanted_seconds_ago.filter(|ago| *ago < self.question.window) {
            let text = format!("{what} was read {} ago, within the last {}", time(ago), time(self.question.window));
            return self.of(code, class, text);
        }
        // A class with fewer values than that has had a whole window to show one.
        if class.since_unwanted < self.question.min_requests && class.unwanted_seconds_ago.is_some() {
            let text = format!(
                "{} since {what} was last read, of at least {}",
                count(class.since_unwanted, "value"),
                self.question.min_requests
            );
            self.of(Code::TooLittleEvidence, class, text);
        }
    }

    fn early(&mut self, matters: bool) {
        if matters && self.seconds < self.question.window {
            let text = format!(
                "a replica has been in {} with this rule for {}, of at least {}",
                self.current.word(),
                time(self.seconds),
                time(self.question.window)
            );
            self.no(Code::TooEarly, text);
        }
    }

    fn unmatched(&mut self, class: &ClassCounts, absent: u64) {
        let bodies = if absent == 1 { "1 body".to_owned() } else { format!("{absent} bodies") };
        let text = format!("nothing was selected in {bodies}");
        self.of(Code::NeverMatched, class, text);
    }

    /// A selector that misses while another finds the class.
    fn silent(&mut self, classes: &[ClassCounts]) {
        for class in classes.iter().filter(|class| class.matched > 0) {
            for (selector, _) in class.selectors.iter().filter(|(_, matched)| **matched == 0) {
                let text = format!("{selector} selected nothing, though other selectors of the class did");
                let note = Reason::new(Code::SilentSelector, text).rule(self.name).class(&class.class, class.direction);
                self.notes.push(note);
            }
        }
    }

    fn no(&mut self, code: Code, message: impl Into<String>) {
        self.reasons.push(Reason::new(code, message).rule(self.name));
    }

    fn of(&mut self, code: Code, class: &ClassCounts, message: String) {
        self.reasons.push(Reason::new(code, message).rule(self.name).class(&class.class, class.direction));
    }

    fn note(&mut self, code: Code, message: impl Into<String>) {
        self.notes.push(Reason::new(code, message).rule(self.name));
    }
}

fn words(counts: &BTreeMap<&str, u64>) -> String {
    counts.iter().map(|(word, count)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}

fn count(n: impl TryInto<u64>, what: &str) -> String {
    let n = n.try_into().unwrap_or(u64::MAX);
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// As a person says it.
pub fn time(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
