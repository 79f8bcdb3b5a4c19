//! ExeQuantum: the recipient's private half is the service's, everything else is done here.

use sidecloak::authority::exequantum;
use sidecloak::token::Suite;

use super::*;

const SSN: &str = "078-05-1120";

fn rules() -> [(&'static str, &'static str); 3] {
    [
        ("one", "key: pqc"),
        ("two", "key: pqc, suite: 2, class: two"),
        ("three", "key: pqc, class: three, deterministic: true"),
    ]
}

#[test]
fn both_generations_seal_and_open_and_nothing_else_but_recovery_does() {
    let generations = [
        ("generation: 1, recipient: pqc.pub", true),
        ("generation: 1, recipient: pqc.pub, recipient_secret: 'file:pqc.key'", false),
        ("generation: 2, recipient: pqc.pub, recipient_secret: 'file:pqc.key'", false),
    ];
    for (options, kept) in generations {
        let vendor = Vendor::new();
        let (site, face) = (Site::new(&vendor), vendor.serve(exequantum::router));
        let recovery = site.place.run(&["keys", "recovery"]).ends(0).out;
        private(&site.place, "safe.key", &recovery);
        let profile = format!("  pqc: {{ {}, {options} }}\n", vendor.exequantum(&site, &face));
        site.configure(&profile, &rules());
        site.init("pqc");
        assert_eq!(site.place.path("pqc.key").exists(), !kept);

        let proxy = site.proxy();
        for (path, suite) in [("/one/1", Suite::Xaes), ("/two/1", Suite::Gcm), ("/three/1", Suite::Siv)] {
            stores(&proxy, path, SSN);
            assert_eq!(token(&site.token(path)).suite, suite);
            shows(&proxy, path, SSN);
        }
        stores(&proxy, "/three/2", SSN);
        assert_eq!(site.token("/three/1"), site.token("/three/2"), "for look-ups");
        drop(proxy);

        // Another process knows nothing, and asks.
        let before = calls(&face, "decapsulate");
        let proxy = site.proxy();
        for path in ["/one/1", "/two/1", "/three/1"] {
            shows(&proxy, path, SSN);
        }
        assert_eq!(calls(&face, "decapsulate"), before + 2, "once for each epoch");
        stores(&proxy, "/three/3", SSN);
        assert_eq!(site.token("/three/1"), site.token("/three/3"), "also after a restart");
        // What goes there is neither a value nor a key.
        let seen: Vec<_> = face.seen().iter().map(Message::text).collect();
        assert!(seen.iter().all(|body| !body.contains(SSN) && !body.contains("sc1")), "{seen:?}");
        assert!(!log(&proxy).contains(SSN));
        drop(proxy);

        // The master key alone opens nothing of that partition.
        for (path, class) in [("/one/1", "ssn"), ("/three/1", "three")] {
            let sealed = json!(site.token(path)).to_string();
            site.place.write("bare.yaml", format!("keyring: {}\n", site.store));
            let open = ["open", "--partition", "pqc", "--class", class, "--config"];
            let done = site.place.feed(&[&open[..], &["bare.yaml"]].concat(), &sealed);
            assert!(done.code != 0 && !done.out.contains(SSN) && !done.err.contains(SSN), "{done:?}");
            site.place.feed(&[&open[..], &["sidecloak.yaml"]].concat(), &sealed).ends(0).shows(SSN);

            // A recovery recipient does, without the service.
            let rescue = Place::empty();
            rescue.run(&["keys", "init", "--partition", "pqc"]).ends(0);
            let lost = site.place.path("sidecloak.db").display().to_string();
            rescue.feed(&["keys", "recover", &lost], &recovery).ends(0).shows("took over");
            rescue.feed(&["open", "--partition", "pqc", "--class", class], &sealed).ends(0).shows(SSN);
        }
    }
}

#[test]
fn without_its_master_key_or_its_service_a_partition_stays_shut() {
    let vendor = Vendor::new();
    let (site, face) = (Site::new(&vendor), vendor.serve(exequantum::router));
    let profile = format!("  pqc: {{ {}, recipient: pqc.pub, max_stale: 4s }}\n", vendor.exequantum(&site, &face));
    site.configure(&profile, &rules());
    site.init("pqc");
    let mut proxy = site.proxy();
    stores(&proxy, "/one/1", SSN);
    let cut = Cut::of(&face);
    cut.set(true);
    shows(&proxy, "/one/1", SSN);
    proxy.eventually("nothing opens any more", |proxy| get(proxy, "/one/1").status() != 200);
    let answer = get(&proxy, "/one/1");
    assert!(!answer.text().contains(SSN), "{}", answer.text());
    assert_eq!(post(&proxy, "/one/2", SSN).status(), 503);
    stores(&proxy, "/local/1", SSN);
    cut.set(false);
    proxy.eventually("it is back", |proxy| get(proxy, "/one/1").status() == 200);
    shows(&proxy, "/one/1", SSN);
}
