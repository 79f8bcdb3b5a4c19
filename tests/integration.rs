//! One integration binary: each further one would link the whole library again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::let_underscore_must_use,
    reason = "tests"
)]

#[path = "integration/admin.rs"]
mod admin;
#[path = "integration/applications.rs"]
mod applications;
#[path = "integration/architecture.rs"]
mod architecture;
#[path = "integration/attacks.rs"]
mod attacks;
#[path = "integration/audit.rs"]
mod audit;
#[path = "integration/authority.rs"]
mod authority;
#[path = "integration/authority_process.rs"]
mod authority_process;
#[path = "integration/bad_input.rs"]
mod bad_input;
#[path = "integration/bind.rs"]
mod bind;
#[path = "integration/callers.rs"]
mod callers;
#[path = "integration/calls.rs"]
mod calls;
#[path = "integration/canaries.rs"]
mod canaries;
#[path = "integration/cli.rs"]
mod cli;
#[path = "integration/cluster.rs"]
#[allow(dead_code, reason = "shared with the keyring's own tests, which use the rest")]
mod cluster;
#[path = "integration/codings.rs"]
mod codings;
#[path = "integration/corpora.rs"]
mod corpora;
#[path = "integration/crittora.rs"]
mod crittora;
#[path = "integration/crypteron.rs"]
mod crypteron;
#[path = "integration/described.rs"]
mod described;
#[path = "integration/documents.rs"]
mod documents;
#[path = "integration/documents_run.rs"]
mod documents_run;
#[path = "integration/exequantum.rs"]
mod exequantum;
#[path = "integration/fidelity.rs"]
mod fidelity;
#[path = "integration/filters.rs"]
mod filters;
#[path = "integration/fleet.rs"]
mod fleet;
#[path = "integration/floods.rs"]
mod floods;
#[path = "integration/forms.rs"]
mod forms;
#[path = "integration/framing.rs"]
mod framing;
#[path = "integration/injection.rs"]
mod injection;
#[path = "integration/interop.rs"]
mod interop;
#[path = "integration/json_server.rs"]
mod json_server;
#[path = "integration/kubernetes.rs"]
mod kubernetes;
#[path = "integration/layout.rs"]
mod layout;
#[path = "integration/lifecycle.rs"]
mod lifecycle;
#[path = "integration/limits.rs"]
mod limits;
#[path = "integration/listen.rs"]
mod listen;
#[path = "integration/listener_tls.rs"]
mod listener_tls;
#[path = "integration/log.rs"]
mod log;
#[path = "integration/managed.rs"]
mod managed;
#[path = "integration/management.rs"]
mod management;
#[path = "integration/manual.rs"]
mod manual;
#[path = "integration/misbehaving.rs"]
mod misbehaving;
#[path = "integration/ncloud_kms.rs"]
mod ncloud_kms;
#[path = "integration/observability.rs"]
mod observability;
#[path = "integration/operations.rs"]
mod operations;
#[path = "integration/outside.rs"]
mod outside;
#[path = "integration/parsed.rs"]
mod parsed;
#[path = "integration/passthrough.rs"]
mod passthrough;
#[path = "integration/passthrough_drain.rs"]
mod passthrough_drain;
#[path = "integration/passthrough_headers.rs"]
mod passthrough_headers;
#[path = "integration/passthrough_log.rs"]
mod passthrough_log;
#[path = "integration/passthrough_upstream.rs"]
mod passthrough_upstream;
#[path = "integration/patches.rs"]
mod patches;
#[path = "integration/pki.rs"]
mod pki;
#[path = "integration/postgres.rs"]
mod postgres;
#[path = "integration/profiles_chaos.rs"]
mod profiles_chaos;
#[path = "integration/profiles_keys.rs"]
mod profiles_keys;
#[path = "integration/profiles_values.rs"]
mod profiles_values;
#[path = "integration/rehearsal.rs"]
mod rehearsal;
#[path = "integration/relay.rs"]
mod relay;
#[path = "integration/reload.rs"]
mod reload;
#[path = "integration/remote_keyring.rs"]
mod remote_keyring;
#[path = "integration/report.rs"]
mod report;
#[path = "integration/review.rs"]
mod review;
#[path = "integration/rewrite.rs"]
mod rewrite;
#[path = "integration/rollout.rs"]
mod rollout;
#[path = "integration/sealing.rs"]
mod sealing;
#[path = "integration/smuggling.rs"]
mod smuggling;
#[path = "integration/soak.rs"]
mod soak;
#[path = "integration/stage.rs"]
mod stage;
#[path = "integration/support.rs"]
mod support;
#[path = "integration/tenants.rs"]
mod tenants;
#[path = "integration/tls.rs"]
mod tls;
#[path = "integration/tools.rs"]
mod tools;
#[path = "integration/upstream_tls.rs"]
mod upstream_tls;
#[path = "integration/validators.rs"]
mod validators;
#[path = "integration/vectors.rs"]
mod vectors;
