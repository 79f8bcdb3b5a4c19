//! The JSON Schema of the files. (interface; owner: rules)

/// Pretty-printed, ending in a newline: what `sidecloak schema` prints and `rules/schema.json` holds.
pub fn schema() -> String {
    String::new()
}
