//! Which options a profile has, depending on its provider: what it must have, and what is another's.

use serde_json::{Map, Value as Json, json};

use super::super::node::{At, Node, Value};
use super::super::read::Reader;
use super::ProviderName::{self, Crittora, Crypteron, ExeQuantum, NcloudKms};

/// The options that not every provider has, and which have them.
const ONLY: [(&str, &[ProviderName]); 24] = [
    ("granularity", &[Crittora, NcloudKms]),
    ("bare", &[Crittora, NcloudKms]),
    ("opened_cache", &[Crittora, NcloudKms]),
    ("prove", &[Crittora, NcloudKms, ExeQuantum]),
    ("fallback_endpoints", &[Crittora, NcloudKms, ExeQuantum]),
    ("api", &[Crittora]),
    ("username", &[Crittora]),
    ("password", &[Crittora]),
    ("api_key", &[Crittora, Crypteron]),
    ("access_key", &[Crittora, NcloudKms]),
    ("secret_key", &[Crittora, NcloudKms]),
    ("login", &[Crittora]),
    ("client_id", &[Crittora]),
    ("key_tag", &[NcloudKms]),
    ("token", &[NcloudKms, ExeQuantum]),
    ("refresh_token", &[NcloudKms]),
    ("convergent", &[NcloudKms]),
    ("generation", &[ExeQuantum]),
    ("temporary", &[ExeQuantum]),
    ("recipient", &[ExeQuantum]),
    ("recipient_secret", &[ExeQuantum]),
    ("app_id", &[Crypteron]),
    ("sec_part_id", &[Crypteron]),
    ("poll", &[Crypteron]),
];

/// Reports options that this profile's provider does not have, and those that are missing.
pub(super) fn check(name: &At<String>, node: &Node, reader: &mut Reader<'_>) {
    let Value::Map(entries) = &node.value else { return };
    // A key with nothing behind it counts as not written.
    let written: Vec<_> = entries.iter().filter(|(_, value)| !matches!(value.value, Value::Null)).collect();
    let has = |option: &str| written.iter().find(|(key, _)| key.value == option);
    let text = |option: &str| has(option).map(|(_, value)| &value.value);
    let provider = match text("provider") {
        Some(Value::Text(word)) => ProviderName::ALL.into_iter().find(|provider| provider.word() == word),
        Some(_) => None,
        None => {
            let words: Vec<_> = ProviderName::ALL.into_iter().map(|name| format!("`{}`", name.word())).collect();
            let help = format!("add `provider:` with one of {}", words.join(", "));
            reader.error(&name.span, "no-provider", format!("`{}` has no provider", reader.key()), help);
            None
        }
    };
    // One that is none is reported where it is read.
    let Some(provider) = provider else { return };
    for (key, value) in written.iter().copied() {
        foreign(provider, key, value, reader);
    }
    let mut missing = required(provider).to_vec();
    match provider {
        Crittora if matches!(text("api"), Some(Value::Text(api)) if api == "direct") => {
            missing.extend(["login", "client_id"]);
        }
        Crittora => {
            missing.extend(["access_key", "secret_key"]);
            for (key, _) in ["login", "client_id"].into_iter().filter_map(has) {
                let message = format!("`{}.{}`: the managed API has no log-in", reader.key(), key.value);
                reader.error(&key.span, "other-api", message, "take it away, or write `api: direct`");
            }
        }
        NcloudKms => {
            let signature = has("access_key").is_some() || has("secret_key").is_some();
            if signature {
                missing.extend(["access_key", "secret_key"]);
            }
            let ways = [signature, has("token").is_some(), has("refresh_token").is_some()];
            if ways.into_iter().filter(|there| *there).count() != 1 {
                let message = format!("`{}` needs one credential", reader.key());
                let help = "give `access_key` and `secret_key`, or `token`, or `refresh_token`";
                reader.error(&name.span, "credential", message, help);
            }
        }
        ExeQuantum if matches!(text("generation"), Some(Value::Number(2))) => missing.push("recipient_secret"),
        ExeQuantum | Crypteron => {}
    }
    missing.retain(|option| has(option).is_none());
    for option in missing {
        let (key, help) = (reader.key(), help(option));
        reader.error(&name.span, "missing", format!("`{key}` has no `{option}`"), help);
    }
}

fn foreign(provider: ProviderName, key: &At<String>, value: &Node, reader: &mut Reader<'_>) {
    let Some((_, providers)) = ONLY.iter().find(|(option, _)| *option == key.value) else { return };
    if providers.contains(&provider) {
        return;
    }
    let theirs: Vec<_> = providers.iter().map(|name| format!("`{}`", name.word())).collect();
    let message =
        format!("`{}.{}` is for {}, not for `{}`", reader.key(), key.value, theirs.join(" and "), provider.word());
    // It may be a secret in a place where none is read.
    reader.hide(value);
    reader.error(&key.span, "other-provider", message, "take it away, or name another `provider`");
}

/// What every profile of this provider must have.
fn required(provider: ProviderName) -> &'static [&'static str] {
    match provider {
        Crittora => &["username", "password", "api_key"],
        NcloudKms => &["key_tag"],
        ExeQuantum => &["endpoint", "token", "recipient"],
        Crypteron => &["app_id", "sec_part_id", "api_key"],
    }
}

fn help(option: &str) -> String {
    match option {
        "endpoint" | "login" => format!("add `{option}: https://…`"),
        "recipient" => "add `recipient: FILE`; `sidecloak profiles init` writes it".to_owned(),
        "recipient_secret" => "add `recipient_secret: file:PATH`; `sidecloak profiles init` writes it".to_owned(),
        "key_tag" | "client_id" | "app_id" | "sec_part_id" => format!("add `{option}`, as the vendor shows it"),
        _ => format!("add `{option}: file:PATH`, or `env:NAME`"),
    }
}

/// What follows from a profile's provider, as JSON Schema.
pub(super) fn conditions() -> Vec<Json> {
    let condition = |provider: ProviderName| {
        let foreign = ONLY.iter().filter(|(_, providers)| !providers.contains(&provider));
        let foreign: Map<String, Json> = foreign.map(|(option, _)| ((*option).to_owned(), json!(false))).collect();
        json!({
            "if": { "properties": { "provider": { "const": provider.word() } } },
            "then": { "properties": foreign, "required": required(provider) },
        })
    };
    ProviderName::ALL.into_iter().map(condition).collect()
}
