//! Managed APIs as clients, on real sockets.

#[path = "managed/crittora.rs"]
mod crittora;
#[path = "managed/ncloud_kms.rs"]
mod ncloud_kms;
#[path = "managed/served.rs"]
mod served;
