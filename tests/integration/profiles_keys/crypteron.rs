//! Crypteron: keys are the keyring's own, and the service rules over the partition beside it.

use sidecloak::authority::crypteron;
use sidecloak::crypto::base64;

use super::*;
use crate::calls::{call, json as read};
use crate::cluster::Cluster;

const SSN: &str = "078-05-1120";

struct Stage {
    _vendor: Vendor,
    site: Site,
    face: Double,
    /// The vendor's own way in.
    at: SocketAddr,
    basic: String,
}

impl Stage {
    /// With `options` of the profile, and a keyring there.
    fn new(options: &str, store: &str) -> Self {
        let vendor = Vendor::new();
        let (site, face) = (Site::on(&vendor, store), vendor.serve(crypteron::router));
        let at = vendor.house.serve(crypteron::router(Arc::clone(&vendor.house.authority)));
        let key = vendor.key(Purpose::Crypteron, "admin", None, &[]).remove(0);
        private(&site.place, "crypteron", &key);
        let basic = format!("Basic {}", base64::encode(format!(":{key}").as_bytes()));
        let profile = format!(
            "  tenant: {{ provider: crypteron, endpoint: '{}/v1', ca: ca.pem, app_id: 2376, sec_part_id: tenant4758, \
             api_key: 'file:crypteron', poll: 1s{options} }}\n",
            face.url()
        );
        let stage = Self { _vendor: vendor, site, face, at, basic };
        stage.site.configure(
            &profile,
            &[("one", "key: tenant"), ("equal", "key: tenant, class: equal, deterministic: true")],
        );
        stage
    }

    /// A call that somebody else makes there.
    #[track_caller]
    fn says(&self, method: &str, target: &str, body: &Value) -> Value {
        let answer = call(self.at, method, target, &self.basic, Some(&body.to_string()));
        assert!((200..300).contains(&answer.status()), "{method} {target}: {}", answer.text());
        read(&answer)
    }

    fn state(&self, state: &str) {
        self.says("PUT", "/v1/apps/2376", &json!({ "State": state }));
    }

    fn roll(&self) {
        let rolled = self.says("POST", "/v1/keys", &json!({ "AppId": 2376, "SecPartId": "tenant4758" }));
        assert!(rolled["SecPartVer"].as_u64() > Some(1), "{rolled}");
    }

    fn roles(&self, entries: &Value) {
        self.says("PUT", "/v1/keys/1", &json!({ "AccessControlEntries": entries }));
    }

    fn epoch(&self, path: &str) -> String {
        token(&self.site.token(path)).epoch.to_string()
    }
}

#[test]
fn a_partition_is_provisioned_paused_resumed_and_rolled_there() {
    let stage = Stage::new("", "sqlite:sidecloak.db");
    let site = &stage.site;
    let mut unset = site.spawn();
    unset.eventually("it ends", |proxy| log(proxy).contains("profiles init tenant"));
    drop(unset);
    site.init("tenant");
    let listed = stage.says("GET", "/v1/keys?appId=2376", &Value::Null);
    assert_eq!((&listed[0]["SecPartId"], &listed[0]["SecPartVer"]), (&json!("tenant4758"), &json!(1)));
    site.place.run(&["profiles", "check", "tenant"]).ends(0).shows("active, version 1");

    let mut proxy = site.proxy();
    stores(&proxy, "/one/1", SSN);
    stores(&proxy, "/equal/1", SSN);
    shows(&proxy, "/one/1", SSN);
    assert!(stage.face.seen().iter().all(|request| !request.text().contains(SSN)));

    stage.state("Paused");
    proxy.eventually("paused", |proxy| post(proxy, "/one/2", SSN).status() == 403);
    let answer = get(&proxy, "/one/1");
    assert!(answer.status() != 200 && !answer.text().contains(SSN), "{}", answer.text());
    stores(&proxy, "/local/1", SSN);
    site.place.run(&["profiles", "check", "tenant"]).ends(0).shows("paused");
    stage.state("Active");
    proxy.eventually("resumed", |proxy| post(proxy, "/one/2", SSN).status() == 200);
    shows(&proxy, "/one/1", SSN);

    let (random, equal, looked_up) = (stage.epoch("/one/1"), stage.epoch("/equal/1"), site.token("/equal/1"));
    let mut tokens = vec![looked_up];
    stage.roll();
    proxy.eventually("rolled", |proxy| {
        stores(proxy, "/one/3", SSN);
        stores(proxy, "/equal/3", SSN);
        tokens.push(site.token("/equal/3"));
        stage.epoch("/one/3") != random && stage.epoch("/equal/3") != equal
    });
    // What was sealed before opens, and a look-up has changed exactly once.
    shows(&proxy, "/one/1", SSN);
    shows(&proxy, "/equal/1", SSN);
    for _ in 0..20 {
        stores(&proxy, "/equal/3", SSN);
        tokens.push(site.token("/equal/3"));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    tokens.dedup();
    assert_eq!(tokens.len(), 2, "{tokens:?}");
    drop(proxy);
    let proxy = site.proxy();
    stores(&proxy, "/equal/4", SSN);
    assert_eq!(site.token("/equal/4"), tokens[1], "nor does a restart change it");
    site.place.run(&["audit", "export", "--out", "log.ndjson"]).ends(0);
    let log = site.place.read("log.ndjson");
    let rolls = log.lines().filter(|line| line.contains("partition.rollover") && line.contains("crypteron")).count();
    assert!(rolls >= 1, "{log}");
}

#[test]
fn roles_there_and_here_both_hold() {
    let stage = Stage::new("", "sqlite:sidecloak.db");
    let site = &stage.site;
    site.init("tenant");
    let proxy = site.proxy();
    stores(&proxy, "/one/1", SSN);
    shows(&proxy, "/one/1", SSN);
    let sealed = site.app.document("/one/1").to_string();
    let until_shown = |what: &str, expected: &str| {
        until(what, || {
            let answer = get(&proxy, "/one/1");
            answer.status() == 200 && answer.text() == expected
        });
    };
    let role = |bits: u32| json!([{ "RoleId": "default", "Permissions": bits }]);
    // AllowEncrypt alone; both; both with EnforceMask.
    stage.roles(&role(8));
    until_shown("the token", &sealed);
    stores(&proxy, "/one/2", SSN);
    stage.roles(&role(12));
    until_shown("the value", &document(SSN));
    stage.roles(&role(12 | 0x400));
    until_shown("a mask", &document("*******1120"));
    stage.roles(&role(4));
    until_shown("the value again", &document(SSN));
    assert_eq!(post(&proxy, "/one/3", SSN).status(), 403);
    // Nor does more there give more than here.
    stage.roles(&role(0x7ff & !0x400));
    until("all there", || post(&proxy, "/one/3", SSN).status() == 200);
    site.place.run(&["keys", "role", "tenant", "default", "--allow", "encrypt"]).ends(0);
    until_shown("the token", &sealed);
    // A role that is not listed there may nothing.
    site.place.run(&["keys", "role", "tenant", "default", "--allow", "encrypt,decrypt"]).ends(0);
    until_shown("the value as before", &document(SSN));
    stage.roles(&json!([{ "RoleId": "teller", "Permissions": 12 }]));
    until_shown("the token again", &sealed);
    assert_eq!(post(&proxy, "/one/3", SSN).status(), 403);
}

#[test]
fn two_proxies_on_one_database_roll_once() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database();
    let stage = Stage::new("", &url);
    let site = &stage.site;
    site.init("tenant");
    let proxies = [(); 2].map(|()| site.proxy());
    for proxy in &proxies {
        stores(proxy, "/one/1", SSN);
        stores(proxy, "/equal/1", SSN);
    }
    let epochs = || {
        let count = "SELECT count(*) FROM sidecloak.epoch WHERE partition = 'tenant'";
        cluster.sql(&url, count).unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(epochs(), 2);
    for round in 1..=2 {
        let before = [stage.epoch("/one/1"), stage.epoch("/equal/1")];
        stage.roll();
        for proxy in &proxies {
            until("rolled", || {
                stores(proxy, "/one/1", SSN);
                stores(proxy, "/equal/1", SSN);
                stage.epoch("/one/1") != before[0] && stage.epoch("/equal/1") != before[1]
            });
        }
        // Several polls of both.
        std::thread::sleep(std::time::Duration::from_secs(3));
        assert_eq!(epochs(), 2 + 2 * round);
    }
}

#[test]
fn what_it_said_last_holds_for_max_stale() {
    let stage = Stage::new(", max_stale: 4s", "sqlite:sidecloak.db");
    let site = &stage.site;
    site.init("tenant");
    let mut proxy = site.proxy();
    stores(&proxy, "/one/1", SSN);
    let cut = Cut::of(&stage.face);
    cut.set(true);
    stores(&proxy, "/one/2", SSN);
    shows(&proxy, "/one/1", SSN);
    proxy.eventually("it holds no more", |proxy| post(proxy, "/one/3", SSN).status() == 503);
    let answer = post(&proxy, "/one/3", SSN);
    assert_eq!(answer.status(), 503);
    assert!(answer.field("retry-after").is_some(), "{}", answer.head);
    let answer = get(&proxy, "/one/1");
    assert!(answer.status() == 503 && !answer.text().contains(SSN), "{} {}", answer.head, answer.text());
    stores(&proxy, "/local/1", SSN);
    assert!(proxy.is_ready());
    cut.set(false);
    proxy.eventually("back", |proxy| post(proxy, "/one/3", SSN).status() == 200);
    shows(&proxy, "/one/1", SSN);
}
