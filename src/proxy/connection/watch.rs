//! What a connection is about, and when it has had its time: a header section that trickles, silence between requests, an
//! answer that nobody takes, age, and HTTP/2 clients that keep us busy for nothing.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use http::Version;
use tokio::sync::Notify;
use tokio::time::{self, Instant};

use crate::metrics::Limit;
use crate::proxy::crowd::Room;
use crate::proxy::settings::{Limits, Timeouts};

/// A client that has sent nothing yet is kept this long while others wait for its place.
const FRESH: Duration = Duration::from_secs(1);
/// Bytes that an HTTP/2 connection begins with.
const PREFACE: u64 = 24;
/// Over which called-back requests are counted.
const RESETS_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of frames that serve no request: so many at all times, so many for each byte of use, and so many a second.
const IDLE_TALK: u64 = 1 << 20;
const TALK_PER_USE: u64 = 8;
const TALK_PER_SECOND: u64 = 256;
/// What an HTTP/2 client may say for each frame of an answer: it returns its window twice.
pub(in crate::proxy) const USE_PER_FRAME: u64 = 64;

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With the requests it is at.
    InOrder,
    /// At once.
    Now(Limit),
}

/// One per connection. Everything in it is written by the connection's own worker; times are milliseconds of its life.
#[derive(Debug)]
pub(in crate::proxy) struct Watch {
    born: Instant,
    http2: AtomicBool,
    /// Requests begun.
    served: AtomicU64,
    /// Exchanges running.
    running: AtomicU32,
    /// Bytes have come since the last exchange ended: a header section has begun.
    reading: AtomicBool,
    /// When the header section or the silence began.
    since: AtomicU64,
    /// When an answer has waited long enough for its client; 0: none waits.
    send_ends: AtomicU64,
    /// Bytes that came, and what they were good for.
    heard: AtomicU64,
    used: AtomicU64,
    resets: Resets,
    /// To be ended at once for this.
    broken: std::sync::OnceLock<Limit>,
    /// `broken` is set, or the last request has come.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Resets {
    since: AtomicU64,
    requests: AtomicU32,
    resets: AtomicU32,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            born: Instant::now(),
            http2: AtomicBool::new(false),
            served: AtomicU64::new(0),
            running: AtomicU32::new(0),
            reading: AtomicBool::new(false),
            since: AtomicU64::new(0),
            send_ends: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            used: AtomicU64::new(0),
            resets: Resets::default(),
            broken: std::sync::OnceLock::new(),
            changed: Notify::new(),
        }
    }

    /// Whether a request has come.
    pub(super) fn has_served(&self) -> bool {
        self.served.load(Ordering::Relaxed) > 0
    }

    /// A request's header section has come.
    pub(in crate::proxy) fn begun(&self, version: Version, limits: &Limits) {
        let count = self.served.fetch_add(1, Ordering::Relaxed) + 1;
        self.running.fetch_add(1, Ordering::Relaxed);
        self.reading.store(false, Ordering::Relaxed);
        if version == Version::HTTP_2 {
            self.http2.store(true, Ordering::Relaxed);
            self.resets.requests.fetch_add(1, Ordering::Relaxed);
        }
        if limits.requests.is_some_and(|most| count >= most) {
            self.changed.notify_one();
        }
    }

    /// An exchange is over; `called_back`: before its answer was, and by the client.
    pub(in crate::proxy) fn over(&self, called_back: bool, limits: &Limits, now: Instant) {
        let now = millis(now.duration_since(self.born));
        if self.running.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.since.store(now, Ordering::Relaxed);
        }
        if called_back && self.is_http2() && self.resets.is_one_too_many(now, limits.http2.resets) {
            self.breaks(Limit::Resets);
        }
    }

    /// Bytes have come; whether they are too many for what they were good for.
    pub(super) fn hears(&self, bytes: usize, begins_http2: bool) -> bool {
        let before = self.heard.fetch_add(bytes as u64, Ordering::Relaxed);
        if before == 0 && begins_http2 {
            self.http2.store(true, Ordering::Relaxed);
        }
        if self.is_http2() {
            return self.is_idle_talk(before + bytes as u64);
        }
        if self.running.load(Ordering::Relaxed) == 0 && !self.reading.swap(true, Ordering::Relaxed) && self.has_served()
        {
            self.since.store(self.now(), Ordering::Relaxed);
        }
        false
    }

    /// So many of the bytes that came, or that they brought about, were of use.
    pub(in crate::proxy) fn used(&self, bytes: u64) {
        if self.is_http2() {
            self.used.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// An answer waits for its client until then, or waits no more.
    pub(super) fn send_ends(&self, at: Option<Instant>) {
        let millis = at.map_or(0, |at| millis(at.duration_since(self.born)).max(1));
        self.send_ends.store(millis, Ordering::Relaxed);
    }

    /// The connection is to end at once.
    pub(super) fn breaks(&self, limit: Limit) {
        // The first reason counts.
        self.broken.get_or_init(|| limit);
        self.changed.notify_one();
    }

    /// Waits until the connection has had its time, or, once `room` is asked for, until it stands between two requests.
    pub(super) async fn ends(
        &self,
        limits: &Limits,
        timeouts: &Timeouts,
        age: Option<Duration>,
        room: Room<'_>,
    ) -> End {
        let mut wanted = false;
        loop {
            let next = match self.look(limits, timeouts, age, wanted) {
                Ok(next) => next,
                Err(end) => return end,
            };
            tokio::select! {
                () = time::sleep(next) => wanted = false,
                () = self.changed.notified() => {}
                () = room.wanted() => wanted = true,
            }
        }
    }

    /// Waits until a connection that was told to end holds on to it for no request, for longer than `grace`.
    pub(super) async fn lingers(&self, grace: Duration) -> Limit {
        loop {
            let send = self.send_ends.load(Ordering::Relaxed);
            let idle = Duration::from_millis(self.now().saturating_sub(self.since.load(Ordering::Relaxed)));
            match self.broken.get() {
                Some(limit) => return *limit,
                None if send > 0 && send <= self.now() => return Limit::Send,
                None if self.running.load(Ordering::Relaxed) == 0 && idle >= grace => return Limit::KeepAlive,
                None => {}
            }
            tokio::select! {
                () = time::sleep(grace) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// How long there is nothing to look for, at most.
    fn look(&self, limits: &Limits, timeouts: &Timeouts, age: Option<Duration>, room: bool) -> Result<Duration, End> {
        if let Some(limit) = self.broken.get() {
            return Err(End::Now(*limit));
        }
        let now = self.now();
        let left = |from: u64, time: Duration| Duration::from_millis((from + millis(time)).saturating_sub(now));
        // A header section or a silence that begins while we sleep, or an answer that has to wait, must not have had its time
        // before we wake.
        let mut next = timeouts.header.min(timeouts.send).min(timeouts.keep_alive);
        let served = self.served.load(Ordering::Relaxed);
        let aged = age.map(|age| left(0, age));
        if limits.requests.is_some_and(|most| served >= most) || aged.is_some_and(|left| left.is_zero()) {
            return Err(End::InOrder);
        }
        next = next.min(aged.unwrap_or(next));
        let send = self.send_ends.load(Ordering::Relaxed);
        if send > 0 {
            let waits = left(send, Duration::ZERO);
            if waits.is_zero() {
                return Err(End::Now(Limit::Send));
            }
            next = next.min(waits);
        }
        if self.running.load(Ordering::Relaxed) > 0 {
            return Ok(next);
        }
        let since = self.since.load(Ordering::Relaxed);
        let http1 = !self.is_http2();
        let heard = self.heard.load(Ordering::Relaxed);
        let nothing_yet = served == 0 && (http1 || heard < PREFACE);
        if nothing_yet || (http1 && self.reading.load(Ordering::Relaxed)) {
            let waits = left(since, timeouts.header);
            if waits.is_zero() || (room && heard == 0 && left(0, FRESH).is_zero()) {
                return Err(End::Now(Limit::Header));
            }
            return Ok(next.min(waits));
        }
        let waits = left(since, timeouts.keep_alive);
        if room || waits.is_zero() { Err(End::InOrder) } else { Ok(next.min(waits)) }
    }

    fn is_idle_talk(&self, heard: u64) -> bool {
        let earned = IDLE_TALK + TALK_PER_USE * self.used.load(Ordering::Relaxed);
        heard > earned && heard > earned + TALK_PER_SECOND * self.born.elapsed().as_secs()
    }

    fn is_http2(&self) -> bool {
        self.http2.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        millis(self.born.elapsed())
    }
}

impl Resets {
    fn is_one_too_many(&self, now: u64, most: u32) -> bool {
        if now.saturating_sub(self.since.load(Ordering::Relaxed)) > millis(RESETS_WITHIN) {
            self.since.store(now, Ordering::Relaxed);
            self.requests.store(0, Ordering::Relaxed);
            self.resets.store(0, Ordering::Relaxed);
        }
        let resets = self.resets.fetch_add(1, Ordering::Relaxed) + 1;
        resets > most && resets > self.requests.load(Ordering::Relaxed) / 2
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(watch: &Watch, room: bool) -> Result<Duration, End> {
        watch.look(&Limits::default(), &Timeouts::default(), Some(Duration::from_hours(1)), room)
    }

    async fn after(seconds: u64) {
        time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_section_has_its_time_however_it_trickles() {
        let watch = Watch::new();
        for _ in 0..29 {
            watch.hears(1, false);
            after(1).await;
            assert!(look(&watch, false).unwrap() <= Duration::from_secs(30));
        }
        after(1).await;
        assert_eq!(look(&watch, false), Err(End::Now(Limit::Header)));

        let watch = Watch::new();
        watch.begun(Version::HTTP_11, &Limits::default());
        after(1000).await;
        assert!(look(&watch, false).is_ok(), "an exchange runs");
        watch.over(false, &Limits::default(), Instant::now());
        after(74).await;
        assert_eq!(look(&watch, false), Ok(Duration::from_secs(1)));
        watch.hears(1, false);
        after(29).await;
        watch.hears(1, false);
        assert_eq!(look(&watch, false), Ok(Duration::from_secs(1)));
        after(1).await;
        assert_eq!(look(&watch, false), Err(End::Now(Limit::Header)));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_age_end_in_order_and_room_is_made_by_who_is_idle() {
        let watch = Watch::new();
        watch.begun(Version::HTTP_11, &Limits::default());
        assert!(look(&watch, true).is_ok());
        watch.over(false, &Limits::default(), Instant::now());
        assert!(look(&watch, false).is_ok());
        assert_eq!(look(&watch, true), Err(End::InOrder));
        after(75).await;
        assert_eq!(look(&watch, false), Err(End::InOrder));
        watch.begun(Version::HTTP_11, &Limits::default());
        after(3600).await;
        assert_eq!(look(&watch, false), Err(End::InOrder));

        let fresh = Watch::new();
        assert!(look(&fresh, true).is_ok());
        after(2).await;
        assert_eq!(look(&fresh, true), Err(End::Now(Limit::Header)));
        fresh.hears(1, false);
        assert!(look(&fresh, true).is_ok(), "its request is on the way");
    }

    #[tokio::test(start_paused = true)]
    async fn called_back_requests_count_if_they_are_the_most() {
        let limits = Limits::default();
        let run = |kept: u32| {
            let watch = Watch::new();
            for n in 0..400 {
                watch.begun(Version::HTTP_2, &limits);
                watch.over(n % (kept + 1) == 0, &limits, Instant::now());
            }
            watch.broken.get().copied()
        };
        assert_eq!(run(0), Some(Limit::Resets));
        assert_eq!(run(3), None, "a quarter");
    }

    #[tokio::test(start_paused = true)]
    async fn talk_without_use_ends() {
        let watch = Watch::new();
        assert!(!watch.hears(24, true));
        assert!(!(0..1000).any(|_| watch.hears(1000, false)));
        assert!((0..100).any(|_| watch.hears(1000, false)));

        let watch = Watch::new();
        watch.hears(24, true);
        for _ in 0..10_000 {
            watch.used(1000);
            assert!(!watch.hears(1009, false));
        }
    }
}
