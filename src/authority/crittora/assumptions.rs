//! What the vendor does not publish and we had to choose: **A** in `docs/apis/crittora.md`. What is documented stands where it
//! is used.

use http::StatusCode;

/// Whoever gave no bearer token or a bad one, or no user name or no password.
pub(super) const UNAUTHORIZED: &str = "Unauthorized";
/// Whoever gave no partner key or a bad one.
pub(super) const FORBIDDEN: &str = "Forbidden";
/// Whoever asks too often.
pub(super) const TOO_MANY: &str = "Too Many Requests";
/// A value that does not open, whyever: nobody learns more.
pub(super) const DOES_NOT_OPEN: (StatusCode, &str) =
    (StatusCode::BAD_REQUEST, "encrypted_data does not open: it is damaged, or not for this partner");

/// The longest `data`, in bytes as it stands between its quotes.
pub(super) const MAX_DATA: usize = 4 << 20;
/// The longest body of a call; what the longest `data` is encrypted to fits.
pub(super) const MAX_BODY: usize = 8 << 20;
/// The longest body of a log-in.
pub(super) const MAX_LOGIN: usize = 64 << 10;
/// The longest client id of a log-in, as Cognito has it.
pub(super) const MAX_CLIENT_ID: usize = 128;
/// Partners in one `permissions`, and characters of a `partner_id`.
pub(super) const MAX_PARTNERS: usize = 64;
pub(super) const MAX_PARTNER_ID: usize = 128;

/// Names of a header: the documented one, then what older clients send.
pub(super) const API_KEY: [&str; 2] = ["api_key", "x-api-key"];
pub(super) const ACCESS_KEY: [&str; 2] = ["access_key", "x-access-key"];
pub(super) const SECRET_KEY: [&str; 2] = ["secret_key", "x-secret-key"];

/// How a permission says that its partner may open the value. None at all says so, too, since there is nothing else to give.
pub(super) fn lets_open(permission: &str) -> bool {
    matches!(permission, "d" | "read" | "decrypt")
}

/// What may stand beside it, since whoever may open a signed value may verify it.
pub(super) fn lets_verify(permission: &str) -> bool {
    matches!(permission, "v" | "verify")
}

/// `iss` of the tokens that the log-in gives out.
pub(super) const ISSUER: &str = "urn:sidecloak:crittora";
/// `scope` of an access token.
pub(super) const SCOPE: &str = "aws.cognito.signin.user.admin";
/// How long a refresh token lasts, as long as Cognito's do unless told otherwise.
pub(super) const REFRESH_SECONDS: u64 = 30 * 24 * 3600;
/// Places for sessions of a user; far from all of them taken, a further session seldom takes the place of another.
pub(super) const SESSIONS: u64 = 4096;
