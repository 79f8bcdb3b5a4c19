//! Every call: who may make it, what it takes, what it gives. Held against by [`super::admit`], written out by [`super::document`].

use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::super::identity::Identity;
use super::shapes::{
    ApiKey, App, Epoch, List, NewApiKey, NewApp, NewAppState, NewPartition, NewPassword, NewRole, NewState, NewUser,
    NewUserRole, Partition, Role, Rollover, ShownApiKey, User,
};

/// Who may make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// `auditor`, `operator` and `admin`.
    Reading,
    /// `operator` and `admin`.
    Operating,
    /// `admin` alone.
    Administering,
}

impl Needs {
    pub fn is_met_by(self, identity: &Identity) -> bool {
        self.roles().contains(&identity.caller.role.as_str())
    }

    pub fn roles(self) -> &'static [&'static str] {
        match self {
            Self::Reading => &["auditor", "operator", "admin"],
            Self::Operating => &["operator", "admin"],
            Self::Administering => &["admin"],
        }
    }
}

/// One call.
pub struct Call {
    pub method: Method,
    pub path: &'static str,
    /// Its name in the document.
    pub id: &'static str,
    pub summary: &'static str,
    pub needs: Needs,
    pub takes: Option<Shape>,
    /// Status and body of the answer when all is well.
    pub gives: (u16, Option<Shape>),
    /// Whether it is a page of a list.
    pub paged: bool,
    /// Whether `If-Match` and `ETag` mean something.
    pub versioned: bool,
}

/// Writes a type's schema.
pub type Shape = fn(&mut SchemaGenerator) -> Schema;

/// The call of this method on this route.
pub fn find(method: &Method, path: &str) -> Option<Call> {
    all().into_iter().find(|call| call.method == *method && call.path == path)
}

/// The methods of this route, as `Allow` lists them.
pub fn methods(path: &str) -> String {
    let found = all().into_iter().filter(|call| call.path == path);
    let mut methods: Vec<String> = found.map(|call| call.method.to_string()).collect();
    if methods.iter().any(|method| method == "GET") {
        methods.push("HEAD".into());
    }
    methods.join(", ")
}

/// All of them.
pub fn all() -> Vec<Call> {
    use Needs::{Administering, Operating};
    vec![
        get("/manage/v1/partitions", "listPartitions", "Lists partitions").paged::<List<Partition>>(),
        post("/manage/v1/partitions", "createPartition", "Makes a partition", Administering)
            .takes::<NewPartition>()
            .gives::<Partition>(201),
        get("/manage/v1/partitions/{partition}", "showPartition", "Shows a partition")
            .gives::<Partition>(200)
            .versioned(),
        put("/manage/v1/partitions/{partition}/state", "setPartitionState", "Sets a partition's state", Operating)
            .takes::<NewState>()
            .gives::<Partition>(200)
            .versioned(),
        post(
            "/manage/v1/partitions/{partition}/rollover",
            "rollPartition",
            "Begins new epochs of a partition",
            Operating,
        )
        .takes::<Rollover>()
        .gives::<Partition>(200),
        get("/manage/v1/partitions/{partition}/epochs", "listEpochs", "Lists a partition's epochs")
            .paged::<List<Epoch>>(),
        put(
            "/manage/v1/partitions/{partition}/roles/{role}",
            "setRole",
            "Sets what a role may do in a partition",
            Administering,
        )
        .takes::<NewRole>()
        .gives::<Role>(200)
        .versioned(),
        delete(
            "/manage/v1/partitions/{partition}/roles/{role}",
            "removeRole",
            "Takes a role away from a partition",
            Administering,
        )
        .versioned(),
        get("/manage/v1/apps", "listApps", "Lists applications").paged::<List<App>>(),
        post("/manage/v1/apps", "createApp", "Makes an application", Administering).takes::<NewApp>().gives::<App>(201),
        get("/manage/v1/apps/{app}", "showApp", "Shows an application").gives::<App>(200),
        put(
            "/manage/v1/apps/{app}/state",
            "setAppState",
            "Pauses or resumes an application with all its partitions",
            Operating,
        )
        .takes::<NewAppState>()
        .gives::<App>(200),
        get("/manage/v1/apikeys", "listApiKeys", "Lists API keys").paged::<List<ApiKey>>(),
        post("/manage/v1/apikeys", "createApiKey", "Makes an API key, whose text is shown once", Administering)
            .takes::<NewApiKey>()
            .gives::<ShownApiKey>(201),
        get("/manage/v1/apikeys/{number}", "showApiKey", "Shows an API key, without its text").gives::<ApiKey>(200),
        delete("/manage/v1/apikeys/{number}", "revokeApiKey", "Takes an API key away", Administering),
        post(
            "/manage/v1/apikeys/{number}/refresh",
            "refreshApiKey",
            "Gives an API key another text, shown once",
            Administering,
        )
        .gives::<ShownApiKey>(200),
        get("/manage/v1/users", "listUsers", "Lists users").paged::<List<User>>(),
        post("/manage/v1/users", "createUser", "Makes a user", Administering).takes::<NewUser>().gives::<User>(201),
        get("/manage/v1/users/{user}", "showUser", "Shows a user").gives::<User>(200),
        delete("/manage/v1/users/{user}", "deleteUser", "Deletes a user", Administering),
        put(
            "/manage/v1/users/{user}/password",
            "setPassword",
            "Gives a user another password, and ends all sessions",
            Administering,
        )
        .takes::<NewPassword>(),
        put(
            "/manage/v1/users/{user}/role",
            "setUserRole",
            "Gives a user another role, and ends all sessions",
            Administering,
        )
        .takes::<NewUserRole>()
        .gives::<User>(200),
        delete("/manage/v1/users/{user}/sessions", "endSessions", "Ends all sessions of a user", Administering),
    ]
}

impl Call {
    fn takes<T: JsonSchema>(self) -> Self {
        Self { takes: Some(SchemaGenerator::subschema_for::<T>), ..self }
    }

    fn gives<T: JsonSchema>(self, status: u16) -> Self {
        Self { gives: (status, Some(SchemaGenerator::subschema_for::<T>)), ..self }
    }

    fn paged<T: JsonSchema>(self) -> Self {
        Self { paged: true, ..self.gives::<T>(200) }
    }

    fn versioned(self) -> Self {
        Self { versioned: true, ..self }
    }
}

fn get(path: &'static str, id: &'static str, summary: &'static str) -> Call {
    call(Method::GET, path, id, summary, Needs::Reading)
}

fn post(path: &'static str, id: &'static str, summary: &'static str, needs: Needs) -> Call {
    call(Method::POST, path, id, summary, needs)
}

fn put(path: &'static str, id: &'static str, summary: &'static str, needs: Needs) -> Call {
    call(Method::PUT, path, id, summary, needs)
}

fn delete(path: &'static str, id: &'static str, summary: &'static str, needs: Needs) -> Call {
    call(Method::DELETE, path, id, summary, needs)
}

fn call(method: Method, path: &'static str, id: &'static str, summary: &'static str, needs: Needs) -> Call {
    Call { method, path, id, summary, needs, takes: None, gives: (204, None), paged: false, versioned: false }
}
