//! What it can do to an answer.

use std::io;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use socket2::SockRef;

use super::{Answer, Wire};

/// Changes an answer's JSON.
type Lie = Arc<dyn Fn(&mut Value) + Send + Sync>;

/// One way to answer.
#[derive(Clone)]
pub enum Act {
    /// As the handler does.
    Well,
    /// The same, later.
    Late(Duration),
    /// This instead, which the handler does not hear of.
    Instead(u16, Vec<(&'static str, String)>, String),
    /// The connection is reset before an answer.
    Reset,
    /// The same amid the header section.
    ResetInHead,
    /// The same after it.
    ResetAfterHead,
    /// The same amid the body.
    ResetInBody,
    /// A byte at a time, with a pause before each.
    Drip(Duration),
    /// The Content-Length is wrong by that much, and the connection is closed behind the body.
    Length(i64),
    /// A body of so many bytes of JSON.
    Oversized(usize),
    /// A body in chunks that does not end.
    Endless,
    /// Half the JSON.
    Truncated,
    /// Other JSON.
    Lies(Lie),
    /// No HTTP.
    Noise,
}

impl Act {
    /// 429, with `Retry-After`.
    pub fn throttled(seconds: u64) -> Self {
        Self::Instead(429, vec![("retry-after", seconds.to_string())], r#"{"message":"Too Many Requests"}"#.into())
    }

    /// A status, and JSON.
    pub fn status(status: u16) -> Self {
        Self::Instead(status, vec![("content-type", "application/json".into())], r#"{"message":"hunter2"}"#.into())
    }

    /// To there.
    pub fn redirect(status: u16, location: String) -> Self {
        Self::Instead(status, vec![("location", location)], String::new())
    }

    /// A web page.
    pub fn html(status: u16) -> Self {
        Self::Instead(status, vec![("content-type", "text/html; charset=utf-8".into())], "<h1>hunter2</h1>".into())
    }

    /// What nobody asked for.
    pub fn gzip() -> Self {
        let headers = vec![("content-type", "application/json".into()), ("content-encoding", "gzip".into())];
        Self::Instead(200, headers, "\u{1f}hunter2".into())
    }

    /// A lie.
    pub fn lies(lie: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        Self::Lies(Arc::new(lie))
    }
}

/// Exchanges what stands at a JSON pointer.
pub fn with(pointer: &'static str, value: Value) -> Act {
    Act::lies(move |json| {
        if let Some(place) = json.pointer_mut(pointer) {
            *place = value.clone();
        }
    })
}

/// Leaves out the member of that name of what stands at a JSON pointer.
pub fn missing(pointer: &'static str, name: &'static str) -> Act {
    Act::lies(move |json| {
        if let Some(Value::Object(object)) = json.pointer_mut(pointer) {
            object.remove(name);
        }
    })
}

/// The array there has one element less.
pub fn shortened(pointer: &'static str) -> Act {
    array(pointer, |items| drop(items.pop()))
}

/// It has the last one twice.
pub fn extended(pointer: &'static str) -> Act {
    array(pointer, |items| items.extend(items.last().cloned()))
}

/// It is the other way round.
pub fn reordered(pointer: &'static str) -> Act {
    array(pointer, |items| items.reverse())
}

fn array(pointer: &'static str, change: fn(&mut Vec<Value>)) -> Act {
    Act::lies(move |json| {
        if let Some(Value::Array(items)) = json.pointer_mut(pointer) {
            change(items);
        }
    })
}

/// Answers so. Whether the connection can be used on; that the other side has gone is no fault.
pub(super) fn perform(act: &Act, handler: impl FnOnce() -> Answer, wire: &mut impl Wire) -> bool {
    let instead = |status, headers: &[(&str, String)], body: &str| Answer {
        status,
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        body: body.into(),
    };
    let (answer, act) = match act {
        Act::Instead(status, headers, body) => (instead(*status, headers, body), &Act::Well),
        Act::Late(time) => {
            sleep(*time);
            (handler(), &Act::Well)
        }
        Act::Lies(lie) => {
            let mut answer = handler();
            if let Ok(mut json) = serde_json::from_slice(&answer.body) {
                lie(&mut json);
                answer.body = json.to_string().into_bytes();
            }
            (answer, &Act::Well)
        }
        Act::Truncated => {
            let mut answer = handler();
            answer.body.truncate(answer.body.len() / 2);
            (answer, &Act::Well)
        }
        Act::Oversized(length) => {
            let json = [("content-type", "application/json".to_owned())];
            (instead(200, &json, &format!("\"{}\"", "x".repeat(length.saturating_sub(2)))), &Act::Well)
        }
        act => (handler(), act),
    };
    written(act, &answer, wire).unwrap_or(false)
}

fn written(act: &Act, answer: &Answer, wire: &mut impl Wire) -> io::Result<bool> {
    let length = answer.body.len() as i64;
    let (body, half) = (&answer.body, &answer.body[..answer.body.len() / 2]);
    match act {
        Act::Reset => return reset(wire),
        Act::ResetInHead => {
            wire.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/js")?;
            wire.flush()?;
            return reset(wire);
        }
        Act::ResetAfterHead => {
            send(wire, head(answer, Some(length)).as_bytes())?;
            return reset(wire);
        }
        Act::ResetInBody => {
            send(wire, head(answer, Some(length)).as_bytes())?;
            send(wire, half)?;
            return reset(wire);
        }
        Act::Drip(pause) => {
            for byte in head(answer, Some(length)).bytes().chain(body.iter().copied()) {
                sleep(*pause);
                send(wire, &[byte])?;
            }
        }
        Act::Length(by) => {
            send(wire, &[head(answer, Some(length + by)).as_bytes(), body].concat())?;
            return Ok(false);
        }
        Act::Endless => {
            send(wire, head(answer, None).as_bytes())?;
            loop {
                send(wire, format!("400\r\n{}\r\n", " ".repeat(0x400)).as_bytes())?;
            }
        }
        Act::Noise => {
            send(wire, b"hunter2 hunter2 hunter2\r\n\r\n")?;
            return Ok(false);
        }
        _ => send(wire, &[head(answer, Some(length)).as_bytes(), body].concat())?,
    }
    Ok(true)
}

fn head(answer: &Answer, length: Option<i64>) -> String {
    let mut head = format!("HTTP/1.1 {} Said\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    match length {
        Some(length) => head + &format!("content-length: {length}\r\n\r\n"),
        None => head + "transfer-encoding: chunked\r\n\r\n",
    }
}

fn send(wire: &mut impl Wire, bytes: &[u8]) -> io::Result<()> {
    wire.write_all(bytes)?;
    wire.flush()
}

/// By RST, once the connection is dropped.
fn reset(wire: &mut impl Wire) -> io::Result<bool> {
    SockRef::from(wire.tcp()).set_linger(Some(Duration::ZERO))?;
    Ok(false)
}
