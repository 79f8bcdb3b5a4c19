//! One integration binary: each further one would link the whole library again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_possible_truncation,
    reason = "a test that panics has failed, as it should"
)]

#[path = "integration/admin.rs"]
mod admin;
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
#[path = "integration/support.rs"]
mod support;
