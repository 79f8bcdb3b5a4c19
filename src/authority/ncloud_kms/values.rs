//! `encrypt`, `decrypt`, `re-encrypt` and `create-custom-key`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;

use super::assumptions::RSA_VALUES;
use super::body::{self, Tag, Text, Texts};
use super::entry::{KeyType, Status};
use super::fault::Fault;
use super::hot::{Cipher, Face, Hot};
use super::identity;
use super::sealing::{self, Job, What};
use crate::audit::Use;
use crate::authority::{Caller, Refused, blocking};
use crate::crypto::{base64, random};
use crate::keyring::{KeyringError, Permissions};
use crate::secret::SecretBytes;

const CONTEXT: usize = 50;
/// Of a ciphertext around a value of a usual length.
const ROOM: usize = 96;

#[derive(Deserialize)]
struct Plaintexts<'a> {
    #[serde(borrow)]
    plaintext: Texts<'a>,
    #[serde(borrow, default)]
    context: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Ciphertexts<'a> {
    #[serde(borrow)]
    ciphertext: Texts<'a>,
    #[serde(borrow, default)]
    context: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct CustomKey<'a> {
    request_plain_key: Option<bool>,
    bits: Option<u64>,
    #[serde(borrow)]
    context: Option<Text<'a>>,
}

/// `POST …/encrypt`.
pub async fn encrypt(State(face): State<Arc<Face>>, Tag(tag): Tag, request: Request) -> Result<Response, Fault> {
    let (call, body) = Call::begin(face, tag, request, Permissions::ENCRYPT).await?;
    let done = async {
        let body = body::read(body).await?;
        let asked: Plaintexts<'_> = body::parse(&body)?;
        call.values(What::Encrypt, asked.plaintext, asked.context.as_ref(), "{\"ciphertext\":").await
    };
    let done = done.await;
    call.end(done)
}

/// `POST …/decrypt`.
pub async fn decrypt(State(face): State<Arc<Face>>, Tag(tag): Tag, request: Request) -> Result<Response, Fault> {
    let (call, body) = Call::begin(face, tag, request, Permissions::DECRYPT).await?;
    let done = async {
        let body = body::read(body).await?;
        let asked: Ciphertexts<'_> = body::parse(&body)?;
        call.values(What::Decrypt, asked.ciphertext, asked.context.as_ref(), "{\"plaintext\":").await
    };
    let done = done.await;
    call.end(done)
}

/// `POST …/re-encrypt` and `POST …/reencrypt`.
pub async fn reencrypt(State(face): State<Arc<Face>>, Tag(tag): Tag, request: Request) -> Result<Response, Fault> {
    let (call, body) = Call::begin(face, tag, request, Permissions::ENCRYPT | Permissions::DECRYPT).await?;
    let done = async {
        let body = body::read(body).await?;
        let asked: Ciphertexts<'_> = body::parse(&body)?;
        call.values(What::Reencrypt, asked.ciphertext, asked.context.as_ref(), "{\"ciphertext\":").await
    };
    let done = done.await;
    call.end(done)
}

/// `POST …/create-custom-key`.
pub async fn custom_key(State(face): State<Arc<Face>>, Tag(tag): Tag, request: Request) -> Result<Response, Fault> {
    let (call, body) = Call::begin(face, tag, request, Permissions::ENCRYPT).await?;
    let done = async {
        let body = body::read(body).await?;
        let asked: CustomKey<'_> = body::parse_or_default(&body)?;
        call.custom_key(&asked).await
    };
    let done = done.await;
    call.end(done)
}

/// A call by somebody who may do it.
struct Call {
    face: Arc<Face>,
    caller: Caller,
    hot: Arc<Hot>,
    what: Use,
}

/// An answer and how many values are in it.
type Done = Result<(Vec<u8>, u64), Fault>;

impl Call {
    /// Who asks may be nobody we know: only then is the body read.
    async fn begin(face: Arc<Face>, tag: String, request: Request, bits: u32) -> Result<(Self, Body), Fault> {
        let (parts, body) = request.into_parts();
        let caller = identity::user(&face, &parts, &tag).await?;
        let hot = face.key(&tag).await?;
        let what = if bits & Permissions::DECRYPT == 0 { Use::Sealed } else { Use::Opened };
        let call = Self { face, caller, hot, what };
        match call.permit(bits).await {
            Ok(()) => Ok((call, body)),
            Err(fault) => {
                call.count(Use::Refused, 1);
                Err(fault)
            }
        }
    }

    async fn permit(&self, bits: u32) -> Result<(), Fault> {
        let permitted = self.face.authority.vault.permit(&self.caller, &self.hot.tag, bits).await;
        if let Err(Refused::State(_)) = permitted {
            // No key stays in memory that may not be used.
            self.face.forget(self.hot.tag.as_str());
        }
        let permissions = permitted?;
        if bits & Permissions::DECRYPT != 0 && permissions.has(Permissions::MASK) {
            return Err(Fault::forbidden());
        }
        if self.hot.entry.status != Status::Enable {
            return Err(Fault::unprocessable("The key is disabled."));
        }
        if !sealing::encrypts(self.hot.entry.key_type) {
            return Err(sealing::wrong_type());
        }
        Ok(())
    }

    fn end(&self, done: Done) -> Result<Response, Fault> {
        match done {
            Ok((out, values)) => {
                self.count(self.what, values);
                Ok(body::finish(out))
            }
            Err(fault) => {
                self.count(Use::Refused, 1);
                Err(fault)
            }
        }
    }

    fn count(&self, what: Use, values: u64) {
        let Face { authority, class, .. } = &*self.face;
        authority.vault.count(&self.caller, &self.hot.tag, class, what, values);
    }

    async fn values(&self, what: What, texts: Texts<'_>, context: Option<&Text<'_>>, head: &str) -> Done {
        let context = self.context(context)?;
        let (values, _) = texts.split()?;
        let count = values.len();
        let rsa = self.hot.entry.key_type == KeyType::Rsa;
        if rsa && count > RSA_VALUES {
            return Err(Fault::invalid(format!("An array for an RSA2048 key holds at most {RSA_VALUES} values.")));
        }
        let (mut hot, mut sealing) = (Arc::clone(&self.hot), None);
        if what != What::Decrypt {
            let (newest, cipher) = self.face.sealing(hot, count as u64).await?;
            (hot, sealing) = (newest, Some(cipher));
        }
        let opening = if what == What::Encrypt { Vec::new() } else { self.opening(&hot, values).await? };
        let longest: usize = values.iter().map(|text| text.bytes().len()).sum();
        let mut out = body::begin(longest + count * ROOM);
        out.extend_from_slice(head.as_bytes());
        let job = Job { what, texts, context, sealing, opening };
        if rsa {
            let job = job.owned();
            out = blocking(move || {
                job.run(&mut out)?;
                Ok::<_, Fault>(out)
            })
            .await?;
        } else {
            job.run(&mut out)?;
        }
        out.push(b'}');
        Ok((out, count as u64))
    }

    /// The versions that these ciphertexts name, as far as there are such.
    async fn opening(&self, hot: &Arc<Hot>, texts: &[Text<'_>]) -> Result<Vec<Arc<Cipher>>, Fault> {
        let (mut found, mut asked) = (Vec::<Arc<Cipher>>::new(), Vec::new());
        for parsed in texts.iter().filter_map(|text| sealing::parse(&text.0)) {
            if asked.contains(&parsed.number) {
                continue;
            }
            asked.push(parsed.number);
            if parsed.number <= hot.entry.current() {
                found.extend(self.face.opening(hot, parsed.number).await?);
            }
        }
        Ok(found)
    }

    async fn custom_key(&self, asked: &CustomKey<'_>) -> Done {
        let bytes = match asked.bits.unwrap_or(256) {
            bits @ (128 | 256 | 512) => usize::try_from(bits / 8).unwrap_or_default(),
            _ => return Err(Fault::invalid("bits is 128, 256 or 512.")),
        };
        let context = self.context(asked.context.as_ref())?;
        let (_, cipher) = self.face.sealing(Arc::clone(&self.hot), 1).await?;
        let no_random = |error| Fault::from(Refused::from(KeyringError::from(error)));
        let mut key = SecretBytes::new(vec![0; bytes]);
        random::fill(key.expose_mut()).map_err(no_random)?;
        let nonce = random::bytes().map_err(no_random)?;
        let mut out = body::begin(4 * ROOM);
        out.push(b'{');
        if asked.request_plain_key.unwrap_or(false) {
            out.extend_from_slice(br#""plaintext":""#);
            base64::encode_into(key.expose(), &mut out);
            out.extend_from_slice(br#"","#);
        }
        out.extend_from_slice(br#""ciphertext":""#);
        let number = cipher.number;
        out = if self.hot.entry.key_type == KeyType::Rsa {
            blocking(move || {
                sealing::seal(&cipher, nonce, &context, &mut key, &mut out).map_err(|why| why.fault(0))?;
                Ok::<_, Fault>(out)
            })
            .await?
        } else {
            sealing::seal(&cipher, nonce, &context, &mut key, &mut out).map_err(|why| why.fault(0))?;
            out
        };
        out.extend_from_slice(format!(r#"","key_version":{number}}}"#).as_bytes());
        Ok((out, 1))
    }

    fn context(&self, context: Option<&Text<'_>>) -> Result<Vec<u8>, Fault> {
        let context = context.map_or(Some(Vec::new()), |text| base64::decode(text.bytes(), CONTEXT));
        let context = context.ok_or_else(|| Fault::invalid("context is not base64 of at most 50 bytes."))?;
        if context.is_empty() && self.hot.entry.convergent {
            return Err(Fault::invalid("A convergent key needs a context."));
        }
        Ok(context)
    }
}
