//! Fields that another reader would take for something else: names with `_` where the name that counts has `-`. Gateways of the CGI tradition (WSGI, Rack, PHP) know only `HTTP_X_TENANT`, whichever of the two was sent.

use http::header::{self, HeaderMap, HeaderName};

use super::connection::Connection;

/// Names that decide where a message ends, who sent it or where it goes.
static ALWAYS: [HeaderName; 10] = [
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONTENT_ENCODING,
    header::CONTENT_TYPE,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-http-method-override"),
];

/// Drops fields whose names an upstream might take for one that we decide by.
pub(super) fn drop_from(connection: &Connection, headers: &mut HeaderMap) {
    if !headers.keys().any(|name| name.as_str().bytes().any(|byte| byte == b'_')) {
        return;
    }
    let listener = &connection.front.listener;
    let callers = &connection.front.shared.settings.callers;
    let counts = |name: &str| {
        let is = |known: &HeaderName| known.as_str() == name;
        ALWAYS.iter().any(is)
            || listener.trusted_headers.iter().any(is)
            || callers.iter().flat_map(|caller| &caller.headers).any(|(known, _)| is(known))
    };
    let alike = |name: &&HeaderName| name.as_str().contains('_') && counts(&name.as_str().replace('_', "-"));
    let found: Vec<HeaderName> = headers.keys().filter(alike).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}
