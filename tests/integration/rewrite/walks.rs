//! Through the application's API.

use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::relay::Place as Certificates;

#[rstest]
#[case::numbered(&["--list", "/customers?page={page}"])]
#[case::offset(&["--list", "/customers?offset={offset}&limit={limit}"])]
#[case::cursor(&["--list", "/customers?style=cursor&after={cursor}", "--items", "$.items[*]", "--next", "$.next"])]
#[case::keyset(&["--list", "/customers?after={cursor}", "--next", "$[-1].id"])]
#[case::link(&["--list", "/customers?style=link"])]
fn each_way_of_paging_finds_every_record(#[case] list: &[&str]) {
    let shop = Shop::new(40, Manners::default());
    let stage = shop.stage(RULES);
    let (place, through) = (Place::empty(), format!("http://{}", stage.front));
    let before = shop.stored();
    let done = place.run(&api(&through, list)).ends(0);
    let told = done.json();
    assert_eq!((told["records"].as_u64(), told["written"].as_u64()), (Some(40), Some(40)), "{told}");
    assert_eq!(shop.sealed(), 40);
    for (name, record) in &before {
        let now: Value = serde_json::from_str(&stage.get(&format!("/customers/{name}")).text()).unwrap();
        assert_eq!(&now, record);
    }
    // Nothing but the value has changed, to the byte.
    let (stored, _) = shop.records.lock().unwrap()["7"].clone();
    assert!(
        stored.starts_with("{ \"id\": \"7\", \"ssn\":\"sc1.") && stored.ends_with("\", \"visits\": 0,\"n\":1.50 }")
    );
    assert_eq!(shop.count("PUT"), 41, "each once, and one to see whether conditions are heeded");
    holds_no_value(&place, &[&done.out, &done.err]);
}

#[test]
fn what_is_sealed_is_left_alone_if_that_can_be_seen() {
    let shop = Shop::new(20, Manners::default());
    let stage = shop.stage(RULES);
    let place = Place::empty();
    place.write("rules.yaml", RULES);
    let (through, direct) = (format!("http://{}", stage.front), format!("http://{}", shop.address()));
    let look = ["--direct", &direct, "--rules", "rules.yaml"];
    let dry = place.run(&api(&through, &[&NUMBERED, &look[..], &["--dry-run"]].concat())).ends(0).json();
    assert_eq!((dry["would"].as_u64(), dry["written"].as_u64()), (Some(20), Some(0)), "{dry}");
    assert_eq!(dry["classes"]["ssn"], json!({ "plaintext": 20, "sealed": 0 }));
    assert_eq!((shop.count("PUT"), shop.sealed()), (0, 0), "a dry run writes nothing");
    // Without looking it still tells whether there are tags.
    let blind = place.run(&api(&through, &[&NUMBERED, &["--dry-run"][..]].concat())).ends(0).json();
    assert_eq!((blind["would"].as_u64(), blind["untagged"].as_u64()), (Some(20), Some(0)));

    for name in ["3", "4"] {
        let body = stage.get(&format!("/customers/{name}")).body;
        assert_eq!(
            stage.call("PUT", &format!("/customers/{name}"), &[("content-type", "application/json")], body).status,
            200
        );
    }
    let puts = shop.count("PUT");
    let done = place.run(&api(&through, &[&NUMBERED, &look[..]].concat())).ends(0).json();
    assert_eq!((done["written"].as_u64(), done["already"].as_u64()), (Some(18), Some(2)), "{done}");
    assert_eq!((shop.count("PUT") - puts, shop.sealed()), (19, 20));
    let again = place.run(&api(&through, &[&NUMBERED, &look[..]].concat())).ends(0).json();
    assert_eq!((again["written"].as_u64(), again["already"].as_u64()), (Some(0), Some(20)));
    let anew = place.run(&api(&through, &[&NUMBERED, &look[..], &["--all"]].concat())).ends(0).json();
    assert_eq!(anew["written"].as_u64(), Some(20), "after a rollover, say");

    // And back.
    let back = RULES.replace("migrate", "read");
    std::fs::write(stage.rules_path(), &back).unwrap();
    place.write("rules.yaml", &back);
    crate::stage::eventually("the rules are taken up", || {
        stage.app().shared().metrics.render().contains("sidecloak_reloads_total{result=\"ok\"} 2")
    });
    let back = place.run(&api(&through, &[&NUMBERED, &look[..], &["--open"]].concat())).ends(0).json();
    assert_eq!((back["written"].as_u64(), shop.sealed()), (Some(20), 0), "{back}");
}

#[test]
fn nobody_elses_write_is_lost() {
    let shop = Shop::new(25, Manners { rivals: 2, ..Manners::default() });
    let stage = shop.stage(RULES);
    let place = Place::empty();
    let done = place.run(&api(&format!("http://{}", stage.front), &NUMBERED)).ends(0).json();
    assert_eq!((done["written"].as_u64(), done["conflicts"].as_u64()), (Some(25), Some(50)), "{done}");
    let stored = shop.stored();
    assert!(stored.values().all(|record| record["visits"] == 2), "{stored:?}");
    assert_eq!(shop.sealed(), 25);
    // Somebody who never stops: the record is left as it is, and named.
    let shop = Shop::new(1, Manners { rivals: 1000, ..Manners::default() });
    let stage = shop.stage(RULES);
    let done = place
        .run(&api(&format!("http://{}", stage.front), &[&NUMBERED, &["--failures", "failed"][..]].concat()))
        .ends(1);
    assert_eq!(done.json()["failed"].as_u64(), Some(1));
    assert_eq!(place.read("failed"), "{\"page\":1,\"item\":0,\"why\":\"others wrote it each time it was read\"}\n");
    assert_eq!(shop.sealed(), 0);
}

#[rstest]
#[case::no_tag(Manners { untagged: true, ..Manners::default() }, "no strong entity tag", 0)]
#[case::weak_tag(Manners { weak: true, ..Manners::default() }, "no strong entity tag", 0)]
#[case::not_heeded(Manners { careless: true, ..Manners::default() }, "without heeding If-Match", 1)]
fn an_application_that_would_lose_writes_is_refused(
    #[case] manners: Manners,
    #[case] says: &str,
    #[case] writes: usize,
) {
    let shop = Shop::new(9, manners);
    let stage = shop.stage(RULES);
    let (place, through) = (Place::empty(), format!("http://{}", stage.front));
    place.run(&api(&through, &NUMBERED)).ends(1).says(says).says("--without-etag");
    assert_eq!((shop.count("PUT"), shop.sealed()), (writes, writes));
    place.run(&api(&through, &[&NUMBERED, &["--without-etag"][..]].concat())).ends(0);
    assert_eq!(shop.sealed(), 9);
}

#[test]
fn busy_applications_are_waited_for() {
    let shop = Shop::new(30, Manners { busy: 5, ..Manners::default() });
    let stage = shop.stage(RULES);
    let done = Place::empty().run(&api(&format!("http://{}", stage.front), &NUMBERED)).ends(0).json();
    assert_eq!((done["written"].as_u64(), done["failed"].as_u64(), shop.sealed()), (Some(30), Some(0), 30));
    // One that stays busy ends the walk, which can go on later.
    let shop = Shop::new(3, Manners { busy: 1, ..Manners::default() });
    let stage = shop.stage(RULES);
    let args = [&NUMBERED, &["--tries", "2"][..]].concat();
    Place::empty().run(&api(&format!("http://{}", stage.front), &args)).ends(69).says("the list is answered with");
    drop(stage);
    let nobody = format!("http://{}", crate::cli::process::free_port());
    Place::empty().run(&api(&nobody, &args)).ends(69).says("cannot be reached").says("goes on from where it was");
}

#[test]
fn killed_in_the_middle_it_goes_on_and_no_record_is_lost() {
    let shop = Shop::new(400, Manners::default());
    let stage = shop.stage(RULES);
    let (place, through) = (Place::empty(), format!("http://{}", stage.front));
    let ids: String = shop.stored().keys().map(|name| format!("{name}\n")).collect();
    place.write("ids", ids);
    let args = api(&through, &["--ids", "ids", "--item", "/customers/{id}", "--state", "state", "--rate", "600/s"]);
    let mut kills = 0;
    loop {
        let mut child = place.command(&args).spawn().unwrap();
        let before = std::fs::read(place.path("state")).unwrap_or_default();
        let start = std::time::Instant::now();
        let ended = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            assert!(start.elapsed() < 3 * PATIENCE, "neither moves nor ends");
            if kills < 3 && std::fs::read(place.path("state")).unwrap_or_default() != before {
                break None;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        };
        if let Some(status) = ended {
            assert_eq!(status.code(), Some(0));
            break;
        }
        kills += 1;
        kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::KILL).unwrap();
        child.wait().unwrap();
        holds_no_value(&place, &[]);
    }
    assert_eq!((kills, shop.sealed()), (3, 400), "every record");
    let puts = shop.count("PUT");
    assert!(puts <= 400 + 3 * 50 + 4, "what was done was done again: {puts} writes");
    let state: Value = serde_json::from_str(&place.read("state")).unwrap();
    assert_eq!((state["finished"].as_bool(), state["counts"]["written"].as_u64()), (Some(true), Some(400)), "{state}");
    place.run(&args).ends(0).says("this walk is done");
    assert_eq!(shop.count("PUT"), puts);
    let other = api(&through, &["--ids", "ids", "--item", "/other/{id}", "--state", "state"]);
    place.run(&other).ends(64).says("over something else");
}

#[test]
fn a_signal_ends_it_between_records() {
    let shop = Shop::new(300, Manners::default());
    let stage = shop.stage(RULES);
    let (place, through) = (Place::empty(), format!("http://{}", stage.front));
    let args = api(&through, &[&NUMBERED, &["--state", "state", "--rate", "100/s"][..]].concat());
    let child = place.command(&args).spawn().unwrap();
    let start = std::time::Instant::now();
    while !place.path("state").exists() {
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(err.contains("stopped before the end") && err.contains("run it again to go on"), "{err}");
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["finished"], false);
    assert!(shop.sealed() < 300);
    let args = api(&through, &[&NUMBERED, &["--state", "state"][..]].concat());
    place.run(&args).ends(0);
    assert_eq!(shop.sealed(), 300);
}

#[test]
fn records_that_cannot_be_written_are_named_by_their_place() {
    let shop = Shop::new(20, Manners { stubborn: Some(4), ..Manners::default() });
    let stage = shop.stage(RULES);
    let (place, through) = (Place::empty(), format!("http://{}", stage.front));
    let args = api(&through, &[&NUMBERED, &["--failures", "failed", "--with-ids"][..]].concat());
    let done = place.run(&args).ends(1).says("1 records were not written");
    assert_eq!((done.json()["written"].as_u64(), shop.sealed()), (Some(19), 19));
    let failed: Value = serde_json::from_str(&place.read("failed")).unwrap();
    assert_eq!((&failed["why"], &failed["id"], place.mode("failed")), (&json!("writing: 400"), &json!("4"), 0o600));
    holds_no_value(&place, &[&done.out, &done.err]);
    // A rule that refuses is told by its reason.
    let shop = Shop::new(20, Manners::default());
    let tight = shop.stage(&RULES.replace("400", "60"));
    let through = format!("http://{}", tight.front);
    let done = place.run(&api(&through, &[&NUMBERED, &["--max-failures", "3"][..]].concat())).ends(1);
    done.says("4 records failed").says("max-length");
}

#[test]
fn a_walk_that_seals_nothing_or_does_harm_ends_at_once() {
    let shop = Shop::new(30, Manners::default());
    let observing = shop.stage(&RULES.replace("migrate", "observe"));
    let place = Place::empty();
    place.write("rules.yaml", RULES).write("observe.yaml", RULES.replace("migrate", "observe"));
    let (through, direct) = (format!("http://{}", observing.front), format!("http://{}", shop.address()));
    let look =
        |rules: &'static str| [NUMBERED[0], NUMBERED[1], "--direct", &direct, "--rules", rules].map(str::to_owned);
    let go = |rules: &'static str, more: &[&str]| {
        let look = look(rules);
        let flags: Vec<&str> = look.iter().map(String::as_str).chain(more.iter().copied()).collect();
        place.run(&api(&through, &flags))
    };
    go("rules.yaml", &[]).ends(1).says("nothing was sealed").says("mode: migrate");
    assert!(shop.count("PUT") <= 4, "it ends with the first");
    go("observe.yaml", &[]).ends(1).says("rule `customers` seals nothing in its mode");
    go("rules.yaml", &["--item", "/elsewhere/{id}"]).ends(1).says("no rule seals anything");
    place.write("mask.yaml", RULES.replace("max_length", "reveal: mask(4), max_length"));
    go("mask.yaml", &[]).ends(1).says("shows masks");
    // Back through rules that seal.
    let sealing = shop.stage(RULES);
    place.run(&api(&format!("http://{}", sealing.front), &NUMBERED)).ends(0);
    place.write("read.yaml", RULES.replace("migrate", "read"));
    let flags = [&NUMBERED[..], &["--direct", &direct, "--rules", "read.yaml", "--open"]].concat();
    place.run(&api(&format!("http://{}", sealing.front), &flags)).ends(1).says("is sealed again");
    // And through one that shows tokens: they are not written over themselves, nor over anything.
    let puts = shop.count("PUT");
    let done = place.run(&api(&through, &[&flags[..], &["--max-failures", "2"]].concat())).ends(1);
    done.says("the proxy does not open it");
    assert_eq!((shop.count("PUT"), shop.sealed()), (puts, 30));
}

/// A walk that found nothing of what it was to seal does not say that all is well.
#[test]
fn a_walk_that_finds_nothing_is_no_success() {
    let shop = Shop::new(9, Manners::default());
    let stage = shop.stage(RULES);
    let place = Place::empty();
    place.write("rules.yaml", RULES).write("other.yaml", RULES.replace("$..ssn", "$.data.ssn"));
    let (through, direct) = (format!("http://{}", stage.front), format!("http://{}", shop.address()));
    let go = |more: &[&str]| place.run(&api(&through, &[&NUMBERED, more].concat())).ends(1);
    go(&["--item", "/customers/{id}/x"]).says("none of the 9 records is there").says("--item");
    let look = ["--direct", &direct, "--rules", "rules.yaml"];
    go(&[&look[..], &["--item", "/customers/{id}/x"]].concat()).says("none of the 9 records is there");
    for more in [&[][..], &["--dry-run"], &["--all"]] {
        let done = go(&[&["--direct", &direct, "--rules", "other.yaml"], more].concat());
        let done = done.says("the rules select nothing in any of the 9 records");
        assert_eq!(done.json()["unselected"], 9);
    }
    go(&["--items", "$.data[*]"]).says("no array where --items says");
    assert_eq!((shop.count("PUT"), shop.sealed()), (0, 0));
    // What is chosen by a path may meet other rules than the first.
    place
        .write("paths", "/customers/1\n")
        .write("mask.yaml", RULES.replace("max_length", "reveal: mask(4), max_length"));
    let args = ["--paths", "paths", "--direct", &direct, "--rules", "mask.yaml"];
    place.run(&api(&through, &args)).ends(1).says("shows masks");
    assert_eq!(shop.count("PUT"), 0);
}

#[test]
fn an_application_that_drops_tokens_loses_no_more_than_it_has() {
    let shop = Shop::new(60, Manners { drops: 60, ..Manners::default() });
    let stage = shop.stage(RULES);
    let place = Place::empty();
    place.write("rules.yaml", RULES);
    let (through, direct) = (format!("http://{}", stage.front), format!("http://{}", shop.address()));
    let look = ["--direct", &direct, "--rules", "rules.yaml"];
    place.run(&api(&through, &[&NUMBERED, &look[..]].concat())).ends(1).says("is not stored any more");
    assert!(shop.count("PUT") <= 4, "those that were under way");
}

/// A conflict that the application finds for a reason of its own is no sign that it heeds conditions.
#[test]
fn a_conflict_proves_nothing_by_itself() {
    let shop = Shop::new(9, Manners { careless: true, locked: Some(1), ..Manners::default() });
    let stage = shop.stage(RULES);
    let through = format!("http://{}", stage.front);
    let args = ["rewrite", "api", "--through", &through, "--concurrency", "1", "--without-direct"];
    Place::empty().run(&[&args, &NUMBERED[..]].concat()).ends(1).says("without heeding If-Match");
    assert_eq!(shop.sealed(), 1, "the one that it was tried with");
}

#[test]
fn a_walk_goes_on_over_the_same_records_alone() {
    let shop = Shop::new(600, Manners { stubborn: Some(999), ..Manners::default() });
    let stage = shop.stage(RULES);
    let (place, through) = (Place::empty(), format!("http://{}", stage.front));
    let (broken, version) = shop.records.lock().unwrap().remove("600").unwrap();
    shop.records.lock().unwrap().insert("999".into(), (broken.replace("600\"", "999\""), version));
    let ids: String = (1..600).chain([999]).map(|n| format!("{n}\n")).collect();
    place.write("ids", &ids);
    let files = ["--ids", "ids", "--item", "/customers/{id}", "--state", "state", "--max-failures", "0"];
    place.run(&api(&through, &files)).ends(1).says("1 records failed");
    let puts = shop.count("PUT");
    place.write("ids", format!("new\n{ids}"));
    place.run(&api(&through, &files)).ends(64).says("does not begin with the lines that are done");
    place.write("ids", ids.replacen("7\n", "", 1));
    place.run(&api(&through, &files)).ends(64).says("does not begin with the lines that are done");
    assert_eq!(shop.count("PUT"), puts);
    place.write("ids", format!("{ids}2\n"));
    place.run(&api(&through, &files)).ends(1).says("1 records failed");
    // A page's number is another place where pages are longer.
    let pages = ["--list", "/customers?page={page}&size={limit}", "--state", "pages", "--max-failures", "0"];
    place.run(&api(&through, &pages)).ends(1).says("1 records failed");
    place.run(&api(&through, &[&pages[..], &["--page-size", "50"]].concat())).ends(64).says("over something else");
}

#[test]
fn an_application_that_cuts_tokens_off_ruins_no_more_than_it_has() {
    let shop = Shop::new(60, Manners { cuts: 60, ..Manners::default() });
    let stage = shop.stage(RULES);
    let place = Place::empty();
    place.write("rules.yaml", RULES);
    let (through, direct) = (format!("http://{}", stage.front), format!("http://{}", shop.address()));
    let look = ["--direct", &direct, "--rules", "rules.yaml"];
    let done = place.run(&api(&through, &[&NUMBERED, &look[..]].concat())).ends(1);
    done.says("does not open again").says("max_length");
    assert!(shop.count("PUT") <= 4, "those that were under way");
}

#[test]
fn ids_of_every_kind_are_one_segment() {
    let names = ["zoë@example.com", "a b+c", "100%", "q?x=1&y#z", "..", "x;y=1"];
    let shop = Shop::named(names.iter().map(|name| (*name).to_owned()), Manners::default());
    let stage = shop.stage(RULES);
    let (place, through) = (Place::empty(), format!("http://{}", stage.front));
    let args = api(&through, &[&NUMBERED, &["--failures", "failed"][..]].concat());
    let done = place.run(&args).ends(1);
    assert_eq!(
        (done.json()["written"].as_u64(), done.json()["failed"].as_u64()),
        (Some(4), Some(2)),
        "{}",
        place.read("failed")
    );
    let failed = place.read("failed");
    // What an application could take for a parameter of the path the proxy does not let through.
    assert!(failed.contains("no segment of a path") && failed.contains("ambiguous-path"), "{failed}");
    let paths = "/customers/100%25\n\n/customers/a%20b%2Bc\nhttp://elsewhere.test/x\n";
    let args = api(&through, &["--paths", "-"]);
    let done = place.feed(&args, paths).ends(1);
    assert_eq!((done.json()["written"].as_u64(), done.json()["failed"].as_u64()), (Some(2), Some(1)));
}

#[test]
fn only_chosen_members_are_written() {
    let shop = Shop::new(10, Manners::default());
    let stage = shop.stage(RULES);
    let through = format!("http://{}", stage.front);
    let args = ["--method", "PATCH", "--members", "ssn", "--content-type", "application/merge-patch+json"];
    Place::empty().run(&api(&through, &[&NUMBERED, &args[..]].concat())).ends(0);
    assert_eq!(shop.sealed(), 10);
    let seen = shop.server.seen.lock().unwrap();
    let patch = seen.iter().rev().find(|request| request.first_line().starts_with("PATCH")).unwrap();
    let body: Value = serde_json::from_slice(&patch.body).unwrap();
    assert_eq!(body.as_object().unwrap().len(), 1);
    assert_eq!(patch.field("content-type").unwrap(), "application/merge-patch+json");
}

#[test]
fn credentials_are_read_from_files_alone_and_redirects_are_not_followed() {
    let shop = Shop::new(3, Manners::default());
    let stage = shop.stage(RULES);
    let (place, through) = (Place::empty(), format!("http://{}", stage.front));
    place.write("token", "secret-token\n").write("headers", "Cookie: a=secret-cookie\nx-tenant: acme\n");
    let args = api(
        &through,
        &[&NUMBERED, &["--bearer-file", "token", "--header-file", "headers", "-H", "x-a: b"][..]].concat(),
    );
    place.run(&args).ends(77).says("open to every user");
    place.chmod("token", 0o600);
    place.chmod("headers", 0o600);
    place.run(&args).ends(0);
    let last = shop.server.last();
    let field = |name: &str| last.field(name).unwrap();
    assert_eq!((field("authorization"), field("cookie")), ("Bearer secret-token".into(), "a=secret-cookie".into()));
    assert_eq!(
        (field("x-tenant"), field("x-a"), field("accept-encoding")),
        ("acme".into(), "b".into(), "identity".into())
    );
    place
        .run(&api(&through, &[&NUMBERED, &["-H", "Authorization: Bearer secret-x"][..]].concat()))
        .ends(64)
        .says("--header-file");
    let bad = place.write("bad", "secret thing\n");
    bad.chmod("bad", 0o600);
    let done = place
        .run(&api(&through, &[&NUMBERED, &["--header-file", "bad"][..]].concat()))
        .ends(64)
        .says("line 1: no header");
    assert!(!done.err.contains("secret"));

    let away = upstream(|_, out| {
        let head = "HTTP/1.1 302 Found\r\nlocation: http://elsewhere.test/\r\ncontent-length: 0\r\n\r\n";
        out.write_all(head.as_bytes()).unwrap();
        Next::KeepAlive
    });
    let stage = Stage::before(&away, RULES);
    place.run(&api(&format!("http://{}", stage.front), &NUMBERED)).ends(1).says("a redirect, which is not followed");
    let denied = upstream(|_, out| {
        out.write_all(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n").unwrap();
        Next::KeepAlive
    });
    let stage = Stage::before(&denied, RULES);
    place.run(&api(&format!("http://{}", stage.front), &NUMBERED)).ends(77).says("401");
}

#[test]
fn over_tls_whoever_answers_must_be_vouched_for() {
    let shop = Shop::new(8, Manners::default());
    let certificates = Certificates::new();
    let pair = certificates.server();
    let tls = format!("    tls: {{ cert: {}, key: {} }}", pair.cert.display(), pair.key.display());
    let stage = Stage::before_with(&shop.server, RULES, &tls, "");
    let place = Place::empty();
    let through = format!("https://localhost:{}", stage.front.port());
    place.run(&api(&through, &[&NUMBERED, &["--tries", "1"][..]].concat())).ends(69).says("cannot be reached");
    let ca = certificates.client().ca.unwrap().display().to_string();
    place.run(&api(&through, &[&NUMBERED, &["--ca", &ca][..]].concat())).ends(0);
    assert_eq!(shop.sealed(), 8);
}

#[rstest]
#[case(&["--through", "ftp://x", "--list", "/c"], "no HTTP URL")]
#[case(&["--through", "http://user:secret@x", "--list", "/c"], "names more than a place")]
#[case(&["--through", "http://x/?key=secret", "--list", "/c"], "names more than a place")]
#[case(&["--through", "http://127.0.0.1:1", "--list", "/c"], "--without-direct")]
#[case(&["--through", "http://127.0.0.1:1"], "--list")]
#[case(&["--through", "http://127.0.0.1:1", "--list", "/c?p={pag}"], "{cursor}")]
#[case(&["--through", "http://127.0.0.1:1", "--list", "/c?p={cursor}"], "--next")]
#[case(&["--through", "http://127.0.0.1:1", "--list", "/c?p={page}", "--next", "$.n"], "counts its pages")]
#[case(&["--through", "http://127.0.0.1:1", "--list", "c"], "are paths")]
#[case(&["--through", "http://127.0.0.1:1", "--list", "/c", "--item", "/c"], "{id}")]
#[case(&["--through", "http://127.0.0.1:1", "--list", "/c", "--id", "$["], "--id: not a JSONPath")]
#[case(&["--through", "http://127.0.0.1:1", "--list", "/c", "--rate", "5/h"], "50/s")]
#[case(&["--through", "http://127.0.0.1:1", "--list", "/c", "--open"], "--direct")]
#[case(&["--through", "http://127.0.0.1:1", "--list", "/c", "--direct", "http://127.0.0.1:2"], "--rules")]
#[case(&["--through", "http://127.0.0.1:1", "--ids", "none"], "--item")]
fn what_cannot_be_meant_is_refused(#[case] args: &[&str], #[case] says: &str) {
    let done = Place::empty().run(&[&["rewrite", "api"], args].concat()).ends(64).says(says);
    assert!(!done.err.contains("secret"), "{}", done.err);
}
