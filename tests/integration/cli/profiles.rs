//! `sidecloak profiles`, against an authority in a process of its own that serves the APIs.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use sidecloak::authority::ncloud_kms;

use super::Place;
use super::process::{Running, free_port};
use crate::support::Client;

const PASSWORD: &str = "a long password";

/// An authority, and a place beside it whose configuration has a profile for each of its APIs.
struct Apis {
    place: Place,
    vendor: Place,
    _process: Running,
}

impl Apis {
    fn start(options: &str) -> Self {
        let (vendor, place) = (Place::with_keyring(), Place::with_keyring());
        let [crittora, crypteron, ncloud, exequantum] = [(); 4].map(|()| free_port());
        let faces = [
            ("--crittora", crittora),
            ("--crypteron", crypteron),
            ("--ncloud-kms", ncloud),
            ("--exequantum", exequantum),
        ];
        vendor.feed(&["users", "create", "alice", "--password-file", "-"], PASSWORD).ends(0);
        vendor.run(&["roles", "set", "default", "default", "--allow", "0xf00fc"]).ends(0);
        place.write("username", "alice\n").write("password", PASSWORD);
        credentials(&vendor, &place, "crittora", &["--partition", "customers"], &["api_key", "access", "secret"]);
        credentials(&vendor, &place, "crypteron", &["--role", "operator"], &["crypteron"]);
        credentials(&vendor, &place, "exequantum", &[], &["exequantum"]);
        credentials(&vendor, &place, "ncloud-kms", &["--role", "admin"], &["ncloud.access", "ncloud.secret"]);
        for file in ["username", "password"] {
            place.chmod(file, 0o600);
        }
        let texts: Vec<String> = faces.iter().map(|(_, address)| address.to_string()).collect();
        let mut args = vec!["authority"];
        for ((flag, _), address) in faces.iter().zip(&texts) {
            args.extend([*flag, address.as_str()]);
        }
        let process = Running::command(&vendor, &args);
        let tag = ncloud_key(ncloud, &place);
        place.write(
            "sidecloak.yaml",
            format!(
                "profiles:
  partner:
    {{ provider: crittora, endpoint: 'http://{crittora}/v1', username: 'file:username', password: 'file:password', api_key: 'file:api_key',
      access_key: 'file:access', secret_key: 'file:secret', insecure: true{options} }}
  tenant: {{ provider: crypteron, endpoint: 'http://{crypteron}/v1', app_id: 2376, sec_part_id: tenant4758, api_key: 'file:crypteron', insecure: true }}
  seoul:
    {{ provider: ncloud-kms, endpoint: 'http://{ncloud}', key_tag: {tag}, access_key: 'file:ncloud.access', secret_key: 'file:ncloud.secret',
      partition: korea, insecure: true }}
  pqc: {{ provider: exequantum, endpoint: 'http://{exequantum}', token: 'file:exequantum', recipient: pqc.pub, insecure: true }}
  later:
    {{ provider: exequantum, endpoint: 'http://{exequantum}', generation: 2, token: 'file:exequantum', recipient: later.pub,
      recipient_secret: 'file:later.key', insecure: true }}
"
            ),
        );
        Self { place, vendor, _process: process }
    }
}

/// An API key of the vendor's, each of its lines in a file.
fn credentials(vendor: &Place, place: &Place, purpose: &str, more: &[&str], files: &[&str]) {
    let args = [&["apikeys", "create", "--purpose", purpose, "--label", "sidecar"], more].concat();
    let made = vendor.run(&args).ends(0).out;
    for (line, file) in made.lines().zip(files) {
        place.write(file, line.split_whitespace().last().unwrap());
        place.chmod(file, 0o600);
    }
}

/// Has the vendor make an AES key.
fn ncloud_key(at: SocketAddr, place: &Place) -> String {
    let (access, secret) = (place.read("ncloud.access"), place.read("ncloud.secret"));
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().to_string();
    let target = "/kms/v1/keys";
    let signature = ncloud_kms::sign("POST", target, &time, &access, &secret);
    let body = json!({ "keyName": "sidecar", "keyType": "AES256", "memo": "" }).to_string();
    let request = format!(
        "POST {target} HTTP/1.1\r\nHost: kms.test\r\nx-ncp-apigw-timestamp: {time}\r\nx-ncp-iam-access-key: {access}\r\n\
         x-ncp-apigw-signature-v2: {signature}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = Client::tcp(at).send(request).receive();
    let answer: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
    answer["data"]["keyTag"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[test]
fn each_provider_is_set_up_once_and_tried() {
    let apis = Apis::start("");
    let (place, vendor) = (&apis.place, &apis.vendor);
    place.run(&["profiles", "list"]).ends(0).shows("PROFILE").shows("partner").shows("korea").shows("not set up");
    for (name, partition) in
        [("partner", "partner"), ("tenant", "tenant"), ("seoul", "korea"), ("pqc", "pqc"), ("later", "later")]
    {
        place.run(&["profiles", "init", name]).ends(0).shows(&format!("made partition {partition}"));
        place.run(&["profiles", "init", name]).ends(0).shows("there already");
    }
    assert_eq!((place.mode("pqc.pub"), place.mode("later.pub"), place.mode("later.key")), (0o644, 0o644, 0o600));
    let listed = place.run(&["profiles", "list", "--json"]).ends(0).json();
    let listed = listed.as_array().unwrap();
    assert!(listed.len() == 5 && listed.iter().all(|profile| profile["set_up"] == true), "{listed:?}");
    let partitions = place.run(&["keys", "list", "--json"]).ends(0).json();
    let managed = |name: &str| {
        let all = partitions["partitions"].as_array().unwrap();
        all.iter().find(|p| p["name"] == name).unwrap()["recipients"][0]["private_key_here"] == false
    };
    assert!(managed("partner") && managed("korea") && managed("pqc") && managed("later") && !managed("tenant"));
    vendor.run(&["partitions", "show", "2376.tenant4758"]).ends(0);

    let checked = place.run(&["profiles", "check"]).ends(0);
    assert_eq!(checked.out.lines().filter(|line| line.starts_with("ok ")).count(), 5, "{}", checked.out);
    place.run(&["profiles", "check", "pqc", "--json"]).ends(0).shows(r#""ok":true"#);
    place.run(&["profiles", "check", "none"]).ends(64).says("there is no profile `none`");
}

#[test]
fn a_profile_that_does_not_work_is_not_set_up() {
    let apis = Apis::start("");
    let place = &apis.place;
    place.write("password", "another password");
    place.run(&["profiles", "check", "partner"]).ends(77);
    place.run(&["profiles", "init", "partner"]).ends(77);
    place.write("secret", "").write("password", PASSWORD);
    place.run(&["profiles", "init", "partner"]).ends(77);
    place.run(&["profiles", "list"]).ends(0).shows("partner").shows("not set up");
    let done = place.run(&["profiles", "check", "--json"]);
    assert!(!done.out.contains(PASSWORD) && !done.err.contains(PASSWORD), "{done:?}");
}

#[test]
fn halves_of_a_recipient_are_not_overwritten() {
    let apis = Apis::start("");
    let place = &apis.place;
    place.write("later.key", "mine");
    place.run(&["profiles", "init", "later"]).ends(64).says("left as it is");
    assert_eq!(place.read("later.key"), "mine");
    assert!(!place.path("later.pub").exists(), "half a recipient is none");
    // As an init leaves them that is killed while the service makes the pair.
    place.write("later.pub", "").write("later.key", "");
    for file in ["later.pub", "later.key"] {
        place.run(&["profiles", "init", "later"]).ends(64).says(file).says("delete the file");
        std::fs::remove_file(place.path(file)).unwrap();
    }
    place.run(&["profiles", "init", "later"]).ends(0).shows("later.key (0600)");
    std::fs::rename(place.path("later.key"), place.path("elsewhere.key")).unwrap();
    place.run(&["profiles", "init", "later"]).ends(64).says("private half");
}

#[test]
fn a_partition_of_that_name_without_the_api_is_refused() {
    let apis = Apis::start("");
    let place = &apis.place;
    place.run(&["keys", "init", "--partition", "partner"]).ends(0);
    place.run(&["profiles", "init", "partner"]).ends(64).says("partner");
    place.run(&["profiles", "list"]).ends(0).shows("not set up");
}

#[test]
fn documents_are_sealed_with_a_profile() {
    for options in ["", ", granularity: field", ", bare: true"] {
        let apis = Apis::start(options);
        let place = &apis.place;
        let config = place.read("sidecloak.yaml");
        place.write("sidecloak.yaml", config.split_once("  tenant:").unwrap().0);
        place.run(&["profiles", "init", "partner"]).ends(0);
        place.write(
            "rules/customers.yaml",
            "rules:\n  - name: customers\n    match: { path: /customers }\n    protect:\n      - { fields: [\"$..ssn\"], key: partner }\n",
        );
        place.run(&["check"]).ends(0);
        let rules = ["--rules", "rules", "--path", "/customers"];
        let document = r#"{"ssn":"123-45-6789","a":1}"#;
        let sealed = place.feed(&[&["seal"], &rules[..]].concat(), document).ends(0).out;
        assert!(!sealed.contains("123-45"), "{sealed}");
        assert_eq!(place.feed(&[&["open", "--method", "POST"], &rules[..]].concat(), &sealed).ends(0).out, document);
    }
}

#[test]
fn documents_are_sealed_as_far_as_the_control_plane_allows() {
    let apis = Apis::start("");
    let (place, vendor) = (&apis.place, &apis.vendor);
    let config = place.read("sidecloak.yaml");
    let tenant = config.lines().find(|line| line.starts_with("  tenant:")).unwrap();
    place.write("sidecloak.yaml", format!("profiles:\n{tenant}\n"));
    place.run(&["profiles", "init", "tenant"]).ends(0);
    place.write(
        "rules/customers.yaml",
        "rules:\n  - name: customers\n    match: { path: /customers }\n    protect:\n      - { fields: [\"$..ssn\"], key: tenant }\n",
    );
    let seal = || place.feed(&["seal", "--rules", "rules", "--path", "/customers"], r#"{"ssn":"123-45-6789"}"#);
    let sealed = seal().ends(0).out;
    assert!(!sealed.contains("123-45"), "{sealed}");
    let open = || place.feed(&["open", "--method", "POST", "--rules", "rules", "--path", "/customers"], &sealed);
    open().ends(0).shows("123-45");
    // Who cannot ask what is allowed is not allowed.
    std::fs::rename(place.path("crypteron"), place.path("elsewhere")).unwrap();
    seal().ends(77).says("profile `tenant`");
    assert!(!open().ends(77).out.contains("123-45"));
    std::fs::rename(place.path("elsewhere"), place.path("crypteron")).unwrap();
    vendor.run(&["apps", "pause", "2376"]).ends(0);
    let opened = open();
    assert!(!opened.out.contains("123-45") && seal().out.is_empty(), "{opened:?}");
}

#[test]
fn what_a_configuration_without_profiles_says() {
    let place = Place::with_keyring();
    place.run(&["profiles", "list"]).ends(0).says("no profiles");
    place.run(&["profiles", "check"]).ends(64).says("profiles:");
    place.run(&["profiles", "init", "partner"]).ends(64).says("`partner`");
    place.write("sidecloak.yaml", "profiles: { p: { provider: crittora } }\n");
    place.run(&["profiles", "list"]).ends(64).says("sidecloak.yaml:1:13").says("username");
}
