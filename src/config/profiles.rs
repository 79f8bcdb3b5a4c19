//! The section `profiles` as written. A profile is one flat mapping; which options it may have depends on its provider.

mod scalar;
mod shape;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

pub(super) use self::scalar::{ApiName, Endpoint, GranularityName, ProviderName, url};
use self::scalar::{AppId, GenerationNumber, Pin};
use super::file::Identity;
use super::node::{self, At, Node, Value};
use super::read::{FromNode, Many, Reader, section};
use super::scalar::{DurationText, SecretSource, SizeText};
use crate::name::PartitionName;

/// The profiles in the order of the file.
#[derive(Debug, Clone)]
pub(super) struct Profiles(pub Vec<(At<PartitionName>, At<Profile>)>);

section! {
    /// A managed API that rules name as `key`.
    Profile {
        /// Whose API.
        provider: ProviderName,
        /// The partition whose state and roles count, and whose epochs its local sealing uses. Default: the profile's name.
        partition: String,
        /// What goes to the API: `envelope`, the data key of an epoch; `field`, each value; `message`, all values of a body in one
        /// call (ncloud-kms). Default: `envelope`, or `field` with `bare`.
        granularity: GranularityName,
        /// Stores the API's own ciphertext of the value alone, for other clients of that API. Default: false.
        bare: bool,
        /// Has the API open once what it has sealed, before it is used. Default: true for `envelope` and ExeQuantum, else false.
        prove: bool,
        /// Base URL of the API. Default: the vendor's, where one is public.
        endpoint: Endpoint,
        /// Base URLs that are asked in turn when opening, while the first does not answer.
        fallback_endpoints: Many<Endpoint>,
        /// PEM: who may have issued the API's certificate. Default: the system's roots.
        ca: String,
        /// The certificate shown to the API.
        identity: Identity,
        /// SHA-256 of public keys (`sha256/BASE64`), one of which the API's certificate must have, besides being issued by a root.
        pins: Many<Pin>,
        /// Post-quantum key exchange only, and TLS 1.3 only. Default: false.
        pq_only: bool,
        /// Accepts `http://` beyond loopback, for trials. Default: false.
        insecure: bool,
        /// Of one try, from connecting to the last byte. Default: `2s`.
        timeout: DurationText,
        /// Of all tries of a call, with the waits between. Default: `4s`.
        budget: DurationText,
        /// Tries after the first. Default: 2.
        retries: u64,
        /// Calls at once. Default: 16.
        concurrency: u64,
        /// Calls that wait for their turn. Default: 256.
        queue: u64,
        /// When the API is left alone for a while.
        breaker: Breaker,
        /// The longest answer. Default: `1MiB`.
        answer: SizeText,
        /// For how long an epoch that the API opened is used without its opening it again, and what Crypteron said of a partition
        /// is believed. Default: `24h`.
        max_stale: DurationText,
        /// Keeps values that the API opened, for a moment and in memory alone. Default: none are kept.
        opened_cache: OpenedCache,
        /// Crittora: `managed`, user and password in every call, or `direct`, a log-in first. Default: `managed`.
        api: ApiName,
        /// Crittora: the user. `file:PATH` or `env:NAME`, as all credentials here.
        username: SecretSource,
        /// Crittora: the user's password.
        password: SecretSource,
        /// Crittora, Crypteron: the API key.
        api_key: SecretSource,
        /// Crittora: the access key. NAVER Cloud: that of the API gateway's signature.
        access_key: SecretSource,
        /// Crittora: the secret key. NAVER Cloud: that of the API gateway's signature.
        secret_key: SecretSource,
        /// Crittora, `direct`: where to log in, such as `https://cognito-idp.REGION.amazonaws.com`.
        login: Endpoint,
        /// Crittora, `direct`: the app client to log in at.
        client_id: String,
        /// NAVER Cloud: names the key.
        key_tag: String,
        /// NAVER Cloud: an access token, instead of a signature. ExeQuantum: the token.
        token: SecretSource,
        /// NAVER Cloud: a refresh token that access tokens are got with, instead of a signature.
        refresh_token: SecretSource,
        /// NAVER Cloud: whether the key is convergent. Default: false.
        convergent: bool,
        /// ExeQuantum: the generation of its API: 1 (`/api/kem/…`) or 2 (`/api/v1/pqc/…`). Default: 1.
        generation: GenerationNumber,
        /// ExeQuantum: calls with temporary tokens alone, which the token makes.
        temporary: Temporary,
        /// ExeQuantum: the recipient's public half, as `sidecloak profiles init` writes it.
        recipient: String,
        /// ExeQuantum: its private half, where the service does not keep it (generation 2).
        recipient_secret: SecretSource,
        /// Crypteron: the application.
        app_id: AppId,
        /// Crypteron: the security partition.
        sec_part_id: String,
        /// Crypteron: how often state, version and roles are asked for. Default: `15s`.
        poll: DurationText,
    }
}

section! {
    /// When an API is left alone for a while.
    Breaker {
        /// After so many failures in a row. Default: 10.
        failures: u64,
        /// For so long; then one call probes. Default: `5s`.
        pause: DurationText,
    }
}

section! {
    /// Opened values that are kept.
    OpenedCache {
        /// For so long, at most a minute. Default: `10s`.
        ttl: DurationText,
        /// So many at most. Default: 1024.
        entries: u64,
    }
}

section! {
    /// Temporary tokens.
    Temporary {
        /// How long one lasts. Default: `10m`.
        expiry: DurationText,
        /// How many calls one allows. Default: 100.
        attempts: u64,
    }
}

impl FromNode for Profiles {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else { return reader.wrong_type(node, "a mapping of names to profiles") };
        let mut profiles = Vec::with_capacity(entries.len());
        for (name, node) in entries {
            let shown: String = name.value.escape_debug().take(80).collect();
            let read = reader.inside(&shown, |reader| {
                shape::check(name, node, reader);
                Profile::from_node(node, reader)
            });
            match PartitionName::new(&name.value) {
                Ok(value) => {
                    let name = At { value, span: name.span.clone() };
                    profiles.extend(read.map(|value| (name, At { value, span: node.span.clone() })));
                }
                Err(error) => {
                    let help = "rules name it as `key`: give it a name like a partition's";
                    reader.error(&name.span, "bad-name", error.to_string(), help);
                }
            }
        }
        Some(Self(profiles))
    }
}

impl JsonSchema for Profiles {
    fn schema_name() -> Cow<'static, str> {
        "Profiles".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let profile = generator.subschema_for::<Profile>();
        json_schema!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z0-9._%-]{1,255}$" },
            "additionalProperties": { "allOf": [profile, { "required": ["provider"], "allOf": shape::conditions() }] },
        })
    }
}
