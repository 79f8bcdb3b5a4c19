//! `sidecloak partitions`, `roles`, `apps`, `apikeys` and `users`, on the keyring here and at an authority.

use sidecloak::authority::management;

use super::{Done, Place};
use crate::authority;

#[test]
fn partitions_roles_and_apps_on_the_keyring_here() {
    let place = Place::with_keyring();
    place.run(&["partitions", "create", "2376.a"]).ends(0).shows("is made");
    place.run(&["partitions", "create", "2376.a"]).ends(1).says("already");
    place.run(&["partitions", "list"]).ends(0).shows("PARTITION").shows("customers").shows("2376.a");
    let listed = place.run(&["partitions", "list", "--json"]).ends(0).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 3);
    place
        .run(&["roles", "set", "2376.a", "teller", "--allow", "AllowDecrypt,EnforceMask"])
        .ends(0)
        .shows("EnforceMask");
    place.run(&["roles", "set", "2376.a", "clerk", "--allow", "983052"]).ends(0);
    place.run(&["roles", "set", "2376.a", "clerk", "--allow", "0xc000c"]).ends(0).shows("AuditOnEncrypt");
    place.run(&["roles", "set", "2376.a", "clerk", "--allow", "AllowAll"]).ends(64).says("AllowDecrypt");
    // Each role on a line of its own, and times that can be read.
    place.run(&["partitions", "rollover", "2376.a"]).ends(0);
    let shown = place.run(&["partitions", "show", "2376.a"]).ends(0).shows("kind random created 20");
    assert_eq!(shown.out.lines().filter(|line| line.contains("role ")).count(), 3, "{}", shown.out);
    place.run(&["roles", "list", "2376.a"]).ends(0).shows("1028").shows("teller");
    place.run(&["roles", "remove", "2376.a", "clerk"]).ends(0);
    place.run(&["apps", "create", "2376", "--label", "Billing"]).ends(0);
    place.run(&["apps", "pause", "2376"]).ends(0).shows("paused");
    place.run(&["apps", "list"]).ends(0).shows("Billing").shows("paused");
    place.feed(&["seal", "--class", "ssn", "--partition", "2376.a"], "\"1\"").ends(77);
    place.run(&["partitions", "resume", "2376.a"]).ends(1).says("application");
    place.run(&["apps", "resume", "2376"]).ends(0);
    place.feed(&["seal", "--class", "ssn", "--partition", "2376.a"], "\"1\"").ends(0);
    place.run(&["partitions", "rollover", "2376.a", "--kind", "all"]).ends(0);
    place.run(&["partitions", "epochs", "2376.a"]).ends(0).shows("deterministic");
    place.run(&["partitions", "destroy", "2376.a"]).ends(64).says("--confirm");
    place.run(&["partitions", "destroy", "2376.a", "--confirm", "2376.a"]).ends(0).shows("destroyed at 20");
    place.run(&["partitions", "show", "2376.a"]).ends(0).shows("paused");
    place.run(&["partitions", "keep", "2376.a"]).ends(0);
    place.run(&["partitions", "show", "2376.a"]).ends(0).shows("active");
    place.run(&["partitions", "show", "none"]).ends(1);
    place.run(&["partitions", "list", "--keyring", "none.db"]).ends(77).says("keys init");
}

#[test]
fn keys_and_users_on_the_keyring_here() {
    let place = Place::with_keyring();
    let made =
        place.run(&["apikeys", "create", "--purpose", "crittora", "--label", "x", "--partition", "customers"]).ends(0);
    let lines: Vec<&str> = made.out.lines().collect();
    assert!(lines[0].ends_with("-1") && lines[0].len() == 45, "{}", made.out);
    assert!(lines[1].starts_with("access_key ") && lines[2].starts_with("secret_key "), "{}", made.out);
    place.run(&["apikeys", "create", "--purpose", "crittora", "--label", "x"]).ends(64).says("partition");
    place
        .run(&["apikeys", "create", "--purpose", "management", "--label", "x", "--role", "root"])
        .ends(64)
        .says("auditor");
    let args =
        ["apikeys", "create", "--purpose", "sidecar", "--label", "edge", "--expires-days", "30", "--out", "edge.key"];
    place.run(&args).ends(0).shows("edge.key");
    assert_eq!((place.mode("edge.key"), place.read("edge.key").trim().len()), (0o600, 45));
    let before = place.read("edge.key");
    assert_ne!(place.run(&args).code, 0, "no file is overwritten");
    assert_eq!(place.read("edge.key"), before);
    let listed = place.run(&["apikeys", "list"]).ends(0).shows("edge").shows("never");
    assert!(!listed.out.contains(before.trim()) && !listed.out.contains(lines[0]));
    assert_eq!(listed.out.lines().count(), 3, "no key was made for a file that is there: {}", listed.out);
    let refreshed = place.run(&["apikeys", "refresh", "1", "--json"]).ends(0).json();
    assert_ne!(refreshed["key"], lines[0]);
    place.run(&["apikeys", "revoke", "1"]).ends(0);
    place.run(&["apikeys", "revoke", "1"]).ends(1);
    place.write("password", "a long password\nmore");
    place.run(&["users", "create", "alice", "--password-file", "password", "--role", "teller"]).ends(0);
    place.run(&["users", "create", "alice", "--password-file", "password"]).ends(1).says("already");
    place.feed(&["users", "create", "bob", "--password-file", "-"], "short\n").ends(64).says("8 to 1024");
    place.feed(&["users", "password", "alice", "--password-file", "-"], "another password\n").ends(0);
    place.run(&["users", "list"]).ends(0).shows("alice").shows("teller");
    place.run(&["users", "role", "alice", "clerk"]).ends(0);
    place.run(&["users", "log-out", "alice"]).ends(0);
    place.run(&["users", "delete", "alice"]).ends(0);
    place.run(&["users", "show", "alice"]).ends(1);
    // Whoever did it is on record.
    let log = place.run(&["audit", "list"]).ends(0).shows("local uid").shows("user.create");
    assert!(!log.out.contains("another password") && !log.out.contains("a long password"));
}

#[test]
fn the_same_at_an_authority() {
    let here = authority::Place::new(&["customers"]);
    let url = format!("http://{}", here.serve(management::router(here.authority.clone())));
    let place = Place::empty();
    let key = |role: &str, file: &str| {
        let new = sidecloak::authority::credentials::NewApiKey {
            purpose: sidecloak::authority::credentials::Purpose::Management,
            label: "test".into(),
            app: None,
            partition: None,
            role: role.into(),
            expires: 0,
            secrets: &[],
        };
        place.write(file, here.authority.credentials.create_api_key(&new).unwrap().0.expose());
        let mut mode = std::fs::metadata(place.path(file)).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o600);
        std::fs::set_permissions(place.path(file), mode).unwrap();
    };
    key("admin", "admin.key");
    key("auditor", "auditor.key");
    let ask = |args: &[&str], file: &str| -> Done {
        place.run(&[args, &["--authority", &url, "--api-key-file", file]].concat())
    };
    ask(&["partitions", "list"], "admin.key").ends(0).shows("customers");
    ask(&["partitions", "pause", "customers"], "admin.key").ends(0);
    ask(&["partitions", "show", "customers"], "auditor.key").ends(0).shows("paused");
    ask(&["partitions", "resume", "customers"], "auditor.key").ends(77);
    ask(&["users", "list", "--json"], "auditor.key").ends(0);
    place.write("wrong.key", "wrong-1");
    place.run(&["partitions", "list", "--authority", &url]).ends(64).says("--api-key-file");
    ask(&["partitions", "list"], "none.key").ends(77).says("cannot be read");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(place.path("wrong.key"), open).unwrap();
    ask(&["partitions", "list"], "wrong.key").ends(77).says("open to every user");
    let shut = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(place.path("wrong.key"), shut).unwrap();
    ask(&["partitions", "list"], "wrong.key").ends(77).says("not known");
    let far = ["partitions", "list", "--authority", "http://192.0.2.1", "--api-key-file", "admin.key"];
    place.run(&far).ends(64).says("in clear");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = format!("http://{closed}");
    place.run(&["partitions", "list", "--authority", &gone, "--api-key-file", "admin.key"]).ends(69).says("reached");
}

#[test]
fn what_lies_under_another_master_key_or_outside_an_export_is_said() {
    let place = Place::with_keyring();
    place.run(&["keys", "export", "before.export"]).ends(0);
    place.run(&["apikeys", "create", "--purpose", "sidecar", "--label", "edge", "--out", "edge.key"]).ends(0);
    let exported = place.run(&["keys", "export", "after.export"]).ends(0).says("directory");
    assert!(exported.err.contains("API keys"), "{}", exported.err);
    place.run(&["apikeys", "list"]).ends(0).shows("edge");
    place.run(&["keys", "rotate-master", "--new-key-file", "new.key"]).ends(0).says("rewrap --master");
    let new = ["--master-key-file", "new.key"];
    let listed = place.run(&[&["apikeys", "list"][..], &new].concat()).ends(0).says("1 entries of the directory");
    assert!(!listed.out.contains("edge"), "{}", listed.out);
}

#[test]
fn destructions_and_schedules_read_as_people_say_them() {
    let place = Place::with_keyring();
    place.run(&["keys", "schedule", "customers", "--every", "90"]).ends(0).shows("partition customers is rolled over");
    place.run(&["partitions", "create", "shop.a"]).ends(0);
    place.run(&["keys", "schedule", "--app", "shop", "--every", "30"]).ends(0).shows("application shop is");
    place.run(&["keys", "destroy", "customers", "--confirm", "customers"]).ends(0).shows("is destroyed in 7 d by");
    let due = place.run(&["keys", "due"]).ends(0).shows("roll over every 90 days");
    assert!(due.out.lines().all(|line| !line.ends_with(' ')), "{:?}", due.out);
}
