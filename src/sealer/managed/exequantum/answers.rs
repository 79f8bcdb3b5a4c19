//! What the service answers, read member by member: each is hexadecimal of its length, or the whole answer is a lie. Nothing of
//! it is quoted.

use std::fmt;

use serde::de::{DeserializeOwned, Error, Visitor};
use serde::{Deserialize, Deserializer};

use super::{ApiError, CIPHER, Fault, Reply, recipient};
use crate::crypto::hex;
use crate::secret::{Secret, SecretBytes};

/// A ciphertext with its shared key.
#[derive(Deserialize)]
pub struct Encapsulated {
    algorithm: Option<Algorithm>,
    #[serde(alias = "ciphertext")]
    cipher: Option<Hex>,
    #[serde(alias = "shared_secret")]
    shared_key: Option<Hex>,
}

/// The shared key of a ciphertext.
#[derive(Deserialize)]
pub struct Decapsulated {
    algorithm: Option<Algorithm>,
    #[serde(alias = "shared_secret")]
    shared_key: Option<Hex>,
}

/// A key pair, with a signature over its public half in the first generation.
#[derive(Deserialize)]
pub struct Generated {
    algorithm: Option<Algorithm>,
    #[serde(alias = "encapsulation_key")]
    pk: Option<Hex>,
    #[serde(alias = "decapsulation_key")]
    sk: Option<Hex>,
    verification_key: Option<Hex>,
    verification_signature: Option<Hex>,
    signature: Option<Hex>,
}

/// The members of [`Generated`].
pub struct Pair {
    pub pk: SecretBytes,
    pub sk: SecretBytes,
    /// Verification key and signature.
    pub signed: Option<(SecretBytes, SecretBytes)>,
}

/// A temporary token.
#[derive(Deserialize)]
pub struct Token {
    new_token: Text,
}

impl Encapsulated {
    /// Both, from the answer to `call`.
    pub fn read(reply: &Reply, call: &str) -> Result<(Vec<u8>, Secret<32>), ApiError> {
        let Self { algorithm, cipher, shared_key } = parse(reply, call)?;
        right(algorithm, call)?;
        let cipher = bytes(cipher, "ciphertext", &[CIPHER], call)?;
        Ok((cipher.expose().to_vec(), shared(shared_key, call)?))
    }
}

impl Decapsulated {
    /// It, from the answer to `call`.
    pub fn read(reply: &Reply, call: &str) -> Result<Secret<32>, ApiError> {
        let Self { algorithm, shared_key } = parse(reply, call)?;
        right(algorithm, call)?;
        shared(shared_key, call)
    }
}

impl Generated {
    /// The pair, from the answer to `call`; whether its halves belong together is not checked yet.
    pub fn read(reply: &Reply, call: &str, is_signed: bool) -> Result<Pair, ApiError> {
        let Self { algorithm, pk, sk, verification_key, verification_signature, signature } = parse(reply, call)?;
        right(algorithm, call)?;
        let signed = match is_signed {
            false => None,
            true => Some((
                bytes(verification_key, "verification key", &[recipient::VERIFICATION_KEY], call)?,
                bytes(verification_signature.or(signature), "signature", &[recipient::SIGNATURE], call)?,
            )),
        };
        Ok(Pair {
            pk: bytes(pk, "encapsulation key", &[recipient::KEY], call)?,
            sk: bytes(sk, "private key", &recipient::PRIVATE, call)?,
            signed,
        })
    }
}

impl Token {
    /// It, from the answer to `call`: what may stand in a header field.
    pub fn read(reply: &Reply, call: &str) -> Result<SecretBytes, ApiError> {
        let Self { new_token: Text(token) } = parse(reply, call)?;
        let fits = (1..=512).contains(&token.expose().len()) && token.expose().iter().all(u8::is_ascii_graphic);
        if fits { Ok(token) } else { Err(lie(call, "has no usable `new_token`")) }
    }
}

/// A [`Fault::Lie`] about the answer to `call`.
pub fn lie(call: &str, what: &str) -> ApiError {
    ApiError::new(Fault::Lie, format!("ExeQuantum: the answer to {call} {what}; is the endpoint right?"))
}

fn parse<T: DeserializeOwned>(reply: &Reply, call: &str) -> Result<T, ApiError> {
    serde_json::from_slice(reply.body.expose()).map_err(|_| lie(call, "is not the JSON that is documented"))
}

fn right(algorithm: Option<Algorithm>, call: &str) -> Result<(), ApiError> {
    match algorithm {
        Some(Algorithm(false)) => Err(lie(call, "is of another algorithm than ML-KEM-768")),
        Some(Algorithm(true)) | None => Ok(()),
    }
}

fn bytes(member: Option<Hex>, what: &str, lengths: &[usize], call: &str) -> Result<SecretBytes, ApiError> {
    let found = member.and_then(|Hex(bytes)| bytes).filter(|bytes| lengths.contains(&bytes.expose().len()));
    found.ok_or_else(|| {
        let lengths: Vec<String> = lengths.iter().map(ToString::to_string).collect();
        lie(call, &format!("has no {what} of {} bytes in hexadecimal", lengths.join(" or ")))
    })
}

fn shared(member: Option<Hex>, call: &str) -> Result<Secret<32>, ApiError> {
    let bytes = bytes(member, "shared key", &[32], call)?;
    // No KEM gives it; a service that leaves its buffer as it was does, and everybody knows it.
    let secret = Secret::from_slice(bytes.expose()).filter(|secret| secret.expose().iter().any(|byte| *byte != 0));
    secret.ok_or_else(|| lie(call, "has a shared key of zeros"))
}

/// Whether it is the one that we know.
struct Algorithm(bool);

/// Text that is a secret.
struct Text(SecretBytes);

/// The bytes of a text in hexadecimal; `None`: it is none.
struct Hex(Option<SecretBytes>);

/// Reads a text without a copy of it.
struct Reader<T>(fn(&str) -> T);

impl<T> Visitor<'_> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok((self.0)(text))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Reader(|text| Self(hex::decode(text.as_bytes()).map(SecretBytes::new))))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Reader(|text| Self(SecretBytes::new(text.as_bytes().to_vec()))))
    }
}

impl<'de> Deserialize<'de> for Algorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Reader(|text| Self(text.eq_ignore_ascii_case(recipient::ALGORITHM))))
    }
}
