//! Who seals and opens: the implementations of [`crate::transform::Sealer`].

pub mod joined;
pub mod local;
pub mod managed;
