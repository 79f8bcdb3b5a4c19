//! Header fields that a proxy must change (RFC 9110 § 7.6), and those that a changed body makes false.

use std::borrow::Cow;
use std::sync::LazyLock;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Uri, Version, request};

use crate::refusal::{Reason, Refusal};

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What a changed body makes false; `ETag` is `validators`' business.
static VALIDATORS: LazyLock<Rare> = LazyLock::new(|| {
    Rare::new(&["accept-ranges", "content-md5", "digest", "content-digest", "repr-digest", "unencoded-digest"])
});

/// Names that few messages have, told from others by their lengths.
pub(super) struct Rare {
    names: Vec<HeaderName>,
    /// A bit for each length.
    lengths: u64,
}

impl Rare {
    /// In lower case, and shorter than 64 bytes.
    pub(super) fn new(names: &[&'static str]) -> Self {
        Self {
            names: names.iter().copied().map(HeaderName::from_static).collect(),
            lengths: names.iter().fold(0, |lengths, name| lengths | 1 << name.len()),
        }
    }

    pub(super) fn is_one(&self, name: &HeaderName) -> bool {
        let length = u32::try_from(name.as_str().len()).unwrap_or(u32::MAX);
        self.lengths.checked_shr(length).unwrap_or_default() & 1 == 1 && self.names.contains(name)
    }
}

/// Which of the fields that decide how a message is read it has: one look at each name costs less than a look-up for each of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen(u32);

impl Seen {
    pub(super) const CONNECTION: Self = Self(1);
    pub(super) const TRANSFER_ENCODING: Self = Self(1 << 1);
    pub(super) const UPGRADE: Self = Self(1 << 2);
    pub(super) const TE: Self = Self(1 << 3);
    const KEEP_ALIVE: Self = Self(1 << 4);
    const PROXY_CONNECTION: Self = Self(1 << 5);
    pub(super) const CONTENT_LENGTH: Self = Self(1 << 6);
    pub(super) const VIA: Self = Self(1 << 7);
    pub(super) const HOST: Self = Self(1 << 8);
    pub(super) const EXPECT: Self = Self(1 << 9);
    pub(super) const ACCEPT_ENCODING: Self = Self(1 << 10);
    pub(super) const REQUEST_ID: Self = Self(1 << 11);
    pub(super) const TRACEPARENT: Self = Self(1 << 12);
    const HOP_BY_HOP: Self = Self((1 << 6) - 1);

    /// Looks.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        headers.keys().fold(Self(0), |seen, name| Self(seen.0 | Self::one(name).0))
    }

    /// Whether any of those is there.
    pub(super) fn has(self, those: Self) -> bool {
        self.0 & those.0 != 0
    }

    fn one(name: &HeaderName) -> Self {
        match *name {
            header::CONNECTION => Self::CONNECTION,
            header::TRANSFER_ENCODING => Self::TRANSFER_ENCODING,
            header::UPGRADE => Self::UPGRADE,
            header::TE => Self::TE,
            header::CONTENT_LENGTH => Self::CONTENT_LENGTH,
            header::VIA => Self::VIA,
            header::HOST => Self::HOST,
            header::EXPECT => Self::EXPECT,
            header::ACCEPT_ENCODING => Self::ACCEPT_ENCODING,
            // Told apart by their lengths first.
            _ => match name.as_str() {
                "keep-alive" => Self::KEEP_ALIVE,
                "proxy-connection" => Self::PROXY_CONNECTION,
                "x-request-id" => Self::REQUEST_ID,
                "traceparent" => Self::TRACEPARENT,
                _ => Self(0),
            },
        }
    }
}

/// Removes what is meant for this connection alone: what `Connection` lists, and the fields that always are. `TE` keeps
/// `trailers`, the only value that a proxy may pass on.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap, seen: Seen) {
    if !seen.has(Seen::HOP_BY_HOP) {
        return;
    }
    let connection = seen.has(Seen::CONNECTION);
    let trailers = seen.has(Seen::TE) && has_token(headers, &header::TE, "trailers");
    // What most connections say names nothing that is not removed below.
    let plain = |said: &HeaderValue| matches!(said.as_bytes(), b"keep-alive" | b"close");
    if connection && !headers.get_all(header::CONNECTION).iter().all(plain) {
        let listed: Vec<HeaderName> = tokens(headers, &header::CONNECTION)
            .filter(|name| *name != "keep-alive" && *name != "close")
            .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
            // Framing and the target belong to the message; a client that lists them wants them lost on the way. What
            // `Transfer-Encoding` overrules goes together with it, below.
            .filter(|name| {
                !matches!(
                    *name,
                    header::HOST | header::CONTENT_LENGTH | header::CONTENT_TYPE | header::TRANSFER_ENCODING
                )
            })
            .collect();
        for name in listed {
            headers.remove(name);
        }
    }
    if connection {
        headers.remove(header::CONNECTION);
    }
    if seen.has(Seen::TRANSFER_ENCODING) {
        headers.remove(header::TRANSFER_ENCODING);
        if seen.has(Seen::CONTENT_LENGTH) {
            headers.remove(header::CONTENT_LENGTH);
        }
    }
    for (bit, name) in [(Seen::KEEP_ALIVE, &KEEP_ALIVE), (Seen::PROXY_CONNECTION, &PROXY_CONNECTION)] {
        if seen.has(bit) {
            headers.remove(name);
        }
    }
    if seen.has(Seen::UPGRADE) {
        headers.remove(header::UPGRADE);
    }
    if seen.has(Seen::TE) {
        headers.remove(header::TE);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Whether a list-valued field holds this token, in any case.
pub(super) fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

/// Whether the message passed here before: `instance` stands in a `Via`.
pub(super) fn came_through(headers: &HeaderMap, instance: &str) -> bool {
    tokens(headers, &header::VIA).any(|hop| hop.split_ascii_whitespace().any(|word| word == instance))
}

/// This process's entry in `Via`, by the version that a message came in; made once.
#[derive(Debug)]
pub(super) struct Via([HeaderValue; 3]);

impl Via {
    /// `instance` is a token of this program's own making.
    pub(super) fn new(instance: &str) -> Self {
        let entry = |version: &str| HeaderValue::try_from([version, instance].concat());
        Self(
            ["1.0 ", "1.1 ", "2 "]
                .map(|version| entry(version).unwrap_or_else(|_| HeaderValue::from_static("1.1 sidecloak"))),
        )
    }

    pub(super) fn of(&self, version: Version) -> HeaderValue {
        let [http10, http11, http2] = &self.0;
        match version {
            Version::HTTP_10 => http10.clone(),
            Version::HTTP_2 => http2.clone(),
            _ => http11.clone(),
        }
    }
}

/// Of the transfer codings only `chunked`, once, is undone here, and readers disagree on what others mean.
pub(super) fn one_framing(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut values = headers.get_all(header::TRANSFER_ENCODING).into_iter();
    let chunked = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    match (values.next(), values.next()) {
        (Some(value), None) if !chunked(value) => {}
        (Some(_), Some(_)) => {}
        _ => return Ok(()),
    }
    Err(Refusal::new(Reason::BadRequest, "a Transfer-Encoding other than `chunked`, once"))
}

/// Whether a message came with two framings; of those that hyper lets through, the second is ignored. The one who wrote it may
/// have meant the other, so nothing more is read from there (RFC 9112 § 6.3).
pub(super) fn two_framings(seen: Seen) -> bool {
    seen.has(Seen::TRANSFER_ENCODING) && seen.has(Seen::CONTENT_LENGTH)
}

/// The authority that a request is for, and `Host` set to just that (RFC 9112 § 3.2): a target in absolute form or
/// `:authority` wins, two that differ or none at all is a malformed request.
pub(super) fn settle_host(parts: &mut request::Parts) -> Result<(), Refusal> {
    let bad = |what: &str| Err(Refusal::new(Reason::BadRequest, what));
    let mut hosts = parts.headers.get_all(header::HOST).into_iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return bad("more than one Host");
    }
    match (parts.uri.authority(), host) {
        (Some(authority), host) => {
            if authority.as_str().contains('@') {
                return bad("user information in the request's target");
            }
            let differs = host.is_some_and(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()));
            if differs && parts.version == Version::HTTP_2 {
                return bad("Host differs from :authority");
            }
            if (differs || host.is_none())
                && let Ok(value) = HeaderValue::from_str(authority.as_str())
            {
                parts.headers.insert(header::HOST, value);
            }
        }
        (None, Some(host)) => {
            if host.as_bytes().iter().any(|b| matches!(b, b'/' | b'?' | b'#' | b'@' | b'\\' | b',' | b' ' | 128..)) {
                return bad("Host is no authority");
            }
        }
        (None, None) if parts.version == Version::HTTP_10 => {}
        (None, None) => return bad("no Host"),
    }
    Ok(())
}

/// The host that rules see: lower case, without the port.
pub fn host(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let text = headers.get(header::HOST)?.to_str().ok()?;
    // Byte by byte: what searches long texts fast takes longer to begin than this to end.
    let host = match text.bytes().rposition(|byte| byte == b':') {
        // A colon within the brackets of an IPv6 address begins no port.
        Some(colon) if !text.bytes().skip(colon).any(|byte| byte == b']') => text.get(..colon)?,
        _ => text,
    };
    Some(match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => host.to_ascii_lowercase().into(),
        false => host.into(),
    })
}

/// The target's path as it came, without the query.
pub(super) fn raw_path(uri: &Uri) -> &str {
    uri.path()
}

/// HTTP/2 splits `Cookie` for its compression; other hops get it whole (RFC 9113 § 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_some() {
        let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
            headers.insert(header::COOKIE, cookie);
        }
    }
}

/// On a route whose answer is read: asks for a body that can be read, and for all of it if it is opened or sealed.
pub(super) fn ask_for_readable(headers: &mut HeaderMap, seen: Seen, changes: bool) {
    match seen.has(Seen::ACCEPT_ENCODING) {
        true => super::coding::accept::narrow(headers),
        false => super::coding::accept::identity(headers),
    }
    if changes && headers.keys().any(|name| matches!(*name, header::RANGE | header::IF_RANGE)) {
        headers.remove(header::RANGE);
        headers.remove(header::IF_RANGE);
    }
}

/// Removes what a changed body makes false, in either direction: digests, and the offer of ranges.
pub fn forget_validators(headers: &mut HeaderMap) {
    remove_any(headers, &VALIDATORS);
}

/// Removes fields that few messages have: one look at each name that is there costs less than a look-up for each of these.
pub(super) fn remove_any(headers: &mut HeaderMap, rare: &Rare) {
    if headers.keys().any(|name| rare.is_one(name)) {
        for name in &rare.names {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    fn strip(headers: &mut HeaderMap) {
        strip_hop_by_hop(headers, Seen::of(headers));
    }

    #[test]
    fn hop_by_hop_fields_go_and_others_stay() {
        let mut headers = map(&[
            ("connection", "close, X-Mine"),
            ("connection", "te, host, content-type"),
            ("x-mine", "1"),
            ("x-other", "2"),
            ("te", "gzip, Trailers"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("upgrade", "h2c"),
            ("host", "a"),
            ("content-type", "text/plain"),
        ]);
        headers.append(header::CONNECTION, HeaderValue::from_static("keep-alive"));
        strip(&mut headers);
        assert_eq!(
            headers,
            map(&[("x-other", "2"), ("te", "trailers"), ("host", "a"), ("content-type", "text/plain")])
        );
    }

    #[test]
    fn all_of_a_list_go_if_any_is_there() {
        let mut headers = map(&[("digest", "1"), ("host", "a"), ("accept-ranges", "bytes")]);
        headers.append("digest", HeaderValue::from_static("2"));
        forget_validators(&mut headers);
        assert_eq!(headers, map(&[("host", "a")]));
        forget_validators(&mut headers);
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn what_few_fields_say_counts_as_much() {
        for (before, after) in [
            (&[("connection", "te"), ("te", "trailers")][..], &[("te", "trailers")][..]),
            (&[("connection", "keep-alive"), ("keep-alive", "5"), ("b", "1")], &[("b", "1")]),
            (&[("connection", "Keep-Alive, b"), ("b", "1")], &[]),
            (&[("proxy-connection", "close"), ("b", "1")], &[("b", "1")]),
            (&[("b", "1")], &[("b", "1")]),
        ] {
            let mut headers = map(before);
            strip(&mut headers);
            assert_eq!(headers, map(after), "{before:?}");
        }
    }

    #[test]
    fn a_loop_is_seen_in_any_via() {
        let mut headers = map(&[("via", "1.1 a, 2 me (x)")]);
        assert!(came_through(&headers, "me") && !came_through(&headers, "m"));
        headers.append(header::VIA, Via::new("you").of(Version::HTTP_2));
        assert!(came_through(&headers, "you"));
        assert!(!came_through(&HeaderMap::new(), "me"));
    }

    #[test]
    fn the_host_is_one_authority() {
        let settle = |uri: &str, version, hosts: &[&'static str]| {
            let mut request = http::Request::get(uri).version(version);
            for host in hosts {
                request = request.header("host", *host);
            }
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            settle_host(&mut parts).map(|()| host(&parts.headers).map(Cow::into_owned))
        };
        assert_eq!(settle("/", Version::HTTP_11, &["A.b:80"]).unwrap().as_deref(), Some("a.b"));
        assert_eq!(settle("/", Version::HTTP_11, &["[::1]"]).unwrap().as_deref(), Some("[::1]"));
        assert_eq!(settle("/", Version::HTTP_11, &["[::1]:8"]).unwrap().as_deref(), Some("[::1]"));
        assert_eq!(settle("http://x/", Version::HTTP_11, &["y"]).unwrap().as_deref(), Some("x"));
        assert_eq!(settle("http://x/", Version::HTTP_2, &[]).unwrap().as_deref(), Some("x"));
        assert!(settle("http://x/", Version::HTTP_2, &["y"]).is_err());
        assert!(settle("/", Version::HTTP_11, &[]).is_err());
        assert!(settle("/", Version::HTTP_11, &["a", "a"]).is_err());
        assert!(settle("/", Version::HTTP_11, &["a/b"]).is_err());
        assert_eq!(settle("/", Version::HTTP_10, &[]).unwrap(), None);
    }
}
