//! The certificates of the listeners: how long they last, and whether what their files hold is in force.

use std::sync::{Mutex, PoisonError};

use crate::metrics::TlsMetrics;
use crate::tls::server::Server;

/// Of all listeners with TLS.
#[derive(Debug, Default)]
pub struct Certificates(Mutex<Vec<(String, Server, TlsMetrics)>>);

/// Of one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateStatus {
    /// Its name.
    pub listener: String,
    /// Seconds until its certificate ends; negative once it has.
    pub expires_in: i64,
    /// The last change of its files was refused: what was read before is in force.
    pub reload_failed: bool,
}

impl Certificates {
    pub(super) fn watch(&self, listener: &str, server: Server, metrics: TlsMetrics) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.push((listener.to_owned(), server, metrics));
    }

    /// As things stand at `now` (Unix seconds); the metrics get it too.
    pub fn look(&self, now: u64) -> Vec<CertificateStatus> {
        let watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let look = |(listener, server, metrics): &(String, Server, TlsMetrics)| {
            let expires_in = i64::try_from(server.expires()).unwrap_or(i64::MAX).saturating_sub_unsigned(now);
            let (refused, reload_failed) = server.refused();
            metrics.expires_in(expires_in);
            metrics.reloads_failed(refused);
            CertificateStatus { listener: listener.clone(), expires_in, reload_failed }
        };
        watched.iter().map(look).collect()
    }
}
