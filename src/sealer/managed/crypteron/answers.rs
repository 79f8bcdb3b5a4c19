//! What the service answers, read member by member: of the right type, within bounds, and about what was asked, or it is a lie.
//! Nothing of it is quoted.

use serde::Deserialize;
use serde_json::Value;

use super::{ApiError, Fault, Permissions, Reply, State};

/// Access-control entries of one partition.
const ENTRIES: usize = 256;
/// Bytes of a role's name.
const ROLE: usize = 256;
/// Numbers that every server writes exactly.
const MOST: u64 = (1 << 53) - 1;

/// A security partition.
#[derive(Debug, PartialEq, Eq)]
pub struct Entity {
    /// Its KeyId.
    pub number: u64,
    pub version: u64,
    pub state: State,
    pub roles: Vec<(String, Permissions)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    key_id: u64,
    sec_part_ver: u64,
    state: Option<String>,
    access_control_entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    role_id: String,
    permissions: u32,
    key_entity_id: Option<u64>,
}

impl Entity {
    /// The one of this application and name, which the answer must be.
    pub fn read(reply: &Reply, app: &str, part: &str) -> Result<Self, ApiError> {
        let shown: Value = parse(reply)?;
        if is_of(&shown, app, part) { Self::checked(shown) } else { Err(lie("is about another partition")) }
    }

    /// The one of this application and name among many, if it is there.
    pub fn find(reply: &Reply, app: &str, part: &str) -> Result<Option<Self>, ApiError> {
        let mut found = parse::<Vec<Value>>(reply)?.into_iter().filter(|shown| is_of(shown, app, part));
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some(shown), None) => Self::checked(shown).map(Some),
            (Some(_), Some(_)) => Err(lie("lists the partition twice")),
        }
    }

    fn checked(shown: Value) -> Result<Self, ApiError> {
        let shown: Shown =
            serde_json::from_value(shown).map_err(|_| lie("has members that are missing or of a wrong type"))?;
        let version = shown.sec_part_ver;
        if !(1..=MOST).contains(&version) || !(1..=MOST).contains(&shown.key_id) {
            return Err(lie("has numbers that cannot be"));
        }
        let state = shown.state.as_deref().map_or(Some(State::Active), state_named);
        Ok(Self {
            number: shown.key_id,
            version,
            state: state.ok_or_else(|| lie("has a State that is not known"))?,
            roles: roles(shown.key_id, shown.access_control_entries)?,
        })
    }
}

/// The state of this application, which the answer must be about.
pub fn app_state(reply: &Reply, app: &str) -> Result<State, ApiError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct App {
        app_id: Value,
        state: String,
    }
    let App { app_id, state } = parse(reply)?;
    if !is_app(&app_id, app) {
        return Err(lie("is about another application"));
    }
    match state_named(&state) {
        Some(state @ (State::Active | State::Paused)) => Ok(state),
        _ => Err(lie("has a State that is not known")),
    }
}

fn roles(number: u64, entries: Vec<Entry>) -> Result<Vec<(String, Permissions)>, ApiError> {
    if entries.len() > ENTRIES {
        return Err(lie("has more than 256 access-control entries"));
    }
    let mut roles: Vec<(String, Permissions)> = Vec::with_capacity(entries.len());
    for Entry { role_id, permissions, key_entity_id } in entries {
        let fits = (1..=ROLE).contains(&role_id.len()) && !role_id.chars().any(char::is_control);
        // Which of two entries of a role counts would be a matter of taste.
        if !fits || roles.iter().any(|(role, _)| *role == role_id) {
            return Err(lie("has an access-control entry whose RoleId cannot be, or is there twice"));
        }
        if key_entity_id.is_some_and(|owner| owner != number) {
            return Err(lie("has an access-control entry of another partition"));
        }
        roles.push((role_id, Permissions(permissions)));
    }
    Ok(roles)
}

fn is_of(shown: &Value, app: &str, part: &str) -> bool {
    let member = |name: &str| shown.get(name);
    member("AppId").is_some_and(|value| is_app(value, app)) && member("SecPartId").and_then(Value::as_str) == Some(part)
}

/// An AppId is written as text or as a number.
fn is_app(value: &Value, app: &str) -> bool {
    match value {
        Value::String(text) => text == app,
        Value::Number(number) => number.as_u64().is_some_and(|number| number.to_string() == app),
        _ => false,
    }
}

fn state_named(text: &str) -> Option<State> {
    [
        ("Active", State::Active),
        ("DecryptOnly", State::DecryptOnly),
        ("Paused", State::Paused),
        ("Destroyed", State::Destroyed),
    ]
    .into_iter()
    .find_map(|(name, state)| name.eq_ignore_ascii_case(text).then_some(state))
}

fn parse<T: serde::de::DeserializeOwned>(reply: &Reply) -> Result<T, ApiError> {
    serde_json::from_slice(reply.body.expose()).map_err(|_| lie("is not the JSON that is documented"))
}

fn lie(what: &str) -> ApiError {
    ApiError::new(Fault::Lie, format!("Crypteron: the answer {what}; is the endpoint right?"))
}
