//! How an authority is configured, as checked values.

use std::time::Duration;

use super::credentials::{Limits, Purpose, check_app, check_role};
use crate::jwt::keys::Source;

/// See [`super::Authority::new`]. The default knows API keys alone.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How old what is known of users, keys and partitions may be while the store cannot be reached.
    pub max_stale: Duration,
    /// How often one identity may ask.
    pub limits: Limits,
    /// Who comes in by client certificate; the first that matches counts.
    pub certificates: Vec<CertificateRule>,
    /// Whose tokens are believed.
    pub issuers: Vec<Issuer>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_stale: Duration::from_secs(300),
            limits: Limits::default(),
            certificates: Vec::new(),
            issuers: Vec::new(),
        }
    }
}

/// What an identity may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Where; nowhere else.
    pub purpose: Purpose,
    /// The role: of a management identity `admin`, `operator` or `auditor`, else the one in partitions' access-control entries.
    pub role: String,
    /// Only partitions of this application.
    pub app: Option<String>,
    /// Only partitions whose names match one of these, in which `*` stands for any run of characters; empty: all.
    pub partitions: Vec<String>,
    /// A sidecar that only encrypts.
    pub encrypt_only: bool,
}

/// Maps client certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRule {
    /// Matches one of the certificate's names as a whole, such as `spiffe://bank/ns/teller/*`; `*` stands for any run of characters,
    /// slashes too.
    pub name: String,
    /// What its holder may.
    pub grant: Grant,
}

/// An issuer of JSON Web Tokens, such as a Kubernetes cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// `iss`, exactly.
    pub issuer: String,
    /// One of these is in `aud`.
    pub audiences: Vec<String>,
    /// Its keys, read again when they change.
    pub jwks: Source,
    /// What its tokens give; the first that matches counts.
    pub rules: Vec<TokenRule>,
}

/// Maps tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRule {
    /// Claims that must all match, such as `sub` = `system:serviceaccount:payments:*`. A claim that is a list matches if one of
    /// its texts does; `scope` and `scp` are lists of words; a name that begins with `/` is a JSON Pointer.
    pub claims: Vec<(String, String)>,
    /// What its holder may.
    pub grant: Grant,
}

impl Settings {
    /// What is wrong, in a sentence with the way out.
    pub fn check(&self) -> Result<(), String> {
        for rule in &self.certificates {
            if rule.name.trim_matches('*').is_empty() {
                return Err("a rule on client certificates matches every certificate; name whom it is for".into());
            }
            rule.grant.check()?;
        }
        for issuer in &self.issuers {
            issuer.check()?;
        }
        Ok(())
    }
}

impl Issuer {
    fn check(&self) -> Result<(), String> {
        let name = &self.issuer;
        if name.is_empty() || self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            return Err(format!(
                "token issuer `{name}`: give `issuer` and `audience`; without an audience, tokens meant for others would do"
            ));
        }
        for rule in &self.rules {
            if rule.claims.iter().all(|(_, pattern)| pattern.trim_matches('*').is_empty()) {
                return Err(format!(
                    "token issuer `{name}`: a rule takes every token; give the claims it asks for, such as `sub`"
                ));
            }
            rule.grant.check()?;
        }
        Ok(())
    }
}

impl Grant {
    /// Of all partitions, to this role.
    pub fn new(purpose: Purpose, role: impl Into<String>) -> Self {
        Self { purpose, role: role.into(), app: None, partitions: Vec::new(), encrypt_only: false }
    }

    fn check(&self) -> Result<(), String> {
        if self.purpose == Purpose::Management && !["admin", "operator", "auditor"].contains(&self.role.as_str()) {
            return Err(format!("`{}` is no role of a management identity; use admin, operator or auditor", self.role));
        }
        check_role(&self.role).map_err(|refused| refused.to_string())?;
        self.app.as_deref().map_or(Ok(()), check_app).map_err(|refused| refused.to_string())
    }
}
