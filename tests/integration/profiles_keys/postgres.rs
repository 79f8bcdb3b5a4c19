//! Envelope profiles on one database with several proxies: what the service is asked, and what becomes of it when it is slow, says
//! no, or is away.

use std::collections::HashSet;
use std::time::Duration;

use sidecloak::authority::{crittora, ncloud_kms};

use super::*;
use crate::cluster::Cluster;

const SSN: &str = "078-05-1120";

struct Stage {
    vendor: Vendor,
    site: Site,
    partner: Double,
    seoul: Double,
    key: NcloudKey,
}

impl Stage {
    /// With further options of both profiles.
    fn new(cluster: &Cluster, options: &str) -> Self {
        let vendor = Vendor::new();
        let site = Site::on(&vendor, &cluster.database());
        let (partner, seoul) = (vendor.serve(crittora::router), vendor.serve(ncloud_kms::router));
        let (options_of_seoul, key) = vendor.ncloud(&site, &seoul);
        let profiles = format!(
            "  partner: {{ {}{options} }}\n  seoul: {{ {options_of_seoul}{options} }}\n",
            vendor.crittora(&site, &partner)
        );
        site.configure(
            &profiles,
            &[
                ("partner", "key: partner"),
                ("seoul", "key: seoul"),
                ("equal", "key: seoul, class: e, deterministic: true"),
            ],
        );
        site.init("partner");
        site.init("seoul");
        Self { vendor, site, partner, seoul, key }
    }
}

#[test]
fn three_proxies_have_one_epoch_for_which_each_asked_once_at_most() {
    let Some(cluster) = Cluster::shared() else { return };
    let Stage { site, partner, seoul, vendor: _vendor, .. } = Stage::new(cluster, "");
    let before = [calls(&partner, "encrypt"), calls(&seoul, "encrypt")];
    let proxies = [(); 3].map(|()| site.proxy());
    let at_once = |name: &str| {
        std::thread::scope(|scope| {
            for (number, proxy) in proxies.iter().cycle().take(30).enumerate() {
                scope.spawn(move || stores(proxy, &format!("/{name}/{number}"), SSN));
            }
        });
        (0..30).map(|number| token(&site.token(&format!("/{name}/{number}"))).epoch.to_string()).collect::<HashSet<_>>()
    };
    let epochs = ["partner", "seoul"].map(at_once);
    assert!(epochs.iter().all(|of_one| of_one.len() == 1), "{epochs:?}");
    // They raced for it: each asked at most once, whatever the number of requests, and what one of them had wrapped was kept.
    let wraps = [calls(&partner, "encrypt") - before[0], calls(&seoul, "encrypt") - before[1]];
    assert!(wraps.iter().all(|wraps| (1..=3).contains(wraps)), "{wraps:?}");
    // From then on nobody wraps anything.
    for (number, proxy) in proxies.iter().cycle().take(30).enumerate() {
        shows(proxy, &format!("/partner/{number}"), SSN);
        shows(proxy, &format!("/seoul/{number}"), SSN);
        stores(proxy, "/seoul/again", SSN);
    }
    assert_eq!(wraps, [calls(&partner, "encrypt") - before[0], calls(&seoul, "encrypt") - before[1]]);
    let opened = calls(&seoul, "decrypt");
    for proxy in &proxies {
        stores(proxy, "/seoul/again", SSN);
        shows(proxy, "/seoul/again", SSN);
    }
    assert_eq!(calls(&seoul, "decrypt"), opened, "what is in memory is not asked for");
    assert!(partner.seen().iter().chain(&seoul.seen()).all(|request| !request.text().contains(SSN)));
}

#[test]
fn rules_of_other_keys_do_not_feel_an_api_that_hangs() {
    let Some(cluster) = Cluster::shared() else { return };
    let Stage { site, partner, vendor: _vendor, seoul: _seoul, .. } = Stage::new(cluster, "");
    let proxies = [(); 3].map(|()| site.proxy());
    stores(&proxies[0], "/partner/old", SSN);
    stores(&proxies[0], "/seoul/old", SSN);
    stores(&proxies[0], "/equal/old", SSN);
    drop(proxies);

    partner.always(Act::Late(Duration::from_secs(8)));
    let proxies = [(); 3].map(|()| site.proxy());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Many requests that hang, cold, on each of them.
        let hanging: Vec<_> = proxies
            .iter()
            .flat_map(|proxy| [proxy; 20])
            .enumerate()
            .map(|(number, proxy)| {
                let stop = &stop;
                scope.spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        let answer = match number % 2 {
                            0 => post(proxy, &format!("/partner/{number}"), SSN),
                            _ => get(proxy, "/partner/old"),
                        };
                        assert!([502, 503].contains(&answer.status()), "{}", answer.text());
                        assert!(!answer.text().contains(SSN));
                    }
                })
            })
            .collect();
        for round in 0..12 {
            for proxy in &proxies {
                // Cold at first, and again after each rollover.
                shows(proxy, "/seoul/old", SSN);
                shows(proxy, "/equal/old", SSN);
                stores(proxy, &format!("/seoul/{round}"), SSN);
                shows(proxy, &format!("/seoul/{round}"), SSN);
                stores(proxy, &format!("/local/{round}"), SSN);
                shows(proxy, &format!("/local/{round}"), SSN);
            }
            site.place.run(&["keys", "rollover", if round % 2 == 0 { "seoul" } else { "customers" }]).ends(0);
        }
        stop.store(true, Ordering::SeqCst);
        hanging.into_iter().for_each(|hung| hung.join().unwrap());
    });
    partner.always(Act::Well);
    until("it is back", || post(&proxies[0], "/partner/new", SSN).status() == 200);
    until("it opens", || get(&proxies[1], "/partner/old").text() == document(SSN));
}

#[test]
fn a_key_that_is_disabled_stops_what_it_had_opened() {
    let Some(cluster) = Cluster::shared() else { return };
    let Stage { site, key, vendor: _vendor, seoul: _seoul, partner: _partner, .. } =
        Stage::new(cluster, ", max_stale: 10s");
    let mut proxies = [(); 3].map(|()| site.proxy());
    for proxy in &proxies {
        stores(proxy, "/seoul/1", SSN);
        shows(proxy, "/seoul/1", SSN);
    }
    key.act("disable");
    for proxy in &mut proxies {
        proxy.eventually("refused", |proxy| get(proxy, "/seoul/1").status() != 200);
        assert_ne!(post(proxy, "/seoul/2", SSN).status(), 200);
        stores(proxy, "/partner/1", SSN);
        logs(proxy, "422");
        assert!(!log(proxy).contains("silent for `max_stale`"), "it waited for its end: {}", log(proxy));
    }
    key.act("enable");
    for proxy in &mut proxies {
        proxy.eventually("opens", |proxy| get(proxy, "/seoul/1").text() == document(SSN));
        proxy.eventually("seals", |proxy| post(proxy, "/seoul/2", SSN).status() == 200);
    }
}

#[test]
fn an_api_that_is_away_is_done_without_for_max_stale() {
    let Some(cluster) = Cluster::shared() else { return };
    let Stage { site, seoul, vendor: _vendor, partner: _partner, .. } = Stage::new(cluster, ", max_stale: 6s");
    let mut proxies = [(); 3].map(|()| site.proxy());
    for proxy in &proxies {
        stores(proxy, "/seoul/1", SSN);
        shows(proxy, "/seoul/1", SSN);
    }
    let cut = Cut::of(&seoul);
    cut.set(true);
    for proxy in &proxies {
        shows(proxy, "/seoul/1", SSN);
        stores(proxy, "/seoul/2", SSN);
    }
    for proxy in &mut proxies {
        proxy.eventually("its end", |proxy| post(proxy, "/seoul/3", SSN).status() == 503);
        let answer = get(proxy, "/seoul/1");
        assert!(answer.status() == 502 && !answer.text().contains(SSN), "{}", answer.text());
        stores(proxy, "/local/1", SSN);
        assert!(proxy.is_ready());
    }
    cut.set(false);
    for proxy in &mut proxies {
        proxy.eventually("it is back", |proxy| post(proxy, "/seoul/3", SSN).status() == 200);
        proxy.eventually("it opens", |proxy| get(proxy, "/seoul/1").text() == document(SSN));
        // Its absence is forgotten: what is in memory is good for a whole time again.
        shows(proxy, "/seoul/1", SSN);
    }
}

#[test]
fn epochs_roll_and_go_from_a_service_to_a_recipient_of_one_s_own() {
    let Some(cluster) = Cluster::shared() else { return };
    let Stage { site, seoul, vendor: _vendor, partner: _partner, .. } = Stage::new(cluster, "");
    let proxies = [(); 3].map(|()| site.proxy());
    for (number, proxy) in proxies.iter().enumerate() {
        stores(proxy, &format!("/seoul/{number}"), SSN);
        stores(proxy, &format!("/equal/{number}"), SSN);
    }
    let epoch = |path: &str| token(&site.token(path)).epoch.to_string();
    let (random, equal) = (epoch("/seoul/0"), epoch("/equal/0"));
    let before = calls(&seoul, "encrypt");
    site.place.run(&["keys", "rollover", "seoul", "--kind", "all"]).ends(0);
    for proxy in &proxies {
        until("rolled", || {
            stores(proxy, "/seoul/new", SSN);
            stores(proxy, "/equal/new", SSN);
            epoch("/seoul/new") != random && epoch("/equal/new") != equal
        });
        shows(proxy, "/seoul/0", SSN);
        shows(proxy, "/equal/0", SSN);
    }
    assert_eq!(calls(&seoul, "encrypt") - before, 2, "one wrap for each new epoch");

    // A recipient of our own beside the service: what is there is wrapped to it as well.
    let keys = |args: &[&str]| site.place.run(&[&["keys"], args].concat());
    let owner = keys(&["list", "--json"]).ends(0).json()["owner"].as_str().unwrap().to_owned();
    keys(&["recipient", "seoul", "--output", "own.key"]).ends(0);
    keys(&["rewrap", "seoul"]).ends(0);
    keys(&["due", "--run"]).ends(0);
    let store = site.store.trim_start_matches("{ ").trim_end_matches(" }").to_owned();
    site.place.write(
        "own.yaml",
        format!("keyring: {{ {store}, recipient: 'file:own.key', owner: {owner}, master_key: [] }}\n"),
    );
    let own = |path: &str, class: &str| {
        let args = ["open", "--config", "own.yaml", "--partition", "seoul", "--class", class];
        site.place.feed(&args, json!(site.token(path)).to_string())
    };
    let cut = Cut::of(&seoul);
    cut.set(true);
    for (path, class) in [("/seoul/0", "ssn"), ("/equal/0", "e"), ("/seoul/new", "ssn")] {
        own(path, class).ends(0).shows(SSN);
    }
    cut.set(false);

    // Away from the service: not before the master key opens it, or nothing would.
    let listed = keys(&["list", "seoul", "--json"]).ends(0).json()["partitions"][0]["recipients"].clone();
    let managed = listed.as_array().unwrap().iter().find(|r| r["profile"] == "seoul");
    let managed = managed.unwrap_or_else(|| panic!("{listed}"))["id"].as_str().unwrap().to_owned();
    keys(&["remove-recipient", "seoul", &managed]).ends(78).says("nothing was changed");
    keys(&["recipient", "seoul"]).ends(64).says("--output");
    keys(&["recipient", "seoul", "--own"]).ends(0).shows("the master key opens");
    keys(&["remove-recipient", "seoul", &managed]).ends(0);
    keys(&["rewrap", "seoul"]).ends(0);
    keys(&["due", "--run"]).ends(0);
    drop(proxies);
    let mut proxy = site.spawn();
    proxy.eventually("a configuration that no longer fits", |proxy| {
        log(proxy).contains("the partition seoul is not wrapped by the API of profile `seoul`")
    });
    site.place.run(&["profiles", "list"]).ends(0).shows("other recipients");
    site.place.run(&["profiles", "init", "seoul"]).ends(64);
    // The rules stay as they are: their key is a partition now, and the service is not asked any more.
    let asked = seoul.calls();
    site.configure("", &[("seoul", "key: seoul"), ("equal", "key: seoul, class: e, deterministic: true")]);
    let proxy = site.proxy();
    for path in ["/seoul/0", "/seoul/new", "/equal/0", "/equal/new"] {
        shows(&proxy, path, SSN);
    }
    stores(&proxy, "/seoul/later", SSN);
    shows(&proxy, "/seoul/later", SSN);
    assert_eq!(seoul.calls(), asked);
}
