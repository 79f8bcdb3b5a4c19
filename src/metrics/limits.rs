//! Limits and timeouts that refused or ended something, under their names in the configuration.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;

use super::count::Counter;

/// A limit or a timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// `limits.headers`, or `limits.header` where we count it ourselves.
    Headers,
    /// `limits.request_line`
    RequestLine,
    /// `limits.body`, `max_body`
    Body,
    /// `limits.in_flight`
    InFlight,
    /// `limits.memory`
    Memory,
    /// `limits.connections`: somebody had to wait.
    Connections,
    /// `limits.client_connections`
    ClientConnections,
    /// `limits.http2.resets`
    Resets,
    /// An HTTP/2 client that talks and wants nothing.
    Flood,
    /// `upstream_limits.queue`, `timeouts.queue`
    Queue,
    /// `timeouts.header`
    Header,
    /// `timeouts.keep_alive`, of a client that would not go.
    KeepAlive,
    /// `timeouts.request_idle`
    RequestIdle,
    /// `timeouts.send`
    Send,
    /// `timeouts.total`
    Total,
    /// `timeouts.tunnel_idle`
    TunnelIdle,
}

impl Limit {
    /// As a label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Headers => "headers",
            Self::RequestLine => "request_line",
            Self::Body => "body",
            Self::InFlight => "in_flight",
            Self::Memory => "memory",
            Self::Connections => "connections",
            Self::ClientConnections => "client_connections",
            Self::Resets => "http2.resets",
            Self::Flood => "http2.flood",
            Self::Queue => "queue",
            Self::Header => "timeouts.header",
            Self::KeepAlive => "timeouts.keep_alive",
            Self::RequestIdle => "timeouts.request_idle",
            Self::Send => "timeouts.send",
            Self::Total => "timeouts.total",
            Self::TunnelIdle => "timeouts.tunnel_idle",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LimitLabels {
    listener: Arc<str>,
    limit: &'static str,
}

/// Those of one listener. Finding a counter takes a lock, and none is found before there is something to count.
#[derive(Debug, Clone)]
pub(super) struct LimitMetrics {
    pub(super) listener: Arc<str>,
    pub(super) counters: Family<LimitLabels, Counter>,
}

impl LimitMetrics {
    pub(super) fn reached(&self, limit: Limit) {
        let labels = LimitLabels { listener: Arc::clone(&self.listener), limit: limit.word() };
        self.counters.get_or_create(&labels).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_stands_in_the_docs() {
        let all = [
            Limit::Headers,
            Limit::RequestLine,
            Limit::Body,
            Limit::InFlight,
            Limit::Memory,
            Limit::Connections,
            Limit::ClientConnections,
            Limit::Resets,
            Limit::Flood,
            Limit::Queue,
            Limit::Header,
            Limit::KeepAlive,
            Limit::RequestIdle,
            Limit::Send,
            Limit::Total,
            Limit::TunnelIdle,
        ];
        assert_eq!(all.len(), Limit::TunnelIdle as usize + 1, "the last one");
        let docs = include_str!("../../docs/operations.md");
        let section = docs.split_once("## What holds which peer").unwrap().1.split_once("\n## ").unwrap().0;
        for limit in all {
            assert!(section.contains(&format!("`{}`", limit.word())), "{}", limit.word());
        }
    }
}
