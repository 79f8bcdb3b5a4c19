//! A private PostgreSQL server, where its programs are installed. It ends with the process that started it, however that ends.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once, OnceLock};

/// Reads commands; at the end of them, which is also the end of the process that writes them, the server and all it wrote go.
const SCRIPT: &str = r#"
set -eu
cd /
dir=$(mktemp -d /tmp/sidecloak-postgres.XXXXXX)
pid=
trap 'test -z "$pid" || kill -QUIT "$pid" 2>/dev/null || :; wait; rm -rf "$dir"' EXIT
chmod 755 "$dir"
"$BIN/initdb" -D "$dir/data" -U sidecloak -A trust -E UTF8 --no-locale --no-sync >"$dir/log" 2>&1 || { cat "$dir/log" >&2; exit 1; }
if test -n "$CERTIFICATE"; then
  (umask 077; printf '%s' "$CERTIFICATE" >"$dir/server.crt"; printf '%s' "$KEY" >"$dir/server.key")
  set -- "$@" -c ssl=on -c "ssl_cert_file=$dir/server.crt" -c "ssl_key_file=$dir/server.key"
fi
echo "$dir"
while read -r command; do
  case $command in
    start)
      "$BIN/postgres" -D "$dir/data" -k "$dir" -c max_connections=300 -c shared_buffers=32MB "$@" >>"$dir/log" 2>&1 </dev/null &
      pid=$!
      until "$BIN/pg_isready" -q -h "$dir" -U sidecloak -d postgres; do
        kill -0 "$pid" || { cat "$dir/log" >&2; exit 1; }
        sleep 0.05
      done ;;
    stop) kill -INT "$pid"; wait "$pid" || :; pid= ;;
    crash) kill -QUIT "$pid"; wait "$pid" || :; pid= ;;
  esac
  echo done
done
"#;

/// See the module.
pub struct Cluster {
    directory: PathBuf,
    port: Option<u16>,
    /// The input is taken away at the end.
    pipes: Mutex<(Option<ChildStdin>, BufReader<ChildStdout>)>,
    child: Child,
    databases: AtomicU32,
}

/// What a server is started with.
#[derive(Default)]
pub struct Settings<'a> {
    /// Whether commits are synced.
    pub durable: bool,
    /// Certificate and key (PEM); then it listens on a TCP port of 127.0.0.1, too.
    pub tls: Option<(&'a str, &'a str)>,
}

impl Cluster {
    /// The one that the tests of this process share; its commits are not synced.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&Settings::default())).as_ref()
    }

    /// One of its own; `None`, said loudly, where PostgreSQL is not installed.
    pub fn start(settings: &Settings<'_>) -> Option<Self> {
        let Some(programs) = programs() else {
            skipped();
            return None;
        };
        let mut command = as_somebody();
        command
            .args(["sh", "-c", SCRIPT, "sh", "-c"])
            .arg(format!("fsync={}", if settings.durable { "on" } else { "off" }));
        let port = settings.tls.map(|_| free_port());
        match port {
            Some(port) => command.args(["-c", "listen_addresses=127.0.0.1", "-p", &port.to_string()]),
            None => command.args(["-c", "listen_addresses="]),
        };
        let (certificate, key) = settings.tls.unwrap_or_default();
        command.env("BIN", programs).env("CERTIFICATE", certificate).env("KEY", key).env("LC_ALL", "C");
        // pg_isready asks at the port that it finds here.
        command.env("PGPORT", port.unwrap_or(5432).to_string());
        // Not stopped by a key stroke before it has tidied up.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a shell");
        let input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut directory = String::new();
        output.read_line(&mut directory).unwrap();
        assert!(!directory.is_empty(), "initdb failed");
        let pipes = Mutex::new((Some(input), output));
        let cluster = Self { directory: directory.trim().into(), port, pipes, child, databases: AtomicU32::new(0) };
        cluster.command("start");
        Some(cluster)
    }

    /// `start`, `stop` (as an operator would) or `crash`; returns when it is done.
    pub fn command(&self, command: &str) {
        let mut pipes = self.pipes.lock().unwrap();
        writeln!(pipes.0.as_mut().unwrap(), "{command}").unwrap();
        let mut answer = String::new();
        pipes.1.read_line(&mut answer).unwrap();
        assert_eq!(answer, "done\n", "{command} failed");
    }

    /// The URL of a new database.
    pub fn database(&self) -> String {
        let name = format!("d{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql(&self.url("postgres"), &format!("CREATE DATABASE {name} TEMPLATE template0"));
        self.url(&name)
    }

    /// The URL of a database, through the socket.
    pub fn url(&self, name: &str) -> String {
        let directory = self.directory.to_str().unwrap().replace('/', "%2F");
        format!("postgres://sidecloak@{directory}:{}/{name}", self.port.unwrap_or(5432))
    }

    /// Its unix socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join(format!(".s.PGSQL.{}", self.port.unwrap_or(5432)))
    }

    /// The TCP port, if it has one.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// What somebody does who can write to the database: the first column of the first row, if there is one.
    pub fn sql(&self, url: &str, sql: &str) -> Option<String> {
        self.try_sql(url, sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// The same, which may fail.
    pub fn try_sql(&self, url: &str, sql: &str) -> Result<Option<String>, tokio_postgres::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            let messages = client.simple_query(sql).await?;
            Ok(messages.iter().find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            }))
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It goes when its input ends.
        drop(self.pipes.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).0.take());
        drop(self.child.wait());
    }
}

/// The directory of `initdb` and `postgres`, the newest if there are several.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").exists() && bin.join("postgres").exists())
        .collect();
    found.sort();
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
    };
    found.pop().map(|(_, bin)| bin).or_else(on_path)
}

/// PostgreSQL refuses to run as root.
fn as_somebody() -> Command {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    if !is_root {
        return Command::new("env");
    }
    #[expect(clippy::disallowed_methods, reason = "the system's list of users")]
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = if users.lines().any(|line| line.starts_with("postgres:")) { "postgres" } else { "nobody" };
    let tool = ["/usr/sbin/runuser", "/sbin/runuser", "/usr/bin/runuser"].into_iter().find(|p| Path::new(p).exists());
    let mut command = Command::new(tool.expect("runuser, to start PostgreSQL as another user than root"));
    command.args(["-u", user, "--"]);
    command
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn skipped() {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "PostgreSQL is not installed: apt-get install postgresql");
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        // Not `eprintln!`, which a passing test keeps to itself.
        let line = b"SKIPPED all tests on PostgreSQL: it is not installed (apt-get install postgresql)\n";
        std::io::stderr().write_all(line).unwrap();
    });
}
