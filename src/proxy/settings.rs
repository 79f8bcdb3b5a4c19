//! What the proxy is told: the compiled form of `listeners`, `callers`, `limits`, `timeouts`, `drain` and `upstream_limits`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::jwt::keys::Source;
use crate::tls::{ClientTls, ServerTls};

pub(super) use super::limits::HYPER_HEADERS;
pub use super::limits::{Http2Limits, Limits, ListenerLimits, Timeouts};

/// All of it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// At least one.
    pub listeners: Vec<Arc<Listener>>,
    /// One current-thread runtime each.
    pub workers: usize,
    /// Over all workers.
    pub upstream_limits: UpstreamLimits,
    /// What is done about upstreams that fail.
    pub upstream_failures: UpstreamFailures,
    /// First match wins; none: role `default`.
    pub callers: Vec<Caller>,
    /// Bounds.
    pub limits: Limits,
    /// How long each stage may take.
    pub timeouts: Timeouts,
    /// How the process stops.
    pub drain: Drain,
}

/// One front door and the upstream behind it.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Unique.
    pub name: String,
    /// Where it listens.
    pub bind: Vec<Address>,
    /// Where it forwards to; several are taken in turn.
    pub upstream: Vec<Address>,
    /// `None`: in the clear.
    pub tls: Option<ServerTls>,
    /// That this is meant, even beyond loopback.
    pub insecure_listen: bool,
    /// Who may say, before the first byte of a connection, for whom it is.
    pub proxy_protocol: ProxyProtocol,
    /// What the upstream is spoken to in.
    pub upstream_protocol: UpstreamProtocol,
    /// `None`: in the clear.
    pub upstream_tls: Option<UpstreamTls>,
    /// The `Host` that the upstream sees.
    pub upstream_host: UpstreamHost,
    /// `unmatched: reject`
    pub reject_unmatched: bool,
    /// `on_ambiguous: reject` (default) or pass
    pub reject_ambiguous: bool,
    /// `case: ignore`
    pub ignore_case: bool,
    /// Peers whose forwarding headers and `trusted_headers` are believed.
    pub trusted_peers: Vec<IpNet>,
    /// Dropped from all other peers.
    pub trusted_headers: Vec<HeaderName>,
    /// Peers that may be shown plaintext; `None`: any.
    pub open_for: Option<Vec<IpNet>>,
    /// `on_invalid_jwt`: reject (default), or ignore: such a caller has none
    pub reject_invalid_jwt: bool,
    /// Bounds of its own.
    pub limits: ListenerLimits,
}

/// `proxy_protocol`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// Nobody: a header of it is no HTTP.
    #[default]
    Off,
    /// Connections of `trusted_peers` begin with a header; those of others are served as they come.
    Trusted,
    /// The same, and others are turned away.
    Required,
}

/// `upstream_protocol`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, with prior knowledge where there is no TLS.
    Http2,
    /// What the upstream chooses in its handshake; HTTP/1.1 for what only that can.
    Auto,
}

/// TLS to an upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Roots, our certificate, key exchange.
    pub client: ClientTls,
    /// The name that is asked for and that the certificate must have, instead of the upstream's host.
    pub server_name: Option<String>,
}

/// `upstream_host`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum UpstreamHost {
    /// The client's own.
    #[default]
    Keep,
    /// That of the upstream, as configured.
    Upstream,
    /// This one.
    Name(HeaderValue),
}

/// A place to listen on or connect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A numeric address.
    Tcp(SocketAddr),
    /// A host to resolve, and a port (upstreams only).
    Host(String, u16),
    /// A unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    /// As it is written in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Of the connections to upstreams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// In use at once.
    pub connections: usize,
    /// Exchanges that may wait for one of them.
    pub queue: usize,
    /// Kept idle.
    pub idle: usize,
    /// Kept idle for this long; below the upstream's own time.
    pub idle_timeout: Duration,
    /// Used for this long.
    pub max_age: Duration,
    /// How often names are looked up.
    pub resolve: Duration,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self {
            connections: 64,
            queue: 256,
            idle: 16,
            idle_timeout: Duration::from_secs(4),
            max_age: Duration::from_mins(10),
            resolve: Duration::from_secs(30),
        }
    }
}

/// What is done about upstreams that fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamFailures {
    /// What is sent a second time when a kept connection ends before an answer.
    pub retry: Retry,
    /// How long an address that cannot be reached is left out the first time, and an upstream whose breaker has opened.
    pub rest: Duration,
    /// Each time twice as long, up to this.
    pub longest_rest: Duration,
    /// Failures in a row that open the circuit breaker; 0: none does.
    pub breaker_after: u32,
    /// Exchanges at once that find out whether the upstream is well again.
    pub breaker_probes: u32,
}

impl Default for UpstreamFailures {
    fn default() -> Self {
        Self {
            retry: Retry::Idempotent,
            rest: Duration::from_secs(1),
            longest_rest: Duration::from_secs(30),
            breaker_after: 0,
            breaker_probes: 3,
        }
    }
}

/// `upstream_failures.retry`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Retry {
    /// Only what has not left at all.
    Never,
    /// Idempotent methods (RFC 9110 § 9.2.2), and what the upstream has provably not processed.
    #[default]
    Idempotent,
    /// All methods.
    Any,
}

/// Gives a caller a role; all conditions must hold, and there is one.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// All must be present with exactly this value, from a trusted peer.
    pub headers: Vec<HeaderIs>,
    /// Globs over the names of the client's certificate, of which one must match; empty: no condition.
    pub client: Vec<String>,
    /// A JSON Web Token.
    pub jwt: Option<JwtIs>,
    /// The role.
    pub role: String,
}

/// A JSON Web Token with what it must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtIs {
    /// Where it stands in a request; of `authorization` what follows `Bearer`.
    pub header: HeaderName,
    /// Who signs it, `iss` exactly.
    pub issuer: String,
    /// The issuer's keys.
    pub keys: Source,
    /// One of these is in `aud`.
    pub audiences: Vec<String>,
    /// Claims that must all match; see [`crate::jwt::matches`].
    pub claims: Vec<(String, String)>,
}

/// A header with the value that it must have.
pub type HeaderIs = (HeaderName, String);

/// See config.md.
#[derive(Debug, Clone, Copy)]
pub struct Drain {
    /// Not ready, still accepting.
    pub delay: Duration,
    /// Then everything is cut.
    pub deadline: Duration,
}
