//! `/v1/apps/{AppId}/roles`: roles that all partitions of an application have, those that will be made, too.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::acl;
use super::answer::{Answer, nothing, ok};
use super::applications;
use super::body::Body;
use super::names::AppId;
use super::session::{Places, Rank, Session};
use crate::audit::Act;
use crate::authority::{Authority, Refused, blocking};
use crate::keyring::Permissions;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    role_id: String,
    permissions: u32,
}

/// All of them.
pub async fn list(State(authority): State<Arc<Authority>>, session: Session, places: Places) -> Answer {
    session.require(Rank::Auditor)?;
    let app = places.app(&session)?;
    let roles = blocking(move || applications::roles(&authority, &app)).await?;
    let shown: Vec<Shown> = roles.0.into_iter().map(|(role_id, permissions)| Shown { role_id, permissions }).collect();
    ok(StatusCode::OK, &shown)
}

/// `{"RoleId","Permissions"}`: 201.
pub async fn create(
    State(authority): State<Arc<Authority>>,
    session: Session,
    places: Places,
    mut body: Body,
) -> Answer {
    session.require(Rank::Admin)?;
    let app = places.app(&session)?;
    let role = body.read("RoleId", acl::read_role);
    let role = body.require("RoleId", role);
    put(authority, session, app, role, body, StatusCode::CREATED).await
}

/// `{"Permissions"}`.
pub async fn set(State(authority): State<Arc<Authority>>, session: Session, places: Places, mut body: Body) -> Answer {
    session.require(Rank::Admin)?;
    let app = places.app(&session)?;
    let role = acl::read_role(&Value::from(places.text("role"))).map_err(|_| Refused::NotFound)?;
    if body.read("RoleId", acl::read_role).is_some_and(|named| named != role) {
        body.refuse::<()>("RoleId", "The RoleId field is not the one of the address.".into());
    }
    put(authority, session, app, Some(role), body, StatusCode::OK).await
}

async fn put(
    authority: Arc<Authority>,
    session: Session,
    app: AppId,
    role: Option<String>,
    mut body: Body,
    status: StatusCode,
) -> Answer {
    let permissions = body.read("Permissions", acl::read_permissions);
    let permissions = body.require("Permissions", permissions);
    body.check()?;
    let (Some(role), Some(permissions)) = (role, permissions) else { return Err(body.problem()) };
    let shown = blocking(move || {
        change(&authority, &session, &app, &role, Some(permissions))?;
        Ok::<_, Refused>(Shown { role_id: role, permissions: permissions.0 })
    });
    ok(status, &shown.await?)
}

/// Takes a role away from the application and from all its partitions.
pub async fn remove(State(authority): State<Arc<Authority>>, session: Session, places: Places) -> Answer {
    session.require(Rank::Admin)?;
    let app = places.app(&session)?;
    let role = places.text("role").to_owned();
    blocking(move || {
        let known = applications::roles(&authority, &app)?.0.iter().any(|(listed, _)| *listed == role);
        if known { change(&authority, &session, &app, &role, None) } else { Err(Refused::NotFound) }
    })
    .await?;
    nothing()
}

fn change(
    authority: &Authority,
    session: &Session,
    app: &AppId,
    role: &str,
    permissions: Option<Permissions>,
) -> Result<(), Refused> {
    let what = if permissions.is_some() { "role.set" } else { "role.remove" };
    let on = format!("app:{} {role}", app.as_str());
    let act = Act { who: &session.name, what, on: &on };
    authority.audit.around(&act, || applications::change_role(authority, app, role, permissions))
}
