//! The proxy: listeners, workers, and the life of a request, which `exchange` tells from top to bottom.

mod account;
mod arrive;
pub mod body;
pub mod budget;
mod caller;
pub mod certificates;
mod change;
pub mod coding;
mod connection;
pub mod drain;
pub(crate) mod exchange;
mod forwarded;
pub mod headers;
mod length;
pub(crate) mod listen;
mod outside;
pub mod payload;
mod pipe;
mod proxy_protocol;
mod pump;
mod respond;
pub mod server;
pub mod settings;
pub mod shared;
mod stream;
mod tap;
mod tunnel;
mod upstream;
mod validators;
mod worker;

pub use server::{Server, StartError};
pub use shared::Shared;
