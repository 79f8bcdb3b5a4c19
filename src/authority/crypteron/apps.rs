//! `/v1/apps/{AppId}`: an application's state.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::answer::{Answer, ok};
use super::applications;
use super::body::Body;
use super::entity::instant;
use super::names::AppId;
use super::session::{Places, Rank, Session};
use crate::audit::Act;
use crate::authority::apps::App;
use crate::authority::{Authority, Refused, blocking};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    app_id: Value,
    state: &'static str,
    created_at: Option<String>,
    partitions: usize,
}

impl Shown {
    fn of(id: &AppId, app: Option<&App>, partitions: usize) -> Self {
        Self {
            app_id: id.to_value(),
            state: if app.is_some_and(|app| app.paused) { "Paused" } else { "Active" },
            created_at: app.map(|app| instant(app.created)),
            partitions,
        }
    }
}

/// Its state and how many partitions it has.
pub async fn read(State(authority): State<Arc<Authority>>, session: Session, places: Places) -> Answer {
    session.require(Rank::Auditor)?;
    let id = places.app(&session)?;
    let own = session.app().is_some();
    let shown = blocking(move || {
        let (app, partitions) = (authority.app(id.as_str())?, applications::count(&authority, &id)?);
        // Of all that could be, only those are there of which something is known.
        if !own && app.is_none() && partitions == 0 {
            return Err(Refused::NotFound);
        }
        Ok(Shown::of(&id, app.as_ref(), partitions))
    });
    ok(StatusCode::OK, &shown.await?)
}

/// `{"State":"Paused"}` and `{"State":"Active"}`. Answers when every partition has the state; goes on to the end, too, when nobody waits
/// for the answer any more.
pub async fn update(
    State(authority): State<Arc<Authority>>,
    session: Session,
    places: Places,
    mut body: Body,
) -> Answer {
    session.require(Rank::Operator)?;
    let id = places.app(&session)?;
    if body.read("AppId", AppId::read).is_some_and(|named| named != id) {
        body.refuse::<()>("AppId", "The AppId field is not the one of the address.".into());
    }
    let paused = body.read("State", |value| match value.as_str() {
        Some(text) if text.eq_ignore_ascii_case("paused") => Ok(true),
        Some(text) if text.eq_ignore_ascii_case("active") => Ok(false),
        _ => Err("The State field is Active or Paused.".into()),
    });
    let paused = body.require("State", paused);
    body.check()?;
    let Some(paused) = paused else { return Err(body.problem()) };
    let shown = blocking(move || {
        applications::known(&authority, &id)?;
        let what = if paused { "app.pause" } else { "app.resume" };
        let act = Act { who: &session.name, what, on: id.as_str() };
        let app = authority.audit.around(&act, || authority.set_app_paused(id.as_str(), paused))?;
        Ok::<_, Refused>(Shown::of(&id, app.as_ref(), applications::count(&authority, &id)?))
    });
    ok(StatusCode::OK, &shown.await?)
}
