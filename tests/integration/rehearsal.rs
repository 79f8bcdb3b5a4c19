//! A migration as an operator does it: rows in the clear, three replicas before three processes of one application, live traffic from
//! the first step to the last, there and all the way back. PostgreSQL itself is asked what it holds.

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::applications::Application;
use crate::applications::accounts;
use crate::cli::Place;
use crate::cli::process::{Running, free_port};
use crate::cluster::{Cluster, Settings};
use crate::stage::eventually;
use crate::support::{Message, PATIENCE};

const ROWS: usize = 240;
const REPLICAS: usize = 3;

fn rules(mode: &str) -> String {
    format!(
        r#"rules:
  - name: customers
    match: {{ path: "/customers/**" }}
    mode: {mode}
    protect:
      - {{ fields: ["$.ssn", "$[*].ssn"], key: customers, deterministic: true, max_length: 100 }}
      - {{ fields: ["$.email", "$[*].email"], key: customers, max_length: 100 }}
"#
    )
}

/// Rows as old applications have them: with quotes, blanks, other alphabets, nothing at all.
fn preload(cluster: &Cluster, url: &str) {
    let sql = format!(
        "insert into customers (name, ssn, email, phone, balance)
         select 'Zoë \"O''Brien\" ' || n, to_char(n, 'FM000-00-0000'),
                case n % 5 when 0 then null when 1 then '' when 2 then 'zoë' || n || '@ex.com' when 3 then E' a\"b\\\\c\\t' || n
                           else 'z' || n || '@ex.com' end,
                '+1 555 ' || n, n + 0.25
         from generate_series(1, {ROWS}) n;
         create table original as select * from customers"
    );
    cluster.sql(url, &sql);
}

/// Rows with a value in the clear, and rows with a token.
fn standing(cluster: &Cluster, url: &str) -> (u64, u64) {
    let count = |what: &str| {
        let sql = format!("select count(*)::text from customers where {what}");
        cluster.sql(url, &sql).unwrap().parse().unwrap()
    };
    (
        count("ssn not like 'sc1.%' or email not like 'sc1.%'"),
        count("ssn like 'sc1.%' or email like 'sc1.%' or name like 'sc1.%' or phone like 'sc1.%'"),
    )
}

/// A replica: the program before a process of the application.
struct Replica {
    place: Place,
    application: Application,
    front: SocketAddr,
    probe: SocketAddr,
    running: Option<Running>,
}

impl Replica {
    fn start(shared: &Place, database: &str, application: Application) -> Self {
        let place = Place::empty();
        let master = shared.path("master.key");
        // Long enough for whoever asks for readiness every few milliseconds.
        let config = format!(
            "keyring: {{ store: '{database}', master_key: 'file:{}' }}\nrules: rules.yaml\ndrain: {{ delay: 2s, deadline: 10s }}\n",
            master.display()
        );
        place.write("sidecloak.yaml", config).write("rules.yaml", rules("observe"));
        let mut replica = Self { place, application, front: free_port(), probe: free_port(), running: None };
        replica.run();
        replica
    }

    fn run(&mut self) {
        let upstream = format!("http://{}", self.application.address());
        let args = ["run", "--upstream", &upstream];
        let mut running = Running::spawn(&self.place, &args, self.front, self.probe);
        running.eventually("ready", Running::is_ready);
        self.running = Some(running);
    }

    fn loads(&self) -> u64 {
        let metrics = ask(self.probe, "GET", "/metrics", &[], "").unwrap().text();
        let lines =
            metrics.lines().filter(|line| line.starts_with("sidecloak_reloads_total") && !line.contains("failed"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// By an edit of its rules, as a ConfigMap brings it.
    fn edit(&self, mode: &str) {
        let before = self.loads();
        self.place.write("rules.new", rules(mode));
        std::fs::rename(self.place.path("rules.new"), self.place.path("rules.yaml")).unwrap();
        let start = Instant::now();
        while self.loads() == before {
            assert!(start.elapsed() < PATIENCE, "the rules are not taken up");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// By ending it as Kubernetes does, and starting it with the new rules.
    fn restart(&mut self, mode: &str) {
        let running = self.running.take().unwrap();
        running.signal(Signal::TERM);
        let (code, log) = running.end();
        assert_eq!(code, Some(0), "{log}");
        self.place.write("rules.yaml", rules(mode));
        self.run();
    }
}

/// What a load balancer does: asks each replica whether it is ready, and sends requests to those that are.
struct Balancer {
    fronts: Vec<SocketAddr>,
    ready: Vec<AtomicBool>,
    next: AtomicUsize,
}

impl Balancer {
    fn pick(&self) -> SocketAddr {
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed) % self.fronts.len();
            if self.ready[at].load(Ordering::SeqCst) {
                return self.fronts[at];
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Clients that never pause.
struct Traffic {
    balancer: Arc<Balancer>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    conflicts: AtomicU64,
    failures: Mutex<Vec<String>>,
    /// How often each customer's phone number was written; the last number written stands there.
    phones: Mutex<BTreeMap<u64, String>>,
    /// Who was created, with what.
    created: Mutex<BTreeMap<u64, Value>>,
}

impl Seen {
    fn failed(&self, what: String) {
        self.failures.lock().unwrap().push(what);
    }
}

impl Traffic {
    fn start(replicas: &[Replica]) -> Self {
        let balancer = Arc::new(Balancer {
            fronts: replicas.iter().map(|replica| replica.front).collect(),
            ready: replicas.iter().map(|_| AtomicBool::new(true)).collect(),
            next: AtomicUsize::default(),
        });
        let (over, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Seen::default()));
        let mut traffic = Self { balancer, over, threads: Vec::new(), seen };
        for (at, probe) in replicas.iter().map(|replica| replica.probe).enumerate() {
            traffic.thread(10, move |balancer, _, _| {
                let ready = ask(probe, "GET", "/readyz", &[], "").is_some_and(|answer| answer.status() == 200);
                balancer.ready[at].store(ready, Ordering::SeqCst);
            });
        }
        traffic.thread(15, read_one);
        traffic.thread(15, read_one);
        traffic.thread(60, read_list);
        traffic.thread(20, write_one);
        traffic.thread(120, create_one);
        traffic
    }

    fn thread(&mut self, pause: u64, work: impl Fn(&Balancer, &Seen, u64) + Send + 'static) {
        let (balancer, over, seen) = (Arc::clone(&self.balancer), Arc::clone(&self.over), Arc::clone(&self.seen));
        self.threads.push(std::thread::spawn(move || {
            let mut turn = 0;
            while !over.load(Ordering::SeqCst) {
                work(&balancer, &seen, turn);
                turn += 1;
                std::thread::sleep(Duration::from_millis(pause));
            }
        }));
    }

    /// Nothing failed so far, and something was asked since the last time.
    #[track_caller]
    fn is_well(&self, step: &str) {
        let failures = self.seen.failures.lock().unwrap();
        assert!(failures.is_empty(), "{step}: {} failed requests, first: {}", failures.len(), failures[0]);
    }

    /// Once it was worth the name: on a busy machine few requests go with each step.
    fn end_of_enough(mut self) -> Arc<Seen> {
        eventually("enough requests", || {
            let is_enough =
                self.seen.requests.load(Ordering::Relaxed) > 500 && self.seen.created.lock().unwrap().len() > 10;
            is_enough || !self.seen.failures.lock().unwrap().is_empty()
        });
        self.over.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        Arc::clone(&self.seen)
    }
}

/// One request on a connection of its own; `None`: there was no whole answer.
fn ask(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Option<Message> {
    let mut stream = TcpStream::connect(to).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: app.test\r\ncontent-type: application/json\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).ok()?;
    Message::read(&mut BufReader::new(stream), false)
}

/// A request of a caller, who must never see a token, and never an error.
fn call(
    balancer: &Balancer,
    seen: &Seen,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<Message> {
    let to = balancer.pick();
    seen.requests.fetch_add(1, Ordering::Relaxed);
    let Some(answer) = ask(to, method, path, headers, body) else {
        seen.failed(format!("{method} {path} at {to}: no answer"));
        return None;
    };
    let text = answer.text();
    if text.contains("sc1.") {
        seen.failed(format!("{method} {path} at {to}: a token: {text}"));
    }
    if ![200, 201, 412].contains(&answer.status()) {
        seen.failed(format!("{method} {path} at {to}: {} {text}", answer.status()));
    }
    Some(answer)
}

fn ssn(id: u64) -> String {
    format!("{:03}-{:02}-{:04}", id / 1_000_000, id / 10_000 % 100, id % 10_000)
}

fn read_one(balancer: &Balancer, seen: &Seen, turn: u64) {
    let id = turn * 37 % ROWS as u64 + 1;
    let Some(answer) = call(balancer, seen, "GET", &format!("/customers/{id}"), &[], "") else { return };
    let row: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if row["ssn"] != json!(ssn(id)) {
        seen.failed(format!("customer {id} has the number {}", row["ssn"]));
    }
}

fn read_list(balancer: &Balancer, seen: &Seen, turn: u64) {
    let path = format!("/customers?limit=20&after={}", turn * 20 % ROWS as u64);
    let Some(answer) = call(balancer, seen, "GET", &path, &[], "") else { return };
    let rows: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if rows.as_array().is_none_or(|rows| rows.len() != 20) {
        seen.failed(format!("{path}: {rows}"));
    }
}

/// Reads, changes and writes a record, on condition, until it is written.
fn write_one(balancer: &Balancer, seen: &Seen, turn: u64) {
    let id = turn * 11 % ROWS as u64 + 1;
    let path = format!("/customers/{id}");
    loop {
        let Some(answer) = call(balancer, seen, "GET", &path, &[], "") else { return };
        let Ok(mut row) = serde_json::from_slice::<Value>(&answer.body) else { return };
        let phone = format!("+1 {turn}");
        row["phone"] = json!(phone);
        let tag = answer.field("etag").unwrap_or_default();
        let Some(written) = call(balancer, seen, "PUT", &path, &[("if-match", &tag)], &row.to_string()) else { return };
        if written.status() == 200 {
            seen.phones.lock().unwrap().insert(id, phone);
            return;
        }
        seen.conflicts.fetch_add(1, Ordering::Relaxed);
    }
}

fn create_one(balancer: &Balancer, seen: &Seen, turn: u64) {
    let row = json!({ "name": format!("new {turn}"), "ssn": format!("n-{turn}"), "email": format!("n{turn}@ex.com"), "balance": 1.5 });
    let Some(answer) = call(balancer, seen, "POST", "/customers", &[], &row.to_string()) else { return };
    let made: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match made["id"].as_u64() {
        Some(id) => drop(seen.created.lock().unwrap().insert(id, row)),
        None => seen.failed(format!("created: {made}")),
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "what the rehearsal showed")]
fn there_and_all_the_way_back_under_live_traffic() {
    let Some(cluster) = Cluster::start(&Settings::default()) else { return };
    let Some((first, url)) = accounts::start(&cluster) else { return };
    preload(&cluster, &url);
    let shared = Place::empty();
    let keyring = cluster.database();
    shared.write("sidecloak.yaml", format!("keyring: {{ store: '{keyring}' }}\n"));
    shared.run(&["keys", "init", "--partition", "customers"]).ends(0);
    let others = (1..REPLICAS).map(|_| accounts::beside(&cluster, &url));
    let applications: Vec<Application> = std::iter::once(first).chain(others).collect();
    let mut replicas: Vec<Replica> =
        applications.into_iter().map(|application| Replica::start(&shared, &keyring, application)).collect();
    let traffic = Traffic::start(&replicas);
    let told = |step: &str| {
        let requests = traffic.seen.requests.load(Ordering::Relaxed);
        let (plain, sealed) = standing(&cluster, &url);
        println!("{step}: {requests} requests so far, rows with plaintext {plain}, with tokens {sealed}");
    };
    let rewrite = |replica: &Replica, mode: &str, more: &[&str]| {
        replica.place.write("walk.yaml", rules(mode));
        let (through, direct) =
            (format!("http://{}", replica.front), format!("http://{}", replica.application.address()));
        let list = ["--list", "/customers?after={cursor}&limit=50", "--next", "$[-1].id", "--item", "/customers/{id}"];
        let look = ["--direct", &direct, "--rules", "walk.yaml"];
        let flags = ["--json", "rewrite", "api", "--through", &through, "--without", "id"];
        replica.place.run(&[&flags, &list[..], &look, more].concat())
    };

    let probes: Vec<String> = replicas.iter().map(|replica| replica.probe.to_string()).collect();
    let report = |more: &[&str]| {
        let mut args = vec!["--json", "report", "--replicas", "3", "--min-requests", "20"];
        probes.iter().for_each(|probe| args.extend(["--probe", probe]));
        shared.run(&[&args, more].concat())
    };
    // The next step is judged safe, once enough was seen in this one.
    let safe = |next: Value, more: &[&str]| {
        let start = Instant::now();
        loop {
            let done = report(more);
            if done.code == 0 {
                assert_eq!(done.json()["next"], next);
                println!("  the report: safe, next {next}");
                return;
            }
            assert!(start.elapsed() < 2 * PATIENCE, "never safe: {} {}", done.out, done.err);
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let unsafe_for = |code: &str, more: &[&str]| {
        let told = report(&[more, &["--window", "1h"]].concat()).ends(1).json();
        let codes: Vec<_> = told["reasons"].as_array().unwrap().iter().map(|reason| reason["code"].clone()).collect();
        assert!(codes.contains(&json!(code)), "{told}");
        println!("  the report: not safe, {codes:?}");
    };
    const SOON: [&str; 2] = ["--window", "2s"];
    const BACK: [&str; 4] = ["--toward", "observe", "--window", "2s"];

    safe(json!("read"), &SOON);
    let (_, tokens) = standing(&cluster, &url);
    assert_eq!(tokens, 0, "observing changes nothing");
    told("observe");
    let early = rewrite(&replicas[0], "migrate", &["--state", "early"]).ends(1);
    let early = early.says("nothing was sealed");
    assert!(!early.err.contains("@ex.com") && standing(&cluster, &url).1 == 0);

    for replica in &replicas {
        replica.edit("read");
        std::thread::sleep(Duration::from_millis(200));
    }
    traffic.is_well("read");
    told("read");
    safe(json!("migrate"), &SOON);
    for replica in &replicas {
        replica.edit("migrate");
        // Old beside new.
        std::thread::sleep(Duration::from_millis(500));
    }
    traffic.is_well("migrate");
    told("migrate");
    let dry = rewrite(&replicas[1], "migrate", &["--dry-run"]).ends(0).json();
    assert!(dry["would"].as_u64().unwrap() > 0 && dry["written"] == 0, "{dry}");
    assert!(standing(&cluster, &url).0 > 0, "there is something left to do");
    unsafe_for("plaintext", &[]);

    let done = rewrite(&replicas[1], "migrate", &["--state", "state", "--failures", "failures"]).ends(0).json();
    println!("rewritten: {done}");
    assert_eq!((done["failed"].as_u64(), done["finished"].as_bool()), (Some(0), Some(true)));
    traffic.is_well("rewritten");
    told("rewritten");
    assert_eq!(standing(&cluster, &url).0, 0, "no plaintext is left");
    safe(json!("enforce"), &SOON);

    for replica in &mut replicas {
        replica.restart("enforce");
    }
    std::thread::sleep(Duration::from_millis(500));
    traffic.is_well("enforce");
    told("enforce");
    assert_eq!(standing(&cluster, &url).0, 0, "nor does any come");

    safe(Value::Null, &SOON);

    for mode in ["migrate", "read"] {
        safe(json!(mode), &BACK);
        for replica in &replicas {
            replica.edit(mode);
            std::thread::sleep(Duration::from_millis(300));
        }
        traffic.is_well(mode);
        told(&format!("back at {mode}"));
    }
    unsafe_for("tokens-seen", &BACK[..2]);
    let back = rewrite(&replicas[2], "read", &["--open", "--failures", "failures"]).ends(0).json();
    println!("opened: {back}");
    assert_eq!(standing(&cluster, &url).1, 0, "no token is left");
    safe(json!("observe"), &BACK);
    for replica in &replicas {
        replica.edit("observe");
    }
    std::thread::sleep(Duration::from_millis(500));
    traffic.is_well("back at observe");
    told("back at observe");
    // The last step: no proxy at all.
    for replica in &replicas {
        let at = replica.application.address();
        let answer = ask(at, "GET", "/customers/7", &[], "").unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&answer.body).unwrap()["ssn"], json!(ssn(7)));
    }

    let seen = traffic.end_of_enough();
    let failures = seen.failures.lock().unwrap();
    assert!(failures.is_empty(), "{failures:?}");
    let other = "select count(*)::text from original o full join customers c using (id) where o.id is not null and
                 (o.name, o.ssn, o.email, o.balance) is distinct from (c.name, c.ssn, c.email, c.balance)";
    assert_eq!(cluster.sql(&url, other).unwrap(), "0", "every value is what it was");
    for (id, phone) in seen.phones.lock().unwrap().iter() {
        let stored = cluster.sql(&url, &format!("select phone from customers where id = {id}")).unwrap();
        assert_eq!(&stored, phone, "the last write of customer {id} is lost");
    }
    let created = seen.created.lock().unwrap();
    for (id, row) in created.iter() {
        let stored = cluster.sql(&url, &format!("select ssn || ' ' || email from customers where id = {id}")).unwrap();
        assert_eq!(stored, format!("{} {}", row["ssn"].as_str().unwrap(), row["email"].as_str().unwrap()));
    }
    let (requests, conflicts) = (seen.requests.load(Ordering::Relaxed), seen.conflicts.load(Ordering::Relaxed));
    println!(
        "{ROWS} rows and {} created, {requests} requests of callers, {conflicts} of them refused with 412 and repeated, 0 failed",
        created.len()
    );
}
