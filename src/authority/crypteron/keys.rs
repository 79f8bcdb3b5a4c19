//! `/v1/keys`: security partitions.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::IntoResponse;
use http::{HeaderValue, StatusCode, header};

use super::acl;
use super::answer::{Answer, Problem, nothing, ok};
use super::applications;
use super::assumed;
use super::body::Body;
use super::entity::{Entity, Shown};
use super::fate;
use super::names::AppId;
use super::session::{Places, Rank, Session, query};
use crate::audit::Act;
use crate::authority::lifecycle::Kinds;
use crate::authority::{Authority, Refused, blocking};
use crate::keyring::{KeyringError, Permissions, State as PartitionState};
use crate::name::PartitionName;

/// Lost races before we give up.
const ATTEMPTS: usize = 4;

/// What a body says of a key; `None` and `Some(None)`: it says nothing, or null.
#[derive(Debug, Default)]
struct Changes {
    description: Option<Option<String>>,
    rollover_days: Option<u64>,
    roles: Option<Vec<(String, Permissions)>>,
}

impl Changes {
    fn read(body: &mut Body) -> Self {
        let said = body.names("Description");
        let description = body.text("Description", assumed::DESCRIPTION);
        Self {
            description: said.then_some(description),
            rollover_days: if body.names("RolloverDays") {
                let null = body.number("RolloverDays", assumed::MOST_DAYS);
                Some(null.unwrap_or(0))
            } else {
                None
            },
            roles: body.read("AccessControlEntries", acl::read),
        }
    }

    /// Who may see partitions' values is for admins to say.
    fn rank(&self, otherwise: Rank) -> Rank {
        if self.roles.is_some() { Rank::Admin } else { otherwise }
    }

    /// Rolls by itself from now on, unless it does so already.
    fn schedule(
        &self,
        authority: &Authority,
        session: &Session,
        partition: &PartitionName,
        before: u64,
    ) -> Result<(), Refused> {
        match self.rollover_days {
            Some(days) if days != before => fate::schedule(authority, &session.name, partition, days),
            _ => Ok(()),
        }
    }

    fn apply(&self, entity: &mut Entity) {
        if let Some(description) = &self.description {
            entity.description.clone_from(description);
        }
        entity.rollover_days = self.rollover_days.unwrap_or(entity.rollover_days);
    }
}

/// Those that the caller sees; of one application with `?appId=`, of one name with `&secPartId=`.
pub async fn list(State(authority): State<Arc<Authority>>, session: Session, RawQuery(asked): RawQuery) -> Answer {
    session.require(Rank::Auditor)?;
    let (asked, sec_part) = (query(asked.as_deref(), "appId"), query(asked.as_deref(), "secPartId"));
    let app = match asked.as_deref().or_else(|| session.app()) {
        Some(text) => Some(AppId::parse(text).map_err(|error| Problem::member("AppId", error))?),
        None => None,
    };
    app.as_ref().map_or(Ok(()), |app| session.require_app(app))?;
    let one = match (&app, &sec_part) {
        (Some(app), Some(id)) => Some(app.partition(id).map_err(|error| Problem::member("SecPartId", error))?),
        _ => None,
    };
    let shown = blocking(move || {
        let mut all = match one {
            Some(partition) => {
                Entity::of(&authority, &partition)?.into_iter().filter(|entity| !entity.deleted).collect()
            }
            None => Entity::list(&authority, app.as_ref())?,
        };
        all.retain(|entity| sec_part.as_ref().is_none_or(|id| entity.sec_part == *id));
        all.into_iter().map(|entity| entity.show(&authority)).collect::<Result<Vec<_>, Problem>>()
    });
    ok(StatusCode::OK, &shown.await?)
}

/// Makes a key, or, of a pair that there is, a new version: 201 either way.
pub async fn create(State(authority): State<Arc<Authority>>, session: Session, mut body: Body) -> Answer {
    let app = body.read("AppId", AppId::read);
    let app = body.require("AppId", app);
    let sec_part = body.text("SecPartId", usize::MAX);
    let sec_part = body.require("SecPartId", sec_part);
    let partition = match (&app, &sec_part) {
        (Some(app), Some(sec_part)) => match app.partition(sec_part) {
            Ok(partition) => Some(partition),
            Err(error) => body.refuse("SecPartId", error),
        },
        _ => None,
    };
    let changes = Changes::read(&mut body);
    session.require(changes.rank(Rank::Operator))?;
    body.check()?;
    let (Some(app), Some(sec_part), Some(partition)) = (app, sec_part, partition) else { return Err(body.problem()) };
    session.require_app(&app)?;
    let shown = blocking(move || {
        for _ in 0..ATTEMPTS {
            if applications::known(&authority, &app)?.paused {
                return Err(Refused::Conflict("The application is paused.".into()).into());
            }
            if Entity::of(&authority, &partition)?.is_some() {
                return roll(&authority, &session, &partition, &changes)?.show(&authority);
            }
            if let Some(entity) = make(&authority, &session, &app, &sec_part, &partition, &changes)? {
                return entity.show(&authority);
            }
        }
        Err(Problem::from(Refused::Conflict("Others make this key at the same time; try again.".into())))
    });
    created(&shown.await?)
}

/// One.
pub async fn read(State(authority): State<Arc<Authority>>, session: Session, places: Places) -> Answer {
    session.require(Rank::Auditor)?;
    let number = places.number()?;
    let shown = blocking(move || seen(&authority, &session, number)?.show(&authority));
    ok(StatusCode::OK, &shown.await?)
}

/// Changes what people wrote, the schedule and the access-control entries; a body as it was shown changes nothing else.
pub async fn update(
    State(authority): State<Arc<Authority>>,
    session: Session,
    places: Places,
    mut body: Body,
) -> Answer {
    let number = places.number()?;
    let changes = Changes::read(&mut body);
    session.require(changes.rank(Rank::Operator))?;
    let shown = blocking(move || {
        let entity = seen(&authority, &session, number)?;
        same(&mut body, &entity);
        body.check()?;
        let partition = entity.partition()?;
        let act = Act { who: &session.name, what: "partition.update", on: partition.as_str() };
        let changed = authority.audit.around(&act, || {
            if let Some(roles) = &changes.roles {
                authority.keyring.set_roles(&partition, roles)?;
            }
            changes.schedule(&authority, &session, &partition, entity.rollover_days)?;
            Entity::edit(&authority, &partition, |entity| {
                changes.apply(entity);
                Ok(())
            })
        })?;
        changed.show(&authority)
    });
    ok(StatusCode::OK, &shown.await?)
}

/// Destroys it, with a waiting period in which it is paused.
pub async fn destroy(State(authority): State<Arc<Authority>>, session: Session, places: Places) -> Answer {
    session.require(Rank::Admin)?;
    let number = places.number()?;
    blocking(move || {
        let partition = seen(&authority, &session, number)?.partition()?;
        fate::schedule(&authority, &session.name, &partition, 0)?;
        fate::destroy(&authority, &session.name, &partition)?;
        Entity::edit(&authority, &partition, |entity| {
            entity.deleted = true;
            Ok(())
        })
    })
    .await?;
    nothing()
}

/// The key of that number, if the caller sees it.
fn seen(authority: &Authority, session: &Session, number: u64) -> Result<Entity, Refused> {
    let entity = Entity::numbered(authority, number)?;
    if session.sees(&entity.app) { Ok(entity) } else { Err(Refused::NotFound) }
}

/// Refuses members that name another key than the address does.
fn same(body: &mut Body, entity: &Entity) {
    let app = body.read("AppId", AppId::read);
    if app.is_some_and(|app| app.as_str() != entity.app) {
        body.refuse::<()>("AppId", "The AppId field cannot be changed.".into());
    }
    if body.text("SecPartId", usize::MAX).is_some_and(|sec_part| sec_part != entity.sec_part) {
        body.refuse::<()>("SecPartId", "The SecPartId field cannot be changed.".into());
    }
    if body.number("KeyId", u64::MAX).is_some_and(|number| number != entity.key_id) {
        body.refuse::<()>("KeyId", "The KeyId field is not the one of the address.".into());
    }
}

/// A new key; `None` if another call was first.
fn make(
    authority: &Authority,
    session: &Session,
    app: &AppId,
    sec_part: &str,
    partition: &PartitionName,
    changes: &Changes,
) -> Result<Option<Entity>, Refused> {
    let act = Act { who: &session.name, what: "partition.create", on: partition.as_str() };
    authority.audit.around(&act, || {
        // It may be there: made by a sidecar, by hand, or by a call that broke off.
        match authority.keyring.partition(partition) {
            Ok(found) if found.state == PartitionState::Destroyed => {
                return Err(Refused::Conflict("This key was destroyed; use another SecPartId.".into()));
            }
            Ok(_) => {}
            Err(KeyringError::Unknown(_)) => match authority.create_partition(partition) {
                Ok(()) | Err(Refused::Conflict(_)) => applications::settle(authority, app, partition)?,
                Err(refused) => return Err(refused),
            },
            Err(error) => return Err(error.into()),
        }
        if let Some(roles) = &changes.roles {
            authority.keyring.set_roles(partition, roles)?;
        }
        let now = authority.clock.now();
        let mut entity = Entity {
            key_id: 0,
            app: app.as_str().to_owned(),
            sec_part: sec_part.to_owned(),
            version: 1,
            description: None,
            added_by: session.name.clone(),
            created: now,
            modified: now,
            rollover_days: 0,
            aces: Vec::new(),
            deleted: false,
        };
        changes.apply(&mut entity);
        changes.schedule(authority, session, partition, 0)?;
        entity.enter(authority, partition)
    })
}

/// A new version of a key that is there.
fn roll(
    authority: &Authority,
    session: &Session,
    partition: &PartitionName,
    changes: &Changes,
) -> Result<Entity, Refused> {
    let act = Act { who: &session.name, what: "partition.rollover", on: partition.as_str() };
    authority.audit.around(&act, || {
        let entity = Entity::of(authority, partition)?.ok_or(Refused::NotFound)?;
        if entity.deleted {
            // Somebody may have called its destruction off.
            if fate::is_doomed(authority, partition)? {
                return Err(Refused::Conflict("This key is deleted; use another SecPartId.".into()));
            }
            Entity::revive(authority, partition)?;
        }
        if let Some(roles) = &changes.roles {
            authority.keyring.set_roles(partition, roles)?;
        }
        changes.schedule(authority, session, partition, entity.rollover_days)?;
        authority.keyring.rollover(partition, Kinds::All.as_kinds())?;
        Entity::edit(authority, partition, |entity| {
            entity.version += 1;
            changes.apply(entity);
            Ok(())
        })
    })
}

fn created(shown: &Shown) -> Answer {
    let mut response = ok(StatusCode::CREATED, shown)?.into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/Keys/{}", shown.key_id())) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}
