//! Managed APIs as clients, on real sockets against the faces that an authority serves.

#[path = "managed/crypteron.rs"]
mod crypteron;
#[path = "managed/exequantum.rs"]
mod exequantum;
#[path = "managed/served.rs"]
mod served;
