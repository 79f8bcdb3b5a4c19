//! Applications.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::LOCATION;

use super::super::Refused;
use super::super::credentials::check_app;
use super::problem::Problem;
use super::request::{Body, Call, Named, Page};
use super::shapes::{App, AppState, List, NewApp, NewAppState};

pub async fn list(call: Call, page: Page) -> Result<Json<List<App>>, Problem> {
    let limit = page.limit;
    let found = call
        .read(move |call| match &call.identity.app {
            Some(own) => Ok(call.authority.app(own)?.into_iter().collect()),
            None => {
                call.unbound()?;
                call.authority.apps(&page.after, limit)
            }
        })
        .await?;
    Ok(Json(List::new(found.into_iter().map(App::from).collect(), limit, |app: &App| app.id.clone())))
}

pub async fn show(call: Call, Named(id): Named<String>) -> Result<Json<App>, Problem> {
    call.reach_app(&id)?;
    let app = call.read(move |call| call.authority.app(&id)?.ok_or(Refused::NotFound)).await?;
    Ok(Json(app.into()))
}

pub async fn create(call: Call, Body(new): Body<NewApp>) -> Result<Response, Problem> {
    check_app(&new.id)?;
    call.reach_app(&new.id).map_err(|_| Refused::Forbidden)?;
    let place = format!("/manage/v1/apps/{}", new.id);
    let app =
        call.act("app.create", new.id.clone(), move |call| call.authority.create_app(&new.id, &new.label)).await?;
    Ok((StatusCode::CREATED, [(LOCATION, place)], Json(App::from(app))).into_response())
}

pub async fn set_state(
    call: Call,
    Named(id): Named<String>,
    Body(new): Body<NewAppState>,
) -> Result<Json<App>, Problem> {
    call.reach_app(&id)?;
    check_app(&id).map_err(|_| Refused::NotFound)?;
    let paused = new.state == AppState::Paused;
    let what = if paused { "app.pause" } else { "app.resume" };
    let app = call
        .act(what, id.clone(), move |call| call.authority.set_app_paused(&id, paused)?.ok_or(Refused::NotFound))
        .await?;
    Ok(Json(app.into()))
}
