//! What went wrong on the way. Once a request was sent, nothing that the other side said is in a text: it may echo what it was sent.

use std::error::Error;

use hyper_util::client::legacy::Error as ClientError;

use super::super::Fault;
use crate::causes;

/// Of a cause's text.
const MAX_TEXT: usize = 300;

/// What kind it is, and a text for the log.
pub(super) fn of_connection(error: &ClientError) -> (Fault, String) {
    if error.is_connect() {
        return (Fault::Connection, unconnected(&reason(error)));
    }
    match inner(error) {
        Some(error) if error.is_parse() => {
            (Fault::Lie, "what it answers is no HTTP, or its header section too long; is `endpoint` right?".into())
        }
        _ => (Fault::Connection, "the connection broke off before there was an answer".into()),
    }
}

/// Whether a connection ended before it brought anything: what an idle one does that the other side has closed.
pub(super) fn ended_silently(error: &ClientError) -> bool {
    !error.is_connect()
        && inner(error).is_some_and(|error| !error.is_parse() && !error.is_user() && !error.is_timeout())
}

fn inner(error: &ClientError) -> Option<&hyper::Error> {
    error.source()?.downcast_ref()
}

/// Nothing was sent yet: the causes hold what the resolver, the system and TLS say.
fn unconnected(causes: &str) -> String {
    let holds = |word: &str| causes.contains(word);
    let way = if holds("ApplicationVerificationFailure") {
        return "its certificate has none of the keys that the profile's `pins` name; if the API has a new key, add its pin, \
                and else somebody is in between"
            .into();
    } else if holds("UnknownIssuer") || holds("BadSignature") {
        "; name who issued its certificate with the profile's `ca`"
    } else if holds("NotValidForName") || holds("not valid for name") {
        "; name the host in `endpoint` as its certificate does"
    } else if holds("InvalidContentType") {
        "; what answers there speaks no TLS: is the port in `endpoint` right?"
    } else if holds("dns error") {
        "; is the host in `endpoint` right?"
    } else {
        ""
    };
    format!("cannot connect: {causes}{way}")
}

/// What is behind it, on one line.
fn reason(error: &ClientError) -> String {
    causes::behind(error).chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::pin("invalid peer certificate: ApplicationVerificationFailure", "`pins`")]
    #[case::issuer("invalid peer certificate: UnknownIssuer", "`ca`")]
    #[case::other_issuer_of_the_name("invalid peer certificate: BadSignature", "`ca`")]
    #[case::name("invalid peer certificate: certificate not valid for name \"a\"", "`endpoint`")]
    #[case::resolver("dns error: failed to lookup address", "`endpoint`")]
    #[case::no_tls("received corrupt message of type InvalidContentType", "speaks no TLS")]
    #[case::refused("tcp connect error: Connection refused", "Connection refused")]
    fn a_connection_that_cannot_be_made_names_the_way_out(#[case] causes: &str, #[case] expected: &str) {
        assert!(unconnected(causes).contains(expected));
    }
}
