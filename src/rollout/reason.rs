//! Why a step is not safe: a stable word for machines, a sentence, and the way out.

use serde::Serialize;

use super::Way;

/// See `docs/cli.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// A replica did not tell.
    Unreachable,
    /// Fewer processes told than there are.
    TooFewReplicas,
    /// A replica goes on with older rules, since it refused newer ones.
    ReloadFailed,
    /// There is nothing to judge.
    NoRules,
    /// A replica has no such rule.
    MissingRule,
    /// Replicas do different things under one name.
    RulesDiffer,
    /// Replicas are more than one step apart.
    ModesApart,
    /// Too few requests, or values, to conclude anything from.
    TooLittleEvidence,
    /// The counts are younger than the time that must pass without incident.
    TooEarly,
    /// Nothing was ever selected.
    NeverMatched,
    /// Tokens would not fit what the application takes.
    Unfit,
    /// Callers send tokens where sealing refuses them.
    TokensSent,
    /// Numbers, booleans, objects become strings.
    TypeChange,
    /// Messages that the rule cannot read would be refused.
    Unreadable,
    /// The rule refused exchanges.
    Refusals,
    /// Values could not be sealed or opened, and passed or were redacted.
    FailingValues,
    /// Plaintext was read where tokens should be.
    Plaintext,
    /// Tokens were read that lack what the rule asks.
    Lesser,
    /// Tokens were read that nobody would open any more.
    TokensSeen,
    /// What was not read was not seen.
    UnreadRows,
    /// Nothing says how long a token may be.
    NoMaxLength,
    /// A selector never selected anything, though its class was found by another.
    SilentSelector,
    /// Some replicas have taken the step already.
    UnderWay,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Unreachable,
        Self::TooFewReplicas,
        Self::ReloadFailed,
        Self::NoRules,
        Self::MissingRule,
        Self::RulesDiffer,
        Self::ModesApart,
        Self::TooLittleEvidence,
        Self::TooEarly,
        Self::NeverMatched,
        Self::Unfit,
        Self::TokensSent,
        Self::TypeChange,
        Self::Unreadable,
        Self::Refusals,
        Self::FailingValues,
        Self::Plaintext,
        Self::Lesser,
        Self::TokensSeen,
        Self::UnreadRows,
        Self::NoMaxLength,
        Self::SilentSelector,
        Self::UnderWay,
    ];

    /// As it is told.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TooFewReplicas => "too-few-replicas",
            Self::ReloadFailed => "reload-failed",
            Self::NoRules => "no-rules",
            Self::MissingRule => "missing-rule",
            Self::RulesDiffer => "rules-differ",
            Self::ModesApart => "modes-apart",
            Self::TooLittleEvidence => "too-little-evidence",
            Self::TooEarly => "too-early",
            Self::NeverMatched => "never-matched",
            Self::Unfit => "unfit",
            Self::TokensSent => "tokens-sent",
            Self::TypeChange => "type-change",
            Self::Unreadable => "unreadable",
            Self::Refusals => "refusals",
            Self::FailingValues => "failing-values",
            Self::Plaintext => "plaintext",
            Self::Lesser => "lesser",
            Self::TokensSeen => "tokens-seen",
            Self::UnreadRows => "unread-rows",
            Self::NoMaxLength => "no-max-length",
            Self::SilentSelector => "silent-selector",
            Self::UnderWay => "under-way",
        }
    }

    /// The way out.
    pub fn help(self) -> &'static str {
        match self {
            Self::Unreachable => {
                "every replica must be asked: one that is not may be a step behind; see that it runs and that this is its admin or probe address"
            }
            Self::TooFewReplicas => {
                "name them all with --admin or --probe; a host name that resolves to several addresses stands for all of them"
            }
            Self::ReloadFailed => "correct the rules: `sidecloak check`, and the process's log, say what is wrong",
            Self::NoRules => {
                "see that the processes run with these rules, and that --rule names one that seals or opens"
            }
            Self::MissingRule => "bring the same rules to every replica, first in the earlier mode",
            Self::RulesDiffer => "bring the same rules to every replica before the mode changes",
            Self::ModesApart => "bring the replicas that are behind up, one step at a time, before any other goes on",
            Self::TooLittleEvidence => "wait for traffic, or lower --min-requests if this is all there is",
            Self::TooEarly => "wait, or give a shorter --window if the traffic of that time is all there is",
            Self::NeverMatched => {
                "see `sidecloak explain` for a real message; if such values are only rarely sent, accept it with --accept never-matched"
            }
            Self::Unfit => {
                "make the column longer, or the check in the application wider, then raise max_length or take format off the rule"
            }
            Self::TokensSent => {
                "find out which callers send tokens; if they send back what they read before, `on_token: keep` with `bind` lets those stay"
            }
            Self::TypeChange => {
                "see that the application and its columns take a string there, then --accept type-change"
            }
            Self::Unreadable => {
                "see the media types and codings of these messages: json_types, or on_media_type and its like with `pass`, or another match"
            }
            Self::Refusals => {
                "the log has a line `refused` with the detail for each; they must end before the next step"
            }
            Self::FailingValues => "the log and `sidecloak keys list` tell why; they must end before the next step",
            Self::Plaintext => {
                "rewrite what is stored: `sidecloak rewrite` through the proxy; then wait until none is read for as long as --window says"
            }
            Self::Lesser => {
                "rewrite what is stored, so that it is signed and bound as the rule asks: `sidecloak rewrite`"
            }
            Self::TokensSeen => {
                "open what is stored first: `sidecloak rewrite` through the proxy in `read`, or `sidecloak open`; callers would be given tokens"
            }
            Self::UnreadRows => "`sidecloak rewrite --dry-run` reads all of them and says how many are left",
            Self::NoMaxLength => {
                "compare it with the column, and write max_length on the rule: then longer ones are counted before they are refused"
            }
            Self::SilentSelector => {
                "see `sidecloak explain` for a real message; a selector that misses protects nothing"
            }
            Self::UnderWay => "go on until all replicas have taken it",
        }
    }

    /// Of its word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.word() == word)
    }
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// For machines.
    pub code: Code,
    /// Which rule it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Which class of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Which direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Way>,
    /// For people.
    pub message: String,
    /// The way out.
    pub help: &'static str,
    /// Somebody has looked at it (`--accept`), and it stops nothing.
    pub accepted: bool,
}

impl Reason {
    /// About everything.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            rule: None,
            class: None,
            direction: None,
            message: message.into(),
            help: code.help(),
            accepted: false,
        }
    }

    /// About a rule.
    #[must_use]
    pub fn rule(mut self, rule: &str) -> Self {
        self.rule = Some(rule.to_owned());
        self
    }

    /// About a class of it.
    #[must_use]
    pub fn class(mut self, class: &str, direction: Way) -> Self {
        (self.class, self.direction) = (Some(class.to_owned()), Some(direction));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_json_and_unique() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.word());
            assert_eq!(Code::named(code.word()), Some(code));
        }
        assert_eq!(Code::named("other"), None);
    }
}
