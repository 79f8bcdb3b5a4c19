//! The plan of one exchange: from the rules that matched it and the request's own words, before anything is changed.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use crate::jsonpath::{Path, Selectors};
use crate::name::{Class, PartitionName};
use crate::refusal::{Reason, Refusal};
use crate::rules::profile::Profile;
use crate::rules::route::Captures;
use crate::rules::{
    Action, Binding, Caching, Key, Mode, OnToken, OnUnreadable, Part, Place, Rule, RuleKind, UnreadableHalf, Validate,
    Verb, Words,
};

use super::{Need, quick};

/// Which way a body goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the upstream.
    Request,
    /// And back.
    Response,
}

/// What happens to the bodies of one exchange in one direction, or to what stands outside of them.
#[derive(Debug)]
pub struct HalfPlan {
    /// Which.
    pub direction: Direction,
    /// In file order; the first field that selects a value acts on it. Of JSON, unless the plan is one of [`HalfPlan::forms`]
    /// or [`HalfPlan::outside`].
    pub fields: Vec<PlannedField>,
    /// The paths of `fields`, for the editor; none, if those are not of JSON.
    pub paths: Vec<Arc<Path>>,
    /// The fields of forms, in file order; see [`HalfPlan::forms`].
    pub form: Vec<PlannedField>,
    /// The strictest of the rules' answers to what the engine cannot read.
    pub unreadable: UnreadableHalf,
    /// Each rule's own, for [`HalfPlan::only`].
    each: Vec<Each>,
    /// Where the rule that all of `fields` are of, if it is one, keeps its selectors.
    sole: Option<Arc<[OnceLock<Selectors>; 2]>>,
    /// See [`HalfPlan::needs`]; with the place of the field in [`HalfPlan::all`].
    needs: OnceLock<Vec<(Need, usize)>>,
    /// See [`HalfPlan::traits`].
    traits: OnceLock<Traits>,
    /// All rules' `json_types`.
    pub json_types: Vec<String>,
    /// All rules' `signature_headers`.
    pub signature_headers: Vec<String>,
    /// The smallest `max_buffered` of the rules that give one.
    pub max_buffered: Option<usize>,
    /// `Full`, unless all rules say otherwise.
    pub validate: Validate,
    /// `cache: keep` of every rule.
    pub keep_cache: bool,
    /// The smallest `always_length` of the rules that give one.
    pub always_length: Option<usize>,
    /// The rule that is named where no single action is at fault.
    pub rule: Arc<str>,
}

/// What is asked of a plan for every body.
#[derive(Debug, Clone, Copy)]
pub struct Traits {
    /// See [`HalfPlan::changes`].
    pub changes: bool,
    /// Every field may change values.
    pub all_change: bool,
    /// Some field opens values.
    pub opens: bool,
    /// Some field of `fields` signs what it seals.
    pub signs: bool,
    /// Some field of `fields` is a managed API's.
    pub managed: bool,
    /// Some field of `fields` must select something.
    pub required: bool,
}

/// What a plan keeps of a rule.
#[derive(Debug, Clone)]
struct Each {
    rule: Arc<str>,
    unreadable: UnreadableHalf,
    /// At most so many partitions, if it makes those that are not there.
    provision: Option<usize>,
}

/// One path with what is done to the values it selects.
#[derive(Debug, Clone)]
pub struct PlannedField {
    /// The action.
    pub action: Arc<Action>,
    /// The captured segment that its values are bound to.
    pub record: Option<Arc<str>>,
    /// Index into the action's fields.
    pub index: usize,
    /// Which partition.
    pub target: Target,
    /// What becomes of text that begins as a token, where sealing finds it.
    pub on_token: OnToken,
    /// Whether nothing about its values is unusual.
    pub plain: bool,
}

/// Which partition a field's values belong to, in this exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// This one.
    One(PartitionName),
    /// The token's own, if the key's glob matches it.
    Glob(Key),
    /// That of a profile whose API does something with single values.
    Managed(Arc<Profile>),
}

impl Target {
    /// The partition, where it is known before a token is seen.
    pub fn partition(&self) -> Option<&PartitionName> {
        match self {
            Self::One(partition) => Some(partition),
            Self::Managed(profile) => Some(&profile.partition),
            Self::Glob(_) => None,
        }
    }
}

/// See [`HalfPlan::share`].
#[derive(Debug)]
pub struct Share<'p> {
    /// Its fields are all of one kind.
    pub plan: Cow<'p, Arc<HalfPlan>>,
    /// The rules that have none of that kind, and let such bodies pass.
    pub unread: Vec<Arc<str>>,
}

/// What a value is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound<'a> {
    /// This, or where its rule binds it to nothing, nothing.
    To(Option<&'a [u8]>),
    /// Its rule binds it to something that is not there, not once, or nothing to bind to.
    Missing,
}

impl PlannedField {
    /// What a value is bound to where the document says `record`.
    pub fn bound<'a>(&'a self, record: Option<&'a [u8]>) -> Bound<'a> {
        match &self.action.bind {
            None => Bound::To(None),
            Some(Binding::Segment(_)) => {
                self.record.as_ref().map(|segment| segment.as_bytes()).map_or(Bound::Missing, to)
            }
            Some(Binding::Value(_)) => record.map_or(Bound::Missing, to),
        }
    }

    /// The class of its values.
    pub fn class(&self) -> Option<&Class> {
        self.action.fields.get(self.index).map(|f| &f.class)
    }

    /// Whether a JSON patch may compare one of its values with what is stored; why not.
    pub fn compared(&self) -> Result<(), &'static str> {
        let action = &self.action;
        if action.verb == Verb::Seal && changes(action) && !action.deterministic {
            return Err(
                "a JSON patch tests a sealed value, and no two tokens of one value are equal without `deterministic`",
            );
        }
        Ok(())
    }

    /// Whether a JSON patch may take one of its values to a place of `to`; why not.
    pub fn carried_to(&self, to: &Self) -> Result<(), &'static str> {
        if !changes(&self.action) && !changes(&to.action) {
            return Ok(());
        }
        let alike = match (&self.action.inside, &to.action.inside) {
            (None, None) => (self.class(), &self.target) == (to.class(), &to.target),
            // Of one item, whatever a string holds is of the same classes.
            _ => Arc::ptr_eq(&self.action, &to.action),
        };
        if alike && self.action.bind.is_none() && to.action.bind.is_none() {
            return Ok(());
        }
        Err("a JSON patch takes a sealed value to a place where it is of another class or partition, or is bound")
    }

    /// The path that selects it.
    pub fn path(&self) -> Option<&Arc<Path>> {
        self.action.fields.get(self.index).and_then(|f| f.path())
    }

    /// Where its values stand.
    pub fn place(&self) -> Option<&Place> {
        self.action.fields.get(self.index).map(|f| &f.place)
    }

    /// The selector as written.
    pub fn selector(&self) -> Option<&Arc<str>> {
        self.action.fields.get(self.index).map(|f| &f.selector)
    }
}

impl HalfPlan {
    /// The plan for bodies in one direction; `None` if no rule has anything to do there.
    pub fn new<'a>(
        direction: Direction,
        rules: &[(Arc<Rule>, Captures)],
        words: impl Into<Words<'a>>,
    ) -> Result<Option<Self>, Refusal> {
        Self::of(direction, rules, &words.into(), true, false)
    }

    /// The same; one for all exchanges that meet a rule of which nothing depends on the request, and no other.
    pub fn shared<'a>(
        direction: Direction,
        rules: &[(Arc<Rule>, Captures)],
        words: impl Into<Words<'a>>,
    ) -> Result<Option<Arc<Self>>, Refusal> {
        let kept = match rules {
            [(rule, _)] if is_fixed(rule, direction) => rule.plans.get(direction as usize),
            _ => None,
        };
        if let Some(plan) = kept.and_then(OnceLock::get) {
            return Ok(plan.clone());
        }
        let plan = Self::new(direction, rules, words)?.map(Arc::new);
        Ok(match kept {
            Some(kept) => kept.get_or_init(|| plan).clone(),
            None => plan,
        })
    }

    /// The plan for what stands outside the bodies, in `fields`; `None` if no rule has anything to do there. `looks_up`: the
    /// request is a GET or HEAD, where links that the application made carry tokens.
    pub fn outside<'a>(
        direction: Direction,
        rules: &[(Arc<Rule>, Captures)],
        words: impl Into<Words<'a>>,
        looks_up: bool,
    ) -> Result<Option<Self>, Refusal> {
        Self::of(direction, rules, &words.into(), false, looks_up)
    }

    /// The plan for a body of form fields, which stand in `fields`; `None` if no rule has anything to do there.
    pub fn forms(&self) -> Option<Arc<Self>> {
        let mut plan = self.with(&self.form, &[], |_| true)?;
        plan.fields = std::mem::take(&mut plan.form);
        Some(Arc::new(plan))
    }

    fn of(
        direction: Direction,
        rules: &[(Arc<Rule>, Captures)],
        words: &Words<'_>,
        bodies: bool,
        looks_up: bool,
    ) -> Result<Option<Self>, Refusal> {
        let wanted = |action: &Action| (action.part == Part::Outside) != bodies;
        let mut plan: Option<Self> = None;
        for (rule, captures) in rules {
            let actions = actions(rule, direction);
            let unreadable = match direction {
                Direction::Request => rule.limits.request,
                Direction::Response => rule.limits.response,
            };
            if !actions.iter().any(|action| wanted(action)) {
                continue;
            }
            let first = plan.is_none();
            let plan = plan.get_or_insert_with(|| Self::empty(direction, &rule.name, unreadable));
            // A rule keeps the selectors of bodies alone.
            plan.sole = (first && bodies).then(|| Arc::clone(&rule.selectors));
            plan.max_buffered = [plan.max_buffered, rule.limits.max_buffered].into_iter().flatten().min();
            plan.keep_cache &= rule.limits.cache == Caching::Keep;
            plan.always_length = [plan.always_length, rule.limits.always_length].into_iter().flatten().min();
            if rule.limits.validate == Validate::Full {
                plan.validate = Validate::Full;
            }
            plan.unreadable = strictest(plan.unreadable, unreadable);
            let provision = rule.limits.provision.then_some(rule.limits.max_partitions);
            plan.each.push(Each { rule: Arc::clone(&rule.name), unreadable, provision });
            plan.json_types.extend(rule.limits.json_types.iter().cloned());
            plan.signature_headers.extend(rule.limits.signature_headers.iter().cloned());
            let fields = actions.iter().map(|action| action.fields.len()).sum();
            plan.paths.reserve(fields);
            plan.fields.reserve(fields);
            for action in actions.iter().filter(|action| wanted(action)) {
                let target = target(action, captures, words)?;
                let record = record(action, captures);
                for (index, field) in action.fields.iter().enumerate() {
                    let keeps = looks_up && action.keeps_links && field.place.is_in_target();
                    let planned = PlannedField {
                        plain: quick::is_plain(action, &target),
                        action: Arc::clone(action),
                        record: record.clone(),
                        index,
                        target: target.clone(),
                        on_token: if keeps { OnToken::Keep } else { action.on_token },
                    };
                    plan.paths.extend(field.path().cloned());
                    if action.part == Part::Form { plan.form.push(planned) } else { plan.fields.push(planned) }
                }
            }
        }
        Ok(plan)
    }

    /// The paths in the form that is matched.
    pub fn selectors(&self) -> Selectors {
        match self.sole.as_ref().and_then(|selectors| selectors.get(self.direction as usize)) {
            Some(kept) => kept.get_or_init(|| Selectors::new(&self.paths)).clone(),
            None => Selectors::once(&self.paths),
        }
    }

    /// Whether the body may leave changed; otherwise it is only looked at.
    pub fn changes(&self) -> bool {
        self.traits().changes
    }

    /// What is asked for every body, found out once.
    pub fn traits(&self) -> &Traits {
        self.traits.get_or_init(|| {
            let signs = |f: &PlannedField| {
                f.action.sign && f.action.verb == Verb::Seal && changes(&f.action) && f.action.key.delegated().is_none()
            };
            Traits {
                changes: self.all().any(|f| changes(&f.action)),
                all_change: self.all().all(|f| changes(&f.action)),
                opens: self.all().any(|f| f.action.verb == Verb::Open && changes(&f.action)),
                signs: self.fields.iter().any(signs),
                managed: self.fields.iter().any(|f| matches!(f.target, Target::Managed(_))),
                required: self.fields.iter().any(|f| f.action.required && changes(&f.action)),
            }
        })
    }

    /// What is known to be needed before the body comes, and for which field: it is asked for early, so that a missing key refuses
    /// the request before the upstream acts on it.
    pub fn needs(&self) -> impl Iterator<Item = (&Need, &PlannedField)> {
        let needs = self.needs.get_or_init(|| self.find_needs());
        needs.iter().filter_map(|(need, at)| Some((need, self.all().nth(*at)?)))
    }

    fn find_needs(&self) -> Vec<(Need, usize)> {
        let mut needs = Vec::new();
        let mut before: Option<&Arc<Action>> = None;
        for (at, field) in self.all().enumerate().filter(|(_, f)| changes(&f.action)) {
            // One action has one target, so its second field needs what its first one does.
            if before.replace(&field.action).is_some_and(|before| Arc::ptr_eq(before, &field.action)) {
                continue;
            }
            let Some(partition) = field.target.partition() else { continue };
            // Where nothing was sealed there is nothing to open: looking for it makes no partition.
            let provision = self
                .each
                .iter()
                .find(|each| field.action.verb == Verb::Seal && each.rule == field.action.rule)
                // A profile's partition lists the recipient that its API keeps, so it is not made in passing.
                .filter(|_| matches!(field.target, Target::One(_)))
                .and_then(|each| each.provision);
            // A value too long for its API is rare enough to ask for an epoch only then.
            let seals = field.action.verb == Verb::Seal && field.action.key.delegated().is_none();
            let want = [
                Some(Need::Partition(partition.clone(), provision)),
                seals.then(|| Need::Sealing(partition.clone(), super::seal::kind(&field.action))),
                (seals && field.action.sign).then(|| Need::Signer(partition.clone())),
            ];
            for need in want.into_iter().flatten() {
                if !needs.iter().any(|(known, _)| *known == need) {
                    needs.push((need, at));
                }
            }
        }
        needs
    }

    /// All fields, whatever they are of.
    pub fn all(&self) -> impl Iterator<Item = &PlannedField> {
        self.fields.iter().chain(&self.form)
    }

    /// What of the plan is about bodies of JSON or of form fields. A rule with no field in such a body reads none of it, and may
    /// refuse it for that; the error is the answer to a body that nothing of the plan is about.
    pub fn share(self: &Arc<Self>, part: Part) -> Result<Share<'_>, OnUnreadable> {
        if part == Part::Json && self.form.is_empty() {
            return Ok(Share { plan: Cow::Borrowed(self), unread: Vec::new() });
        }
        let fields = if part == Part::Form { &self.form } else { &self.fields };
        let has = |rule: &Arc<str>| fields.iter().any(|field| field.action.rule == *rule);
        let others = || self.each.iter().filter(|each| !has(&each.rule));
        if others().any(|each| each.unreadable.media_type == OnUnreadable::Reject) {
            return Err(OnUnreadable::Reject);
        }
        let plan = match part {
            Part::Form => self.forms(),
            // Its paths are the same, and with them what is kept of them.
            Part::Json => {
                self.with(&[], &self.fields, |_| true).map(|plan| Arc::new(Self { sole: self.sole.clone(), ..plan }))
            }
            Part::Outside => None,
        };
        let unread = others().map(|each| Arc::clone(&each.rule)).collect();
        plan.map(|plan| Share { plan: Cow::Owned(plan), unread }).ok_or(OnUnreadable::Pass)
    }

    /// The plan with those actions alone; `None` if none is left.
    pub fn only(self: &Arc<Self>, keep: impl Fn(&Action) -> bool) -> Option<Arc<Self>> {
        if self.all().all(|field| keep(&field.action)) {
            return Some(Arc::clone(self));
        }
        self.with(&self.form, &self.fields, keep).map(Arc::new)
    }

    /// The plan with those of these fields alone that are kept; `None` if none is left.
    fn with(&self, form: &[PlannedField], fields: &[PlannedField], keep: impl Fn(&Action) -> bool) -> Option<Self> {
        let kept = |fields: &[PlannedField]| -> Vec<PlannedField> {
            fields.iter().filter(|field| keep(&field.action)).cloned().collect()
        };
        let (form, fields) = (kept(form), kept(fields));
        let paths = fields.iter().filter_map(|field| field.path().cloned()).collect();
        let acts = |rule: &Arc<str>| fields.iter().chain(&form).any(|field| field.action.rule == *rule);
        let each: Vec<_> = self.each.iter().filter(|each| acts(&each.rule)).cloned().collect();
        let unreadable = each.iter().map(|each| each.unreadable).reduce(strictest)?;
        let rule = each.first().map(|each| Arc::clone(&each.rule))?;
        Some(Self {
            direction: self.direction,
            fields,
            paths,
            form,
            unreadable,
            each,
            sole: None,
            needs: OnceLock::new(),
            traits: OnceLock::new(),
            json_types: self.json_types.clone(),
            signature_headers: self.signature_headers.clone(),
            max_buffered: self.max_buffered,
            validate: self.validate,
            keep_cache: self.keep_cache,
            always_length: self.always_length,
            rule,
        })
    }

    fn empty(direction: Direction, rule: &Arc<str>, unreadable: UnreadableHalf) -> Self {
        Self {
            direction,
            fields: Vec::new(),
            paths: Vec::new(),
            form: Vec::new(),
            unreadable,
            each: Vec::new(),
            sole: None,
            needs: OnceLock::new(),
            traits: OnceLock::new(),
            json_types: Vec::new(),
            signature_headers: Vec::new(),
            max_buffered: None,
            validate: Validate::Structure,
            keep_cache: true,
            always_length: None,
            rule: Arc::clone(rule),
        }
    }
}

/// Whether a rule may change anything; otherwise it only looks.
pub fn acts(rule: &Rule) -> bool {
    match &rule.kind {
        RuleKind::Fields { request, response } => request.iter().chain(response).any(|action| changes(action)),
        RuleKind::Pass | RuleKind::Reject => false,
    }
}

/// What a rule does in one direction.
fn actions(rule: &Rule, direction: Direction) -> &[Arc<Action>] {
    match (&rule.kind, direction) {
        (RuleKind::Fields { request, .. }, Direction::Request) => request,
        (RuleKind::Fields { response, .. }, Direction::Response) => response,
        (RuleKind::Pass | RuleKind::Reject, _) => &[],
    }
}

/// Whether what a rule does is the same for every request.
fn is_fixed(rule: &Rule, direction: Direction) -> bool {
    let told = |action: &Action| {
        matches!(action.bind, Some(Binding::Segment(_))) || (matches!(action.key, Key::Template(_)) && changes(action))
    };
    !actions(rule, direction).iter().any(|action| told(action))
}

/// Whether an action in its mode may change a value.
pub fn changes(action: &Action) -> bool {
    match action.verb {
        Verb::Seal => action.mode >= Mode::Migrate,
        Verb::Open => action.mode >= Mode::Read,
    }
}

fn to(record: &[u8]) -> Bound<'_> {
    if record.is_empty() { Bound::Missing } else { Bound::To(Some(record)) }
}

fn record(action: &Action, captures: &Captures) -> Option<Arc<str>> {
    let Some(Binding::Segment(name)) = &action.bind else { return None };
    captures.iter().find(|(captured, _)| captured == name).map(|(_, value)| value.as_str().into())
}

fn target(action: &Action, captures: &Captures, words: &Words<'_>) -> Result<Target, Refusal> {
    match &action.key {
        // What changes nothing needs no partition, and refuses nothing for the lack of one.
        key if !changes(action) => Ok(Target::Glob(key.clone())),
        Key::Fixed(name) => Ok(Target::One(name.clone())),
        Key::Managed(profile) => Ok(Target::Managed(Arc::clone(profile))),
        key @ Key::Glob(_) => Ok(Target::Glob(key.clone())),
        key @ Key::Template(_) => key
            .resolve(captures, words)
            .map(Target::One)
            .map_err(|e| Refusal::new(Reason::Missing, e.to_string()).rule(&action.rule)),
    }
}

fn strictest(a: UnreadableHalf, b: UnreadableHalf) -> UnreadableHalf {
    let either = |x, y| if x == OnUnreadable::Reject { x } else { y };
    UnreadableHalf {
        media_type: either(a.media_type, b.media_type),
        invalid_json: either(a.invalid_json, b.invalid_json),
        encoding: either(a.encoding, b.encoding),
        too_large: either(a.too_large, b.too_large),
        upgrade: either(a.upgrade, b.upgrade),
        signature: either(a.signature, b.signature),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::rules::compile::{Context, load_text};
    use crate::rules::route::{NormalPath, RequestFacts};

    #[test]
    fn kept_selectors_are_of_exactly_the_fields_of_the_plan() {
        let rule = |name: &str, path: &str, action: &str| {
            format!("  - name: {name}\n    match: {{ path: {path} }}\n    {action}\n")
        };
        let text = format!(
            "rules:\n{}{}{}",
            rule("one", "/**", "protect: [{ fields: [$.a, $.b] }]"),
            rule("two", "/two", "protect: [{ fields: [$.c] }]"),
            rule("opens", "/opens", "response: [{ open: $.d }]")
        );
        let rules = load_text("t.yaml", &text, &Context::default()).rules.unwrap();
        let headers = HeaderMap::new();
        let plan = |path: &str, direction| {
            let path = NormalPath(path.into());
            let facts = RequestFacts {
                method: "POST",
                path: &path,
                ignore_case: false,
                listener: "",
                host: None,
                words: (&headers).into(),
            };
            Arc::new(HalfPlan::new(direction, &rules.route(&facts).rules, &headers).unwrap().unwrap())
        };
        let count = |plan: &HalfPlan| format!("{:?}", plan.selectors());
        for _ in 0..2 {
            assert_eq!(count(&plan("/one", Direction::Request)), "Selectors { paths: 2 }");
            assert_eq!(count(&plan("/one", Direction::Response)), "Selectors { paths: 2 }");
            assert_eq!(count(&plan("/opens", Direction::Request)), "Selectors { paths: 2 }");
            assert_eq!(count(&plan("/opens", Direction::Response)), "Selectors { paths: 3 }");
            let both = plan("/two", Direction::Request);
            assert_eq!(count(&both), "Selectors { paths: 3 }");
            let two = both.only(|action| &*action.rule == "two").unwrap();
            assert_eq!(count(&two), "Selectors { paths: 1 }");
        }
        assert!(rules.rules.iter().any(|rule| rule.selectors.iter().all(|kept| kept.get().is_some())), "kept");
    }

    #[test]
    fn a_plan_is_shared_where_every_request_has_the_same() {
        let text = r#"
rules:
  - { name: fixed, match: { path: /fixed }, protect: [{ fields: [$.a] }] }
  - { name: half, match: { path: /half }, response: [{ open: $.a }] }
  - { name: template, match: { path: "/t/{tenant}" }, protect: [{ fields: [$.a], key: "t-{tenant}" }] }
  - { name: bound, match: { path: "/b/{id}" }, protect: [{ fields: [$.a], bind: "path:id" }] }
  - { name: all, match: { path: /both }, protect: [{ fields: [$.a] }] }
  - { name: more, match: { path: /both }, protect: [{ fields: [$.b] }] }
"#;
        let loaded = load_text("t.yaml", text, &Context::default());
        let rules = loaded.rules.unwrap_or_else(|| panic!("{:?}", loaded.findings));
        let headers = HeaderMap::new();
        let plan = |path: &str, direction| {
            let path = NormalPath(path.into());
            let (method, listener, words) = ("POST", "", (&headers).into());
            let facts = RequestFacts { method, path: &path, ignore_case: false, listener, host: None, words };
            HalfPlan::shared(direction, &rules.route(&facts).rules, &headers).unwrap()
        };
        for (path, is_shared) in [("/fixed", true), ("/t/7", false), ("/b/7", false), ("/both", false)] {
            for direction in [Direction::Request, Direction::Response] {
                let [one, two] = [path, path].map(|path| plan(path, direction).unwrap());
                assert_eq!(Arc::ptr_eq(&one, &two), is_shared, "{path}");
                assert_eq!(one.direction, direction);
            }
        }
        assert!(plan("/half", Direction::Request).is_none() && plan("/half", Direction::Request).is_none());
        assert!(plan("/half", Direction::Response).is_some());
        let partition = |path: &str| plan(path, Direction::Request).unwrap().fields[0].target.clone();
        assert_ne!(partition("/t/7"), partition("/t/8"));
    }
}
