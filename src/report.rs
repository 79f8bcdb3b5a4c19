//! What is wrong with a file that an operator wrote: where, why, and the way out. All problems of a load are collected.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// Whether a finding stops the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The load goes on; `sidecloak check` shows it.
    Warning,
    /// The file is refused.
    Error,
}

/// A file's name and text, shared by the findings about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// As the operator named it.
    pub name: Arc<str>,
    /// The whole text.
    pub text: Arc<str>,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Error or warning.
    pub severity: Severity,
    /// A stable word for machines, such as `keep-without-bind`.
    pub code: &'static str,
    /// What is wrong, in a sentence without the location.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
    /// The file and the bytes of it that are meant.
    pub place: Option<(Source, Range<usize>)>,
}

impl Finding {
    /// An error.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, message: message.into(), help: None, place: None }
    }

    /// A warning.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Adds the way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the place.
    #[must_use]
    pub fn at(mut self, source: &Source, span: Range<usize>) -> Self {
        self.place = Some((source.clone(), span));
        self
    }

    /// 1-based line and column (in characters) of the place.
    pub fn line_column(&self) -> Option<(usize, usize)> {
        let (source, span) = self.place.as_ref()?;
        let before = source.text.get(..span.start)?;
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
        Some((line, column))
    }

    /// The finding for a machine.
    pub fn to_json(&self) -> serde_json::Value {
        let at = self.line_column();
        serde_json::json!({
            "severity": if self.severity == Severity::Error { "error" } else { "warning" },
            "code": self.code,
            "message": self.message,
            "help": self.help,
            "file": self.place.as_ref().map(|(s, _)| s.name.to_string()),
            "line": at.map(|a| a.0),
            "column": at.map(|a| a.1),
        })
    }
}

impl fmt::Display for Finding {
    /// The finding with its snippet, as a compiler would print it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group: Group<'_> = match &self.place {
            Some((source, span)) => level.primary_title(self.message.as_str()).element(
                Snippet::source(&*source.text)
                    .path(&*source.name)
                    .annotation(AnnotationKind::Primary.span(span.clone())),
            ),
            None => Group::with_title(level.primary_title(self.message.as_str())),
        };
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        f.write_str(&Renderer::plain().render(&[group]))
    }
}

/// Everything found while loading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// Adds one.
    pub fn push(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    /// Whether any finding refuses the load.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|f| f.severity == Severity::Error)
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, finding) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{finding}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_shows_file_line_column_and_the_way_out() {
        let source = Source { name: "rules/a.yaml".into(), text: "rules:\n  - nam: x\n".into() };
        let finding =
            Finding::error("unknown-field", "unknown field `nam`").at(&source, 11..14).help("did you mean `name`?");
        assert_eq!(finding.line_column(), Some((2, 5)));
        let text = finding.to_string();
        assert!(text.contains("rules/a.yaml:2:5") && text.contains("did you mean"), "{text}");
    }
}
