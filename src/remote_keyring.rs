//! A keyring that an authority keeps, reached over its `/keyring/v1`: a store that is trusted no more than a file would be. What
//! it answers is verified by the keyring above it, against the owner that the configuration pins.

pub mod wire;
