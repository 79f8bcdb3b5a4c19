use std::fs;

use super::*;
use crate::clock::ManualClock;
use crate::config::{self, Machine, Overrides, Purpose};
use crate::crypto::kem::KemSuite;
use crate::report::Severity;
use crate::rules::compile::load_text;

const PROFILES: &str = "profiles:
  partner: { provider: ncloud-kms, key_tag: a, token: env:T }
  tenant: { provider: ncloud-kms, key_tag: b, token: env:T, granularity: field }
  named: { provider: ncloud-kms, key_tag: c, token: env:T, partition: other }
  plane: { provider: crypteron, app_id: 1, sec_part_id: a, api_key: env:T }
  remote: { provider: exequantum, endpoint: 'https://api.example', token: env:T, recipient: nowhere.pub }
";

struct Stage {
    config: Config,
    keyring: Keyring,
    _directory: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sidecloak.yaml");
        fs::write(&file, PROFILES).unwrap();
        let loaded = config::load(Some(&file), &Overrides::default(), Purpose::Keys, Machine::detect());
        let options = Options {
            store: directory.path().join("sidecloak.db").into(),
            master_keys: vec![crate::keyring::KeySource::File(directory.path().join("master.key"))],
            i_know: true,
            ..Options::default()
        };
        let keyring = Keyring::init(&options, KemSuite::MlKem768, ManualClock::at(1_800_000_000)).unwrap();
        for partition in ["tenant", "named", "plane"] {
            keyring.create_partition(&PartitionName::new(partition).unwrap()).unwrap();
        }
        Self { config: loaded.config.unwrap(), keyring, _directory: directory }
    }

    /// Errors and warnings, by profile, of what there is to say when rules have this key.
    fn found(&self, key: Option<&str>) -> Vec<(bool, String, String)> {
        let context = crate::app::context(&self.config);
        let rules = key.map(|key| {
            let what = if key.contains('*') { "response: [{ open: $.a" } else { "request: [{ seal: $.a" };
            let text = format!("rules: [{{ name: r, match: {{ path: '/a/{{x}}' }}, {what}, key: '{key}' }}] }}]");
            load_text("a.yaml", &text, &context).rules.unwrap()
        });
        let unusable = ProfileError::Profile("remote".into(), "the recipient cannot be read".into());
        let configured = Configured::new(&self.config, vec![unusable]);
        let found = configured.check(rules.as_ref(), Some(&self.keyring), false).0;
        found.into_iter().map(|f| (f.severity == Severity::Error, f.message, f.help.unwrap())).collect()
    }

    fn errors(&self, key: &str) -> Vec<String> {
        self.found(Some(key)).into_iter().filter(|(error, ..)| *error).map(|(_, text, _)| text).collect()
    }
}

#[test]
fn a_profile_s_partition_lists_what_its_api_holds() {
    let found = Stage::new().found(None);
    assert!(found.iter().all(|(error, ..)| *error));
    let says = [
        ("the partition partner of profile `partner` is not in the keyring", "run `sidecloak profiles init partner`"),
        ("the partition tenant is not wrapped by the API of profile `tenant`", "name another `partition`"),
        ("profile `named` is named like a partition that is not its own", "give the profile another name"),
        ("profile `remote`: the recipient cannot be read", "`sidecloak profiles check remote`"),
    ];
    assert_eq!(found.len(), says.len(), "{found:?}");
    for ((_, text, help), (expected, way_out)) in found.iter().zip(says) {
        assert!(text.contains(expected) && help.contains(way_out), "{text}; {help}");
    }
}

#[test]
fn a_profile_that_no_rule_uses_may_be_set_up_later() {
    let stage = Stage::new();
    for (key, expected) in [
        ("default", None),
        ("plane", None),
        ("p-{x}", None),
        ("partner", Some("partition partner")),
        ("tenant", Some("partition tenant")),
        ("named", Some("profile `named`")),
        ("other", Some("profile `named`")),
        ("remote", Some("profile `remote`")),
        ("ten{x}", Some("partition tenant")),
        ("re*", Some("profile `remote`")),
    ] {
        let errors = stage.errors(key);
        assert_eq!(stage.found(Some(key)).len(), 4);
        assert_eq!(errors.len(), usize::from(expected.is_some()), "{key}: {errors:?}");
        assert!(expected.is_none_or(|expected| errors[0].contains(expected)), "{key}: {errors:?}");
    }
}

#[test]
fn a_profile_s_name_spelled_wrong_is_not_made_a_partition_of_local_keys() {
    let stage = Stage::new();
    let text = "rules: [{ name: r, match: { path: /a }, request: [{ seal: $.a, key: planet }] }]";
    let rules = load_text("a.yaml", text, &crate::app::context(&stage.config)).rules.unwrap();
    let configured = Configured::new(&stage.config, Vec::new());
    let check = |configured| crate::app::keys::check_partitions(&rules, configured, Some(&stage.keyring), false);
    let found = check(&configured).unwrap_err().to_string();
    assert!(found.contains("no profile of that name") && found.contains("`plane`"), "{found}");
    let found = check(&Configured::default()).unwrap_err().to_string();
    assert!(!found.contains("profile") && found.contains("--partition planet"), "{found}");
}

#[test]
fn without_a_keyring_there_are_no_profiles() {
    let stage = Stage::new();
    let configured = Configured::new(&stage.config, Vec::new());
    let found = configured.check(None, None, false);
    assert!(found.0.len() == 5 && found.0[0].message.contains("there is none"), "{found:?}");
    assert!(Configured::default().check(None, None, false).0.is_empty());
}
