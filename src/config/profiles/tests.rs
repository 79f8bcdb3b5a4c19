use std::time::Duration;

use rstest::rstest;

use super::super::{Config, Finding, Loaded, Machine, Overrides, Purpose, load_text, schema};
use crate::keyring::KeySource;
use crate::sealer::managed::settings::{
    CallLimits, CrittoraAccess, CrittoraSettings, CrypteronSettings, ExeQuantumSettings, Generation, Granularity,
    NcloudCredential, NcloudKmsSettings, OpenedCache, ProfileSettings, Provider, Temporary,
};

const CRITTORA: &str = "provider: crittora, username: 'env:U', password: 'file:p', api_key: 'file:k'";
const MANAGED: &str = "provider: crittora, username: 'env:U', password: 'file:p', api_key: 'file:k', access_key: 'file:a', secret_key: 'file:s'";
const NCLOUD: &str = "provider: ncloud-kms, key_tag: tag1, access_key: 'file:a', secret_key: 'file:s'";
const EXEQUANTUM: &str = "provider: exequantum, endpoint: 'https://pqc.example', token: 'file:t', recipient: r.pub";
const CRYPTERON: &str = "provider: crypteron, app_id: 2376, sec_part_id: tenant4758, api_key: 'file:k'";

fn load(text: &str) -> Loaded {
    let machine = Machine { memory: 1 << 30, cpus: 4 };
    load_text("sidecloak.yaml", text, &Overrides::default(), Purpose::Keys, machine)
}

fn good(text: &str) -> Vec<ProfileSettings> {
    let loaded = load(text);
    let Some(Config { profiles, .. }) = loaded.config else { panic!("{}", loaded.findings) };
    profiles
}

fn one(text: &str) -> ProfileSettings {
    good(&format!("profiles: {{ partner: {{ {text} }} }}")).pop().unwrap()
}

/// Code and column of every finding about a profile `p` with these options, counted from the first of them.
fn problems(text: &str) -> Vec<(&'static str, usize)> {
    let before = "profiles: { p: { ";
    let loaded = load(&format!("{before}{text} }} }}"));
    assert!(loaded.config.is_none(), "{text}");
    let shown = loaded.findings.to_string();
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(loaded.findings.0.iter().all(|f| f.help.is_some()), "no way out: {shown}");
    let column = |f: &Finding| f.line_column().unwrap().1.saturating_sub(before.len());
    loaded.findings.0.iter().map(|f| (f.code, column(f))).collect()
}

fn file(path: &str) -> KeySource {
    KeySource::File(path.into())
}

#[test]
fn defaults() {
    let profile = one(MANAGED);
    assert_eq!((&*profile.name, profile.partition.as_str()), ("partner", "partner"));
    assert_eq!(profile.endpoint, "https://managed.crittoraapis.com/v1");
    assert_eq!((profile.granularity, profile.bare, profile.prove), (Granularity::Envelope, false, true));
    assert_eq!((profile.calls, profile.max_stale), (CallLimits::default(), Duration::from_hours(24)));
    assert_eq!((profile.opened_cache, profile.tls.pins.len(), profile.tls.insecure), (None, 0, false));
    assert_eq!(
        profile.provider,
        Provider::Crittora(CrittoraSettings {
            access: CrittoraAccess::Managed,
            username: KeySource::Env("U".into()),
            password: file("p"),
            api_key: file("k"),
            access_key: Some(file("a")),
            secret_key: Some(file("s")),
        })
    );
    assert_eq!(one(NCLOUD).endpoint, "https://ocapi.ncloud.com");
    let crypteron = one(CRYPTERON);
    assert_eq!(crypteron.endpoint, "https://api.crypteron.com/v1");
    let expected = CrypteronSettings {
        app_id: "2376".into(),
        sec_part_id: "tenant4758".into(),
        api_key: file("k"),
        poll: Duration::from_secs(15),
    };
    assert_eq!(crypteron.provider, Provider::Crypteron(expected));
    let exequantum = ExeQuantumSettings {
        generation: Generation::First,
        token: file("t"),
        temporary: None,
        recipient: "r.pub".into(),
        recipient_secret: None,
    };
    assert_eq!(one(EXEQUANTUM).provider, Provider::ExeQuantum(exequantum));
    assert!(good("profiles: {}").is_empty() && good("profiles:").is_empty());
}

#[test]
fn every_option_is_taken() {
    let pin = format!("sha256/{}", crate::crypto::base64::encode(&[7; 32]));
    let text = format!(
        "profiles:
  partner:
    {{ {CRITTORA}, api: direct, login: 'https://login.example/', client_id: c1, access_key: 'file:a', endpoint: 'https://api.example/v2/',
      fallback_endpoints: ['https://b.example', 'https://c.example'], partition: customers, granularity: field, bare: true, prove: false,
      ca: ca.pem, identity: {{ cert: c.pem, key: k.pem }}, pins: ['{pin}'], pq_only: true, timeout: 1s, budget: 3s, retries: 0,
      concurrency: 4, queue: 0, breaker: {{ failures: 3, pause: 250ms }}, answer: 2MiB, max_stale: 1h, opened_cache: {{ ttl: 1m, entries: 5 }} }}
  seoul: {{ {NCLOUD}, granularity: message, convergent: true, opened_cache: {{}} }}
  pqc:
    {{ {EXEQUANTUM}, generation: 2, recipient_secret: 'file:r.key', temporary: {{ expiry: 5m, attempts: 3 }}, insecure: true }}
  busan: {{ provider: ncloud-kms, key_tag: t2, refresh_token: 'file:r' }}
"
    );
    let profiles = good(&text);
    let [partner, seoul, pqc, busan] = profiles.as_slice() else { panic!() };
    assert_eq!(partner.endpoint, "https://api.example/v2");
    assert_eq!(partner.fallback_endpoints, ["https://b.example", "https://c.example"]);
    assert_eq!(
        (partner.partition.as_str(), partner.granularity, partner.bare, partner.prove),
        ("customers", Granularity::Field, true, false)
    );
    assert_eq!((partner.tls.pins.as_slice(), partner.tls.client.pq_only), ([[7; 32]].as_slice(), true));
    assert_eq!(partner.tls.client.identity, Some(("c.pem".into(), "k.pem".into())));
    assert_eq!(partner.tls.client.ca, Some("ca.pem".into()));
    let calls = CallLimits {
        timeout: Duration::from_secs(1),
        budget: Duration::from_secs(3),
        retries: 0,
        concurrency: 4,
        queue: 0,
        breaker_failures: 3,
        breaker_pause: Duration::from_millis(250),
        answer: 2 << 20,
    };
    assert_eq!((&partner.calls, partner.max_stale), (&calls, Duration::from_hours(1)));
    assert_eq!(partner.opened_cache, Some(OpenedCache { ttl: Duration::from_mins(1), entries: 5 }));
    let Provider::Crittora(crittora) = &partner.provider else { panic!() };
    let direct = CrittoraAccess::Direct { login: "https://login.example".into(), client_id: "c1".into() };
    assert_eq!((&crittora.access, &crittora.secret_key), (&direct, &None));
    assert_eq!(seoul.opened_cache, Some(OpenedCache { ttl: Duration::from_secs(10), entries: 1024 }));
    let credential = NcloudCredential::Signature { access_key: file("a"), secret_key: file("s") };
    let expected = NcloudKmsSettings { key_tag: "tag1".into(), credential, convergent: true };
    assert_eq!((&seoul.provider, seoul.granularity), (&Provider::NcloudKms(expected), Granularity::Message));
    let Provider::ExeQuantum(exequantum) = &pqc.provider else { panic!() };
    assert_eq!((exequantum.generation, &exequantum.recipient_secret), (Generation::Later, &Some(file("r.key"))));
    assert_eq!(exequantum.temporary, Some(Temporary { expiry: Duration::from_mins(5), attempts: 3 }));
    let credential = NcloudCredential::Token { token: file("r"), refresh: true };
    let expected = NcloudKmsSettings { key_tag: "t2".into(), credential, convergent: false };
    assert_eq!(busan.provider, Provider::NcloudKms(expected));
}

#[rstest]
#[case("bare: true", Granularity::Field, true)]
#[case("bare: true, granularity: message", Granularity::Message, true)]
#[case("granularity: field", Granularity::Field, false)]
#[case("granularity: message", Granularity::Message, false)]
#[case("granularity: envelope, bare: false", Granularity::Envelope, false)]
fn granularities(#[case] options: &str, #[case] granularity: Granularity, #[case] bare: bool) {
    let profile = one(&format!("{NCLOUD}, {options}"));
    assert_eq!((profile.granularity, profile.bare), (granularity, bare));
    assert_eq!(profile.prove, granularity == Granularity::Envelope, "each value would be called for twice");
    assert!(one(&format!("{NCLOUD}, {options}, prove: true")).prove);
}

/// What is wrong is marked where it stands: after the options of a good profile and `, `.
#[rstest]
#[case(NCLOUD, "granularity: envelope, bare: true", "granularity", 13)]
#[case(MANAGED, "granularity: message", "granularity", 13)]
#[case(MANAGED, "granularity: body", "wrong-type", 13)]
#[case(EXEQUANTUM, "granularity: field", "other-provider", 0)]
#[case(CRYPTERON, "bare: true", "other-provider", 0)]
#[case(CRYPTERON, "prove: true", "other-provider", 0)]
#[case(EXEQUANTUM, "opened_cache: {}", "other-provider", 0)]
#[case(NCLOUD, "username: hunter2", "inline-secret", 10)]
#[case(MANAGED, "key_tag: hunter2", "other-provider", 0)]
#[case(MANAGED, "login: 'https://login.example'", "other-api", 0)]
#[case(NCLOUD, "endpoint: 'http://api.example'", "plain-endpoint", 10)]
#[case(NCLOUD, "endpoint: 'https://u:hunter2@api.example'", "bad-endpoint", 10)]
#[case(NCLOUD, "endpoint: api.example", "bad-endpoint", 10)]
#[case(NCLOUD, "fallback_endpoints: ['http://api.example']", "plain-endpoint", 21)]
#[case(NCLOUD, "fallback_endpoints: 'https://ocapi.ncloud.com/'", "bad-endpoint", 20)]
#[case(NCLOUD, "fallback_endpoints: ['https://a', 'https://a']", "bad-endpoint", 34)]
#[case(NCLOUD, "partition: 'no good'", "bad-name", 11)]
#[case(NCLOUD, "pins: [sha1/AAAA]", "bad-pin", 7)]
#[case(NCLOUD, "pins: []", "pins", 6)]
#[case(NCLOUD, "identity: { cert: c }", "identity", 10)]
#[case(NCLOUD, "timeout: 3s, budget: 2s", "budget", 21)]
#[case(NCLOUD, "budget: 1s", "budget", 8)]
#[case(NCLOUD, "timeout: 0", "bad-duration", 9)]
#[case(NCLOUD, "timeout: 61s, budget: 2m", "bad-duration", 9)]
#[case(NCLOUD, "budget: 6m", "bad-duration", 8)]
#[case(NCLOUD, "retries: 11", "bad-count", 9)]
#[case(NCLOUD, "concurrency: 0", "bad-count", 13)]
#[case(NCLOUD, "concurrency: 1025", "bad-count", 13)]
#[case(NCLOUD, "queue: 65537", "bad-count", 7)]
#[case(NCLOUD, "queue: 18446744073709551615", "bad-count", 7)]
#[case(NCLOUD, "breaker: { failures: 0 }", "bad-count", 21)]
#[case(NCLOUD, "breaker: { pause: 10ms }", "bad-duration", 18)]
#[case(NCLOUD, "breaker: { paus: 1s }", "unknown-field", 11)]
#[case(NCLOUD, "answer: 1B", "bad-size", 8)]
#[case(NCLOUD, "answer: 50%", "bad-size", 8)]
#[case(NCLOUD, "max_stale: 0", "bad-duration", 11)]
#[case(NCLOUD, "opened_cache: { ttl: 61s }", "bad-duration", 21)]
#[case(NCLOUD, "opened_cache: { entries: 0 }", "bad-count", 25)]
#[case(NCLOUD, "passwort: hunter2", "unknown-field", 0)]
#[case(EXEQUANTUM, "generation: 3", "bad-generation", 12)]
#[case(EXEQUANTUM, "temporary: { attempts: 0 }", "bad-count", 23)]
#[case(EXEQUANTUM, "temporary: { expiry: 1ms }", "bad-duration", 21)]
#[case("provider: crypteron, sec_part_id: s, api_key: 'file:k'", "app_id: 'a.b'", "bad-name", 8)]
#[case(CRYPTERON, "poll: 100ms", "bad-duration", 6)]
fn refused(#[case] profile: &str, #[case] options: &str, #[case] code: &str, #[case] column: usize) {
    let at = profile.len() + 2 + column + 1;
    let found = problems(&format!("{profile}, {options}"));
    assert!(found.contains(&(code, at)), "{options}: {found:?}, not ({code}, {at})");
}

/// Marked at the profile's name.
#[rstest]
#[case("username: 'env:U'", &["no-provider"])]
#[case("", &["no-provider"])]
#[case("provider: crittora, username: 'env:U', password: 'file:p'", &["missing"; 3])]
#[case("provider: crittora, username: 'env:U', password: 'file:p', api_key: 'file:k', api: direct", &["missing"; 2])]
#[case("provider: ncloud-kms, access_key: 'file:a'", &["missing", "missing"])]
#[case("provider: ncloud-kms, key_tag: t", &["credential"])]
#[case("provider: ncloud-kms, key_tag: t, token: 'file:t', refresh_token: 'file:r'", &["credential"])]
#[case("provider: ncloud-kms, key_tag: t, token: 'file:t', access_key: 'file:r', secret_key: 'file:s'", &["credential"])]
#[case("provider: exequantum, generation: 2", &["missing"; 4])]
#[case("provider: crypteron, sec_part_id: s, api_key: 'file:k'", &["missing"])]
fn incomplete(#[case] options: &str, #[case] codes: &[&str]) {
    let found: Vec<_> = problems(options).into_iter().map(|(code, _)| code).collect();
    assert_eq!(found, codes, "{options}");
}

#[test]
fn a_secret_that_is_refused_is_not_missing() {
    let found = problems("provider: crypteron, app_id: 1, sec_part_id: s, api_key: hunter2");
    assert_eq!(found, [("inline-secret", 58)]);
}

#[test]
fn a_key_means_one_thing() {
    let codes = |text: &str| load(text).findings.0.iter().map(|f| f.code).collect::<Vec<_>>();
    let two = format!("profiles: {{ a: {{ {NCLOUD}, partition: c }}, b: {{ {NCLOUD}, partition: c }} }}");
    assert_eq!(codes(&two), ["same-partition"]);
    let other = format!("profiles: {{ a: {{ {NCLOUD}, partition: b }}, b: {{ {NCLOUD}, partition: c }} }}");
    assert_eq!(codes(&other), ["same-partition"]);
    let swapped = format!("profiles: {{ a: {{ {NCLOUD}, partition: b }}, b: {{ {NCLOUD}, partition: a }} }}");
    assert_eq!(codes(&swapped), ["same-partition"; 2]);
    assert_eq!(codes(&format!("profiles: {{ 'no good': {{ {NCLOUD} }} }}")), ["bad-name"]);
    assert_eq!(codes("profiles: { a: 7 }"), ["wrong-type"]);
    assert_eq!(codes("profiles: [a]"), ["wrong-type"]);
    good(&format!("profiles: {{ a: {{ {NCLOUD} }}, b: {{ {NCLOUD}, partition: c }} }}"));
}

#[test]
fn plain_http_is_for_loopback_and_trials() {
    one(&format!("{NCLOUD}, endpoint: 'http://127.0.0.1:8443'"));
    let profile = one(&format!("{NCLOUD}, endpoint: 'http://api.example', insecure: true"));
    assert!(profile.tls.insecure);
    let pin = format!("sha256/{}", crate::crypto::base64::encode(&[7; 32]));
    let found = problems(&format!("{NCLOUD}, endpoint: 'http://127.0.0.1:1', pins: ['{pin}']"));
    assert_eq!(found.first().map(|(code, _)| *code), Some("pins"));
    let found = problems(&format!("{NCLOUD}, endpoint: 'http://127.0.0.1:1', pq_only: true"));
    assert_eq!(found.first().map(|(code, _)| *code), Some("pq-only"), "nothing is post-quantum without TLS");
}

#[test]
fn a_long_timeout_raises_the_budget_that_nobody_wrote() {
    assert_eq!(one(&format!("{NCLOUD}, timeout: 10s")).calls.budget, Duration::from_secs(10));
}

#[test]
fn the_schema_has_each_option_and_takes_those_of_the_provider_alone() {
    let schema: serde_json::Value = serde_json::from_str(&schema::schema()).unwrap();
    let profile = schema["$defs"]["Profile"]["properties"].as_object().unwrap();
    let conditions = schema["$defs"]["Profiles"]["additionalProperties"]["allOf"][1]["allOf"].as_array().unwrap();
    assert_eq!(conditions.len(), 4);
    for condition in conditions {
        let then = &condition["then"];
        for (option, allowed) in then["properties"].as_object().unwrap() {
            assert!(profile.contains_key(option) && !allowed.as_bool().unwrap(), "{option}");
        }
        for option in then["required"].as_array().unwrap() {
            assert!(profile.contains_key(option.as_str().unwrap()), "{option}");
            assert!(then["properties"].get(option.as_str().unwrap()).is_none(), "{option}");
        }
    }
}
