//! Tables for people, columns for programs.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::super::exit::Failure;
use super::super::out::Out;

/// A list under these headings; with `--json` as it came.
pub fn list(out: &mut Out, head: &[&str], items: &[Value], row: impl Fn(&Value) -> Vec<String>) -> Result<(), Failure> {
    if out.json() {
        return out.value(&serde_json::json!({ "items": items }));
    }
    let mut table = Table::new();
    // A program reads columns that stay where they are, however wide.
    if out.terminal() {
        table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    }
    table.set_header(head.iter().copied());
    for item in items {
        table.add_row(row(item).iter().map(|cell| plain(cell)));
    }
    for line in table.lines() {
        out.line(line.trim_end())?;
    }
    Ok(())
}

/// One thing, a line for each of its members.
pub fn one(out: &mut Out, value: &Value) -> Result<(), Failure> {
    if out.json() {
        return out.value(value);
    }
    let members = value.as_object().into_iter().flatten();
    for (name, value) in members {
        match value.as_array().filter(|items| items.iter().any(Value::is_object)) {
            // Under each other, or nobody finds the second.
            Some(items) => {
                for (place, item) in items.iter().enumerate() {
                    let name = if place == 0 { name } else { "" };
                    out.line(&format!("{name:<12} {}", cell(item)))?;
                }
            }
            None => out.line(&format!("{name:<12} {}", member(name, value)))?,
        }
    }
    Ok(())
}

/// A member as text.
pub fn text(value: &Value, member: &str) -> String {
    value.get(member).map(cell).unwrap_or_default()
}

/// A member under its name, which tells a time from a number.
fn member(name: &str, value: &Value) -> String {
    match (name, value.as_i64()) {
        ("created" | "expires" | "not_after" | "due", Some(seconds)) => moment(seconds).unwrap_or_else(|| cell(value)),
        _ => cell(value),
    }
}

fn moment(seconds: i64) -> Option<String> {
    let at = time::OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    at.format(&time::format_description::well_known::Rfc3339).ok()
}

/// A time (Unix seconds), or `none`.
pub fn time(value: &Value, member: &str, none: &str) -> String {
    value.get(member).and_then(Value::as_i64).and_then(moment).unwrap_or_else(|| none.to_owned())
}

/// Without control characters, which could rule the terminal.
pub fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => plain(text),
        Value::Array(items) if items.is_empty() => "-".into(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| format!("{} {}", plain(name), member(name, value)))
            .collect::<Vec<_>>()
            .join(" "),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}
