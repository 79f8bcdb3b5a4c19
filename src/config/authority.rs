//! The section `authority`, with the flags of `sidecloak authority` over it.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;

use super::compile::{Checks, value};
use super::file::{self, At};
use super::scalar::Listen;
use super::{AuthorityOverrides, address};
use crate::authority::face::Door;
use crate::authority::listen::Bind;
use crate::proxy::settings::Address;
use crate::tls::ServerTls;

const DEFAULT_PORT: u16 = 8440;

impl Checks<'_> {
    /// The listeners, and whether those beyond loopback may do without TLS.
    pub(super) fn authority(&mut self, file: file::Authority, flags: &AuthorityOverrides) -> (Vec<Bind>, bool) {
        let insecure = flags.insecure_listen || value(file.insecure_listen).unwrap_or(false);
        let shared = self.tls(file.tls.map(|tls| tls.value).unwrap_or_default(), Some(flags), None);
        let doors = [
            (Door::Crittora, "--crittora", file.crittora, &flags.crittora),
            (Door::Crypteron, "--crypteron", file.crypteron, &flags.crypteron),
            (Door::NcloudKms, "--ncloud-kms", file.ncloud_kms, &flags.ncloud_kms),
            (Door::Exequantum, "--exequantum", file.exequantum, &flags.exequantum),
        ];
        let own = self.bind("--listen", file.bind, flags.listen.as_deref());
        let default = (SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)), None);
        let mut binds = Vec::new();
        if let Ok(own) = own {
            let (address, span) = own.unwrap_or(default);
            binds.push((Bind { door: Door::Own, address, tls: shared.clone() }, span));
        }
        for (door, flag, written, text) in doors {
            let there = written.as_ref().map(|door| door.span.clone());
            let written = value(written).unwrap_or_default();
            let tls = match written.tls {
                Some(At { value, span }) => self.tls(value, None, Some(span)),
                None => shared.clone(),
            };
            match (self.bind(flag, written.bind, text.as_deref()), there) {
                (Ok(Some((address, span))), _) => binds.push((Bind { door, address, tls }, span)),
                (Ok(None), Some(span)) => {
                    let message = format!("`authority.{}` listens nowhere", door.name().replace('-', "_"));
                    self.error("no-bind", message, &span, "add `bind: 127.0.0.1:PORT`");
                }
                (Ok(None), None) | (Err(Reported), _) => {}
            }
        }
        self.exposed(&binds, insecure);
        self.apart(&binds);
        (binds.into_iter().map(|(bind, _)| bind).collect(), insecure)
    }

    /// What one flag, or else one key says; `None`: neither is there.
    fn bind(
        &mut self,
        flag: &'static str,
        file: Option<At<Listen>>,
        text: Option<&str>,
    ) -> Result<Option<Placed>, Reported> {
        let (address, span) = match (text, file) {
            (Some(text), _) => match address::listen(text) {
                Ok(address) => (address, None),
                Err(problem) => {
                    self.flag_problem::<()>(flag, problem);
                    return Err(Reported);
                }
            },
            (None, Some(at)) => (at.value.0, Some(at.span)),
            (None, None) => return Ok(None),
        };
        match address {
            Address::Tcp(address) => Ok(Some((address, span))),
            Address::Host(..) | Address::Unix(_) => {
                let message = format!("{flag}: the authority listens on TCP");
                self.at(
                    "bad-address",
                    &message,
                    span.as_ref(),
                    "write a numeric address with a port: `127.0.0.1:8440`",
                );
                Err(Reported)
            }
        }
    }

    /// TLS with the flags over it, if they are for it; `None`: without.
    fn tls(
        &mut self,
        file: file::Tls,
        flags: Option<&AuthorityOverrides>,
        span: Option<Range<usize>>,
    ) -> Option<ServerTls> {
        let path = |flag: fn(&AuthorityOverrides) -> &Option<PathBuf>, file: Option<At<String>>| {
            flags.and_then(|flags| flag(flags).clone()).or_else(|| value(file).map(PathBuf::from))
        };
        let span = span.or_else(|| file.cert.as_ref().or(file.key.as_ref()).map(|at| at.span.clone()));
        let cert = path(|flags| &flags.tls_cert, file.cert);
        let key = path(|flags| &flags.tls_key, file.key);
        let client_ca = path(|flags| &flags.client_ca, file.client_ca);
        let require = flags.is_some_and(|f| f.require_client_cert) || value(file.require_client_cert).unwrap_or(false);
        let pq_only = flags.is_some_and(|f| f.pq_only) || value(file.pq_only).unwrap_or(false);
        if require && client_ca.is_none() {
            let help = "name the authority of the clients with --client-ca, or `client_ca` in the file";
            self.at("no-client-ca", "client certificates are required, and none can be verified", span.as_ref(), help);
        }
        let further = require || pq_only || client_ca.is_some() || span.is_some();
        match (cert, key) {
            (Some(cert), Some(key)) => Some(ServerTls { cert, key, client_ca, require_client: require, pq_only }),
            (None, None) if !further => None,
            (cert, _) => {
                let missing = if cert.is_some() { "TLS has no private key" } else { "TLS has no certificate" };
                let help = "give both --tls-cert and --tls-key, or `cert` and `key` in the file";
                self.at("tls-incomplete", missing, span.as_ref(), help);
                None
            }
        }
    }

    fn exposed(&mut self, binds: &[(Bind, Option<Range<usize>>)], insecure: bool) {
        let plain = |bind: &Bind| bind.tls.is_none() && !bind.address.ip().to_canonical().is_loopback();
        for (bind, span) in binds.iter().filter(|(bind, _)| plain(bind)) {
            let (name, address) = (bind.door.name(), bind.address);
            let message = format!("`{name}` would listen on {address} without TLS: everybody on the way reads along");
            if insecure {
                let help = "give --tls-cert and --tls-key, unless something else encrypts the way";
                self.warn("insecure-listen", &message, span.as_ref(), help);
            } else {
                let help = "give --tls-cert and --tls-key, listen on 127.0.0.1, or say --insecure-listen";
                self.at("plain-listen", &message, span.as_ref(), help);
            }
        }
    }

    fn apart(&mut self, binds: &[(Bind, Option<Range<usize>>)]) {
        let mut taken = HashSet::new();
        for (bind, span) in binds {
            if bind.address.port() != 0 && !taken.insert(bind.address) {
                let message = format!("`{}` has the address of another listener", bind.door.name());
                self.at("address-taken", &message, span.as_ref(), "give each its own port");
            }
        }
    }

    fn at(&mut self, code: &'static str, message: &str, span: Option<&Range<usize>>, help: &str) {
        match span {
            Some(span) => self.error(code, message.to_owned(), span, help),
            None => self.flag(code, message, help),
        }
    }

    fn warn(&mut self, code: &'static str, message: &str, span: Option<&Range<usize>>, help: &str) {
        match span {
            Some(span) => self.warning(code, message, span, help),
            None => self.flag_warning(code, message, help),
        }
    }
}

/// An address, and where the file says it.
type Placed = (SocketAddr, Option<Range<usize>>);

/// What was wrong is in the findings.
struct Reported;

#[cfg(test)]
mod tests {
    use rstest::rstest;

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
        loaded.config.unwrap_or_else(|| panic!("{findings}")).authority.unwrap()
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
        let settings = config.authority.unwrap();
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
        let finding =
            loaded.findings.0.iter().find(|f| f.code == code).unwrap_or_else(|| panic!("{}", loaded.findings));
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

    #[test]
    fn in_the_clear_only_if_told_so() {
        let flags = AuthorityOverrides {
            listen: Some("0.0.0.0:2".into()),
            insecure_listen: true,
            ..AuthorityOverrides::default()
        };
        let loaded = load("", flags);
        assert!(loaded.findings.0.iter().any(|finding| finding.code == "insecure-listen"));
        assert!(loaded.config.unwrap().authority.unwrap().insecure);
        assert!(!good("authority: { bind: '[::ffff:127.0.0.1]:1' }", AuthorityOverrides::default()).insecure);
    }
}
