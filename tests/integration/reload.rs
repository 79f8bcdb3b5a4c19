//! Rules change the way editors and Kubernetes change files; a bad edit keeps the running rules.

use std::fs;
use std::os::unix::fs::symlink;

use super::stage::{Stage, eventually};

fn rules(field: &str) -> String {
    format!("rules:\n  - name: r\n    match: {{ path: \"/**\" }}\n    protect: [{{ fields: [\"$..{field}\"] }}]\n")
}

fn sealed(stage: &Stage) -> String {
    stage.post("/probe", r#"{"a":"1","b":"1","c":"1"}"#);
    let stored: serde_json::Value = serde_json::from_slice(&stage.stored("/probe")).unwrap();
    ["a", "b", "c"].into_iter().filter(|n| stored[*n].as_str().unwrap().starts_with("sc1.")).collect()
}

#[test]
fn a_plain_write_and_an_editors_rename() {
    let stage = Stage::new(&rules("a"));
    assert_eq!(sealed(&stage), "a");
    fs::write(stage.rules_path(), rules("b")).unwrap();
    eventually("a plain write", || sealed(&stage) == "b");
    for field in ["c", "a", "b"] {
        let temporary = stage.dir.path().join(".rules.yaml.swp");
        fs::write(&temporary, rules(field)).unwrap();
        fs::rename(&temporary, stage.rules_path()).unwrap();
        eventually("an editor's rename", || sealed(&stage) == field);
    }
}

#[test]
fn a_bad_edit_keeps_the_running_rules() {
    let stage = Stage::new(&rules("a"));
    for bad in ["rules: [", "rules:\n  - nam: x\n", &rules("["), &format!("{}{}", rules("b"), &rules("b")[7..])] {
        fs::write(stage.rules_path(), bad).unwrap();
        eventually("the bad edit is seen", || {
            stage.app().shared().metrics.render().contains("reloads_total{result=\"failed\"}")
        });
        assert_eq!(sealed(&stage), "a");
    }
    fs::write(stage.rules_path(), rules("c")).unwrap();
    eventually("a good edit after bad ones", || sealed(&stage) == "c");
}

/// As a ConfigMap volume: files are links through `..data`, which is swapped by a rename.
#[test]
fn a_configmap_swap() {
    let stage = Stage::new(&rules("a"));
    let root = stage.dir.path();
    let swap = |round: u32, field: &str| {
        let version = format!("..2026_{round}");
        fs::create_dir(root.join(&version)).unwrap();
        fs::write(root.join(&version).join("rules.yaml"), rules(field)).unwrap();
        symlink(&version, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        if round > 1 {
            fs::remove_dir_all(root.join(format!("..2026_{}", round - 1))).unwrap();
        }
    };
    swap(1, "b");
    fs::remove_file(stage.rules_path()).unwrap();
    symlink("..data/rules.yaml", stage.rules_path()).unwrap();
    eventually("the file becomes a link", || sealed(&stage) == "b");
    for (round, field) in [(2, "c"), (3, "a"), (4, "b")] {
        swap(round, field);
        eventually("a ConfigMap swap", || sealed(&stage) == field);
    }
}

#[test]
fn an_edit_that_only_the_keyring_refused_is_in_force_once_that_is_mended() {
    let stage = Stage::new(&rules("a"));
    let store = rusqlite::Connection::open(stage.dir.path().join("keyring.db")).unwrap();
    store.execute("INSERT INTO partition (name, version, record) VALUES ('tenant', 1, x'00')", []).unwrap();
    fs::write(stage.rules_path(), rules("b").replace("fields:", "key: tenant, fields:")).unwrap();
    eventually("the edit is refused", || {
        stage.app().shared().metrics.render().contains("reloads_total{result=\"failed\"} 1")
    });
    assert_eq!(sealed(&stage), "a");
    store.execute("DELETE FROM partition WHERE name = 'tenant'", []).unwrap();
    eventually("the keyring is mended", || sealed(&stage) == "b");
}
