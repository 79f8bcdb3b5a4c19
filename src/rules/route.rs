//! Which rules an exchange meets.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use http::header::HeaderName;

pub use super::path::{Ambiguous, NormalPath, normalize};

use super::glob::{PathPattern, wild};
use super::media::essence;
use super::{Rule, RuleKind, RuleSet, Words};

/// The headers that make some upstreams see another path or method than the request line's.
static OVERRIDES: [HeaderName; 3] = [
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-http-method-override"),
];

/// The headers that would make the upstream see another path or method than we do; the first one present.
pub fn override_header(headers: &HeaderMap) -> Option<&'static str> {
    // One look at each name that is there costs less than a look-up for each of these.
    if !headers.keys().any(|name| OVERRIDES.contains(name)) {
        return None;
    }
    OVERRIDES.iter().find(|name| headers.contains_key(*name)).map(HeaderName::as_str)
}

/// What rules see of a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestFacts<'a> {
    /// As in the request line.
    pub method: &'a str,
    /// Normalised.
    pub path: &'a NormalPath,
    /// Whether the listener has `case: ignore`.
    pub ignore_case: bool,
    /// The listener's name.
    pub listener: &'a str,
    /// `Host` or `:authority`, lower case, without the port.
    pub host: Option<&'a str>,
    /// Its headers, and who sends it.
    pub words: Words<'a>,
}

/// Path segments that a rule's `{name}`s captured, decoded.
pub type Captures = Vec<(String, String)>;

/// The rules that apply to an exchange.
#[derive(Debug, Default)]
pub struct Route {
    /// In file order, with the path segments each captured; only `Fields` rules.
    pub rules: Vec<(Arc<Rule>, Captures)>,
    /// How the search ended.
    pub end: End,
}

/// See [`Route::end`].
#[derive(Debug, Default)]
pub enum End {
    /// No rule at all matched.
    #[default]
    Unmatched,
    /// Some did, all of them with fields.
    Matched,
    /// `action: pass`, of this rule; rules with fields before it still apply.
    Passed(Arc<Rule>),
    /// `action: reject`, of this rule.
    Rejected(Arc<Rule>),
}

/// The compiled `match` of a rule; an empty list is no condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Match {
    /// At least one.
    pub paths: Vec<PathPattern>,
    /// `except`
    pub except: Vec<PathPattern>,
    /// Upper case.
    pub methods: Vec<String>,
    /// Names of listeners.
    pub listeners: Vec<String>,
    /// Globs, lower case.
    pub hosts: Vec<String>,
    /// Globs over the names of the client's certificate.
    pub clients: Vec<String>,
    /// Names with globs over the value.
    pub headers: Vec<(HeaderName, String)>,
    /// First and last status.
    pub statuses: Vec<(u16, u16)>,
    /// Globs over the media type, lower case.
    pub content_types: Vec<String>,
}

impl Route {
    /// The rule whose pattern stands for the path in the log.
    pub fn named(&self) -> Option<&Arc<Rule>> {
        let passed = match &self.end {
            End::Passed(rule) | End::Rejected(rule) => Some(rule),
            End::Unmatched | End::Matched => None,
        };
        self.rules.first().map(|(rule, _)| rule).or(passed)
    }
}

impl RuleSet {
    /// The rules of a request.
    pub fn route(&self, facts: &RequestFacts<'_>) -> Route {
        let mut route = Route::default();
        let segments = segments(facts);
        for rule in &self.rules {
            let Ok(captures) = rule.matches.request(facts, segments.as_deref()) else { continue };
            route.end = End::Matched;
            match rule.kind {
                RuleKind::Fields { .. } => {
                    // Most requests meet one: room for that, and for more when they come.
                    if route.rules.is_empty() {
                        route.rules = Vec::with_capacity(1);
                    }
                    route.rules.push((Arc::clone(rule), captures));
                }
                RuleKind::Pass => {
                    route.end = End::Passed(Arc::clone(rule));
                    break;
                }
                RuleKind::Reject => {
                    route.end = End::Rejected(Arc::clone(rule));
                    break;
                }
            }
        }
        route
    }

    /// Every rule in order, and why it does not apply to this request where it does not.
    pub fn explain(&self, facts: &RequestFacts<'_>) -> Vec<(Arc<str>, Result<Captures, String>)> {
        let segments = segments(facts);
        let mut ended: Option<Arc<str>> = None;
        let mut all = Vec::with_capacity(self.rules.len());
        for rule in &self.rules {
            let result = match &ended {
                Some(by) => Err(format!("rule `{by}` ended the search")),
                None => rule.matches.request(facts, segments.as_deref()).map_err(|miss| miss.to_string()),
            };
            if result.is_ok() && !matches!(rule.kind, RuleKind::Fields { .. }) {
                ended = Some(Arc::clone(&rule.name));
            }
            all.push((Arc::clone(&rule.name), result));
        }
        all
    }
}

/// Every rule in order, and why it does not apply to this request where it does not; for `sidecloak explain`.
pub fn explain(rules: &RuleSet, facts: &RequestFacts<'_>) -> Vec<(Arc<str>, Result<(), String>)> {
    rules.explain(facts).into_iter().map(|(name, result)| (name, result.map(|_| ()))).collect()
}

impl Rule {
    /// Whether the rule's `status` and `content_type` conditions let it act on this response.
    pub fn acts_on_response(&self, status: u16, content_type: Option<&str>) -> bool {
        let Match { statuses, content_types, .. } = &self.matches;
        let status_fits =
            statuses.is_empty() || statuses.iter().any(|(first, last)| (*first..=*last).contains(&status));
        let type_fits = || {
            let essence = essence(content_type.unwrap_or_default());
            content_types.iter().any(|glob| wild(glob, &essence))
        };
        status_fits && (content_types.is_empty() || type_fits())
    }
}

/// Which condition of a rule fails; put into words only when somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Miss<'a> {
    Path,
    Except(&'a str),
    Method(&'a [String]),
    Listener(&'a [String]),
    Host(&'a [String]),
    Client(&'a [String]),
    Header(&'a HeaderName, &'a str),
}

impl fmt::Display for Miss<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path => f.write_str("the path matches none of its patterns"),
            Self::Except(pattern) => write!(f, "the path is excepted by `{pattern}`"),
            Self::Method(known) => write!(f, "the method is none of {}", known.join(", ")),
            Self::Listener(known) => write!(f, "the listener is none of {}", known.join(", ")),
            Self::Host(known) => write!(f, "the host matches none of {}", known.join(", ")),
            Self::Client(known) => write!(f, "the client's certificate has no name that matches {}", known.join(", ")),
            Self::Header(name, glob) => write!(f, "header `{name}` does not match `{glob}`"),
        }
    }
}

/// The segments of a normalised path; `None` for `*`, which no pattern meets.
fn segments<'a>(facts: &RequestFacts<'a>) -> Option<Vec<&'a str>> {
    let mut segments = Vec::with_capacity(8);
    segments.extend(facts.path.0.strip_prefix('/')?.split('/').filter(|s| !s.is_empty()));
    Some(segments)
}

impl Match {
    /// What the path captures, or which condition fails.
    fn request(&self, facts: &RequestFacts<'_>, segments: Option<&[&str]>) -> Result<Captures, Miss<'_>> {
        let hit = |pattern: &PathPattern| pattern.matches(segments?, facts.ignore_case);
        let captures = self.paths.iter().find_map(hit).ok_or(Miss::Path)?;
        if let Some(pattern) = self.except.iter().find(|p| hit(p).is_some()) {
            return Err(Miss::Except(&pattern.text));
        }
        // Method names are case-sensitive, but applications exist that take `patch` for PATCH.
        if !self.methods.is_empty() && !self.methods.iter().any(|m| m.eq_ignore_ascii_case(facts.method)) {
            return Err(Miss::Method(&self.methods));
        }
        if !self.listeners.is_empty() && !self.listeners.iter().any(|l| l == facts.listener) {
            return Err(Miss::Listener(&self.listeners));
        }
        if !self.hosts.is_empty() {
            let host = facts.host.unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
            if !self.hosts.iter().any(|glob| wild(glob, &host)) {
                return Err(Miss::Host(&self.hosts));
            }
        }
        let named = |glob: &String| facts.words.client.iter().any(|name| wild(glob, name));
        if !self.clients.is_empty() && !self.clients.iter().any(named) {
            return Err(Miss::Client(&self.clients));
        }
        for (name, glob) in &self.headers {
            let fits = |value: &http::HeaderValue| value.to_str().is_ok_and(|text| wild(glob, text));
            if !facts.words.headers.get_all(name).iter().any(fits) {
                return Err(Miss::Header(name, glob));
            }
        }
        Ok(captures)
    }

    /// Which segments of a path that it matches it captures.
    pub fn captured(&self, segments: &[&str], ignore_case: bool) -> Vec<(&str, usize)> {
        self.paths.iter().find_map(|pattern| pattern.captured(segments, ignore_case)).unwrap_or_default()
    }

    /// Whether no request and response can meet both; errs on `false`.
    pub fn disjoint(&self, other: &Self) -> bool {
        let apart = |a: &[String], b: &[String]| !a.is_empty() && !b.is_empty() && !a.iter().any(|x| b.contains(x));
        apart(&self.methods, &other.methods)
            || apart(&self.listeners, &other.listeners)
            || self.excepts(other)
            || other.excepts(self)
            || self.paths.iter().all(|a| other.paths.iter().all(|b| a.disjoint(b)))
    }
    fn excepts(&self, other: &Self) -> bool {
        other.paths.iter().all(|path| self.except.iter().any(|except| except.text == path.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::compile::{Context, load_text};

    fn facts<'a>(method: &'a str, path: &'a NormalPath, headers: &'a HeaderMap) -> RequestFacts<'a> {
        RequestFacts {
            method,
            path,
            ignore_case: false,
            listener: "front",
            host: Some("api.example"),
            words: headers.into(),
        }
    }

    fn rules(text: &str) -> RuleSet {
        let loaded = load_text("t.yaml", text, &Context::default());
        loaded.rules.unwrap_or_else(|| panic!("{}", loaded.findings))
    }

    #[test]
    fn the_first_pass_or_reject_ends_the_search() {
        let set = rules(
            "rules:\n  - { name: a, match: { path: /x/secret }, action: reject }\n  - { name: b, match: { path: /x/** , except: [/x/open] }, action: pass }\n  - { name: c, match: { path: /** }, action: reject }\n",
        );
        let headers = HeaderMap::new();
        let end = |path: &str| set.route(&facts("GET", &NormalPath(path.into()), &headers)).end;
        assert!(matches!(end("/x/secret"), End::Rejected(r) if &*r.name == "a"));
        assert!(matches!(end("/x/y"), End::Passed(r) if &*r.name == "b"));
        assert!(matches!(end("/x/open"), End::Rejected(r) if &*r.name == "c"));
        assert!(matches!(end("*"), End::Unmatched));
        let path = NormalPath("/x/y".into());
        let named = set.route(&facts("GET", &path, &headers)).named().map(|rule| rule.pattern.to_string());
        assert_eq!(named.as_deref(), Some("/x/**"), "the log names the rule that lets it pass");
        let why = explain(&set, &facts("GET", &path, &headers));
        assert_eq!(why[0].1, Err("the path matches none of its patterns".into()));
        assert_eq!(why[1].1, Ok(()));
        assert_eq!(why[2].1, Err("rule `b` ended the search".into()));
    }

    #[test]
    fn conditions_all_hold_or_say_why_not() {
        let set = rules(
            "rules:\n  - name: a\n    match: { path: /x, method: [POST, put], listener: front, host: \"*.example\", header: { x-tenant: \"a*\" }, status: [2xx, 404], content_type: \"*/*json\" }\n    action: reject\n",
        );
        let mut headers = HeaderMap::new();
        let path = NormalPath("/x".into());
        let why = |f: &RequestFacts<'_>| explain(&set, f).remove(0).1;
        assert!(why(&facts("POST", &path, &headers)).unwrap_err().contains("header `x-tenant`"));
        headers.insert("x-tenant", "acme".parse().unwrap());
        assert_eq!(why(&facts("post", &path, &headers)), Ok(()));
        assert!(why(&facts("PATCH", &path, &headers)).unwrap_err().contains("POST, PUT"));
        assert!(
            why(&RequestFacts { listener: "back", ..facts("PUT", &path, &headers) }).unwrap_err().contains("listener")
        );
        assert!(
            why(&RequestFacts { host: Some("x.test"), ..facts("PUT", &path, &headers) }).unwrap_err().contains("host")
        );
        assert_eq!(why(&RequestFacts { host: Some("API.Example."), ..facts("PUT", &path, &headers) }), Ok(()));
        let rule = &set.rules[0];
        assert!(rule.acts_on_response(201, Some("application/json; charset=utf-8")));
        assert!(rule.acts_on_response(404, Some("application/vnd.x+JSON")));
        assert!(!rule.acts_on_response(500, Some("application/json")));
        assert!(!rule.acts_on_response(200, Some("text/html")) && !rule.acts_on_response(200, None));
    }

    #[test]
    fn any_name_of_the_certificate_meets_client() {
        let set = rules(
            "rules:\n  - { name: a, match: { path: /x, client: [\"spiffe://bank/ns/teller/*\", \"*.bank\"] }, action: reject }\n",
        );
        let (headers, path) = (HeaderMap::new(), NormalPath("/x".into()));
        let why = |names: &[&str]| {
            let client: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let words = Words { client: &client, ..(&headers).into() };
            explain(&set, &RequestFacts { words, ..facts("GET", &path, &headers) }).remove(0).1
        };
        assert_eq!(why(&["spiffe://bank/ns/teller/sa/web"]), Ok(()));
        assert_eq!(why(&["spiffe://bank/ns/other", "web.bank"]), Ok(()));
        for names in [&[][..], &["spiffe://bank/ns/tellers/sa/web"], &["x.spiffe://bank/ns/teller/a"]] {
            assert!(why(names).unwrap_err().contains("certificate"), "{names:?}");
        }
    }

    #[test]
    fn override_headers_are_found() {
        let mut headers = HeaderMap::new();
        assert_eq!(override_header(&headers), None);
        headers.insert("X-Rewrite-URL", "/x".parse().unwrap());
        assert_eq!(override_header(&headers), Some("x-rewrite-url"));
    }
}
