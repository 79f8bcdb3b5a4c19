//! Signature v2: HMAC-SHA-256 over method, raw request target, timestamp and access key. Neither the body nor any other header is
//! covered, and nothing is used only once: who sees a signed request can send it again, with another body, for five minutes. That
//! is the vendor's design; TLS is what keeps requests from being seen.

use axum::http::request::Parts;

use super::fault::Fault;
use crate::crypto::base64;
use crate::crypto::mac::{hmac_sha256, same};

/// How far the caller's clock may be from ours, in milliseconds.
const SKEW: u64 = 5 * 60 * 1000;

/// What a request says about itself.
#[derive(Debug)]
pub struct Claim<'a> {
    /// `x-ncp-iam-access-key`.
    pub access_key: &'a str,
    timestamp: &'a str,
    signature: &'a str,
}

impl<'a> Claim<'a> {
    /// The three headers of a request made about `now` (Unix seconds).
    pub fn of(parts: &'a Parts, now: u64) -> Result<Self, Fault> {
        let header = |name: &'static str| {
            let mut values = parts.headers.get_all(name).iter();
            match (values.next(), values.next()) {
                (Some(value), None) => value.to_str().ok(),
                _ => None,
            }
        };
        let (Some(timestamp), Some(access_key), Some(signature)) =
            (header("x-ncp-apigw-timestamp"), header("x-ncp-iam-access-key"), header("x-ncp-apigw-signature-v2"))
        else {
            return Err(Fault::unauthenticated("Authentication information is missing."));
        };
        let made: u64 =
            timestamp.parse().map_err(|_| Fault::unauthenticated("The timestamp is not in milliseconds."))?;
        if made.abs_diff(now.saturating_mul(1000)) > SKEW {
            return Err(Fault::unauthenticated("The timestamp is more than five minutes off."));
        }
        Ok(Self { access_key, timestamp, signature })
    }

    /// Whether this request was signed with this secret key.
    pub fn is_signed(&self, parts: &Parts, secret: &str) -> bool {
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let signature = sign(parts.method.as_str(), target, self.timestamp, self.access_key, secret);
        same(signature.as_bytes(), self.signature.as_bytes())
    }
}

/// The signature that a caller must send.
pub fn sign(method: &str, target: &str, timestamp: &str, access_key: &str, secret: &str) -> String {
    let mut message = String::with_capacity(method.len() + target.len() + timestamp.len() + access_key.len() + 3);
    for part in [method, " ", target, "\n", timestamp, "\n", access_key] {
        message.push_str(part);
    }
    base64::encode(&hmac_sha256(secret.as_bytes(), message.as_bytes()))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    const SECRET: &str = "SYNTHETICsecretkeyFORtests0123456789abcd";
    const ACCESS: &str = "SYNTHETICACCESSKEY01";
    const VECTORS: [(&str, &str, &str); 2] = [
        (
            "POST",
            "/kms/v1/keys/a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6q7r8s9t0u1v2w3x4y5z6/encrypt",
            "6aM9idgCFBvzGEwlP+vPqgRPqon7n/+NRRTZX+qAI/4=",
        ),
        ("GET", "/kms/v1/keys?pageNo=1&pageSize=100", "KgSvY+iu6799Re/LYOdDSIYTUOkm9CxGPv1z08+rnb8="),
    ];

    fn parts(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn vectors() {
        for (method, target, signature) in VECTORS {
            assert_eq!(sign(method, target, "1700000000000", ACCESS, SECRET), signature);
        }
    }

    #[test]
    fn a_signature_is_for_its_method_target_time_and_key() {
        let (method, target, signature) = VECTORS[1];
        let headers = |time: &'static str| {
            [("x-ncp-apigw-timestamp", time), ("x-ncp-iam-access-key", ACCESS), ("x-ncp-apigw-signature-v2", signature)]
        };
        let signed = |method: &str, target: &str, time: &'static str, secret: &str| {
            let parts = parts(method, target, &headers(time));
            Claim::of(&parts, 1_700_000_000).is_ok_and(|claim| claim.is_signed(&parts, secret))
        };
        assert!(signed(method, target, "1700000000000", SECRET));
        assert!(signed(method, &format!("http://host{target}"), "1700000000000", SECRET), "in absolute form");
        assert!(!signed("POST", target, "1700000000000", SECRET));
        assert!(!signed(method, "/kms/v1/keys?pageNo=2&pageSize=100", "1700000000000", SECRET));
        assert!(!signed(method, "/kms/v1/keys?pageNo=1&pageSize=%3100", "1700000000000", SECRET), "the raw target");
        assert!(!signed(method, target, "1700000000001", SECRET));
        assert!(!signed(method, target, "1700000000000", "another"));
    }

    #[test]
    fn a_claim_is_whole_and_of_now() {
        let with = |time: &str| {
            let headers =
                [("x-ncp-apigw-timestamp", time), ("x-ncp-iam-access-key", "a"), ("x-ncp-apigw-signature-v2", "s")];
            Claim::of(&parts("GET", "/", &headers), 1_700_000_000).map(drop).map_err(|fault| fault.status())
        };
        for good in ["1700000000000", "1700000300000", "1699999700000"] {
            assert_eq!(with(good), Ok(()), "{good}");
        }
        for bad in ["1700000300001", "1699999699999", "1700000000", "", "x", "-1", "99999999999999999999999"] {
            assert_eq!(with(bad), Err(401), "{bad}");
        }
        let twice = [
            ("x-ncp-apigw-timestamp", "1700000000000"),
            ("x-ncp-iam-access-key", "a"),
            ("x-ncp-iam-access-key", "b"),
            ("x-ncp-apigw-signature-v2", "s"),
        ];
        assert!(Claim::of(&parts("GET", "/", &twice), 1_700_000_000).is_err());
        assert!(Claim::of(&parts("GET", "/", &twice[..2]), 1_700_000_000).is_err());
    }
}
