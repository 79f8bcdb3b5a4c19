//! Takes up what changes while the process runs.

pub mod watch;
