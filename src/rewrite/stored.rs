//! What is stored, seen without keys: which of the values that the rules select are tokens, and which are plaintext.

use std::collections::BTreeMap;

use http::{HeaderMap, Method};

use super::{Halt, HaltKind};
use crate::json::text::unescape;
use crate::jsonpath::{SelectedInside, select, select_inside};
use crate::proxy::headers;
use crate::rules::route::{RequestFacts, normalize};
use crate::rules::{Action, Mode, OnBad, Part, Reveal, RuleKind, RuleSet};
use crate::transform::plan::{Direction, HalfPlan, PlannedField};
use crate::transform::reveal::looks_masked;

/// See the module.
pub struct Stored {
    rules: RuleSet,
    method: Method,
    headers: HeaderMap,
    listener: String,
    /// Stands before every path.
    prefix: String,
}

/// What stands at a selected place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A value in the clear.
    Plaintext,
    /// A token.
    Sealed,
    /// Null, which stands for nothing.
    Null,
    /// Asterisks, or `[redacted]`: what a rule shows instead of a value.
    Masked,
}

/// What stands in one record, by place.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Look {
    /// Places as normalized paths, each with its class.
    pub places: BTreeMap<String, (String, Standing)>,
}

impl Stored {
    /// By these rules, as a request with this method and these headers would meet them.
    pub fn new(rules: RuleSet, method: Method, headers: HeaderMap, listener: String, prefix: String) -> Self {
        Self { rules, method, headers, listener, prefix }
    }

    /// Refuses rules under which reading and writing back does harm, or (`opens`: the way back) nothing.
    pub fn check(&self, path: &str, opens: bool) -> Result<(), Halt> {
        self.harms(path)?;
        let route = self.route(path)?;
        let mut seals = false;
        for (rule, _) in &route {
            let RuleKind::Fields { request, .. } = &rule.kind else { continue };
            for action in request.iter().filter(|action| action.part == Part::Json) {
                seals = true;
                let wrong = if opens { action.mode >= Mode::Migrate } else { action.mode < Mode::Migrate };
                if wrong {
                    let name = &action.rule;
                    return if opens {
                        refused(
                            format!("rule `{name}` seals what is written"),
                            "put it into `mode: read` first, at every replica",
                        )
                    } else {
                        refused(
                            format!("rule `{name}` seals nothing in its mode"),
                            "put it into `mode: migrate` first, at every replica",
                        )
                    };
                }
            }
        }
        if seals {
            return Ok(());
        }
        let message = format!("no rule seals anything in a {} of such a path", self.method);
        refused(message, "are --rules, --item and --method those of the proxy? see `sidecloak explain`")
    }

    /// Refuses rules that show something else than the value where a record with this path is read: it would be written back.
    pub fn harms(&self, path: &str) -> Result<(), Halt> {
        for (rule, _) in &self.route(path)? {
            let RuleKind::Fields { response, .. } = &rule.kind else { continue };
            for action in response.iter().filter(|action| action.part == Part::Json) {
                let name = &action.rule;
                if action.reveal != Reveal::Plain {
                    let message =
                        format!("rule `{name}` shows masks (`reveal`): they would be written over what is stored");
                    return refused(message, "walk through a listener whose rules show the values to whoever walks");
                }
                if matches!(action.on_error, OnBad::Redact | OnBad::Nullify) {
                    let message = format!(
                        "rule `{name}` shows `[redacted]` or null where a token does not open (`on_error`): it would be written over the token"
                    );
                    return refused(message, "say `on_error: reject` for the time of the walk");
                }
                if action.on_plaintext == OnBad::Redact && action.mode == Mode::Enforce {
                    let message = format!(
                        "rule `{name}` shows `[redacted]` for plaintext (`on_plaintext`): it would be written over it"
                    );
                    return refused(message, "walk while the rule is in `migrate`");
                }
            }
        }
        Ok(())
    }

    /// What stands in a record with this path, whose bytes are those that would be written.
    pub fn look(&self, path: &str, body: &[u8]) -> Result<Look, String> {
        let route = self.route(path).map_err(|halt| halt.message)?;
        let plan = HalfPlan::new(Direction::Request, &route, &self.headers).map_err(|refusal| refusal.to_string())?;
        let mut look = Look::default();
        let Some(plan) = plan else { return Ok(look) };
        for one in select(body, &plan.paths).map_err(|_| "it is no JSON".to_owned())? {
            let Some(field) = plan.fields.get(one.path) else { continue };
            let raw = body.get(one.span).unwrap_or_default();
            match &field.action.inside {
                None => look.add(field, one.location, raw),
                Some(selectors) => {
                    let inside = select_inside(raw, &one.location, selectors).map_err(|error| error.to_string())?;
                    for SelectedInside { location, path, raw, .. } in inside {
                        if let Some(field) = plan.fields.get(one.path.saturating_add(path)) {
                            look.add(field, location, &raw);
                        }
                    }
                }
            }
        }
        Ok(look)
    }

    fn route(
        &self,
        path: &str,
    ) -> Result<Vec<(std::sync::Arc<crate::rules::Rule>, crate::rules::route::Captures)>, Halt> {
        let path = format!("{}{}", self.prefix, path.split('?').next().unwrap_or_default());
        let path = normalize(&path, false)
            .map_err(|error| Halt::new(HaltKind::Usage, format!("the path of a record: {error}")))?;
        let host = headers::host(&self.headers);
        let facts = RequestFacts {
            method: self.method.as_str(),
            path: &path,
            ignore_case: false,
            listener: &self.listener,
            host: host.as_deref(),
            words: (&self.headers).into(),
        };
        Ok(self.rules.route(&facts).rules)
    }
}

impl Look {
    fn add(&mut self, field: &PlannedField, place: String, raw: &[u8]) {
        let class = field.class().map_or_else(String::new, |class| class.as_str().to_owned());
        self.places.insert(place, (class, standing(&field.action, raw)));
    }

    /// How many places stand so.
    pub fn count(&self, standing: Standing) -> usize {
        self.places.values().filter(|(_, known)| *known == standing).count()
    }

    /// Whether a value that was there before is not in this any more.
    pub fn lacks(&self, before: &Self) -> bool {
        let is_value = |standing: Standing| matches!(standing, Standing::Plaintext | Standing::Sealed);
        let is_here = |place: &String| self.places.get(place).is_some_and(|(_, standing)| is_value(*standing));
        before.places.iter().any(|(place, (_, standing))| is_value(*standing) && !is_here(place))
    }

    /// Whether writing this over what was seen stored would lose something: what stood there sealed must be read as a value.
    pub fn loses(&self, stored: &Self) -> Option<&'static str> {
        for (place, (_, standing)) in &stored.places {
            match (standing, self.places.get(place).map(|(_, standing)| *standing)) {
                (Standing::Sealed, Some(Standing::Null)) => return Some("what is stored sealed is shown as null"),
                (Standing::Sealed, Some(Standing::Sealed)) => {
                    return Some("the proxy does not open it for these credentials, or in this mode");
                }
                (_, Some(Standing::Masked)) if *standing != Standing::Masked => {
                    return Some("the proxy shows a mask of it");
                }
                _ => {}
            }
        }
        None
    }
}

fn refused<T>(message: String, help: &str) -> Result<T, Halt> {
    Err(Halt::new(HaltKind::Refused, message).help(help))
}

fn standing(action: &Action, raw: &[u8]) -> Standing {
    if raw == b"null" && !action.seal_nulls {
        return Standing::Null;
    }
    let content = raw.strip_prefix(b"\"").and_then(|raw| raw.strip_suffix(b"\""));
    if content.is_some_and(|content| action.key.looks_sealed(&unescape(content))) {
        return Standing::Sealed;
    }
    if looks_masked(raw) { Standing::Masked } else { Standing::Plaintext }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::rules::compile::{Context, load_text};

    const RULES: &str = r#"rules:
  - name: customers
    match: { path: "/customers/**" }
    mode: migrate
    protect:
      - { fields: ["$.ssn", "$.cards[*].pan"] }
      - { fields: "$.note", parse: json, fields_inside: "$.x" }
"#;

    fn stored(text: &str) -> Stored {
        let loaded = load_text("rules.yaml", text, &Context::default());
        let rules = loaded.rules.unwrap_or_else(|| panic!("{}", loaded.findings));
        Stored::new(rules, Method::PUT, HeaderMap::new(), "front".into(), String::new())
    }

    #[test]
    fn rules_are_those_of_the_proxys_own_path_and_host() {
        let text = plain().replace("path: \"/customers", "host: \"shop.test\", path: \"/base/customers");
        let loaded = load_text("rules.yaml", &text, &Context::default());
        let headers = HeaderMap::from_iter([(http::header::HOST, http::HeaderValue::from_static("shop.test:8080"))]);
        let stored = Stored::new(loaded.rules.unwrap(), Method::PUT, headers, "front".into(), "/base".into());
        assert_eq!(stored.look("/customers/1", br#"{"ssn":"1"}"#).unwrap().count(Standing::Plaintext), 1);
        assert!(stored.check("/customers/1", false).is_ok() && stored.check("/elsewhere", false).is_err());
    }

    fn plain() -> String {
        RULES.lines().filter(|line| !line.contains("parse")).map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn what_stands_where() {
        let stored = stored(&plain());
        let body = br#"{"id":1,"ssn":"123","cards":[{"pan":"\u0073c1.AAAA"},{"pan":null},{"pan":"****1234"}]}"#;
        let look = stored.look("/customers/1", body).unwrap();
        let expected = [
            ("$['cards'][0]['pan']", Standing::Sealed),
            ("$['cards'][1]['pan']", Standing::Null),
            ("$['cards'][2]['pan']", Standing::Masked),
            ("$['ssn']", Standing::Plaintext),
        ];
        let seen: Vec<_> = look.places.iter().map(|(place, (_, standing))| (place.as_str(), *standing)).collect();
        assert_eq!(seen, expected);
        assert_eq!(stored.look("/other", body).unwrap(), Look::default());
        let shown = |body: &[u8]| stored.look("/customers/1", body).unwrap();
        let sealed = shown(br#"{"ssn":"sc1.A"}"#);
        assert_eq!(shown(br#"{"ssn":"123"}"#).loses(&sealed), None);
        assert_eq!(shown(br#"{"ssn":null}"#).loses(&sealed), Some("what is stored sealed is shown as null"));
        assert!(shown(br#"{"ssn":"[redacted]"}"#).loses(&sealed).is_some());
        assert!(shown(br#"{"ssn":"sc1.A"}"#).loses(&sealed).is_some());
        assert_eq!(shown(br#"{"ssn":"****"}"#).loses(&shown(br#"{"ssn":"****"}"#)), None, "stored so");
        let before = shown(br#"{"ssn":"123","cards":[{"pan":"sc1.A"},{"pan":null}]}"#);
        assert!(!shown(br#"{"ssn":"sc1.A","cards":[{"pan":"sc1.B"}]}"#).lacks(&before));
        for less in
            [r#"{"ssn":null,"cards":[{"pan":"sc1.B"}]}"#, r#"{"ssn":"sc1.A","cards":[]}"#, r#"{"cards":[{"pan":1}]}"#]
        {
            assert!(shown(less.as_bytes()).lacks(&before), "{less}");
        }
    }

    #[rstest]
    #[case("mode: migrate", "", false, None)]
    #[case("mode: migrate", "", true, Some("seals what is written"))]
    #[case("mode: read", "", true, None)]
    #[case("mode: read", "", false, Some("seals nothing"))]
    #[case("mode: observe", "", false, Some("seals nothing"))]
    #[case("mode: migrate", ", reveal: mask(4)", false, Some("masks"))]
    #[case("mode: read", ", on_error: nullify", true, Some("on_error"))]
    fn rules_that_do_harm_are_refused(
        #[case] mode: &str,
        #[case] more: &str,
        #[case] opens: bool,
        #[case] says: Option<&str>,
    ) {
        let text = plain().replace("mode: migrate", mode).replace("pan\"]", &format!("pan\"]{more}"));
        let halt = stored(&text).check("/customers/1", opens).err().map(|halt| halt.message);
        match (halt, says) {
            (None, None) => {}
            (Some(message), Some(says)) => assert!(message.contains(says), "{message}"),
            other => panic!("{other:?}"),
        }
        assert!(stored(&text).check("/elsewhere", opens).unwrap_err().message.contains("no rule seals"));
    }
}
