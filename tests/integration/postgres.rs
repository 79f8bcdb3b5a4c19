//! A fleet on one PostgreSQL: what holds between processes, also when any of them, or the database, ends at any moment.
//! The processes are this test's own program, started again to do one task.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sidecloak::clock::SystemClock;
use sidecloak::crypto::kem::KemSuite;
use sidecloak::keyring::store::{EntryRow, Put, StorePlace};
use sidecloak::keyring::{Cached, KeySource, Keyring, Kind, Options, State};
use sidecloak::name::{Class, PartitionName};
use sidecloak::token::v1::{self, Plain};
use sidecloak::token::{EpochId, Suite};

use super::cluster::{Cluster, Settings};
use super::support::PATIENCE;

#[path = "postgres/program.rs"]
mod program;

const TASK: &str = "SIDECLOAK_TEST_TASK";
const URL: &str = "SIDECLOAK_TEST_URL";
const KEY: &str = "SIDECLOAK_TEST_KEY";

fn options(url: &str, key: &Path) -> Options {
    Options {
        store: StorePlace::parse(url).unwrap().unwrap(),
        master_keys: vec![KeySource::File(key.to_owned())],
        i_know: true,
        tls: Some(sidecloak::tls::client::for_database),
        ..Options::default()
    }
}

fn name(text: &str) -> PartitionName {
    PartitionName::new(text).unwrap()
}

/// A keyring in a database of its own, and the processes on it.
struct Fleet<'a> {
    directory: tempfile::TempDir,
    url: String,
    keyring: Keyring,
    cluster: &'a Cluster,
}

impl<'a> Fleet<'a> {
    fn on(cluster: &'a Cluster) -> Self {
        let (directory, url) = (tempfile::tempdir().unwrap(), cluster.database());
        let options = options(&url, &directory.path().join("master.key"));
        let keyring = Keyring::init(&options, KemSuite::MlKem768, SystemClock::shared()).unwrap();
        Self { directory, url, keyring, cluster }
    }

    fn start(&self, task: &str) -> Process {
        Process::start(task, &self.url, &self.directory.path().join("master.key"))
    }

    fn open(&self) -> Keyring {
        let options = options(&self.url, &self.directory.path().join("master.key"));
        Keyring::open(&options, SystemClock::shared()).unwrap()
    }
}

/// A process of the fleet; killed when dropped.
struct Process {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    reader: Option<thread::JoinHandle<()>>,
    news: Receiver<()>,
}

impl Process {
    fn start(task: &str, url: &str, key: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "postgres::a_process_of_the_fleet", "--nocapture", "--test-threads=1"]);
        command.env(TASK, task).env(URL, url).env(KEY, key);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let (told, news) = sync_channel(1);
        let (mut out, kept) = (BufReader::new(child.stdout.take().unwrap()), Arc::clone(&said));
        let reader = thread::spawn(move || {
            let mut line = String::new();
            // A line that was cut off by a kill was never said.
            while out.read_line(&mut line).is_ok_and(|n| n > 0) && line.ends_with('\n') {
                // The test harness does not end its own line before the first.
                if let Some((_, said)) = line.trim_end().split_once("> ") {
                    kept.lock().unwrap().push(said.to_owned());
                    told.try_send(()).ok();
                }
                line.clear();
            }
        });
        Self { child, said, reader: Some(reader), news }
    }

    /// Tells it to go on, or what to do next.
    fn tell(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits until it has said something that begins like this: what follows.
    #[track_caller]
    fn hear(&mut self, begin: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(line) = self.said.lock().unwrap().iter().find_map(|l| l.strip_prefix(begin)) {
                return line.to_owned();
            }
            assert!(start.elapsed() < 3 * PATIENCE, "never said {begin}: {:?}", self.said.lock().unwrap());
            self.news.recv_timeout(Duration::from_millis(50)).ok();
        }
    }

    fn said(&self, begin: &str) -> Vec<String> {
        let said = self.said.lock().unwrap();
        said.iter().filter_map(|line| line.strip_prefix(begin)).map(str::to_owned).collect()
    }

    /// Kills it: all it said.
    fn kill(mut self) -> Vec<String> {
        self.end();
        std::mem::take(&mut *self.said.lock().unwrap())
    }

    fn end(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(self.reader.take().map(thread::JoinHandle::join));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Says something to the test that started this process, at once; of a test itself, what it measured.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("> {line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn seal(keyring: &Keyring, partition: &PartitionName, kind: Kind) -> Result<String, String> {
    let epoch = match keyring.sealing_cached(partition, kind) {
        Cached::Hit(epoch) => epoch,
        _ => keyring.sealing(partition, kind).map_err(|e| e.to_string())?,
    };
    let suite = if kind == Kind::Deterministic { Suite::Siv } else { Suite::Xaes };
    let key = keyring.field_key(&epoch, suite, &Class::new("ssn"));
    let plain = Plain { text: b"078-05-1120", is_string: true, record_id: None, pad: None, signer: None };
    let mut token = Vec::new();
    key.seal(&plain, &mut token).map_err(|e| e.to_string())?;
    Ok(String::from_utf8(token).unwrap())
}

fn open(keyring: &Keyring, token: &str) -> Result<(), String> {
    let parsed = v1::parse(token.as_bytes()).map_err(|e| e.to_string())?;
    let epoch = keyring.opening(parsed.epoch).map_err(|e| e.to_string())?;
    let key = keyring.field_key(&epoch, parsed.suite, &Class::new("ssn"));
    let opened = key.open(&parsed, None, &[], keyring.prefixes()).map_err(|e| e.to_string())?;
    if opened.text.expose() == b"078-05-1120" { Ok(()) } else { Err("another value".into()) }
}

/// No test of its own: what a process of a fleet does.
#[test]
fn a_process_of_the_fleet() {
    let Ok(task) = std::env::var(TASK) else { return };
    let (url, key) = (std::env::var(URL).unwrap(), std::env::var(KEY).unwrap());
    say("started");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    let keyring = Arc::new(Keyring::open(&options(&url, Path::new(&key)), SystemClock::shared()).unwrap());
    match task.as_str() {
        "serve" => serve(&keyring),
        "churn" => churn(&keyring),
        "take" => {
            let records = keyring.records().unwrap();
            let taken = (0..200).filter(|_| records.take("attempt", "a", 1).unwrap().is_some()).count();
            say(&format!("took {taken}"));
        }
        other => panic!("{other}"),
    }
}

/// As a proxy does: one thread keeps up with the store, another seals.
fn serve(keyring: &Arc<Keyring>) {
    let default = PartitionName::default_name();
    for kind in [Kind::Random, Kind::Deterministic] {
        say(&format!("first {} {}", kind as u8, keyring.sealing(&default, kind).unwrap().id));
    }
    let sealed = Arc::new(AtomicU64::new(0));
    let (sealing, count) = (Arc::clone(keyring), Arc::clone(&sealed));
    thread::spawn(move || {
        let (mut last, mut paused) = (None, false);
        loop {
            match sealing.sealing_cached(&PartitionName::default_name(), Kind::Random) {
                Cached::Denied(State::Paused) => {
                    if !std::mem::replace(&mut paused, true) {
                        say(&format!("paused {}", now()));
                    }
                }
                _ => match seal(&sealing, &PartitionName::default_name(), Kind::Random) {
                    Ok(token) => {
                        count.fetch_add(1, Ordering::Relaxed);
                        let epoch = v1::parse(token.as_bytes()).unwrap().epoch;
                        if last.replace(epoch) != Some(epoch) {
                            say(&format!("epoch {epoch}"));
                        }
                    }
                    Err(error) if error.contains("is paused") => {}
                    Err(error) => say(&format!("failed {error}")),
                },
            }
            thread::sleep(Duration::from_millis(2));
        }
    });
    let ticking = Arc::clone(keyring);
    thread::spawn(move || {
        loop {
            ticking.tick();
            ticking.wait(Duration::from_millis(250));
        }
    });
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line).is_ok_and(|n| n > 0) {
        say(&format!("{} {}", line.trim(), sealed.load(Ordering::Relaxed)));
        line.clear();
    }
}

#[expect(clippy::disallowed_methods, reason = "to compare with another process")]
fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()
}

/// Makes partitions and epochs and seals under them, until it is killed.
fn churn(keyring: &Keyring) {
    let mut seed = u64::from(std::process::id()) ^ u64::try_from(now() & 0xffff_ffff).unwrap();
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    loop {
        let partition = name(&format!("p{}", random(6)));
        let kind = if random(3) == 0 { Kind::Deterministic } else { Kind::Random };
        let done = match random(5) {
            0 => keyring.rollover(&partition, &[kind]).map_err(|e| e.to_string()),
            1 => keyring.set_role(&partition, &format!("r{}", random(4)), None).map_err(|e| e.to_string()),
            _ => Ok(()),
        };
        let sealed = keyring
            .provision(&partition, 100)
            .map_err(|e| e.to_string())
            .and_then(|_| seal(keyring, &partition, kind))
            .map(|token| say(&format!("token {token}")));
        // Others are at it too, and there may be no such partition yet; who loses every race says so.
        drop((done, sealed));
        if random(4) == 0 {
            keyring.tick();
        }
    }
}

#[test]
fn ten_processes_act_as_one() {
    let Some(cluster) = Cluster::shared() else { return };
    let fleet = Fleet::on(cluster);
    let default = PartitionName::default_name();
    let mut processes: Vec<_> = (0..10).map(|_| fleet.start("serve")).collect();
    for process in &mut processes {
        process.hear("started");
    }
    // All at once.
    for process in &mut processes {
        process.tell("go");
    }
    for kind in ["first 0 ", "first 1 "] {
        let mut ids: Vec<_> = processes.iter_mut().map(|p| p.hear(kind)).collect();
        ids.dedup();
        assert_eq!(ids.len(), 1, "one current epoch: {ids:?}");
    }
    let count = "SELECT count(*) FROM sidecloak.epoch";
    assert_eq!(fleet.cluster.sql(&fleet.url, count).unwrap(), "2", "and none was made in vain");

    for _ in 0..3 {
        fleet.keyring.rollover(&default, &[Kind::Random]).unwrap();
        let epoch = fleet.keyring.sealing(&default, Kind::Random).unwrap().id;
        for process in &mut processes {
            process.hear(&format!("epoch {epoch}"));
        }
    }
    let start = now();
    fleet.keyring.set_state(&default, State::Paused).unwrap();
    let latest = processes.iter_mut().map(|p| p.hear("paused ").parse::<u128>().unwrap()).max().unwrap();
    say(&format!(
        "a pause reached the last of ten processes {} ms after it was asked for",
        latest.saturating_sub(start)
    ));
    for process in processes {
        assert_eq!(process.said("failed "), Vec::<String>::new(), "no seal failed");
        assert!(process.said("epoch ").len() >= 4);
    }
}

#[test]
fn the_database_stops_and_starts_under_load() {
    let Some(cluster) = Cluster::start(&Settings::default()) else { return };
    let fleet = Fleet::on(&cluster);
    let mut processes: Vec<_> = (0..3).map(|_| fleet.start("serve")).collect();
    for process in &mut processes {
        process.tell("go");
        process.hear("epoch ");
    }
    for (round, command) in ["stop", "crash"].into_iter().enumerate() {
        cluster.command(command);
        for process in &mut processes {
            let mut sealed = |when: &str| {
                process.tell(&format!("{when}-{round}"));
                process.hear(&format!("{when}-{round} ")).parse::<u64>().unwrap()
            };
            let before = sealed("away");
            let start = Instant::now();
            for i in 0.. {
                if sealed(&format!("still{i}")) >= before + 50 {
                    break;
                }
                assert!(start.elapsed() < PATIENCE, "sealing does not go on");
                thread::sleep(Duration::from_millis(20));
            }
        }
        assert!(fleet.keyring.rollover(&PartitionName::default_name(), &[Kind::Random]).is_err());
        cluster.command("start");
        let start = Instant::now();
        while fleet.keyring.rollover(&PartitionName::default_name(), &[Kind::Random]).is_err() {
            assert!(start.elapsed() < PATIENCE, "the database does not come back");
            thread::sleep(Duration::from_millis(50));
        }
        let epoch = fleet.keyring.sealing(&PartitionName::default_name(), Kind::Random).unwrap().id;
        for process in &mut processes {
            process.hear(&format!("epoch {epoch}"));
        }
    }
    for process in processes {
        assert_eq!(process.said("failed "), Vec::<String>::new(), "no seal failed");
    }
}

#[test]
fn a_process_killed_at_any_moment_loses_nothing() {
    let Some(cluster) = Cluster::start(&Settings { durable: true, tls: None }) else { return };
    let fleet = Fleet::on(&cluster);
    let (mut tokens, mut killed) = (Vec::new(), 0);
    let mut processes: Vec<_> = (0..4u64).map(|i| (i, fleet.start("churn"))).collect();
    // More on a busy machine, on which they get less far before they are killed.
    while killed < 120 || (killed < 600 && epochs_of(&tokens).len() <= 20) {
        let (i, mut process) = processes.remove(0);
        process.tell("go");
        if i % 4 != 0 {
            // At any moment: while it starts, or among its first acts, or later.
            process.hear("token ");
        }
        thread::sleep(Duration::from_micros(i.wrapping_mul(0x9e37_79b9) % 150_000));
        tokens.extend(process.kill().into_iter().filter_map(|line| line.strip_prefix("token ").map(str::to_owned)));
        killed += 1;
        processes.push((i + 4, fleet.start("churn")));
        if killed == 60 {
            // The database as well.
            cluster.command("crash");
            cluster.command("start");
        }
    }
    for (_, process) in processes {
        tokens.extend(process.kill().into_iter().filter_map(|line| line.strip_prefix("token ").map(str::to_owned)));
    }
    cluster.command("crash");
    cluster.command("start");
    let keyring = fleet.open();
    for token in &tokens {
        open(&keyring, token).unwrap_or_else(|error| panic!("{token}: {error}"));
    }
    let epochs = epochs_of(&tokens);
    say(&format!("{} tokens under {} epochs of {killed} killed processes all open", tokens.len(), epochs.len()));
    assert!(epochs.len() > 20, "the processes did not get far: {}", epochs.len());
    assert_eq!(keyring.alarms(), 0);
    for partition in keyring.list().unwrap() {
        keyring.sealing(&partition.name, Kind::Random).unwrap();
        keyring.sealing(&partition.name, Kind::Deterministic).unwrap();
    }
    assert_eq!(cluster.sql(&fleet.url, "SELECT count(*) FROM pg_locks WHERE mode = 'RowExclusiveLock'").unwrap(), "0");
}

fn epochs_of(tokens: &[String]) -> std::collections::HashSet<EpochId> {
    tokens.iter().map(|token| v1::parse(token.as_bytes()).unwrap().epoch).collect()
}

#[test]
fn attempts_are_never_exceeded_by_many_processes() {
    let Some(cluster) = Cluster::shared() else { return };
    let fleet = Fleet::on(cluster);
    let row =
        EntryRow { kind: "attempt".into(), id: "a".into(), version: 1, expires: 0, left: Some(500), sealed: vec![1] };
    assert_eq!(fleet.keyring.records().unwrap().put_entry(&row, 0).unwrap(), Put::Done);
    let mut processes: Vec<_> = (0..6).map(|_| fleet.start("take")).collect();
    for process in &mut processes {
        process.hear("started");
    }
    for process in &mut processes {
        process.tell("go");
    }
    let taken: usize = processes.iter_mut().map(|p| p.hear("took ").parse::<usize>().unwrap()).sum();
    assert_eq!(taken, 500, "of 1200 asked for");
}

#[test]
fn many_tenants_are_followed_one_change_at_a_time() {
    let Some(cluster) = Cluster::shared() else { return };
    let fleet = Fleet::on(cluster);
    let tenants: Vec<_> = (0..250).map(|i| name(&format!("tenant-{i}"))).collect();
    let proxy = fleet.open();
    for tenant in &tenants {
        proxy.provision(tenant, 2000).unwrap();
        proxy.sealing(tenant, Kind::Random).unwrap();
    }
    proxy.tick();
    fleet.keyring.set_state(&tenants[100], State::Paused).unwrap();
    let start = Instant::now();
    while !matches!(proxy.sealing_cached(&tenants[100], Kind::Random), Cached::Denied(State::Paused)) {
        proxy.tick();
    }
    say(&format!("a change among 250 tenants was taken in {:?}", start.elapsed()));
    for (i, tenant) in tenants.iter().enumerate().filter(|(i, _)| *i != 100) {
        let Cached::Hit(epoch) = proxy.sealing_cached(tenant, Kind::Random) else { panic!("tenant {i}") };
        assert_eq!(epoch.partition, *tenant);
    }
}
