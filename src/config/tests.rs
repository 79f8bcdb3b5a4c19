use std::path::PathBuf;
use std::time::Duration;

use rstest::rstest;

use super::*;
use crate::keyring::store::{Credential, Remote, StorePlace};
use crate::proxy::settings::{Http2Limits, Limits, ListenerLimits, Retry, Timeouts, UpstreamProtocol};

const MACHINE: Machine = Machine { memory: 1 << 30, cpus: 4 };

fn load(text: &str) -> Loaded {
    load_text("sidecloak.yaml", text, &Overrides::default(), Purpose::Proxy, MACHINE)
}

fn good(text: &str) -> Config {
    let loaded = load(text);
    loaded.config.unwrap_or_else(|| panic!("{}", loaded.findings))
}

/// Code, line and column of every finding.
fn problems(text: &str) -> Vec<(&'static str, usize, usize)> {
    let loaded = load(text);
    assert!(loaded.config.is_none());
    let place = |f: &Finding| f.line_column().unwrap_or((0, 0));
    let problems: Vec<_> = loaded.findings.0.iter().map(|f| (f.code, place(f).0, place(f).1)).collect();
    assert!(loaded.findings.0.iter().all(|f| f.help.is_some()), "no way out: {}", loaded.findings);
    problems.into_iter().filter(|(code, ..)| *code != "no-rules").collect()
}

const MINIMAL: &str = "listeners: [{ upstream: 'http://127.0.0.1:9000' }]\n";

#[test]
fn everything_has_a_default_but_the_upstream() {
    let config = good(MINIMAL);
    let [listener] = config.proxy.listeners.as_slice() else { panic!() };
    assert_eq!(listener.name, "front");
    assert_eq!(listener.bind, [Address::Tcp("127.0.0.1:8080".parse().unwrap())]);
    assert_eq!(listener.upstream, [Address::Tcp("127.0.0.1:9000".parse().unwrap())]);
    assert!(
        listener.upstream_protocol == UpstreamProtocol::Http1
            && !listener.reject_unmatched
            && listener.reject_ambiguous
            && !listener.ignore_case
    );
    assert!(listener.trusted_peers.is_empty() && listener.trusted_headers.is_empty() && listener.open_for.is_none());
    assert_eq!(config.proxy.workers, 2);
    let limits = config.proxy.limits;
    assert_eq!(limits.memory, (1 << 30) / 100 * 60);
    assert_eq!((limits.header, limits.value, limits.buffer), (32 << 10, 1 << 20, 64 << 10));
    assert_eq!((limits.in_flight, limits.connections), (1024, 4096));
    let upstream = config.proxy.upstream_limits;
    assert_eq!((upstream.connections, upstream.idle, upstream.idle_timeout), (64, 16, Duration::from_secs(4)));
    let drain = config.proxy.drain;
    assert_eq!((drain.delay, drain.deadline), (Duration::from_secs(5), Duration::from_secs(25)));
    assert_eq!((config.probe, config.admin, config.log, config.dev), (None, None, LogLevel::Info, false));
    assert_eq!(problems(""), [("no-upstream", 0, 0)]);
    assert_eq!(problems("# nothing\n"), [("no-upstream", 0, 0)]);
}

#[test]
fn the_documented_file_is_read_whole() {
    let config = good(
        "listeners:
  - name: front
    bind: [127.0.0.1:8080, 'unix:/run/sidecloak/front.sock']
    upstream: [http://127.0.0.1:9000, http://app:81]
    upstream_protocol: http2
    unmatched: reject
    on_ambiguous: pass
    case: ignore
    trusted_peers: [10.0.0.0/8, 192.0.2.1]
    trusted_headers: [X-Tenant]
    open_for: []
  - name: back
    bind: 127.0.0.1:8081
    upstream: unix:/run/app.sock
workers: 3
upstream_limits: { connections: 8, idle: 16, idle_timeout: 250ms, max_age: 1m, resolve: 5s }
upstream_failures: { retry: never, rest: 2s, longest_rest: 4s, breaker_after: 10, breaker_probes: 5 }
rules: my-rules/
keyring:
  store: sqlite:/data/sidecloak.db
  master_key: [file:./master.key, env:OLD_KEY]
  owner:
  recovery: file:./recovery.pub
  mirror: ./epochs/
  max_stale: 1m
  require_confirmed: true
callers:
  - { header: { x-role: admin, x-team: a }, role: admin }
probe: { bind: 0.0.0.0:9902 }
admin: { bind: 'unix:/run/sidecloak/admin.sock' }
limits: { memory: 100MiB, header: 16KiB, value: 1MiB, in_flight: 10, connections: 20, buffer: 65536 }
drain: { delay: 0, deadline: 1m }
profiles: {}
telemetry: { log: warn, paths: route }
",
    );
    let [front, back] = config.proxy.listeners.as_slice() else { panic!() };
    assert_eq!(front.bind.len(), 2);
    assert_eq!(front.upstream[1], Address::Host("app".into(), 81));
    assert!(
        front.upstream_protocol == UpstreamProtocol::Http2
            && front.reject_unmatched
            && !front.reject_ambiguous
            && front.ignore_case
    );
    assert_eq!(front.trusted_peers[1].to_string(), "192.0.2.1/32");
    assert_eq!(front.trusted_headers, ["x-tenant"]);
    assert_eq!(front.open_for.as_deref(), Some([].as_slice()), "an empty list is nobody, not anybody");
    assert_eq!(back.upstream, [Address::Unix("/run/app.sock".into())]);
    assert_eq!(config.proxy.workers, 3);
    assert_eq!(config.proxy.upstream_limits.idle, 8, "no more idle than open");
    assert_eq!(config.proxy.upstream_limits.max_age, Duration::from_mins(1));
    assert_eq!(config.proxy.upstream_limits.resolve, Duration::from_secs(5));
    let failures = config.proxy.upstream_failures;
    assert_eq!((failures.retry, failures.breaker_after, failures.breaker_probes), (Retry::Never, 10, 5));
    assert_eq!((failures.rest, failures.longest_rest), (Duration::from_secs(2), Duration::from_secs(4)));
    assert_eq!(config.rules, Some(PathBuf::from("my-rules/")));
    let keyring = config.keyring.unwrap();
    assert_eq!(keyring.store.to_string(), "/data/sidecloak.db");
    assert_eq!(keyring.master_keys, [KeySource::File("./master.key".into()), KeySource::Env("OLD_KEY".into())]);
    assert_eq!(keyring.recovery, [KeySource::File("./recovery.pub".into())]);
    assert_eq!((keyring.owner, keyring.require_confirmed, keyring.i_know), (None, true, false));
    assert_eq!((keyring.max_stale, keyring.epoch_lifetime), (Duration::from_mins(1), Duration::from_hours(24)));
    let [caller] = config.proxy.callers.as_slice() else { panic!() };
    assert_eq!((caller.headers.len(), caller.role.as_str()), (2, "admin"));
    assert_eq!(config.probe, Some(Address::Tcp("0.0.0.0:9902".parse().unwrap())));
    assert_eq!(config.admin.unwrap().address, Address::Unix("/run/sidecloak/admin.sock".into()));
    assert_eq!((config.proxy.limits.memory, config.proxy.limits.buffer), (100 << 20, 65_536));
    assert_eq!((config.proxy.drain.delay, config.log), (Duration::ZERO, LogLevel::Warn));
}

#[test]
fn all_errors_are_reported_at_once_each_at_its_place() {
    let text = "listeners:
  - nam: front
    bind: localhost:8080
    upstream: ftp://app
    unmatched: drop
    case: [ignore]
workers: many
limits: { header: 32kB, value: 0, memory: 60 % }
keyring:
  store: https://authority
  master_key: 'c2VjcmV0c2VjcmV0'
drain: { delay: 5 }
callers:
  - { jwt: { header: authorization }, role: reader }
extra: 1
";
    let mut expected = vec![
        ("unknown-field", 2, 5),
        ("bad-address", 3, 11),
        ("bad-upstream", 4, 15),
        ("wrong-type", 5, 16),
        ("wrong-type", 6, 11),
        ("wrong-type", 7, 10),
        ("bad-size", 8, 19),
        ("bad-size", 8, 32),
        ("bad-size", 8, 43),
        ("inline-secret", 11, 15),
        ("no-owner", 10, 10),
        ("bad-duration", 12, 17),
        ("no-issuer", 14, 12),
        ("unknown-field", 15, 1),
    ];
    let mut found = problems(text);
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    let shown = load(text).findings.to_string();
    assert!(!shown.contains("c2Vjc"), "a secret in {shown}");
    for part in ["sidecloak.yaml:2:5", "did you mean `name`?", "write `127.0.0.1:8080`"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
}

#[rstest]
#[case("telemetry: { paths: raw }", "`telemetry.paths`")]
fn what_is_not_there_yet_is_refused_by_name(#[case] text: &str, #[case] names: &str) {
    let loaded = load(text);
    let finding = loaded.findings.0.iter().find(|f| f.code == "not-yet").unwrap();
    assert!(finding.message.contains(names) && finding.message.contains("not available yet"), "{}", finding.message);
    assert!(!finding.message.contains("hunter2"));
    assert!(loaded.config.is_none());
}

#[rstest]
#[case("listeners: [{ upstream: [] }]", &[("no-upstream", 1, 13)])]
#[case("listeners: [{ name: a }]", &[("no-upstream", 1, 13)])]
#[case("listeners: [{ upstream: 'http://a', bind: [] }]", &[("no-bind", 1, 43)])]
#[case("listeners: [{ upstream: 'http://a/v1' }]", &[("bad-upstream", 1, 25)])]
#[case("listeners: [{ upstream: 'http://a' }, { name: front, bind: 'unix:/b', upstream: 'http://b' }]", &[("duplicate-name", 1, 47)])]
#[case("listeners: [{ upstream: 'http://a', trusted_headers: ['x y'] }]", &[("bad-header-name", 1, 55), ("nobody-trusted", 1, 54)])]
#[case("listeners: front", &[("wrong-type", 1, 12), ("no-upstream", 0, 0)])]
#[case("front", &[("wrong-type", 1, 1)])]
#[case("listeners: [{ upstream: 'http://a' }]\nlisteners: []", &[("duplicate-key", 2, 1)])]
#[case("listeners: [", &[("yaml", 1, 12)])]
fn refused_listeners(#[case] text: &str, #[case] expected: &[(&str, usize, usize)]) {
    assert_eq!(problems(text), expected);
}

#[rstest]
#[case("workers: 0", "bad-count")]
#[case("workers: 100000", "bad-count")]
#[case("workers: -1", "wrong-type")]
#[case("upstream_limits: { connections: 0 }", "bad-count")]
#[case("upstream_failures: { rest: 1m, longest_rest: 30s }", "bad-duration")]
#[case("upstream_failures: { breaker_probes: 0 }", "bad-count")]
#[case("limits: { in_flight: 0 }", "bad-count")]
#[case("limits: { buffer: 60% }", "bad-size")]
#[case("limits: { memory: 1MiB }", "memory-too-small")]
#[case("keyring: { owner: abc }", "bad-owner")]
#[case("keyring: { owner: '+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f' }", "bad-owner")]
#[case("keyring: { master_key: [] }", "no-owner")]
#[case("keyring: { epoch_lifetime: 0 }", "bad-duration")]
#[case("keyring: { store: 'postgres://u:hunter2@db' }", "bad-store")]
#[case("keyring: { store: 'postgres://u:hunter2@db/keys?sslmode=prefer' }", "bad-store")]
#[case("keyring: { issuer: 'file:k' }", "issuer")]
#[case("workers: 2\nworkers: 2", "duplicate-key")]
#[case("keyring: { store: sidecloak.db }", "bad-store")]
#[case("keyring: { recovery: 'file:' }", "inline-secret")]
#[case("admin: { bind: '0.0.0.0:9901', token: 'file:t' }", "admin-exposed")]
#[case("admin: { bind: '127.0.0.1:9901' }", "admin-without-token")]
#[case("admin: { bind: 'unix:/a', token: hunter2 }", "inline-secret")]
#[case("callers: [{ role: admin }]", "no-caller")]
#[case("callers: [{ header: {}, role: admin }]", "no-caller")]
#[case("callers: [{ header: { x-role: admin } }]", "no-role")]
#[case("callers: [{ header: { x-role: 7 }, role: admin }]", "wrong-type")]
#[case("callers: [{ client: [], role: admin }]", "no-caller")]
#[case("callers: [{ client: [7], role: admin }]", "wrong-type")]
#[case("callers: [{ jwt: { jwks: 'file:/j', audience: a }, role: r }]", "no-issuer")]
#[case("callers: [{ jwt: { issuer: i, audience: a }, role: r }]", "no-issuer")]
#[case("callers: [{ jwt: { issuer: i, jwks: 'file:/j' }, role: r }]", "no-audience")]
#[case("callers: [{ jwt: { issuer: i, jwks: '/j', audience: a }, role: r }]", "bad-jwks")]
#[case("callers: [{ jwt: { issuer: i, jwks: 'http://id.bank/j', audience: a }, role: r }]", "bad-jwks")]
#[case("callers: [{ jwt: { issuer: i, jwks: 'file:/j', audience: a } }]", "no-role")]
#[case("rules: 7", "wrong-type")]
#[case("telemetry: { log: loud }", "wrong-type")]
fn refused_values(#[case] text: &str, #[case] code: &str) {
    let problems = problems(&format!("{MINIMAL}{text}\n"));
    let line = 1 + text.lines().count();
    assert!(problems.iter().any(|(c, l, column)| *c == code && *l == line && *column >= 1), "{problems:?}");
}

#[test]
fn an_issuer_and_a_master_key_exclude_each_other() {
    let owner = "ab".repeat(32);
    let both = format!("{MINIMAL}keyring: {{ owner: '{owner}', issuer: 'file:i', master_key: 'file:m' }}\n");
    assert!(problems(&both).iter().any(|(code, ..)| *code == "issuer"));
    let one = format!("{MINIMAL}keyring: {{ owner: '{owner}', issuer: 'file:i' }}\n");
    good(&one);
}

#[test]
fn a_drain_without_time_to_end_is_warned_of() {
    let warned = |drain: &str| {
        let loaded = load(&format!("{MINIMAL}drain: {drain}\n"));
        assert!(loaded.config.is_some());
        loaded.findings.0.iter().any(|f| f.code == "drain-delay" && f.line_column().is_some_and(|(line, _)| line == 2))
    };
    assert!(warned("{ delay: 30s }") && warned("{ deadline: 1s }"));
    assert!(!warned("{ delay: 0s, deadline: 1s }"));
}

#[test]
fn a_share_that_is_none_is_answered_with_what_a_share_is() {
    let loaded = load_text(
        "c",
        &format!("{MINIMAL}limits: {{ memory: 160% }}\n"),
        &Overrides::default(),
        Purpose::Proxy,
        MACHINE,
    );
    assert!(format!("{:?}", loaded.findings).contains("from `1%` to `100%`"), "{:?}", loaded.findings);
}

#[test]
fn a_flag_stands_above_the_file_which_stands_above_the_default() {
    let text = "listeners: [{ bind: 127.0.0.1:1, upstream: http://a }]
workers: 3
rules: from-file
keyring: { store: 'sqlite:file.db', master_key: 'env:K' }
probe: { bind: 127.0.0.1:2 }
admin: { bind: 'unix:/file', token: 'env:T' }
telemetry: { log: warn }
";
    let flags = Overrides {
        listen: vec!["127.0.0.1:11".into()],
        upstream: vec!["http://127.0.0.1:12".into(), "unix:/u".into()],
        rules: Some("from-flag".into()),
        keyring: Some("flag.db".into()),
        master_key_file: Some("flag.key".into()),
        owner: Some("ab".repeat(32)),
        api_key_file: None,
        ca: None,
        admin: Some("127.0.0.1:13".into()),
        admin_token_file: Some("token".into()),
        probe: Some("127.0.0.1:14".into()),
        workers: Some(5),
        log: Some(LogLevel::Debug),
        dev: true,
        i_know: false,
        authority: AuthorityOverrides::default(),
    };
    let config = load_text("f", text, &flags, Purpose::Proxy, MACHINE).config.unwrap();
    let listener = &config.proxy.listeners[0];
    assert_eq!(listener.bind, [Address::Tcp("127.0.0.1:11".parse().unwrap())]);
    assert_eq!(listener.upstream, [Address::Tcp("127.0.0.1:12".parse().unwrap()), Address::Unix("/u".into())]);
    assert_eq!((config.proxy.workers, config.rules, config.log), (5, Some("from-flag".into()), LogLevel::Debug));
    let keyring = config.keyring.unwrap();
    assert_eq!((keyring.owner, keyring.i_know), (Some([0xab; 32]), true));
    assert_eq!(keyring.store.to_string(), "flag.db");
    assert_eq!(keyring.master_keys, [KeySource::File("flag.key".into())]);
    let admin =
        Admin { address: Address::Tcp("127.0.0.1:13".parse().unwrap()), token: Some(KeySource::File("token".into())) };
    assert_eq!(config.admin, Some(admin));
    assert_eq!(config.probe, Some(Address::Tcp("127.0.0.1:14".parse().unwrap())));

    let config = good(text);
    assert_eq!((config.proxy.workers, config.rules, config.log), (3, Some("from-file".into()), LogLevel::Warn));
    assert_eq!(config.keyring.unwrap().master_keys, [KeySource::Env("K".into())]);
}

#[test]
fn a_keyring_at_an_authority() {
    let owner = "0a".repeat(32);
    let config = good(&format!(
        "{MINIMAL}keyring: {{ store: 'https://authority:8443/', owner: '{owner}', api_key: 'file:k', ca: ca.pem, \
         identity: {{ cert: c.pem, key: k.pem }}, recipient: 'file:r' }}"
    ));
    let keyring = config.keyring.unwrap();
    let StorePlace::Authority(remote) = &keyring.store else { panic!() };
    assert_eq!(
        **remote,
        Remote {
            url: "https://authority:8443".into(),
            credential: Some(Credential::ApiKey(KeySource::File("k".into()))),
            ca: Some("ca.pem".into()),
            identity: Some(("c.pem".into(), "k.pem".into())),
            insecure: false,
        }
    );
    assert_eq!((keyring.master_keys.len(), keyring.recipient), (0, Some(KeySource::File("r".into()))));

    let flags = Overrides {
        upstream: vec!["http://127.0.0.1:9000".into()],
        keyring: Some("https://authority".into()),
        owner: Some(owner.clone()),
        api_key_file: Some("k".into()),
        ca: Some("flag.pem".into()),
        ..Overrides::default()
    };
    let config = load_text("f", "keyring: { ca: file.pem }", &flags, Purpose::Proxy, MACHINE).config.unwrap();
    let StorePlace::Authority(remote) = config.keyring.unwrap().store else { panic!() };
    assert_eq!((remote.url.as_str(), remote.ca), ("https://authority", Some("flag.pem".into())));

    for (text, code) in [
        (format!("store: 'https://u:hunter2@a', owner: '{owner}'"), "bad-store"),
        (format!("store: 'http://authority', owner: '{owner}'"), "bad-store"),
        (format!("store: 'https://a/b', owner: '{owner}'"), "bad-store"),
        ("store: 'https://a'".to_owned(), "no-owner"),
        (format!("store: 'https://a', owner: '{owner}', master_key: 'file:m'"), "master-key"),
        (format!("store: 'https://a', owner: '{owner}', token: 'env:T'"), "token"),
        (format!("store: 'https://a', owner: '{owner}', identity: {{ cert: c }}"), "identity"),
        (format!("store: 'https://a', owner: '{owner}', recipient: raw"), "inline-secret"),
    ] {
        let loaded = load(&format!("{MINIMAL}keyring: {{ {text} }}"));
        let codes: Vec<_> = loaded.findings.0.iter().map(|f| f.code).filter(|c| *c != "no-rules").collect();
        assert_eq!(codes, [code], "{text}");
        assert!(!loaded.findings.to_string().contains("hunter2"));
    }
    let insecure = format!("{MINIMAL}keyring: {{ store: 'http://authority', owner: '{owner}', insecure: true }}");
    good(&insecure);
}

#[test]
fn flags_alone_are_enough_and_are_checked_the_same() {
    let flags = Overrides { upstream: vec!["http://127.0.0.1:9000".into()], ..Overrides::default() };
    assert!(load_text("f", "", &flags, Purpose::Proxy, MACHINE).config.is_some());
    let flags = Overrides {
        listen: vec!["here".into()],
        upstream: vec!["ftp://app".into()],
        keyring: Some("ftp://authority".into()),
        owner: Some("x".into()),
        admin: Some("0.0.0.0:1".into()),
        probe: Some("x".into()),
        workers: Some(0),
        ..Overrides::default()
    };
    let findings = load_text("f", "", &flags, Purpose::Proxy, MACHINE).findings;
    let codes: Vec<_> = findings.0.iter().map(|f| f.code).filter(|c| *c != "no-rules").collect();
    assert_eq!(
        codes,
        ["bad-address", "bad-upstream", "bad-address", "admin-exposed", "bad-owner", "bad-store", "bad-count"],
        "{findings}"
    );
}

#[test]
fn what_may_be_a_secret_is_shown_in_no_snippet() {
    let text = "listeners: [{ upstream: 'http://u:hunter2@a' }]
keyring: { store: bad, master_key: hunter2 }
admin: { bind: '127.0.0.1:1', tokn: hunter2, secrets: [{ é: héhunter2 }], bnd: 1 }
";
    let findings = load(text).findings;
    assert_eq!(findings.0.iter().filter(|f| f.code == "unknown-field").count(), 3);
    for shown in [findings.to_string(), findings.0.iter().map(|f| f.to_json().to_string()).collect()] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    assert!(findings.to_string().contains("tokn: *******"), "{findings}");
}

#[test]
fn one_address_is_for_one_part() {
    for text in [
        "listeners: [{ upstream: http://a }]\nprobe: { bind: '127.0.0.1:8080' }",
        "listeners: [{ upstream: http://a, bind: 'unix:/a' }]\nadmin: { bind: 'unix:/a' }",
        "listeners: [{ upstream: http://a }, { upstream: http://b }]",
    ] {
        assert_eq!(problems(text), [("address-taken", 0, 0)], "{text}");
    }
    good("listeners: [{ upstream: http://a, bind: ['127.0.0.1:0', '127.0.0.1:0'] }]");
}

#[test]
fn an_empty_text_is_called_empty() {
    let shown = load(&format!("{MINIMAL}callers: [{{ client: '', role: r }}]\n")).findings.to_string();
    assert!(shown.contains("`callers.client` is empty"), "{shown}");
}

#[test]
fn flags_that_could_mean_several_listeners_are_refused() {
    let text = "listeners: [{ upstream: http://a }, { bind: '127.0.0.1:1', upstream: http://b }]";
    assert!(load(text).config.is_some());
    let flags = Overrides { listen: vec!["127.0.0.1:2".into()], ..Overrides::default() };
    let findings = load_text("f", text, &flags, Purpose::Proxy, MACHINE).findings;
    assert!(findings.0.iter().any(|f| f.code == "ambiguous-flag"), "{findings}");
}

#[test]
fn commands_on_keys_need_no_upstream() {
    let loaded = load_text("f", "", &Overrides::default(), Purpose::Keys, MACHINE);
    let config = loaded.config.unwrap();
    assert!(config.proxy.listeners.is_empty() && loaded.findings.0.is_empty());
    assert_eq!(config.keyring.unwrap().master_keys, [KeySource::File("./master.key".into())]);
}

#[test]
fn who_pins_the_owner_does_without_the_master_key() {
    let config = good(&format!("{MINIMAL}keyring: {{ owner: '{}' }}", "0a".repeat(32)));
    let keyring = config.keyring.unwrap();
    assert_eq!((keyring.owner, keyring.master_keys.len()), (Some([10; 32]), 0));
}

#[test]
fn what_nobody_is_trusted_for_is_warned_of() {
    let loaded = load(
        "listeners: [{ upstream: http://a, trusted_headers: [x-tenant] }]\ncallers: [{ header: { x-role: a }, role: a }]\n",
    );
    assert!(loaded.config.is_some());
    assert_eq!(loaded.findings.0.iter().filter(|f| f.code == "nobody-trusted").count(), 2, "{}", loaded.findings);
}

#[test]
fn callers_are_read_with_all_their_conditions() {
    let text = "listeners: [{ upstream: http://a, bind: '0.0.0.0:80', on_invalid_jwt: ignore }]
callers:
  - { client: ['spiffe://bank/ns/teller/*', '*.bank'], role: teller }
  - jwt: { header: x-token, jwks: 'https://id.bank/keys', issuer: i, audience: [a, b], claims: { scope: pii.read } }
    client: '*'
    role: pii-reader
  - { jwt: { jwks: 'file:/etc/jwks.json', issuer: j, audience: a }, role: user }
";
    let loaded = load(text);
    let mut codes: Vec<_> = loaded.findings.0.iter().map(|f| f.code).filter(|code| *code != "no-rules").collect();
    codes.sort_unstable();
    assert_eq!(codes, ["nobody-known", "nobody-known", "plain-listen", "token-in-the-clear", "token-in-the-clear"]);
    let config = loaded.config.unwrap().proxy;
    assert!(!config.listeners[0].reject_invalid_jwt);
    let [teller, reader, user] = config.callers.as_slice() else { panic!() };
    assert_eq!((teller.client.len(), teller.jwt.is_none()), (2, true));
    let jwt = reader.jwt.as_ref().unwrap();
    assert_eq!((jwt.header.as_str(), jwt.keys.to_string().as_str()), ("x-token", "https://id.bank/keys"));
    assert_eq!((jwt.audiences.len(), &jwt.claims[..]), (2, &[("scope".to_owned(), "pii.read".to_owned())][..]));
    assert_eq!(reader.client, ["*"]);
    let jwt = user.jwt.as_ref().unwrap();
    assert_eq!((jwt.header.as_str(), jwt.keys.to_string().as_str()), ("authorization", "/etc/jwks.json"));
    assert!(jwt.claims.is_empty() && user.client.is_empty());
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("none.yaml");
    let loaded = super::load(Some(&path), &Overrides::default(), Purpose::Keys, MACHINE);
    assert_eq!(loaded.findings.0[0].code, "config-unreadable");
    std::fs::write(&path, MINIMAL).unwrap();
    assert!(super::load(Some(&path), &Overrides::default(), Purpose::Proxy, MACHINE).config.is_some());
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut text = String::from("a: &a [x,x,x,x,x,x,x,x,x,x]\n");
    for (name, of) in ["a", "b", "c", "d", "e", "f", "g", "h"].windows(2).map(|w| (w[1], w[0])) {
        text.push_str(&format!("{name}: &{name} [*{of},*{of},*{of},*{of},*{of},*{of},*{of},*{of},*{of},*{of}]\n"));
    }
    assert!(load(&text).config.is_none());
}

#[test]
fn the_schema_knows_the_keys_and_refuses_others() {
    let schema: serde_json::Value = serde_json::from_str(&schema::schema()).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    let properties = schema["properties"].as_object().unwrap();
    for key in ["listeners", "workers", "keyring", "callers", "probe", "admin", "limits", "drain", "telemetry"] {
        assert!(properties.contains_key(key), "{key}");
    }
    assert_eq!(schema["$defs"]["Listener"]["additionalProperties"], false);
    assert!(schema["$defs"]["Listener"]["properties"]["case"].to_string().contains("ignore"));
}

#[test]
fn the_reference_names_every_key_and_its_example_holds() {
    let reference = include_str!("../../docs/config.md");
    let profiles = include_str!("../../docs/profiles.md");
    let example = reference.split("## The file\n").nth(1).unwrap();
    let example: String = example
        .lines()
        .skip_while(|l| l.is_empty())
        .map_while(|l| l.strip_prefix("    "))
        .fold(String::new(), |text, line| text + line + "\n");
    assert!(example.contains("telemetry:"), "{example}");
    good(&example);
    let schema: serde_json::Value = serde_json::from_str(&schema::schema()).unwrap();
    let sections = schema["$defs"].as_object().unwrap().values().chain([&schema]);
    for key in sections.filter_map(|s| s["properties"].as_object()).flat_map(|p| p.keys()) {
        let named = |text: &str| text.contains(key.as_str());
        assert!(named(reference) || named(profiles), "neither docs/config.md nor docs/profiles.md names `{key}`");
    }
}

/// What stands under `default` in the table behind a heading, as the file would say it.
fn documented(heading: &str) -> Vec<(String, String)> {
    let reference = include_str!("../../docs/config.md");
    let section = reference.split_once(heading).unwrap().1;
    let rows = section.lines().skip_while(|line| !line.starts_with("| `")).take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect::<Vec<_>>());
    cells.map(|cells| (cells[1].clone(), cells[2].clone())).collect()
}

#[test]
fn the_defaults_of_the_reference_are_those_of_the_program() {
    let section = |heading: &str, key: &str, keys: usize| {
        let rows = documented(heading);
        assert_eq!(rows.len(), keys, "{rows:?}");
        let (inner, outer): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(name, _)| name.contains('.'));
        let http2: String = inner.iter().map(|(n, v)| format!("{}: {v}, ", n.trim_start_matches("http2."))).collect();
        let plain: String = outer.iter().map(|(name, value)| format!("{name}: {value}, ")).collect();
        format!("{key}: {{ {plain} {} }}\n", if http2.is_empty() { http2 } else { format!("http2: {{ {http2} }}") })
    };
    let written = good(&format!(
        "{MINIMAL}{}{}{}{}",
        section("### `limits`", "limits", 18),
        section("### `timeouts`", "timeouts", 13),
        section("`upstream_limits` holds", "upstream_limits", 6),
        section("`upstream_failures` says", "upstream_failures", 5),
    ))
    .proxy;
    let standard = good(MINIMAL).proxy;
    assert_eq!((written.limits, written.timeouts), (standard.limits, standard.timeouts));
    assert_eq!(written.upstream_limits, standard.upstream_limits);
    assert_eq!(written.upstream_failures, standard.upstream_failures);
    // The schema tells editors the same.
    let schema: serde_json::Value = serde_json::from_str(&schema::schema()).unwrap();
    for (name, heading) in [
        ("Limits", "### `limits`"),
        ("Timeouts", "### `timeouts`"),
        ("UpstreamLimits", "`upstream_limits` holds"),
        ("UpstreamFailures", "`upstream_failures` says"),
    ] {
        for (key, default) in documented(heading) {
            let (section, key) = key.split_once('.').map_or((name, key.as_str()), |(_, key)| ("Http2Limits", key));
            let told = schema["$defs"][section]["properties"][key]["description"].as_str().unwrap().replace('`', "");
            assert!(told.contains(&format!("Default: {default}")), "{section}.{key}: {default}, but {told}");
        }
    }
}

#[test]
fn limits_and_timeouts_have_defaults_bounds_and_off() {
    let standard = good(MINIMAL);
    let limits = Limits { memory: standard.proxy.limits.memory, ..Limits::default() };
    assert_eq!((standard.proxy.limits, standard.proxy.timeouts), (limits, Timeouts::default()));
    let config = good(
        "listeners: [{ upstream: 'http://127.0.0.1:9000', limits: { in_flight: 5, connections: 6, body: 2GiB } }]
limits: { headers: 30, request_line: 4KiB, body: 10MiB, client_connections: 8, requests: 1000, min_rate: off,
  http2: { streams: 10, stream_window: 128KiB, connection_window: 256KiB, resets: 7 } }
timeouts: { handshake: 1s, header: 2s, keep_alive: 3s, request_idle: 4s, send: 5s, queue: 6s, connect: 7s, first_byte: 8s,
  response_idle: 9s, total: 1m, tunnel_idle: off, connection_age: off, ping: 10s }
upstream_limits: { queue: 0 }
",
    );
    let (limits, timeouts) = (config.proxy.limits, config.proxy.timeouts);
    let own = ListenerLimits { in_flight: Some(5), connections: Some(6), body: Some(Some(2 << 30)) };
    assert_eq!((config.proxy.listeners[0].limits, config.proxy.upstream_limits.queue), (own, 0));
    assert_eq!((limits.headers, limits.request_line, limits.body), (30, 4 << 10, Some(10 << 20)));
    assert_eq!((limits.client_connections, limits.requests, limits.min_rate), (Some(8), Some(1000), None));
    let http2 = Http2Limits { streams: 10, stream_window: 128 << 10, connection_window: 256 << 10, resets: 7 };
    assert_eq!(limits.http2, http2);
    assert_eq!(
        (timeouts.total, timeouts.tunnel_idle, timeouts.connection_age),
        (Some(Duration::from_mins(1)), None, None)
    );
    let (t, s) = (timeouts, Duration::from_secs);
    let waits = [t.handshake, t.header, t.keep_alive, t.request_idle, t.send, t.queue, t.connect, t.first_byte];
    assert_eq!(waits.to_vec(), (1..=8).map(s).collect::<Vec<_>>());
    assert_eq!((t.response_idle, t.ping), (s(9), s(10)));
}

#[rstest]
#[case("timeouts: { header: 0 }", "bad-duration")]
#[case("timeouts: { total: 0s }", "bad-duration")]
#[case("timeouts: { header: off }", "bad-duration")]
#[case("timeouts: { body: 1s }", "unknown-field")]
#[case("limits: { headers: 0 }", "bad-count")]
#[case("limits: { header: 32 }", "bad-size")]
#[case("limits: { client_connections: 0 }", "bad-count")]
#[case("limits: { min_rate: 0 }", "bad-size")]
#[case("limits: { body: 10% }", "bad-size")]
#[case("limits: { body: 0 }", "bad-size")]
#[case("limits: { in_flight: off }", "wrong-type")]
#[case("limits: { http2: { streams: 0 } }", "bad-count")]
fn bounds_that_bound_nothing_are_refused(#[case] text: &str, #[case] code: &str) {
    assert_eq!(problems(&format!("{MINIMAL}{text}\n")).first().map(|(code, ..)| *code), Some(code));
}

#[rstest]
#[case("timeouts: { first_byte: 1s }", "first-byte")]
#[case("timeouts: { total: 5s }", "total")]
#[case("timeouts: { total: 2m }\ndrain: { deadline: 30s }", "drain-deadline")]
#[case("drain: { delay: 30s }", "drain-delay")]
#[case("limits: { request_line: 64KiB }", "request-line")]
#[case("limits: { headers: 3 }", "few-headers")]
#[case("limits: { client_connections: 4096 }", "client-connections")]
#[case("limits: { min_rate: 1MiB }", "min-rate")]
#[case("limits: { memory: 64MiB, connections: 100000 }", "connections-memory")]
#[case("limits: { http2: { stream_window: 2MiB } }", "stream-window")]
#[case("limits: { http2: { stream_window: 16KiB, connection_window: 16KiB } }", "small-window")]
fn contradictory_bounds_are_warned_of(#[case] text: &str, #[case] code: &str) {
    let loaded = load(&format!("{MINIMAL}{text}\n"));
    assert!(loaded.config.is_some(), "{}", loaded.findings);
    let codes: Vec<_> = loaded.findings.0.iter().map(|f| f.code).filter(|code| *code != "no-rules").collect();
    assert_eq!(codes, [code], "{}", loaded.findings);
}
