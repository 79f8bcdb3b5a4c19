//! Users who log in with a password.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::LOCATION;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::super::Refused;
use super::problem::Problem;
use super::request::{Body, Call, Named, Page};
use super::shapes::{List, NewPassword, NewUser, NewUserRole, User};

pub async fn list(call: Call, page: Page) -> Result<Json<List<User>>, Problem> {
    call.unbound()?;
    let limit = page.limit;
    let found = call.read(move |call| call.authority.credentials.users(&page.after, limit)).await?;
    let users = found.into_iter().map(|entry| User::from(entry.value)).collect();
    Ok(Json(List::new(users, limit, |user: &User| user.name.clone())))
}

pub async fn show(call: Call, Named(name): Named<String>) -> Result<Json<User>, Problem> {
    call.unbound()?;
    let authority = call.authority;
    let user = authority.credentials.user(&name).await?.ok_or(Refused::NotFound)?;
    Ok(Json(user.into()))
}

pub async fn create(call: Call, Body(new): Body<NewUser>) -> Result<Response, Problem> {
    call.unbound()?;
    let role = new.role.unwrap_or_else(|| "default".into());
    let user = User { name: new.name.clone(), role: role.clone() };
    let place = format!("/manage/v1/users/{}", utf8_percent_encode(&new.name, NON_ALPHANUMERIC));
    call.act("user.create", new.name.clone(), move |call| {
        call.authority.credentials.create_user(&new.name, &new.password.0, &role)
    })
    .await?;
    Ok((StatusCode::CREATED, [(LOCATION, place)], Json(user)).into_response())
}

pub async fn set_password(
    call: Call,
    Named(name): Named<String>,
    Body(new): Body<NewPassword>,
) -> Result<StatusCode, Problem> {
    call.unbound()?;
    call.act("user.password", name.clone(), move |call| {
        found(call.authority.credentials.set_user_password(&name, &new.password.0)?)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn set_role(
    call: Call,
    Named(name): Named<String>,
    Body(new): Body<NewUserRole>,
) -> Result<Json<User>, Problem> {
    call.unbound()?;
    let user = User { name: name.clone(), role: new.role.clone() };
    let on = format!("{name} {}", new.role);
    call.act("user.role", on, move |call| found(call.authority.credentials.set_user_role(&name, &new.role)?)).await?;
    Ok(Json(user))
}

pub async fn log_out(call: Call, Named(name): Named<String>) -> Result<StatusCode, Problem> {
    call.unbound()?;
    call.act("user.log-out", name.clone(), move |call| found(call.authority.credentials.log_out(&name)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn remove(call: Call, Named(name): Named<String>) -> Result<StatusCode, Problem> {
    call.unbound()?;
    call.act("user.delete", name.clone(), move |call| found(call.authority.credentials.delete_user(&name)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn found(found: bool) -> Result<(), Refused> {
    if found { Ok(()) } else { Err(Refused::NotFound) }
}
