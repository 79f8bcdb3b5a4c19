//! The section `authority`, with the flags of `sidecloak authority` over it.

mod callers;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use super::compile::{Checks, value};
use super::file::{self, At};
use super::scalar::Listen;
use super::{AuthorityOverrides, address};
use crate::authority::Settings;
use crate::authority::face::Door;
use crate::authority::listen::Bind;
use crate::proxy::settings::Address;
use crate::tls::ServerTls;

const DEFAULT_PORT: u16 = 8440;

impl Checks<'_> {
    /// The listeners, whether those beyond loopback may do without TLS, and whom they believe.
    pub(super) fn authority(
        &mut self,
        file: file::Authority,
        flags: &AuthorityOverrides,
        max_stale: Duration,
    ) -> (Vec<Bind>, bool, Settings) {
        let certificates = file.certificates.as_ref().map(|certificates| certificates.span.clone());
        let callers = self.believed(file.certificates, file.issuers, file.rate, max_stale);
        let insecure = flags.insecure_listen || value(file.insecure_listen).unwrap_or(false);
        let shared = self.tls(file.tls.map(|tls| tls.value).unwrap_or_default(), Some(flags), None);
        let doors = [
            (Door::Crittora, "--crittora", file.crittora, &flags.crittora),
            (Door::Crypteron, "--crypteron", file.crypteron, &flags.crypteron),
            (Door::NcloudKms, "--ncloud-kms", file.ncloud_kms, &flags.ncloud_kms),
            (Door::Exequantum, "--exequantum", file.exequantum, &flags.exequantum),
        ];
        let own = self.bind("--listen", file.bind, flags.listen.as_deref());
        let default = (SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)), None);
        let mut binds = Vec::new();
        if let Ok(own) = own {
            let (address, span) = own.unwrap_or(default);
            binds.push((Bind { door: Door::Own, address, tls: shared.clone() }, span));
        }
        for (door, flag, written, text) in doors {
            let there = written.as_ref().map(|door| door.span.clone());
            let written = value(written).unwrap_or_default();
            let tls = match written.tls {
                Some(At { value, span }) => self.tls(value, None, Some(span)),
                None => shared.clone(),
            };
            match (self.bind(flag, written.bind, text.as_deref()), there) {
                (Ok(Some((address, span))), _) => binds.push((Bind { door, address, tls }, span)),
                (Ok(None), Some(span)) => {
                    let message = format!("`authority.{}` listens nowhere", door.name().replace('-', "_"));
                    self.error("no-bind", message, &span, "add `bind: 127.0.0.1:PORT`");
                }
                (Ok(None), None) | (Err(Reported), _) => {}
            }
        }
        self.exposed(&binds, insecure);
        self.apart(&binds);
        let verifies = |bind: &Bind| bind.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        if let Some(span) = certificates.filter(|_| !binds.iter().any(|(bind, _)| verifies(bind))) {
            let message = "no listener has a `client_ca`: these certificates are never asked for";
            self.warning("nobody-trusted", message, &span, "name who issues them in `tls.client_ca`");
        }
        (binds.into_iter().map(|(bind, _)| bind).collect(), insecure, callers)
    }

    /// What one flag, or else one key says; `None`: neither is there.
    fn bind(
        &mut self,
        flag: &'static str,
        file: Option<At<Listen>>,
        text: Option<&str>,
    ) -> Result<Option<Placed>, Reported> {
        let (address, span) = match (text, file) {
            (Some(text), _) => match address::listen(text) {
                Ok(address) => (address, None),
                Err(problem) => {
                    self.flag_problem::<()>(flag, problem);
                    return Err(Reported);
                }
            },
            (None, Some(at)) => (at.value.0, Some(at.span)),
            (None, None) => return Ok(None),
        };
        match address {
            Address::Tcp(address) => Ok(Some((address, span))),
            Address::Host(..) | Address::Unix(_) => {
                let message = format!("{flag}: the authority listens on TCP");
                self.at(
                    "bad-address",
                    &message,
                    span.as_ref(),
                    "write a numeric address with a port: `127.0.0.1:8440`",
                );
                Err(Reported)
            }
        }
    }

    /// TLS with the flags over it, if they are for it; `None`: without.
    fn tls(
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
            let help = "name the authority of the clients with --client-ca, or `client_ca` in the file";
            self.at("no-client-ca", "client certificates are required, and none can be verified", span.as_ref(), help);
        }
        let further = require || pq_only || client_ca.is_some() || span.is_some();
        match (cert, key) {
            (Some(cert), Some(key)) => {
                Some(ServerTls { cert, key, more: Vec::new(), client_ca, require_client: require, pq_only })
            }
            (None, None) if !further => None,
            (cert, _) => {
                let missing = if cert.is_some() { "TLS has no private key" } else { "TLS has no certificate" };
                let help = "give both --tls-cert and --tls-key, or `cert` and `key` in the file";
                self.at("tls-incomplete", missing, span.as_ref(), help);
                None
            }
        }
    }

    fn exposed(&mut self, binds: &[(Bind, Option<Range<usize>>)], insecure: bool) {
        let plain = |bind: &Bind| bind.tls.is_none() && !bind.address.ip().to_canonical().is_loopback();
        for (bind, span) in binds.iter().filter(|(bind, _)| plain(bind)) {
            let (name, address) = (bind.door.name(), bind.address);
            let message = format!("`{name}` would listen on {address} without TLS: everybody on the way reads along");
            if insecure {
                let help = "give --tls-cert and --tls-key, unless something else encrypts the way";
                self.warn("insecure-listen", &message, span.as_ref(), help);
            } else {
                let help = "give --tls-cert and --tls-key, listen on 127.0.0.1, or say --insecure-listen";
                self.at("plain-listen", &message, span.as_ref(), help);
            }
        }
    }

    fn apart(&mut self, binds: &[(Bind, Option<Range<usize>>)]) {
        let mut taken = HashSet::new();
        for (bind, span) in binds {
            if bind.address.port() != 0 && !taken.insert(bind.address) {
                let message = format!("`{}` has the address of another listener", bind.door.name());
                self.at("address-taken", &message, span.as_ref(), "give each its own port");
            }
        }
    }

    fn at(&mut self, code: &'static str, message: &str, span: Option<&Range<usize>>, help: &str) {
        match span {
            Some(span) => self.error(code, message.to_owned(), span, help),
            None => self.flag(code, message, help),
        }
    }

    fn warn(&mut self, code: &'static str, message: &str, span: Option<&Range<usize>>, help: &str) {
        match span {
            Some(span) => self.warning(code, message, span, help),
            None => self.flag_warning(code, message, help),
        }
    }
}

/// An address, and where the file says it.
type Placed = (SocketAddr, Option<Range<usize>>);

/// What was wrong is in the findings.
struct Reported;
