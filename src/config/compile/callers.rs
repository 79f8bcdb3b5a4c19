//! The section `callers`.

use std::ops::Range;

use http::header::AUTHORIZATION;

use super::super::file::{self, At};
use super::{Checks, many, value};
use crate::proxy::settings::{Address, Caller, JwtIs, Listener};

impl Checks<'_> {
    pub(super) fn callers(&mut self, files: Vec<At<file::Caller>>, listeners: &[Listener]) -> Vec<Caller> {
        let asks = |l: &Listener| l.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let nobody_trusted = listeners.iter().all(|l| l.trusted_peers.is_empty());
        let nobody_known = !listeners.iter().any(asks);
        let mut callers = Vec::with_capacity(files.len());
        for At { value: file, span } in files {
            let refused = file.client.as_ref().is_some_and(|client| client.value.refused);
            let client_span = file.client.as_ref().map(|client| client.span.clone());
            let headers = file.header.map(|h| h.value.0).unwrap_or_default();
            let client = many(file.client, |glob| glob);
            let jwt = match file.jwt {
                None => None,
                Some(at) => match self.jwt(at, listeners) {
                    Some(jwt) => Some(jwt),
                    None => continue,
                },
            };
            let Some(role) = value(file.role) else {
                self.error("no-role", "a caller without a role".to_owned(), &span, "add `role: NAME`");
                continue;
            };
            if headers.is_empty() && client.is_empty() && jwt.is_none() {
                if !refused {
                    let message = "a caller that nothing describes would match everybody".to_owned();
                    self.error("no-caller", message, &span, "add `client`, `jwt`, or `header: { NAME: VALUE }`");
                }
                continue;
            }
            if nobody_trusted && !headers.is_empty() {
                let message = "no listener has `trusted_peers`: this caller never matches";
                self.warning("nobody-trusted", message, &span, "list the peers that set the header in `trusted_peers`");
            }
            if let Some(span) = client_span.filter(|_| nobody_known) {
                let message = "no listener asks clients for certificates: this caller never matches";
                self.warning("nobody-known", message, &span, "name who issues them in the listener's `tls.client_ca`");
            }
            let headers = headers.into_iter().map(|(n, v)| (n.value, v)).collect();
            callers.push(Caller { headers, client, jwt, role });
        }
        callers
    }

    fn jwt(&mut self, At { value: file, span }: At<file::CallerJwt>, listeners: &[Listener]) -> Option<JwtIs> {
        let (Some(jwks), Some(issuer)) = (file.jwks, value(file.issuer)) else {
            let message = "a `jwt` needs the keys and the name of its issuer".to_owned();
            self.error("no-issuer", message, &span, "add `jwks: file:PATH` (or `https://…`) and `issuer`");
            return None;
        };
        let audiences = many(file.audience, |audience| audience);
        if audiences.is_empty() {
            let message = "without an audience, tokens that were meant for others would do".to_owned();
            self.error(
                "no-audience",
                message,
                &span,
                "add `audience`: what stands in `aud` of the tokens meant for here",
            );
            return None;
        }
        self.in_the_clear(&span, listeners);
        Some(JwtIs {
            header: file.header.map_or(AUTHORIZATION, |header| header.value.0),
            issuer,
            keys: jwks.value.0,
            audiences,
            claims: file.claims.map(|claims| claims.value.0).unwrap_or_default(),
        })
    }

    /// Who reads a token on its way can use it.
    fn in_the_clear(&mut self, span: &Range<usize>, listeners: &[Listener]) {
        let exposed = |address: &Address| matches!(address, Address::Tcp(at) if !at.ip().is_loopback());
        let open = listeners.iter().find(|l| l.tls.is_none() && l.bind.iter().any(exposed));
        if let Some(listener) = open {
            let message = format!("listener `{}` takes tokens in the clear, beyond loopback", listener.name);
            self.warning("token-in-the-clear", &message, span, "give it `tls`, or let it listen on loopback");
        }
    }
}
