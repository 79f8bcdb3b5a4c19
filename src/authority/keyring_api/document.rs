//! (to be written)
pub fn openapi() -> serde_json::Value {
    serde_json::Value::Null
}
