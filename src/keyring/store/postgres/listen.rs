//! Hearing of changes as they are committed. What is missed is found by polling.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio_postgres::AsyncMessage;

use super::connection::{Connection, Connector, Driver};

/// Between two attempts to listen; the first follows at once.
const BACK_OFF: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(3),
];
/// How often a connection that hears nothing is asked whether it still stands.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// What was heard.
#[derive(Debug, Default)]
pub struct News {
    /// Whether anything was since somebody last waited.
    heard: Mutex<bool>,
    ring: Condvar,
    /// Counts connections: a new one may be to a server that lost rows.
    connections: AtomicU64,
}

impl News {
    /// Waits until something is heard that nobody has waited for yet, or for that long.
    pub fn wait(&self, timeout: Duration) {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut heard, _) =
            self.ring.wait_timeout_while(heard, timeout, |heard| !*heard).unwrap_or_else(PoisonError::into_inner);
        *heard = false;
    }

    /// How many connections there have been.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Acquire)
    }

    fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ring.notify_all();
    }
}

/// Listens for good, connecting again whenever the connection breaks.
pub async fn listen(connector: Connector, news: Arc<News>) {
    let mut failures = 0usize;
    loop {
        if let Ok(connection) = connector.connect().await
            && let Ok(()) = hear(connection, &news).await
        {
            failures = 0;
        }
        let wait = BACK_OFF.get(failures.min(BACK_OFF.len() - 1)).copied().unwrap_or(HEARTBEAT);
        failures = failures.saturating_add(1);
        tokio::time::sleep(wait).await;
    }
}

/// `Ok`: it listened, until the connection broke.
async fn hear((client, driver): Connection, news: &Arc<News>) -> Result<(), ()> {
    let rung = Arc::clone(news);
    let mut driving = tokio::spawn(async move {
        match driver {
            Driver::Tls(mut connection) => drive(|cx| connection.poll_message(cx), &rung).await,
            Driver::Plain(mut connection) => drive(|cx| connection.poll_message(cx), &rung).await,
        }
    });
    let listening = tokio::time::timeout(HEARTBEAT, client.batch_execute("LISTEN sidecloak")).await;
    let listens = matches!(listening, Ok(Ok(())));
    if listens {
        news.connections.fetch_add(1, Ordering::AcqRel);
        // Whatever was committed while nobody listened.
        news.hear();
        tokio::select! {
            _ = &mut driving => {}
            () = beat(&client) => {}
        }
    }
    driving.abort();
    if listens { Ok(()) } else { Err(()) }
}

/// Ends when the server does not answer.
async fn beat(client: &tokio_postgres::Client) {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        if !matches!(tokio::time::timeout(HEARTBEAT, client.batch_execute("")).await, Ok(Ok(()))) {
            return;
        }
    }
}

async fn drive<E>(
    mut poll: impl FnMut(&mut std::task::Context<'_>) -> std::task::Poll<Option<Result<AsyncMessage, E>>>,
    news: &News,
) {
    while let Some(Ok(message)) = poll_fn(&mut poll).await {
        if matches!(message, AsyncMessage::Notification(_)) {
            news.hear();
        }
    }
}
