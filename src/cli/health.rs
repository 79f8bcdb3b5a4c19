//! `sidecloak health`: asks a running process whether it is ready. For a container without curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::common::KeyringArgs;
use super::exit::{Exit, Failure};
use super::out::Out;
use crate::bounded;
use crate::config::{Overrides, Purpose};
use crate::keyring::KeySource;
use crate::proxy::settings::Address;
use crate::secret::SecretBytes;

const MAX_ANSWER: usize = 64 << 10;
const MAX_TOKEN: u64 = 4 << 10;
const MAX_SECONDS: u64 = 3600;

/// See `sidecloak health --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Configuration file [default: ./sidecloak.yaml if it is there]
    #[arg(long, value_name = "FILE", env = "SIDECLOAK_CONFIG")]
    pub config: Option<PathBuf>,
    /// The process's probe: 127.0.0.1:9902, unix:/PATH, or HOST:9902 of another machine [default: the configuration's]
    #[arg(long, value_name = "ADDRESS", env = "SIDECLOAK_PROBE")]
    pub probe: Option<String>,
    /// The process's admin interface, asked if there is no probe [default: the configuration's]
    #[arg(long, value_name = "ADDRESS", env = "SIDECLOAK_ADMIN")]
    pub admin: Option<String>,
    /// File with the token that the admin interface asks for
    #[arg(long, value_name = "FILE", env = "SIDECLOAK_ADMIN_TOKEN_FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Key id of the keyring's owner, where the configuration leaves it to the flag or variable
    #[arg(long, value_name = "HEX", env = "SIDECLOAK_OWNER")]
    pub owner: Option<String>,
    /// Wait at most this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=MAX_SECONDS))]
    pub timeout: u64,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    let (address, token) = target(args, out)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::io("cannot start", &e))?;
    let limit = Duration::from_secs(args.timeout);
    let answer = runtime
        .block_on(async { tokio::time::timeout(limit, ask(&address, "/readyz", token.as_ref(), MAX_ANSWER)).await });
    let (status, body) = match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => return Err(no(&address, &why)),
        Err(_) => return Err(no(&address, &format!("no answer within {} s", args.timeout))),
    };
    let ready = status.is_success();
    if out.json() {
        let body = serde_json::from_slice(&body).unwrap_or(serde_json::Value::Null);
        out.value(&serde_json::json!({ "ready": ready, "status": status.as_u16(), "answer": body }))?;
    } else {
        let text = String::from_utf8_lossy(&body);
        let text: String = text.chars().filter(|c| !c.is_control() || *c == '\n').collect();
        out.line(&format!("{} ({})", if ready { "ready" } else { "not ready" }, status.as_u16()))?;
        if !text.trim().is_empty() {
            out.line(text.trim_end())?;
        }
    }
    if ready { Ok(()) } else { Err(Failure::silent(Exit::No)) }
}

/// Whom to ask: the probe, or else the admin interface with its token.
fn target(args: &Args, out: &mut Out) -> Result<(Address, Option<SecretBytes>), Failure> {
    if let Some(address) = args.probe.as_deref().and_then(named) {
        return Ok((address, None));
    }
    let flags = Overrides {
        probe: args.probe.clone(),
        admin: args.admin.clone(),
        admin_token_file: args.admin_token_file.clone(),
        // A keyring at an authority is refused without it, also by who asks for the probe alone.
        owner: args.owner.clone(),
        ..Overrides::default()
    };
    let source = KeyringArgs { config: args.config.clone(), ..KeyringArgs::default() };
    let config = source.load(&flags, Purpose::Keys, out)?;
    match (config.probe, config.admin) {
        (Some(probe), _) => Ok((probe, None)),
        (None, Some(admin)) => Ok((admin.address, admin.token.as_ref().map(token).transpose()?)),
        (None, None) => Err(Failure::new(Exit::Usage, "there is neither a probe nor an admin interface to ask")
            .help("give --probe ADDRESS, or `probe: { bind: ADDRESS }` in the configuration")),
    }
}

/// A probe by the name of its host. Those that a process listens at itself are numbers.
fn named(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let is_name = |host: &str| {
        host.contains(|c: char| c.is_ascii_alphabetic())
            && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))
    };
    is_name(host).then_some(())?;
    Some(Address::Host(host.to_owned(), port.parse().ok()?))
}

/// The admin token.
pub(super) fn token(source: &KeySource) -> Result<SecretBytes, Failure> {
    let mut bytes = match source {
        KeySource::File(path) => SecretBytes::new(
            bounded::read_file(path, MAX_TOKEN)
                .map_err(|e| Failure::io(format!("cannot read the admin token {}", path.display()), &e))?,
        ),
        KeySource::Env(name) => SecretBytes::new(
            std::env::var(name)
                .map_err(|_| Failure::new(Exit::NoPermission, format!("the variable {name} (admin token) is not set")))?
                .into_bytes(),
        ),
    };
    // A file ends in a newline that is not part of the token.
    while bytes.expose().last().is_some_and(u8::is_ascii_whitespace) {
        bytes.expose_mut().pop();
    }
    Ok(bytes)
}

/// Asks a port of a process for this path; an answer of more than `most` bytes is none.
pub(super) async fn ask(
    address: &Address,
    path: &str,
    token: Option<&SecretBytes>,
    most: usize,
) -> Result<(StatusCode, Bytes), String> {
    let what = (path, token, most);
    match address {
        Address::Tcp(at) => get(TcpStream::connect(reachable(*at)).await.map_err(|e| e.to_string())?, what).await,
        Address::Host(host, port) => {
            get(TcpStream::connect((host.as_str(), *port)).await.map_err(|e| e.to_string())?, what).await
        }
        Address::Unix(path) => get(UnixStream::connect(path).await.map_err(|e| e.to_string())?, what).await,
    }
}

/// Who listens everywhere is reached on loopback.
fn reachable(at: SocketAddr) -> SocketAddr {
    let ip = match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, at.port())
}

async fn get<S>(
    stream: S,
    (path, token, most): (&str, Option<&SecretBytes>, usize),
) -> Result<(StatusCode, Bytes), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let mut request = Request::get(path).header("host", "localhost").header("connection", "close");
    if let Some(token) = token {
        let value = [b"Bearer ", token.expose()].concat();
        let mut value = http::HeaderValue::from_bytes(&value).map_err(|_| "the admin token is no header value")?;
        value.set_sensitive(true);
        request = request.header("authorization", value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let status = response.status();
        #[expect(clippy::disallowed_methods, reason = "bounded by `Limited`")]
        let body = Limited::new(response.into_body(), most).collect().await.map_err(|e| e.to_string())?;
        Ok((status, body.to_bytes()))
    };
    // The connection is driven beside the exchange, which ends first or fails with it.
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        _ = connection => exchange.await,
    }
}

fn no(address: &Address, why: &str) -> Failure {
    Failure::new(Exit::No, format!("no readiness from {address}: {why}"))
        .help("is the process running, and is this its probe or admin address?")
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    fn args(probe: Option<String>, admin: Option<String>, config: Option<PathBuf>) -> Args {
        Args { config, probe, admin, admin_token_file: None, owner: None, timeout: 3 }
    }

    fn answer(mut stream: impl Read + Write, answer: &str) -> String {
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    }

    #[test]
    fn ready_and_not_ready_over_tcp() {
        for (status, code) in [("200 OK", Ok(())), ("503 Service Unavailable", Err(Exit::No))] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let probe = listener.local_addr().unwrap().to_string();
            let server = thread::spawn(move || {
                let text = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}");
                answer(listener.accept().unwrap().0, &text)
            });
            let (mut out, captured) = Out::captured();
            let result = run(&args(Some(probe), None, None), &mut out);
            assert_eq!(result.map_err(|f| f.code), code);
            assert!(server.join().unwrap().starts_with("GET /readyz HTTP/1.1\r\n"));
            out.flush().unwrap();
            assert!(captured.out().contains("ready ("), "{}", captured.out());
        }
    }

    #[test]
    fn a_probe_elsewhere_has_a_name() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let probe = format!("localhost:{}", listener.local_addr().unwrap().port());
        let server =
            thread::spawn(move || answer(listener.accept().unwrap().0, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
        let (mut out, _) = Out::captured();
        run(&args(Some(probe), None, None), &mut out).unwrap();
        assert!(server.join().unwrap().starts_with("GET /readyz"));
        for text in
            ["127.0.0.1:9902", "[::1]:9902", "unix:/run/x.sock", ":9902", "a b:9902", "host:", "host:65536", "u@h:1"]
        {
            assert_eq!(named(text), None, "{text}");
        }
    }

    #[test]
    fn the_admin_interface_is_asked_over_its_socket_with_its_token() {
        let root = tempfile::tempdir().unwrap();
        let socket = root.path().join("admin.sock");
        let token = root.path().join("token");
        std::fs::write(&token, "t0ken\n").unwrap();
        let config = root.path().join("sidecloak.yaml");
        let text = format!("admin: {{ bind: 'unix:{}', token: 'file:{}' }}", socket.display(), token.display());
        std::fs::write(&config, text).unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        let server =
            thread::spawn(move || answer(listener.accept().unwrap().0, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
        let (mut out, _) = Out::captured();
        run(&args(None, None, Some(config)), &mut out).unwrap();
        assert!(server.join().unwrap().to_ascii_lowercase().contains("authorization: bearer t0ken\r\n"));
    }

    #[test]
    fn nobody_there_and_nobody_named() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let (mut out, _) = Out::captured();
        assert_eq!(run(&args(Some(closed), None, None), &mut out).unwrap_err().code, Exit::No);
        let root = tempfile::tempdir().unwrap();
        let config = root.path().join("empty.yaml");
        std::fs::write(&config, "").unwrap();
        assert_eq!(run(&args(None, None, Some(config)), &mut out).unwrap_err().code, Exit::Usage);
    }

    #[test]
    fn an_endless_answer_is_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let probe = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            answer(&mut stream, "HTTP/1.1 200 OK\r\n\r\n");
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
        });
        let (mut out, _) = Out::captured();
        assert_eq!(run(&args(Some(probe), None, None), &mut out).unwrap_err().code, Exit::No);
        server.join().unwrap();
    }
}
