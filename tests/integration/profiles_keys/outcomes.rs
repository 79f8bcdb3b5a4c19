//! What `sidecloak profiles` and a start say of a set-up that is not whole.

use sidecloak::authority::{crypteron, ncloud_kms};
use sidecloak::crypto::base64;

use super::*;

struct Stage {
    vendor: Vendor,
    site: Site,
    face: Double,
    options: String,
    key: NcloudKey,
}

impl Stage {
    fn new() -> Self {
        let vendor = Vendor::new();
        let (site, face) = (Site::new(&vendor), vendor.serve(ncloud_kms::router));
        let (options, key) = vendor.ncloud(&site, &face);
        Self { vendor, site, face, options, key }
    }

    /// Profiles of that provider by name, with further options.
    fn configure(&self, profiles: &[(&str, &str)], rules: &[(&str, &str)]) {
        let lines: String =
            profiles.iter().map(|(name, more)| format!("  {name}: {{ {}{more} }}\n", self.options)).collect();
        self.site.configure(&lines, rules);
    }

    /// A start that ends with this code, having said all that.
    #[track_caller]
    fn refuses(&self, code: i32, says: &[&str]) {
        let place = &self.site.place;
        let args = ["run", "--listen", "127.0.0.1:0", "--upstream", "http://127.0.0.1:9", "--probe", "127.0.0.1:0"];
        says.iter().fold(place.run(&args).ends(code), |done, text| done.says(text));
    }
}

#[test]
fn a_start_without_a_whole_set_up_is_refused_and_names_the_way_out() {
    let stage = Stage::new();
    let keys = |args: &[&str]| stage.site.place.run(&[&["keys"], args].concat()).ends(0);
    // Not set up.
    stage.configure(&[("seoul", "")], &[("a", "key: seoul")]);
    stage.refuses(
        64,
        &["the partition seoul of profile `seoul` is not in the keyring", "sidecloak profiles init seoul"],
    );
    // A partition of that name, of our own keys.
    keys(&["init", "--partition", "seoul"]);
    stage.refuses(64, &["the partition seoul is not wrapped by the API of profile `seoul`", "profiles init seoul"]);
    // Nor is one that another profile's API wraps.
    stage.configure(&[("busan", "")], &[]);
    stage.site.init("busan");
    stage.configure(&[("jeju", ", partition: busan")], &[("a", "key: jeju")]);
    stage.refuses(64, &["the partition busan is not wrapped by the API of profile `jeju`"]);
    // A key must mean one thing.
    stage.configure(&[("one", ", partition: p"), ("two", ", partition: p")], &[]);
    stage.refuses(64, &["profiles `one` and `two` have the same partition", "sidecloak.yaml:"]);
    stage.configure(&[("one", ", partition: two"), ("two", "")], &[]);
    stage.refuses(64, &["the partition of profile `one` has the name of another profile"]);
    stage.configure(&[("customers", ", partition: busan")], &[]);
    stage.refuses(64, &["profile `customers` is named like a partition that is not its own", "another name"]);
    // Without its keyring.
    stage.configure(&[("busan", "")], &[]);
    std::fs::rename(stage.site.place.path("sidecloak.db"), stage.site.place.path("gone.db")).unwrap();
    stage.refuses(77, &["sidecloak keys init"]);
    std::fs::rename(stage.site.place.path("gone.db"), stage.site.place.path("sidecloak.db")).unwrap();
    // Its credential.
    stage.configure(&[("busan", "")], &[("a", "key: busan")]);
    drop(stage.site.proxy());
    std::fs::remove_file(stage.site.place.path("ncloud.secret")).unwrap();
    stage.refuses(77, &["profile `busan`", "ncloud.secret"]);
}

#[test]
fn init_check_and_list_end_as_what_they_found() {
    let stage = Stage::new();
    let (site, face) = (&stage.site, &stage.face);
    let run = |args: &[&str]| site.place.run(&[&["profiles"], args].concat());
    stage.configure(&[("seoul", ", budget: 1s, timeout: 500ms, retries: 0"), ("busan", "")], &[]);
    run(&["list"]).ends(0).shows("seoul").shows("not set up");
    run(&["init", "nowhere"]).ends(64).says("there is no profile `nowhere`");
    run(&["init"]).ends(64);

    // Away: nothing is made.
    face.always(Act::Reset);
    run(&["check", "seoul"]).ends(69);
    run(&["init", "seoul"]).ends(69);
    let listed = run(&["list", "--json"]).ends(0).json();
    assert!(listed.as_array().unwrap().iter().all(|profile| profile["set_up"] == false), "{listed}");
    site.place.run(&["keys", "list", "seoul"]).ends(64);
    // It lies.
    face.always(crate::managed::double::with("/data/plaintext", json!(base64::encode(&[b'A'; 48]))));
    run(&["check", "seoul"]).ends(1).shows("FAIL").shows("does not give back the text");
    run(&["init", "seoul"]).ends(1).says("does not give back the text");
    // It says no.
    face.always(Act::Well);
    stage.key.act("disable");
    run(&["check", "seoul"]).ends(1).shows("FAIL");
    run(&["init", "seoul"]).ends(1).says("profile `seoul`");
    stage.key.act("enable");
    run(&["init", "seoul"]).ends(0).shows("made partition seoul of profile seoul");
    run(&["init", "seoul"]).ends(0).shows("there already");
    run(&["init", "seoul", "--json"]).ends(0).shows(r#""made":false"#);
    run(&["list"]).ends(0).shows("set up").shows("not set up").says("sidecloak profiles init NAME");
    run(&["check"]).ends(0).shows("ok    seoul").shows("ok    busan");
    // One that fails is told beside those that do not.
    site.place.write("wrong", "wrong-secret-wrong-secret").chmod("wrong", 0o600);
    let config = site.place.read("sidecloak.yaml").replacen("  busan: { ", "  later: { ", 1);
    let (first, rest) = config.split_at(config.find("  later: ").unwrap());
    site.place.write("sidecloak.yaml", format!("{first}{}", rest.replace("file:ncloud.secret", "file:wrong")));
    let done = run(&["check"]);
    assert_ne!(done.code, 0);
    let code = done.code;
    let done = done.ends(code).shows("ok    seoul").shows("FAIL  `later`");
    assert!(!done.out.contains("wrong-secret") && !done.err.contains("wrong-secret"), "{done:?}");
    assert_eq!(code, 77, "{}", done.out);
}

#[test]
fn a_paused_partition_is_set_up_and_one_that_was_destroyed_there_is_not_made_again() {
    let stage = Stage::new();
    let site = &stage.site;
    let face = stage.vendor.serve(crypteron::router);
    private(&site.place, "crypteron", &stage.vendor.key(Purpose::Crypteron, "admin", None, &[])[0]);
    let tenant = format!(
        "  tenant: {{ provider: crypteron, endpoint: '{}/v1', ca: ca.pem, app_id: 1, sec_part_id: t, api_key: 'file:crypteron' }}\n",
        face.url()
    );
    site.configure(&tenant, &[("t", "key: tenant")]);
    site.init("tenant");
    site.place.run(&["keys", "pause", "tenant"]).ends(0);
    site.place.run(&["profiles", "list"]).ends(0).shows("set up");
    let proxy = site.proxy();
    assert_eq!(post(&proxy, "/t/1", "1").status(), 403);
    assert!(calls(&face, "POST /v1/keys") == 1, "made once");
}
