//! `AdmissionReview` (`admission.k8s.io/v1`): what the API server asks, and what it is answered.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Outcome;
use crate::crypto::base64;

const VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// What of a review is looked at.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: Option<Request>,
}

/// The question.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    /// The answer has the same.
    pub(super) uid: String,
    kind: ObjectKind,
    /// Such as `ephemeralcontainers`.
    #[serde(default)]
    pub(super) sub_resource: String,
    #[serde(default)]
    pub(super) namespace: String,
    /// Empty where the API server makes it.
    #[serde(default)]
    pub(super) name: String,
    /// `CREATE`, `UPDATE`.
    #[serde(default)]
    pub(super) operation: String,
    /// The pod.
    #[serde(default)]
    pub(super) object: Value,
    /// The pod as it was, of an update.
    #[serde(default)]
    pub(super) old_object: Value,
    /// Nothing is to come of it, and nothing ever does here.
    #[serde(default)]
    pub(super) dry_run: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
struct ObjectKind {
    #[serde(default)]
    group: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    kind: String,
}

/// Longer ones the API server does not make.
const LONGEST_UID: usize = 128;

impl Request {
    /// Out of a body; or what is wrong with it, without a word of what it holds.
    pub(super) fn read(body: &[u8]) -> Result<Self, &'static str> {
        let review: Review = serde_json::from_slice(body)
            .map_err(|_| "the body is no AdmissionReview; this is a webhook for the API server of Kubernetes")?;
        if review.kind != KIND || review.api_version != VERSION {
            return Err("the review is not of admission.k8s.io/v1; list v1 in admissionReviewVersions");
        }
        let request =
            review.request.ok_or("the review has no request; see what stands between the API server and here")?;
        if request.uid.is_empty() || request.uid.len() > LONGEST_UID {
            return Err(
                "the request has no uid, or one that no API server makes; see what stands between the API server and here",
            );
        }
        let ObjectKind { group, version, kind } = &request.kind;
        if (group.as_str(), version.as_str(), kind.as_str()) != ("", "v1", "Pod") {
            return Err("the object is no v1 Pod; send pods alone to this webhook");
        }
        if !request.object.is_object() {
            return Err("the request has no object; send CREATE and UPDATE of pods alone to this webhook");
        }
        Ok(request)
    }

    /// The pod's name, or what the API server makes it of.
    pub(super) fn called(&self) -> &str {
        let made_of = || self.object.pointer("/metadata/generateName").and_then(Value::as_str);
        if self.name.is_empty() { made_of().unwrap_or_default() } else { &self.name }
    }

    /// The answer.
    pub(super) fn answer(&self, outcome: &Outcome) -> Value {
        let uid = &self.uid;
        let response = match outcome {
            Outcome::Unchanged => json!({ "uid": uid, "allowed": true }),
            Outcome::Injected(patch) => {
                let patch = base64::encode(json!(patch).to_string().as_bytes());
                json!({ "uid": uid, "allowed": true, "patchType": "JSONPatch", "patch": patch })
            }
            Outcome::Refused(message) => {
                let message = format!("Sidecloak: {message}");
                let status = json!({ "status": "Failure", "code": 422, "reason": "Invalid", "message": message });
                json!({ "uid": uid, "allowed": false, "status": status })
            }
        };
        json!({ "apiVersion": VERSION, "kind": KIND, "response": response })
    }
}
