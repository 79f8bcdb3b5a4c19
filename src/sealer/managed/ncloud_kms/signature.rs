//! Signature v2 of the vendor's gateway, and what to say where it is refused because a clock is off.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use time::PrimitiveDateTime;
use time::macros::format_description;

use super::super::{ApiError, Fault};
use crate::crypto::base64;
use crate::crypto::mac::hmac_sha256;
use crate::secret::SecretBytes;

const TIMESTAMP: HeaderName = HeaderName::from_static("x-ncp-apigw-timestamp");
const ACCESS_KEY: HeaderName = HeaderName::from_static("x-ncp-iam-access-key");
const SIGNATURE: HeaderName = HeaderName::from_static("x-ncp-apigw-signature-v2");

/// How far a clock may be off without being worth a word (documented: five minutes are too far).
const TOLERANCE: u64 = 60;

/// The header fields of a POST to this raw target at this time (Unix milliseconds).
pub(super) fn headers(
    target: &str,
    millis: u64,
    access_key: &HeaderValue,
    secret: &SecretBytes,
) -> Result<Vec<(HeaderName, HeaderValue)>, ApiError> {
    let no_header = |_| ApiError::new(Fault::Credential, "a signature fits no header");
    let millis = millis.to_string();
    let signature = sign("POST", target, &millis, access_key.as_bytes(), secret.expose());
    Ok(vec![
        (TIMESTAMP, HeaderValue::from_str(&millis).map_err(no_header)?),
        (ACCESS_KEY, access_key.clone()),
        (SIGNATURE, HeaderValue::from_str(&signature).map_err(no_header)?),
    ])
}

fn sign(method: &str, target: &str, millis: &str, access_key: &[u8], secret: &[u8]) -> String {
    let message = [method.as_bytes(), b" ", target.as_bytes(), b"\n", millis.as_bytes(), b"\n", access_key].concat();
    base64::encode(&hmac_sha256(secret, &message))
}

/// What an answer's `Date` says of this machine's clock, if that is far off.
pub(super) fn skew(headers: &HeaderMap, now: u64) -> Option<String> {
    let form =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    let date = PrimitiveDateTime::parse(headers.get(header::DATE)?.to_str().ok()?, &form).ok()?;
    let theirs = u64::try_from(date.assume_utc().unix_timestamp()).ok()?;
    let off = now.abs_diff(theirs);
    let side = if now > theirs { "ahead of" } else { "behind" };
    (off > TOLERANCE)
        .then(|| format!("this machine's clock is {off} s {side} the API's, which takes at most 300: set the clock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"SYNTHETICsecretkeyFORtests0123456789abcd";
    const ACCESS: &[u8] = b"SYNTHETICACCESSKEY01";
    const TARGET: &str = "/kms/v1/keys/a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6q7r8s9t0u1v2w3x4y5z6/encrypt";

    #[test]
    fn vectors() {
        for (method, target, signature) in [
            ("POST", TARGET, "6aM9idgCFBvzGEwlP+vPqgRPqon7n/+NRRTZX+qAI/4="),
            ("GET", "/kms/v1/keys?pageNo=1&pageSize=100", "KgSvY+iu6799Re/LYOdDSIYTUOkm9CxGPv1z08+rnb8="),
        ] {
            assert_eq!(sign(method, target, "1700000000000", ACCESS, SECRET), signature);
        }
        let access = HeaderValue::from_bytes(ACCESS).unwrap();
        let headers = headers(TARGET, 1_700_000_000_000, &access, &SecretBytes::new(SECRET.to_vec())).unwrap();
        let values: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(
            values,
            [
                ("x-ncp-apigw-timestamp", "1700000000000"),
                ("x-ncp-iam-access-key", "SYNTHETICACCESSKEY01"),
                ("x-ncp-apigw-signature-v2", "6aM9idgCFBvzGEwlP+vPqgRPqon7n/+NRRTZX+qAI/4="),
            ]
        );
    }

    #[test]
    fn a_date_far_off_is_worth_a_word() {
        let said = |date: &'static str, now: u64| {
            let mut headers = HeaderMap::new();
            headers.insert(header::DATE, HeaderValue::from_static(date));
            skew(&headers, now)
        };
        const DATE: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
        assert_eq!(said(DATE, 1_700_000_000), None);
        assert_eq!(said(DATE, 1_700_000_060), None);
        assert!(said(DATE, 1_700_000_400).unwrap().contains("400 s ahead of"));
        assert!(said(DATE, 1_699_999_000).unwrap().contains("1000 s behind"));
        for other in ["", "yesterday", "Tue, 99 Nov 2023 22:13:20 GMT", "2023-11-14T22:13:20Z"] {
            assert_eq!(said(other, 0), None, "{other}");
        }
        assert_eq!(skew(&HeaderMap::new(), 0), None);
    }
}
