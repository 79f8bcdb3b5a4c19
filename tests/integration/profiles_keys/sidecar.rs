//! Sidecars behind our authority with a profile of their own: they wrap, and the authority, which opens none of it, signs and stores.

use sidecloak::authority::ncloud_kms;

use super::*;

const SSN: &str = "078-05-1120";

/// A proxy's directory whose keyring is at this authority.
fn sidecar(vendor: &Vendor, operator: &Site, authority: &Running, owner: &str) -> Site {
    let place = Place::empty();
    let made = operator.place.run(&[
        "apikeys",
        "create",
        "--purpose",
        "sidecar",
        "--label",
        "s",
        "--role",
        "default",
        "--json",
    ]);
    private(&place, "api.key", made.ends(0).json()["key"].as_str().unwrap());
    place.write("ca.pem", vendor.ca.pem());
    let store =
        format!("{{ store: 'https://{}', owner: {owner}, api_key: 'file:api.key', ca: ca.pem }}", authority.front);
    Site { place, app: App::start(), store }
}

#[test]
fn one_wraps_another_opens_and_who_has_no_profile_raises_no_alarm() {
    let vendor = Vendor::new();
    let (operator, face) = (Site::new(&vendor), vendor.serve(ncloud_kms::router));
    let (options, _key) = vendor.ncloud(&operator, &face);
    let (profile, rules) = (
        format!("  seoul: {{ {options} }}\n"),
        [("seoul", "key: seoul"), ("equal", "key: seoul, class: e, deterministic: true")],
    );
    operator.configure(&profile, &rules);
    operator.init("seoul");
    let owner = operator.place.run(&["keys", "list", "--json"]).ends(0).json()["owner"].as_str().unwrap().to_owned();

    // The authority has the master key and not the profile.
    let front = free_port();
    vendor.ca.server_at(&[front.ip().to_string()]).write(&operator.place.path(""), "authority");
    operator.place.write("authority.yaml", format!("keyring: {}\n{DRAIN}", operator.store));
    let args = ["authority", "--config", "authority.yaml", "--tls-cert", "authority.crt", "--tls-key", "authority.key"];
    let mut authority = Running::spawn(&operator.place, &args, front, free_port());
    authority.eventually("ready", Running::is_ready);

    let sites = [(); 3].map(|()| sidecar(&vendor, &operator, &authority, &owner));
    for site in &sites[..2] {
        for file in ["ncloud.access", "ncloud.secret"] {
            private(&site.place, file, &operator.place.read(file));
        }
        site.configure(&profile, &rules);
    }
    sites[2].configure("", &rules);
    let before = calls(&face, "encrypt");
    let proxies: Vec<Running> = sites.iter().map(Site::proxy).collect();
    stores(&proxies[0], "/seoul/1", SSN);
    stores(&proxies[0], "/equal/1", SSN);
    shows(&proxies[0], "/seoul/1", SSN);
    assert_eq!(calls(&face, "encrypt") - before, 2);

    // What one application holds is shown to the others' callers by their own proxies.
    let hand_over = |path: &str, to: &Site| {
        let body = sites[0].app.stored.lock().unwrap()[path].clone();
        to.app.stored.lock().unwrap().insert(path.into(), body);
    };
    for path in ["/seoul/1", "/equal/1"] {
        hand_over(path, &sites[1]);
        hand_over(path, &sites[2]);
        shows(&proxies[1], path, SSN);
        let answer = get(&proxies[2], path);
        assert!(answer.status() != 200 && !answer.text().contains(SSN), "{}", answer.text());
    }
    stores(&proxies[1], "/seoul/2", SSN);
    stores(&proxies[1], "/equal/2", SSN);
    assert_eq!(calls(&face, "encrypt") - before, 2, "it seals under the same epochs");
    assert_eq!(token(&sites[1].token("/seoul/2")).epoch, token(&sites[0].token("/seoul/1")).epoch);
    assert_eq!(sites[1].token("/equal/2"), sites[0].token("/equal/1"));
    let answer = post(&proxies[2], "/seoul/3", SSN);
    assert_ne!(answer.status(), 200, "{}", answer.text());
    assert!(!sites[2].app.paths().contains(&"/seoul/3".to_owned()));
    stores(&proxies[2], "/local/1", SSN);

    // The operator rolls it over at the authority's keyring, beside which the profile is configured.
    let first = token(&sites[0].token("/seoul/1")).epoch.to_string();
    operator.place.run(&["keys", "rollover", "seoul"]).ends(0);
    for (site, proxy) in sites[..2].iter().zip(&proxies) {
        until("rolled", || {
            stores(proxy, "/seoul/4", SSN);
            token(&site.token("/seoul/4")).epoch.to_string() != first
        });
        shows(proxy, "/seoul/1", SSN);
        shows(proxy, "/seoul/4", SSN);
    }
    for process in proxies.iter().chain([&authority]) {
        assert_eq!(metric(process, "sidecloak_keyring_alarms_total"), 0.0, "{}", log(process));
    }
    // Nothing but the service opens it: neither the authority nor its master key.
    let sealed = json!(sites[0].token("/seoul/1")).to_string();
    let open = ["open", "--config", "authority.yaml", "--partition", "seoul", "--class", "ssn"];
    let done = operator.place.feed(&open, &sealed);
    assert!(done.code != 0 && !done.out.contains(SSN), "{done:?}");
    // Who starts anew opens it as well.
    let again = sites[1].proxy();
    shows(&again, "/seoul/1", SSN);
    shows(&again, "/equal/1", SSN);
}
