//! What the proxy is told: the compiled form of `listeners`, `callers`, `limits`, `drain` and `upstream_limits`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::tls::{ClientTls, ServerTls};

/// All of it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// At least one.
    pub listeners: Vec<Arc<Listener>>,
    /// One current-thread runtime each.
    pub workers: usize,
    /// Over all workers.
    pub upstream_limits: UpstreamLimits,
    /// First match wins; none: role `default`.
    pub callers: Vec<Caller>,
    /// Bounds.
    pub limits: Limits,
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
#[derive(Debug, Clone, Copy)]
pub struct UpstreamLimits {
    /// Open at once.
    pub connections: usize,
    /// Kept idle.
    pub idle: usize,
    /// Kept idle for this long; below the upstream's own time.
    pub idle_timeout: Duration,
}

/// Maps a caller to a role by a header from a trusted peer.
#[derive(Debug, Clone)]
pub struct Caller {
    /// All must be present with exactly this value.
    pub headers: Vec<HeaderIs>,
    /// The role.
    pub role: String,
}

/// A header with the value that it must have.
pub type HeaderIs = (HeaderName, String);

/// Bounds of the process.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all buffers together.
    pub memory: usize,
    /// Of a request's or response's header section.
    pub header: usize,
    /// Longest value sealed or opened.
    pub value: usize,
    /// Requests at once.
    pub in_flight: usize,
    /// Connections at once.
    pub connections: usize,
    /// Up to here a body is checked whole before its first byte is forwarded.
    pub buffer: usize,
    /// Longest body after its content codings are undone.
    pub decoded: usize,
    /// How many times longer than it came a coded body may become, beyond its first MiB.
    pub ratio: usize,
}

/// See config.md.
#[derive(Debug, Clone, Copy)]
pub struct Drain {
    /// Not ready, still accepting.
    pub delay: Duration,
    /// Then everything is cut.
    pub deadline: Duration,
}
