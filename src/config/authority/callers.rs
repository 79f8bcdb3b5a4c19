//! Whom an authority believes besides its own API keys: client certificates, and tokens of issuers.

use std::ops::Range;
use std::time::Duration;

use super::super::compile::{Checks, many, value};
use super::super::file::{self, At};
use super::super::read::Many;
use super::super::scalar::CallerPurpose;
use crate::authority::Settings;
use crate::authority::credentials::{Limits, Purpose};
use crate::authority::settings::{CertificateRule, Grant, Issuer, TokenRule};

impl Checks<'_> {
    pub(super) fn believed(
        &mut self,
        certificates: Option<At<Vec<At<file::Certificate>>>>,
        issuers: Option<At<Vec<At<file::Issuer>>>>,
        rate: Option<At<file::Rate>>,
        max_stale: Duration,
    ) -> Settings {
        let certificates = value(certificates).unwrap_or_default();
        let issuers = value(issuers).unwrap_or_default();
        Settings {
            max_stale,
            limits: self.rate(value(rate).unwrap_or_default()),
            certificates: certificates.into_iter().filter_map(|at| self.certificate(at)).collect(),
            issuers: issuers.into_iter().filter_map(|at| self.issuer(at)).collect(),
        }
    }

    fn rate(&mut self, file: file::Rate) -> Limits {
        let default = Limits::default();
        let mut count = |key, at, default: u32| {
            let count = self.count(key, at, usize::try_from(default).unwrap_or(usize::MAX), 0);
            u32::try_from(count).unwrap_or(u32::MAX)
        };
        Limits {
            per_second: count("authority.rate.per_second", file.per_second, default.per_second),
            burst: count("authority.rate.burst", file.burst, default.burst),
        }
    }

    fn certificate(&mut self, At { value: file, span }: At<file::Certificate>) -> Option<CertificateRule> {
        let Some(name) = value(file.name) else {
            self.error("no-caller", "a certificate rule without a name".to_owned(), &span, "add `name: spiffe://…`");
            return None;
        };
        let grant = self.grant(file.purpose, file.role, file.app, file.partitions, &span)?;
        let rule = CertificateRule { name, grant };
        self.checked(&Settings { certificates: vec![rule.clone()], ..Settings::default() }, &span).then_some(rule)
    }

    fn issuer(&mut self, At { value: file, span }: At<file::Issuer>) -> Option<Issuer> {
        let Some(jwks) = file.jwks else {
            self.error("no-jwks", "an issuer without its keys".to_owned(), &span, "add `jwks: file:PATH`");
            return None;
        };
        let mut issuer = Issuer {
            issuer: value(file.issuer).unwrap_or_default(),
            audiences: many(file.audience, |audience| audience),
            jwks: jwks.value.0,
            rules: Vec::new(),
        };
        if !self.checked(&Settings { issuers: vec![issuer.clone()], ..Settings::default() }, &span) {
            return None;
        }
        for At { value: file, span } in value(file.rules).unwrap_or_default() {
            let Some(grant) = self.grant(file.purpose, file.role, file.app, file.partitions, &span) else { continue };
            let rule = TokenRule { claims: file.claims.map(|claims| claims.value.0).unwrap_or_default(), grant };
            let alone = Issuer { rules: vec![rule.clone()], ..issuer.clone() };
            if self.checked(&Settings { issuers: vec![alone], ..Settings::default() }, &span) {
                issuer.rules.push(rule);
            }
        }
        Some(issuer)
    }

    fn grant(
        &mut self,
        purpose: Option<At<CallerPurpose>>,
        role: Option<At<String>>,
        app: Option<At<String>>,
        partitions: Option<At<Many<String>>>,
        span: &Range<usize>,
    ) -> Option<Grant> {
        let purpose = match value(purpose) {
            Some(CallerPurpose::Management) => Purpose::Management,
            Some(CallerPurpose::Sidecar) => Purpose::Sidecar,
            Some(CallerPurpose::EncryptOnly) => Purpose::EncryptOnly,
            None => {
                let help = "add `purpose: sidecar`, `encrypt-only` or `management`";
                self.error("no-purpose", "a caller without a purpose".to_owned(), span, help);
                return None;
            }
        };
        let Some(role) = value(role) else {
            self.error("no-role", "a caller without a role".to_owned(), span, "add `role: NAME`");
            return None;
        };
        // None left of those written would be all partitions.
        if let Some(partitions) = partitions.as_ref().filter(|partitions| partitions.value.items.is_empty()) {
            let message = "`partitions` is empty: this caller would be let at none".to_owned();
            self.error("no-partitions", message, &partitions.span, "name some, or leave it out for all");
            return None;
        }
        Some(Grant { app: value(app), partitions: many(partitions, |name| name), ..Grant::new(purpose, role) })
    }

    /// Whether the authority would take these settings, of one rule.
    fn checked(&mut self, settings: &Settings, span: &Range<usize>) -> bool {
        let checked = settings.check();
        if let Err(why) = &checked {
            self.error("bad-caller", why.clone(), span, "see `authority` in docs/config.md");
        }
        checked.is_ok()
    }
}
