//! `/v1/apps/{AppId}`: an application's state.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::answer::{Answer, Problem, ok};
use super::body::Body;
use super::entity::instant;
use super::names::AppId;
use super::session::{Places, Rank, Session};
use super::switch::{self, App};
use crate::audit::Act;
use crate::authority::{Authority, Refused, blocking};
use crate::name::PartitionName;

/// Partitions that are switched between two looks at who else waits.
const AT_ONCE: usize = 32;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    app_id: Value,
    state: &'static str,
    modified_at: Option<String>,
    partitions: usize,
}

impl Shown {
    fn of(app: &AppId, state: &App, partitions: usize) -> Self {
        Self {
            app_id: app.to_value(),
            state: if state.paused { "Paused" } else { "Active" },
            modified_at: (state.modified > 0).then(|| instant(state.modified)),
            partitions,
        }
    }
}

/// Its state and how many partitions it has.
pub async fn read(State(authority): State<Arc<Authority>>, session: Session, places: Places) -> Answer {
    session.require(Rank::Auditor)?;
    let app = places.app(&session)?;
    let own = session.app().is_some();
    let shown = blocking(move || {
        let (state, partitions) = (switch::app(&authority, &app)?, switch::partitions(&authority, &app)?.len());
        // Of all that could be, only those are there of which something is known.
        if !own && partitions == 0 && state == App::default() {
            return Err(Refused::NotFound);
        }
        Ok(Shown::of(&app, &state, partitions))
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
    let app = places.app(&session)?;
    if body.names("AppId") {
        let named = body.read("AppId", AppId::read);
        if named.is_some_and(|named| named != app) {
            body.refuse::<()>("AppId", "The AppId field is not the one of the address.".into());
        }
    }
    let paused = body.read("State", |value| match value.as_str() {
        Some(text) if text.eq_ignore_ascii_case("paused") => Ok(true),
        Some(text) if text.eq_ignore_ascii_case("active") => Ok(false),
        _ => Err("The State field is Active or Paused.".into()),
    });
    let paused = body.require("State", paused);
    body.check()?;
    let Some(paused) = paused else { return Err(body.problem()) };
    let switched = tokio::spawn(async move { switch_all(&authority, session.name, app, paused).await });
    let shown =
        switched.await.map_err(|_| Refused::Unavailable("an application was not switched to the end".into()))?;
    ok(StatusCode::OK, &shown?)
}

async fn switch_all(authority: &Arc<Authority>, who: String, app: AppId, paused: bool) -> Result<Shown, Problem> {
    let what = if paused { "app.pause" } else { "app.resume" };
    let shared = Arc::clone(authority);
    let begin = app.clone();
    let started = blocking(move || {
        let act = Act { who: &who, what, on: begin.as_str() };
        let started = shared.audit.begin(&act)?;
        // First: from now on, no partition is made beside those that are switched.
        let state = switch::edit(&shared, &begin, |app| app.paused = paused);
        Ok::<_, Refused>((started, state))
    });
    let (started, state) = started.await?;
    let done = match state {
        Ok(state) => each_partition(authority, &app, paused).await.map(|count| Shown::of(&app, &state, count)),
        Err(refused) => Err(refused),
    };
    let (shared, error) = (Arc::clone(authority), done.as_ref().err().map(ToString::to_string));
    blocking(move || Ok::<_, Refused>(shared.audit.end(started, error.as_deref().map_or(Ok(()), Err))?)).await?;
    Ok(done?)
}

/// Some at a time, since each costs a signature and a synced write.
async fn each_partition(authority: &Arc<Authority>, app: &AppId, paused: bool) -> Result<usize, Refused> {
    let (shared, id) = (Arc::clone(authority), app.clone());
    let all = blocking(move || switch::partitions(&shared, &id)).await?;
    if paused {
        in_turn(authority, &all, switch::pause).await?;
    } else {
        loop {
            let (shared, id) = (Arc::clone(authority), app.clone());
            let page = blocking(move || switch::paused(&shared, &id)).await?;
            if page.is_empty() {
                break;
            }
            in_turn(authority, &page, switch::resume).await?;
        }
    }
    Ok(all.len())
}

type Step = fn(&Authority, &PartitionName) -> Result<(), Refused>;

async fn in_turn(authority: &Arc<Authority>, names: &[PartitionName], step: Step) -> Result<(), Refused> {
    for some in names.chunks(AT_ONCE) {
        let (shared, some) = (Arc::clone(authority), some.to_vec());
        blocking(move || some.iter().try_for_each(|name| step(&shared, name))).await?;
    }
    Ok(())
}
