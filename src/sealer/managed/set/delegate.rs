//! Values of one body on their way to APIs: put together into as few calls as each API allows, and the answers back in order.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use tokio::time::{Instant, timeout_at};

use super::super::opened::Name;
use super::super::settings::Granularity;
use super::super::{ApiError, Fault, How};
use super::Profiles;
use super::line::Line;
use super::order;
use crate::secret::SecretBytes;
use crate::transform::delegate::{Answer, DelegateError, Delegated, Delegating, Work};

/// Values in one call, in bytes as they are sent, unless the answer has less room.
const CALL: usize = 1 << 20;
/// What JSON and a ciphertext's own form add to a value.
const AROUND: usize = 64;
/// Calls after the first that go into finding out which ciphertext of a call is refused: enough for one bad value in a thousand.
/// What is not found by then is refused with it.
const SEARCH: u32 = 20;
/// Calls end by themselves within the budget, which their guard then knows of; only then are they cut off.
const GRACE: Duration = Duration::from_millis(250);

type Given = Result<Answer, DelegateError>;

/// A value's place in the body, and the name under which it would be kept once it is opened.
type Asked = (usize, Option<Name>, Delegated);

impl Profiles {
    /// See [`crate::transform::Sealer::delegate`]. Each profile's part ends within its budget, however many calls it takes.
    pub fn delegate(&self, jobs: Vec<Delegated>) -> Delegating<'_> {
        let number = jobs.len();
        let parts = self.parts(jobs);
        let Some(handle) = self.handle().cloned() else {
            return Box::pin(async move { vec![Err(broken_off()); number] });
        };
        Box::pin(async move {
            // Goes away with whoever waits for it.
            let mut working = tokio::task::JoinSet::new();
            working.spawn_on(join_all(parts.into_iter().map(Part::done)), &handle);
            let mut given: Vec<Given> = vec![Err(broken_off()); number];
            let done = working.join_next().await.and_then(Result::ok).unwrap_or_default();
            for (at, answer) in done.into_iter().flatten() {
                if let Some(place) = given.get_mut(at) {
                    *place = answer;
                }
            }
            given
        })
    }

    fn parts(&self, jobs: Vec<Delegated>) -> Vec<Part> {
        let mut parts: HashMap<Arc<str>, Part> = HashMap::new();
        for (at, job) in jobs.into_iter().enumerate() {
            let name = &job.profile.name;
            let part = parts.entry(Arc::clone(name)).or_insert_with(|| Part {
                profile: Arc::clone(name),
                line: self.lines.get(name).cloned(),
                values: Vec::new(),
            });
            part.values.push((at, job));
        }
        parts.into_values().collect()
    }
}

/// The values of one profile, with their places in the body.
struct Part {
    profile: Arc<str>,
    line: Option<Arc<Line>>,
    values: Vec<(usize, Delegated)>,
}

/// Values for one call.
enum Call {
    Seal(How, Vec<(usize, SecretBytes)>),
    Open(How, Vec<(usize, Option<Name>, Vec<u8>)>),
}

impl Part {
    async fn done(self) -> Vec<(usize, Given)> {
        let Some(line) = self.line else {
            let text = format!("there is no profile `{}`", self.profile);
            return self
                .values
                .into_iter()
                .map(|(at, _)| (at, Err(DelegateError::Unavailable(text.clone()))))
                .collect();
        };
        let (mut given, rest) = line.kept(self.values);
        let calls = line.calls(rest);
        // The first failure that is none of a value's ends it all: a body with a value missing is no body.
        let failed = OnceLock::new();
        let deadline = Instant::now() + line.budget() + GRACE;
        let made = calls.into_iter().map(|call| line.make(call, deadline, &failed));
        let at_once = line.settings.calls.concurrency.max(1);
        let made: Vec<_> = stream::iter(made).buffer_unordered(at_once).collect().await;
        given.extend(made.into_iter().flatten());
        given
    }
}

impl Line {
    /// What was opened a moment ago, and the rest.
    fn kept(&self, values: Vec<(usize, Delegated)>) -> (Vec<(usize, Given)>, Vec<Asked>) {
        let (mut given, mut rest) = (Vec::new(), Vec::new());
        for (at, job) in values {
            let name = match (&self.opened, &job.work) {
                (Some(opened), Work::Open(ciphertext)) => {
                    let how = self.how(job.class.as_str(), job.signed);
                    Some(opened.name(self.facts.name.as_bytes(), how, ciphertext))
                }
                _ => None,
            };
            match name.and_then(|name| self.find_opened(name)) {
                Some(value) => given.push((at, Ok(Answer::Opened(value)))),
                None => rest.push((at, name, job)),
            }
        }
        (given, rest)
    }

    /// As few calls as the API allows. Values stay in the order of the body.
    fn calls(&self, values: Vec<Asked>) -> Vec<Call> {
        let batch = self.per_value().map_or(1, |api| api.batch.max(1));
        let proves = self.proves_values();
        let answer = self.settings.calls.answer;
        let room = CALL.min(answer.saturating_sub(answer / 16));
        let mut open: HashMap<(bool, How), (Call, usize)> = HashMap::new();
        let mut full = Vec::new();
        for (at, name, job) in values {
            let how = self.how(job.class.as_str(), job.signed);
            let (seals, length) = match &job.work {
                Work::Seal(text) => (true, text.expose().len()),
                Work::Open(ciphertext) => (false, ciphertext.len()),
            };
            let size = length.saturating_add(length / 3).saturating_add(AROUND);
            // What is opened goes out several times.
            let room = if seals && !proves { room } else { order::asked(room) };
            let empty = || (if seals { Call::Seal(how, Vec::new()) } else { Call::Open(how, Vec::new()) }, 0);
            let (call, used) = open.entry((seals, how)).or_insert_with(empty);
            if call.len() >= batch || (call.len() > 0 && used.saturating_add(size) > room) {
                full.push(std::mem::replace(call, empty().0));
                *used = 0;
            }
            *used = used.saturating_add(size);
            match (call, job.work) {
                (Call::Seal(_, texts), Work::Seal(text)) => texts.push((at, text)),
                (Call::Open(_, ciphertexts), Work::Open(ciphertext)) => ciphertexts.push((at, name, ciphertext)),
                // The kind of work is part of the key.
                (Call::Seal(..), Work::Open(_)) | (Call::Open(..), Work::Seal(_)) => {}
            }
        }
        full.extend(open.into_values().map(|(call, _)| call));
        full
    }

    async fn make(&self, call: Call, deadline: Instant, failed: &OnceLock<ApiError>) -> Vec<(usize, Given)> {
        let making = async {
            match &call {
                Call::Seal(how, values) => self.seal(*how, values).await,
                Call::Open(how, values) => {
                    let mut search = SEARCH;
                    self.open(*how, values, &mut search).await
                }
            }
        };
        let made = match failed.get() {
            Some(error) => Err(error.clone()),
            None => timeout_at(deadline, making).await.unwrap_or_else(|_| Err(self.late())),
        };
        made.unwrap_or_else(|error| {
            if error.kind != Fault::Refused {
                // An error: another call failed first.
                failed.set(error.clone()).ok();
            }
            call.places().map(|at| (at, Err(self.told(&error)))).collect()
        })
    }

    fn proves_values(&self) -> bool {
        self.settings.prove && self.settings.granularity != Granularity::Envelope
    }

    async fn seal(&self, how: How, values: &[(usize, SecretBytes)]) -> Result<Vec<(usize, Given)>, ApiError> {
        let texts: Vec<SecretBytes> = values.iter().map(|(_, text)| text.clone()).collect();
        let ciphertexts = self.encrypt(&texts, how, self.proves_values()).await?;
        let places = values.iter().map(|(at, _)| *at);
        Ok(places.zip(ciphertexts).map(|(at, ciphertext)| (at, Ok(Answer::Sealed(ciphertext)))).collect())
    }

    /// A call of many values that is refused is made again in halves, so that one bad value is the failure of one.
    async fn open(
        &self,
        how: How,
        values: &[(usize, Option<Name>, Vec<u8>)],
        search: &mut u32,
    ) -> Result<Vec<(usize, Given)>, ApiError> {
        let mut given = Vec::with_capacity(values.len());
        let mut waiting = vec![values];
        while let Some(values) = waiting.pop() {
            let ciphertexts: Vec<Vec<u8>> = values.iter().map(|(_, _, ciphertext)| ciphertext.clone()).collect();
            match self.decrypt(&ciphertexts, how).await {
                Ok(texts) => {
                    for ((at, name, _), text) in values.iter().zip(texts) {
                        if let (Some(opened), Some(name)) = (&self.opened, name) {
                            opened.keep(*name, &text);
                        }
                        given.push((*at, Ok(Answer::Opened(text))));
                    }
                }
                Err(error) if error.kind == Fault::Refused && values.len() > 1 && *search >= 2 => {
                    *search -= 2;
                    let (first, second) = values.split_at(values.len() / 2);
                    waiting.extend([second, first]);
                }
                Err(error) if error.kind == Fault::Refused => {
                    given.extend(values.iter().map(|(at, ..)| (*at, Err(self.told(&error)))));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(given)
    }

    fn late(&self) -> ApiError {
        let text = format!("not all values of a body were done within `budget` ({} s)", self.budget().as_secs_f64());
        ApiError::new(Fault::Timeout, text)
    }

    fn told(&self, error: &ApiError) -> DelegateError {
        let text = format!("profile `{}`: {error}", self.settings.name);
        if error.kind == Fault::Refused { DelegateError::Refused(text) } else { DelegateError::Unavailable(text) }
    }
}

impl Call {
    fn len(&self) -> usize {
        match self {
            Self::Seal(_, values) => values.len(),
            Self::Open(_, values) => values.len(),
        }
    }

    fn places(&self) -> Box<dyn Iterator<Item = usize> + '_> {
        match self {
            Self::Seal(_, values) => Box::new(values.iter().map(|(at, _)| *at)),
            Self::Open(_, values) => Box::new(values.iter().map(|(at, ..)| *at)),
        }
    }
}

fn broken_off() -> DelegateError {
    DelegateError::Unavailable("the calls of a body were broken off".into())
}
