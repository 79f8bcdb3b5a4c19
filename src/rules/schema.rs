//! The JSON Schema of the files.

use super::file::RuleFile;

/// Pretty-printed, ending in a newline: what `sidecloak schema` prints and `rules/schema.json` holds.
pub fn schema() -> String {
    let mut schema = schemars::schema_for!(RuleFile).to_value();
    require(&mut schema, "", &["rules"]);
    require(&mut schema, "RuleEntry", &["name", "match"]);
    require(&mut schema, "MatchEntry", &["path"]);
    require(&mut schema, "TestEntry", &["when"]);
    require(&mut schema, "WhenEntry", &["path"]);
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".into(), "Sidecloak rules".into());
    }
    format!("{schema:#}\n")
}

/// Absence is a check of its own in the compiler, so the derived schema knows of no required key.
fn require(schema: &mut serde_json::Value, definition: &str, keys: &[&str]) {
    let pointer = if definition.is_empty() { String::new() } else { format!("/$defs/{definition}") };
    if let Some(object) = schema.pointer_mut(&pointer).and_then(serde_json::Value::as_object_mut) {
        object.insert("required".into(), keys.to_vec().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_schema_is_not_stale() {
        let committed = include_str!("../../rules/schema.json");
        assert!(
            committed == schema(),
            "rules/schema.json is stale; run `sidecloak schema > rules/schema.json`:\n{}",
            schema()
        );
    }

    #[test]
    fn every_definition_is_described_and_closed() {
        let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
        let definitions = schema["$defs"].as_object().unwrap();
        for name in ["RuleEntry", "MatchEntry", "ActionEntry", "TestEntry", "WhenEntry"] {
            let definition = &definitions[name];
            assert_eq!(definition["additionalProperties"], false, "{name}");
            for (key, property) in definition["properties"].as_object().unwrap() {
                assert!(property["description"].is_string(), "{name}.{key}");
            }
        }
        assert_eq!(schema["required"][0], "rules");
    }
}
