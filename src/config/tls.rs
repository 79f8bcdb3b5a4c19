//! TLS of listeners and to upstreams, and what else a listener says of its connections.

use std::ops::Range;
use std::path::PathBuf;

use super::address::Target;
use super::compile::{Checks, value};
use super::file::{self, At};
use super::{AuthorityOverrides, scalar};
use crate::proxy::settings::{Address, ProxyProtocol, Settings, UpstreamProtocol, UpstreamTls};
use crate::report::Finding;
use crate::tls::{ClientTls, ServerTls, client};

impl Checks<'_> {
    /// TLS with the flags over it, if they are for it; `None`: without.
    pub(super) fn tls(
        &mut self,
        file: file::Tls,
        flags: Option<&AuthorityOverrides>,
        span: Option<Range<usize>>,
    ) -> Option<ServerTls> {
        let path = |flag: fn(&AuthorityOverrides) -> &Option<PathBuf>, file: Option<At<String>>| {
            flags.and_then(|flags| flag(flags).clone()).or_else(|| value(file).map(PathBuf::from))
        };
        let span = span.or_else(|| file.cert.as_ref().or(file.key.as_ref()).map(|at| at.span.clone()));
        let cert = path(|flags| &flags.tls_cert, file.cert);
        let key = path(|flags| &flags.tls_key, file.key);
        let client_ca = path(|flags| &flags.client_ca, file.client_ca);
        let require = flags.is_some_and(|f| f.require_client_cert) || value(file.require_client_cert).unwrap_or(false);
        let pq_only = flags.is_some_and(|f| f.pq_only) || value(file.pq_only).unwrap_or(false);
        if require && client_ca.is_none() {
            let help = match flags {
                Some(_) => "name the authority of the clients with --client-ca, or `client_ca` in the file",
                None => "name the authority of the clients in `client_ca`",
            };
            self.at("no-client-ca", "client certificates are required, and none can be verified", span.as_ref(), help);
        }
        let more = self.further(file.certificates);
        let further = require || pq_only || client_ca.is_some() || !more.is_empty() || span.is_some();
        match (cert, key) {
            (Some(cert), Some(key)) => Some(ServerTls { cert, key, more, client_ca, require_client: require, pq_only }),
            (None, None) if !further => None,
            (cert, _) => {
                let missing = if cert.is_some() { "TLS has no private key" } else { "TLS has no certificate" };
                let help = match flags {
                    Some(_) => "give both --tls-cert and --tls-key, or `cert` and `key` in the file",
                    None => "give both `cert` and `key`",
                };
                self.at("tls-incomplete", missing, span.as_ref(), help);
                None
            }
        }
    }

    fn further(&mut self, files: Option<At<Vec<At<file::Identity>>>>) -> Vec<(PathBuf, PathBuf)> {
        let mut pairs = Vec::new();
        for At { value: pair, span } in value(files).unwrap_or_default() {
            match (pair.cert, pair.key) {
                (Some(cert), Some(key)) => pairs.push((cert.value.into(), key.value.into())),
                _ => {
                    let message = "a further certificate needs its private key, and a key its certificate";
                    self.error("tls-incomplete", message.to_owned(), &span, "give both `cert` and `key`");
                }
            }
        }
        pairs
    }

    /// `None`: the upstreams are spoken to in the clear.
    pub(super) fn upstream_tls(
        &mut self,
        file: Option<At<file::UpstreamTls>>,
        upstream: &[Target],
        span: &Range<usize>,
    ) -> Option<UpstreamTls> {
        let secured = upstream.iter().filter(|target| target.tls).count();
        if secured != 0 && secured != upstream.len() {
            let message = "some of the upstreams are `https://`, and some are not".to_owned();
            self.error("mixed-upstreams", message, span, "give each kind a listener of its own");
        }
        let at = file.as_ref().map(|file| file.span.clone());
        if let Some(at) = at.as_ref().filter(|_| secured == 0 && !upstream.is_empty()) {
            let message = "`upstream_tls` has no use: the upstream is not `https://`".to_owned();
            self.error(
                "upstream-in-the-clear",
                message,
                at,
                "write `https://` before its host, or take `upstream_tls` away",
            );
        }
        let file = value(file).unwrap_or_default();
        let identity = match (value(file.cert), value(file.key)) {
            (Some(cert), Some(key)) => Some((cert.into(), key.into())),
            (None, None) => None,
            _ => {
                let message =
                    "our certificate for the upstream needs its private key, and a key its certificate".to_owned();
                self.error("tls-incomplete", message, at.as_ref().unwrap_or(span), "give both `cert` and `key`");
                None
            }
        };
        if let Some(name) = file.server_name.as_ref().filter(|name| !client::is_name(&name.value)) {
            let message = "`upstream_tls.server_name` is no name that a certificate could have".to_owned();
            self.error(
                "bad-server-name",
                message,
                &name.span,
                "write a host name, such as `app.internal`, or an address",
            );
        }
        let nameless = |target: &&Target| matches!(&target.address, Address::Host(host, _) if !client::is_name(host));
        if file.server_name.is_none() && upstream.iter().filter(|target| target.tls).any(|target| nameless(&target)) {
            let message = "the upstream's host is no name that a certificate could have".to_owned();
            self.error("bad-server-name", message, span, "give `upstream_tls.server_name`");
        }
        let client = ClientTls {
            ca: value(file.ca).map(PathBuf::from),
            identity,
            pq_only: value(file.pq_only).unwrap_or(false),
        };
        (secured > 0).then(|| UpstreamTls { client, server_name: value(file.server_name) })
    }

    pub(super) fn upstream_protocol(
        &mut self,
        file: Option<At<scalar::UpstreamProtocol>>,
        tls: bool,
    ) -> UpstreamProtocol {
        match file {
            None if tls => UpstreamProtocol::Auto,
            None => UpstreamProtocol::Http1,
            Some(At { value: scalar::UpstreamProtocol::Http1, .. }) => UpstreamProtocol::Http1,
            Some(At { value: scalar::UpstreamProtocol::Http2, .. }) => UpstreamProtocol::Http2,
            Some(At { value: scalar::UpstreamProtocol::Auto, span }) => {
                if !tls {
                    let message =
                        "`upstream_protocol: auto` needs TLS: in the clear an upstream cannot say what it speaks";
                    self.error("bad-protocol", message.to_owned(), &span, "write `http1` or `http2`");
                }
                UpstreamProtocol::Auto
            }
        }
    }

    pub(super) fn proxy_protocol(
        &mut self,
        file: Option<At<scalar::ProxyProtocol>>,
        trusted: bool,
        bind: &[Address],
    ) -> ProxyProtocol {
        let Some(At { value, span }) = file else { return ProxyProtocol::Off };
        let protocol = match value {
            scalar::ProxyProtocol::Off => return ProxyProtocol::Off,
            scalar::ProxyProtocol::Trusted => ProxyProtocol::Trusted,
            scalar::ProxyProtocol::Required => ProxyProtocol::Required,
        };
        if !trusted {
            let message =
                "`proxy_protocol` without `trusted_peers`: nobody is believed who says for whom a connection is";
            self.error("nobody-trusted", message.to_owned(), &span, "list the load balancers in `trusted_peers`");
        }
        if protocol == ProxyProtocol::Required && bind.iter().any(|address| matches!(address, Address::Unix(_))) {
            let message =
                "`proxy_protocol: required` turns everybody away from a unix socket, whose peers have no address";
            self.error(
                "proxy-protocol",
                message.to_owned(),
                &span,
                "write `trusted`, or give the socket a listener of its own",
            );
        }
        protocol
    }
}

/// A warning for each address that takes traffic in the clear from beyond this machine, where nobody said that this is meant.
pub(crate) fn exposed(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    for listener in settings.listeners.iter().filter(|listener| listener.tls.is_none() && !listener.insecure_listen) {
        for address in &listener.bind {
            let Address::Tcp(at) = address else { continue };
            if at.ip().to_canonical().is_loopback() {
                continue;
            }
            let text = format!(
                "listener `{}` takes traffic on {address} without TLS: everybody on the way reads along",
                listener.name
            );
            let help = "give it `tls: { cert, key }`; or `insecure_listen: true` if something else encrypts the way";
            findings.push(Finding::warning("plain-listen", text).help(help));
        }
    }
    findings
}

#[cfg(test)]
mod tests;
