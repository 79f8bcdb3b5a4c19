//! x
/// Its OpenAPI 3.1 document.
pub fn openapi() -> serde_json::Value {
    serde_json::Value::Null
}
