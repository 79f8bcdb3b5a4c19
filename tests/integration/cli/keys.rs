//! `sidecloak keys`.

use std::fs;

use super::Place;

fn token(place: &Place, args: &[&str], value: &str) -> String {
    let args = [&["seal", "--class", "ssn"], args].concat();
    place.feed(&args, format!("\"{value}\"")).ends(0).out
}

fn opened(place: &Place, args: &[&str], token: &str) -> String {
    place.feed(&[&["open", "--class", "ssn"], args].concat(), token).ends(0).out
}

#[test]
fn init_makes_both_files_once() {
    let place = Place::empty();
    place.run(&["keys", "init", "--kem", "x-wing", "--partition", "a"]).ends(0).says("recovery").says("master key");
    assert_eq!((place.mode("sidecloak.db"), place.mode("master.key")), (0o600, 0o600));
    let (db, key) = (place.bytes("sidecloak.db"), place.read("master.key"));
    place.run(&["keys", "init"]).ends(64).says("left as it is");
    place.run(&["keys", "init", "--partition", "b", "--kem", "ml-kem-1024"]).ends(64).says("--kem");
    assert_eq!((place.bytes("sidecloak.db"), place.read("master.key")), (db, key));
    place.run(&["keys", "init", "--partition", "a", "--partition", "b"]).ends(0).shows("made partition b");
    place.run(&["keys", "init", "--partition", "no good"]).ends(64).says("partition name");
    let list = place.run(&["keys", "list", "--json"]).ends(0).json();
    let names: Vec<_> = list["partitions"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "default"]);
    assert_eq!(list["partitions"][0]["recipients"][0]["suite"], "x-wing");
    assert_eq!(list["owner"].as_str().unwrap().len(), 64);
    place.run(&["keys", "list"]).ends(0).shows("PARTITION").shows("decrypt+encrypt");
    place.run(&["keys", "list", "nosuch"]).ends(64).says("nosuch");
}

#[test]
fn an_existing_master_key_is_used() {
    let (one, two) = (Place::with_keyring(), Place::empty());
    fs::copy(one.path("master.key"), two.path("master.key")).unwrap();
    let before = two.read("master.key");
    two.run(&["keys", "init"]).ends(0);
    assert_eq!(two.read("master.key"), before);
    two.write("shared.key", &before).chmod("shared.key", 0o644);
    two.run(&["keys", "init", "--keyring", "second.db", "--master-key-file", "shared.key"]).ends(77);
    two.chmod("shared.key", 0o600);
    two.run(&["keys", "init", "--keyring", "second.db", "--master-key-file", "shared.key"]).ends(0);
    // A key made beside a keyring that has one would pass for its key.
    two.run(&["keys", "init", "--master-key-file", "new.key"]).ends(77).says("new.key");
    two.run(&["keys", "init", "--partition", "a", "--master-key-file", "new.key"]).ends(77);
    assert!(!two.path("new.key").exists());
}

#[test]
fn a_new_master_key_an_export_and_an_import() {
    let place = Place::with_keyring();
    let sealed = token(&place, &[], "123-45-6789");
    place.run(&["keys", "rotate-master", "--new-key-file", "new.key"]).ends(0).says("new.key first").says("master.key");
    assert_eq!(place.mode("new.key"), 0o600);
    place.feed(&["open", "--class", "ssn"], &sealed).ends(78);
    let new = ["--master-key-file", "new.key"];
    assert_eq!(opened(&place, &new, &sealed), "\"123-45-6789\"");
    place.run(&[&["keys", "rotate-master", "--new-key-file", "new.key"], &new[..]].concat()).ends(64);

    place.run(&[&["keys", "export", "all.sealed"], &new[..]].concat()).ends(0);
    assert_eq!(place.mode("all.sealed"), 0o600);
    place.run(&[&["keys", "export", "all.sealed"], &new[..]].concat()).ends(64).says("left as it is");
    let elsewhere = Place::empty();
    fs::copy(place.path("all.sealed"), elsewhere.path("all.sealed")).unwrap();
    fs::copy(place.path("master.key"), elsewhere.path("master.key")).unwrap();
    elsewhere.run(&["keys", "import", "all.sealed"]).ends(78).says("master key");
    fs::copy(place.path("new.key"), elsewhere.path("master.key")).unwrap();
    elsewhere.run(&["keys", "import", "nowhere"]).ends(66);
    elsewhere.run(&["keys", "import", "all.sealed"]).ends(0);
    elsewhere.run(&["keys", "import", "all.sealed"]).ends(64).says("left as it is");
    assert_eq!(opened(&elsewhere, &[], &sealed), "\"123-45-6789\"");
    let mut cut = place.bytes("all.sealed");
    *cut.last_mut().unwrap() ^= 1;
    elsewhere.write("cut", cut);
    elsewhere.run(&["keys", "import", "cut", "--keyring", "cut.db"]).ends(78);
    assert!(!elsewhere.path("cut.db").exists());
}

#[test]
fn the_recovery_key_is_shown_once_and_opens_what_is_lost() {
    let place = Place::with_keyring();
    let before = token(&place, &[], "before");
    let made = place.run(&["keys", "recovery"]).ends(0).says("never again");
    let private = made.out.trim().to_owned();
    assert!(!private.contains('\n') && private.len() > 40);
    assert!(!made.err.contains(&private) && !place.read("recovery.pub").contains(&private));
    place.run(&["keys", "recovery"]).ends(64).says("left as it is");
    let list = place.run(&["keys", "list", "--json"]).ends(0).json();
    assert_eq!(list["partitions"][0]["recipients"][1]["private_key_here"], false);
    let after = token(&place, &["--partition", "customers"], "after");
    fs::remove_file(place.path("master.key")).unwrap();
    fs::rename(place.path("sidecloak.db"), place.path("lost.db")).unwrap();

    place.run(&["keys", "init"]).ends(0);
    place.feed(&["open", "--class", "ssn"], &before).ends(1);
    place.feed(&["keys", "recover", "lost.db"], "not a recovery key\n").ends(77);
    let owner = list["owner"].as_str().unwrap();
    let wrong = "0".repeat(64);
    place.feed(&["keys", "recover", "lost.db", "--from-owner", &wrong], &private).ends(78);
    place.feed(&["keys", "recover", "lost.db", "--from-owner", owner], &private).ends(0).shows("2 epochs");
    assert_eq!(opened(&place, &[], &before), "\"before\"");
    assert_eq!(opened(&place, &["--partition", "customers"], &after), "\"after\"");
}

#[test]
fn states_of_a_partition() {
    let place = Place::with_keyring();
    let of = ["--partition", "customers"];
    let sealed = token(&place, &of, "v");
    let seal = [&["seal", "--class", "ssn"], &of[..]].concat();
    let open = [&["open", "--class", "ssn"], &of[..]].concat();
    place.run(&["keys", "pause", "customers"]).ends(0);
    place.feed(&seal, "\"v\"").ends(77);
    place.feed(&open, &sealed).ends(77);
    place.run(&["keys", "decrypt-only", "customers"]).ends(0);
    place.feed(&seal, "\"v\"").ends(77);
    assert_eq!(opened(&place, &of, &sealed), "\"v\"");
    place.run(&["keys", "rollover", "customers"]).ends(77).says("decrypt-only");
    place.run(&["keys", "resume", "customers"]).ends(0);
    token(&place, &of, "v");
    place.run(&["keys", "destroy", "customers"]).ends(64).says("--confirm customers");
    place.run(&["keys", "destroy", "customers", "--confirm", "default"]).ends(64);
    assert_eq!(opened(&place, &of, &sealed), "\"v\"");
    place.run(&["keys", "destroy", "customers", "--confirm", "customers", "--now"]).ends(0);
    assert_ne!(place.feed(&open, &sealed).code, 0);
    place.run(&["keys", "resume", "customers"]).ends(77).says("destroyed");
    place.run(&["keys", "pause", "nosuch"]).ends(64).says("nosuch");
}

#[test]
fn a_rollover_changes_what_it_says() {
    let place = Place::with_keyring();
    let deterministic = |place: &Place| token(place, &["--deterministic"], "v");
    let (random, first) = (token(&place, &[], "v"), deterministic(&place));
    let epoch = |text: &str| place.run(&["inspect", "--json", text.trim_matches('"')]).ends(0).json()["epoch"].clone();
    place.run(&["keys", "rollover", "default"]).ends(0);
    assert_ne!(epoch(&token(&place, &[], "v")), epoch(&random));
    assert_eq!(deterministic(&place), first);
    place.run(&["keys", "rollover", "default", "--kind", "deterministic"]).ends(0).says("no longer equal");
    assert_ne!(deterministic(&place), first);
    assert_eq!((opened(&place, &[], &random), opened(&place, &[], &first)), ("\"v\"".into(), "\"v\"".into()));
}

#[test]
fn roles() {
    let place = Place::with_keyring();
    place.run(&["keys", "role", "default", "teller", "--allow", "decrypt,mask"]).ends(0).shows("decrypt, mask");
    let list = place.run(&["keys", "list", "default", "--json"]).ends(0).json();
    let allow = |list: &serde_json::Value, role: &str| list["partitions"][0]["roles"][role]["allow"].clone();
    assert_eq!(allow(&list, "teller"), serde_json::json!(["decrypt", "mask"]));
    assert_eq!(allow(&list, "default"), serde_json::json!(["decrypt", "encrypt"]));
    place.run(&["keys", "role", "default", "teller", "--allow", "none"]).ends(0);
    place.run(&["keys", "role", "default", "default", "--allow", "encrypt"]).ends(0);
    let list = place.run(&["keys", "list", "default", "--json"]).ends(0).json();
    assert_eq!(allow(&list, "teller"), serde_json::Value::Null);
    // Who may not open gets the token.
    let sealed = token(&place, &[], "v");
    assert_eq!(opened(&place, &[], &sealed), sealed);
    place.run(&["keys", "role", "default", "x", "--allow", "none,mask"]).ends(64);
    place.run(&["keys", "role", "default", "x"]).ends(64);
}

#[test]
fn a_process_that_only_encrypts() {
    let place = Place::with_keyring();
    place.run(&["keys", "encrypt-only", "default", "--output", "issuer.key"]).ends(0).says("owner: ");
    assert_eq!(place.mode("issuer.key"), 0o600);
    place.run(&["keys", "encrypt-only", "default", "--output", "issuer.key"]).ends(64);
    place.run(&["keys", "encrypt-only", "nosuch", "--output", "other.key"]).ends(64);
    place.run(&["keys", "recipient", "default", "--output", "recipient.key"]).ends(0).says("owner: ");
    place.run(&["keys", "recipient", "nosuch", "--output", "other.key"]).ends(64);
    assert!(!place.path("other.key").exists());
    let list = place.run(&["keys", "list", "--json"]).ends(0).json();
    let owner = list["owner"].as_str().unwrap();
    place.write(
        "sealer.yaml",
        format!("keyring: {{ store: 'sqlite:./sidecloak.db', issuer: 'file:./issuer.key', owner: {owner}, master_key: [] }}\n"),
    );
    let rolled = place.run(&["keys", "rollover", "default", "--json"]).ends(0).json();
    assert_eq!(rolled["own_epochs"], serde_json::json!([]));
    fs::rename(place.path("master.key"), place.path("away.key")).unwrap();
    let config = ["--config", "sealer.yaml"];
    let sealed = token(&place, &config, "v");
    place.feed(&[&["seal", "--class", "ssn", "--deterministic"], &config[..]].concat(), "\"v\"").ends(77);
    place.run(&[&["keys", "pause", "default"], &config[..]].concat()).ends(77).says("this one has none");
    let reopened = place.feed(&["open", "--class", "ssn", "--master-key-file", "away.key"], &sealed).ends(0);
    assert_eq!(reopened.out, "\"v\"");

    // Its epoch is its own: a roll-over does not end it, and nothing tells whether the process still runs.
    let with_key = |args: &[&str]| place.run(&[args, &["--master-key-file", "away.key"]].concat()).ends(0);
    with_key(&["keys", "rollover", "default"]).says("go on under an epoch of their own");
    let rolled = with_key(&["keys", "rollover", "default", "--json"]).json();
    let epoch = place.run(&["inspect", "--json", sealed.trim_matches('"')]).ends(0).json()["epoch"].clone();
    assert_eq!(rolled["own_epochs"][0]["epoch"], epoch);
    let rolled = with_key(&["keys", "rollover", "default", "--kind", "deterministic", "--json"]).json();
    assert_eq!(rolled["own_epochs"], serde_json::json!([]));
    let epoch = epoch.as_str().unwrap();
    let destroy = ["keys", "destroy", "--epoch", epoch, "--confirm", epoch];
    with_key(&[&destroy[..], &["--after", "1h"]].concat()).says("the process that only encrypts and made it");
    with_key(&["keys", "cancel", &format!("epoch:{epoch}")]);
    let later = with_key(&[&destroy[..], &["--after", "30d", "--json"]].concat()).json();
    assert_eq!(later["still_sealing"], "nobody", "it has ended by then");
    with_key(&["keys", "cancel", &format!("epoch:{epoch}")]);
    assert_eq!(with_key(&[&destroy[..], &["--now", "--json"]].concat()).json()["still_sealing"], "own");
}

#[test]
fn who_destroys_an_epoch_in_use_is_warned() {
    let place = Place::with_keyring();
    let epoch = |token: &str| {
        let shown = place.run(&["inspect", "--json", token.trim_matches('"')]).ends(0).json();
        shown["epoch"].as_str().unwrap().to_owned()
    };
    let destroy = |epoch: &str, more: &[&str]| {
        place.run(&[&["keys", "destroy", "--epoch", epoch, "--confirm", epoch], more].concat()).ends(0)
    };
    let first = epoch(&token(&place, &[], "v"));
    destroy(&first, &["--now"]).says("sealed under until now");
    let (second, seals) = (epoch(&token(&place, &[], "v")), |more: &[&str], epoch: &str| {
        destroy(epoch, &[more, &["--json"]].concat()).json()["still_sealing"].clone()
    });
    assert_eq!(seals(&[], &second), "nobody", "processes follow while it waits");
    place.run(&["keys", "cancel", &format!("epoch:{second}")]).ends(0);
    assert_eq!(seals(&["--now"], &second), "nobody", "it was rolled over before");
    let third = epoch(&token(&place, &[], "v"));
    assert_eq!(seals(&["--now"], &third), "shared");
    let partition = place.run(&["keys", "destroy", "customers", "--confirm", "customers", "--now", "--json"]).ends(0);
    assert_eq!(partition.json().get("still_sealing"), None);
}

/// As on a full disk, writes beyond a file of so many blocks fail.
fn with_little_room(place: &Place, blocks: usize, args: &[&str]) -> super::Done {
    let whole = place.command(args);
    let mut command = std::process::Command::new("sh");
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    command.args(["-c", &script, "sh"]).arg(whole.get_program()).args(whole.get_args());
    command.current_dir(place.path("")).env("SIDECLOAK_I_KNOW", "1").stdin(std::process::Stdio::null());
    super::done(command)
}

#[test]
fn no_room_for_the_keyring() {
    let place = Place::empty();
    with_little_room(&place, 8, &["keys", "init"]).ends(74).says("keyring");
    place.run(&["keys", "init"]).ends(0);
    let sealed = token(&place, &[], "kept");
    for args in [
        &["keys", "rollover", "default"][..],
        &["keys", "init", "--partition", "b"],
        &["keys", "rotate-master", "--new-key-file", "new.key"],
        &["keys", "export", "all.sealed"],
    ] {
        assert!([74, 77].contains(&with_little_room(&place, 1, args).code), "{args:?}");
    }
    assert!(!place.path("all.sealed").exists());
    assert_eq!(opened(&place, &[], &sealed), "\"kept\"", "nothing is lost");
    place.run(&["keys", "rollover", "default"]).ends(0);
}
