//! How far a walk is: a line on a terminal that changes, elsewhere a line every so often.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::super::out::Out;
use crate::rewrite::journal::Counts;

const EVERY: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    told: Instant,
}

impl Progress {
    pub(super) fn new(out: &Out) -> Self {
        let bar = (out.err_terminal() && !out.json()).then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg} ({per_sec})") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, told: Instant::now() }
    }

    pub(super) fn tell(&mut self, counts: &Counts, out: &mut Out) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(counts.records);
                bar.set_message(line(counts));
            }
            None if self.told.elapsed() >= EVERY => {
                self.told = Instant::now();
                if out.json() {
                    out.note(&serde_json::json!({ "progress": counts }).to_string());
                } else {
                    out.note(&line(counts));
                }
            }
            None => {}
        }
    }

    pub(super) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Counts in a line; what is none of is left out.
pub(super) fn line(counts: &Counts) -> String {
    let parts = [
        (counts.written, "written"),
        (counts.already, "as they should be"),
        (counts.would, "would be written"),
        (counts.untagged, "without a strong entity tag"),
        (counts.unselected, "of those without anything that the rules select"),
        (counts.gone, "gone meanwhile"),
        (counts.failed, "failed"),
        (counts.conflicts, "times read again, since others wrote them"),
    ];
    let mut text = format!("{} records", counts.records);
    for (count, what) in parts.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!(", {count} {what}"));
    }
    text
}
