//! NAVER Cloud KMS as a client: values encrypted and decrypted by one key, many in a call.

use std::fmt;
use std::ops::Range;

use super::http::{Http, Outgoing, Reply};
use super::settings::NcloudKmsSettings;
use super::tokens::TokenCache;
use super::{Answering, Api, ApiError, Fault, How};
use crate::clock::SharedClock;
use crate::secret::SecretBytes;
use request::Verb;
use who::{Proof, Who};

mod answer;
mod form;
mod request;
mod signature;
mod who;

/// Values that are put into one call. When they are opened, the array has each twice and one a third time.
pub const VALUES: usize = 255;

/// Texts in one call. The vendor names no limit of its arrays; ours takes 1000.
pub const BATCH: usize = 2 * VALUES + 1;

/// The longest text, in bytes (documented).
pub const LONGEST: usize = 32 * 1024;

/// Bytes of ciphertexts in one call: with those of a call, an answer stays within the 1 MiB that it has by default. More are
/// asked for in several calls.
pub const TOGETHER: usize = 960 << 10;

/// Tries with one credential, and then with a renewed one.
const CREDENTIALS: usize = 2;

/// See the module.
pub struct NcloudKms {
    http: Http,
    /// What the endpoint's base URL puts before every path: signatures cover it.
    prefix: String,
    /// The path of the key.
    key: String,
    convergent: bool,
    who: Who,
    clock: SharedClock,
}

impl NcloudKms {
    /// The error says what is wrong with the settings, and what to do.
    pub fn new(http: Http, settings: &NcloudKmsSettings, clock: SharedClock) -> Result<Self, String> {
        let tag = &settings.key_tag;
        let fits = (1..=255).contains(&tag.len())
            && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'));
        if !fits || tag.bytes().all(|byte| byte == b'.') {
            return Err("`key_tag` is no key tag: it has 1 to 255 characters of A-Z a-z 0-9 . _ ~ -, as the list of keys shows it".into());
        }
        let base: http::Uri = http.base().parse().map_err(|_| "the endpoint is no URL".to_owned())?;
        let prefix = base.path().trim_end_matches('/').to_owned();
        let key = format!("/kms/v1/keys/{tag}");
        let who = Who::open(&settings.credential, &http, format!("{key}/access-token"), clock.clone())?;
        Ok(Self { http, prefix, key, convergent: settings.convergent, who, clock })
    }

    /// The access tokens, for the metrics; `None` where none are got.
    pub fn tokens(&self) -> Option<&TokenCache> {
        self.who.tokens()
    }

    /// One call, under a credential that is renewed once.
    async fn call(&self, verb: Verb, body: impl Fn() -> SecretBytes + Send) -> Result<Reply, ApiError> {
        let mut refused: Option<(Proof, ApiError)> = None;
        let path = format!("{}/{}", self.key, verb.name());
        let target = format!("{}{path}", self.prefix);
        for _ in 0..CREDENTIALS {
            let proof = self.who.proof(&target, self.clock.micros() / 1000).await?;
            if refused.as_ref().is_some_and(|(before, _)| before.is(&proof)) {
                break;
            }
            let mut headers = proof.headers.clone();
            headers.push(request::json());
            let outgoing = Outgoing { method: http::Method::POST, path: path.clone(), headers, body: body() };
            let reply = self.http.send(outgoing).await?;
            match answer::failure(&reply) {
                None => return Ok(reply),
                Some(error) if error.kind == Fault::Credential => {
                    self.who.refused(&proof);
                    let error = self.who.explain(&error, &reply, self.clock.now());
                    refused = Some((proof, error));
                }
                Some(error) => return Err(error),
            }
        }
        Err(refused.map_or_else(|| ApiError::new(Fault::Credential, "there is no credential"), |(_, error)| error))
    }

    fn context(&self, how: How) -> Result<Option<[u8; 32]>, ApiError> {
        if how.signed {
            return Err(ApiError::new(Fault::Refused, "NAVER Cloud KMS does not sign what it encrypts"));
        }
        if self.convergent && how.context.is_none() {
            return Err(ApiError::new(Fault::Refused, "a convergent key wants a context"));
        }
        Ok(how.context)
    }
}

impl Api for NcloudKms {
    fn encrypt<'a>(&'a self, texts: &'a [SecretBytes], how: How) -> Answering<'a, Vec<Vec<u8>>> {
        Box::pin(async move {
            let context = self.context(how)?;
            if texts.iter().any(|text| text.expose().len() > LONGEST) {
                return Err(ApiError::new(Fault::Refused, format!("a text is longer than {LONGEST} bytes")));
            }
            let mut ciphertexts = Vec::with_capacity(texts.len());
            for range in calls(texts.iter().map(|text| form::ciphertext_len(text.expose().len()))) {
                let texts = texts.get(range).unwrap_or_default();
                let reply = self.call(Verb::Encrypt, || request::encrypt(texts, context.as_ref())).await?;
                ciphertexts.extend(answer::ciphertexts(&reply, texts, self.convergent)?);
            }
            Ok(ciphertexts)
        })
    }

    fn decrypt<'a>(&'a self, ciphertexts: &'a [Vec<u8>], how: How) -> Answering<'a, Vec<SecretBytes>> {
        Box::pin(async move {
            let context = self.context(how)?;
            // What was stored may be anything: nothing that cannot be a ciphertext goes out.
            if ciphertexts.iter().any(|ciphertext| form::sealed_len(ciphertext).is_none()) {
                return Err(ApiError::new(Fault::Refused, "this is no ciphertext of NAVER Cloud KMS (ncpkms:v1:…)"));
            }
            let mut texts = Vec::with_capacity(ciphertexts.len());
            for range in calls(ciphertexts.iter().map(Vec::len)) {
                let ciphertexts = ciphertexts.get(range).unwrap_or_default();
                let reply = self.call(Verb::Decrypt, || request::decrypt(ciphertexts, context.as_ref())).await?;
                texts.extend(answer::texts(&reply, ciphertexts)?);
            }
            Ok(texts)
        })
    }
}

impl fmt::Debug for NcloudKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NcloudKms").field("endpoint", &self.http.base()).finish_non_exhaustive()
    }
}

/// Which values go together, given how long their ciphertexts are.
fn calls(lengths: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let (mut calls, mut start, mut end, mut bytes) = (Vec::new(), 0, 0, 0);
    for length in lengths {
        // Quotes and a comma.
        let length = length.saturating_add(3);
        if end > start && (end - start == BATCH || bytes + length > TOGETHER) {
            calls.push(start..end);
            (start, bytes) = (end, 0);
        }
        bytes = bytes.saturating_add(length);
        end += 1;
    }
    if end > start {
        calls.push(start..end);
    }
    calls
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn calls_hold_every_value_once_and_within_bounds(lengths in proptest::collection::vec(0usize..100_000, 0..600)) {
            let mut next = 0;
            for range in calls(lengths.iter().copied()) {
                prop_assert_eq!(range.start, next);
                prop_assert!(!range.is_empty() && range.len() <= BATCH);
                let bytes: usize = lengths[range.clone()].iter().map(|length| length + 3).sum();
                prop_assert!(bytes <= TOGETHER || range.len() == 1);
                next = range.end;
            }
            prop_assert_eq!(next, lengths.len());
        }
    }

    #[test]
    fn two_hundred_short_values_are_one_call() {
        assert_eq!(calls(std::iter::repeat_n(form::ciphertext_len(200), 200)).len(), 1);
    }
}
