//! What the documents promise: their links lead somewhere, and their examples load.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use sidecloak::config::{self, Machine, Overrides, Purpose};
use sidecloak::rules::compile::{Context, load_text};

use super::documents_run::markdown;

const LISTENER: &str = "listeners:\n  - upstream: http://127.0.0.1:9000\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// All Markdown files, relative to the package.
pub fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories: Vec<PathBuf> =
        ["", "docs", "docs/adr", "docs/apis", "tests/bench", "deploy"].map(|name| root().join(name)).into();
    while let Some(directory) = directories.pop() {
        for path in std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() && path.starts_with(root().join("deploy")) {
                directories.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                found.push(path);
            }
        }
    }
    found.iter().map(|path| path.strip_prefix(root()).unwrap().to_owned()).collect()
}

/// Of the headings of a document, as they are linked to.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut code = false;
    let headings = text.lines().filter(|line| {
        code ^= line.starts_with("```");
        !code && line.starts_with('#')
    });
    let anchor = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// Without `..` and `.`.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut path, part| {
        match part {
            Component::ParentDir => drop(path.pop()),
            Component::CurDir => {}
            other => path.push(other),
        }
        path
    })
}

#[test]
fn links_lead_somewhere() {
    let texts: BTreeMap<PathBuf, String> =
        documents().into_iter().map(|path| (path.clone(), read(path.to_str().unwrap()))).collect();
    assert!(texts.len() > 20);
    let mut dead = Vec::new();
    for (document, text) in &texts {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target) {
            if target.contains("://") || target.contains(' ') {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = match file {
                "" => document.clone(),
                file => normal(&document.with_file_name("").join(file)),
            };
            let known = texts.get(&path).is_none_or(|text| anchor.is_empty() || anchors(text).contains(anchor));
            if !root().join(&path).exists() || !known {
                dead.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:?}");
}

/// Runs of lines that are indented as code, without the indentation.
fn indented(text: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in text.lines() {
        match (line.strip_prefix("    "), blocks.last_mut()) {
            (Some(line), Some(block)) => block.push_str(&format!("{line}\n")),
            (None, Some(block)) if !block.is_empty() => blocks.push(String::new()),
            _ => {}
        }
    }
    blocks
}

#[track_caller]
fn rules_load(rules: &str) {
    let loaded = load_text("example.yaml", rules, &Context::default());
    assert!(loaded.rules.is_some(), "{rules}\n{}", loaded.findings);
}

#[test]
fn examples_of_rules_load_and_their_tests_pass() {
    let blocks = markdown::blocks(&read("docs/rules.md")).unwrap().into_iter().filter(|block| block.language == "yaml");
    let blocks: Vec<String> = blocks.map(|block| block.text).collect();
    assert!(blocks.len() >= 7);
    for block in &blocks {
        if block.contains("rules:\n") {
            rules_load(block);
            continue;
        }
        let fields = if block.contains("tests:") { "    protect: [{ fields: [\"$..ssn\"] }]\n" } else { "" };
        let path = "[\"/customers\", \"/customers/{ssn}\"]";
        let path = if block.contains("path:ssn") { "\"/customers/{ssn}\"" } else { path };
        rules_load(&format!("rules:\n  - name: example\n    match: {{ path: {path} }}\n{fields}{block}"));
    }
}

#[test]
fn examples_of_the_configuration_load() {
    let mut seen = BTreeSet::new();
    for block in indented(&(read("docs/config.md") + &read("docs/profiles.md"))) {
        let first = block.split_once(':').map_or("", |(key, _)| key).to_owned();
        let (text, purpose) = match first.as_str() {
            "listeners" => (block, Purpose::Proxy),
            "upstream" => {
                let inner: String = block.lines().map(|line| format!("    {line}\n")).collect();
                (format!("listeners:\n  - name: front\n{inner}"), Purpose::Proxy)
            }
            "callers" | "profiles" => (format!("{LISTENER}{block}"), Purpose::Proxy),
            "authority" => (block, Purpose::Authority),
            _ => continue,
        };
        let machine = Machine { memory: 1 << 30, cpus: 2 };
        let loaded = config::load_text("sidecloak.yaml", &text, &Overrides::default(), purpose, machine);
        assert!(loaded.config.is_some(), "{text}\n{}", loaded.findings);
        seen.insert(first);
    }
    let expected = ["authority", "callers", "listeners", "profiles", "upstream"];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}
