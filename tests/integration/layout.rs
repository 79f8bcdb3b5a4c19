//! `layout/code.ld` and `layout/requests.profdata` must speak of this program's functions: names change with the code, and neither a
//! linker nor a compiler says that nothing matches.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::Command;

/// The least share of them that must be functions of an unoptimised build, which has most under the same names.
const FOUND: f64 = 0.5;

#[test]
fn the_order_of_the_code_is_about_functions_of_this_program() {
    let Some(names) = names_here() else { return };
    let script =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/layout/code.ld")).expect("layout/code.ld");
    let patterns: BTreeSet<String> = script
        .lines()
        .filter_map(|line| line.trim().strip_prefix(".text._R")?.strip_suffix('*'))
        .map(|p| lasting(format!("_R{p}")))
        .collect();
    assert!(patterns.len() > 1000, "{} patterns", patterns.len());
    let share = share(&patterns, |start| {
        names.range(start.to_owned()..).next().is_some_and(|name| name.starts_with(start))
    });
    assert!(share >= FOUND, "only {:.0} % of the patterns find a function: run layout/layout.sh order", share * 100.0);
}

#[test]
fn the_profile_is_about_functions_of_this_program() {
    let Some(names) = names_here() else { return };
    let profile =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/layout/requests.profdata")).expect("layout/requests.profdata");
    // Its names stand in it as they are, some behind the name of their unit and a semicolon.
    let profiled: BTreeSet<String> = profile
        .split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
        .filter_map(|word| std::str::from_utf8(word).ok())
        .filter(|word| word.starts_with("_R") && word.contains("9sidecloak") && word.len() < 200)
        .map(lasting)
        .collect();
    assert!(profiled.len() > 500, "{} functions", profiled.len());
    let share = share(&profiled, |name| names.contains(name));
    assert!(share >= FOUND, "only {:.0} % of the functions are there: run layout/layout.sh profile", share * 100.0);
}

/// The names of this program's functions; `None`: it is skipped.
fn names_here() -> Option<BTreeSet<String>> {
    let Ok(listed) = Command::new("nm").args(["--defined-only", env!("CARGO_BIN_EXE_sidecloak")]).output() else {
        return skipped("nm (binutils) is not installed");
    };
    assert!(listed.status.success(), "nm ended with {}", listed.status);
    let listed = String::from_utf8(listed.stdout).expect("nm prints UTF-8");
    let names: BTreeSet<String> = listed.lines().filter_map(|line| line.rsplit(' ').next()).map(lasting).collect();
    if !names.iter().any(|name| name.starts_with("_RNvNtC_9sidecloak")) {
        return skipped("built with RUSTFLAGS, and so without the names that layout/ is written in");
    }
    Some(names)
}

fn share(all: &BTreeSet<String>, is: impl Fn(&str) -> bool) -> f64 {
    all.iter().filter(|name| is(name)).count() as f64 / all.len() as f64
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

fn skipped<T>(why: &str) -> Option<T> {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
    // Not `eprintln!`, which a passing test keeps to itself.
    std::io::stderr().write_all(format!("SKIPPED a test of layout/: {why}\n").as_bytes()).unwrap();
    None
}
