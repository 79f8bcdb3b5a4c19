//! What the documents tell people to type is typed here, and what they show is compared with what is printed.

#[path = "documents_run/markdown.rs"]
pub mod markdown;
#[path = "documents_run/output.rs"]
mod output;
#[path = "documents_run/script.rs"]
mod script;

use markdown::{Kind, blocks};

use super::tools::{read, repository};

/// Documents with commands, each as a test of its own.
macro_rules! documents {
    ($($name:ident: $path:literal,)+) => {
        const DOCUMENTS: &[&str] = &[$($path),+];
        $(#[test]
        fn $name() {
            runs($path);
        })+
    };
}

documents! {
    readme: "README.md",
    audit: "docs/audit.md",
    bench: "tests/bench/README.md",
    cli: "docs/cli.md",
    config: "docs/config.md",
    contributing: "CONTRIBUTING.md",
    cookbook: "docs/cookbook.md",
    crittora: "docs/apis/crittora.md",
    failure_matrix: "docs/failure-matrix.md",
    fleet: "docs/fleet.md",
    migration: "docs/migration.md",
    ncloud_kms: "docs/apis/ncloud-kms.md",
    operations: "docs/operations.md",
    performance: "docs/performance.md",
    profiles: "docs/profiles.md",
    quick_start: "docs/quick-start.md",
    runbook: "docs/runbook.md",
    security_model: "docs/security-model.md",
    sizing: "docs/sizing.md",
    upgrade: "docs/upgrade.md",
}

fn text(path: &str) -> String {
    String::from_utf8(read(&repository().join(path))).unwrap()
}

#[track_caller]
fn runs(path: &str) {
    let blocks = blocks(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    for block in &blocks {
        if let Kind::Of(file) = &block.kind {
            assert!(text(file).contains(&block.text), "{path}:{}: not what {file} says", block.line);
        }
    }
    if let Err(error) = script::run(path, &blocks) {
        panic!("{error}");
    }
}

#[test]
fn no_document_with_commands_is_left_out() {
    let (mut run, mut not) = (0, Vec::new());
    for path in super::manual::documents() {
        let path = path.to_str().unwrap();
        // What is typed there needs a cluster or a container engine: `tests/deploy` does the same with what the machine has.
        if path.starts_with("deploy/") {
            continue;
        }
        let blocks = blocks(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let shell: Vec<_> = blocks.iter().filter(|block| block.language == "sh").collect();
        assert!(shell.is_empty() || DOCUMENTS.contains(&path), "{path} has commands and is not run");
        for block in shell {
            match &block.kind {
                Kind::NotRun(reason) => not.push(format!("{path}:{}: {reason}", block.line)),
                _ => run += 1,
            }
        }
    }
    assert!(run > 2 * not.len(), "{run} blocks are run, {} are not:\n{}", not.len(), not.join("\n"));
}

/// The tests that the failure matrix names hold what it says.
#[test]
fn the_tests_that_hold_the_failure_matrix_are_there() {
    fn sources(directory: &std::path::Path, into: &mut String) {
        for entry in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                sources(&entry, into);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                into.push_str(&String::from_utf8(read(&entry)).unwrap());
            }
        }
    }
    let mut all = String::new();
    for directory in ["src", "tests/integration"] {
        sources(&repository().join(directory), &mut all);
    }
    let mut held = 0;
    for row in text("docs/failure-matrix.md").lines().filter(|line| line.starts_with("| ")) {
        let last = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        for name in last.split('`').skip(1).step_by(2) {
            assert!(all.contains(&format!("fn {name}(")), "no test is called {name}");
            held += 1;
        }
    }
    assert!(held > 30, "{held}");
}
