use rstest::rstest;

use crate::authority::credentials;
use crate::authority::listen;
use crate::config::{Loaded, Machine, Overrides, Purpose, load_text};

use super::*;

const MACHINE: Machine = Machine { memory: 1 << 30, cpus: 4 };

fn load(text: &str, flags: AuthorityOverrides) -> Loaded {
    let flags = Overrides { authority: flags, ..Overrides::default() };
    load_text("sidecloak.yaml", text, &flags, Purpose::Authority, MACHINE)
}

fn good(text: &str, flags: AuthorityOverrides) -> listen::Settings {
    let loaded = load(text, flags);
    let findings = loaded.findings.to_string();
    loaded.config.unwrap_or_else(|| panic!("{findings}")).authority.unwrap().listen
}

fn binds(settings: &listen::Settings) -> Vec<(Door, String)> {
    settings.binds.iter().map(|bind| (bind.door, bind.address.to_string())).collect()
}

#[test]
fn everything_has_a_default() {
    let loaded = load("", AuthorityOverrides::default());
    assert!(loaded.findings.0.is_empty(), "{}", loaded.findings);
    let config = loaded.config.unwrap();
    assert!(config.keyring.is_some());
    let settings = config.authority.unwrap().listen;
    assert_eq!(binds(&settings), [(Door::Own, "127.0.0.1:8440".into())]);
    assert_eq!((settings.workers, settings.insecure, &settings.binds[0].tls), (4, false, &None));
    assert!(load_text("f", "", &Overrides::default(), Purpose::Keys, MACHINE).config.unwrap().authority.is_none());
}

#[test]
fn a_listener_per_section_with_its_own_tls_or_the_common_one() {
    let text = "authority:
  bind: 0.0.0.0:8440
  tls: { cert: a.crt, key: a.key, client_ca: ca.pem, require_client_cert: true }
  crittora: { bind: 10.0.0.1:8441, tls: { cert: b.crt, key: b.key, pq_only: true } }
  ncloud_kms: { bind: 127.0.0.1:8443 }
# A proxy's; an authority has no use for it.
listeners: [{ upstream: 'http://127.0.0.1:9000', bind: '127.0.0.1:8440' }]
workers: 3
";
    let settings = good(text, AuthorityOverrides::default());
    let expected =
        [(Door::Own, "0.0.0.0:8440"), (Door::Crittora, "10.0.0.1:8441"), (Door::NcloudKms, "127.0.0.1:8443")];
    assert_eq!(binds(&settings), expected.map(|(door, address)| (door, address.to_owned())));
    let [own, crittora, ncloud] = [0, 1, 2].map(|at| settings.binds[at].tls.clone().unwrap());
    assert_eq!(
        (own.cert, own.client_ca, own.require_client, own.pq_only),
        ("a.crt".into(), Some("ca.pem".into()), true, false)
    );
    assert_eq!((crittora.cert, crittora.client_ca, crittora.pq_only), ("b.crt".into(), None, true));
    assert_eq!((ncloud.key, settings.workers), ("a.key".into(), 3));

    let flags = AuthorityOverrides {
        listen: Some("127.0.0.1:1".into()),
        exequantum: Some("[::1]:2".into()),
        tls_cert: Some("c.crt".into()),
        pq_only: true,
        ..AuthorityOverrides::default()
    };
    let settings = good(text, flags);
    assert_eq!(binds(&settings)[0].1, "127.0.0.1:1");
    let last = settings.binds.last().unwrap();
    assert_eq!((last.door, last.address.to_string()), (Door::Exequantum, "[::1]:2".into()));
    let tls = last.tls.clone().unwrap();
    assert_eq!((tls.cert, tls.key, tls.pq_only), ("c.crt".into(), "a.key".into(), true));
}

#[rstest]
#[case("authority: { bind: 0.0.0.0:1 }", "plain-listen", (1, 20))]
#[case("authority: { crittora: { bind: '[::]:1' } }", "plain-listen", (1, 32))]
#[case("authority: { bind: 'unix:/run/x' }", "bad-address", (1, 20))]
#[case("authority: { crypteron: {} }", "no-bind", (1, 25))]
#[case("authority: { tls: { cert: a } }", "tls-incomplete", (1, 27))]
#[case("authority: { tls: { key: a } }", "tls-incomplete", (1, 26))]
#[case("authority: { tls: { pq_only: true } }", "tls-incomplete", (0, 0))]
#[case("authority: { tls: { cert: a, key: b, require_client_cert: true } }", "no-client-ca", (1, 27))]
#[case("authority: { bind: 127.0.0.1:5, ncloud_kms: { bind: 127.0.0.1:5 } }", "address-taken", (1, 53))]
#[case("authority: { crittora: { bnid: 127.0.0.1:5 } }", "unknown-field", (1, 26))]
fn what_is_refused(#[case] text: &str, #[case] code: &str, #[case] place: (usize, usize)) {
    let loaded = load(text, AuthorityOverrides::default());
    assert!(loaded.config.is_none());
    let finding = loaded.findings.0.iter().find(|f| f.code == code).unwrap_or_else(|| panic!("{}", loaded.findings));
    assert_eq!(finding.line_column().unwrap_or((0, 0)), place, "{}", loaded.findings);
    assert!(finding.help.is_some());
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let flags = AuthorityOverrides {
        listen: Some("localhost:1".into()),
        crittora: Some("0.0.0.0:2".into()),
        exequantum: Some("unix:/x".into()),
        require_client_cert: true,
        ..AuthorityOverrides::default()
    };
    let loaded = load("", flags);
    let codes: Vec<_> = loaded.findings.0.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["no-client-ca", "tls-incomplete", "bad-address", "bad-address", "plain-listen"]);
}

const CALLERS: &str = "authority:
  certificates:
    - { name: 'spiffe://bank/ns/teller/*', purpose: sidecar, role: teller, partitions: ['teller-*', shared] }
    - { name: 'spiffe://bank/ops', purpose: management, role: admin }
  issuers:
    - issuer: https://kubernetes.default.svc
      audience: sidecloak
      jwks: file:/etc/jwks.json
      rules:
        - claims: { sub: 'system:serviceaccount:pay:*', 'kubernetes.io/Pod': a }
          purpose: encrypt-only
          role: payer
          app: pay
  rate: { per_second: 7, burst: 9 }
keyring: { max_stale: 10s }
";

#[test]
fn callers_are_whom_the_file_names() {
    let loaded = load(CALLERS, AuthorityOverrides::default());
    assert_eq!(loaded.findings.0.iter().map(|f| f.code).collect::<Vec<_>>(), ["nobody-trusted"]);
    let callers = loaded.config.unwrap().authority.unwrap().callers;
    let [teller, ops] = callers.certificates.as_slice() else { panic!() };
    assert_eq!((teller.name.as_str(), teller.grant.role.as_str()), ("spiffe://bank/ns/teller/*", "teller"));
    assert_eq!(teller.grant.partitions, ["teller-*", "shared"]);
    assert_eq!((ops.grant.purpose, ops.grant.partitions.len()), (credentials::Purpose::Management, 0));
    let [issuer] = callers.issuers.as_slice() else { panic!() };
    assert_eq!(
        (issuer.audiences.as_slice(), issuer.jwks.to_string().as_str()),
        (&["sidecloak".to_owned()][..], "/etc/jwks.json")
    );
    let [rule] = issuer.rules.as_slice() else { panic!() };
    assert_eq!((rule.grant.purpose, rule.grant.app.as_deref()), (credentials::Purpose::EncryptOnly, Some("pay")));
    assert_eq!(rule.claims[1], ("kubernetes.io/Pod".to_owned(), "a".to_owned()), "names keep their case");
    assert_eq!((callers.limits.per_second, callers.limits.burst, callers.max_stale.as_secs()), (7, 9, 10));
}

#[rstest]
#[case("certificates: [{ purpose: sidecar, role: a }]", "no-caller")]
#[case("certificates: [{ name: a, role: a }]", "no-purpose")]
#[case("certificates: [{ name: a, purpose: sidecar }]", "no-role")]
#[case("certificates: [{ name: '*', purpose: sidecar, role: a }]", "bad-caller")]
#[case("certificates: [{ name: a, purpose: management, role: root }]", "bad-caller")]
#[case("certificates: [{ name: a, purpose: sidecar, role: a, partitions: [] }]", "no-partitions")]
#[case("certificates: [{ name: a, purpose: sidecar, role: a, partitions: [1] }]", "wrong-type")]
#[case("certificates: [{ name: a, purpose: crittora, role: a }]", "wrong-type")]
#[case("issuers: [{ issuer: i, jwks: 'file:/j' }]", "bad-caller")]
#[case("issuers: [{ issuer: i, audience: a }]", "no-jwks")]
#[case("issuers: [{ issuer: i, audience: a, jwks: 'http://i/jwks' }]", "bad-jwks")]
#[case("issuers: [{ issuer: i, audience: a, jwks: 'file:/j', rules: [{ purpose: sidecar, role: a }] }]", "bad-caller")]
#[case("rate: { per_second: 99999999 }", "bad-count")]
fn callers_that_are_refused(#[case] text: &str, #[case] code: &str) {
    let loaded = load(&format!("authority:\n  {text}\n"), AuthorityOverrides::default());
    assert!(loaded.config.is_none());
    let finding = loaded.findings.0.iter().find(|f| f.code == code).unwrap_or_else(|| panic!("{}", loaded.findings));
    assert_eq!(finding.line_column().unwrap().0, 2);
}

#[test]
fn in_the_clear_only_if_told_so() {
    let flags =
        AuthorityOverrides { listen: Some("0.0.0.0:2".into()), insecure_listen: true, ..AuthorityOverrides::default() };
    let loaded = load("", flags);
    assert!(loaded.findings.0.iter().any(|finding| finding.code == "insecure-listen"));
    assert!(loaded.config.unwrap().authority.unwrap().listen.insecure);
    assert!(!good("authority: { bind: '[::ffff:127.0.0.1]:1' }", AuthorityOverrides::default()).insecure);
}
