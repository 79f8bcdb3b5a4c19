//! Temporary tokens of ExeQuantum, whose attempts are few and whose life is short, under many requests.

use std::collections::HashMap;
use std::time::Duration;

use sidecloak::authority::exequantum;

use super::*;

/// What each token was used for, by its text; the long-lived one makes tokens alone.
fn uses(face: &Double) -> HashMap<String, usize> {
    let mut uses = HashMap::new();
    for request in face.seen() {
        if !request.first_line().contains("/api/token/new") {
            *uses.entry(request.field("authorization").unwrap()).or_insert(0) += 1;
        }
    }
    uses
}

/// Profiles with a partition each, and in each so many epochs with a document.
fn filled(site: &Site, options: &str, profiles: usize, epochs: usize) -> Vec<String> {
    let names: Vec<String> = (0..profiles).map(|number| format!("pqc-{number}")).collect();
    let lines: String =
        names.iter().map(|name| format!("  {name}: {{ {options}, recipient: {name}.pub }}\n")).collect();
    let keys: Vec<String> = names.iter().map(|name| format!("key: {name}")).collect();
    let rules: Vec<_> = names.iter().zip(&keys).map(|(name, key)| (name.as_str(), key.as_str())).collect();
    site.configure(&lines, &rules);
    names.iter().for_each(|name| site.init(name));
    let mut proxy = site.proxy();
    let mut paths: Vec<String> = Vec::new();
    for epoch in 0..epochs {
        for name in &names {
            let path = format!("/{name}/{epoch}");
            if epoch > 0 {
                let before = format!("/{name}/{}", epoch - 1);
                let before = token(&site.token(&before)).epoch.to_string();
                site.place.run(&["keys", "rollover", name]).ends(0);
                proxy.eventually("a new epoch", |proxy| {
                    stores(proxy, &path, &path);
                    token(&site.token(&path)).epoch.to_string() != before
                });
            } else {
                stores(&proxy, &path, &path);
            }
            paths.push(path);
        }
    }
    paths
}

/// All of them at once, each by callers of their own; what each was answered.
fn all_at_once(proxy: &Running, paths: &[String], callers: usize) -> Vec<(String, u16, String)> {
    std::thread::scope(|scope| {
        let ask = |number: usize| {
            let path = paths[number % paths.len()].clone();
            scope.spawn(move || {
                let answer = get(proxy, &path);
                (path, answer.status(), answer.text())
            })
        };
        let asking: Vec<_> = (0..callers).map(ask).collect();
        asking.into_iter().map(|asked| asked.join().unwrap()).collect()
    })
}

#[test]
fn three_attempts_are_never_four_and_no_request_fails() {
    let vendor = Vendor::new();
    let (site, face) = (Site::new(&vendor), vendor.serve(exequantum::router));
    let options = format!("{}, temporary: {{ expiry: 10m, attempts: 3 }}", vendor.exequantum(&site, &face));
    let paths = filled(&site, &options, 4, 5);
    for _ in 0..3 {
        // Cold: nothing is in memory.
        let proxy = site.proxy();
        for (path, status, text) in all_at_once(&proxy, &paths, 50) {
            assert_eq!((status, text), (200, document(&path)), "{path}: {}", log(&proxy));
        }
    }
    let mut uses = uses(&face);
    let long_lived = format!("bearer {}", site.place.read("exequantum"));
    assert_eq!(uses.remove(&long_lived), Some(8), "to make each key pair, and to try it");
    assert!(uses.values().all(|used| *used <= 3), "{uses:?}");
    let decapsulated = calls(&face, "decapsulate");
    assert!(decapsulated >= 3 * paths.len(), "each epoch was opened by each process: {decapsulated}");
    assert!(decapsulated < 6 * paths.len(), "and once for all who want it: {decapsulated}");
}

#[test]
fn a_token_that_ends_in_the_middle_is_nobody_s_failure() {
    let vendor = Vendor::new();
    let (site, face) = (Site::new(&vendor), vendor.serve(exequantum::router));
    let options = format!("{}, temporary: {{ expiry: 2s, attempts: 1000 }}", vendor.exequantum(&site, &face));
    let paths = filled(&site, &options, 2, 6);
    let before = uses(&face).len();
    let proxy = site.proxy();
    for path in &paths {
        shows(&proxy, path, path);
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(uses(&face).len() > before + 4, "tokens ended: {:?}", uses(&face));
    drop(proxy);

    // And one that the service takes no more though its time is not over.
    let proxy = site.proxy();
    let refused: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&refused);
    face.by(move |_, request| {
        let shown = request.field("authorization").unwrap();
        let mut refused = noted.lock().unwrap();
        let asks = request.first_line().contains("decapsulate");
        if asks && (refused.contains(&shown) || refused.is_empty()) {
            refused.push(shown);
            return Act::Instead(
                401,
                vec![("content-type", "application/json".into())],
                r#"{"detail":"Invalid or expired token"}"#.into(),
            );
        }
        Act::Well
    });
    for path in &paths {
        shows(&proxy, path, path);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(refused.lock().unwrap().len(), 1, "asked with once");
}
