//! What a request says of itself and what is proven of its sender, as rules may use it.

use http::HeaderMap;
use serde_json::{Map, Value};

/// Taken once, before anything is changed.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a> {
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// The names of the client certificate, verified: URIs, DNS names, e-mail addresses, in this order.
    pub client: &'a [String],
    /// The host that the client asked for in its TLS handshake, lower case.
    pub sni: Option<&'a str>,
    /// The claims of its JSON Web Token, verified.
    pub claims: Option<&'a Map<String, Value>>,
}

impl<'a> Words<'a> {
    /// `{client}`: the first name of the certificate.
    pub fn client_name(&self) -> Option<&'a str> {
        self.client.first().map(String::as_str)
    }
}

impl<'a> From<&'a HeaderMap> for Words<'a> {
    /// Of a request that nobody in particular sends.
    fn from(headers: &'a HeaderMap) -> Self {
        Self { headers, client: &[], sni: None, claims: None }
    }
}
