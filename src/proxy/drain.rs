//! The end of a server that listens: in order, or at once.

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time;

use super::settings::Drain;

/// Where a server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It serves.
    Running,
    /// It ends in order.
    Draining,
    /// It ends at once.
    Stopped,
}

impl Phase {
    /// What a signal makes of it: the first drains, the second ends.
    pub fn after_signal(self) -> Self {
        if self == Self::Running { Self::Draining } else { Self::Stopped }
    }
}

/// Lets the listeners' loops run until the phase says stop or the drain is done: for `drain.delay` they still accept, then
/// `closing` tells them to close and their connections to finish, and after `drain.deadline` what still runs is cut.
pub async fn run(
    mut loops: JoinSet<()>,
    drain: Drain,
    closing: &watch::Sender<bool>,
    mut phase: watch::Receiver<Phase>,
    whose: &str,
) {
    let mut second = phase.clone();
    let orderly = async {
        until(&mut phase, Phase::Draining).await;
        time::sleep(drain.delay).await;
        closing.send_replace(true);
        let finished = async { while loops.join_next().await.is_some() {} };
        if time::timeout(drain.deadline.saturating_sub(drain.delay), finished).await.is_err() {
            tracing::warn!("{whose}: drain.deadline is over; what still runs is cut");
        }
    };
    tokio::select! {
        () = orderly => {}
        () = until(&mut second, Phase::Stopped) => {}
    }
}

async fn until(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    // An error means that the server is gone, which is a stop.
    drop(phase.wait_for(|phase| *phase >= wanted).await);
}
