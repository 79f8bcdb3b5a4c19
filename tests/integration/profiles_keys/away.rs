//! Start-up while an API is away: the process is ready, what needs no API works, and what needs it does once it is there.

use sidecloak::authority::{crittora, crypteron, exequantum, ncloud_kms};

use super::*;

const SSN: &str = "078-05-1120";
const NAMES: [&str; 4] = ["partner", "seoul", "pqc", "tenant"];

#[test]
fn a_process_starts_without_its_apis_and_finds_them_later() {
    let vendor = Vendor::new();
    let site = Site::new(&vendor);
    let faces =
        [crittora::router, ncloud_kms::router, exequantum::router, crypteron::router].map(|face| vendor.serve(face));
    private(&site.place, "crypteron", &vendor.key(Purpose::Crypteron, "admin", None, &[])[0]);
    let profiles = [
        vendor.crittora(&site, &faces[0]),
        vendor.ncloud(&site, &faces[1]).0,
        format!("{}, recipient: pqc.pub", vendor.exequantum(&site, &faces[2])),
        format!(
            "provider: crypteron, endpoint: '{}/v1', ca: ca.pem, app_id: 2376, sec_part_id: a, api_key: 'file:crypteron', \
             poll: 1s",
            faces[3].url()
        ),
    ];
    let lines: String = NAMES
        .iter()
        .zip(&profiles)
        .map(|(name, options)| format!("  {name}: {{ {options}, breaker: {{ failures: 3, pause: 1s }} }}\n"))
        .collect();
    let keys = NAMES.map(|name| format!("key: {name}"));
    let rules: Vec<_> = NAMES.iter().zip(&keys).map(|(name, key)| (*name, key.as_str())).collect();
    site.configure(&lines, &rules);
    NAMES.iter().for_each(|name| site.init(name));
    let proxy = site.proxy();
    for name in NAMES {
        stores(&proxy, &format!("/{name}/old"), SSN);
    }
    drop(proxy);

    let cuts: Vec<Cut> = faces.iter().map(Cut::of).collect();
    cuts.iter().for_each(|cut| cut.set(true));
    let mut proxy = site.proxy();
    stores(&proxy, "/local/1", SSN);
    shows(&proxy, "/local/1", SSN);
    for name in NAMES {
        for _ in 0..4 {
            let answer = post(&proxy, &format!("/{name}/new"), SSN);
            assert_eq!(answer.status(), 503, "{name}: {}", answer.text());
            assert!(answer.field("retry-after").is_some(), "{name}: {}", answer.head);
            assert!(!site.app.paths().contains(&format!("/{name}/new")), "the application saw it");
        }
        let answer = get(&proxy, &format!("/{name}/old"));
        // What Crypteron has not allowed is not even asked for.
        let (status, again) = if name == "tenant" { (503, true) } else { (502, false) };
        assert_eq!(answer.status(), status, "{name}: {}", answer.text());
        assert!(
            answer.field("retry-after").is_some() == again && !answer.text().contains(SSN),
            "{name}: {}",
            answer.head
        );
        stores(&proxy, "/local/2", SSN);
    }
    assert!(proxy.is_ready(), "an API that others share is no fault of this process");
    cuts.iter().for_each(|cut| cut.set(false));
    for name in NAMES {
        proxy.eventually(name, |proxy| post(proxy, &format!("/{name}/new"), SSN).status() == 200);
        proxy.eventually(name, |proxy| get(proxy, &format!("/{name}/old")).text() == document(SSN));
        shows(&proxy, &format!("/{name}/new"), SSN);
    }
}
