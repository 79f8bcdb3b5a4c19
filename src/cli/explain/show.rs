//! The explanation for people, and for machines.

use std::fmt;

use serde_json::{Value, json};

use super::decide::{Acting, Explanation, Found};
use crate::jsonpath::Buffering;

impl Explanation {
    /// For a machine.
    pub fn to_json(&self) -> Value {
        let rule = |(name, why): &(std::sync::Arc<str>, Option<String>)| json!({ "rule": &**name, "matches": why.is_none(), "why_not": why });
        let action = |a: &Acting| {
            json!({
                "rule": &*a.rule, "verb": a.verb, "selector": a.selector, "buffering": a.buffering, "class": a.class, "key": a.key,
                "mode": a.mode, "suite": a.suite, "options": a.options, "selects": a.selects,
                "delegated": a.delegated.as_ref().map(|(profile, cost)| json!({ "profile": profile, "cost": cost })),
            })
        };
        let value = |v: &Found| json!({ "location": v.location, "action": v.action, "happens": v.happens, "token_length": v.token_length });
        json!({
            "method": self.method,
            "path": self.path,
            "listener": self.listener,
            "refused": self.refused.as_ref().map(|(status, why)| json!({ "status": status, "why": why })),
            "rules": self.rules.iter().map(rule).collect::<Vec<_>>(),
            "actions": self.actions.iter().map(action).collect::<Vec<_>>(),
            "values": self.values.iter().map(value).collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.as_deref().unwrap_or("(ambiguous path)");
        writeln!(f, "{} {path} at listener {}", self.method, self.listener)?;
        if !self.rules.is_empty() {
            writeln!(f, "\nrules")?;
        }
        for (name, why) in &self.rules {
            match why {
                None => writeln!(f, "  + {name}")?,
                Some(why) => writeln!(f, "  - {name}: {why}")?,
            }
        }
        if !self.actions.is_empty() {
            writeln!(f, "\nselectors, the first that selects a value acts on it")?;
        }
        for a in &self.actions {
            write!(f, "  {} {}  rule {}, class {}, key {}, {}", a.verb, a.selector, a.rule, a.class, a.key, a.mode)?;
            if a.buffering != Buffering::Streaming.name() {
                write!(f, ", {}", a.buffering)?;
            }
            if let Some((profile, cost)) = &a.delegated {
                write!(f, ", by the API of profile {profile} ({cost})")?;
            }
            for option in a.suite.iter().copied().chain(a.options.iter().map(String::as_str)) {
                write!(f, ", {option}")?;
            }
            match a.selects {
                Some(0) => writeln!(f, "; selects nothing here")?,
                _ => writeln!(f)?,
            }
        }
        if !self.values.is_empty() {
            writeln!(f, "\nvalues")?;
        }
        for v in &self.values {
            write!(f, "  {}  {}", v.location, v.happens)?;
            if let Some(a) = self.actions.get(v.action) {
                write!(f, "; by {} of rule {}", a.selector, a.rule)?;
            }
            match v.token_length {
                Some(length) => writeln!(f, ", token of {length} characters")?,
                None => writeln!(f)?,
            }
        }
        if !self.notes.is_empty() || self.refused.is_some() {
            writeln!(f)?;
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        if let Some((status, why)) = &self.refused {
            writeln!(f, "refused with {status}: {why}")?;
        }
        Ok(())
    }
}
