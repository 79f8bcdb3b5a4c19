//! Who asked, for the upstream: `X-Forwarded-*` and `Forwarded` (RFC 7239). From a trusted peer they are continued, from
//! any other replaced: what an untrusted client writes there is its own invention.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::connection::Connection;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What a connection's peer is called, rendered once.
#[derive(Debug)]
pub(super) struct PeerHeaders {
    /// `None`: a unix socket has no address to tell.
    address: Option<HeaderValue>,
    proto: HeaderValue,
    /// `for=192.0.2.1;proto=http`
    element: String,
    /// The last `Host` and the whole element for it: on one connection it seldom changes.
    last: Mutex<Option<(HeaderValue, HeaderValue)>>,
}

impl PeerHeaders {
    pub(super) fn of(peer: Option<IpAddr>, tls: bool) -> Self {
        let proto = if tls { "https" } else { "http" };
        let node = match peer {
            Some(IpAddr::V4(ip)) => ip.to_string(),
            Some(IpAddr::V6(ip)) => format!("\"[{ip}]\""),
            None => String::from("unknown"),
        };
        Self {
            address: peer.and_then(|ip| HeaderValue::try_from(ip.to_string()).ok()),
            proto: HeaderValue::from_static(proto),
            element: format!("for={node};proto={proto}"),
            last: Mutex::new(None),
        }
    }

    fn forwarded(&self, host: Option<&HeaderValue>) -> Option<HeaderValue> {
        let Some(host) = host else { return HeaderValue::from_str(&self.element).ok() };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, element)) = last.as_ref().filter(|(known, _)| known == host) {
            return Some(element.clone());
        }
        let text = host.to_str().ok().filter(|host| !host.contains(['"', '\\']));
        let host_part = text.map_or_else(String::new, |host| format!(";host=\"{host}\""));
        let element = HeaderValue::try_from(format!("{}{host_part}", self.element)).ok()?;
        // Copied: the value itself is a part of what was read with it, and would keep all of that as long as the connection lasts.
        *last = HeaderValue::from_bytes(host.as_bytes()).ok().map(|host| (host, element.clone()));
        Some(element)
    }
}

/// Drops the fields that are believed only from trusted peers, if this is none.
pub(super) fn drop_untrusted(connection: &Connection, headers: &mut HeaderMap) {
    if connection.trusted {
        return;
    }
    for name in &connection.front.listener.trusted_headers {
        headers.remove(name);
    }
    for caller in &connection.front.shared.settings.callers {
        for (name, _) in &caller.headers {
            headers.remove(name);
        }
    }
}

/// Writes the fields. `Host` must be settled.
pub(super) fn set(connection: &Connection, headers: &mut HeaderMap) {
    let peer = &connection.headers;
    if connection.trusted {
        let before = headers.get_all(&FORWARDED_FOR);
        let joined = join(before.iter(), peer.address.as_ref().map_or(&b""[..], HeaderValue::as_bytes));
        if let Some(value) = joined {
            headers.insert(FORWARDED_FOR, value);
        }
    } else if let Some(address) = &peer.address {
        headers.insert(FORWARDED_FOR, address.clone());
    } else {
        headers.remove(FORWARDED_FOR);
    }

    if !(connection.trusted && headers.contains_key(&FORWARDED_PROTO)) {
        headers.insert(FORWARDED_PROTO, peer.proto.clone());
    }

    let host = headers.get(header::HOST).cloned();
    let element = peer.forwarded(host.as_ref());
    let value = if connection.trusted && headers.contains_key(header::FORWARDED) {
        join(headers.get_all(header::FORWARDED).iter(), element.as_ref().map_or(&b""[..], HeaderValue::as_bytes))
    } else {
        element
    };
    match value {
        Some(value) => drop(headers.insert(header::FORWARDED, value)),
        None => drop(headers.remove(header::FORWARDED)),
    }
    if !(connection.trusted && headers.contains_key(&FORWARDED_HOST)) {
        match host {
            Some(host) => drop(headers.insert(FORWARDED_HOST, host)),
            None => drop(headers.remove(FORWARDED_HOST)),
        }
    }
}

fn join<'a>(before: impl Iterator<Item = &'a HeaderValue>, last: &'a [u8]) -> Option<HeaderValue> {
    let mut list = Vec::with_capacity(last.len());
    for part in before.map(HeaderValue::as_bytes).chain([last]).filter(|part| !part.is_empty()) {
        if !list.is_empty() {
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(part);
    }
    HeaderValue::from_maybe_shared(bytes::Bytes::from(list)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_host_keeps_nothing_that_came_with_it() {
        let peer = PeerHeaders::of(Some(IpAddr::from([192, 0, 2, 1])), false);
        let read = bytes::Bytes::from(vec![b'h'; 8192]);
        let host = HeaderValue::from_maybe_shared(read.slice(..2)).unwrap();
        for _ in 0..2 {
            assert_eq!(peer.forwarded(Some(&host)).unwrap(), "for=192.0.2.1;proto=http;host=\"hh\"");
        }
        drop(host);
        assert!(read.is_unique());
    }
}
