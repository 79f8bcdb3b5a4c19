//! Names of upstreams: looked up beside the traffic, again and again, and sooner when an address fails. A name that no
//! longer resolves keeps the addresses it had.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::{net, time};

use crate::metrics::UpstreamMetrics;

use super::pool::{Pool, jittered};
use super::targets::Targets;

/// No name is looked up more often.
const PAUSE: Duration = Duration::from_secs(1);

/// What exchanges see of the look-ups.
#[derive(Debug)]
pub(super) struct Names {
    /// How many rounds are done.
    rounds: watch::Receiver<u64>,
    again: Arc<Notify>,
}

impl Names {
    /// Begins to look the names up, unless there are none.
    pub(super) fn watch(
        targets: &Arc<Targets>,
        pool: &Arc<Pool>,
        every: Duration,
        metrics: &Arc<UpstreamMetrics>,
    ) -> Option<Self> {
        let names = targets.names();
        if names.is_empty() {
            return None;
        }
        let (done, rounds) = watch::channel(0);
        let again = Arc::new(Notify::new());
        let looks = Looks {
            names,
            targets: Arc::downgrade(targets),
            pool: Arc::downgrade(pool),
            metrics: Arc::clone(metrics),
            again: Arc::clone(&again),
        };
        tokio::spawn(looks.run(every.max(PAUSE), done));
        Some(Self { rounds, again })
    }

    /// An address failed: it may be one of yesterday.
    pub(super) fn look_again(&self) {
        self.again.notify_one();
    }

    /// Until the first round is done.
    pub(super) async fn first(&self, limit: Duration) {
        let mut rounds = self.rounds.clone();
        // Whatever came of it: the caller looks whether there are addresses.
        drop(time::timeout(limit, rounds.wait_for(|rounds| *rounds > 0)).await);
    }
}

struct Looks {
    names: Vec<(String, u16)>,
    targets: std::sync::Weak<Targets>,
    pool: std::sync::Weak<Pool>,
    metrics: Arc<UpstreamMetrics>,
    again: Arc<Notify>,
}

impl Looks {
    async fn run(self, every: Duration, done: watch::Sender<u64>) {
        loop {
            let mut failed = false;
            for (host, port) in &self.names {
                // Its own time limits are the system's. Meanwhile the addresses at hand serve.
                let found = net::lookup_host((host.as_str(), *port)).await.map(Iterator::collect::<Vec<_>>);
                let (Some(targets), Some(pool)) = (self.targets.upgrade(), self.pool.upgrade()) else { return };
                match found {
                    Ok(found) if !found.is_empty() => {
                        self.metrics.resolved.inc();
                        targets.resolved(host, *port, &found, &pool);
                    }
                    Ok(_) | Err(_) => {
                        failed = true;
                        self.metrics.unresolved.inc();
                        tracing::warn!(
                            host,
                            "the name of an upstream does not resolve; its last addresses stay in use"
                        );
                    }
                }
            }
            done.send_modify(|rounds| *rounds += 1);
            time::sleep(PAUSE).await;
            if !failed {
                let (sleep, again) = (time::sleep(jittered(every.saturating_sub(PAUSE))), self.again.notified());
                tokio::select! {
                    () = sleep => {}
                    () = again => {}
                }
            }
        }
    }
}
