//! The proxy: listeners, workers, and the life of a request (`exchange`).

pub mod settings;
