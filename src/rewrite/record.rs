//! One record: read, looked at, written back as it was read, on condition that nobody else has written it meanwhile.

use http::header::{CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MATCH};
use http::{Method, StatusCode};
use tokio::sync::Mutex;

use super::client::{Answer, Client, Trouble};
use super::pages::denied;
use super::shape::Shape;
use super::stored::{Look, Standing, Stored};
use super::{Halt, HaltKind};

/// A tag that no state of any record has.
const NEVER: &str = "\"sidecloak-rewrite-is-the-condition-heeded\"";

/// How records are written back.
pub struct Records {
    /// The proxy.
    pub through: Client,
    /// The application itself, whose records are looked at for what the rules select.
    pub direct: Option<Client>,
    /// The proxy's rules.
    pub rules: Option<Stored>,
    /// What is written of a record.
    pub shape: Shape,
    /// With which method.
    pub method: Method,
    /// Records that bring no strong entity tag are written, too.
    pub without_etag: bool,
    /// Records that need no writing are written, too.
    pub all: bool,
    /// The way back: what is stored shall be plaintext.
    pub opens: bool,
    /// Nothing is written.
    pub dry: bool,
    /// How often a record is read again that somebody else has written meanwhile.
    pub conflicts: u32,
    /// The application has been seen to heed `If-Match`.
    pub heeds: Mutex<bool>,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Became {
    /// Written.
    Written {
        /// So many times somebody else was faster.
        conflicts: u32,
    },
    /// It is stored as it should be.
    Already(Look),
    /// It is not there any more.
    Gone,
    /// It would be written.
    Would {
        /// It brings an entity tag that can be relied on; `None`: it was not asked for.
        tagged: Option<bool>,
        /// What stands in it, if that was looked at.
        look: Option<Look>,
    },
}

/// What was found of a record at the application itself.
enum Seen {
    /// Nobody looks.
    Unseen,
    /// It is not there any more.
    Gone,
    Here(Look),
}

/// Why a record was not written.
#[derive(Debug)]
pub enum Unwritten {
    /// The walk ends.
    Halt(Halt),
    /// This record's own reason.
    Failed(String),
}

impl From<Trouble> for Unwritten {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Halt(halt) => Self::Halt(halt),
            Trouble::Here(why) => Self::Failed(why),
        }
    }
}

fn failed<T>(step: &str, answer: &Answer) -> Result<T, Unwritten> {
    if answer.status == StatusCode::UNAUTHORIZED {
        return Err(Unwritten::Halt(denied()));
    }
    let why = format!("{step}: {}", answer.why());
    if answer.is_busy() {
        let halt = Halt::new(HaltKind::Away, why)
            .help("the same command goes on from where it was, with a lower --rate perhaps");
        return Err(Unwritten::Halt(halt));
    }
    Err(Unwritten::Failed(why))
}

/// The application has written, and what it answers does not open: 502 says that it is the answer that is refused.
fn ruined(answer: &Answer) -> Result<(), Unwritten> {
    let is_token = answer.status == StatusCode::BAD_GATEWAY && answer.refusal().as_deref() == Some("token");
    if is_token { Err(Unwritten::Halt(unopened(&answer.why()))) } else { Ok(()) }
}

fn is_gone(answer: &Answer) -> bool {
    matches!(answer.status.as_u16(), 404 | 410)
}

impl Records {
    /// Does what is to be done to the record at this path.
    pub async fn rewrite(&self, path: &str) -> Result<Became, Unwritten> {
        let (mut missing, mut conflict, mut odd) = (false, false, false);
        for conflicts in 0..=self.conflicts {
            let stored = match self.stored(path).await? {
                Seen::Gone => return Ok(Became::Gone),
                Seen::Unseen => None,
                Seen::Here(look) if self.needs_nothing(&look) => return Ok(Became::Already(look)),
                Seen::Here(look) => Some(look),
            };
            if self.dry && stored.is_some() {
                return Ok(Became::Would { tagged: None, look: stored });
            }
            let read = self.through.get(path).await?;
            if is_gone(&read) {
                return Ok(Became::Gone);
            }
            if read.status != StatusCode::OK {
                return failed("reading", &read);
            }
            let (body, kind) = self.shape.of(&read).map_err(Unwritten::Failed)?;
            let tag = tag(&read);
            if self.dry {
                return Ok(Became::Would { tagged: Some(tag.is_some()), look: None });
            }
            if let Some(why) = self.loses(path, &body, stored.as_ref())? {
                if odd {
                    return Err(Unwritten::Failed(format!("not written, since that would lose it: {why}")));
                }
                // Somebody may have written it between the two looks.
                odd = true;
                continue;
            }
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, kind);
            let mut tried = Tried::Yes;
            match tag {
                Some(tag) => {
                    tried = self.heeded(path, &headers, &body).await?;
                    headers.insert(IF_MATCH, tag);
                }
                None if self.without_etag => {}
                None => return Err(Unwritten::Halt(no_tag())),
            }
            let written = self.through.send(self.method.clone(), path, &headers, body).await?;
            ruined(&written)?;
            match written.status.as_u16() {
                200..=299 => {
                    if tried == Tried::Conflict {
                        *self.heeds.lock().await = true;
                    }
                    return self.seen(path, stored.as_ref(), conflicts).await;
                }
                // Somebody else was faster, or has taken it away: reading it again tells.
                status @ (409 | 412) => conflict = status == 409,
                404 | 410 if !missing => missing = true,
                _ => return failed("writing", &written),
            }
        }
        let why = match (missing, conflict) {
            (true, _) => "it can be read, but not written there (404)",
            (_, true) => "409 each time it was read again: the application finds a conflict",
            _ => "others wrote it each time it was read",
        };
        Err(Unwritten::Failed(why.to_owned()))
    }

    /// Whether an application that gives tags heeds them is tried out once, with a condition that cannot hold: one that writes
    /// all the same would lose what others write.
    async fn heeded(&self, path: &str, headers: &HeaderMap, body: &bytes::Bytes) -> Result<Tried, Unwritten> {
        if self.without_etag {
            return Ok(Tried::Yes);
        }
        // The others wait: if it does not, one record was written so, and no more.
        let mut heeds = self.heeds.lock().await;
        if *heeds {
            return Ok(Tried::Yes);
        }
        let mut headers = headers.clone();
        headers.insert(IF_MATCH, HeaderValue::from_static(NEVER));
        let answer = self.through.send(self.method.clone(), path, &headers, body.clone()).await?;
        ruined(&answer)?;
        match answer.status.as_u16() {
            412 => {
                *heeds = true;
                Ok(Tried::Yes)
            }
            409 => Ok(Tried::Conflict),
            404 | 410 => Ok(Tried::No),
            200..=299 => {
                let message = "the application gives entity tags, but writes without heeding If-Match: what others write meanwhile \
                               could be lost";
                let help = "walk while nobody else writes, with --without-etag";
                Err(Unwritten::Halt(Halt::new(HaltKind::Refused, message).help(help)))
            }
            _ => failed("writing", &answer),
        }
    }

    /// Whether writing this would store less than is there now; why.
    fn loses(&self, path: &str, body: &[u8], stored: Option<&Look>) -> Result<Option<&'static str>, Unwritten> {
        let Some(rules) = &self.rules else { return Ok(None) };
        // Those of this very record, which may meet others than the one before.
        rules.harms(path).map_err(|halt| match halt.kind {
            HaltKind::Refused => Unwritten::Halt(halt),
            _ => Unwritten::Failed(halt.message),
        })?;
        let shown = rules.look(path, body).map_err(Unwritten::Failed)?;
        Ok(match stored {
            Some(stored) => shown.loses(stored),
            None => (shown.count(Standing::Masked) > 0).then_some("the proxy shows a mask of it"),
        })
    }

    /// What is stored.
    async fn stored(&self, path: &str) -> Result<Seen, Unwritten> {
        let (Some(direct), Some(rules)) = (&self.direct, &self.rules) else { return Ok(Seen::Unseen) };
        let answer = direct.get(path).await?;
        if is_gone(&answer) {
            let through = self.through.get(path).await?;
            if is_gone(&through) {
                return Ok(Seen::Gone);
            }
            return Err(Unwritten::Failed("it is there through the proxy, and not at --direct".to_owned()));
        }
        if answer.status != StatusCode::OK {
            return failed("looking at what is stored", &answer);
        }
        let body = self.shape.cut(&answer.body).map_err(Unwritten::Failed)?;
        rules.look(path, &body).map(Seen::Here).map_err(Unwritten::Failed)
    }

    fn needs_nothing(&self, look: &Look) -> bool {
        look.places.is_empty() || (!self.all && self.is_done(look))
    }

    fn is_done(&self, look: &Look) -> bool {
        look.count(if self.opens { Standing::Sealed } else { Standing::Plaintext }) == 0
    }

    /// Looks whether writing did what it was for, and no more.
    async fn seen(&self, path: &str, before: Option<&Look>, conflicts: u32) -> Result<Became, Unwritten> {
        let done = Became::Written { conflicts };
        let Seen::Here(look) = self.stored(path).await? else { return Ok(done) };
        if before.is_some_and(|before| look.lacks(before)) {
            let message = "a record was written, and a value that was in it before is not stored any more";
            let help = "does the application, or the column, drop what does not fit? If somebody else took it away meanwhile, the same \
                        command goes on";
            return Err(Unwritten::Halt(Halt::new(HaltKind::Refused, message).help(help)));
        }
        if self.is_done(&look) {
            if !self.opens {
                self.opens_again(path, &look).await?;
            }
            return Ok(done);
        }
        let (message, help) = if self.opens {
            let help = "put the rules into `mode: read` at every replica, and walk through it";
            ("the record was written, and is sealed again: the rules seal what is written", help)
        } else {
            let help = "put the rules into `mode: migrate` at every replica, and walk through the proxy, not past it";
            ("nothing was sealed: the record was written, and is stored as plaintext", help)
        };
        Err(Unwritten::Halt(Halt::new(HaltKind::Refused, message).help(help)))
    }
}

impl Records {
    /// An application or a column that shortens or changes what it stores would ruin every token: the first one ends the walk.
    async fn opens_again(&self, path: &str, stored: &Look) -> Result<(), Unwritten> {
        let Some(mut why) = self.unopened(path, stored).await? else { return Ok(()) };
        // Somebody may have written it between the two looks.
        for _ in 0..2 {
            let Seen::Here(stored) = self.stored(path).await? else { return Ok(()) };
            match self.unopened(path, &stored).await? {
                Some(still) => why = still,
                None => return Ok(()),
            }
        }
        Err(Unwritten::Halt(unopened(&why)))
    }

    /// Why what is stored so is not read as it should be.
    async fn unopened(&self, path: &str, stored: &Look) -> Result<Option<String>, Unwritten> {
        let answer = self.through.get(path).await?;
        match (answer.status, &self.rules) {
            (StatusCode::OK, Some(rules)) => {
                let body = self.shape.cut(&answer.body).map_err(Unwritten::Failed)?;
                let shown = rules.look(path, &body).map_err(Unwritten::Failed)?;
                Ok(shown.loses(stored).map(str::to_owned))
            }
            _ if is_gone(&answer) => Ok(None),
            _ if answer.is_busy() => failed("reading it again", &answer),
            _ => Ok(Some(answer.why())),
        }
    }
}

/// What is known of whether the application heeds conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tried {
    /// It does, or it does not matter.
    Yes,
    /// Nothing.
    No,
    /// It answered 409, for that or for a reason of its own: the first, if the same is taken with the right tag.
    Conflict,
}

fn unopened(why: &str) -> Halt {
    let message = format!("a record was written, and does not open again: {why}");
    Halt::new(HaltKind::Refused, message).help(
        "does the application or the column cut off or change what it stores? `max_length` on the rule refuses what would not fit",
    )
}

fn no_tag() -> Halt {
    let message =
        "a record has no strong entity tag (ETag), so what others write between reading and writing it would be lost";
    Halt::new(HaltKind::Refused, message).help("if nobody else writes meanwhile, go on with --without-etag")
}

/// A strong tag: a weak one fails every `If-Match` (RFC 9110 13.1.1).
fn tag(answer: &Answer) -> Option<HeaderValue> {
    let tag = answer.headers.get(ETAG)?;
    let text = tag.as_bytes();
    let is_weak = text.starts_with(b"W/") || text.starts_with(b"w/");
    (!is_weak && !text.is_empty()).then(|| tag.clone())
}
