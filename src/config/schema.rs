//! The JSON Schema of `sidecloak.yaml`.

use super::file::File;

/// Pretty-printed, ending in a newline: what `sidecloak schema config` prints.
pub fn schema() -> String {
    let schema = schemars::schema_for!(File);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}
