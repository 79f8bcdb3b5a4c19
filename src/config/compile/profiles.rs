//! Profiles: what needs more than one option, and the defaults. Which options there must be is known by now; what was wrong
//! with one is told of, and the profile is then left out.

use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use super::super::file::At;
use super::super::profiles::{ApiName, Endpoint, GranularityName, Profile, ProviderName, url};
use super::super::quantity::Size;
use super::super::read::Many;
use super::super::scalar::{DurationText, SizeText};
use super::{Checks, many, value};
use crate::name::PartitionName;
use crate::sealer::managed::settings::{
    CallLimits, CrittoraAccess, CrittoraSettings, CrypteronSettings, EndpointTls, ExeQuantumSettings, Generation,
    Granularity, NcloudCredential, NcloudKmsSettings, OpenedCache, ProfileSettings, Provider, Temporary,
};
use crate::tls::ClientTls;

const CRITTORA_MANAGED: &str = "https://managed.crittoraapis.com/v1";
const CRITTORA_DIRECT: &str = "https://api.crittoraapis.com";
const NCLOUD_KMS: &str = "https://ocapi.ncloud.com";
const CRYPTERON: &str = "https://api.crypteron.com/v1";

/// Each has connections, caches and a breaker of its own.
const MAX_PROFILES: usize = 256;
const MAX_FALLBACKS: usize = 8;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

impl Checks<'_> {
    pub(super) fn profiles(&mut self, files: Vec<(At<PartitionName>, At<Profile>)>) -> Vec<ProfileSettings> {
        if let Some((name, _)) = files.get(MAX_PROFILES) {
            let message = format!("there are more than {MAX_PROFILES} profiles");
            self.error("bad-count", message, &name.span, "take some away");
        }
        let names: Vec<PartitionName> = files.iter().map(|(name, _)| name.value.clone()).collect();
        let mut taken: HashMap<PartitionName, PartitionName> = HashMap::new();
        let mut profiles = Vec::with_capacity(files.len());
        for (At { value: name, span }, mut file) in files {
            let at = file.value.partition.as_ref().map_or_else(|| span.clone(), |at| at.span.clone());
            let Some(partition) = self.partition(&name, &mut file.value) else { continue };
            let clash = match taken.insert(partition.clone(), name.clone()) {
                Some(other) => Some(format!("profiles `{other}` and `{name}` have the same partition")),
                None if partition != name && names.contains(&partition) => {
                    Some(format!("the partition of profile `{name}` has the name of another profile"))
                }
                None => None,
            };
            if let Some(message) = clash {
                self.error(
                    "same-partition",
                    message,
                    &at,
                    "a `key` must mean one thing: give each a `partition` of its own",
                );
            }
            profiles.extend(self.profile(&name, partition, span, file.value));
        }
        profiles
    }

    fn partition(&mut self, name: &PartitionName, file: &mut Profile) -> Option<PartitionName> {
        let Some(at) = file.partition.take() else { return Some(name.clone()) };
        PartitionName::new(&at.value)
            .map_err(|error| self.error("bad-name", error.to_string(), &at.span, "name a partition of the keyring"))
            .ok()
    }

    fn profile(
        &mut self,
        name: &PartitionName,
        partition: PartitionName,
        span: Range<usize>,
        mut file: Profile,
    ) -> Option<ProfileSettings> {
        let name = name.as_str();
        let of = Of { key: format!("profiles.{name}"), span, insecure: value(file.insecure.take()).unwrap_or(false) };
        let provider = value(file.provider.take())?;
        let (granularity, bare) = self.granularity(&of, provider, &mut file);
        let tls = self.endpoint_tls(&of, &mut file);
        let calls = self.call_limits(&of, &mut file);
        let max_stale = self.time(&of.key("max_stale"), file.max_stale.take(), DAY, SECOND..=366 * DAY);
        let opened_cache = self.opened_cache(&of, &mut file);
        let default = match (provider, file.api.as_ref().map(|at| at.value)) {
            (ProviderName::Crittora, Some(ApiName::Direct)) => CRITTORA_DIRECT,
            (ProviderName::Crittora, _) => CRITTORA_MANAGED,
            (ProviderName::NcloudKms, _) => NCLOUD_KMS,
            (ProviderName::Crypteron, _) => CRYPTERON,
            (ProviderName::ExeQuantum, _) => "",
        };
        let endpoint = match file.endpoint.take() {
            Some(at) => self.endpoint(&of, "endpoint", at),
            None => default.to_owned(),
        };
        let fallback_endpoints = self.fallbacks(&of, &endpoint, file.fallback_endpoints.take());
        let plain = std::iter::once(&endpoint).chain(&fallback_endpoints).any(|url| url.starts_with("http://"));
        if plain && !tls.pins.is_empty() {
            let message = format!("`{}` of a profile without TLS: no certificate is shown there", of.key("pins"));
            self.error("pins", message, &of.span, "write `https://`, or take the pins away");
        }
        if plain && tls.client.pq_only {
            let message = format!("`{}` of a profile without TLS: nothing is encrypted there", of.key("pq_only"));
            self.error("pq-only", message, &of.span, "write `https://`, or take `pq_only` away");
        }
        // A data key is always worth one more call; each value would be one more.
        let prove = value(file.prove.take()).unwrap_or(granularity == Granularity::Envelope);
        let provider = match provider {
            ProviderName::Crittora => Provider::Crittora(self.crittora(&of, file)?),
            ProviderName::NcloudKms => Provider::NcloudKms(self.ncloud_kms(&of, file)?),
            ProviderName::ExeQuantum => Provider::ExeQuantum(self.exequantum(&of, file)?),
            ProviderName::Crypteron => Provider::Crypteron(self.crypteron(&of, file)?),
        };
        Some(ProfileSettings {
            name: name.into(),
            partition,
            provider,
            granularity,
            bare,
            prove,
            endpoint,
            fallback_endpoints,
            tls,
            calls,
            max_stale,
            opened_cache,
        })
    }

    fn granularity(&mut self, of: &Of, provider: ProviderName, file: &mut Profile) -> (Granularity, bool) {
        let bare = value(file.bare.take()).unwrap_or(false);
        let Some(At { value: written, span }) = file.granularity.take() else {
            return (if bare { Granularity::Field } else { Granularity::Envelope }, bare);
        };
        let granularity = match written {
            GranularityName::Envelope => Granularity::Envelope,
            GranularityName::Field => Granularity::Field,
            GranularityName::Message => Granularity::Message,
        };
        let key = of.key("granularity");
        if granularity == Granularity::Message && provider == ProviderName::Crittora {
            let message = format!("`{key}` is `message`, and Crittora's API takes one value a call");
            self.error("granularity", message, &span, "write `field` or `envelope`");
        }
        if granularity == Granularity::Envelope && bare {
            let message =
                format!("`{key}` is `envelope`, where no value goes to the API, and `bare` stores its ciphertexts");
            self.error("granularity", message, &span, "write `field` (or `message`), or take `bare` away");
        }
        (granularity, bare)
    }

    fn endpoint(&mut self, of: &Of, option: &str, at: At<Endpoint>) -> String {
        if !of.insecure && matches!(url(&at.value.0), Ok((_, true))) {
            let message =
                format!("`{}` is plain HTTP to another machine: everybody on the way reads along", of.key(option));
            self.error("plain-endpoint", message, &at.span, "write `https://`; only for a trial, `insecure: true`");
        }
        at.value.0
    }

    fn fallbacks(&mut self, of: &Of, first: &str, written: Option<At<Many<Endpoint>>>) -> Vec<String> {
        let Some(At { value: written, span }) = written else { return Vec::new() };
        if written.items.len() > MAX_FALLBACKS {
            let message = format!("`{}` are more than {MAX_FALLBACKS}", of.key("fallback_endpoints"));
            self.error("bad-count", message, &span, "take some away");
        }
        let mut all = vec![first.to_owned()];
        for at in written.items {
            let span = at.span.clone();
            let endpoint = self.endpoint(of, "fallback_endpoints", at);
            if all.contains(&endpoint) {
                let message = format!("`{}` names an endpoint twice", of.key("fallback_endpoints"));
                self.error("bad-endpoint", message, &span, "name each once, and the first as `endpoint`");
            }
            all.push(endpoint);
        }
        all.split_off(1)
    }

    fn endpoint_tls(&mut self, of: &Of, file: &mut Profile) -> EndpointTls {
        let identity = file.identity.take().and_then(|at| match (at.value.cert, at.value.key) {
            (Some(cert), Some(key)) => Some((PathBuf::from(cert.value), PathBuf::from(key.value))),
            _ => {
                let message = format!("`{}` is a certificate and its key", of.key("identity"));
                self.error("identity", message, &at.span, "give both `cert` and `key`");
                None
            }
        });
        // None left of those written would be any certificate.
        if let Some(pins) = file.pins.as_ref().filter(|pins| pins.value.items.is_empty() && !pins.value.refused) {
            let message = format!("`{}` is empty", of.key("pins"));
            self.error("pins", message, &pins.span, "name a pin, or leave it out");
        }
        EndpointTls {
            client: ClientTls {
                ca: value(file.ca.take()).map(PathBuf::from),
                identity,
                pq_only: value(file.pq_only.take()).unwrap_or(false),
            },
            pins: many(file.pins.take(), |pin| pin.0),
            insecure: of.insecure,
        }
    }

    fn call_limits(&mut self, of: &Of, file: &mut Profile) -> CallLimits {
        let default = CallLimits::default();
        let at = file.budget.as_ref().or(file.timeout.as_ref()).map(|at| at.span.clone());
        let timeout = self.time(&of.key("timeout"), file.timeout.take(), default.timeout, MILLISECOND..=MINUTE);
        // A longer `timeout` alone does not need another option.
        let budget = default.budget.max(timeout);
        let budget = self.time(&of.key("budget"), file.budget.take(), budget, MILLISECOND..=5 * MINUTE);
        if let Some(span) = at.filter(|_| budget < timeout) {
            let message =
                format!("`{}` is shorter than `timeout`: not even one try would have its time", of.key("budget"));
            self.error("budget", message, &span, "raise `budget`, or lower `timeout`");
        }
        let breaker = value(file.breaker.take()).unwrap_or_default();
        CallLimits {
            timeout,
            budget,
            retries: self.within(&of.key("retries"), file.retries.take(), default.retries, 0..=10),
            concurrency: self.within(&of.key("concurrency"), file.concurrency.take(), default.concurrency, 1..=1024),
            queue: self.within(&of.key("queue"), file.queue.take(), default.queue, 0..=65_536),
            breaker_failures: self.within(
                &of.key("breaker.failures"),
                breaker.failures,
                default.breaker_failures,
                1..=1000,
            ),
            breaker_pause: self.time(
                &of.key("breaker.pause"),
                breaker.pause,
                default.breaker_pause,
                100 * MILLISECOND..=10 * MINUTE,
            ),
            answer: self.answer(of, file.answer.take(), default.answer),
        }
    }

    fn answer(&mut self, of: &Of, at: Option<At<SizeText>>, default: usize) -> usize {
        let Some(at) = at else { return default };
        match at.value.0 {
            Size::Bytes(bytes @ 1024..=0x400_0000) => usize::try_from(bytes).unwrap_or(default),
            Size::Bytes(_) | Size::Percent(_) => {
                let message = format!("`{}` is out of range", of.key("answer"));
                self.error("bad-size", message, &at.span, "write a size from `1KiB` to `64MiB`");
                default
            }
        }
    }

    fn opened_cache(&mut self, of: &Of, file: &mut Profile) -> Option<OpenedCache> {
        let file = value(file.opened_cache.take())?;
        Some(OpenedCache {
            ttl: self.time(&of.key("opened_cache.ttl"), file.ttl, 10 * SECOND, MILLISECOND..=MINUTE),
            entries: self.within(&of.key("opened_cache.entries"), file.entries, 1024, 1..=1_000_000),
        })
    }

    fn crittora(&mut self, of: &Of, file: Profile) -> Option<CrittoraSettings> {
        let access = match value(file.api) {
            None | Some(ApiName::Managed) => CrittoraAccess::Managed,
            Some(ApiName::Direct) => CrittoraAccess::Direct {
                login: self.endpoint(of, "login", file.login?),
                client_id: file.client_id?.value,
            },
        };
        Some(CrittoraSettings {
            access,
            username: file.username?.value.0,
            password: file.password?.value.0,
            api_key: file.api_key?.value.0,
            access_key: file.access_key.map(|at| at.value.0),
            secret_key: file.secret_key.map(|at| at.value.0),
        })
    }

    fn ncloud_kms(&mut self, of: &Of, file: Profile) -> Option<NcloudKmsSettings> {
        let tag = file.key_tag?;
        // It stands in paths, and in what is signed.
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        if tag.value.len() > 255 || !tag.value.bytes().all(fits) || tag.value.bytes().all(|b| b == b'.') {
            let message = format!("`{}` is no key tag", of.key("key_tag"));
            self.error("bad-name", message, &tag.span, "write the tag as the list of keys shows it");
        }
        let credential = match (file.access_key, file.secret_key, file.token, file.refresh_token) {
            (Some(access_key), Some(secret_key), ..) => {
                NcloudCredential::Signature { access_key: access_key.value.0, secret_key: secret_key.value.0 }
            }
            (_, _, Some(token), _) => NcloudCredential::Token { token: token.value.0, refresh: false },
            (_, _, None, Some(token)) => NcloudCredential::Token { token: token.value.0, refresh: true },
            (_, _, None, None) => return None,
        };
        Some(NcloudKmsSettings { key_tag: tag.value, credential, convergent: value(file.convergent).unwrap_or(false) })
    }

    fn exequantum(&mut self, of: &Of, file: Profile) -> Option<ExeQuantumSettings> {
        let temporary = value(file.temporary).map(|file| Temporary {
            expiry: self.time(&of.key("temporary.expiry"), file.expiry, 10 * MINUTE, SECOND..=30 * DAY),
            attempts: self.within(&of.key("temporary.attempts"), file.attempts, 100, 1..=1_000_000),
        });
        Some(ExeQuantumSettings {
            generation: file.generation.map_or(Generation::First, |at| at.value.0),
            token: file.token?.value.0,
            temporary,
            recipient: file.recipient?.value.into(),
            recipient_secret: file.recipient_secret.map(|at| at.value.0),
        })
    }

    fn crypteron(&mut self, of: &Of, file: Profile) -> Option<CrypteronSettings> {
        Some(CrypteronSettings {
            app_id: file.app_id?.value.0,
            sec_part_id: file.sec_part_id?.value,
            api_key: file.api_key?.value.0,
            poll: self.time(&of.key("poll"), file.poll, 15 * SECOND, SECOND..=HOUR),
        })
    }

    fn time(
        &mut self,
        key: &str,
        at: Option<At<DurationText>>,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(at) = at else { return default };
        if !range.contains(&at.value.0) {
            let help = format!("write a time from `{}` to `{}`", written(*range.start()), written(*range.end()));
            self.error("bad-duration", format!("`{key}` is out of range"), &at.span, &help);
        }
        at.value.0
    }

    /// A number within bounds that the type holds.
    fn within<T: TryFrom<u64>>(&mut self, key: &str, at: Option<At<u64>>, default: T, range: RangeInclusive<u64>) -> T {
        let Some(at) = at else { return default };
        match T::try_from(at.value) {
            Ok(number) if range.contains(&at.value) => number,
            _ => {
                let help = format!("write a number from {} to {}", range.start(), range.end());
                self.error("bad-count", format!("`{key}` is out of range"), &at.span, &help);
                default
            }
        }
    }
}

/// The profile that is compiled.
struct Of {
    key: String,
    span: Range<usize>,
    insecure: bool,
}

impl Of {
    fn key(&self, option: &str) -> String {
        format!("{}.{option}", self.key)
    }
}

/// A whole time as the file has it.
fn written(time: Duration) -> String {
    let millis = time.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let unit = units.into_iter().find(|(length, _)| millis.is_multiple_of(*length));
    unit.map_or_else(|| format!("{millis}ms"), |(length, unit)| format!("{}{unit}", millis / length))
}
