//! What is behind an error: "client error (Connect)" alone helps nobody.

use std::error::Error;
use std::io;
use std::iter::successors;

/// The error and all that caused it, the nearest first.
pub fn told(error: &dyn Error) -> String {
    std::iter::once(error.to_string()).chain(texts(error)).collect::<Vec<_>>().join(": ")
}

/// What caused the error without its own text, or that if nothing is behind it.
pub fn behind(error: &dyn Error) -> String {
    let texts: Vec<_> = texts(error).collect();
    if texts.is_empty() { error.to_string() } else { texts.join(": ") }
}

/// The error and all that caused it, as they are. An [`io::Error`] does not name what it holds as its source; here it is one.
pub fn all<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&error| match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(held) => Some(held),
        None => error.source(),
    })
}

fn texts(error: &dyn Error) -> impl Iterator<Item = String> {
    successors(error.source(), |&error| error.source()).map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<dyn Error + Send + Sync>>,
    }

    fn layers() -> Layer {
        let lowest = Layer { text: "refused", source: None };
        let held = io::Error::other(Layer { text: "no connection", source: Some(lowest.into()) });
        Layer { text: "client error", source: Some(held.into()) }
    }

    #[test]
    fn every_cause_is_told_once() {
        assert_eq!(told(&layers()), "client error: no connection: refused");
        assert_eq!(behind(&layers()), "no connection: refused");
        let alone = Layer { text: "alone", source: None };
        assert_eq!((told(&alone), behind(&alone)), ("alone".into(), "alone".into()));
    }

    #[test]
    fn what_an_io_error_holds_is_seen() {
        let layers = layers();
        let found: Vec<_> = all(&layers).filter_map(|error| error.downcast_ref::<Layer>()).map(|l| l.text).collect();
        assert_eq!(found, ["client error", "no connection", "refused"]);
    }
}
