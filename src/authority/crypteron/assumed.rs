//! What Crypteron's public documents leave open, and what we took it to be.

use crate::authority::credentials::Purpose;

/// Whose keys authenticate here.
pub const PURPOSE: Purpose = Purpose::Crypteron;

/// A Bearer from `POST /v1/token` is good for so many seconds.
pub const BEARER: u64 = 3_600;

/// Of a request's body.
pub const BODY: usize = 65_536;
/// Bytes of a description,
pub const DESCRIPTION: usize = 1_024;
/// of a SecPartId,
pub const SEC_PART_ID: usize = 128;
/// and access-control entries of one key.
pub const ENTRIES: usize = 256;
/// `RolloverDays` is at most ten years.
pub const MOST_DAYS: u64 = 3_653;
/// A list shows so many.
pub const LISTED: usize = 10_000;

/// The role of an API key that may do everything in its application,
pub const ADMIN: &str = "admin";
/// of one that may make, roll and describe keys and use the breach switch,
pub const OPERATOR: &str = "operator";
/// and of one that may look. A key with any other role may do nothing here.
pub const AUDITOR: &str = "auditor";

/// AES-256-GCM.
pub const OID: &str = "2.16.840.1.101.3.4.1.46";

/// 401 and 403.
pub const DENIED: &str = "Authorization has been denied for this request.";
/// 400.
pub const INVALID: &str = "The request is invalid.";
/// 404 for a thing that is not there, or another application's.
pub const NOT_FOUND: &str = "The requested resource was not found.";
/// 405.
pub const NOT_ALLOWED: &str = "The requested resource does not support this http method.";
/// 503.
pub const UNAVAILABLE: &str = "The service is not available now.";
