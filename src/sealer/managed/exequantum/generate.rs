//! A new recipient: its key pair is made by the service, and checked before anything is sealed to it.

use super::answers::{Decapsulated, Generated, Pair, lie};
use super::recipient::{ALGORITHM, Recipient, Signed};
use super::session::{Call, Session, object};
use super::{ApiError, ExeQuantumSettings, Fault, Generation};
use crate::crypto::hex;
use crate::crypto::mac::same;
use crate::secret::SecretBytes;

/// See [`super::ExeQuantum::generate`].
pub async fn pair(session: &Session, settings: &ExeQuantumSettings) -> Result<(String, SecretBytes), ApiError> {
    let call = match settings.generation {
        Generation::First => Call::get("/api/kem/generate_keys"),
        Generation::Later => {
            Call::post("/api/v1/pqc/kem/generate-keys/", object(&[("algorithm", ALGORITHM.as_bytes())]))
        }
    };
    let reply = session.call_long_lived(&call).await?;
    let Pair { pk, sk, signed } = Generated::read(&reply, call.path, settings.generation == Generation::First)?;
    let signed = signed.map(|(key, signature)| Signed {
        verification_key: key.expose().to_vec(),
        signature: signature.expose().to_vec(),
    });
    let recipient = Recipient::check(pk.expose().to_vec(), signed).map_err(|what| lie(call.path, what))?;
    if !recipient.is_opened_by(&sk) {
        return Err(lie(call.path, "has a private key that is not the encapsulation key's"));
    }
    if settings.generation == Generation::First && settings.recipient_secret.is_none() {
        kept(session, &recipient).await?;
    }
    Ok((recipient.to_file(settings.generation), in_hex(&sk)))
}

/// Whether the service keeps the private key, as it will have to for everything that is sealed to this recipient.
async fn kept(session: &Session, recipient: &Recipient) -> Result<(), ApiError> {
    let broken = |_| ApiError::new(Fault::Lie, "ExeQuantum: nothing can be encapsulated to the key that it made");
    let (cipher, ours) = recipient.key.encapsulate().map_err(broken)?;
    let members = [("cipher", hex::encode(&cipher)), ("pk", recipient.hex())];
    let members: Vec<_> = members.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    let call = Call::post("/api/kem/decapsulate_key", object(&members));
    let theirs = Decapsulated::read(&session.call_long_lived(&call).await?, call.path)?;
    if same(ours.expose(), theirs.expose()) {
        Ok(())
    } else {
        Err(lie(call.path, "is not the shared key: the service would not open what is sealed to this recipient"))
    }
}

fn in_hex(key: &SecretBytes) -> SecretBytes {
    SecretBytes::new(hex::encode(key.expose()).into_bytes())
}
