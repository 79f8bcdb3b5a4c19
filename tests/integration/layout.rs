//! `layout/code.ld` must speak of this program's functions: names change with the code and with the compiler, and a linker does not
//! say that nothing matches.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::Command;

/// The least share of the patterns that must find a function in an unoptimised build, which has most of them under the same names.
const FOUND: f64 = 0.5;

#[test]
fn the_order_of_the_code_is_about_functions_of_this_program() {
    let Ok(listed) = Command::new("nm").args(["--defined-only", env!("CARGO_BIN_EXE_sidecloak")]).output() else {
        return skipped("nm (binutils) is not installed");
    };
    assert!(listed.status.success(), "nm ended with {}", listed.status);
    let listed = String::from_utf8(listed.stdout).expect("nm prints UTF-8");
    let names: BTreeSet<String> = listed.lines().filter_map(|line| line.rsplit(' ').next()).map(lasting).collect();
    if !names.iter().any(|name| name.starts_with("_RNvNtC_9sidecloak")) {
        return skipped("built with RUSTFLAGS, and so without the names that layout/code.ld is written in");
    }

    let script =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/layout/code.ld")).expect("layout/code.ld");
    let patterns: Vec<String> = script
        .lines()
        .filter_map(|line| line.trim().strip_prefix(".text._R")?.strip_suffix('*'))
        .map(|p| lasting(format!("_R{p}")))
        .collect();
    assert!(patterns.len() > 1000, "{} patterns", patterns.len());
    let found = |start: &String| names.range(start.clone()..).next().is_some_and(|name| name.starts_with(start));
    let share = patterns.iter().filter(|p| found(p)).count() as f64 / patterns.len() as f64;
    assert!(share >= FOUND, "only {:.0} % of the patterns find a function: run layout/layout.sh", share * 100.0);
}

/// A name without the hashes of crates, which a pattern has as question marks.
fn lasting(name: impl AsRef<str>) -> String {
    let mut parts = name.as_ref().split("Cs");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let hash = part.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'?').count();
        kept.push('C');
        kept.push_str(&part[hash..]);
    }
    kept
}

fn skipped(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
    // Not `eprintln!`, which a passing test keeps to itself.
    std::io::stderr().write_all(format!("SKIPPED the test of layout/code.ld: {why}\n").as_bytes()).unwrap();
}
