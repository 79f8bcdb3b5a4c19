//! Random bytes of the operating system, asked for at use: a pool or generator inside the process would repeat itself
//! in a cloned VM or after a fork.

use getrandom::SysRng;
use getrandom::rand_core::TryRng;

use crate::secret::Secret;

/// The operating system gave no random bytes; nothing can be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system's random generator failed")]
pub struct RandomError;

/// Fills `bytes`.
pub fn fill(bytes: &mut [u8]) -> Result<(), RandomError> {
    SysRng.try_fill_bytes(bytes).map_err(|_| RandomError)
}

/// `N` random bytes that are no secret (nonces, ids).
pub fn bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// `N` random bytes that are a key.
pub fn secret<const N: usize>() -> Result<Secret<N>, RandomError> {
    Secret::filled_by(|bytes| fill(bytes))
}
