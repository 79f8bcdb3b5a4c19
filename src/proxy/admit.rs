//! Whether a request may come in at all, before anything is done for it.

use http::{Version, request};

use crate::metrics::Limit;
use crate::refusal::{Reason, Refusal};

use super::account::Account;
use super::connection::Connection;
use super::worker::SMALLEST_HEADER_LIMIT;

/// What a field counts beside its name and value: as in HTTP/2 (RFC 9113 6.5.2).
const FIELD: usize = 32;
/// `: ` and the end of the line.
const AROUND_FIELD: usize = 4;
/// ` HTTP/1.1` and the space before the target.
const AROUND_TARGET: usize = 10;

/// Refuses what is over a limit of the process or the listener.
pub(super) fn admit(connection: &Connection, account: &Account, parts: &request::Parts) -> Result<(), Refusal> {
    let limits = &connection.front.shared.settings.limits;
    if account.over_limit() {
        return Err(refused(connection, Limit::InFlight, Reason::Overload, "limits.in_flight is reached"));
    }
    let line = parts.method.as_str().len() + target(parts) + AROUND_TARGET;
    if line > limits.request_line {
        let detail = "the request line is over limits.request_line";
        return Err(refused(connection, Limit::RequestLine, Reason::LineTooLong, detail));
    }
    if parts.headers.len() > limits.headers {
        let detail = "there are more fields than limits.headers";
        return Err(refused(connection, Limit::Headers, Reason::HeaderTooLarge, detail));
    }
    let fields: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if parts.version == Version::HTTP_2 {
        connection.watch.used((line + fields + parts.headers.len() * FIELD) as u64);
    } else if line + fields + parts.headers.len() * AROUND_FIELD > limits.header.max(SMALLEST_HEADER_LIMIT) {
        // hyper looks when its buffer is full, and that may be larger.
        let detail = "the header section is over limits.header";
        return Err(refused(connection, Limit::Headers, Reason::HeaderTooLarge, detail));
    }
    Ok(())
}

/// Of the target as it came, or longer.
fn target(parts: &request::Parts) -> usize {
    let path = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
    // `https://` before the authority: absolute in HTTP/1.1, apart in HTTP/2.
    path + parts.uri.authority().map_or(0, |authority| authority.as_str().len() + 8)
}

fn refused(connection: &Connection, limit: Limit, reason: Reason, detail: &str) -> Refusal {
    connection.front.metrics.limited(limit);
    Refusal::new(reason, detail)
}
