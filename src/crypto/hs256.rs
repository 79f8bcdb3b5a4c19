//! JSON web tokens (RFC 7519) of our own making, under HMAC-SHA-256 and no other algorithm, whatever a token says of itself.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::secret::Secret;

/// Signs with the first of its keys and verifies with each.
pub struct Hs256 {
    signing: EncodingKey,
    verifying: Vec<DecodingKey>,
    rules: Validation,
}

impl Hs256 {
    /// With these keys; `None` if there are none.
    pub fn new(keys: &[Secret<32>]) -> Option<Self> {
        // Times are the caller's to check, against its clock.
        let mut rules = Validation::new(Algorithm::HS256);
        rules.required_spec_claims.clear();
        rules.validate_exp = false;
        rules.validate_aud = false;
        Some(Self {
            signing: EncodingKey::from_secret(keys.first()?.expose()),
            verifying: keys.iter().map(|key| DecodingKey::from_secret(key.expose())).collect(),
            rules,
        })
    }

    /// A token with these claims; `None` if they are no JSON object.
    pub fn sign<T: Serialize>(&self, claims: &T) -> Option<String> {
        encode(&Header::new(Algorithm::HS256), claims, &self.signing).ok()
    }

    /// The claims of a token that one of the keys has signed. No time is checked.
    pub fn verify<T: DeserializeOwned>(&self, token: &str) -> Option<T> {
        self.verifying.iter().find_map(|key| decode::<T>(token, key, &self.rules).ok()).map(|token| token.claims)
    }
}

impl std::fmt::Debug for Hs256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hs256({} keys)", self.verifying.len())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::crypto::{base64url, random};

    /// RFC 7515 appendix A.1.
    #[test]
    fn a_token_of_the_standard_does_not_fit_another_key_and_ours_are_hs256() {
        let key: Secret<32> = random::secret().unwrap();
        let tokens = Hs256::new(std::slice::from_ref(&key)).unwrap();
        let foreign = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(tokens.verify::<Value>(foreign), None);
        let ours = tokens.sign(&json!({"sub": "alice"})).unwrap();
        assert_eq!(tokens.verify::<Value>(&ours), Some(json!({"sub": "alice"})));
        let header = base64url::decode(ours.split('.').next().unwrap().as_bytes()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&header).unwrap(), json!({"typ": "JWT", "alg": "HS256"}));
        assert!(Hs256::new(&[]).is_none());
    }

    #[test]
    fn every_key_verifies_and_the_first_signs() {
        let (old, new): (Secret<32>, Secret<32>) = (random::secret().unwrap(), random::secret().unwrap());
        let before = Hs256::new(std::slice::from_ref(&old)).unwrap();
        let after = Hs256::new(&[new, old]).unwrap();
        let claims = json!({"sub": "alice"});
        assert!(after.verify::<Value>(&before.sign(&claims).unwrap()).is_some());
        assert!(before.verify::<Value>(&after.sign(&claims).unwrap()).is_none());
    }

    #[test]
    fn no_other_algorithm_and_no_other_claims() {
        let tokens = Hs256::new(&[random::secret().unwrap()]).unwrap();
        let ours = tokens.sign(&json!({"sub": "alice"})).unwrap();
        let parts: Vec<&str> = ours.split('.').collect();
        for alg in ["none", "None", "HS384", "HS512", "RS256", "ES256"] {
            let header = base64url::encode(json!({"alg": alg, "typ": "JWT"}).to_string().as_bytes());
            assert_eq!(tokens.verify::<Value>(&format!("{header}.{}.{}", parts[1], parts[2])), None, "{alg}");
            assert_eq!(tokens.verify::<Value>(&format!("{header}.{}.", parts[1])), None, "{alg}");
        }
        let other = base64url::encode(br#"{"sub":"mallory"}"#);
        for bad in [
            format!("{}.{other}.{}", parts[0], parts[2]),
            format!("{}.{}", parts[0], parts[1]),
            String::new(),
            "..".into(),
            format!("{ours}."),
        ] {
            assert_eq!(tokens.verify::<Value>(&bad), None, "{bad}");
        }
    }
}
