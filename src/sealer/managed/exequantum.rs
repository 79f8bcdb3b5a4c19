//! ExeQuantum as a client, both generations of its API: it encapsulates to a recipient whose key pair it made, and decapsulates.
//! What is sealed never goes there. `docs/apis/exequantum.md` has the calls.

use super::http::{Http, Outgoing, Reply};
use super::settings::{ExeQuantumSettings, Generation};
use super::tokens::TokenCache;
use super::{Answering, ApiError, Fault, KemApi};
use crate::clock::SharedClock;
use crate::crypto::hex;
use crate::crypto::kem::expanded;
use crate::keyring::KeySource;
use crate::secret::{Secret, SecretBytes};

mod answers;
mod generate;
mod recipient;
mod session;

use answers::{Decapsulated, Encapsulated};
use recipient::Recipient;
use session::{Call, Session, object};

pub use recipient::recipient_key;

/// Bytes of an ML-KEM-768 ciphertext.
const CIPHER: usize = 1088;

/// One endpoint, and the recipient that a profile is configured with.
pub struct ExeQuantum {
    session: Session,
    recipient: Recipient,
    /// Sent along with every decapsulation; `None`: the service keeps it.
    private: Option<Private>,
}

impl ExeQuantum {
    /// Reads the recipient and checks that it fits the settings. The error says what does not, and what to do.
    pub fn new(http: Http, settings: &ExeQuantumSettings, clock: SharedClock) -> Result<Self, String> {
        let recipient = Recipient::read(&settings.recipient)?;
        if settings.generation == Generation::First && recipient.signed.is_none() {
            return Err(format!(
                "the recipient {} has no signature, which ExeQuantum's first generation asks for: set `generation: later`, or make another recipient with `sidecloak profiles init`",
                settings.recipient.display()
            ));
        }
        let private = match (&settings.recipient_secret, settings.generation) {
            (Some(source), _) => Some(Private::open(source, &recipient)?),
            (None, Generation::First) => None,
            (None, Generation::Later) => {
                return Err(
                    "ExeQuantum's later generation keeps no private keys: give `recipient_secret`, which `sidecloak profiles init` writes"
                        .into(),
                );
            }
        };
        Ok(Self { session: Session::new(http, settings, clock)?, recipient, private })
    }

    /// Has the service make a key pair with the long-lived token, so that the service keeps it as long as that lives, and believes
    /// none of it before it is checked: the content of the recipient file, and the private key as the one line that
    /// `recipient_secret` reads. Needs no recipient file yet.
    pub async fn generate(
        http: Http,
        settings: &ExeQuantumSettings,
        clock: SharedClock,
    ) -> Result<(String, SecretBytes), ApiError> {
        let session = Session::new(http, settings, clock).map_err(|text| ApiError::new(Fault::Credential, text))?;
        generate::pair(&session, settings).await
    }

    async fn encapsulated(&self) -> Result<(Vec<u8>, Secret<32>), ApiError> {
        let pk = self.recipient.hex();
        let call = match (self.session.generation(), &self.recipient.signed) {
            (Generation::First, Some(signed)) => Call::post(
                "/api/kem/encapsulate_key",
                object(&[
                    ("pk", pk.as_bytes()),
                    ("signature", hex::encode(&signed.signature).as_bytes()),
                    ("verif_key", hex::encode(&signed.verification_key).as_bytes()),
                ]),
            ),
            (Generation::First, None) => {
                return Err(ApiError::new(Fault::Refused, "ExeQuantum: the recipient has no signature"));
            }
            (Generation::Later, _) => Call::post(
                "/api/v1/pqc/kem/encapsulate/",
                object(&[("algorithm", recipient::ALGORITHM.as_bytes()), ("encapsulation_key", pk.as_bytes())]),
            ),
        };
        Encapsulated::read(&self.session.call(&call).await?, call.path)
    }

    async fn decapsulated(&self, kem_ct: &[u8]) -> Result<Secret<32>, ApiError> {
        if kem_ct.len() != CIPHER {
            return Err(ApiError::new(
                Fault::Refused,
                "ExeQuantum: what is to be opened is no ciphertext of ML-KEM-768",
            ));
        }
        let cipher = hex::encode(kem_ct);
        let private = self.private.as_ref().map(Private::current).transpose()?;
        let call = match (self.session.generation(), &private) {
            (Generation::First, Some(private)) => Call::post(
                "/api/kem/decapsulate_key",
                object(&[("cipher", cipher.as_bytes()), ("sk", private.expose())]),
            ),
            (Generation::First, None) => Call::post(
                "/api/kem/decapsulate_key",
                object(&[("cipher", cipher.as_bytes()), ("pk", self.recipient.hex().as_bytes())]),
            ),
            (Generation::Later, Some(private)) => Call::post(
                "/api/v1/pqc/kem/decapsulate/",
                object(&[
                    ("algorithm", recipient::ALGORITHM.as_bytes()),
                    ("decapsulation_key", private.expose()),
                    ("ciphertext", cipher.as_bytes()),
                ]),
            ),
            (Generation::Later, None) => {
                return Err(ApiError::new(Fault::Refused, "ExeQuantum: there is no `recipient_secret`"));
            }
        };
        Decapsulated::read(&self.session.call(&call).await?, call.path)
    }

    /// The temporary tokens, for the metrics; `None`: the long-lived one is used.
    pub fn tokens(&self) -> Option<&TokenCache> {
        self.session.tokens()
    }
}

impl KemApi for ExeQuantum {
    fn encapsulate(&self) -> Answering<'_, (Vec<u8>, Secret<32>)> {
        Box::pin(self.encapsulated())
    }

    fn decapsulate<'a>(&'a self, kem_ct: &'a [u8]) -> Answering<'a, Secret<32>> {
        Box::pin(self.decapsulated(kem_ct))
    }
}

/// The recipient's private half: one line of hexadecimal, the key as FIPS 203 writes it out or its seed.
struct Private(super::credential::Credential);

impl Private {
    /// Reads it, and tries whether it opens for the recipient.
    fn open(source: &KeySource, recipient: &Recipient) -> Result<Self, String> {
        let private = Self(super::credential::Credential::open(source)?);
        let line = private.current().map_err(|error| error.text)?;
        let fits = hex::decode(line.expose()).map(SecretBytes::new).is_some_and(|key| recipient.is_opened_by(&key));
        if fits {
            Ok(private)
        } else {
            Err(format!(
                "{source} is not the private key of the recipient: give the one that `sidecloak profiles init` wrote beside it"
            ))
        }
    }

    fn current(&self) -> Result<SecretBytes, ApiError> {
        let line = self.0.current()?;
        let long = [2 * expanded::EXPANDED, 128].contains(&line.expose().len());
        if long && line.expose().iter().all(u8::is_ascii_hexdigit) {
            Ok(line)
        } else {
            Err(ApiError::new(
                Fault::Credential,
                "ExeQuantum: `recipient_secret` is not one line of hexadecimal with a private key of ML-KEM-768",
            ))
        }
    }
}

#[cfg(test)]
mod tests;
