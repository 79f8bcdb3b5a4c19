//! What a request says of itself and what is proven of its sender, as rules may use it.

use std::borrow::Cow;

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

    /// `{claim:NAME}`: a text, a whole number or a boolean. Of a list there is no telling which.
    pub fn claim(&self, name: &str) -> Option<Cow<'a, str>> {
        match claim(self.claims?, name)? {
            Value::String(text) => Some(Cow::Borrowed(text)),
            Value::Number(number) if !number.is_f64() => Some(Cow::Owned(number.to_string())),
            Value::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
            _ => None,
        }
    }
}

/// A claim by its name; one that begins with `/` is a JSON Pointer (RFC 6901), since names may hold dots, slashes and colons.
pub fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let Some(path) = name.strip_prefix('/') else { return claims.get(name) };
    let (first, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
    claims.get(&first.replace("~1", "/").replace("~0", "~"))?.pointer(rest)
}

impl<'a> From<&'a HeaderMap> for Words<'a> {
    /// Of a request that nobody in particular sends.
    fn from(headers: &'a HeaderMap) -> Self {
        Self { headers, client: &[], sni: None, claims: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_found_by_name_or_pointer() {
        let claims = serde_json::json!({
            "org": "acme", "https://bank/t": 7, "half": 1.5, "on": true, "list": ["a"], "a.b": "dots", "e": "",
            "kubernetes.io": { "namespace": "pay", "a/b~c": { "": "deep" } }
        });
        let headers = HeaderMap::new();
        let words = Words { claims: claims.as_object(), ..Words::from(&headers) };
        let found = |name: &str| words.claim(name).map(Cow::into_owned);
        for (name, value) in [
            ("org", "acme"),
            ("https://bank/t", "7"),
            ("on", "true"),
            ("a.b", "dots"),
            ("e", ""),
            ("/org", "acme"),
            ("/kubernetes.io/namespace", "pay"),
            ("/kubernetes.io/a~1b~0c/", "deep"),
            ("/list/0", "a"),
        ] {
            assert_eq!(found(name).as_deref(), Some(value), "{name}");
        }
        for name in ["", "/", "half", "list", "kubernetes.io", "kubernetes.io.namespace", "/org/x", "/none", "none"] {
            assert_eq!(found(name), None, "{name}");
        }
        assert_eq!(Words::from(&headers).claim("org"), None);
    }
}
