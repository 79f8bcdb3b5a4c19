//! The proxy: listeners, workers, and the life of a request, which `exchange` tells from top to bottom.

mod account;
mod admit;
mod answer;
mod arrive;
pub mod body;
pub mod budget;
mod caller;
pub mod certificates;
mod connection;
mod crowd;
pub mod drain;
pub(crate) mod exchange;
mod forwarded;
pub mod headers;
pub mod inbound;
pub mod limits;
pub(crate) mod listen;
mod outflow;
mod patience;
pub mod payload;
mod pipe;
mod proxy_protocol;
mod pump;
mod queue;
mod respond;
pub mod server;
pub mod settings;
pub mod shared;
mod stream;
mod tap;
mod tunnel;
mod upstream;
mod worker;

pub use server::{Server, StartError};
pub use shared::Shared;
