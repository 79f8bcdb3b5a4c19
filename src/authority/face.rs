//! The faces by name, and which stand behind one listener.

use std::sync::Arc;

use axum::Router;
use serde_json::Value;

use super::{Authority, crittora, crypteron, exequantum, keyring_api, management, ncloud_kms};

/// One API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Face {
    /// Ours for sidecars, `/keyring/v1`.
    Keyring,
    /// Ours for people and programs that manage, `/manage/v1`.
    Management,
    /// Crittora.
    Crittora,
    /// Crypteron management.
    Crypteron,
    /// NAVER Cloud KMS.
    NcloudKms,
    /// ExeQuantum.
    Exequantum,
}

/// One listener: our own two faces share theirs, each known API has one to itself, since it begins at `/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Door {
    /// [`Face::Keyring`] and [`Face::Management`].
    Own,
    /// See [`Face`].
    Crittora,
    /// See [`Face`].
    Crypteron,
    /// See [`Face`].
    NcloudKms,
    /// See [`Face`].
    Exequantum,
    /// No face of the authority: the webhook of `sidecloak injector`, behind a listener of the same kind.
    Injector,
}

impl Face {
    /// Its routes.
    pub fn router(self, authority: Arc<Authority>) -> Router {
        match self {
            Self::Keyring => keyring_api::router(authority),
            Self::Management => management::router(authority),
            Self::Crittora => crittora::router(authority),
            Self::Crypteron => crypteron::router(authority),
            Self::NcloudKms => ncloud_kms::router(authority),
            Self::Exequantum => exequantum::router(authority),
        }
    }

    /// Its OpenAPI 3.1 document.
    pub fn openapi(self) -> Value {
        match self {
            Self::Keyring => keyring_api::openapi(),
            Self::Management => management::openapi(),
            Self::Crittora => crittora::openapi(),
            Self::Crypteron => crypteron::openapi(),
            Self::NcloudKms => ncloud_kms::openapi(),
            Self::Exequantum => exequantum::openapi(),
        }
    }

    /// What the paths of its routes begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Keyring => "/keyring/v1",
            Self::Management => "/manage/v1",
            Self::Crittora | Self::Crypteron | Self::NcloudKms | Self::Exequantum => "",
        }
    }
}

impl Door {
    /// Its name in the log and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Own => "authority",
            Self::Crittora => "crittora",
            Self::Crypteron => "crypteron",
            Self::NcloudKms => "ncloud-kms",
            Self::Exequantum => "exequantum",
            Self::Injector => "injector",
        }
    }

    /// What stands behind it.
    pub fn faces(self) -> &'static [Face] {
        match self {
            Self::Own => &[Face::Keyring, Face::Management],
            Self::Crittora => &[Face::Crittora],
            Self::Crypteron => &[Face::Crypteron],
            Self::NcloudKms => &[Face::NcloudKms],
            Self::Exequantum => &[Face::Exequantum],
            Self::Injector => &[],
        }
    }

    /// The OpenAPI document of all its faces; null if it has none.
    pub fn openapi(self) -> Value {
        let documents = self.faces().iter().map(|face| face.openapi());
        if self.faces().len() == 1 {
            return documents.into_iter().next().unwrap_or_default();
        }
        documents.map(rooted).reduce(joined).unwrap_or_default()
    }
}

/// The document with the path of its server in its paths: servers hold for all paths of a document, also for those of
/// another one that joins it.
fn rooted(mut document: Value) -> Value {
    let base = document.pointer("/servers/0/url").and_then(Value::as_str).unwrap_or_default();
    let base = base.trim_end_matches('/').to_owned();
    if let Some(Value::Object(paths)) = document.get_mut("paths") {
        *paths = std::mem::take(paths).into_iter().map(|(path, item)| (format!("{base}{path}"), item)).collect();
    }
    if let Some(Value::String(url)) = document.pointer_mut("/servers/0/url") {
        "/".clone_into(url);
    }
    document
}

/// One document of two: what only one has stays, mappings are joined, of two other values the first is kept.
fn joined(first: Value, second: Value) -> Value {
    match (first, second) {
        (Value::Object(mut first), Value::Object(second)) => {
            for (key, value) in second {
                let value = match first.remove(&key) {
                    Some(there) => joined(there, value),
                    None => value,
                };
                first.insert(key, value);
            }
            Value::Object(first)
        }
        (Value::Array(mut first), Value::Array(second)) => {
            let new: Vec<Value> = second.into_iter().filter(|value| !first.contains(value)).collect();
            first.extend(new);
            Value::Array(first)
        }
        (Value::Null, second) => second,
        (first, _) => first,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_are_joined() {
        let one =
            json!({ "openapi": "3.1.0", "info": { "title": "a" }, "paths": { "/a": { "get": {} } }, "tags": [1, 2] });
        let two =
            json!({ "openapi": "3.1.0", "info": { "title": "b" }, "paths": { "/b": { "get": {} } }, "tags": [2, 3] });
        let both = joined(one, two.clone());
        assert_eq!(both["info"]["title"], "a");
        assert!(both["paths"]["/a"].is_object() && both["paths"]["/b"].is_object());
        assert_eq!(both["tags"], json!([1, 2, 3]));
        assert_eq!(joined(Value::Null, two.clone()), two);
    }

    #[test]
    fn a_joined_document_says_whole_paths() {
        let document = Door::Own.openapi();
        assert_eq!(document["servers"], json!([{ "url": "/" }]));
        for (path, _) in document["paths"].as_object().unwrap() {
            assert!(path.starts_with("/keyring/v1/") || path.starts_with("/manage/v1/"), "{path}");
        }
    }
}
