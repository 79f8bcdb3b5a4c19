//! How a process comes to its keyring, and what it checks there before it serves.

use std::sync::{Arc, Weak};

use super::profiles::Configured;
use crate::audit::{Audit, Reports};
use crate::bounded;
use crate::clock::SharedClock;
use crate::crypto::kem::KemSuite;
use crate::keyring::store::StorePlace;
use crate::keyring::{self, KeySource, Keyring, KeyringError, Kind, Options};
use crate::metrics::{Metrics, Stat, StatValue};
use crate::name::{Class, PartitionName};
use crate::remote_keyring::RemoteStore;
use crate::report::{Finding, Findings};
use crate::rules::{Key, RuleKind, RuleSet};
use crate::secret::SecretBytes;
use crate::token::Suite;
use crate::token::v1::{self, Plain};

/// Opens the keyring; with `dev` makes one where there is none.
pub fn open(options: &Options, dev: bool, clock: &SharedClock) -> Result<Keyring, KeyringError> {
    if let StorePlace::Authority(remote) = &options.store {
        let store = RemoteStore::connect(remote).map_err(KeyringError::at_start)?;
        return Keyring::open_on(Box::new(store), options, Arc::clone(clock));
    }
    if dev && !Keyring::exists(options)? {
        return Keyring::init(options, KemSuite::MlKem768, Arc::clone(clock));
    }
    Keyring::open(options, Arc::clone(clock))
}

/// Every partition that a rule names outright must be there; with `dev`, or where the rule says `provision`, it is made. Those of
/// profiles are not looked at: see [`Configured::check`](super::profiles::Configured::check).
pub fn check_partitions(
    rules: &RuleSet,
    profiles: &Configured,
    keyring: Option<&Keyring>,
    dev: bool,
) -> Result<(), Findings> {
    let mut findings = Findings::default();
    for rule in &rules.rules {
        let RuleKind::Fields { request, response } = &rule.kind else { continue };
        for action in request.iter().chain(response) {
            let name = match &action.key {
                // A profile's partition lists the recipient that its API keeps, so it is not made in passing.
                Key::Fixed(name) if !profiles.have(name) => name,
                Key::Fixed(_) | Key::Managed(_) | Key::Template(_) | Key::Glob(_) => continue,
            };
            let make = dev || rule.limits.provision;
            if let Err(problem) = there(keyring, name, make, rule.limits.max_partitions) {
                let finding = match problem {
                    KeyringError::Unknown(_) => super::unknown_partition(&rule.name, name.as_str(), profiles),
                    other => Finding::error("keyring", format!("rule `{}`: {other}", rule.name)),
                };
                if !findings.0.contains(&finding) {
                    findings.push(finding);
                }
            }
        }
    }
    if findings.has_errors() { Err(findings) } else { Ok(()) }
}

fn there(keyring: Option<&Keyring>, name: &PartitionName, make: bool, max: usize) -> Result<(), KeyringError> {
    let Some(keyring) = keyring else {
        return Err(KeyringError::NoKey(
            "a rule seals or opens, but there is no keyring: see `sidecloak keys init`".into(),
        ));
    };
    match keyring.partition(name) {
        Err(KeyringError::Unknown(_)) if make => keyring.provision(name, max).map(drop),
        // Paused or destroyed is a state of the keyring's, not a fault of the rules.
        Err(KeyringError::Denied(..)) => Ok(()),
        other => other.map(drop),
    }
}

/// Whether a token seals and opens under the `default` partition; an encrypt-only process has sealed and opened its own.
pub fn canary(keyring: &Keyring) -> bool {
    let seal_and_open = || -> Result<bool, KeyringError> {
        let epoch = match keyring.sealing(&PartitionName::default_name(), Kind::Random) {
            // The breach switch is not a fault of this process, nor is it one to encrypt for other partitions only.
            Err(KeyringError::Denied(..) | KeyringError::NoKey(_)) => return Ok(true),
            // An authority shows a process its own partitions, and `default` need not be one of them.
            Err(KeyringError::Unknown(_)) if keyring.is_remote() => return Ok(true),
            other => other?,
        };
        let key = keyring.field_key(&epoch, Suite::Xaes, &Class::new("sidecloak-canary"));
        let plain = Plain { text: b"canary", is_string: true, record_id: None, pad: None, signer: None };
        let mut token = Vec::new();
        if key.seal(&plain, &mut token).is_err() {
            return Ok(false);
        }
        let opened = v1::parse(&token).and_then(|token| key.open(&token, None, &[], keyring.prefixes()));
        Ok(opened.is_ok_and(|opened| opened.text.expose() == b"canary"))
    };
    seal_and_open().unwrap_or(false)
}

/// A secret of one line from a file or variable, without the line's end.
pub fn read_secret(source: &KeySource) -> Result<SecretBytes, KeyringError> {
    let bytes = match source {
        KeySource::File(path) => {
            keyring::check_private(path, "the secret file")?;
            bounded::read_file(path, 64 * 1024)
                .map_err(|e| KeyringError::NoKey(format!("cannot read the secret file {}: {e}", path.display())))?
        }
        KeySource::Env(name) => std::env::var(name)
            .map_err(|_| KeyringError::NoKey(format!("the variable {name} is not set, or is not text")))?
            .into_bytes(),
    };
    let mut secret = SecretBytes::new(bytes);
    while secret.expose().last().is_some_and(u8::is_ascii_whitespace) {
        secret.expose_mut().pop();
    }
    Ok(secret)
}

/// Has the numbers of the keyring and of its audit log in the metrics; `reports`: another process keeps that.
pub fn watch_stats(
    keyring: &Arc<Keyring>,
    (audit, reports): (Option<&Arc<Audit>>, Option<&Arc<Reports>>),
    metrics: &Metrics,
) {
    let (keyring, audit, reports) = (Arc::downgrade(keyring), audit.map(Arc::downgrade), reports.map(Arc::downgrade));
    metrics.watch_keyring(move || {
        let mut all = keyring.upgrade().map(|keyring| stats(&keyring)).unwrap_or_default();
        let audit = audit.as_ref().and_then(Weak::upgrade);
        let reports = reports.as_ref().and_then(Weak::upgrade);
        all.extend(audit.as_ref().map(|audit| Stat {
            name: "audit_alarms",
            help: "How often this process found that the audit log was changed behind it",
            value: StatValue::Counter(audit.alarms()),
        }));
        let behind = audit.map(|audit| audit.is_behind()).or_else(|| reports.map(|reports| reports.is_behind()));
        all.extend(behind.map(|behind| Stat {
            name: "audit_behind",
            help: "1 while what this process did waits, since it cannot be written into the audit log",
            value: StatValue::Gauge(f64::from(u8::from(behind))),
        }));
        all
    });
}

fn stats(keyring: &Keyring) -> Vec<Stat> {
    let stats = keyring.stats();
    let mut all = vec![
        Stat {
            name: "keyring_alarms",
            help: "Records found that somebody without the right must have written, or that do not open",
            value: StatValue::Counter(stats.alarms),
        },
        Stat {
            name: "keyring_age_seconds",
            help: "How old the known states of partitions are; at keyring.max_stale nothing is sealed or opened",
            value: StatValue::Gauge(seconds(stats.stale_seconds)),
        },
        Stat {
            name: "keyring_seconds_left",
            help: "Until nothing is sealed or opened any more, unless the keyring's store answers",
            value: StatValue::Gauge(seconds(stats.seconds_left)),
        },
        Stat {
            name: "epoch_age_seconds",
            help: "Age of the oldest epoch that this process seals random values under",
            value: StatValue::Gauge(seconds(oldest(&stats))),
        },
    ];
    let managed = stats.managed;
    all.extend([
        Stat {
            name: "managed_key_wraps",
            help: "Data keys that managed APIs were asked to wrap",
            value: StatValue::Counter(managed.wraps),
        },
        Stat {
            name: "managed_key_unwraps",
            help: "Data keys that managed APIs were asked to open",
            value: StatValue::Counter(managed.unwraps),
        },
        Stat {
            name: "managed_key_failures",
            help: "Data keys that managed APIs did not wrap or open, or not rightly",
            value: StatValue::Counter(managed.failures),
        },
        Stat {
            name: "managed_key_renewals_failing",
            help: "Renewals by managed APIs that fail now and are tried again",
            value: StatValue::Gauge(seconds(managed.failing)),
        },
    ]);
    all.extend(managed.seconds_left.map(|left| Stat {
        name: "managed_key_seconds_left",
        help: "Until the first epoch that only a managed API opens is used no more, unless the API answers",
        value: StatValue::Gauge(seconds(left)),
    }));
    for (cache, [hits, misses]) in stats.caches.iter().zip(CACHE_NAMES) {
        let help = "Look-ups in a cache of the keyring: hits are answered from memory, misses are fetched or derived";
        all.push(Stat { name: hits, help, value: StatValue::Counter(cache.hits) });
        all.push(Stat { name: misses, help, value: StatValue::Counter(cache.misses) });
    }
    all
}

/// In the order of [`keyring::Stats::caches`].
const CACHE_NAMES: [[&str; 2]; 4] = [
    ["cache_partitions_hits", "cache_partitions_misses"],
    ["cache_sealing_epochs_hits", "cache_sealing_epochs_misses"],
    ["cache_opened_epochs_hits", "cache_opened_epochs_misses"],
    ["cache_field_keys_hits", "cache_field_keys_misses"],
];

/// Deterministic epochs live until somebody rolls them: their age says nothing.
fn oldest(stats: &keyring::Stats) -> u64 {
    let random = stats.epoch_ages.iter().filter(|(_, kind, _)| *kind != Kind::Deterministic);
    random.map(|(_, _, age)| *age).max().unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "a gauge of seconds")]
fn seconds(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_process_that_only_encrypts_for_another_partition_is_healthy() {
        let directory = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(1_800_000_000);
        let options = Options {
            store: directory.path().join("sidecloak.db").into(),
            master_keys: vec![KeySource::File(directory.path().join("master.key"))],
            i_know: true,
            ..Options::default()
        };
        let operator = Keyring::init(&options, KemSuite::MlKem768, clock.clone()).unwrap();
        let tenant = PartitionName::new("tenant").unwrap();
        operator.create_partition(&tenant).unwrap();
        let line = operator.add_encrypt_only_issuer(&tenant).unwrap();
        let issuer = directory.path().join("issuer.key");
        std::fs::write(&issuer, line.expose()).unwrap();
        std::fs::set_permissions(&issuer, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let options = Options {
            master_keys: Vec::new(),
            owner: Some(operator.owner_fingerprint()),
            issuer: Some(KeySource::File(issuer)),
            ..options
        };
        let sealer = Keyring::open(&options, clock).unwrap();
        sealer.sealing(&tenant, Kind::Random).unwrap();
        assert!(canary(&sealer));
    }
}
