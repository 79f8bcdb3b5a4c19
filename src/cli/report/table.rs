//! The report for people.

use comfy_table::{CellAlignment, Table, presets};

use super::super::exit::Failure;
use super::super::out::Out;
use crate::rollout::fleet::ClassCounts;
use crate::rollout::judge::{Report, RuleReport, Toward, time};
use crate::rollout::reason::Reason;

pub(super) fn show(report: &Report, out: &mut Out) -> Result<(), Failure> {
    for (index, rule) in report.rules.iter().enumerate() {
        if index > 0 {
            out.line("")?;
        }
        one(rule, report.toward, out)?;
    }
    replicas(report, out)?;
    let fleet = report.reasons.iter().filter(|reason| reason.rule.is_none() || report.rules.is_empty());
    fleet.clone().try_for_each(|reason| told(reason, if reason.accepted { "accepted" } else { "no" }, out))?;
    let verdict = match (report.safe, report.next) {
        (true, Some(next)) => format!("safe: {}", next.word()),
        (true, None) => "done: no step is left".to_owned(),
        (false, _) => "not safe".to_owned(),
    };
    out.line(&format!("\n{verdict}"))
}

fn one(rule: &RuleReport, toward: Toward, out: &mut Out) -> Result<(), Failure> {
    let step = match rule.next {
        Some(next) => {
            format!("{} -> {}: {}", rule.mode.word(), next.word(), if rule.safe { "safe" } else { "not safe" })
        }
        None => match toward {
            Toward::Enforce => format!("{}: done", rule.mode.word()),
            Toward::Observe => format!("{}: done; the rule can go", rule.mode.word()),
        },
    };
    out.line(&format!("{} ({})  {step}", plain(&rule.rule), plain(&rule.pattern)))?;
    let added = &rule.added_latency_us;
    out.line(&format!(
        "  {} requests in {}; added to each: half within {} us, 99 of 100 within {} us",
        rule.requests,
        time(rule.seconds),
        added.p50,
        added.p99
    ))?;
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "  CLASS", "IN", "IS", "FOUND IN", "ABSENT", "VALUES", "PLAIN", "TOKENS", "UNFIT", "P50", "P95", "P99",
        "LONGEST", "LIMIT", "TYPES",
    ]);
    for class in &rule.classes {
        table.add_row(cells(class));
    }
    for column in 3..14 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().try_for_each(|line| out.line(line.trim_end()))?;
    if rule.modes.len() > 1 {
        for (mode, at) in &rule.modes {
            out.line(&format!("  in {}: {}", mode.word(), at.join(", ")))?;
        }
    }
    for (what, counts) in [("refused", &rule.refused), ("passed unread", &rule.unread)] {
        if !counts.is_empty() {
            let counts: Vec<String> = counts.iter().map(|(word, n)| format!("{n} {word}")).collect();
            out.line(&format!("  {what}: {}", counts.join(", ")))?;
        }
    }
    for reason in rule.reasons.iter().filter(|reason| reason.rule.is_some()) {
        told(reason, if reason.accepted { "accepted" } else { "no" }, out)?;
    }
    rule.notes.iter().try_for_each(|note| told(note, "note", out))
}

fn cells(class: &ClassCounts) -> Vec<String> {
    let numbers = [class.bodies, class.absent, class.matched, class.plaintext, class.sealed, class.unfit];
    let lengths = class.token_length.as_ref().filter(|lengths| lengths.count > 0);
    let lengths = lengths.map_or([None; 4], |l| [Some(l.p50), Some(l.p95), Some(l.p99), Some(l.max)]);
    let limit =
        if class.format_refuses { Some("none fits".to_owned()) } else { class.max_length.map(|max| max.to_string()) };
    let types: Vec<String> = class.types.iter().map(|(word, n)| format!("{n} {word}")).collect();
    let what = match class.verb {
        crate::rules::Verb::Seal => "sealed",
        crate::rules::Verb::Open => "opened",
    };
    let mut cells = vec![format!("  {}", plain(&class.class)), class.direction.word().into(), what.into()];
    cells.extend(numbers.map(|n| n.to_string()));
    cells.extend(lengths.map(|length| length.map_or_else(|| "-".into(), |n| n.to_string())));
    cells.push(limit.unwrap_or_else(|| "-".into()));
    cells.push(if types.is_empty() { "-".into() } else { types.join(", ") });
    cells
}

fn replicas(report: &Report, out: &mut Out) -> Result<(), Failure> {
    if report.replicas.len() < 2 {
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["REPLICA", "RULES", "LOADED"]);
    for replica in &report.replicas {
        let digest = replica.digest.as_deref().and_then(|digest| digest.get(..12));
        let loaded = replica.loaded_seconds_ago.map(|seconds| format!("{} ago", time(seconds)));
        let error = replica.error.as_deref().map(plain);
        table.add_row([
            plain(&replica.address),
            error.unwrap_or_else(|| digest.unwrap_or("-").to_owned()),
            loaded.unwrap_or_else(|| "-".into()),
        ]);
    }
    out.line("")?;
    table.lines().try_for_each(|line| out.line(line.trim_end()))
}

fn told(reason: &Reason, how: &str, out: &mut Out) -> Result<(), Failure> {
    let class = reason.class.as_deref().map(|class| match reason.direction {
        Some(way) => format!(" {} in {}s:", plain(class), way.word()),
        None => format!(" {}:", plain(class)),
    });
    out.line(&format!("  {how}: [{}]{} {}", reason.code.word(), class.unwrap_or_default(), plain(&reason.message)))?;
    if how == "accepted" { Ok(()) } else { out.line(&format!("      help: {}", reason.help)) }
}

/// What came over the network moves no cursor.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
