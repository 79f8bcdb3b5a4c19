//! A property-based tester that knows nothing of a face but its OpenAPI document.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;

use super::tools::{self, Process};

/// No server error, and no answer outside the document.
pub fn holds(at: SocketAddr, document: &Value, authorization: &str) {
    let Some(place) = tools::installed("clients", "tests/clients/requirements.txt") else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("openapi.json");
    std::fs::write(&path, document.to_string()).unwrap();
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance";
    let mut command = Command::new(place.join("venv/bin/schemathesis"));
    command.current_dir(&directory).arg("run").arg(&path);
    command.args(["--url", &format!("http://{at}"), "--header", authorization, "--checks", checks]);
    command.args([
        "--max-examples",
        "4",
        "--phases",
        "coverage,fuzzing",
        "--seed",
        "1",
        "--no-color",
        "--suppress-health-check",
        "all",
    ]);
    let (succeeded, out, err) = Process::start(&mut command).finish();
    assert!(succeeded, "{out}{err}");
}
