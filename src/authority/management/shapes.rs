//! What goes over the wire, and its JSON Schema.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use super::super::apps;
use super::super::credentials::{self, Purpose};
use super::super::lifecycle;
use super::bits;
use crate::crypto::hex::encode as hex;
use crate::crypto::kem::KemSuite;
use crate::directory::Entry;
use crate::keyring::{EpochInfo, Kind, PartitionInfo, Permissions, RecipientInfo, State};
use crate::secret::SecretBytes;

/// Which part of a list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    /// Where to go on: `next` of the page before.
    pub after: Option<String>,
    /// How many at most.
    #[schemars(range(min = 1, max = 200))]
    pub limit: Option<u16>,
}

/// A page of a list.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub struct List<T> {
    /// In order.
    pub items: Vec<T>,
    /// The `after` of the next page; null: this is the last.
    pub next: Option<String>,
}

impl<T> List<T> {
    /// A page of at most `limit`, whose last item goes by this name.
    pub fn new(items: Vec<T>, limit: usize, name: impl Fn(&T) -> String) -> Self {
        let next = if items.len() < limit { None } else { items.last().map(name) };
        Self { items, next }
    }
}

/// A partition.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Partition {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: StateWord,
    /// Grows with every change; also the `ETag`.
    pub version: u64,
    /// How many epochs it has.
    pub epochs: usize,
    /// Those that are sealed under now.
    pub current: Vec<Epoch>,
    /// What each role may do; a role that is not listed may do nothing.
    pub roles: Vec<Role>,
    /// Who can open its values.
    pub recipients: Vec<Recipient>,
    /// Ids of the keys that may sign values (hex).
    pub signers: Vec<String>,
}

impl From<&PartitionInfo> for Partition {
    fn from(info: &PartitionInfo) -> Self {
        Self {
            name: info.name.to_string(),
            state: info.state.into(),
            version: info.version,
            epochs: info.epochs,
            current: info.current.iter().map(|epoch| Epoch::new(epoch, true)).collect(),
            roles: info.roles.iter().map(|(role, permissions)| Role::new(role, *permissions)).collect(),
            recipients: info.recipients.iter().map(Recipient::from).collect(),
            signers: info.signers.iter().map(|id| hex(id)).collect(),
        }
    }
}

/// The state of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "State")]
pub enum StateWord {
    /// Seals and opens.
    Active,
    /// Opens only.
    DecryptOnly,
    /// Neither, until resumed.
    Paused,
    /// Neither, for good.
    Destroyed,
}

impl From<State> for StateWord {
    fn from(state: State) -> Self {
        match state {
            State::Active => Self::Active,
            State::DecryptOnly => Self::DecryptOnly,
            State::Paused => Self::Paused,
            State::Destroyed => Self::Destroyed,
        }
    }
}

/// An epoch: one data key of a partition.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Epoch {
    /// Its name (hex).
    pub id: String,
    /// What it seals.
    pub kind: KindWord,
    /// When it was made (Unix seconds).
    pub created: u64,
    /// Until when it seals (Unix seconds); null: no end.
    pub not_after: Option<u64>,
    /// Whether it is sealed under now.
    pub current: bool,
}

impl Epoch {
    pub fn new(info: &EpochInfo, current: bool) -> Self {
        Self {
            id: info.id.to_string(),
            kind: info.kind.into(),
            created: info.created,
            not_after: (info.not_after > 0).then_some(info.not_after),
            current,
        }
    }
}

/// What an epoch seals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Kind")]
pub enum KindWord {
    /// Random tokens, shared by all processes.
    Random,
    /// Deterministic tokens.
    Deterministic,
    /// Random tokens of one process.
    Private,
}

impl From<Kind> for KindWord {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Random => Self::Random,
            Kind::Deterministic => Self::Deterministic,
            Kind::Private => Self::Private,
        }
    }
}

/// A key that can open a partition's values.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Recipient {
    /// How data keys are encapsulated to it.
    pub suite: String,
    /// Names its encapsulation key (hex).
    pub id: String,
    /// Whether its private key is in this keyring.
    pub ours: bool,
    /// The profile whose managed API holds its private half.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

impl From<&RecipientInfo> for Recipient {
    fn from(info: &RecipientInfo) -> Self {
        let suite = info.suite.map_or("managed", KemSuite::name);
        Self { suite: suite.to_owned(), id: hex(&info.id), ours: info.ours, profile: info.profile.clone() }
    }
}

/// What a role may do in a partition.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Role {
    /// Its name.
    pub role: String,
    /// The permission bits as a number.
    pub permissions: u32,
    /// The same by name.
    pub names: Vec<String>,
}

impl Role {
    pub fn new(role: &str, permissions: Permissions) -> Self {
        let names = bits::names(permissions).into_iter().map(str::to_owned).collect();
        Self { role: role.to_owned(), permissions: permissions.0, names }
    }
}

/// A new partition.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPartition {
    /// Its name.
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[A-Za-z0-9._%-]{1,255}$"))]
    pub name: String,
}

/// Another state for a partition.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewState {
    /// The state.
    pub state: SettableState,
}

/// A state that can be set and undone.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SettableState {
    /// Seals and opens.
    Active,
    /// Opens only.
    DecryptOnly,
    /// Neither, until resumed.
    Paused,
}

impl SettableState {
    pub fn state(self) -> State {
        match self {
            Self::Active => State::Active,
            Self::DecryptOnly => State::DecryptOnly,
            Self::Paused => State::Paused,
        }
    }
}

/// Which epochs are rolled.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollover {
    /// Rolling deterministic ones ends equality with older tokens.
    #[schemars(length(min = 1, max = 2))]
    pub kinds: Vec<RollableKind>,
}

/// A kind of epochs that processes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RollableKind {
    /// Of random tokens.
    Random,
    /// Of deterministic tokens.
    Deterministic,
}

/// Something that will be destroyed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Destruction {
    /// `partition:NAME` or `epoch:ID`.
    pub what: String,
    /// The partition, or the epoch's.
    pub partition: String,
    /// From when (Unix seconds).
    pub due: u64,
    /// Who asked for it.
    pub asked_by: String,
}

impl From<lifecycle::Destruction> for Destruction {
    fn from(pending: lifecycle::Destruction) -> Self {
        let lifecycle::Destruction { what, partition, due, asked_by, .. } = pending;
        Self { what, partition, due, asked_by }
    }
}

/// Asks for a destruction.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDestruction {
    /// The name of what is to be destroyed, once more.
    pub confirm: String,
    /// How many days it can be called off; left out: 7.
    #[schemars(range(min = 1, max = 365))]
    pub wait_days: Option<u64>,
}

/// What a role may do from now on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRole {
    /// The bits, as a number or by name.
    pub permissions: Bits,
}

/// Permission bits.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Bits {
    Number(u32),
    Names(Vec<String>),
}

impl JsonSchema for Bits {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Permissions".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<_> = bits::NAMES.iter().map(|(_, name)| *name).collect();
        json_schema!({
            "description": "Permission bits, as their sum or by name.",
            "oneOf": [
                { "type": "integer", "minimum": 0, "maximum": 0xf_07ff },
                { "type": "array", "items": { "enum": names }, "maxItems": names.len() },
            ],
        })
    }
}

/// An application.
#[derive(Debug, Serialize, JsonSchema)]
pub struct App {
    /// The first part of its partitions' names.
    pub id: String,
    /// What people call it.
    pub label: String,
    /// Its state.
    pub state: AppState,
    /// When it was made (Unix seconds).
    pub created: u64,
}

impl From<apps::App> for App {
    fn from(app: apps::App) -> Self {
        let state = if app.paused { AppState::Paused } else { AppState::Active };
        Self { id: app.id, label: app.label, state, created: app.created }
    }
}

/// The state of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AppState {
    /// Its partitions are as they are.
    Active,
    /// All of them are paused, and no more are made.
    Paused,
}

/// A new application.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApp {
    /// The first part of its partitions' names.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$"))]
    pub id: String,
    /// What people call it.
    #[schemars(length(min = 1, max = 200))]
    pub label: String,
}

/// Another state for an application.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAppState {
    /// The state.
    pub state: AppState,
}

/// An API key, without its text.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ApiKey {
    /// What people and the audit log call it.
    pub number: u64,
    /// What it is for.
    pub purpose: PurposeWord,
    /// What people call it.
    pub label: String,
    /// The application it is bound to.
    pub app: Option<String>,
    /// The partition it is bound to.
    pub partition: Option<String>,
    /// Of a management key `admin`, `operator` or `auditor`, else the role in partitions.
    pub role: String,
    /// When it was made (Unix seconds).
    pub created: u64,
    /// When it ends (Unix seconds); null: never.
    pub expires: Option<u64>,
}

impl From<Entry<credentials::ApiKey>> for ApiKey {
    fn from(entry: Entry<credentials::ApiKey>) -> Self {
        Self::new(entry.value, entry.expires)
    }
}

impl ApiKey {
    pub fn new(key: credentials::ApiKey, expires: u64) -> Self {
        Self {
            number: key.number,
            purpose: key.purpose.into(),
            label: key.label,
            app: key.app,
            partition: key.partition,
            role: key.role,
            created: key.created,
            expires: (expires > 0).then_some(expires),
        }
    }
}

/// An API key with its text, which is shown this once.
#[derive(Serialize, JsonSchema)]
pub struct ShownApiKey {
    /// The text that its holder sends.
    pub key: String,
    /// Further secrets that its holder needs, by name.
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    pub secrets: serde_json::Map<String, serde_json::Value>,
    /// The key.
    #[serde(flatten)]
    pub about: ApiKey,
}

/// What an API key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Purpose")]
pub enum PurposeWord {
    /// This interface.
    Management,
    /// A sidecar.
    Sidecar,
    /// A sidecar that only encrypts.
    EncryptOnly,
    /// A partner at the Crittora interface; needs `partition`.
    Crittora,
    /// The Crypteron interface.
    Crypteron,
    /// The NAVER Cloud KMS interface.
    NcloudKms,
    /// The ExeQuantum interface.
    Exequantum,
}

macro_rules! same_words {
    ($($name:ident),*) => {
        impl From<Purpose> for PurposeWord {
            fn from(purpose: Purpose) -> Self {
                match purpose { $(Purpose::$name => Self::$name),* }
            }
        }
        impl PurposeWord {
            pub fn purpose(self) -> Purpose {
                match self { $(Self::$name => Purpose::$name),* }
            }
        }
    };
}
same_words!(Management, Sidecar, EncryptOnly, Crittora, Crypteron, NcloudKms, Exequantum);

/// A new API key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    /// What it is for.
    pub purpose: PurposeWord,
    /// What people call it.
    #[schemars(length(min = 1, max = 200))]
    pub label: String,
    /// Binds it to an application.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$"))]
    pub app: Option<String>,
    /// Binds it to a partition.
    #[schemars(regex(pattern = r"^[A-Za-z0-9._%-]{1,255}$"))]
    pub partition: Option<String>,
    /// Of a management key `admin`, `operator` or `auditor`; else the role in partitions, `default` if it is left out.
    #[schemars(regex(pattern = r"^[A-Za-z0-9._:-]{1,64}$"))]
    pub role: Option<String>,
    /// When it ends (Unix seconds); left out: never.
    pub expires: Option<u64>,
}

/// A user.
#[derive(Debug, Serialize, JsonSchema)]
pub struct User {
    /// The name it logs in with.
    pub name: String,
    /// The role in partitions.
    pub role: String,
}

impl From<credentials::User> for User {
    fn from(user: credentials::User) -> Self {
        Self { name: user.name, role: user.role }
    }
}

/// A new user.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// The name it logs in with.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// The password.
    pub password: Password,
    /// The role in partitions, `default` if it is left out.
    #[schemars(regex(pattern = r"^[A-Za-z0-9._:-]{1,64}$"))]
    pub role: Option<String>,
}

/// Another password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// The password.
    pub password: Password,
}

/// Another role of a user.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUserRole {
    /// The role in partitions.
    #[schemars(regex(pattern = r"^[A-Za-z0-9._:-]{1,64}$"))]
    pub role: String,
}

/// A password, wiped from memory after use.
pub struct Password(pub SecretBytes);

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(SecretBytes::new(text.into_bytes())))
    }
}

impl JsonSchema for Password {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Password".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "8 to 1024 bytes of UTF-8.",
            "type": "string", "format": "password", "writeOnly": true, "minLength": 8, "maxLength": 1024,
        })
    }
}
