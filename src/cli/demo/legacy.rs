//! The application that cannot be changed: customers in memory, found by id or by an equal e-mail address. It knows nothing of
//! sealing.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

/// What it stores, which is also its database dump.
#[derive(Clone, Default)]
pub(super) struct Store(Arc<Mutex<Vec<Value>>>);

impl Store {
    /// The rows.
    pub(super) fn rows(&self) -> MutexGuard<'_, Vec<Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A member of a row, as stored.
    pub(super) fn field(&self, row: usize, name: &str) -> String {
        self.rows().get(row).and_then(|r| r.get(name)).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// Edits a member of a row behind the application's back, as whoever can write to its database would.
    pub(super) fn edit(&self, row: usize, name: &str, value: &str) {
        if let Some(member) = self.rows().get_mut(row).and_then(|r| r.get_mut(name)) {
            *member = json!(value);
        }
    }
}

/// Starts it on a free port of loopback.
pub(super) async fn start(store: Store) -> std::io::Result<SocketAddr> {
    let app = Router::new()
        .route("/customers", post(create).get(list))
        .route("/customers/{id}", get(read).put(replace))
        .route("/customers/search", post(search))
        .with_state(store);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

async fn create(State(store): State<Store>, Json(mut customer): Json<Value>) -> (StatusCode, Json<Value>) {
    let mut rows = store.rows();
    if let Some(members) = customer.as_object_mut() {
        members.insert("id".into(), json!(rows.len() + 1));
    }
    rows.push(customer.clone());
    (StatusCode::CREATED, Json(customer))
}

async fn list(State(store): State<Store>) -> Json<Value> {
    Json(Value::Array(store.rows().clone()))
}

async fn read(State(store): State<Store>, Path(id): Path<usize>) -> (StatusCode, Json<Value>) {
    match id.checked_sub(1).and_then(|i| store.rows().get(i).cloned()) {
        Some(customer) => (StatusCode::OK, Json(customer)),
        None => (StatusCode::NOT_FOUND, Json(json!({"error": "no such customer"}))),
    }
}

async fn replace(
    State(store): State<Store>,
    Path(id): Path<usize>,
    Json(customer): Json<Value>,
) -> (StatusCode, Json<Value>) {
    match id.checked_sub(1).and_then(|i| store.rows().get_mut(i).map(|row| *row = customer.clone())) {
        Some(()) => (StatusCode::OK, Json(customer)),
        None => (StatusCode::NOT_FOUND, Json(json!({"error": "no such customer"}))),
    }
}

/// Finds by equality of one member, as an SQL `WHERE email = ?` would.
async fn search(State(store): State<Store>, Json(wanted): Json<Value>) -> Json<Value> {
    let matches = |row: &&Value| {
        wanted.as_object().is_some_and(|w| !w.is_empty() && w.iter().all(|(name, value)| row.get(name) == Some(value)))
    };
    Json(Value::Array(store.rows().iter().filter(matches).cloned().collect()))
}
