//! Before an application that keeps its customers in PostgreSQL, in columns of `VARCHAR(100)` and `VARCHAR(20)`, and looks them up with SQL.

use serde_json::{Value, json};

use super::{Application, Front, json, python};
use crate::cluster::{Cluster, Settings};
use crate::tools;

/// The application on a database of its own, and the database's URL.
pub fn start(cluster: &Cluster) -> Option<(Application, String)> {
    tools::installed("accounts", REQUIREMENTS)?;
    let url = cluster.database();
    Some((beside(cluster, &url), url))
}

/// Another process of it on the same database.
pub fn beside(cluster: &Cluster, url: &str) -> Application {
    let place = tools::installed("accounts", REQUIREMENTS).unwrap();
    let database = url.rsplit('/').next().unwrap().to_owned();
    let socket = cluster.socket();
    let command = |port: u16| {
        let mut command = python(&place);
        command.arg(tools::repository().join("tests/apps/accounts/app.py")).arg(port.to_string());
        command.arg(&socket).args(["sidecloak", &database]);
        command
    };
    Application::start(command, "/customers?limit=0", |reply| reply.text() == "[]")
}

const REQUIREMENTS: &str = "tests/apps/accounts/requirements.txt";

const RULES: &str = r#"rules:
  - name: customers
    match: { path: "/customers/**" }
    protect:
      - { fields: ["$.ssn", "$[*].ssn"], deterministic: true, max_length: 100, format: text }
      - { fields: ["$.email", "$[*].email"], max_length: 100 }
"#;

fn customer(ssn: &str, email: &str) -> Value {
    json!({ "name": "Zoë", "ssn": ssn, "email": email, "phone": "+1 555 0100 200", "balance": 12.5 })
}

#[test]
fn a_column_of_a_hundred_characters_takes_what_fits_and_the_rest_is_refused_before_it() {
    let Some(cluster) = Cluster::start(&Settings::default()) else { return };
    let Some((application, url)) = start(&cluster) else { return };
    let front = Front::new(&application, RULES);
    let made = front.json("POST", "/customers", &customer("123-45-6789", "z@example.com"));
    assert_eq!((made.status, json(&made)["ssn"].clone()), (201, json!("123-45-6789")), "{}", made.text());
    assert_eq!(json(&made)["balance"], json!(12.5));

    let column = |name: &str| cluster.sql(&url, &format!("select {name} from customers where id = 1")).unwrap();
    for name in ["ssn", "email"] {
        let stored = column(name);
        assert!(stored.starts_with("sc1.") && stored.len() <= 100, "{name}: {} characters", stored.len());
    }
    assert_eq!(column("phone"), "+1 555 0100 200", "no rule is about it");

    // An address that is long for a token, and none too long for the column by itself.
    let long = format!("{}@example.com", "z".repeat(50));
    let refused = front.json("POST", "/customers", &customer("987-65-4321", &long));
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(refused.text().contains("max-length") && !refused.text().contains("zzzz"));
    assert_eq!(
        cluster.sql(&url, "select count(*)::text from customers").unwrap(),
        "1",
        "nothing came to the application"
    );
    // What it would have been: the database's own words, and a 500.
    let unguarded = Front::new(&application, &RULES.replace(", max_length: 100", ""));
    let broken = unguarded.json("POST", "/customers", &customer("987-65-4321", &long));
    assert_eq!(broken.status, 500);
    assert!(broken.text().contains("too long"), "{}", broken.text());
}

#[test]
fn what_is_equal_stays_equal_for_unique_columns_and_updates() {
    let Some(cluster) = Cluster::start(&Settings::default()) else { return };
    let Some((application, url)) = start(&cluster) else { return };
    let front = Front::new(&application, RULES);
    let post = |ssn: &str| front.json("POST", "/customers", &customer(ssn, "z@example.com"));
    assert_eq!(post("123-45-6789").status, 201);
    let twice = post("123-45-6789");
    assert!(
        twice.status == 500 && twice.text().contains("unique"),
        "the column's own rule still holds: {}",
        twice.text()
    );
    assert!(!twice.text().contains("123-45"), "{}", twice.text());
    let other = post("987-65-4321");
    assert_eq!(other.status, 201);
    let path = format!("/customers/{}", json(&other)["id"]);

    let put = front.json("PUT", &path, &json!({ "ssn": "987-65-0000" }));
    assert_eq!((put.status, json(&put)["ssn"].clone()), (200, json!("987-65-0000")));
    let all = json(&front.ask("GET", "/customers", &[], ""));
    let ssns: Vec<_> = all.as_array().unwrap().iter().map(|row| row["ssn"].clone()).collect();
    assert_eq!(ssns, [json!("123-45-6789"), json!("987-65-0000")]);
    let plain =
        cluster.sql(&url, "select count(*)::text from customers where ssn not like 'sc1.%' or email not like 'sc1.%'");
    assert_eq!(plain.unwrap(), "0");
}

#[test]
fn columns_that_no_token_fits_are_foretold_while_observing() {
    let Some(cluster) = Cluster::start(&Settings::default()) else { return };
    let Some((application, _)) = start(&cluster) else { return };
    let rules = r#"rules:
  - name: customers
    match: { path: "/customers/**" }
    mode: observe
    protect:
      - { fields: "$.phone", max_length: 20 }
      - { fields: "$.balance", format: number }
      - { fields: "$.ssn", max_length: 100 }
"#;
    let front = Front::new(&application, rules);
    assert_eq!(front.json("POST", "/customers", &customer("123-45-6789", "z@example.com")).status, 201);
    let metrics = front.metrics();
    let told = |class: &str, event: &str| {
        let label = format!("class=\"{class}\",event=\"{event}\"");
        metrics.lines().any(|l| l.starts_with("sidecloak_fields_total") && l.contains(&label) && !l.ends_with(" 0"))
    };
    assert!(told("phone", "unfit") && told("balance", "unfit") && told("ssn", "plaintext"), "{metrics}");
    assert!(!told("ssn", "unfit"));
}

/// Look-ups in every mode of `rewrite`, before and after the epoch of the tokens in the column has gone.
#[test]
fn customers_are_found_by_a_column_of_tokens_also_after_a_rollover() {
    let Some(cluster) = Cluster::start(&Settings::default()) else { return };
    for rewrite in ["current", "fallback", "all"] {
        let Some((application, url)) = start(&cluster) else { return };
        let rules = format!(
            r#"rules:
  - name: by-path
    match: {{ path: "/customers/by-ssn/{{ssn}}" }}
    protect: [{{ fields: ["path:ssn"], deterministic: true, max_length: 100, rewrite: {} }}]
  - name: customers
    match: {{ path: "/customers/**" }}
    protect:
      - {{ fields: ["$.ssn", "$[*].ssn", "query:ssn"], deterministic: true, max_length: 100, rewrite: {rewrite} }}
      - {{ fields: ["$.email", "$[*].email"], max_length: 100 }}
"#,
            if rewrite == "all" { "fallback" } else { rewrite }
        );
        let front = Front::new(&application, &rules);
        let first = customer("123-45-6789", "z@example.com");
        assert_eq!(front.json("POST", "/customers", &first).status, 201);
        assert_eq!(front.json("POST", "/customers", &customer("987-65-4321", "y@example.com")).status, 201);
        let ids = |query: &str| {
            let reply = front.ask("GET", &format!("/customers?{query}"), &[], "");
            assert_eq!(reply.status, 200, "{rewrite} {query}: {}", reply.text());
            let rows = json(&reply);
            assert!(!reply.text().contains("sc1."), "{}", reply.text());
            rows.as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect::<Vec<_>>()
        };
        let by_path = |ssn: &str| front.ask("GET", &format!("/customers/by-ssn/{ssn}"), &[], "");
        let found = |old: &[i64]| {
            assert_eq!(ids("ssn=123-45-6789"), old, "{rewrite}");
            assert_eq!(ids("ssn=123%2D45-6789&name=Zo%C3%AB"), old, "{rewrite}");
            assert_eq!(ids("name=Zo%C3%AB&ssn=000-00-0000"), [0; 0], "{rewrite}");
            assert_eq!(by_path("123-45-6789").status, if old.is_empty() { 404 } else { 200 }, "{rewrite}");
            assert_eq!(by_path("000-00-0000").status, 404);
        };
        found(&[1]);
        let reply = by_path("123-45-6789");
        assert_eq!((&json(&reply)["ssn"], &json(&reply)["email"]), (&json!("123-45-6789"), &json!("z@example.com")));
        let column = || cluster.sql(&url, "select string_agg(ssn, ',' order by id) from customers").unwrap();
        let before = column();
        assert!(before.split(',').all(|token| token.starts_with("sc1.") && token.len() <= 100), "{before}");

        front.roll();
        assert_eq!(front.json("POST", "/customers", &customer("555-55-5555", "x@example.com")).status, 201);
        found(if rewrite == "current" { &[] } else { &[1] });
        assert_eq!(ids("ssn=555-55-5555"), [3], "{rewrite}");
        // Old and new epochs open side by side.
        assert_eq!(ids(""), [1, 2, 3]);
        // Whoever writes a row anew brings it to the current epoch.
        assert_eq!(front.json("PUT", "/customers/1", &json!({ "ssn": "123-45-6789" })).status, 200);
        found(&[1]);
        assert_eq!(column().split(',').filter(|token| before.contains(token)).count(), 1);
        // The column's UNIQUE is about tokens: across a rollover it no longer sees what is equal.
        assert_eq!(front.json("POST", "/customers", &customer("987-65-4321", "w@example.com")).status, 201);
        assert_eq!(front.json("POST", "/customers", &first).status, 500, "of one epoch");
        // A second rollover: `rewrite` looks one epoch back.
        front.roll();
        front.roll();
        found(&[]);
    }
}
