//! Places for connections: so many at once, so many of one listener, so many of one client. Who waits for one makes those
//! give theirs up that stand between two requests.

use std::collections::HashMap;
use std::net::IpAddr;
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
    all: Arc<Semaphore>,
    /// By the listener's name, where it has a bound of its own.
    listeners: HashMap<String, Arc<Semaphore>>,
    per_client: Option<usize>,
    clients: Mutex<HashMap<IpAddr, usize>>,
    /// Told when somebody waits.
    pub(super) room: Notify,
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
        let places = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        let own = |listener: &Arc<super::settings::Listener>| {
            Some((listener.name.clone(), places(listener.limits.connections?)))
        };
        Self {
            all: places(settings.limits.connections),
            listeners: settings.listeners.iter().filter_map(own).collect(),
            per_client: settings.limits.client_connections,
            clients: Mutex::default(),
            room: Notify::new(),
        }
    }

    /// A place at this listener, as soon as there is one; and whether it had to be waited for.
    pub(super) async fn place(&self, listener: &str) -> (Option<Place>, bool) {
        let (mut waited, own) = (false, self.listeners.get(listener));
        let listener = match own {
            Some(places) => Some(self.wait(places, &mut waited).await),
            None => None,
        };
        let Some(all) = self.wait(&self.all, &mut waited).await else { return (None, waited) };
        (Some(Place { _all: all, _listener: listener.flatten() }), waited)
    }

    async fn wait(&self, places: &Arc<Semaphore>, waited: &mut bool) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            return Some(place);
        }
        *waited = true;
        let mut place = std::pin::pin!(Arc::clone(places).acquire_owned());
        loop {
            for _ in 0..ASKED {
                self.room.notify_one();
            }
            if let Ok(place) = time::timeout(ASK_EVERY, place.as_mut()).await {
                return place.ok();
            }
        }
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
