//! The profiles of a process at run time: a client and a guard for each endpoint, on a runtime of their own.

mod build;
mod checks;
mod control;
mod delegate;
mod keys;
mod line;
mod order;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use super::settings::{ProfileSettings, Provider};
use super::{ApiError, Fault, exequantum};
use crate::clock::SharedClock;
use crate::keyring::{MANAGED, State};
use crate::metrics::Metrics;
use crate::name::PartitionName;
use line::Line;

/// Calls wait for a network; what is computed between is little.
const THREADS: usize = 2;
/// For calls under way when the process ends.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// See the module.
pub struct Profiles {
    lines: HashMap<Arc<str>, Arc<Line>>,
    /// By suite and key, as partition records list them.
    recipients: HashMap<(u8, Vec<u8>), Arc<str>>,
    by_partition: HashMap<PartitionName, Arc<Line>>,
    /// Taken when all ends.
    runtime: Option<Runtime>,
}

/// Why there are no profiles.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// One cannot be used as it is configured.
    #[error("profile `{0}`: {1}")]
    Profile(Arc<str>, String),
    /// Their threads do not start.
    #[error("cannot start the threads of the profiles: {0}")]
    Threads(#[from] std::io::Error),
}

impl Profiles {
    /// Reads credentials and certificates, and starts the threads. Calls nobody yet.
    #[expect(clippy::needless_pass_by_value, reason = "each client keeps a share of the clock")]
    pub fn open(
        settings: Vec<ProfileSettings>,
        clock: SharedClock,
        metrics: &Metrics,
    ) -> Result<Arc<Self>, ProfileError> {
        let runtime = runtime()?;
        let mut lines = Vec::with_capacity(settings.len());
        for settings in settings {
            let _entered = runtime.enter();
            let name = Arc::clone(&settings.name);
            let line = build::line(settings, &clock, metrics).map_err(|text| ProfileError::Profile(name, text))?;
            lines.push(line);
        }
        Self::of(lines, runtime)
    }

    fn of(lines: Vec<Line>, runtime: Runtime) -> Result<Arc<Self>, ProfileError> {
        let mut recipients = HashMap::new();
        let mut by_name = HashMap::new();
        let mut by_partition = HashMap::new();
        for line in lines.into_iter().map(Arc::new) {
            let name = &line.settings.name;
            if let Some((suite, key)) =
                recipient(&line.settings).map_err(|text| ProfileError::Profile(Arc::clone(name), text))?
                && let Some(other) = recipients.insert((suite, key), Arc::clone(name))
            {
                let text = format!("has the recipient of profile `{other}`; give each a recipient of its own");
                return Err(ProfileError::Profile(Arc::clone(name), text));
            }
            if let Some(opened) = &line.opened {
                runtime.spawn(sweep(Arc::downgrade(opened), opened.sweep_interval()));
            }
            by_partition.insert(line.settings.partition.clone(), Arc::clone(&line));
            by_name.insert(Arc::clone(name), line);
        }
        Ok(Arc::new(Self { lines: by_name, recipients, by_partition, runtime: Some(runtime) }))
    }

    /// Whether a profile of this name is among them.
    pub fn has(&self, name: &str) -> bool {
        self.lines.contains_key(name)
    }

    /// The partition's state is this now: what was opened is forgotten where it may not be opened any more.
    pub fn state_is(&self, partition: &PartitionName, state: State) {
        if !state.opens()
            && let Some(line) = self.by_partition.get(partition)
        {
            line.forget();
        }
    }

    /// Has a call made on the profiles' threads, from a thread that may block. It ends by itself within `longest`.
    fn block<T: Send + 'static>(
        &self,
        longest: Duration,
        call: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        let broken_off = || ApiError::new(Fault::Connection, "the call was broken off");
        let handle = self.handle().ok_or_else(broken_off)?;
        let (sender, receiver) = sync_channel(1);
        handle.spawn(async move {
            // An error: it was waited for too long.
            sender.send(call.await).ok();
        });
        // A second more than the call itself takes: the runtime may be gone.
        receiver.recv_timeout(longest + Duration::from_secs(1)).unwrap_or_else(|_| Err(broken_off()))
    }

    fn handle(&self) -> Option<&Handle> {
        self.runtime.as_ref().map(Runtime::handle)
    }
}

impl Drop for Profiles {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        // Waiting is forbidden to the thread of another runtime.
        if Handle::try_current().is_ok() {
            runtime.shutdown_background();
        } else {
            runtime.shutdown_timeout(SHUTDOWN);
        }
    }
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(THREADS).thread_name("managed").enable_all().build()
}

/// Suite and key of the recipient whose private half the profile's API keeps, as its partition must list them; `None`: keys are
/// the keyring's own. The error says what is wrong with the recipient, and what to do.
pub fn recipient(settings: &ProfileSettings) -> Result<Option<(u8, Vec<u8>)>, String> {
    match &settings.provider {
        Provider::Crittora(_) | Provider::NcloudKms(_) => Ok(Some((MANAGED, settings.name.as_bytes().to_vec()))),
        Provider::ExeQuantum(exequantum) => exequantum::recipient_key(&exequantum.recipient).map(Some),
        Provider::Crypteron(_) => Ok(None),
    }
}

async fn sweep(opened: std::sync::Weak<super::opened::OpenedValues>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(opened) = opened.upgrade() else { return };
        opened.sweep();
    }
}
