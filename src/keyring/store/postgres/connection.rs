//! Connections to the database: a small pool, everything about it bounded, and what its errors mean.

use std::error::Error as _;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use rustls::ClientConfig;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{MakeTlsConnect, NoTlsStream};
use tokio_postgres::{Error, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::super::StoreError;
use super::place::{DatabaseTls, PostgresPlace, TlsMode};
use crate::causes;

/// Most calls come one at a time, from under the keyring's lock; the directory and the audit log come beside it.
const CONNECTIONS: usize = 4;
/// For a connection, from the pool or new, over all addresses.
const CONNECT: Duration = Duration::from_secs(3);
/// The server's own bounds come first (see [`SESSION`]); this one is for a server or network that has gone silent.
const ANSWER: Duration = Duration::from_secs(3);
/// For reading or writing a whole keyring.
const ANSWER_WHOLE: Duration = Duration::from_secs(600);
/// After a connection failed, others fail at once for so long: callers wait in line for each other.
const PAUSE: Duration = Duration::from_millis(400);

/// A commit that is reported is on disk. A process that stops in the middle of a transaction does not hold up the others.
const SESSION: &str = "SET search_path = sidecloak; SET statement_timeout = '2s'; SET lock_timeout = '2s'; \
     SET idle_in_transaction_session_timeout = '3s'; SET default_transaction_isolation = 'read committed'; \
     SET default_transaction_read_only = off; SET client_min_messages = warning; \
     SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// For work on a whole keyring, in its transaction.
pub const WHOLE: &str =
    "SET LOCAL statement_timeout = '10min'; SET LOCAL idle_in_transaction_session_timeout = '10min'";

/// How connections are made.
#[derive(Clone)]
pub struct Connector {
    config: tokio_postgres::Config,
    /// `None`: plain.
    tls: Option<Arc<ClientConfig>>,
    name: String,
}

impl Connector {
    /// `tls` makes the TLS that the place asks for.
    pub fn new(place: &PostgresPlace, tls: Option<DatabaseTls>) -> Result<Self, StoreError> {
        let tls = match (place.tls, tls) {
            (TlsMode::Off, _) => None,
            (TlsMode::IfOffered | TlsMode::Verified, Some(make)) => {
                Some(make(&place.files).map_err(|error| StoreError::Unavailable(format!("{place}: {error}")))?)
            }
            (TlsMode::IfOffered | TlsMode::Verified, None) => {
                return Err(StoreError::Unavailable(format!("{place} asks for TLS, which this process has none of")));
            }
        };
        let mut config = place.config.clone();
        if config.get_password().is_none()
            && let Some(password) = std::env::var_os("PGPASSWORD")
        {
            config.password(password.as_encoded_bytes());
        }
        Ok(Self { config, tls, name: place.to_string() })
    }

    /// One connection outside the pool, and what drives it.
    pub async fn connect(&self) -> Result<Connection, StoreError> {
        let connecting = async {
            match &self.tls {
                Some(tls) => {
                    let (client, driver) = self.config.connect(MakeRustlsConnect::new((**tls).clone())).await?;
                    Ok((client, Driver::Tls(Box::new(driver))))
                }
                None => {
                    let (client, driver) = self.config.connect(NoTls).await?;
                    Ok((client, Driver::Plain(Box::new(driver))))
                }
            }
        };
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(connected) => connected.map_err(|e| explain(&self.name, &e)),
            Err(_) => Err(silent(&self.name)),
        }
    }

    fn manager(&self) -> Manager {
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        match &self.tls {
            Some(tls) => Manager::from_config(self.config.clone(), MakeRustlsConnect::new((**tls).clone()), config),
            None => Manager::from_config(self.config.clone(), NoTls, config),
        }
    }
}

/// A client, and what carries its messages.
pub type Connection = (tokio_postgres::Client, Driver);

/// What drives a connection outside the pool.
pub enum Driver {
    /// With TLS.
    Tls(Box<tokio_postgres::Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>>),
    /// Without.
    Plain(Box<tokio_postgres::Connection<Socket, NoTlsStream>>),
}

/// The pool.
pub struct Connections {
    pool: Pool,
    name: String,
    failed: Mutex<Option<Instant>>,
}

impl Connections {
    /// Connects when first asked.
    pub fn new(connector: &Connector) -> Result<Self, StoreError> {
        let set_up = Hook::async_fn(|client: &mut deadpool_postgres::ClientWrapper, _| {
            Box::pin(async move { client.batch_execute(SESSION).await.map_err(HookError::Backend) })
        });
        let pool = Pool::builder(connector.manager())
            .max_size(CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .timeouts(deadpool_postgres::Timeouts {
                wait: Some(CONNECT),
                create: Some(CONNECT),
                recycle: Some(Duration::from_secs(1)),
            })
            .post_create(set_up)
            .build()
            .map_err(|e| StoreError::Unavailable(format!("no connections to {} can be made: {e}", connector.name)))?;
        Ok(Self { pool, name: connector.name.clone(), failed: Mutex::new(None) })
    }

    /// The database's name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Does something on a connection, in bounded time.
    pub async fn with<T>(&self, f: impl AsyncFnOnce(&mut Object) -> Result<T, Error>) -> Result<T, StoreError> {
        self.within(ANSWER, f).await
    }

    /// The same for work on a whole keyring.
    pub async fn with_all<T>(&self, f: impl AsyncFnOnce(&mut Object) -> Result<T, Error>) -> Result<T, StoreError> {
        self.within(ANSWER_WHOLE, f).await
    }

    async fn within<T>(
        &self,
        bound: Duration,
        f: impl AsyncFnOnce(&mut Object) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        let mut client = self.get().await?;
        match tokio::time::timeout(bound, f(&mut client)).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(explain(&self.name, &error)),
            Err(_) => {
                // Whatever comes on it later is nobody's answer.
                drop(Object::take(client));
                *self.failed() = Some(Instant::now());
                Err(silent(&self.name))
            }
        }
    }

    async fn get(&self) -> Result<Object, StoreError> {
        if self.failed().is_some_and(|at| at.elapsed() < PAUSE) {
            return Err(StoreError::Unavailable(format!("{} could not be reached a moment ago", self.name)));
        }
        let got = self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
                (true, explain(&self.name, &error))
            }
            // All connections are in use: no fault of the database's.
            PoolError::Timeout(deadpool_postgres::TimeoutType::Wait) => {
                (false, StoreError::Unavailable(format!("too many calls at once wait for {}", self.name)))
            }
            _ => (true, silent(&self.name)),
        });
        got.map_err(|(away, error)| {
            if away {
                *self.failed() = Some(Instant::now());
            }
            error
        })
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn silent(name: &str) -> StoreError {
    StoreError::Unavailable(format!("{name} does not answer; check that the database runs and can be reached"))
}

/// Says what happened and what to do, in our own words: the server's may repeat what was sent.
pub fn explain(name: &str, error: &Error) -> StoreError {
    let Some(code) = error.code() else {
        if let Some(tls) = causes::all(error).find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
            return StoreError::Unavailable(format!(
                "{name}: TLS failed ({tls}); check the server's certificate and `sslrootcert`"
            ));
        }
        let mut of_io = causes::all(error).filter_map(|cause| cause.downcast_ref::<io::Error>());
        if let Some(io) = of_io.find(|io| io.get_ref().is_none()) {
            return StoreError::Unavailable(format!(
                "{name} cannot be reached: {}; check that the database runs",
                io.kind()
            ));
        }
        let text = error.to_string();
        if error.source().is_some_and(|cause| cause.to_string().contains("does not support TLS")) {
            return StoreError::Unavailable(format!(
                "{name} offers no TLS; turn it on there (`ssl = on`), or write `sslmode=disable` if the network between is yours"
            ));
        }
        if text.starts_with("invalid configuration") || text.starts_with("authentication error") {
            return StoreError::Unauthorized(format!(
                "{name} asks for a password, or proves its own identity otherwise; name one as `store_password`"
            ));
        }
        return if text.starts_with("error retrieving column") || text.starts_with("error deserializing column") {
            not_ours(name)
        } else {
            StoreError::Unavailable(format!(
                "{name}: the connection broke, or TLS, a password or the protocol did not fit"
            ))
        };
    };
    let unavailable = |text: &str| StoreError::Unavailable(format!("{name} {text}"));
    match code.clone() {
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            StoreError::Unauthorized(format!(
                "{name} does not accept this user and password; check both, and where the password is (`keyring.store_password`, PGPASSWORD)"
            ))
        }
        SqlState::INVALID_CATALOG_NAME => unavailable("does not exist; make it with `createdb`"),
        SqlState::INSUFFICIENT_PRIVILEGE => {
            unavailable("does not grant this user what it needs; see docs/fleet.md on its rights")
        }
        SqlState::READ_ONLY_SQL_TRANSACTION => {
            unavailable("takes no writes; name its primary, or all servers of the cluster")
        }
        SqlState::QUERY_CANCELED | SqlState::LOCK_NOT_AVAILABLE => unavailable("is too busy; nothing was changed"),
        SqlState::DISK_FULL => unavailable("has no space left; nothing was changed"),
        SqlState::TOO_MANY_CONNECTIONS => unavailable("takes no more connections; raise its `max_connections`"),
        SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN | SqlState::CANNOT_CONNECT_NOW => {
            unavailable("is starting or stopping")
        }
        SqlState::UNDEFINED_TABLE
        | SqlState::UNDEFINED_COLUMN
        | SqlState::INVALID_SCHEMA_NAME
        | SqlState::DATATYPE_MISMATCH => not_ours(name),
        other => StoreError::Unavailable(format!("{name}: PostgreSQL says SQLSTATE {}", other.code())),
    }
}

fn not_ours(name: &str) -> StoreError {
    StoreError::Damaged(format!("{name} holds tables or rows of another form than a keyring's"))
}
