//! Places for connections: so many at once, so many of one listener, so many of one client. Who waits for one makes those
//! give theirs up that stand between two requests.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time;

use super::settings::Settings;

/// How often room is asked for while somebody waits.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// How many connections are asked each time; those who are busy do not hear it, and the longest unasked come first.
const ASKED: usize = 16;

/// Of one process.
#[derive(Debug)]
pub(super) struct Crowd {
    all: Places,
    /// By the listener's name, where it has a bound of its own.
    listeners: HashMap<String, Places>,
    per_client: Option<usize>,
    clients: Mutex<HashMap<IpAddr, usize>>,
}

/// So many places, and those who wait for one.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Told when somebody waits.
    room: Notify,
}

/// Tells who has a place that somebody waits for one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room<'a> {
    all: &'a Places,
    listener: Option<&'a Places>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _all: OwnedSemaphorePermit,
    _listener: Option<OwnedSemaphorePermit>,
}

/// One of a client's places, until it is dropped.
#[derive(Debug)]
pub(super) struct Client {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Crowd {
    pub(super) fn new(settings: &Settings) -> Self {
        let own = |listener: &Arc<super::settings::Listener>| {
            Some((listener.name.clone(), Places::new(listener.limits.connections?)))
        };
        Self {
            all: Places::new(settings.limits.connections),
            listeners: settings.listeners.iter().filter_map(own).collect(),
            per_client: settings.limits.client_connections,
            clients: Mutex::default(),
        }
    }

    /// A place at this listener, as soon as there is one; and whether it had to be waited for.
    pub(super) async fn place(&self, listener: &str) -> (Option<Place>, bool) {
        let (mut waited, own) = (false, self.listeners.get(listener));
        let listener = match own {
            Some(places) => places.take(&mut waited).await,
            None => None,
        };
        let Some(all) = self.all.take(&mut waited).await else { return (None, waited) };
        (Some(Place { _all: all, _listener: listener }), waited)
    }

    /// What tells a connection of this listener that its place is wanted.
    pub(super) fn room(&self, listener: &str) -> Room<'_> {
        Room { all: &self.all, listener: self.listeners.get(listener) }
    }

    /// One of the client's places; `Ok(None)`: clients have no bound. An error if it has them all.
    pub(super) fn client(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Option<Client>, Full> {
        let (Some(most), Some(address)) = (self.per_client, address) else { return Ok(None) };
        let address = household(address);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let count = clients.entry(address).or_default();
        if *count >= most {
            return Err(Full);
        }
        *count += 1;
        Ok(Some(Client { crowd: Arc::clone(self), address }))
    }
}

impl Places {
    pub(super) fn new(count: usize) -> Self {
        let free = Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Self { free, waiting: AtomicUsize::new(0), room: Notify::new() }
    }

    /// One of them, as soon as there is one. `waited` becomes true if it had to be waited for.
    pub(super) async fn take(&self, waited: &mut bool) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(place);
        }
        *waited = true;
        let _waiter = Waiter::at(self);
        let mut place = std::pin::pin!(Arc::clone(&self.free).acquire_owned());
        loop {
            for _ in 0..ASKED {
                self.room.notify_one();
            }
            if let Ok(place) = time::timeout(ASK_EVERY, place.as_mut()).await {
                return place.ok();
            }
        }
    }

    /// Until somebody waits for one. Not all who have one are told at once.
    pub(super) async fn wanted(&self) {
        loop {
            self.room.notified().await;
            // Word of one who has gone again waits here for the next to ask.
            if self.waiting.load(Ordering::Relaxed) > 0 {
                return;
            }
        }
    }
}

impl Room<'_> {
    /// Until a place is wanted that this connection could give up.
    pub(super) async fn wanted(&self) {
        match self.listener {
            Some(listener) => {
                tokio::select! {
                    () = self.all.wanted() => {}
                    () = listener.wanted() => {}
                }
            }
            None => self.all.wanted().await,
        }
    }
}

/// One who waits, until it is dropped.
struct Waiter<'a>(&'a AtomicUsize);

impl<'a> Waiter<'a> {
    fn at(places: &'a Places) -> Self {
        places.waiting.fetch_add(1, Ordering::Relaxed);
        Self(&places.waiting)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A client has all places that one may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl Drop for Client {
    fn drop(&mut self) {
        let mut clients = self.crowd.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = clients.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&self.address);
            }
        }
    }
}

/// One who has an IPv6 address has 2^64 of them.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        IpAddr::V4(v4) => IpAddr::V4(v4),
    }
}
