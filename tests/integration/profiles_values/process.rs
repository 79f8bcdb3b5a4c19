//! The program's own processes: an authority with faces over TLS, a proxy before json-server, and the commands that set them up.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::{Value, json};
use sidecloak::authority::ncloud_kms;
use sidecloak::tls::{ClientTls, client};

use super::{PASSWORD, suite};
use crate::cli::Place;
use crate::cli::process::{Running, free_port};
use crate::json_server::application::{Application, ask};
use crate::pki::{Ca, Secure};

const RULES: &str = "rules:
  - name: customers
    match: { path: '/customers/**' }
    protect:
      - { fields: ['$..ssn', '$..limit', '$..note'], key: partner, nulls: seal }
      - { fields: ['$..iban'], key: partner, sign: true }
      - { fields: ['$..email'], key: seoul, deterministic: true }
      - { fields: ['$..phone'], key: wrapped }
";

/// An API key of the vendor's, each of its lines in a file.
fn credentials(vendor: &Place, place: &Place, purpose: &str, more: &[&str], files: &[&str]) {
    let args = [&["apikeys", "create", "--purpose", purpose, "--label", "sidecar"], more].concat();
    let made = vendor.run(&args).ends(0).out;
    for (line, file) in made.lines().zip(files) {
        place.write(file, line.split_whitespace().last().unwrap()).chmod(file, 0o600);
    }
}

#[test]
fn json_server_holds_what_two_apis_sealed_and_callers_see_none_of_it() {
    let Some(behind) = Application::start() else { return };
    let (vendor, place, ca) = (Place::with_keyring(), Place::empty(), Ca::new("vendor"));
    let [front, crittora, ncloud] = [(); 3].map(|()| free_port());
    ca.server_at(&[front, crittora, ncloud].map(|at| at.ip().to_string())).write(&vendor.path(""), "server");
    place.write("ca.pem", ca.pem()).write("username", "alice\n").write("password", PASSWORD);
    vendor.feed(&["users", "create", "alice", "--password-file", "-"], PASSWORD).ends(0);
    let files = ["api_key", "access_key", "secret_key"];
    credentials(&vendor, &place, "crittora", &["--partition", "customers"], &files);
    credentials(&vendor, &place, "ncloud-kms", &["--role", "admin"], &["ncloud.access", "ncloud.secret"]);
    for file in ["username", "password"] {
        place.chmod(file, 0o600);
    }
    let addresses = [crittora, ncloud].map(|at| at.to_string());
    let args = [
        "--crittora",
        &addresses[0],
        "--ncloud-kms",
        &addresses[1],
        "--tls-cert",
        "server.crt",
        "--tls-key",
        "server.key",
    ];
    let start = |place: &Place, args: &[&str], front, probe| {
        let mut running = Running::spawn(place, args, front, probe);
        running.eventually("ready", Running::is_ready);
        running
    };
    let authority_args = [&["authority"], &args[..]].concat();
    let probe = free_port();
    let authority = start(&vendor, &authority_args, front, probe);

    let tls = client::config(&ClientTls { ca: Some(place.path("ca.pem")), ..ClientTls::default() }).unwrap();
    let (access, secret) = (place.read("ncloud.access"), place.read("ncloud.secret"));
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().to_string();
    let signature = ncloud_kms::sign("POST", "/kms/v1/keys", &time, &access, &secret);
    let headers = [
        ("x-ncp-apigw-timestamp", time.as_str()),
        ("x-ncp-iam-access-key", &access),
        ("x-ncp-apigw-signature-v2", &signature),
    ];
    let asked = json!({ "keyName": "sidecar", "keyType": "AES256", "isConvergent": true }).to_string();
    let made = Secure::at(ncloud, &tls).unwrap().call("POST", "/kms/v1/keys", &headers, &asked).unwrap();
    let made: Value = serde_json::from_slice(&made.body).unwrap();
    let tag = made["data"]["keyTag"].as_str().unwrap();

    let partner = "provider: crittora, ca: ca.pem, username: 'file:username', password: 'file:password', api_key: 'file:api_key', \
                   access_key: 'file:access_key', secret_key: 'file:secret_key', timeout: 10s";
    place.write(
        "sidecloak.yaml",
        format!(
            "drain: {{ delay: 0s, deadline: 10s }}\nrules: rules.yaml\nprofiles:
  partner: {{ {partner}, endpoint: 'https://{crittora}/v1', granularity: field }}
  wrapped: {{ {partner}, endpoint: 'https://{crittora}', api: direct, login: 'https://{crittora}', client_id: sidecar }}
  seoul:
    {{ provider: ncloud-kms, endpoint: 'https://{ncloud}', ca: ca.pem, key_tag: {tag}, access_key: 'file:ncloud.access',
      secret_key: 'file:ncloud.secret', granularity: message, convergent: true, partition: korea, timeout: 10s }}
"
        ),
    );
    place.write("rules.yaml", RULES);
    place.run(&["keys", "init"]).ends(0);
    let upstream = format!("http://{}", behind.address);
    let run = ["run", "--upstream", &upstream];
    // A partition that its API is no recipient of would be sealed under local keys alone.
    let address = free_port().to_string();
    place.run(&[&run[..], &["--listen", &address]].concat()).ends(64).says("profiles init");
    for name in ["partner", "wrapped", "seoul"] {
        place.run(&["profiles", "init", name]).ends(0);
    }
    let [front_of_proxy, probe_of_proxy] = [(); 2].map(|()| free_port());
    let proxy = start(&place, &run, front_of_proxy, probe_of_proxy);

    let body = |n: usize| {
        let email = format!("{}@example.com", n % 2);
        json!({
            "ssn": format!("Sesame {n}"), "limit": n, "note": null, "iban": "DE02 Sesame", "email": email, "phone": "+49 Sesame", "name": "Zoë",
        })
    };
    for n in 1..=4 {
        let reply = ask(proxy.front, "POST", "/customers", &body(n).to_string());
        assert_eq!(reply.status, 201, "{}", reply.text());
    }
    let file = behind.file();
    let text = file.to_string();
    assert!(!text.contains("Sesame") && !text.contains("example.com") && !text.contains("DE02"), "{text}");
    let customers = file["customers"].as_array().unwrap();
    for customer in customers {
        let suites = ["ssn", "limit", "note", "iban", "email", "phone"].map(|name| suite(&customer[name]));
        assert_eq!(suites, [0x40, 0x40, 0x40, 0x40, 0x41, 1]);
    }
    // What the application's own filter compares.
    let equal =
        ask(behind.address, "GET", &format!("/customers?email={}", customers[0]["email"].as_str().unwrap()), "");
    let equal: Value = serde_json::from_str(&equal.text()).unwrap();
    assert_eq!(equal.as_array().unwrap().iter().map(|one| one["id"].clone()).collect::<Vec<_>>(), [json!(1), json!(3)]);
    let all = |proxy: &Running| {
        let reply = ask(proxy.front, "GET", "/customers", "");
        assert_eq!(reply.status, 200, "{}", reply.text());
        serde_json::from_str::<Value>(&reply.text()).unwrap()
    };
    let expected: Vec<Value> = (1..=4)
        .map(|n| {
            let mut one = body(n);
            one["id"] = json!(n);
            one
        })
        .collect();
    assert_eq!(all(&proxy), Value::Array(expected.clone()));

    // The authority goes and comes: the proxy says so and loses nothing.
    authority.signal(Signal::TERM);
    let (code, log) = authority.end();
    assert_eq!(code, Some(0), "{log}");
    let reply = ask(proxy.front, "POST", "/customers", &body(5).to_string());
    assert!(reply.status == 503 && !reply.text().contains("Sesame"), "{}", reply.text());
    let reply = ask(proxy.front, "GET", "/customers/1", "");
    assert!(reply.status == 502 && !reply.text().contains("Sesame"), "{}", reply.text());
    assert_eq!(behind.file(), file, "nothing of it was stored");
    let authority = start(&vendor, &authority_args, front, probe);
    crate::stage::eventually("it is back", || ask(proxy.front, "GET", "/customers/1", "").status == 200);
    assert_eq!(all(&proxy), Value::Array(expected.clone()));

    // And after the proxy was killed.
    proxy.signal(Signal::KILL);
    let (_, log) = proxy.end();
    for secret in ["Sesame", "example.com", "DE02", PASSWORD, &access, &secret] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
    let proxy = start(&place, &run, front_of_proxy, probe_of_proxy);
    assert_eq!(all(&proxy), Value::Array(expected));
    for process in [proxy, authority] {
        process.signal(Signal::TERM);
        let (code, log) = process.end();
        assert_eq!(code, Some(0), "{log}");
    }
}
