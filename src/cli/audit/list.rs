//! `sidecloak audit list`: acts with what became of them, and what was sealed and opened.

use std::collections::VecDeque;

use comfy_table::{Table, presets};
use serde_json::Value;

use super::super::exit::{Exit, Failure};
use super::super::out::Out;
use super::plain;
use crate::audit::line::{Content, Line, seconds};
use crate::audit::verify::each_line;
use crate::keyring::Keyring;

/// See `sidecloak audit list --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only lines from this time on, as 2026-01-31 or 2026-01-31T08:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only acts of, or counts for, whoever has this in the name
    #[arg(long, value_name = "TEXT")]
    pub who: Option<String>,
    /// Only acts with this in their name, such as `partition`; or `counts`, which are not listed otherwise
    #[arg(long, value_name = "TEXT")]
    pub what: Option<String>,
    /// The last so many
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub last: u32,
}

#[derive(Debug)]
struct Row {
    number: u64,
    line: Value,
    cells: [String; 6],
}

pub(super) fn run(args: &Args, keyring: &Keyring, out: &mut Out) -> Result<(), Failure> {
    let since = args.since.as_deref().map(since).transpose()?.unwrap_or_default();
    let last = usize::try_from(args.last).unwrap_or(usize::MAX);
    let mut rows: VecDeque<Row> = VecDeque::new();
    let mut unread = 0u64;
    each_line::<Failure>(keyring, |number, bytes| {
        let Ok(line) = Line::decode(bytes) else {
            unread += 1;
            return Ok(());
        };
        if let Content::Outcome { act, ok, error } = &line.content {
            if let Some(row) = rows.iter_mut().rev().find(|row| row.number == *act) {
                let [.., outcome] = &mut row.cells;
                *outcome = if *ok { "done".into() } else { error.clone().unwrap_or_else(|| "failed".into()) };
                if let Some(members) = row.line.as_object_mut() {
                    members.insert("outcome".into(), Value::String(outcome.clone()));
                }
            }
            return Ok(());
        }
        if seconds(&line.time).is_some_and(|time| time >= since) {
            for row in self::rows(args, number, &line) {
                rows.push_back(row);
                if rows.len() > last {
                    rows.pop_front();
                }
            }
        }
        Ok(())
    })?;
    if out.json() {
        rows.iter().try_for_each(|row| out.value(&row.line))?;
    } else {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["LINE", "TIME", "WHO", "WHAT", "ON", "OUTCOME"]);
        for row in &rows {
            table.add_row(row.cells.iter().map(|cell| plain(cell)));
        }
        table.lines().try_for_each(|line| out.line(line.trim_end()))?;
    }
    if unread > 0 {
        out.note(&format!("warning: {unread} lines are not as they were written; run `sidecloak audit verify`"));
    }
    Ok(())
}

fn rows(args: &Args, number: u64, line: &Line) -> Vec<Row> {
    let has = |filter: &Option<String>, text: &str| filter.as_deref().is_none_or(|part| text.contains(part));
    let row = |who: &str, what: &str, on: &str, outcome: &str| Row {
        number,
        line: serde_json::json!({ "line": number, "time": line.time, "who": who, "what": what, "on": on, "outcome": outcome }),
        cells: [&number.to_string(), &line.time, who, what, on, outcome].map(ToOwned::to_owned),
    };
    match &line.content {
        Content::Act { who, what, on } if has(&args.who, who) && has(&args.what, what) => {
            vec![row(who, what, on, "none")]
        }
        Content::Counts { counts, .. } if args.what.as_deref() == Some("counts") => counts
            .iter()
            .map(|count| {
                let of = count.of.as_ref();
                let on = of.map_or_else(|| "others".to_owned(), |of| format!("{} {}", of.partition, of.class));
                let what = serde_json::to_value(count.what).unwrap_or_default();
                row(of.map_or("others", |of| &of.caller), what.as_str().unwrap_or("?"), &on, &count.n.to_string())
            })
            .filter(|row| {
                let [_, _, who, ..] = &row.cells;
                has(&args.who, who)
            })
            .collect(),
        Content::Alarm { number: seen, .. } if args.who.is_none() && has(&args.what, "alarm") => {
            vec![row("sidecloak", "alarm", &format!("line {seen}"), "the log was changed")]
        }
        _ => Vec::new(),
    }
}

fn since(text: &str) -> Result<u64, Failure> {
    let day = || seconds(&format!("{text}T00:00:00Z"));
    seconds(text).or_else(day).ok_or_else(|| {
        let failure = Failure::new(Exit::Usage, format!("`{text}` is no time"));
        failure.help("write 2026-01-31 or 2026-01-31T08:00:00Z, in UTC if no offset is given")
    })
}
