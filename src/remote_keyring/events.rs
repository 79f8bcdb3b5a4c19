//! Listening to an authority's event stream: which change number its store has, and when it last was heard of.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use http_body_util::BodyExt;

use super::client::{NOT_TAKEN, Wire};

/// Without a line for so long, what this process has may be stale: three heartbeats.
const SILENT: Duration = Duration::from_secs(3);
/// For the head of the answer.
const CONNECT: Duration = Duration::from_secs(4);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A longer line is none of ours.
const MAX_LINE: usize = 256;

/// What was heard.
#[derive(Debug, Default)]
pub struct Heard {
    news: Mutex<News>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct News {
    last: Option<(u64, Instant)>,
    problem: Option<String>,
}

impl Heard {
    /// The last change number; why there is none that counts.
    pub fn number(&self) -> Result<u64, String> {
        let news = self.news();
        match news.last {
            Some((number, at)) if at.elapsed() < SILENT => Ok(number),
            _ => Err(news.problem.clone().unwrap_or_else(|| "its event stream is silent".into())),
        }
    }

    /// Waits for the first number or problem.
    pub fn first(&self, patience: Duration) -> Result<(), String> {
        let waiting = |news: &mut News| news.last.is_none() && news.problem.is_none();
        let (news, _) =
            self.arrived.wait_timeout_while(self.news(), patience, waiting).unwrap_or_else(PoisonError::into_inner);
        match (&news.last, &news.problem) {
            (Some(_), _) => Ok(()),
            (None, Some(problem)) => Err(problem.clone()),
            (None, None) => Err("its event stream is silent".into()),
        }
    }

    /// Waits for another number, at most for that long.
    pub fn wait(&self, timeout: Duration) {
        drop(self.arrived.wait_timeout(self.news(), timeout));
    }

    fn take(&self, line: &[u8]) -> Result<(), String> {
        let mut news = self.news();
        if let Some(text) = line.strip_prefix(b"data: ") {
            let number = std::str::from_utf8(text).ok().filter(|text| text.len() == 16);
            let number = number.and_then(|text| u64::from_str_radix(text, 16).ok());
            let number = number.ok_or("its event stream is none of the keyring API's")?;
            news.problem = None;
            let is_new = news.last.is_none_or(|(old, _)| old != number);
            news.last = Some((number, Instant::now()));
            if is_new {
                self.arrived.notify_all();
            }
        } else if line.first() == Some(&b':')
            && let Some((_, at)) = &mut news.last
        {
            *at = Instant::now();
        }
        Ok(())
    }

    fn fail(&self, problem: String) {
        let mut news = self.news();
        if news.problem.as_ref() != Some(&problem) {
            tracing::warn!("the authority's event stream: {problem}");
        }
        news.problem = Some(problem);
        self.arrived.notify_all();
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens, and again when a stream ends, for as long as it is polled.
pub async fn listen(wire: Arc<Wire>, heard: Arc<Heard>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        match stream(&wire, &heard).await {
            // It ends now and then, so that we show our credential again.
            Ok(()) => {}
            Err(problem) => heard.fail(problem),
        }
        pause = if began.elapsed() > LONGEST_PAUSE { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tokio::time::sleep(pause).await;
    }
}

async fn stream(wire: &Wire, heard: &Heard) -> Result<(), String> {
    let sent = wire.send(Method::GET, "/events", None, "text/event-stream");
    let response = tokio::time::timeout(CONNECT, sent).await.map_err(|_| "it did not answer in time".to_owned())??;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED => return Err(NOT_TAKEN.to_owned()),
        status => return Err(format!("it answers {status} where its event stream should be")),
    }
    let mut body = response.into_body();
    let mut line = Vec::new();
    loop {
        let frame = match tokio::time::timeout(SILENT, body.frame()).await {
            Err(_) => return Err("its event stream is silent".into()),
            Ok(None) => return Ok(()),
            Ok(Some(Err(_))) => return Err("its event stream broke off".into()),
            Ok(Some(Ok(frame))) => frame,
        };
        for byte in frame.into_data().into_iter().flatten() {
            match byte {
                b'\n' => {
                    heard.take(&line)?;
                    line.clear();
                }
                _ if line.len() >= MAX_LINE => return Err("its event stream is none of the keyring API's".into()),
                byte => line.push(byte),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_counts_until_the_stream_is_silent() {
        let heard = Heard::default();
        assert!(heard.number().is_err());
        heard.take(b": hb").unwrap();
        assert!(heard.number().is_err(), "a heartbeat alone says no number");
        heard.take(b"event: change").unwrap();
        heard.take(b"data: 00000000000000ff").unwrap();
        assert_eq!(heard.number(), Ok(255));
        heard.first(Duration::ZERO).unwrap();
        heard.news().last.as_mut().unwrap().1 = Instant::now().checked_sub(SILENT).unwrap();
        heard.fail("gone".into());
        assert_eq!(heard.number(), Err("gone".into()));
        heard.take(b": hb").unwrap();
        assert_eq!(heard.number(), Ok(255));
        for bad in [b"data: ff".as_slice(), b"data: 00000000000000fg", b"data: \xff"] {
            assert!(heard.take(bad).is_err());
        }
    }
}
