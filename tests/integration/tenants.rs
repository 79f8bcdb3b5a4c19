//! A thousand tenants behind one rule: each with keys of its own, made when it is first heard of.

use sidecloak::keyring::State;
use sidecloak::name::PartitionName;

use super::stage::{Stage, eventually};

const TENANTS: usize = 1_000;

const RULES: &str = r#"rules:
  - name: customers
    match: { path: "/customers/**" }
    provision: true
    max_partitions: 1100
    protect: [{ fields: ["$..ssn"], key: "tenant-{header:x-tenant}" }]
"#;

const LISTENER: &str = "    trusted_peers: [127.0.0.0/8]\n    trusted_headers: [x-tenant]\n";

fn path(tenant: usize) -> String {
    format!("/customers/{tenant}")
}

fn body(tenant: usize) -> String {
    format!(r#"{{"ssn":"canary of {tenant}"}}"#)
}

fn call(stage: &Stage, method: &str, path: &str, tenant: usize, body: String) -> (u16, String) {
    let (name, json) = (format!("t{tenant}"), "application/json");
    let reply = stage.call(method, path, &[("x-tenant", &name), ("content-type", json)], body);
    (reply.status, reply.text())
}

/// Partitions are made at a bounded rate: who comes too soon asks again.
fn seal(stage: &Stage, tenant: usize) {
    eventually("the tenant's partition is made", || match call(stage, "POST", &path(tenant), tenant, body(tenant)) {
        (200, _) => true,
        (403 | 503, _) => false,
        other => panic!("{other:?}"),
    });
}

fn partition(tenant: usize) -> PartitionName {
    PartitionName::new(&format!("tenant-t{tenant}")).unwrap()
}

#[test]
fn a_thousand_tenants_keep_to_themselves() {
    let stage = Stage::with(RULES, LISTENER, "");
    for tenant in 0..TENANTS {
        seal(&stage, tenant);
    }
    let stored = stage.everything();
    assert_eq!(stored.len(), TENANTS);
    assert!(stored.iter().all(|(_, text)| text.contains("sc1.") && !text.contains("canary")));

    for tenant in 0..TENANTS {
        assert_eq!(call(&stage, "GET", &path(tenant), tenant, String::new()), (200, body(tenant)));
    }
    for tenant in 0..TENANTS {
        let neighbour = (tenant + 1) % TENANTS;
        let (status, text) = call(&stage, "GET", &path(tenant), neighbour, String::new());
        assert_eq!(status, 502, "{text}");
        assert!(!text.contains("canary"), "{text}");
    }

    stage.keyring().set_state(&partition(7), State::Paused).unwrap();
    eventually("tenant 7 is paused", || call(&stage, "GET", &path(7), 7, String::new()).0 == 403);
    assert_eq!(call(&stage, "POST", &path(7), 7, body(7)).0, 403);
    for tenant in (0..TENANTS).filter(|tenant| *tenant != 7) {
        assert_eq!(call(&stage, "GET", &path(tenant), tenant, String::new()), (200, body(tenant)));
    }
    stage.keyring().set_state(&partition(7), State::Active).unwrap();
    eventually("tenant 7 goes on", || call(&stage, "GET", &path(7), 7, String::new()) == (200, body(7)));
}

#[test]
fn a_tenant_is_named_by_trusted_peers_alone() {
    let stage = Stage::with(RULES, "    trusted_headers: [x-tenant]\n", "");
    let (status, _) = call(&stage, "POST", &path(1), 1, body(1));
    assert!(status >= 400, "{status}: the header is dropped, so there is no key");
    assert!(stage.nothing_stored());
}
