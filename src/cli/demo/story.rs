//! What the demo shows, step by step.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::app::App;
use crate::clock::SystemClock;
use crate::config::{self, Overrides, Purpose};
use crate::keyring::{Keyring, Kind};
use crate::name::PartitionName;
use crate::proxy::settings::Address;

use super::super::call::{Answer, call};
use super::super::exit::Failure;
use super::super::out::Out;
use super::legacy::{self, Store};

const RULES: &str = r#"rules:
  - name: customers
    match: { path: "/customers/**" }
    protect:
      - fields: ["$..ssn", "$..cards[*].pan"]
      - fields: ["$..email"]
        deterministic: true          # equal values, equal tokens: the app can look them up
      - fields: ["$..iban"]
        sign: true                   # ML-DSA-65 inside the seal
"#;

pub(super) fn tell(out: &mut Out) -> Result<(), Failure> {
    let folder = tempfile::Builder::new()
        .prefix("sidecloak-demo-")
        .tempdir()
        .map_err(|e| Failure::io("a temporary folder", &e))?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| Failure::io("a runtime", &e))?;
    runtime.block_on(async {
        let store = Store::default();
        let upstream = legacy::start(store.clone()).await.map_err(|e| Failure::io("the legacy app", &e))?;
        let app = start_proxy(folder.path(), upstream)?;
        let told = scenes(out, &app, &store).await;
        app.stop();
        told
    })?;
    folder.close().map_err(|e| Failure::io("cleaning up", &e))?;
    out.line("")?;
    out.line("Cleaned up: the proxy has drained, the keyring and its folder are gone.")
}

fn start_proxy(folder: &Path, upstream: SocketAddr) -> Result<App, Failure> {
    let rules = folder.join("rules.yaml");
    std::fs::write(&rules, RULES).map_err(|e| Failure::io("the rule file", &e))?;
    let text = format!(
        "listeners:\n  - {{ name: front, bind: '127.0.0.1:0', upstream: 'http://{upstream}' }}\nworkers: 1\nrules: '{}'\n\
         keyring:\n  store: 'sqlite:{}'\n  master_key: ['file:{}']\ndrain: {{ delay: 0s, deadline: 2s }}\n",
        rules.display(),
        folder.join("keyring.db").display(),
        folder.join("master.key").display(),
    );
    let flags = Overrides { dev: true, i_know: true, ..Overrides::default() };
    let loaded =
        config::load_text("the demo's configuration", &text, &flags, Purpose::Proxy, config::Machine::detect());
    let (config, _) = Failure::config(loaded)?;
    Ok(App::start(&config, SystemClock::shared())?)
}

async fn scenes(out: &mut Out, app: &App, store: &Store) -> Result<(), Failure> {
    let front = app
        .addresses()
        .iter()
        .find_map(|(_, address)| if let Address::Tcp(address) = address { Some(*address) } else { None })
        .ok_or_else(|| Failure::internal("the proxy listens nowhere"))?;
    out.line("The rules, all that was configured:\n")?;
    out.line(RULES)?;

    out.title("1. A caller posts a customer")?;
    let sent = json!({
        "name": "Zoë", "ssn": "123-45-6789", "email": "zoe@example.com", "iban": "DE02120300000000202051",
        "cards": [{"brand": "visa", "pan": "4111111111111111"}], "balance": 1e5
    });
    let answer = call(front, "POST", "/customers", Some(&sent)).await?;
    expect(answer.status == 201, "the customer is created")?;
    show(out, "the caller sent", &sent)?;
    let stored = store.rows().first().cloned().unwrap_or_default();
    show(out, "the app stored", &stored)?;
    expect(
        stored.get("ssn").is_some_and(is_token) && stored.get("name") == sent.get("name"),
        "the store holds tokens",
    )?;
    let answer = call(front, "GET", "/customers/1", None).await?;
    show(out, "the caller got back", &answer.json)?;
    expect(
        ["ssn", "email", "iban", "cards", "name"].iter().all(|m| answer.json.get(m) == sent.get(m)),
        "the caller sees plaintext",
    )?;

    out.title("2. A signed field")?;
    let iban = store.field(0, "iban");
    out.line(&format!(
        "  the app's `iban` is a token of {} characters: an ML-DSA-65 signature is sealed in with the value,",
        iban.len()
    ))?;
    out.line("  and is verified before a byte of it is released.")?;
    expect(iban.len() > 4_400, "the signature is inside")?;

    out.title("3. A look-up by a sealed value: POST /customers/search")?;
    let found = call(front, "POST", "/customers/search", Some(&json!({"email": "zoe@example.com"}))).await?;
    show(out, "the caller asked for", &json!({"email": "zoe@example.com"}))?;
    show(out, "and found", &brief(&found.json))?;
    expect(found.json.as_array().is_some_and(|a| a.len() == 1), "equal values have equal tokens")?;

    out.title("4. A rollover: new values get a new epoch, old ones stay readable")?;
    let before = epoch(&store.field(0, "ssn"))?;
    keyring(app)?.rollover(&PartitionName::default_name(), &[Kind::Random])?;
    call(front, "POST", "/customers", Some(&json!({"name": "Max", "ssn": "987-65-4321"}))).await?;
    let after = epoch(&store.field(1, "ssn"))?;
    out.line(&format!("  epoch before {before}, after {after}"))?;
    let old = call(front, "GET", "/customers/1", None).await?;
    expect(before != after && old.json.get("ssn") == Some(&json!("123-45-6789")), "old values stay readable")?;
    out.line("  customer 1, sealed before, still reads 123-45-6789")?;

    out.title("5. Somebody alters a token in the database")?;
    let good = store.field(0, "ssn");
    store.edit(0, "ssn", &tampered(&good));
    let answer = call(front, "GET", "/customers/1", None).await?;
    refused(out, "the caller gets", &answer, 502)?;
    store.edit(0, "ssn", &good);

    out.title("6. Somebody who saw a token posts it into a record of their own")?;
    let answer = call(front, "POST", "/customers", Some(&json!({"name": "Mallory", "ssn": good}))).await?;
    refused(out, "the caller gets", &answer, 422)?;
    expect(store.rows().len() == 2, "nothing was stored")
}

fn show(out: &mut Out, what: &str, value: &Value) -> Result<(), Failure> {
    let mut text = value.to_string();
    if text.len() > 600 {
        // A signed token alone is 4,500 characters.
        text = brief(value).to_string();
    }
    out.line(&format!("  {what:<20} {text}"))
}

/// The same with long texts cut short.
fn brief(value: &Value) -> Value {
    match value {
        Value::String(text) if text.len() > 110 => {
            json!(format!("{}… ({} characters)", text.chars().take(40).collect::<String>(), text.len()))
        }
        Value::Array(items) => Value::Array(items.iter().map(brief).collect()),
        Value::Object(members) => Value::Object(members.iter().map(|(name, v)| (name.clone(), brief(v))).collect()),
        other => other.clone(),
    }
}

fn refused(out: &mut Out, what: &str, answer: &Answer, status: u16) -> Result<(), Failure> {
    show(out, what, &answer.json)?;
    expect(answer.status == status && !answer.text.contains("123-45-6789"), "it is refused")
}

fn is_token(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.starts_with("sc1."))
}

fn epoch(token: &str) -> Result<String, Failure> {
    let parsed = crate::token::v1::parse(token.as_bytes()).map_err(|e| Failure::internal(e.to_string()))?;
    Ok(parsed.epoch.to_string())
}

/// The token with one character of its ciphertext changed.
fn tampered(token: &str) -> String {
    let at = token.len().saturating_sub(10);
    let (head, tail) = token.split_at_checked(at).unwrap_or((token, ""));
    let other = if tail.starts_with('A') { 'B' } else { 'A' };
    format!("{head}{other}{}", tail.get(1..).unwrap_or_default())
}

fn keyring(app: &App) -> Result<&Keyring, Failure> {
    app.keyring().map(|k| &**k).ok_or_else(|| Failure::internal("the demo has no keyring"))
}

fn expect(holds: bool, what: &str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::internal(format!("the demo does not hold: {what}"))) }
}
