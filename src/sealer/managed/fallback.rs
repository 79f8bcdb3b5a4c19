//! Which endpoint of a profile opens: the primary, and while it does not answer the others in turn.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::guard::Guard;
use super::{ApiError, Fault};

/// One endpoint of a profile.
pub struct End<C: ?Sized> {
    /// What speaks to it.
    pub client: Arc<C>,
    /// What is around each call: health and limits are an endpoint's own.
    pub guard: Guard,
}

/// What came of asking endpoints so far.
#[derive(Default)]
pub struct Asked {
    primary: Option<ApiError>,
}

impl Asked {
    /// Takes in the next one's answer, the primary's first. An answer of the primary's is the answer, also a refusal; a fallback's
    /// counts only if it opens: a place that lags behind, or lacks the key, does not make good data bad.
    pub fn and<T>(&mut self, answer: Result<T, ApiError>) -> ControlFlow<Result<T, ApiError>> {
        match (answer, &self.primary) {
            (Err(error), None) if is_away(error.kind) => self.primary = Some(error),
            // Its breaker tells the log of an outage; a line for each call would fill the disk.
            (Err(error), Some(_)) => tracing::debug!(%error, "a fallback endpoint does not open either"),
            (answer, _) => return ControlFlow::Break(answer),
        }
        ControlFlow::Continue(())
    }

    /// Why none of them opened.
    pub fn failed(self) -> ApiError {
        self.primary.unwrap_or_else(|| ApiError::new(Fault::Refused, "its API does nothing of the kind"))
    }
}

/// Whether another endpoint may do better. One that does not take our credential has answered: elsewhere a credential that was
/// revoked may count for a while longer, and a wrong password that is shown everywhere locks its account the sooner.
fn is_away(fault: Fault) -> bool {
    fault != Fault::Credential && fault.is_outage() || matches!(fault, Fault::Broken | Fault::Saturated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: Fault) -> Result<u8, ApiError> {
        Err(ApiError::new(kind, format!("{kind:?}")))
    }

    fn ask(answers: Vec<Result<u8, ApiError>>) -> (usize, Result<u8, Fault>) {
        let mut asked = Asked::default();
        for (n, answer) in answers.into_iter().enumerate() {
            if let ControlFlow::Break(answer) = asked.and(answer) {
                return (n + 1, answer.map_err(|error| error.kind));
            }
        }
        (0, Err(asked.failed().kind))
    }

    #[test]
    fn the_others_are_asked_only_while_the_primary_is_away() {
        assert_eq!(ask(vec![Ok(1), Ok(2)]), (1, Ok(1)));
        assert_eq!(ask(vec![error(Fault::Refused), Ok(2)]), (1, Err(Fault::Refused)));
        assert_eq!(ask(vec![error(Fault::Credential), Ok(2)]), (1, Err(Fault::Credential)), "it is revoked");
        for away in
            [Fault::Connection, Fault::Timeout, Fault::Throttled(None), Fault::Server, Fault::Lie, Fault::Broken]
        {
            assert_eq!(ask(vec![error(away), Ok(2)]), (2, Ok(2)));
            assert_eq!(ask(vec![error(away), error(Fault::Server), Ok(3)]), (3, Ok(3)));
        }
    }

    #[test]
    fn a_fallback_has_no_word_on_what_is_refused() {
        assert_eq!(ask(vec![error(Fault::Timeout), error(Fault::Refused)]), (0, Err(Fault::Timeout)));
        assert_eq!(ask(vec![error(Fault::Timeout), error(Fault::Refused), Ok(3)]), (3, Ok(3)));
    }
}
