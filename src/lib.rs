//! Sidecloak: a sidecar proxy that encrypts chosen fields of JSON traffic, so that an application never has to change.
//!
//! The floors, from the bottom: vocabulary, primitives, formats, engine, wire, operations, program. A file imports from
//! its own floor or a lower one; `tests/integration/architecture.rs` holds that. `docs/ARCHITECTURE.md` tells the life of a request.

// Floor 0: vocabulary
pub mod bounded;
pub mod causes;
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
pub mod form;
pub mod jsonpath;
pub mod keyring;
pub mod token;
// Floor 3: engine
pub mod audit;
pub mod directory;
pub mod rollout;
pub mod rules;
pub mod transform;
// Floor 4: wire
// Fuzz targets reach no higher than the engine, and an instrumented build of the rest takes most of the time.
#[cfg(not(fuzzing))]
pub mod jwt;
#[cfg(not(fuzzing))]
pub mod proxy;
#[cfg(not(fuzzing))]
pub mod remote_keyring;
#[cfg(not(fuzzing))]
pub mod sealer;
#[cfg(not(fuzzing))]
pub mod tls;
// Floor 5: operations
#[cfg(not(fuzzing))]
pub mod admin;
#[cfg(not(fuzzing))]
pub mod authority;
#[cfg(not(fuzzing))]
pub mod injector;
#[cfg(not(fuzzing))]
pub mod reload;
#[cfg(not(fuzzing))]
pub mod rewrite;
#[cfg(not(fuzzing))]
pub mod telemetry;
// Floor 6: program
#[cfg(not(fuzzing))]
pub mod app;
#[cfg(not(fuzzing))]
pub mod cli;
#[cfg(not(fuzzing))]
pub mod config;
