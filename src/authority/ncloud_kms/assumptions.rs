//! What nothing public says about the vendor's service, decided here; `docs/apis/ncloud-kms.md` lists it for readers.

/// Values in one array; the vendor names no limit.
pub const VALUES: usize = 1000;
/// The same for RSA keys, of which each value costs a millisecond.
pub const RSA_VALUES: usize = 100;
/// Bytes of a whole request body.
pub const BODY: usize = 4 << 20;
/// Keys at one authority.
pub const KEYS: usize = 10_000;
/// The logical key store; there is one.
pub const KEYSTORE: u64 = 1;
/// The role that may make keys and change every key; another role needs AllowWrite, in `default` to make one, in the key's
/// partition to change it.
pub const ADMIN: &str = "admin";
/// What whoever makes a key may do with it: the default permissions, AllowRead, AllowWrite, AllowSign and AllowVerify.
pub const MAKER: u32 = 983_052 | READ | WRITE | SIGN | VERIFY;
/// AllowRead: sees the key.
pub const READ: u32 = 1;
/// AllowWrite: changes the key.
pub const WRITE: u32 = 2;
/// AllowSign.
pub const SIGN: u32 = 0x10;
/// AllowVerify.
pub const VERIFY: u32 = 0x20;

/// The values of one key are sealed under this.
pub const VALUES_LABEL: &str = "sidecloak/1 ncloud-kms";
/// The nonces of a convergent key are made under this.
pub const CONVERGENT_LABEL: &str = "sidecloak/1 convergent";
/// The private keys of RSA2048 and ECDSA are sealed under this.
pub const PRIVATE_LABEL: &str = "sidecloak/1 ncloud-private";

/// Values that one process may seal under a version before it asks for more.
pub const BLOCK: u64 = 1 << 22;
/// Values that all processes together may seal under a version: half of what random nonces of 96 bits allow (SP 800-38D, 8.3).
/// Then the key is rotated.
pub const MOST: u64 = 1 << 31;
/// Times an hour that an access key, or its refresh tokens, may have tokens made.
pub const TOKENS_AN_HOUR: u64 = 1000;
/// Tokens are hashed with this.
pub const TOKEN_LABEL: &[u8] = b"sidecloak/1 ncloud-token";
