//! `limits`, `timeouts`, `upstream_limits` and `drain`: each in its range, and what contradicts itself is said.

use std::ops::Range;
use std::time::Duration;

use super::{Checks, value};
use crate::config::file::{self, At};
use crate::config::machine::Machine;
use crate::config::quantity::Size;
use crate::config::scalar::{DurationText, OrOff, SizeText};
use crate::proxy::settings::{Drain, Http2Limits, Limits, ListenerLimits, Timeouts, UpstreamFailures, UpstreamLimits};

/// RFC 9113 6.9.1: the largest window.
const MAX_WINDOW: usize = (1 << 31) - 1;
/// RFC 9113 6.9.2: every HTTP/2 connection begins with this one; a smaller one for a stream is allowed, and of no use.
const FIRST_WINDOW: usize = (64 << 10) - 1;
/// hyper reads that much of a header section at least; and 32 is `32KiB`, misspelt.
const LEAST_HEADER: usize = 8 << 10;
/// Fields of a header section; hyper and the map they are kept in take no more.
const MAX_HEADERS: usize = 16_384;
/// An application that cannot be sent a session cookie and a token is broken by the proxy.
const FEW_HEADERS: usize = 20;
/// Largest body whose size can be named.
const MAX_BODY: u64 = 1 << 50;

impl Checks<'_> {
    pub(super) fn upstream_limits(&mut self, file: file::UpstreamLimits) -> UpstreamLimits {
        let default = UpstreamLimits::default();
        let connections = self.count("upstream_limits.connections", file.connections, default.connections, 1);
        UpstreamLimits {
            connections,
            queue: self.count("upstream_limits.queue", file.queue, default.queue, 0),
            idle: self.count("upstream_limits.idle", file.idle, default.idle, 0).min(connections),
            idle_timeout: file.idle_timeout.map_or(default.idle_timeout, |d| d.value.0),
            max_age: file.max_age.map_or(default.max_age, |d| d.value.0),
            resolve: file.resolve.map_or(default.resolve, |d| d.value.0),
        }
    }

    pub(super) fn upstream_failures(&mut self, file: file::UpstreamFailures) -> UpstreamFailures {
        let default = UpstreamFailures::default();
        let rest = file.rest.map_or(default.rest, |d| d.value.0);
        let longest = file.longest_rest.map(|d| (d.value.0, d.span));
        if let Some((_, span)) = longest.as_ref().filter(|(longest, _)| *longest < rest) {
            let message = "`upstream_failures.longest_rest` is shorter than `rest`".to_owned();
            self.error("bad-duration", message, span, "raise it, or lower `rest`");
        }
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        UpstreamFailures {
            retry: value(file.retry).unwrap_or(default.retry),
            rest,
            longest_rest: longest.map_or_else(|| default.longest_rest.max(rest), |(longest, _)| longest),
            breaker_after: count(self.count("upstream_failures.breaker_after", file.breaker_after, 0, 0)),
            breaker_probes: count(self.count("upstream_failures.breaker_probes", file.breaker_probes, 3, 1)),
        }
    }

    pub(super) fn limits(&mut self, file: file::Limits, machine: Machine) -> Limits {
        let standard = Limits::default();
        let share = machine.memory / 100;
        let memory = match file.memory.as_ref().map_or(Size::Percent(60), |m| m.value.0) {
            Size::Percent(percent) => share.saturating_mul(u64::from(percent)),
            Size::Bytes(bytes) => bytes,
        };
        let memory_span = file.memory.map(|m| m.span);
        let (request_line, headers) = (span(&file.request_line), span(&file.headers));
        let lavish = span(&file.connections).or_else(|| span(&file.header));
        let (client, min_rate) = (span(&file.client_connections), span(&file.min_rate));
        let limits = Limits {
            memory: usize::try_from(memory).unwrap_or(usize::MAX),
            header: self.header(file.header, standard.header),
            headers: self.count("limits.headers", file.headers, standard.headers, 1),
            request_line: self.bytes("limits.request_line", file.request_line, standard.request_line),
            value: self.bytes("limits.value", file.value, standard.value),
            body: self.body("limits.body", file.body).unwrap_or(standard.body),
            in_flight: self.count("limits.in_flight", file.in_flight, standard.in_flight, 1),
            connections: self.count("limits.connections", file.connections, standard.connections, 1),
            client_connections: self.count_or_off("limits.client_connections", file.client_connections),
            requests: self.count_or_off("limits.requests", file.requests).map(|n| n as u64),
            buffer: self.bytes("limits.buffer", file.buffer, standard.buffer),
            decoded: self.bytes("limits.decoded", file.decoded, standard.decoded),
            ratio: self.count("limits.ratio", file.ratio, standard.ratio, 1),
            min_rate: self.rate_or_off("limits.min_rate", file.min_rate, standard.min_rate),
            http2: self.http2_limits(value(file.http2).unwrap_or_default()),
        };
        // One request must be able to finish: header, buffer, and a value with its token (4/3) beside it.
        let least = limits.header.saturating_add(limits.buffer).saturating_add(limits.value.saturating_mul(3));
        if limits.memory < least {
            let message =
                format!("`limits.memory` is {} bytes; one request at the other limits needs {least}", limits.memory);
            let help = "raise `limits.memory`, or lower `value`, `buffer` and `header`";
            match &memory_span {
                Some(span) => self.error("memory-too-small", message, span, help),
                None => self.flag("memory-too-small", &message, help),
            }
        }
        let most = limits.connections.saturating_mul(limits.header);
        self.warn_if(
            limits.headers > MAX_HEADERS,
            "bad-count",
            headers.as_ref(),
            "`limits.headers` is over 16384, which is all that is taken",
            "lower it",
        );
        self.warn_if(
            limits.headers < FEW_HEADERS,
            "few-headers",
            headers.as_ref(),
            "`limits.headers` is so low that browsers are refused",
            "leave it at 100",
        );
        self.warn_if(
            limits.request_line > limits.header,
            "request-line",
            request_line.as_ref(),
            "`limits.request_line` is above `limits.header`, which holds the request line, too",
            "raise `limits.header`, or lower it",
        );
        self.warn_if(
            limits.client_connections.is_some_and(|n| n >= limits.connections),
            "client-connections",
            client.as_ref(),
            "`limits.client_connections` is not below `limits.connections`: one client can take all",
            "lower it",
        );
        self.warn_if(
            limits.min_rate.is_some_and(|rate| rate > 64 << 10),
            "min-rate",
            min_rate.as_ref(),
            "`limits.min_rate` is above what a phone may have: slow clients are cut",
            "write a few hundred bytes",
        );
        self.warn_if(
            most > limits.memory,
            "connections-memory",
            lavish.as_ref(),
            "header sections are outside of `limits.memory`, and `connections` times `header` is more than it",
            "lower `connections` or `header`, or leave more of the control group's memory free",
        );
        limits
    }

    fn http2_limits(&mut self, file: file::Http2Limits) -> Http2Limits {
        let standard = Http2Limits::default();
        let (stream, connection) = (span(&file.stream_window), span(&file.connection_window));
        let limits = Http2Limits {
            streams: number(self.count("limits.http2.streams", file.streams, standard.streams as usize, 1)),
            stream_window: number(self.bytes(
                "limits.http2.stream_window",
                file.stream_window,
                standard.stream_window as usize,
            )),
            connection_window: number(self.bytes(
                "limits.http2.connection_window",
                file.connection_window,
                standard.connection_window as usize,
            )),
            resets: number(self.count("limits.http2.resets", file.resets, standard.resets as usize, 1)),
        };
        let small = (limits.connection_window as usize) < FIRST_WINDOW;
        self.warn_if(
            small,
            "small-window",
            connection.as_ref(),
            "`limits.http2.connection_window` is below what every HTTP/2 connection begins with",
            "write `64KiB` or more",
        );
        let over = limits.stream_window > limits.connection_window;
        self.warn_if(
            over,
            "stream-window",
            stream.as_ref(),
            "`limits.http2.stream_window` is above `connection_window`: one upload holds up all others",
            "lower it, or raise `connection_window`",
        );
        limits
    }

    pub(super) fn listener_limits(&mut self, file: file::ListenerLimits) -> ListenerLimits {
        let key = |name: &str| format!("listeners.limits.{name}");
        ListenerLimits {
            in_flight: file.in_flight.map(|at| self.count(&key("in_flight"), Some(at), 1, 1)),
            connections: file.connections.map(|at| self.count(&key("connections"), Some(at), 1, 1)),
            body: self.body(&key("body"), file.body),
        }
    }

    pub(super) fn timeouts(&mut self, file: file::Timeouts) -> Timeouts {
        let standard = Timeouts::default();
        let (first_byte, total) = (span(&file.first_byte), span(&file.total));
        let timeouts = Timeouts {
            handshake: self.wait("handshake", file.handshake, standard.handshake),
            header: self.wait("header", file.header, standard.header),
            keep_alive: self.wait("keep_alive", file.keep_alive, standard.keep_alive),
            request_idle: self.wait("request_idle", file.request_idle, standard.request_idle),
            send: self.wait("send", file.send, standard.send),
            queue: self.wait("queue", file.queue, standard.queue),
            connect: self.wait("connect", file.connect, standard.connect),
            first_byte: self.wait("first_byte", file.first_byte, standard.first_byte),
            response_idle: self.wait("response_idle", file.response_idle, standard.response_idle),
            total: self.wait_or_off("total", file.total, standard.total),
            tunnel_idle: self.wait_or_off("tunnel_idle", file.tunnel_idle, standard.tunnel_idle),
            connection_age: self.wait_or_off("connection_age", file.connection_age, standard.connection_age),
            ping: self.wait("ping", file.ping, standard.ping),
        };
        self.warn_if(
            timeouts.first_byte < timeouts.connect,
            "first-byte",
            first_byte.as_ref(),
            "`timeouts.first_byte` is below `timeouts.connect`, which counts within it",
            "raise it, or lower `connect`",
        );
        let needs = timeouts.queue + timeouts.first_byte;
        self.warn_if(
            timeouts.total.is_some_and(|total| total < needs),
            "total",
            total.as_ref(),
            "`timeouts.total` is below `queue` and `first_byte` together: it ends exchanges before these do",
            "raise it, or lower them",
        );
        timeouts
    }

    pub(super) fn drain(&mut self, file: file::Drain, timeouts: &Timeouts) -> Drain {
        let written = file.delay.as_ref().or(file.deadline.as_ref()).map(|at| at.span.clone());
        let delay = file.delay.map_or(Duration::from_secs(5), |d| d.value.0);
        let deadline = file.deadline.map_or(Duration::from_secs(25), |d| d.value.0);
        if let Some(span) = written.as_ref().filter(|_| delay > deadline) {
            let message = "`drain.delay` is longer than `drain.deadline`: what runs then is cut without time to end";
            self.warning("drain-delay", message, span, "the deadline includes the delay: raise it, or lower `delay`");
        } else {
            let short = timeouts.total.is_some_and(|total| deadline - delay < total);
            self.warn_if(
                short,
                "drain-deadline",
                written.as_ref(),
                "`drain.deadline` leaves less time than `timeouts.total` gives an exchange: a drain cuts some",
                "raise it, or lower `timeouts.total`",
            );
        }
        Drain { delay, deadline }
    }

    /// A warning about what is written; defaults contradict nothing.
    fn warn_if(&mut self, so: bool, code: &'static str, span: Option<&Range<usize>>, message: &str, help: &str) {
        if let Some(span) = span.filter(|_| so) {
            self.warning(code, message, span, help);
        }
    }

    fn wait(&mut self, key: &str, at: Option<At<DurationText>>, default: Duration) -> Duration {
        let Some(at) = at else { return default };
        if at.value.0.is_zero() {
            let message = format!("`timeouts.{key}` cannot be 0: everything would end at once");
            self.error("bad-duration", message, &at.span, "write a duration, or leave it out");
            return default;
        }
        at.value.0
    }

    fn wait_or_off(
        &mut self,
        key: &str,
        at: Option<At<OrOff<DurationText>>>,
        default: Option<Duration>,
    ) -> Option<Duration> {
        match at {
            None => default,
            Some(At { value: OrOff::Off, .. }) => None,
            Some(At { value: OrOff::Bound(bound), span }) => {
                if bound.0.is_zero() {
                    let message = format!("`timeouts.{key}` cannot be 0: everything would end at once");
                    self.error("bad-duration", message, &span, "write `off` for no bound");
                }
                Some(bound.0)
            }
        }
    }

    fn header(&mut self, at: Option<At<SizeText>>, default: usize) -> usize {
        let span = span(&at);
        let size = self.bytes("limits.header", at, default);
        if let Some(span) = span.filter(|_| size < LEAST_HEADER) {
            let message = "`limits.header` is below 8KiB, which HTTP/1.1 takes in any case".to_owned();
            self.error("bad-size", message, &span, "write a size from `8KiB` to `1GiB`, such as `32KiB`");
        }
        size
    }

    fn count_or_off(&mut self, key: &str, at: Option<At<OrOff<u64>>>) -> Option<usize> {
        match at? {
            At { value: OrOff::Off, .. } => None,
            At { value: OrOff::Bound(0), span } => {
                let message = format!("`{key}` cannot be 0: nobody would get in");
                self.error("bad-count", message, &span, "write a number from 1 on, or `off` for no bound");
                None
            }
            At { value: OrOff::Bound(bound), span } => Some(self.count(key, Some(At { value: bound, span }), 1, 1)),
        }
    }

    fn rate_or_off(&mut self, key: &str, at: Option<At<OrOff<SizeText>>>, default: Option<u32>) -> Option<u32> {
        match at {
            None => default,
            Some(At { value: OrOff::Off, .. }) => None,
            Some(At { value: OrOff::Bound(SizeText(Size::Bytes(0))), span }) => {
                let message = format!("`{key}` cannot be 0, which could mean either");
                self.error("bad-size", message, &span, "write bytes a second, such as `240B`, or `off` for no bound");
                default
            }
            Some(At { value: OrOff::Bound(bound), span }) => {
                Some(number(self.bytes(key, Some(At { value: bound, span }), 1)))
            }
        }
    }

    /// `None`: nothing is written. A body may be larger than any other limit.
    fn body(&mut self, key: &str, at: Option<At<OrOff<SizeText>>>) -> Option<Option<u64>> {
        match at? {
            At { value: OrOff::Off, .. } => Some(None),
            At { value: OrOff::Bound(SizeText(Size::Bytes(bytes @ 1..=MAX_BODY))), .. } => Some(Some(bytes)),
            At { span, .. } => {
                let message = format!("`{key}` is out of range");
                self.error("bad-size", message, &span, "write a size such as `10MiB`, or `off` for no bound");
                None
            }
        }
    }
}

fn span<T>(at: &Option<At<T>>) -> Option<Range<usize>> {
    at.as_ref().map(|at| at.span.clone())
}

fn number(count: usize) -> u32 {
    u32::try_from(count.min(MAX_WINDOW)).unwrap_or(u32::MAX)
}
