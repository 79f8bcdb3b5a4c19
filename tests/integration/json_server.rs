//! Before npm's json-server, an application that nobody here wrote and that knows nothing of tokens: what it stores and what callers
//! see, compared with what a second one answers that no proxy stands before.

#[path = "json_server/application.rs"]
pub mod application;

use std::cell::Cell;

use serde_json::{Value, json};
use sidecloak::proxy::coding::encode::Form;

use super::codings::{coded, decoded};
use super::stage::Reply;
use application::{Application, Proxy, ask_with};

const RULES: &str = r#"rules:
  - name: customers
    match: { path: ["/customers/**", "/regions/**"] }
    protect:
      - fields: ["$..ssn", "$..cards[*].pan", "$..limit", "$..address"]
      - { fields: "$..email", deterministic: true }
      - { fields: "$..iban", sign: true }
"#;

const SEALED: [&str; 6] = ["ssn", "pan", "limit", "address", "email", "iban"];

/// What sealed values contain and nothing else does.
const SECRETS: [&str; 7] = ["123-45", "987-65", "4111", "5500", "example.com", "DE0212", "Sesame"];

fn customer(name: &str, ssn: &str, email: &str, limit: i32) -> Value {
    json!({
        "name": name, "ssn": ssn, "regionId": 1, "email": email, "limit": limit, "iban": "DE02120300000000202051",
        "cards": [{ "brand": "visa", "pan": "4111111111111111" }], "tags": ["a", "ß"], "score": 0.5, "vip": true,
    })
}

#[test]
fn callers_see_what_json_server_alone_would_answer_and_its_file_holds_tokens() {
    let Some(behind) = Application::start() else { return };
    let alone = Application::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let proxy = Proxy::before(&behind, dir.path(), RULES);
    let same = |method: &str, path: &str, body: &Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (reply, direct) = (proxy.ask(method, path, &body), alone.ask(method, path, &body));
        assert_eq!(told(&reply), told(&direct), "{method} {path}");
        let keeps = reply.headers["cache-control"] != "no-store" || reply.headers.contains_key("pragma");
        assert!(!(keeps && contains_secrets(&reply.text())), "{method} {path}: {:?}", reply.headers);
        reply
    };
    let get = |path: &str| same("GET", path, &Value::Null);

    let created = same("POST", "/customers", &customer("Zoë", "123-45-6789", "zoe@example.com", 1500));
    assert_eq!(
        (created.status, json(&created)["id"].clone(), json(&created)["ssn"].clone()),
        (201, json!(1), json!("123-45-6789"))
    );
    same("POST", "/customers", &customer("Ada \"Countess\" \\", "987-65-4321", "ada@example.com", 0));
    same("POST", "/regions/2/customers", &customer("Zoë too", "123-45-6789", "zoe@example.com", -7));
    same("POST", "/customers", &json!({ "name": "nothing to seal", "ssn": null, "regionId": 1 }));
    same("POST", "/customers", &json!({ "id": "own-id", "ssn": "", "email": "ada@example.com" }));

    for path in [
        "/customers",
        "/customers/1",
        "/customers/own-id",
        "/customers/99",
        "/customers?_page=2&_limit=2",
        "/customers?_sort=name&_order=desc",
        "/customers?name_like=Zo",
        "/customers?vip=true&_start=1&_end=3",
        "/customers/1?_expand=region",
        "/regions/2/customers",
        "/regions?_embed=customers",
        "/regions",
    ] {
        get(path);
    }
    same("HEAD", "/customers/1", &Value::Null);

    same("PUT", "/customers/2", &customer("Ada", "987-65-0000", "ada@example.com", 20));
    same("PATCH", "/customers/1", &json!({ "ssn": "123-45-0000", "name": "Zoë B." }));
    same("PATCH", "/customers/1", &json!({ "cards": [{ "pan": "5500000000000004" }, { "pan": "4111111111111111" }] }));
    same("PATCH", "/customers/1", &json!({ "note": "not sealed" }));
    same("PATCH", "/customers/99", &json!({ "ssn": "987-65-0000" }));
    same("DELETE", "/customers/3", &Value::Null);
    get("/customers/3");
    let list = json(&get("/customers"));
    // What the application cannot search for, callers find in what they may read.
    let found = list.as_array().unwrap().iter().filter(|customer| customer["email"] == "ada@example.com");
    assert_eq!(found.map(|customer| customer["id"].clone()).collect::<Vec<_>>(), [json!(2), json!("own-id")]);
    assert_eq!(json(&proxy.ask("GET", "/customers?ssn=123-45-0000", "")), json!([]));

    let (file, plain) = (behind.file(), alone.file());
    assert!(plain.to_string().contains("123-45-0000"));
    assert!(!contains_secrets(&file.to_string()));
    for sealed in ["ssn", "limit", "email", "iban"] {
        assert!(file["customers"][0][sealed].as_str().unwrap().starts_with("sc1."), "{sealed}");
    }
    assert_eq!(without_sealed(file), without_sealed(plain), "all else is what it would be without a proxy");
    let (_, log) = behind.kill();
    assert!(log.contains("/customers") && !log.contains("987-65"), "{log}");
}

#[test]
fn values_outlive_a_restart_of_both() {
    let Some(behind) = Application::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let proxy = Proxy::before(&behind, dir.path(), RULES);
    for email in ["a@example.com", "b@example.com"] {
        let body = customer("Zoë", "123-45-6789", email, 9).to_string();
        assert_eq!(proxy.ask("POST", "/customers", &body).status, 201);
    }
    let before = told(&proxy.ask("GET", "/customers", ""));
    let (data, _) = behind.kill();
    let unreachable = proxy.ask("GET", "/customers", "");
    assert!(matches!(unreachable.status, 502..=504), "{}", unreachable.status);
    drop(proxy);

    let behind = Application::on(data);
    let proxy = Proxy::before(&behind, dir.path(), RULES);
    assert_eq!(told(&proxy.ask("GET", "/customers", "")), before);
    // The same value gives the same token as before, so that the application's own filter goes on finding it.
    let token = behind.file()["customers"][1]["email"].as_str().unwrap().to_owned();
    let body = customer("Bob", "987-65-4321", "b@example.com", 1).to_string();
    assert_eq!(json(&proxy.ask("POST", "/customers", &body))["id"], 3);
    let equal = json(&behind.ask("GET", &format!("/customers?email={token}"), ""));
    let ids: Vec<_> = equal.as_array().unwrap().iter().map(|customer| customer["id"].clone()).collect();
    assert_eq!(ids, [json!(2), json!(3)]);
}

#[test]
fn sealed_values_keep_the_spelling_that_json_server_would_change() {
    let Some(behind) = Application::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let proxy = Proxy::before(&behind, dir.path(), RULES);
    let spelled = [
        r#""ssn":"\u0053esame \/""#,
        r#""limit":12345678901234567890.10"#,
        r#""address":{ "zip" : 1e2, "street":"Sesame" }"#,
    ];
    let reply = proxy.ask("POST", "/customers", &format!("{{{},\"plain\":1.10}}", spelled.join(",")));
    assert_eq!(reply.status, 201);
    let text = proxy.ask("GET", "/customers/1", "").text();
    for member in spelled {
        let (name, value) = member.split_once(':').unwrap();
        assert!(text.contains(&format!("{name}: {value}")), "{member} in {text}");
    }
    assert!(
        text.contains("\"plain\": 1.1\n") || text.contains("\"plain\": 1.1,"),
        "json-server writes what is not sealed anew: {text}"
    );
    assert!(!contains_secrets(&behind.file().to_string()));
}

#[test]
fn answers_that_json_server_would_compress_are_opened() {
    let Some(behind) = Application::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let proxy = Proxy::before(&behind, dir.path(), RULES);
    for i in 0..20 {
        let body = customer("Zoë", "123-45-6789", "zoe@example.com", i).to_string();
        assert_eq!(proxy.ask("POST", "/customers", &body).status, 201);
    }
    for (accepts, coding) in [
        (Some("gzip, deflate, br"), Some("br")),
        (Some("gzip, snappy"), Some("gzip")),
        (Some("deflate"), Some("deflate")),
        (Some("snappy"), None),
        (Some("identity"), None),
        (None, None),
    ] {
        let accepting: Vec<_> = accepts.map(|accepts| ("accept-encoding", accepts)).into_iter().collect();
        let direct = ask_with(behind.address, "GET", "/customers", &accepting, "");
        let reply = ask_with(proxy.front, "GET", "/customers", &accepting, "");
        let said =
            |reply: &Reply| reply.headers.get("content-encoding").map(|coding| coding.to_str().unwrap().to_owned());
        assert_eq!((said(&direct).as_deref(), said(&reply).as_deref()), (coding, coding), "{accepts:?}");
        let plain = match coding {
            Some(coding) => decoded(coding, &reply.body).0,
            None => reply.body.clone(),
        };
        let plain = String::from_utf8(plain).unwrap();
        assert_eq!((reply.status, plain.matches("\"123-45-6789\"").count()), (200, 20));
        assert!(!plain.contains("sc1."));
    }
}

/// What json-server finds, it finds by the tokens that it holds; the links that it makes of a look-up have them as well.
#[test]
fn look_ups_links_tags_and_forms() {
    let Some(behind) = Application::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let rules = r#"rules:
  - name: customers
    match: { path: ["/customers/**", "/regions/**"] }
    protect:
      - { fields: ["$..ssn", "form:ssn"] }
      - { fields: ["$..email", "form:email", "query:email"], deterministic: true }
  - name: links
    match: { path: ["/customers/**", "/regions/**"] }
    response:
      - { open: "header:link", embedded: true, class: email }
"#;
    let proxy = Proxy::before(&behind, dir.path(), rules);
    for (name, ssn, email) in
        [("a", "1", "zoe@example.com"), ("b", "2", "ada@example.com"), ("c", "3", "zoe@example.com")]
    {
        let form = format!("name={name}&ssn={ssn}&email={}", email.replace('@', "%40"));
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let reply = ask_with(proxy.front, "POST", "/customers", &headers, form);
        assert_eq!((reply.status, &json(&reply)["email"]), (201, &json!(email)), "{}", reply.text());
    }
    assert!(!contains_secrets(&behind.file().to_string()));
    let found = |query: &str| {
        let reply = proxy.ask("GET", &format!("/customers?{query}"), "");
        let list = json(&reply);
        (reply, list.as_array().unwrap().iter().map(|c| c["ssn"].as_str().unwrap().to_owned()).collect::<Vec<_>>())
    };
    for (query, expected) in [
        ("email=zoe@example.com", &["1", "3"][..]),
        ("email=zoe%40example.com&name=c", &["3"]),
        ("email=ada@example.com&email=zoe@example.com", &["1", "2", "3"]),
        ("email=nobody@example.com", &[]),
        ("_sort=name&_order=desc&email=zoe@example.com", &["3", "1"]),
    ] {
        assert_eq!(found(query).1, expected, "{query}");
    }
    // Pages: the client follows what it is shown.
    let (reply, first) = found("email=zoe@example.com&_page=1&_limit=1");
    let links = reply.headers["link"].to_str().unwrap().to_owned();
    assert!(!links.contains("sc1.") && links.contains("email=zoe%40example.com&_page=2"), "{links}");
    let next = links.split(',').find(|link| link.contains("rel=\"next\"")).unwrap();
    let next = next.split(['?', '>']).nth(1).unwrap();
    assert_eq!((first, found(next).1), (vec!["1".to_owned()], vec!["3".to_owned()]), "{next}");

    let whole = proxy.ask("GET", "/customers/1", "");
    let tag = whole.headers["etag"].to_str().unwrap().to_owned();
    assert!(tag.starts_with("W/\"") && tag.contains("-sc1-"), "{tag}");
    let again = |headers: &[(&str, &str)]| ask_with(proxy.front, "GET", "/customers/1", headers, "");
    let unchanged = again(&[("if-none-match", &tag)]);
    assert_eq!((unchanged.status, unchanged.headers["etag"].to_str().unwrap()), (304, tag.as_str()));
    assert_eq!(proxy.ask("PATCH", "/customers/1", r#"{"ssn":"4"}"#).status, 200);
    let changed = again(&[("if-none-match", &tag)]);
    assert_eq!((changed.status, json(&changed)["ssn"].clone()), (200, json!("4")));
}

#[test]
fn what_is_refused_changes_nothing_in_json_server() {
    let Some(behind) = Application::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let proxy = Proxy::before(&behind, dir.path(), RULES);
    let body = customer("Zoë", "123-45-6789", "zoe@example.com", 5).to_string();
    assert_eq!(proxy.ask("POST", "/customers", &body).status, 201);
    let before = behind.file();
    let token = before["customers"][0]["ssn"].as_str().unwrap();
    let put_back = json!({ "ssn": token }).to_string();
    for (method, path, media_type, body, status) in [
        ("PATCH", "/customers/1", "application/json-patch+json", r#"{"ssn":"987-65-4321"}"#, 422),
        ("POST", "/customers", "application/x-www-form-urlencoded", "ssn=987-65-4321", 415),
        ("POST", "/customers", "application/json", r#"{"ssn":"987-65-4321""#, 400),
        ("POST", "/customers", "application/json", put_back.as_str(), 422),
    ] {
        let reply = ask_with(proxy.front, method, path, &[("content-type", media_type)], body.to_owned());
        assert_eq!(reply.status, status, "{method} {media_type}");
        assert_eq!(behind.file(), before, "{method} {media_type}");
    }
    // Whoever can write to the application's data moves a token to another field, or puts plaintext in its place.
    for moved in [json!({ "iban": token }), json!({ "email": token }), json!({ "ssn": "plain" })] {
        let damaged = before["customers"][0].as_object().unwrap().clone().into_iter();
        let damaged: Value =
            damaged.chain(moved.as_object().unwrap().clone()).collect::<serde_json::Map<_, _>>().into();
        assert_eq!(behind.ask("PUT", "/customers/1", &damaged.to_string()).status, 200);
        let reply = proxy.ask("GET", "/customers/1", "");
        assert!(reply.status == 502 && !contains_secrets(&reply.text()), "{moved}: {}", reply.text());
    }
}

/// json-server (Express) has its own ideas of which paths are the same and of what a body says; the proxy must not have other ones.
#[test]
fn no_spelling_of_a_request_leaves_plaintext_in_the_file() {
    let Some(behind) = Application::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let proxy = Proxy::with(&behind, dir.path(), RULES, "    case: ignore");
    let plain = r#"{"ssn":"123-45-6789","email":"zoe@example.com"}"#;
    let stored = Cell::new(0);
    let send = |path: &str, headers: &[(&str, &str)], body: &[u8]| {
        let reply = ask_with(proxy.front, "POST", path, headers, body.to_vec());
        stored.set(stored.get() + usize::from(reply.status == 201));
        assert!(!contains_secrets(&behind.file().to_string()), "{path} {headers:?} {}", String::from_utf8_lossy(body));
        reply.status
    };
    let is_json = [("content-type", "application/json")];
    for path in [
        "/customers/",
        "/CUSTOMERS",
        "/Customers/",
        "/%63ustomers",
        "/%43USTOMERS",
        "/customers?a=b",
        "//customers",
        "/./customers",
        "/regions/../customers",
        "/customers;a=b",
        "/regions/1/Customers",
        "/REGIONS/%31/customers/",
        "/customers%2f",
        "/customers%20",
        "/cu%73tomers%00",
        "/customers/%2e",
        "/%2563ustomers",
        "/cuſtomers",
        "/cu%C5%BFtomers",
    ] {
        send(path, &is_json, plain.as_bytes());
    }
    for body in [
        r#"{"ssn":"a","ssn":"123-45-6789"}"#,
        r#"{"ssn":"123-45-6789","ssn":"a"}"#,
        r#"{"\u0073sn":"123-45-6789"}"#,
        r#"{"ssn":{"ssn":"123-45-6789"},"x":[[{"ssn":["123-45-6789"]}]]}"#,
        r#"[{"ssn":"123-45-6789"}]"#,
        "\u{feff}{\"ssn\":\"123-45-6789\"}",
        " \n{ \"a\" : 1, \"ssn\" :\t\"123-45-6789\" }\n",
        r#"{"__proto__":{"ssn":"123-45-6789"}}"#,
    ] {
        send("/customers", &is_json, body.as_bytes());
    }
    assert!(stored.get() >= 10, "json-server takes {} of them", stored.get());
    // Coded, in any form that json-server undoes.
    let before = stored.get();
    for (coding, form) in [
        ("gzip", Form::Gzip),
        ("GZip", Form::Gzip),
        ("deflate", Form::Zlib),
        ("deflate", Form::Raw),
        ("br", Form::Brotli),
    ] {
        let headers = [("content-type", "application/json"), ("content-encoding", coding)];
        send("/customers", &headers, &coded(&[form], plain.as_bytes()));
    }
    assert!(stored.get() >= before + 3, "json-server takes {} of the coded ones", stored.get() - before);

    // What json-server would take, and the proxy cannot read or take for what json-server does.
    let utf_16 = [("content-type", "application/json; charset=utf-16le")];
    let overridden = [("content-type", "application/json"), ("x-http-method-override", "PUT")];
    let wide: Vec<u8> = plain.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let refused: [(_, &[_], _, _, _); 2] =
        [("/customers", &utf_16, wide, 415, 201), ("/customers/1", &overridden, plain.into(), 400, 200)];
    for (path, headers, body, status, _) in &refused {
        assert_eq!(send(path, headers, body), *status, "{headers:?}");
    }
    for (path, headers, body, _, status) in refused {
        let reply = ask_with(behind.address, "POST", path, headers, body);
        assert_eq!((reply.status, contains_secrets(&reply.text())), (status, true), "{headers:?}");
    }
}

fn json(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("not JSON: {} {}", reply.status, reply.text()))
}

/// What a caller is told: status, body to the byte, and the headers that mean something to it. What is opened is not for caches, so
/// that they are told another thing.
fn told(reply: &Reply) -> (u16, String, Vec<(String, String)>) {
    const OF_THE_WAY: [&str; 10] = [
        "connection",
        "keep-alive",
        "date",
        "transfer-encoding",
        "content-length",
        "etag",
        "via",
        "cache-control",
        "expires",
        "pragma",
    ];
    let headers = reply.headers.iter().filter(|(name, _)| !OF_THE_WAY.contains(&name.as_str()));
    let mut headers: Vec<_> =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    headers.sort();
    (reply.status, reply.text(), headers)
}

fn contains_secrets(text: &str) -> bool {
    SECRETS.iter().any(|secret| text.contains(secret))
}

fn without_sealed(mut data: Value) -> Value {
    match &mut data {
        Value::Object(members) => {
            for (name, value) in members {
                *value = if SEALED.contains(&name.as_str()) { Value::Null } else { without_sealed(value.take()) };
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = without_sealed(item.take())),
        _ => {}
    }
    data
}
