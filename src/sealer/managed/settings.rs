//! A profile as the configuration gives it, checked.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{crittora, ncloud_kms};
use crate::keyring::KeySource;
use crate::name::PartitionName;
use crate::rules::profile::{PerValue, Profile};
use crate::tls::ClientTls;

/// One profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileSettings {
    /// What rules write as `key`; has the form of a partition's name.
    pub name: Arc<str>,
    /// Whose epochs, state and roles count. Default: the name.
    pub partition: PartitionName,
    /// Whose API, and how it is spoken to.
    pub provider: Provider,
    /// What goes to the API.
    pub granularity: Granularity,
    /// See [`crate::rules::profile::PerValue::bare`].
    pub bare: bool,
    /// Whether what the API has sealed is opened by it once, and compared, before it counts: the data key of an epoch (default:
    /// true), or all values of a call (one more call; default: false). Without it nothing tells when an API mixes up the values of
    /// one call that belong to the same class and record, nor that it can open at all what it sealed.
    pub prove: bool,
    /// Base URL of the API, without a `/` at its end.
    pub endpoint: String,
    /// Asked in turn when opening, while the first does not answer. The budget of a call is shared out among all of them.
    pub fallback_endpoints: Vec<String>,
    /// How its servers are known.
    pub tls: EndpointTls,
    /// Bounds of its calls.
    pub calls: CallLimits,
    /// For how long an epoch that the API opened is used without its opening it again. Default: 24 h.
    pub max_stale: Duration,
    /// Opened values kept for a moment; default none.
    pub opened_cache: Option<OpenedCache>,
}

impl ProfileSettings {
    /// What rules and plans know of it. Asks nobody.
    pub fn facts(&self) -> Profile {
        let message = self.granularity == Granularity::Message;
        let per_value = match &self.provider {
            Provider::Crittora(_) => Some(PerValue {
                batch: crittora::BATCH,
                bare: self.bare,
                signs: true,
                convergent: false,
                longest: crittora::LONGEST,
                prefix: "",
                plain_text: true,
            }),
            Provider::NcloudKms(kms) => Some(PerValue {
                batch: if message { ncloud_kms::VALUES } else { 1 },
                bare: self.bare,
                signs: false,
                convergent: kms.convergent,
                longest: ncloud_kms::LONGEST,
                prefix: "ncpkms:v",
                plain_text: false,
            }),
            Provider::ExeQuantum(_) | Provider::Crypteron(_) => None,
        };
        let local = self.granularity == Granularity::Envelope;
        Profile { name: Arc::clone(&self.name), partition: self.partition.clone(), local, per_value }
    }
}

/// What goes to the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Granularity {
    /// The data key of an epoch.
    #[default]
    Envelope,
    /// Each value, in a call of its own.
    Field,
    /// All values of a body, in one call.
    Message,
}

/// How an endpoint's server is known, and ourselves to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointTls {
    /// Roots and the certificate that we show.
    pub client: ClientTls,
    /// SHA-256 of a SubjectPublicKeyInfo (RFC 7469 § 2.4): if any is given, the server's certificate must have one of them, in
    /// addition to being issued by a root.
    pub pins: Vec<[u8; 32]>,
    /// Take `http://` beyond loopback.
    pub insecure: bool,
}

/// Bounds of a profile's calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallLimits {
    /// One try, from connecting to the last byte. Default: 2 s.
    pub timeout: Duration,
    /// All tries of a call together, with the waits between. Default: 4 s.
    pub budget: Duration,
    /// Tries after the first. Default: 2.
    pub retries: u32,
    /// Calls at once. Default: 16.
    pub concurrency: usize,
    /// Calls that wait for their turn. Default: 256.
    pub queue: usize,
    /// Failures in a row after which the breaker opens. Default: 10.
    pub breaker_failures: u32,
    /// How long it stays open before a probe. Default: 5 s.
    pub breaker_pause: Duration,
    /// The longest answer. Default: 1 MiB.
    pub answer: usize,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(2),
            budget: Duration::from_secs(4),
            retries: 2,
            concurrency: 16,
            queue: 256,
            breaker_failures: 10,
            breaker_pause: Duration::from_secs(5),
            answer: 1 << 20,
        }
    }
}

/// A cache of opened values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenedCache {
    /// For how long a value is kept, at most a minute.
    pub ttl: Duration,
    /// How many at most.
    pub entries: u64,
}

/// Whose API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    /// Crittora.
    Crittora(CrittoraSettings),
    /// NAVER Cloud KMS.
    NcloudKms(NcloudKmsSettings),
    /// ExeQuantum.
    ExeQuantum(ExeQuantumSettings),
    /// Crypteron: the control plane alone.
    Crypteron(CrypteronSettings),
}

/// Crittora.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrittoraSettings {
    /// Which of its two APIs.
    pub access: CrittoraAccess,
    /// The user.
    pub username: KeySource,
    /// Its password.
    pub password: KeySource,
    /// The API key.
    pub api_key: KeySource,
    /// Header `access_key`; the managed API wants it.
    pub access_key: Option<KeySource>,
    /// Header `secret_key`; the managed API wants it.
    pub secret_key: Option<KeySource>,
}

/// See [`CrittoraSettings::access`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CrittoraAccess {
    /// `https://managed.crittoraapis.com/v1`: user and password in every call.
    Managed,
    /// `https://api.crittoraapis.com`: a log-in first (Amazon Cognito).
    Direct {
        /// Where to log in.
        login: String,
        /// The app client.
        client_id: String,
    },
}

/// NAVER Cloud KMS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NcloudKmsSettings {
    /// Names the key.
    pub key_tag: String,
    /// Who asks.
    pub credential: NcloudCredential,
    /// Whether the key is convergent.
    pub convergent: bool,
}

/// See [`NcloudKmsSettings::credential`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NcloudCredential {
    /// API gateway signature v2.
    Signature {
        /// The access key.
        access_key: KeySource,
        /// The secret key.
        secret_key: KeySource,
    },
    /// `x-ncp-ocapi-token`: an access token, or a refresh token that access tokens are got with.
    Token {
        /// The token.
        token: KeySource,
        /// Whether it is a refresh token.
        refresh: bool,
    },
}

/// ExeQuantum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExeQuantumSettings {
    /// Which generation of its API.
    pub generation: Generation,
    /// The long-lived token.
    pub token: KeySource,
    /// Has temporary tokens made by it, and calls with those alone.
    pub temporary: Option<Temporary>,
    /// The recipient's public half, as `sidecloak profiles init` wrote it.
    pub recipient: PathBuf,
    /// Its private half, where the service does not keep it: sent along with every decapsulation.
    pub recipient_secret: Option<KeySource>,
}

/// See [`ExeQuantumSettings::generation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Generation {
    /// `/api/kem/…`
    #[default]
    First,
    /// `/api/v1/pqc/…`; the service keeps no private keys.
    Later,
}

/// Temporary tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Temporary {
    /// How long one lasts.
    pub expiry: Duration,
    /// How many calls one allows.
    pub attempts: u32,
}

/// Crypteron.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrypteronSettings {
    /// The application.
    pub app_id: String,
    /// The security partition.
    pub sec_part_id: String,
    /// The API key.
    pub api_key: KeySource,
    /// How often state, version and roles are asked for. Default: 15 s.
    pub poll: Duration,
}
