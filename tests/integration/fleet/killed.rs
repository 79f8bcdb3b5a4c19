//! Every process ends at any moment, most of them without warning.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use super::{App, Cluster, Fleet, Service, exchange, status, until};
use crate::cluster::Settings;

/// At least; more on a busy machine, until there was enough to lose.
const KILLS: u32 = 150;
const MOST_KILLS: u32 = 6 * KILLS;
/// Documents of one writer.
const MOST: u64 = 1_500;

fn document(path: &str) -> String {
    json!({ "ssn": format!("4111 {path}"), "email": path }).to_string()
}

/// A small generator, so that a run can be told apart by its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "how much was done is told")]
fn killed_at_any_moment_the_fleet_loses_nothing_that_was_sealed() {
    let Some(cluster) = Cluster::start(&Settings::default()) else { return };
    let (fleet, app) = (Fleet::new(&cluster.database()), App::start());
    let authorities = [(); 2].map(|()| fleet.authority("").started());
    let [one, other] = &authorities;
    let proxies = [fleet.sidecar(one, &app), fleet.sidecar(other, &app), fleet.beside(&app)].map(Service::started);
    let fronts: Vec<_> = proxies.iter().map(|proxy| proxy.front).collect();
    let urls = authorities.each_ref().map(Service::url);
    let seed = RandomState::new().build_hasher().finish();
    println!("seed {seed}");

    let (stop, sealed, opened, acts) =
        (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let mut kills = 0;
    let mut services: Vec<Service> = authorities.into_iter().chain(proxies).collect();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (stop, sealed, opened, fronts) = (&stop, &sealed, &opened, &fronts);
            scope.spawn(move || {
                let mut dice = Dice(seed ^ writer);
                let mut last = 0;
                while !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(10));
                    let path = format!("/customers/{writer}-{last}");
                    let at = |dice: &mut Dice| fronts[dice.below(3) as usize];
                    if last < MOST && status(exchange(at(&mut dice), "POST", &path, &document(&path))) == 200 {
                        sealed.fetch_add(1, Ordering::Relaxed);
                        last += 1;
                    }
                    let path = format!("/customers/{writer}-{}", dice.below(last + 1));
                    if let Some(answer) = exchange(at(&mut dice), "GET", &path, "") {
                        if answer.status() == 200 {
                            assert_eq!(answer.text(), document(&path));
                            opened.fetch_add(1, Ordering::Relaxed);
                        } else {
                            assert!(!answer.text().contains("4111 "), "{}", answer.text());
                        }
                    }
                }
            });
        }
        scope.spawn(|| {
            let mut dice = Dice(seed ^ 99);
            for n in 0.. {
                let name = format!("made-{n}");
                let act: &[&str] = match n % 5 {
                    0 | 2 => &["rollover", "customers", "--kind", "random"],
                    1 => &["create", &name],
                    3 => &["pause", "customers"],
                    _ => &["resume", "customers"],
                };
                let url = &urls[dice.below(2) as usize];
                let there = ["--authority", url, "--api-key-file", "management.key", "--ca", "ca.pem"];
                let done = fleet.place.run(&[&["partitions"], act, &there].concat());
                acts.fetch_add(u64::from(done.code == 0), Ordering::Relaxed);
                assert!(!done.err.contains("panicked"), "{}", done.err);
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let mut dice = Dice(seed);
        let is_enough = || {
            let at_least = |counter: &AtomicU64, count| counter.load(Ordering::Relaxed) > count;
            at_least(&sealed, 100) && at_least(&opened, 100) && at_least(&acts, 5)
        };
        while kills < KILLS || (kills < MOST_KILLS && !is_enough()) {
            kills += 1;
            std::thread::sleep(Duration::from_millis(dice.below(200)));
            match dice.below(8) {
                // The database goes as in a power cut, and stays away for a moment.
                0 => {
                    cluster.command("crash");
                    std::thread::sleep(Duration::from_millis(dice.below(300)));
                    cluster.command("start");
                }
                n => {
                    let victim = &mut services[n as usize % 5];
                    // Half of them only when they are at work, the others wherever their start has come.
                    if dice.below(2) == 0 {
                        ready(victim);
                    }
                    victim.kill();
                    victim.spawn();
                }
            }
            for service in &mut services {
                // What found no authority or database at its start has ended by itself.
                if service.running.as_mut().unwrap().has_ended() {
                    service.spawn();
                }
            }
        }
        // All at once.
        services.iter_mut().for_each(Service::kill);
        cluster.command("crash");
        stop.store(true, Ordering::Relaxed);
    });
    cluster.command("start");
    for service in &mut services {
        service.again();
    }
    fleet.place.run(&["partitions", "resume", "customers"]).ends(0);
    let (sealed, opened, acts) = (sealed.into_inner(), opened.into_inner(), acts.into_inner());
    println!("{kills} kills, {sealed} sealed, {opened} opened, {acts} acts of management");
    assert!(sealed > 100 && opened > 100 && acts > 5, "there was something to lose: {sealed} {opened} {acts}");

    // Whatever the application was given opens, wherever it was sealed, by every process.
    let paths = app.paths();
    assert!(paths.len() as u64 >= sealed);
    for proxy in &services[2..] {
        until("resumed", || status(proxy.get(&paths[0])) == 200);
    }
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (paths, services) = (&paths, &services);
            scope.spawn(move || {
                for (n, path) in paths.iter().enumerate().skip(thread).step_by(4) {
                    let answer = services[2 + n % 3].get(path).unwrap();
                    assert_eq!((answer.status(), answer.text()), (200, document(path)), "{path}");
                }
            });
        }
    });
    // No half state: everything verifies, and each partition has one current epoch of a kind.
    for service in &services {
        assert_eq!(service.metric("sidecloak_keyring_alarms_total"), Some(0.0));
    }
    let listed = fleet.place.run(&["keys", "list", "--json"]).ends(0).json();
    assert_eq!(listed["alarms"], 0);
    for partition in listed["partitions"].as_array().unwrap() {
        assert_eq!(partition["state"], "active", "{partition}");
        let mut kinds: Vec<&str> =
            partition["current"].as_array().unwrap().iter().map(|epoch| epoch["kind"].as_str().unwrap()).collect();
        let all = kinds.len();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), all, "{partition}");
    }
    fleet.place.run(&["check"]).ends(0);
    for mut service in services.into_iter().rev() {
        service.end();
    }
    let counted = fleet.counted();
    assert!(counted.values().sum::<u64>() > 100, "{counted:?}");
}

/// Waits for it, but not for ever: what it needs may be away.
fn ready(service: &mut Service) {
    for _ in 0..100 {
        if service.running.as_mut().unwrap().has_ended() {
            service.spawn();
        }
        if status(exchange(service.probe, "GET", "/readyz", "")) == 200 {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
