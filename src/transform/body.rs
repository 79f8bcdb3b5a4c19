//! The editing of one body: the plan's paths find values, each value is sealed or opened, everything else passes as it is.

use std::borrow::Cow;
use std::sync::Arc;

use crate::audit::Use;
use crate::form::Form;
use crate::json::framing::Framing;
use crate::json::splice::{Fed, Replace, Step};
use crate::keyring::{Cached, KeyringError, Memo, Permissions};
use crate::metrics::rollout::Kind;
use crate::metrics::{FieldEvent, Metrics};
use crate::name::PartitionName;
use crate::refusal::{Reason, Refusal};
use crate::rules::media::Reading;
use crate::rules::{Field, OnBad, OnUnreadable, Part, Verb};

use crate::token::EpochId;
use crate::token::v1::Parser;

use super::content::Content;
use super::delegate::{Answer, DelegateError, Delegated};
use super::draft::Draft;
use super::embedded::{self, Opening};
use super::form;
use super::later::Later;
use super::parsed::{self, Parsing};
use super::plan::{HalfPlan, PlannedField, Target, changes};
use super::quick::{self, Like};
use super::tally::{Tally, used};
use super::{Done, Need, Sealer, open, seal};

/// Nesting deeper than this is refused: no real document needs it, and every reader of ours is bounded by it.
pub const MAX_DEPTH: usize = 512;

/// Output that waits behind values for managed APIs, beyond which those are asked at once.
const DRAFT: usize = 1024 * 1024;

/// Partitions of globs that one body's counts are remembered for.
const STRAYS: usize = 16;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerRole {
    /// The role whose permissions count.
    pub role: Cow<'static, str>,
    /// Whether the listener may show plaintext to this peer at all (`open_for`).
    pub may_see_plaintext: bool,
}

/// One body being edited.
pub struct BodyEdit {
    /// That of the fields, so that a piece of the body needs no hold on it of its own.
    plan: Arc<HalfPlan>,
    documents: Content,
    fields: Fields,
    /// Where some of the output may have to wait.
    draft: Option<Draft>,
    /// The last document has.
    ended: bool,
}

/// What is done to the selected values.
pub(super) struct Fields {
    pub(super) plan: Arc<HalfPlan>,
    pub(super) sealer: Arc<dyn Sealer>,
    pub(super) caller: CallerRole,
    max_value: usize,
    signs: bool,
    /// A merge patch, in which null removes a member.
    pub(super) merges: bool,
    tally: Tally,
    need: Option<Need>,
    /// What was asked for last.
    asked: Option<Need>,
    failed: Option<KeyringError>,
    pub(super) told: Told,
    /// Since `told` was forgotten, the sealer may have been asked.
    asks: bool,
    /// Where the token belongs that was looked at last; a glob does not say.
    pub(super) home: Option<PartitionName>,
    /// All that the caller was found to be allowed so far; for the audit log, which hears of it later.
    allowed: Option<(PartitionName, Permissions)>,
    /// What was done with the values of globs, by field.
    strays: Vec<(usize, PartitionName, Use, u64)>,
    /// The field whose value ended the body.
    broke: Option<usize>,
    /// Values that managed APIs are asked about.
    pub(super) later: Later,
    /// There are as many of those as may be.
    full: bool,
    /// How many values are done, or kept for later.
    values: u64,
    /// What the API says of the value at hand.
    pub(super) answer: Option<Result<Answer, DelegateError>>,
    /// A string that holds JSON, and is not done with.
    pub(super) parsed: Parsing,
    /// A text with tokens in it that is not done with.
    pub(super) opening: Opening,
    /// The body is one.
    pub(super) form: Option<Form>,
}

/// What the sealer said last. Forgotten whenever a piece of the body has been worked through, so that a change reaches the
/// rest of a long body and no key is held while the body is waited for.
#[derive(Default)]
pub(super) struct Told {
    pub(super) memo: Memo,
    pub(super) parser: Parser,
    permissions: Option<(PartitionName, Permissions)>,
    /// Of the token before.
    pub(super) home: Option<Home>,
}

/// Where a token belongs.
pub(super) struct Home {
    pub(super) epoch: EpochId,
    pub(super) partition: PartitionName,
    /// One of this epoch that was opened.
    pub(super) like: Option<Like>,
}

impl Told {
    /// What the caller may do in the partition that was asked about last.
    pub(super) fn permissions(&self) -> Option<(&PartitionName, Permissions)> {
        self.permissions.as_ref().map(|(of, permissions)| (of, *permissions))
    }
}

/// What became of one value.
pub(super) enum Outcome {
    Done(FieldEvent),
    /// Once a managed API has answered.
    Later(Delegated),
    Wait(Need),
}

/// How far a `feed` or `finish` came.
#[derive(Debug)]
pub enum Progress {
    /// Everything was taken in.
    All,
    /// Fetch this, then go on from this many bytes.
    Fetch(Need, usize),
    /// Have [`BodyEdit::jobs`] done, say so with [`BodyEdit::answered`], then go on from this many bytes.
    Delegate(usize),
}

impl BodyEdit {
    /// Starts on a body.
    pub fn new(
        plan: Arc<HalfPlan>,
        sealer: Arc<dyn Sealer>,
        caller: CallerRole,
        max_value: usize,
        reading: impl Into<Reading>,
    ) -> Self {
        let reading = reading.into();
        let pass = plan.unreadable.invalid_json == OnUnreadable::Pass;
        let lenient = if pass { plan.max_buffered.unwrap_or(max_value) } else { 0 };
        let waits = plan.traits().managed || (lenient > 0 && !reading.is_one());
        let merges = reading == Reading::Json(Framing::Merge);
        let mut fields = Fields::new(Arc::clone(&plan), sealer, caller, max_value, merges);
        let documents = Content::new(&reading, &plan, |index| fields.longest(index), lenient);
        fields.form = if let Reading::Form(form) = reading { Some(form) } else { None };
        Self { plan, documents, fields, draft: waits.then(Draft::default), ended: false }
    }

    /// Takes a piece of the body in and appends what may leave.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Progress, Refusal> {
        if let Some(wait) = self.fill()? {
            return Ok(wait);
        }
        let to = self.draft.as_mut().map_or(&mut *out, |draft| &mut draft.bytes);
        let fed = self.documents.feed(input, to, &mut Acting { plan: &self.plan, fields: &mut self.fields });
        self.fields.forget();
        self.leave(out);
        match self.progress(fed?)? {
            // What waits must not have the rest of a long body wait with it.
            Progress::All
                if self.draft.as_ref().is_some_and(|draft| draft.bytes.len() > DRAFT)
                    && !self.fields.later.is_empty() =>
            {
                Ok(Progress::Delegate(input.len()))
            }
            progress => Ok(progress),
        }
    }

    /// Has everything leave that was taken in, but for what cannot be known yet.
    pub fn flush(&mut self, out: &mut Vec<u8>) -> Result<Progress, Refusal> {
        if let Some(wait) = self.fill()? {
            return Ok(wait);
        }
        self.leave(out);
        Ok(if self.fields.later.is_empty() { Progress::All } else { Progress::Delegate(0) })
    }

    /// The body has ended.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<Progress, Refusal> {
        if let Some(wait) = self.fill()? {
            return Ok(wait);
        }
        if !self.ended {
            let to = self.draft.as_mut().map_or(&mut *out, |draft| &mut draft.bytes);
            let fed = self.documents.finish(to, &mut Acting { plan: &self.plan, fields: &mut self.fields });
            self.fields.forget();
            let progress = self.progress(fed?)?;
            if !matches!(progress, Progress::All) {
                self.leave(out);
                return Ok(progress);
            }
            self.ended = true;
        }
        let progress = self.flush(out)?;
        if matches!(progress, Progress::All) {
            self.fields.check_required()?;
        }
        Ok(progress)
    }

    /// What managed APIs are to do, after [`Progress::Delegate`].
    pub fn jobs(&mut self) -> Vec<Delegated> {
        self.fields.later.jobs()
    }

    /// What they did, in the order of the jobs.
    pub fn answered(&mut self, answers: Vec<Result<Answer, DelegateError>>) {
        self.fields.later.answered(answers);
    }

    /// A fetch failed: the value that waits is treated as its action's `on_error` says.
    pub fn fetch_failed(&mut self, error: KeyringError) {
        self.fields.fetch_failed(error);
    }

    /// Whom it asks: it fetches what the edit waits for.
    pub fn sealer(&self) -> &dyn Sealer {
        &*self.fields.sealer
    }

    /// How many values are done, or wait for a managed API.
    pub fn values(&self) -> u64 {
        self.fields.values
    }

    /// Whether it may sign, which takes long.
    pub fn signs(&self) -> bool {
        self.fields.signs
    }

    /// Bytes held back, for the memory budget.
    pub fn held(&self) -> usize {
        let parsed = self.fields.parsed.held() + self.fields.opening.held();
        self.documents.held() + parsed + self.fields.later.held() + self.draft.as_ref().map_or(0, Draft::held)
    }

    /// Of those, for values that wait for managed APIs.
    #[cfg(test)]
    pub(super) fn held_later(&self) -> usize {
        self.fields.later.held()
    }

    /// Whether documents of it passed unread, and which rule is named for it.
    pub fn unread(&self) -> Option<&Arc<str>> {
        (self.documents.unread() > 0).then_some(&self.fields.plan.rule)
    }

    /// Counts what happened.
    pub fn account(&self, metrics: &Metrics) {
        if self.documents.unread() > 0 {
            metrics.passed_unread(&self.fields.plan.rule, Reason::InvalidJson);
        }
        self.fields.count(metrics);
    }

    /// Puts the answers that are there in their places, until a value needs something else.
    fn fill(&mut self) -> Result<Option<Progress>, Refusal> {
        let Some(draft) = self.draft.as_mut().filter(|_| self.fields.later.is_answered()) else { return Ok(None) };
        let filled = draft.fill(&mut self.fields, &mut self.documents);
        self.fields.forget();
        if filled? { Ok(None) } else { self.progress(Fed::Waiting(0)).map(Some) }
    }

    fn leave(&mut self, out: &mut Vec<u8>) {
        if let Some(draft) = &mut self.draft {
            draft.leave(&mut self.fields.later, self.documents.unsettled(), out);
        }
    }

    fn progress(&mut self, fed: Fed) -> Result<Progress, Refusal> {
        match fed {
            Fed::All => Ok(Progress::All),
            Fed::Waiting(consumed) if std::mem::take(&mut self.fields.full) => Ok(Progress::Delegate(consumed)),
            Fed::Waiting(consumed) => match self.fields.need.take() {
                Some(need) => {
                    self.fields.asked = Some(need.clone());
                    Ok(Progress::Fetch(need, consumed))
                }
                None => Err(Refusal::new(Reason::KeyService, "a value waits for nothing")),
            },
        }
    }
}

impl Drop for BodyEdit {
    fn drop(&mut self) {
        self.fields.record();
    }
}

/// The fields at work on a piece of a body.
struct Acting<'a> {
    /// Theirs, so that a value needs no hold on it of its own.
    plan: &'a HalfPlan,
    fields: &'a mut Fields,
}

impl Replace for Acting<'_> {
    type Error = Refusal;

    fn begin(&mut self, selector: usize) -> usize {
        match self.plan.fields.get(selector) {
            // The text of such a string is looked at as a whole.
            Some(field) if field.action.inside.is_some() => self.buffer(),
            _ => self.fields.longest(selector),
        }
    }

    fn buffer(&mut self) -> usize {
        self.plan.max_buffered.unwrap_or(self.fields.max_value)
    }

    fn too_large(&mut self, selector: usize) -> Result<(), Refusal> {
        self.fields.too_large(selector)
    }

    fn compare(&mut self, selector: usize) -> Result<(), Refusal> {
        let Some(field) = self.plan.fields.get(selector) else { return Ok(()) };
        field.compared().map_err(|text| Refusal::new(Reason::Undecided, text).rule(&field.action.rule))
    }

    fn carry(&mut self, from: usize, to: usize) -> Result<(), Refusal> {
        let (Some(from), Some(to)) = (self.plan.fields.get(from), self.plan.fields.get(to)) else { return Ok(()) };
        from.carried_to(to).map_err(|text| Refusal::new(Reason::Undecided, text).rule(&from.action.rule))
    }

    fn replace(
        &mut self,
        selector: usize,
        raw: &[u8],
        record: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<Step, Refusal> {
        let fields = &mut *self.fields;
        if let Some(field) = self.plan.fields.get(selector)
            && quick::value(fields, selector, field, raw, out)
        {
            return Ok(Step::Done);
        }
        self.replace_by_rule(selector, raw, record, out)
    }

    fn taken_back(&mut self, from: usize) {
        self.fields.later.taken_back(from);
    }

    fn next_document(&mut self) {
        self.fields.parsed.next_document();
    }
}

impl Acting<'_> {
    /// Whatever its field says. Not inlined, so that what is quick saves no registers for it.
    #[inline(never)]
    fn replace_by_rule(
        &mut self,
        selector: usize,
        raw: &[u8],
        record: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<Step, Refusal> {
        let length = out.len();
        let fields = &mut *self.fields;
        match fields.act(self.plan, selector, raw, record, out)? {
            Outcome::Done(_) => Ok(Step::Done),
            Outcome::Later(job) if fields.later.is_full_for(raw, record, &job) => {
                fields.full = true;
                Ok(Step::Wait)
            }
            Outcome::Later(job) => {
                fields.later.keep(length, selector, raw, record, job);
                fields.values += 1;
                Ok(Step::Later)
            }
            Outcome::Wait(need) => {
                fields.need = Some(need);
                Ok(Step::Wait)
            }
        }
    }
}

impl Fields {
    pub(super) fn new(
        plan: Arc<HalfPlan>,
        sealer: Arc<dyn Sealer>,
        caller: CallerRole,
        max_value: usize,
        merges: bool,
    ) -> Self {
        let tally = Tally::of(plan.fields.len());
        let signs = plan.traits().signs;
        Self {
            plan,
            sealer,
            caller,
            max_value,
            signs,
            merges,
            tally,
            need: None,
            asked: None,
            failed: None,
            told: Told::default(),
            asks: false,
            home: None,
            allowed: None,
            strays: Vec::new(),
            broke: None,
            later: Later::default(),
            full: false,
            values: 0,
            answer: None,
            parsed: Parsing::default(),
            opening: Opening::default(),
            form: None,
        }
    }

    /// Does to one value what its field says, or to the values inside of it, and counts what was done.
    pub(super) fn act(
        &mut self,
        plan: &HalfPlan,
        selector: usize,
        raw: &[u8],
        record: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<Outcome, Refusal> {
        self.asks = true;
        match plan.fields.get(selector) {
            None => Err(Refusal::new(Reason::InvalidJson, "a selector outside the plan")),
            Some(field) if self.form.is_some() => form::value(self, plan, (selector, field), raw, out),
            Some(field) if field.action.inside.is_some() => parsed::string(self, plan, selector, raw, out),
            Some(field) if field.action.embedded => embedded::string(self, plan, selector, raw, record, out),
            Some(field) => self.value(selector, field, raw, record, out),
        }
    }

    /// Of a value that is not looked into.
    pub(super) fn value(
        &mut self,
        selector: usize,
        field: &PlannedField,
        raw: &[u8],
        record: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<Outcome, Refusal> {
        self.home = None;
        let start = out.len();
        let outcome = if self.failed.is_some() {
            self.failed_fetch(field, raw, out)
        } else {
            match field.action.verb {
                Verb::Seal => seal::value(self, field, raw, field.bound(record), out),
                Verb::Open => open::value(self, field, raw, field.bound(record), out),
            }
        };
        match &outcome {
            Ok(Outcome::Done(event)) => {
                self.done(selector, *event);
                if field.action.verb == Verb::Seal {
                    self.weigh(selector, field, *event, raw, out.len() - start);
                }
                if self.home.is_some()
                    && let Some(what) = used(*event)
                {
                    self.stray(selector, field, what);
                }
            }
            Ok(Outcome::Later(_) | Outcome::Wait(_)) => {}
            Err(_) => self.broke(selector, field),
        }
        outcome
    }

    /// What a value waited for did not come.
    #[cold]
    fn failed_fetch(&mut self, field: &PlannedField, raw: &[u8], out: &mut Vec<u8>) -> Result<Outcome, Refusal> {
        let (asked, failed) = (self.asked.take(), self.failed.take());
        let error = failed.unwrap_or_else(|| KeyringError::Unavailable("a fetch failed".into()));
        after_failed_fetch(field, asked.as_ref(), &error, raw, out)
    }

    /// A value ended so.
    pub(super) fn done(&mut self, selector: usize, event: FieldEvent) {
        self.values += 1;
        self.tally.add(selector, event);
    }

    /// Notes what a token is, or would be, to the application: how long, and instead of what.
    fn weigh(&mut self, selector: usize, field: &PlannedField, event: FieldEvent, raw: &[u8], written: usize) {
        let length = match event {
            FieldEvent::Sealed => Some(written.saturating_sub(2)),
            FieldEvent::Plaintext | FieldEvent::Unfit => match seal::forecast(&field.action, raw) {
                Some(length) => length,
                None => return,
            },
            _ => return,
        };
        let Some(of) = field.action.fields.get(field.index) else { return };
        // Outside of JSON everything is text, whatever it stands for.
        let kind = raw.first().and_then(|first| Kind::of(*first)).filter(|_| field.action.part == Part::Json);
        self.tally.token(selector, length, kind, of.stats.get());
    }

    /// A string became a token of this length.
    pub(super) fn sealed_string(&mut self, selector: usize, length: usize, of: &Field) {
        self.values += 1;
        self.tally.sealed(selector, length, of.stats.get());
    }

    /// Whether the value at hand waited for what did not come.
    pub(super) fn waited_in_vain(&self) -> bool {
        self.failed.is_some()
    }

    /// What a value waits for is asked for.
    pub(super) fn asked(&mut self, need: &Need) {
        self.asked = Some(need.clone());
    }

    /// What was asked for did not come.
    pub(super) fn fetch_failed(&mut self, error: KeyringError) {
        self.failed = Some(error);
    }

    /// Forgets what the sealer said, if it was asked.
    pub(super) fn forget(&mut self) {
        if std::mem::take(&mut self.asks) {
            self.told = Told::default();
        }
    }

    /// Counts what happened.
    pub(super) fn count(&self, metrics: &Metrics) {
        self.tally.count(&self.plan.fields, metrics);
    }

    /// Writes down what was done with the values, also of a message that was not done to its end: some may have left.
    pub(super) fn record(&self) {
        // Those of one partition are told together.
        let mut told: Option<(&PartitionName, Vec<Done<'_>>)> = None;
        for (index, field) in self.plan.fields.iter().enumerate() {
            let broke = self.broke == Some(index);
            if !broke && !self.tally.any(index) {
                continue;
            }
            let (Some(partition), Some(class)) = (field.target.partition(), field.class()) else { continue };
            if let Some((before, done)) = told.take_if(|(before, _)| *before != partition)
                && !done.is_empty()
            {
                self.recorded(before, &done);
            }
            let (_, done) = told.get_or_insert_with(|| (partition, Vec::with_capacity(self.plan.fields.len())));
            for (what, values) in self.tally.uses(index) {
                let values = values + u64::from(broke && what == Use::Refused);
                if values > 0 {
                    done.push((class, what, values));
                }
            }
        }
        if let Some((partition, done)) = told.filter(|(_, done)| !done.is_empty()) {
            self.recorded(partition, &done);
        }
        for (index, partition, what, values) in &self.strays {
            if let Some(class) = self.plan.fields.get(*index).and_then(PlannedField::class) {
                self.recorded(partition, &[(class, *what, *values)]);
            }
        }
    }

    /// Has this written down.
    pub(super) fn recorded(&self, partition: &PartitionName, done: &[Done<'_>]) {
        let known = self.allowed.as_ref().filter(|(of, _)| of == partition).map(|(_, permissions)| *permissions);
        self.sealer.record(&self.caller.role, partition, known, done);
    }

    /// A value, or what must be looked at to find it, is larger than it may be.
    pub(super) fn too_large(&mut self, selector: usize) -> Result<(), Refusal> {
        let pass = match self.plan.fields.get(selector) {
            Some(field) => !changes(&field.action) || self.plan.unreadable.too_large == OnUnreadable::Pass,
            None => false,
        };
        if pass {
            self.tally.add(selector, FieldEvent::Refused);
            return Ok(());
        }
        let refusal = Refusal::new(
            Reason::TooLarge,
            "a value is longer than `max_value`, or than `max_buffered` where a filter or `parse` looks at it (`limits.value`)",
        );
        Err(refusal.rule(self.plan.fields.get(selector).map_or(&self.plan.rule, |f| &f.action.rule)))
    }

    /// How long a value of this field may be.
    pub(super) fn longest(&self, selector: usize) -> usize {
        self.plan.fields.get(selector).and_then(|f| f.action.max_value).unwrap_or(self.max_value)
    }

    /// A value of this field stays, although it was to be looked at.
    pub(super) fn unread(&mut self, selector: usize) {
        self.tally.add(selector, FieldEvent::Refused);
    }

    /// What a value waits for.
    pub(super) fn wait_for(&mut self, need: Need) {
        self.need = Some(need);
    }

    /// A value ends the body.
    pub(super) fn broke(&mut self, index: usize, field: &PlannedField) {
        self.broke = Some(index);
        self.stray(index, field, Use::Refused);
    }

    /// Of a glob, a token that belongs nowhere in this keyring is nobody's.
    fn stray(&mut self, index: usize, field: &PlannedField, what: Use) {
        let (Target::Glob(_), Some(home)) = (&field.target, self.home.take()) else { return };
        let same =
            |(i, of, done, _): &&mut (usize, PartitionName, Use, u64)| *i == index && *of == home && *done == what;
        if let Some((.., values)) = self.strays.iter_mut().find(same) {
            *values += 1;
        } else if self.strays.len() < STRAYS {
            self.strays.push((index, home, what, 1));
        } else if let Some(class) = field.class() {
            // Written down at once rather than remembered.
            self.recorded(&home, &[(class, what, 1)]);
        }
    }

    /// What the caller may do in a partition.
    pub(super) fn permissions(&mut self, partition: &PartitionName) -> Cached<Permissions> {
        self.asks = true;
        if let Some((of, permissions)) = &self.told.permissions
            && of == partition
        {
            return Cached::Hit(*permissions);
        }
        let answer = self.sealer.permissions(partition, &self.caller.role, &mut self.told.memo);
        if let Cached::Hit(permissions) = answer {
            self.told.permissions = Some((partition.clone(), permissions));
            // What was to be counted when a value was dealt with is counted, whatever has been taken away since.
            let before = self.allowed.take().filter(|(of, _)| of == partition).map_or(0, |(_, before)| before.0);
            self.allowed = Some((partition.clone(), Permissions(permissions.0 | before)));
        }
        answer
    }

    /// The partition that a token belongs to.
    pub(super) fn partition_of(&mut self, epoch: EpochId) -> Cached<PartitionName> {
        self.asks = true;
        self.sealer.partition_of(epoch, &mut self.told.memo)
    }

    /// What the caller may do in this partition, if the token before was of it and of the same epoch.
    pub(super) fn known(&self, epoch: EpochId, partition: &PartitionName) -> Option<Permissions> {
        let Told { permissions: Some((of, permissions)), home: Some(home), .. } = &self.told else {
            return None;
        };
        (home.epoch == epoch && home.partition == *partition && of == partition).then_some(*permissions)
    }

    /// The token at hand is of this epoch, and so of this partition.
    pub(super) fn is_of(&mut self, epoch: EpochId, partition: &PartitionName) {
        self.told.home = Some(Home { epoch, partition: partition.clone(), like: None });
    }

    /// Such a token of this epoch was opened.
    pub(super) fn opened(&mut self, epoch: EpochId, like: Like) {
        if let Some(home) = self.told.home.as_mut().filter(|home| home.epoch == epoch) {
            home.like = Some(like);
        }
    }

    /// `required`: every selector of such an action must have matched, in a mode that acts.
    pub(super) fn check_required(&self) -> Result<(), Refusal> {
        if !self.plan.traits().required {
            return Ok(());
        }
        let fields = &self.plan.fields;
        let matched = |i: usize| self.tally.any(i);
        for (i, field) in fields.iter().enumerate() {
            if !field.action.required || !changes(&field.action) || matched(i) {
                continue;
            }
            let same_selector = |(_, other): &(usize, &PlannedField)| {
                Arc::ptr_eq(&other.action, &field.action) && other.selector() == field.selector()
            };
            if !fields.iter().enumerate().filter(same_selector).any(|(j, _)| matched(j)) {
                let text = format!("nothing matches the required selector {}", field.selector().map_or("", |s| s));
                return Err(Refusal::new(Reason::Missing, text).rule(&field.action.rule));
            }
        }
        Ok(())
    }
}

fn after_failed_fetch(
    field: &PlannedField,
    need: Option<&Need>,
    error: &KeyringError,
    lexeme: &[u8],
    out: &mut Vec<u8>,
) -> Result<Outcome, Refusal> {
    let action = &field.action;
    let token = matches!(need, Some(Need::Opening(_)));
    let reason = match error {
        KeyringError::Denied(..) => Reason::PartitionState,
        KeyringError::Unknown(_) if token || action.verb == Verb::Open => Reason::Token,
        KeyringError::Unknown(_)
        | KeyringError::Unavailable(_)
        | KeyringError::NoKey(_)
        | KeyringError::Mismatch(_)
        | KeyringError::Random(_) => Reason::KeyService,
    };
    let refusal = || Refusal::new(reason, error.without_name()).rule(&action.rule);
    // `on_error` of sealing is about values that cannot be sealed, not about tokens that `keep` finds to be none of ours.
    if reason == Reason::PartitionState || (reason == Reason::Token && action.verb == Verb::Seal) {
        return Err(refusal());
    }
    match action.on_error {
        OnBad::Reject => return Err(refusal()),
        OnBad::Pass => out.extend_from_slice(lexeme),
        OnBad::Redact => out.extend_from_slice(super::reveal::REDACTED),
        OnBad::Nullify => out.extend_from_slice(b"null"),
    }
    Ok(Outcome::Done(FieldEvent::Refused))
}
