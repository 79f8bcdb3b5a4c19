//! Sidecloak: a sidecar proxy that encrypts chosen fields of JSON traffic, so that an application never has to change.
//!
//! The floors, from the bottom: vocabulary, primitives, formats, engine, wire, operations, program. A file imports from
//! its own floor or a lower one; `tests/integration/architecture.rs` holds that. `docs/ARCHITECTURE.md` tells the life of a request.

// Floor 0: vocabulary
pub mod bounded;
pub mod clock;
pub mod metrics;
pub mod name;
pub mod refusal;
pub mod report;
pub mod secret;
// Floor 1: primitives
pub mod crypto;
pub mod json;
// Floor 2: formats
pub mod jsonpath;
pub mod keyring;
pub mod token;
// Floor 3: engine
pub mod audit;
pub mod directory;
pub mod rules;
pub mod transform;
// Floor 4: wire
pub mod proxy;
pub mod remote_keyring;
pub mod sealer;
pub mod tls;
// Floor 5: operations
pub mod admin;
pub mod authority;
pub mod reload;
pub mod telemetry;
// Floor 6: program
pub mod app;
pub mod cli;
pub mod config;
