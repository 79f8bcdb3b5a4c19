//! A database as an operator names it: `postgres://USER@HOST:PORT/DATABASE?PARAMETERS`.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use rustls::ClientConfig;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::super::place::BadPlace;
use crate::secret::SecretBytes;

/// For one address; one that takes longer counts as away.
const CONNECT: Duration = Duration::from_secs(2);
/// What was sent and not acknowledged for so long ends a connection.
const UNACKNOWLEDGED: Duration = Duration::from_secs(4);

/// See the module. Neither `Debug` nor `Display` shows the password.
#[derive(Clone)]
pub struct PostgresPlace {
    pub(super) config: tokio_postgres::Config,
    pub(super) tls: TlsMode,
    pub(super) files: TlsFiles,
    name: String,
}

/// What a connection must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Plain: `sslmode=disable`, or none given for a socket or a loopback address.
    Off,
    /// TLS where the server offers it; never beyond this machine, since who sits between the two decides what is offered.
    IfOffered,
    /// TLS, and the certificate is valid for the host's name.
    Verified,
}

/// Makes a client's TLS of what a URL names; the error says what is wrong with which file, and the way out.
pub type DatabaseTls = fn(&TlsFiles) -> Result<Arc<ClientConfig>, String>;

/// `sslrootcert`, `sslcert` and `sslkey`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: trusted roots; `None`: the system's.
    pub roots: Option<PathBuf>,
    /// PEM: the certificate that this process shows.
    pub certificate: Option<PathBuf>,
    /// PEM: its private key.
    pub key: Option<PathBuf>,
}

impl PostgresPlace {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, BadPlace> {
        let (address, parameters) = text.split_once('?').unwrap_or((text, ""));
        let (mut rest, mut mode, mut files) = (Vec::new(), None, TlsFiles::default());
        for parameter in parameters.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let decoded = percent_decode_str(value).decode_utf8_lossy().into_owned();
            match name {
                "sslmode" => mode = Some(decoded),
                "sslrootcert" => files.roots = Some(decoded.into()),
                "sslcert" => files.certificate = Some(decoded.into()),
                "sslkey" => files.key = Some(decoded.into()),
                _ => rest.push(parameter),
            }
        }
        if files.certificate.is_some() != files.key.is_some() {
            return Err(bad("`sslcert` and `sslkey` go together", "give both, or neither"));
        }
        let url = if rest.is_empty() { address.to_owned() } else { format!("{address}?{}", rest.join("&")) };
        // Its own words may repeat a part of the password.
        let mut config: tokio_postgres::Config = url.parse().map_err(|_| {
            bad(
                "the keyring's URL cannot be read",
                "write `postgres://USER@HOST:PORT/DATABASE`; characters such as `@`, `:`, `/`, `?` and `%` in a password are \
                 percent-encoded",
            )
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(bad("the keyring's URL names no host", "write `postgres://USER@HOST:PORT/DATABASE`"));
        }
        if config.get_dbname().is_none_or(str::is_empty) {
            return Err(bad("the keyring's URL names no database", "write `postgres://USER@HOST:PORT/DATABASE`"));
        }
        let tls = tls_mode(mode.as_deref(), is_local(&config))?;
        config.ssl_mode(match tls {
            TlsMode::Off => SslMode::Disable,
            TlsMode::IfOffered => SslMode::Prefer,
            TlsMode::Verified => SslMode::Require,
        });
        if config.get_hosts().len().max(config.get_hostaddrs().len()) > 1 {
            // Of a primary and its standbys, the one that takes writes.
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        config.connect_timeout(config.get_connect_timeout().copied().unwrap_or(CONNECT).min(Duration::from_secs(30)));
        config.tcp_user_timeout(UNACKNOWLEDGED).keepalives_idle(Duration::from_secs(5));
        config.keepalives_interval(Duration::from_secs(2)).keepalives_retries(3);
        if config.get_application_name().is_none() {
            config.application_name("sidecloak");
        }
        let name = name_of(&config);
        Ok(Self { config, tls, files, name })
    }

    /// Whether the URL itself holds the password.
    pub fn has_password(&self) -> bool {
        self.config.get_password().is_some()
    }

    /// Takes the password from elsewhere.
    pub fn set_password(&mut self, password: &SecretBytes) {
        self.config.password(password.expose());
    }
}

fn tls_mode(written: Option<&str>, local: bool) -> Result<TlsMode, BadPlace> {
    match written {
        None if local => Ok(TlsMode::Off),
        None | Some("require" | "verify-full") => Ok(TlsMode::Verified),
        Some("disable") => Ok(TlsMode::Off),
        Some("prefer") if local => Ok(TlsMode::IfOffered),
        Some("prefer") => Err(bad(
            "`sslmode=prefer` to another machine lets whoever is between the two turn TLS off",
            "leave it out (then TLS is required and the certificate is checked), or write `disable` if the network is yours",
        )),
        Some(_) => Err(bad(
            "there is no such `sslmode` here",
            "write `verify-full` (as `require`: the certificate is checked in both), `prefer` or `disable`",
        )),
    }
}

fn is_local(config: &tokio_postgres::Config) -> bool {
    let addresses = config.get_hostaddrs();
    if !addresses.is_empty() {
        return addresses.iter().all(IpAddr::is_loopback);
    }
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback()),
    })
}

fn name_of(config: &tokio_postgres::Config) -> String {
    let ports = config.get_ports();
    let port = |i: usize| ports.get(i).or_else(|| ports.first()).copied().unwrap_or(5432);
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(i, host)| match host {
            Host::Tcp(name) => format!("{name}:{}", port(i)),
            Host::Unix(path) => format!("{}:{}", path.display(), port(i)),
        })
        .collect();
    let addresses = || config.get_hostaddrs().iter().enumerate().map(|(i, a)| format!("{a}:{}", port(i))).collect();
    let hosts: Vec<String> = if hosts.is_empty() { addresses() } else { hosts };
    format!("postgres://{}/{}", hosts.join(","), config.get_dbname().unwrap_or_default())
}

fn bad(message: &str, help: &str) -> BadPlace {
    BadPlace { message: message.into(), help: help.into() }
}

impl fmt::Display for PostgresPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for PostgresPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresPlace").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> TlsMode {
        PostgresPlace::parse(url).unwrap_or_else(|e| panic!("{url}: {e}")).tls
    }

    #[test]
    fn nothing_leaves_the_machine_in_the_clear_unless_told() {
        for local in ["localhost", "127.0.0.1:5433", "127.9.9.9", "[::1]", "%2Frun%2Fpostgresql", "localhost,127.0.0.1"]
        {
            assert_eq!(mode(&format!("postgres://u@{local}/d")), TlsMode::Off, "{local}");
            assert_eq!(mode(&format!("postgres://u@{local}/d?sslmode=prefer")), TlsMode::IfOffered);
        }
        for remote in ["db", "10.0.0.1", "localhost.evil.test", "localhost,db", "127.0.0.1,10.0.0.1"] {
            assert_eq!(mode(&format!("postgres://u@{remote}/d")), TlsMode::Verified, "{remote}");
            assert!(PostgresPlace::parse(&format!("postgres://u@{remote}/d?sslmode=prefer")).is_err());
            assert_eq!(mode(&format!("postgres://u@{remote}/d?sslmode=disable")), TlsMode::Off);
        }
        assert_eq!(mode("postgres://u@localhost/d?hostaddr=10.0.0.1"), TlsMode::Verified);
        assert_eq!(mode("postgres://u@localhost/d?sslmode=require"), TlsMode::Verified);
        assert_eq!(mode("postgres://u@db/d?application_name=x&sslmode=verify-full"), TlsMode::Verified);
        for unknown in ["verify-ca", "allow", "", "Disable"] {
            assert!(PostgresPlace::parse(&format!("postgres://u@db/d?sslmode={unknown}")).is_err(), "{unknown}");
        }
    }

    #[test]
    fn a_password_is_shown_nowhere() {
        let place = PostgresPlace::parse("postgres://u:hunter2@db:5433,db2/keys?sslrootcert=%2Fca.pem").unwrap();
        assert!(place.has_password());
        assert_eq!(place.to_string(), "postgres://db:5433,db2:5432/keys");
        assert_eq!(place.files.roots, Some("/ca.pem".into()));
        assert!(!format!("{place:?} {place}").contains("hunter2"));
        for broken in [
            "postgres://u:hunter2@db:x/keys",
            "postgres://u:hunt@er2@db/keys?hunter2=1",
            "postgres://u:hunter2@/keys?a",
            "postgres://u:hunter2@db",
            "postgres://u:hunter2@db/keys?sslmode=hunter2",
            "postgres://u:hunter2@db/keys?sslcert=hunter2",
        ] {
            let error = PostgresPlace::parse(broken).unwrap_err();
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
