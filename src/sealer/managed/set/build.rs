//! From the settings of a profile to its clients.

use std::cell::OnceCell;
use std::sync::Arc;

use super::super::crittora::Crittora;
use super::super::crypteron::Crypteron;
use super::super::exequantum::ExeQuantum;
use super::super::fallback::End;
use super::super::guard::Guard;
use super::super::http::Http;
use super::super::ncloud_kms::NcloudKms;
use super::super::settings::{CallLimits, CrittoraAccess, ProfileSettings, Provider};
use super::super::tokens::TokenCache;
use super::super::{Api, KemApi};
use super::line::{Ends, Line};
use crate::clock::SharedClock;
use crate::metrics::{ManagedMetrics, Metrics};

/// A profile with a client for each endpoint; the error says what is wrong with the settings, and what to do.
pub fn line(settings: ProfileSettings, clock: &SharedClock, metrics: &Metrics) -> Result<Line, String> {
    let seen = metrics.managed(&settings.name);
    let ends = match &settings.provider {
        Provider::Crittora(crittora) => {
            // Who logs in is the same, and is answerable to the same certificates, wherever values go.
            let login = match &crittora.access {
                CrittoraAccess::Managed => None,
                CrittoraAccess::Direct { login, .. } => Some(Http::new(login, &settings.tls, settings.calls.answer)?),
            };
            let account: OnceCell<Crittora> = OnceCell::new();
            Ends::Values(each(&settings, metrics, |http| -> Result<Arc<dyn Api>, String> {
                // A log-in at each would lock the account of a wrong password so much sooner.
                if let Some(account) = account.get() {
                    return Ok(Arc::new(account.at(http)));
                }
                let client = Crittora::new(http.clone(), login.clone(), crittora, Arc::clone(clock))?;
                let client = measured(client, Crittora::tokens, &seen);
                Ok(Arc::new(account.get_or_init(|| client).at(http)))
            })?)
        }
        Provider::NcloudKms(kms) => Ends::Values(each(&settings, metrics, |http| -> Result<Arc<dyn Api>, String> {
            let client = NcloudKms::new(http, kms, Arc::clone(clock))?;
            Ok(Arc::new(measured(client, NcloudKms::tokens, &seen)))
        })?),
        Provider::ExeQuantum(exequantum) => {
            Ends::Kem(each(&settings, metrics, |http| -> Result<Arc<dyn KemApi>, String> {
                let client = ExeQuantum::new(http, exequantum, Arc::clone(clock))?;
                Ok(Arc::new(measured(client, ExeQuantum::tokens, &seen)))
            })?)
        }
        Provider::Crypteron(crypteron) => {
            if !settings.fallback_endpoints.is_empty() {
                return Err("another place of Crypteron's may not know yet that a partition is paused; take \
                            `fallback_endpoints` away"
                    .into());
            }
            let ends = each(&settings, metrics, |http| Ok(Arc::new(Crypteron::new(http, crypteron)?)))?;
            Ends::Control(ends)
        }
    };
    Line::new(settings, ends, seen)
}

/// The primary, then the fallback endpoints.
fn each<C: ?Sized>(
    settings: &ProfileSettings,
    metrics: &Metrics,
    client: impl Fn(Http) -> Result<Arc<C>, String>,
) -> Result<Vec<End<C>>, String> {
    let limits = limits(settings);
    let end = |url: &String| {
        let client = client(Http::new(url, &settings.tls, limits.answer)?)?;
        let guard = Guard::new(&settings.name, &limits, metrics.managed(&settings.name).calls);
        Ok(End { client, guard })
    };
    // The primary last: it is its tokens that the metrics show the end of.
    let urls = std::iter::once(&settings.endpoint).chain(&settings.fallback_endpoints);
    let mut ends = urls.rev().map(end).collect::<Result<Vec<_>, String>>()?;
    ends.reverse();
    Ok(ends)
}

/// The budget is one for all endpoints: each has its share, so that the last is still asked in time.
pub fn limits(settings: &ProfileSettings) -> CallLimits {
    let mut limits = settings.calls.clone();
    let ends = u32::try_from(settings.fallback_endpoints.len()).unwrap_or(u32::MAX).saturating_add(1);
    limits.budget /= ends;
    limits.timeout = limits.timeout.min(limits.budget);
    limits
}

/// A client whose tokens are in the metrics.
fn measured<C>(client: C, tokens: fn(&C) -> Option<&TokenCache>, seen: &ManagedMetrics) -> C {
    if let Some(tokens) = tokens(&client) {
        tokens.measure(&seen.tokens);
    }
    client
}
