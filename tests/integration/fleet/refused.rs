//! One table over all routes of all listeners: whoever shows no credential, or not the right one, is refused. The routes are those
//! of the listeners' own OpenAPI documents, so that none that is added can be forgotten.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sidecloak::authority::ncloud_kms;
use sidecloak::clock::{Clock, SystemClock};
use sidecloak::crypto::base64;

use super::{Cluster, Fleet, PASSWORD, Service, until};

const PURPOSES: [&str; 7] =
    ["management", "sidecar", "encrypt-only", "crittora", "crypteron", "ncloud-kms", "exequantum"];

type Headers = Vec<(String, String)>;

struct Route {
    listener: &'static str,
    method: String,
    /// With something in place of each parameter.
    path: String,
    /// Answers with events without end.
    streams: bool,
}

impl Route {
    /// What a key for it is made for.
    fn purpose(&self) -> &'static str {
        match self.listener {
            "authority" if self.path.starts_with("/manage") => "management",
            "authority" => "sidecar",
            other => other,
        }
    }

    fn wants_a_refresh_token(&self) -> bool {
        self.path.ends_with("/access-token") || (self.method == "PUT" && self.path.ends_with("/token-set"))
    }

    /// Asked by those who have nothing to show yet: what they send is looked at itself.
    fn is_public(&self) -> bool {
        (self.listener, self.path.as_str()) == ("crittora", "/") || self.path.ends_with("openapi.json")
    }
}

/// A text in the place of keys that is none.
fn garbage() -> Value {
    let text = "garbage-garbage-garbage-garbage-garbage-gar-1";
    json!({ "key": text, "secrets": { "access_key": "x", "secret_key": "x" } })
}

struct Stage {
    fleet: Fleet,
    one: Service,
    /// Of the log-in of a user.
    id_token: String,
}

impl Stage {
    fn new() -> Option<Self> {
        let fleet = Fleet::new(&Cluster::shared()?.database());
        let one = fleet.authority("").started();
        fleet.user("alice", "default");
        let headers = [("x-amz-target", "AWSCognitoIdentityProviderService.InitiateAuth")];
        let parameters = json!({ "USERNAME": "alice", "PASSWORD": PASSWORD });
        let body = json!({ "ClientId": "any", "AuthFlow": "USER_PASSWORD_AUTH", "AuthParameters": parameters });
        let (status, answer) = fleet.call(one.face("crittora"), "POST", "/", &headers, &body);
        assert_eq!(status, 200, "{answer}");
        let id_token = answer["AuthenticationResult"]["IdToken"].as_str().unwrap().to_owned();
        Some(Self { fleet, one, id_token })
    }

    fn address(&self, listener: &str) -> std::net::SocketAddr {
        if listener == "authority" { self.one.front } else { self.one.face(listener) }
    }

    fn key(&self, purpose: &str, role: &str) -> Value {
        let mut args = vec!["--purpose", purpose, "--label", "table", "--role", role];
        if purpose == "crittora" {
            args.extend(["--partition", "customers"]);
        }
        self.fleet.key(&args)
    }

    /// One that may do what a key of its purpose can.
    fn own_key(&self, purpose: &str) -> Value {
        let role = if ["management", "crypteron", "ncloud-kms"].contains(&purpose) { "admin" } else { "default" };
        self.key(purpose, role)
    }

    fn routes(&self) -> Vec<Route> {
        let mut routes = Vec::new();
        for listener in ["authority", "crittora", "crypteron", "ncloud-kms", "exequantum"] {
            let (status, document) = self.fleet.call(self.address(listener), "GET", "/openapi.json", &[], &Value::Null);
            assert_eq!(status, 200, "{listener}");
            let base = document["servers"][0]["url"].as_str().unwrap_or("").trim_end_matches('/').to_owned();
            for (path, operations) in document["paths"].as_object().unwrap() {
                let filled = path.split('/').map(|piece| match piece {
                    "{name}" | "{partition}" => "customers",
                    piece if piece.starts_with('{') => "999999",
                    piece => piece,
                });
                let path = format!("{base}{}", filled.collect::<Vec<_>>().join("/"));
                for (method, operation) in operations.as_object().unwrap() {
                    if !["get", "put", "post", "delete", "patch"].contains(&method.as_str()) {
                        continue;
                    }
                    let streams = operation["responses"]["200"]["content"].get("text/event-stream").is_some();
                    routes.push(Route { listener, method: method.to_uppercase(), path: path.clone(), streams });
                }
            }
        }
        routes
    }

    /// All ways in which a caller of this route can show this key.
    fn showing(&self, route: &Route, key: &Value) -> Vec<Headers> {
        let text = key["key"].as_str().unwrap();
        let secret = |name: &str| key["secrets"][name].as_str().unwrap_or(text);
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let authorization = |value: String| vec![header("authorization", &value)];
        match route.listener {
            "crittora" => {
                let partner = [
                    header("username", "alice"),
                    header("password", PASSWORD),
                    header("api_key", text),
                    header("access_key", secret("access_key")),
                    header("secret_key", secret("secret_key")),
                ];
                [text, &self.id_token]
                    .map(|bearer| [&partner[..], &authorization(format!("Bearer {bearer}"))].concat())
                    .to_vec()
            }
            "crypteron" => {
                let basic = base64::encode(format!(":{text}").as_bytes());
                vec![authorization(format!("Basic {basic}")), authorization(format!("Bearer {text}"))]
            }
            "ncloud-kms" => {
                let time = (SystemClock.now() * 1000).to_string();
                let signature = ncloud_kms::sign(&route.method, &route.path, &time, text, secret("secret_key"));
                let signed = vec![
                    header("x-ncp-apigw-timestamp", &time),
                    header("x-ncp-iam-access-key", text),
                    header("x-ncp-apigw-signature-v2", &signature),
                ];
                vec![signed, vec![header("x-ncp-ocapi-token", text)]]
            }
            "exequantum" => ["auth_token", "bearer"].map(|scheme| authorization(format!("{scheme} {text}"))).to_vec(),
            _ => vec![authorization(format!("Bearer {text}"))],
        }
    }

    fn ask(&self, route: &Route, headers: &Headers) -> (u16, Value) {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let body = if route.method == "GET" { Value::Null } else { json!({}) };
        self.fleet.call(self.address(route.listener), &route.method, &route.path, &headers, &body)
    }

    /// What an answer says that should be a refusal.
    fn complaint(&self, route: &Route, who: &str, headers: &Headers) -> Option<String> {
        let (status, answer) = self.ask(route, headers);
        let right = if route.is_public() { &[200, 400][..] } else { &[401, 403, 404] };
        (!right.contains(&status))
            .then(|| format!("{} {} {} as {who}: {status} {answer}", route.listener, route.method, route.path))
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "how much was asked is told")]
fn whoever_does_not_show_the_right_credential_is_refused_everywhere() {
    let Some(stage) = Stage::new() else { return };
    let routes = stage.routes();
    let keys: BTreeMap<&str, Value> = PURPOSES.into_iter().map(|purpose| (purpose, stage.own_key(purpose))).collect();

    // The table's other side: what is shown rightly is understood, so that the refusals below are not those of a wrong question.
    let mut wrong = Vec::new();
    for route in routes.iter().filter(|route| !route.streams && !route.wants_a_refresh_token()) {
        let all = stage.showing(route, &keys[route.purpose()]);
        let answers: Vec<(u16, Value)> = all.iter().map(|headers| stage.ask(route, headers)).collect();
        if answers.iter().all(|(status, _)| *status == 401) || answers.iter().any(|(status, _)| *status >= 500) {
            wrong.push(format!("{} {} {} as itself: {answers:?}", route.listener, route.method, route.path));
        }
    }
    let revoked: BTreeMap<&str, Value> =
        PURPOSES.into_iter().map(|purpose| (purpose, stage.own_key(purpose))).collect();
    for (purpose, key) in &revoked {
        // Used, so that it is remembered.
        if let Some(route) =
            routes.iter().find(|route| route.purpose() == *purpose && !route.is_public() && !route.streams)
        {
            stage.showing(route, key).iter().for_each(|headers| drop(stage.ask(route, headers)));
        }
        stage.fleet.at(&stage.one, &["apikeys", "revoke", &key["number"].to_string()]).ends(0);
    }
    for route in routes.iter().filter(|route| !route.is_public() && !route.streams) {
        let all = stage.showing(route, &revoked[route.purpose()]);
        let refused = || all.iter().all(|headers| [401, 403].contains(&stage.ask(route, headers).0));
        if !refused() {
            until(&format!("{} {} after a revocation", route.method, route.path), refused);
        }
    }

    let mut asked = 0;
    for route in &routes {
        let mut identities = vec![("nobody".to_owned(), vec![Vec::new()])];
        identities.push(("garbage".into(), stage.showing(route, &garbage())));
        identities.push(("revoked".into(), stage.showing(route, &revoked[route.purpose()])));
        for (purpose, key) in &keys {
            let own = [route.purpose(), if route.purpose() == "sidecar" { "encrypt-only" } else { "" }];
            if !own.contains(purpose) {
                identities.push(((*purpose).to_owned(), stage.showing(route, key)));
            }
        }
        for (who, all) in identities {
            for headers in all {
                asked += 1;
                wrong.extend(stage.complaint(route, &who, &headers));
            }
        }
    }
    println!("{} routes, {asked} questions", routes.len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    for (listener, least) in
        [("authority", 40), ("crittora", 9), ("crypteron", 15), ("ncloud-kms", 26), ("exequantum", 14)]
    {
        let count = routes.iter().filter(|route| route.listener == listener).count();
        assert!(count >= least, "{listener} documents {count} routes");
    }
}

#[test]
fn who_may_only_look_changes_nothing() {
    let Some(stage) = Stage::new() else { return };
    let mut wrong = Vec::new();
    let auditors = ["management", "crypteron"].map(|purpose| (purpose, stage.key(purpose, "auditor")));
    for route in stage.routes().iter().filter(|route| route.method != "GET" && !route.path.ends_with("/token")) {
        for (_, key) in auditors.iter().filter(|(purpose, _)| *purpose == route.purpose()) {
            for headers in stage.showing(route, key) {
                wrong.extend(stage.complaint(route, "auditor", &headers));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// What the vendor documents: a managed call with a wrong password is its 500, and says nothing else.
#[test]
fn a_wrong_password_is_crittoras_500_and_nothing_more() {
    let Some(stage) = Stage::new() else { return };
    let key = stage.own_key("crittora");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let keys = [text(&key["key"]), text(&key["secrets"]["access_key"]), text(&key["secrets"]["secret_key"])];
    let headers = [
        ("username", "mallory"),
        ("password", "wrong-wrong"),
        ("api_key", &keys[0]),
        ("access_key", &keys[1]),
        ("secret_key", &keys[2]),
    ];
    let at = stage.one.face("crittora");
    let (status, answer) = stage.fleet.call(at, "POST", "/v1/encrypt", &headers, &json!({ "data": "x" }));
    assert_eq!((status, &answer["message"]), (500, &json!("Username and/or Password Incorrect")));
}
