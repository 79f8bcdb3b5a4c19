//! What bounds a peer: the compiled form of `limits` and `timeouts`, with their defaults.

use std::time::Duration;

/// Without a setting, hyper takes so many fields, and takes them without an allocation.
pub(super) const HYPER_HEADERS: usize = 100;

/// Bounds of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all buffers together.
    pub memory: usize,
    /// Bytes of a request's or response's header section.
    pub header: usize,
    /// Fields of a header section.
    pub headers: usize,
    /// Bytes of a request line: method, target and version.
    pub request_line: usize,
    /// Longest value sealed or opened.
    pub value: usize,
    /// Largest request body, where neither the listener nor a rule says otherwise.
    pub body: Option<u64>,
    /// Requests at once.
    pub in_flight: usize,
    /// Connections at once.
    pub connections: usize,
    /// Connections at once of one client address.
    pub client_connections: Option<usize>,
    /// Requests that one connection may bring before it is closed in order.
    pub requests: Option<u64>,
    /// Up to here a body is checked whole before its first byte is forwarded.
    pub buffer: usize,
    /// Longest body after its content codings are undone.
    pub decoded: usize,
    /// How many times longer than it came a coded body may become, beyond its first MiB.
    pub ratio: usize,
    /// Bytes a second, below which a client that is waited for counts as standing still.
    pub min_rate: Option<u32>,
    /// Of HTTP/2 connections.
    pub http2: Http2Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            header: 32 << 10,
            headers: 100,
            request_line: 16 << 10,
            value: 1 << 20,
            body: None,
            in_flight: 1024,
            connections: 4096,
            client_connections: None,
            requests: None,
            buffer: 64 << 10,
            decoded: 256 << 20,
            ratio: 200,
            min_rate: Some(240),
            http2: Http2Limits::default(),
        }
    }
}

/// Bounds of one HTTP/2 connection of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Limits {
    /// Streams at once.
    pub streams: u32,
    /// Bytes of a request's body that may be on their way before we take them.
    pub stream_window: u32,
    /// The same of all streams together.
    pub connection_window: u32,
    /// Requests that a client may call back within half a minute, unless they are less than half of all.
    pub resets: u32,
}

impl Default for Http2Limits {
    fn default() -> Self {
        Self { streams: 128, stream_window: 64 << 10, connection_window: 1 << 20, resets: 100 }
    }
}

/// Bounds of one listener; `None`: those of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Requests at once.
    pub in_flight: Option<usize>,
    /// Connections at once.
    pub connections: Option<usize>,
    /// Largest request body, where no rule says otherwise; `Some(None)`: any.
    pub body: Option<Option<u64>>,
}

/// How long each stage may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a client's TLS handshake, or its PROXY protocol header.
    pub handshake: Duration,
    /// For a header section: from the connection's begin, or the first byte of a later request, to its last byte.
    pub header: Duration,
    /// Between the end of an exchange and the first byte of the next one.
    pub keep_alive: Duration,
    /// For a client that owes bytes of its request's body; see `min_rate`.
    pub request_idle: Duration,
    /// For a client that owes it to take bytes of its answer; see `min_rate`.
    pub send: Duration,
    /// For one of the permits of `upstream_limits.connections`.
    pub queue: Duration,
    /// For an upstream to accept a connection.
    pub connect: Duration,
    /// For an upstream to begin its answer, from the last byte of the request that moved.
    pub first_byte: Duration,
    /// For the next bytes of an answer that has begun.
    pub response_idle: Duration,
    /// For a whole exchange, from the end of its header section to the last byte of its answer.
    pub total: Option<Duration>,
    /// For the next bytes of a tunnel, from either side.
    pub tunnel_idle: Option<Duration>,
    /// After which a connection is closed in order.
    pub connection_age: Option<Duration>,
    /// Between an HTTP/2 peer's last sign of life and a ping, and again for its answer.
    pub ping: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            request_idle: Duration::from_secs(60),
            send: Duration::from_secs(60),
            queue: Duration::from_secs(10),
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(60),
            response_idle: Duration::from_mins(5),
            total: None,
            tunnel_idle: Some(Duration::from_hours(1)),
            connection_age: Some(Duration::from_hours(1)),
            ping: Duration::from_secs(30),
        }
    }
}
