//! `deploy/kubernetes`: its manifests and its chart, rendered by the real kustomize and helm, against the schemas of each version of
//! Kubernetes and our own rules; their configurations by this binary; their pods, started here (`tests/deploy/kubernetes/check.py`).

use std::process::Command;

use super::cluster::{Cluster, Settings};
use super::tools::{self, Process};

/// Runs a group of checks; without the tools it says so.
#[expect(clippy::print_stdout, reason = "what was checked with which versions, where somebody asks (`--nocapture`)")]
fn check(group: &str, database: Option<&str>) {
    let list = "tests/deploy/kubernetes/requirements.txt";
    let Some(place) = tools::installed("kubernetes", list) else { return };
    if tools::installed("helm", "tests/deploy/kubernetes/package.json").is_none() {
        return;
    }
    let mut command = Command::new(place.join("venv/bin/python"));
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(tools::repository().join("tests/deploy/kubernetes/check.py"));
    command.args([group, env!("CARGO_BIN_EXE_sidecloak")]).args(database);
    let (succeeded, out, err) = Process::start(&mut command).finish();
    assert!(succeeded, "{out}{err}");
    assert!(out.ends_with(&format!("{group}: ok\n")), "{out}{err}");
    print!("{out}");
}

#[test]
fn every_object_is_valid_for_each_version_of_kubernetes() {
    check("schemas", None);
}

#[test]
fn objects_fit_together_and_broken_ones_are_found() {
    check("objects", None);
}

#[test]
fn the_chart_renders_what_can_work_and_refuses_the_rest_by_name() {
    check("chart", None);
}

#[test]
fn the_configurations_and_rules_pass_the_check() {
    check("rules", None);
}

#[test]
fn the_commands_of_the_readme_run() {
    check("readme", None);
}

#[test]
fn the_pods_do_what_their_readme_says() {
    // Of its own, since a keyring wants its commits synced. Without PostgreSQL that is said, and the rest is run.
    let cluster = Cluster::start(&Settings { durable: true, ..Settings::default() });
    let database = cluster.as_ref().map(Cluster::database);
    check("runs", database.as_deref());
}
