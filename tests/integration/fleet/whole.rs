//! Everything at once: what one process seals all open, and what an operator does reaches all.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use super::{App, Cluster, Fleet, Service, status, until};

/// Values that were sealed and opened, field by field.
#[derive(Default)]
struct Tally {
    sealed: AtomicU64,
    opened: AtomicU64,
}

impl Tally {
    #[track_caller]
    fn post(&self, at: &Service, path: &str) {
        assert_eq!(status(at.post(path, &document(path))), 200, "POST {path}");
        self.sealed.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it opens; anything but the document or a refusal fails.
    #[track_caller]
    fn opens(&self, at: &Service, path: &str) -> bool {
        let answer = at.get(path).unwrap();
        if answer.status() != 200 {
            assert!(!answer.text().contains("4111 "), "{}", answer.text());
            return false;
        }
        assert_eq!(answer.text(), document(path));
        self.opened.fetch_add(1, Ordering::Relaxed);
        true
    }
}

fn document(path: &str) -> String {
    let email = if path.starts_with("/doomed") { "plain" } else { "email" };
    json!({ "ssn": format!("4111 {path}"), email: path }).to_string()
}

/// Documents that a change of state may meet half-way: a handful of changes, each met by three proxies.
const IN_BETWEEN: u64 = 12;

#[test]
fn a_fleet_seals_opens_stops_and_rolls_over_as_one() {
    let Some(cluster) = Cluster::shared() else { return };
    let (fleet, app) = (Fleet::new(&cluster.database()), App::start());
    let [one, two] = [(); 2].map(|()| fleet.authority("").started());
    let mut proxies = [fleet.sidecar(&one, &app), fleet.sidecar(&two, &app), fleet.beside(&app)].map(Service::started);
    let (customers, doomed) = (Tally::default(), Tally::default());

    for (i, sealing) in proxies.iter().enumerate() {
        let (path, lost) = (format!("/customers/first-{i}"), format!("/doomed/{i}"));
        customers.post(sealing, &path);
        doomed.post(sealing, &lost);
        assert!(app.document(&path)["ssn"].as_str().unwrap().starts_with("sc1."), "{}", app.document(&path));
        for opening in &proxies {
            assert!(customers.opens(opening, &path) && doomed.opens(opening, &lost));
        }
    }
    let equal = |path: &str| app.document(path)["email"].clone();
    for proxy in &proxies {
        customers.post(proxy, "/customers/equal");
        assert_eq!(equal("/customers/equal"), {
            customers.post(&proxies[0], "/customers/equal");
            equal("/customers/equal")
        });
    }

    // The breach switch, through one authority and back through the other.
    for (switch, back) in [(&one, &two), (&two, &one)] {
        fleet.at(switch, &["partitions", "pause", "customers"]).ends(0);
        stopped(&proxies, "a pause", |proxy| !customers.opens(proxy, "/customers/first-0"));
        for proxy in &proxies {
            assert_eq!(status(proxy.post("/customers/paused", &document("/customers/paused"))), 403);
            assert!(doomed.opens(proxy, "/doomed/0"), "another partition goes on");
        }
        fleet.at(back, &["partitions", "resume", "customers"]).ends(0);
        stopped(&proxies, "a resume", |proxy| customers.opens(proxy, "/customers/first-0"));
    }
    fleet.at(&one, &["partitions", "decrypt-only", "customers"]).ends(0);
    let path = "/customers/decrypt-only";
    stopped(&proxies, "decrypt-only", |proxy| match status(proxy.post(path, &document(path))) {
        200 => {
            customers.sealed.fetch_add(1, Ordering::Relaxed);
            false
        }
        other => {
            assert_eq!(other, 403);
            customers.opens(proxy, "/customers/first-1")
        }
    });
    fleet.at(&two, &["partitions", "resume", "customers"]).ends(0);
    stopped(&proxies, "a resume", |proxy| match status(proxy.post(path, &document(path))) {
        200 => customers.sealed.fetch_add(1, Ordering::Relaxed) < u64::MAX,
        _ => false,
    });

    rolls_over_under_load(&fleet, [&one, &two], &proxies, &customers);

    // A destruction that waits, is called off, and is done.
    fleet.at(&two, &["partitions", "destroy", "doomed", "--confirm", "doomed"]).ends(0);
    stopped(&proxies, "a destruction begun", |proxy| !doomed.opens(proxy, "/doomed/1"));
    fleet.at(&one, &["partitions", "keep", "doomed"]).ends(0);
    stopped(&proxies, "a destruction called off", |proxy| doomed.opens(proxy, "/doomed/1"));
    fleet.place.run(&["keys", "destroy", "doomed", "--confirm", "doomed", "--now"]).ends(0);
    stopped(&proxies, "a destruction", |proxy| !doomed.opens(proxy, "/doomed/1"));
    for proxy in &mut proxies {
        assert_eq!(proxy.metric("sidecloak_keyring_alarms_total"), Some(0.0));
        assert_eq!(status(proxy.post("/doomed/new", &document("/doomed/new"))), 403);
        // In order: what was counted in the last second is written.
        proxy.end();
        proxy.again();
        assert!(!doomed.opens(proxy, "/doomed/1"), "nor after a start");
        assert!(customers.opens(proxy, "/customers/first-2"));
    }
    let listed = fleet.at(&two, &["partitions", "show", "doomed", "--json"]).ends(0).json();
    assert_eq!(listed["state"], "destroyed", "{listed}");

    for mut service in proxies.into_iter().chain([one, two]) {
        let log = service.end();
        assert!(!log.contains("4111 "), "{log}");
    }
    let counted = fleet.counted();
    let count = |partition: &str, class: &str, what: &str| {
        counted.get(&(partition.into(), class.into(), what.into())).copied().unwrap_or(0)
    };
    for (partition, class, tally) in
        [("customers", "ssn", &customers), ("customers", "email", &customers), ("doomed", "ssn", &doomed)]
    {
        let tallied = (tally.sealed.load(Ordering::Relaxed), tally.opened.load(Ordering::Relaxed));
        let counted = (count(partition, class, "sealed"), count(partition, class, "opened"));
        // A pause between a document's two fields has the first one opened in an answer that is refused.
        let refused = if (partition, class) == ("customers", "ssn") { IN_BETWEEN } else { 0 };
        let exact = (tallied.0..=tallied.0 + refused).contains(&counted.0);
        assert!(
            exact && (tallied.1..=tallied.1 + refused).contains(&counted.1),
            "{partition} {class}: {counted:?}, {tallied:?}"
        );
    }
    assert!(count("customers", "ssn", "refused") > 0, "{counted:?}");
}

/// Waits until it holds at each.
#[track_caller]
fn stopped(proxies: &[Service; 3], what: &str, holds: impl Fn(&Service) -> bool) {
    for (proxy, name) in proxies.iter().zip(["at one authority", "at the other", "on the database"]) {
        until(&format!("{what}, {name}"), || holds(proxy));
    }
}

fn rolls_over_under_load(fleet: &Fleet, authorities: [&Service; 2], proxies: &[Service; 3], tally: &Tally) {
    let (stop, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (stop, calls) = (&stop, &calls);
            scope.spawn(move || {
                for n in 0.. {
                    let path = format!("/customers/{thread}-{n}");
                    tally.post(&proxies[(thread + n) % 3], &path);
                    assert!(tally.opens(&proxies[(thread + n + 1) % 3], &path), "{path}");
                    assert!(tally.opens(&proxies[(thread + n + 2) % 3], "/customers/first-0"));
                    calls.fetch_add(3, Ordering::Relaxed);
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
        for round in 0..4 {
            let before = calls.load(Ordering::Relaxed);
            let rolled = ["partitions", "rollover", "customers", "--kind", "all"];
            let done = fleet.at(authorities[round % 2], &rolled);
            until("calls after a rollover", || calls.load(Ordering::Relaxed) > before + 100);
            if done.code != 0 {
                stop.store(true, Ordering::Relaxed);
            }
            done.ends(0);
        }
        stop.store(true, Ordering::Relaxed);
    });
}
