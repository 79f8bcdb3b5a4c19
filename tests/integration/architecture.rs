//! The house rules that a compiler does not hold: floors, one home for cryptography, one for unsafe code, no `mod.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// From the top: a file imports from its own floor or a lower one.
const FLOORS: &[(u8, &[&str])] = &[
    (6, &["app", "cli", "config", "main"]),
    (5, &["admin", "authority", "injector", "reload", "rewrite", "telemetry"]),
    (4, &["jwt", "proxy", "remote_keyring", "sealer", "tls"]),
    (3, &["audit", "directory", "rollout", "rules", "transform"]),
    (2, &["form", "jsonpath", "keyring", "token"]),
    (1, &["crypto", "json"]),
    (0, &["bounded", "causes", "clock", "metrics", "name", "refusal", "report", "secret"]),
];

const CRYPTO_CRATES: &[&str] = &[
    "aes",
    "argon2",
    "aws_lc_rs",
    "aes_gcm",
    "aes_siv",
    "polyval",
    "ml_kem",
    "ml_dsa",
    "x_wing",
    "hkdf",
    "hmac",
    "subtle",
    "sha2",
    "getrandom",
    "base64ct",
    "data_encoding",
];

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                #[expect(clippy::disallowed_methods, reason = "our own source files")]
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 20, "the sources were not found");
    found
}

fn top_module(path: &Path) -> String {
    let relative = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = relative.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The top modules that a file names as `crate::x` (or `sidecloak::x` in main.rs), also inside `use crate::{a, b::c}`.
fn imports(text: &str) -> Vec<String> {
    let code: String = text.lines().map(|l| l.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut names = Vec::new();
    for (i, _) in code.match_indices("crate::").chain(code.match_indices("sidecloak::")) {
        let rest = code[i..].split_once("::").unwrap().1;
        let word = |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut start = true;
            for (j, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 1 => start = true,
                    c if start && depth == 1 && c.is_alphabetic() => {
                        names.push(word(&group[j..]));
                        start = false;
                    }
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            names.push(word(rest));
        }
    }
    names
}

#[test]
fn imports_go_to_the_same_or_a_lower_floor() {
    let floor: BTreeMap<&str, u8> = FLOORS.iter().flat_map(|(n, names)| names.iter().map(|m| (*m, *n))).collect();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (path, text) in sources() {
        let module = top_module(&path);
        if module == "lib" {
            continue;
        }
        let Some(own) = floor.get(module.as_str()) else {
            wrong.push(format!("{module} stands on no floor: add it to FLOORS"));
            continue;
        };
        for import in imports(&text) {
            seen += 1;
            match floor.get(import.as_str()) {
                Some(there) if there > own => {
                    wrong.push(format!("{} (floor {own}) imports {import} (floor {there})", path.display()))
                }
                _ => {}
            }
        }
    }
    assert!(seen > 50, "imports were not recognised");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_crypto_imports_a_crypto_crate() {
    for (path, text) in sources() {
        if top_module(&path) == "crypto" {
            continue;
        }
        for name in CRYPTO_CRATES {
            assert!(
                !text.contains(&format!("use {name}::")) && !text.contains(&format!(" {name}::")),
                "{} imports {name}",
                path.display()
            );
        }
    }
}

#[test]
fn unsafe_code_has_one_home_and_modules_have_names() {
    for (path, text) in sources() {
        assert!(!path.ends_with("mod.rs"), "{}: name the module beside its folder", path.display());
        if !path.ends_with("json/simd.rs") {
            assert!(
                !text.contains("unsafe {") && !text.contains("unsafe fn") && !text.contains("allow(unsafe_code"),
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn main_stays_thin() {
    #[expect(clippy::disallowed_methods, reason = "our own source file")]
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/main.rs")).unwrap();
    assert!(text.lines().count() < 60);
}
