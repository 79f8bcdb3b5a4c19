//! Random bytes of the operating system, asked for at use: a pool or generator inside the process would repeat itself
//! in a cloned VM or after a fork. One call may serve a piece of work that waits for nothing, see [`Batch`].

use getrandom::SysRng;
use getrandom::rand_core::TryRng;

use crate::secret::{Secret, SecretBytes, wipe};

/// The first calls of a [`Batch`]: the nonces of five values. Two calls for half of it each, as three values would need, cost a
/// quarter more.
const FEW: usize = 64;

/// So many of those, then it asks for many.
const CAREFUL: u8 = 3;

const MANY: usize = 512;

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

/// Random bytes for the values of one piece of work, several to a call of the operating system. Whoever works on pieces that come
/// over time begins each with a new one. No byte is given out twice, and what is given out or left over is wiped.
#[derive(Default)]
pub struct Batch {
    /// What is left.
    bytes: SecretBytes,
    calls: u8,
}

impl Batch {
    /// `N` random bytes, at most 64, that are no secret once they are used (nonces).
    pub fn take<const N: usize>(&mut self) -> Result<[u8; N], RandomError> {
        const { assert!(N <= FEW) };
        if self.bytes.expose().len() < N {
            self.refill()?;
        }
        let bytes = self.bytes.expose_mut();
        let last = bytes.last_chunk_mut::<N>().ok_or(RandomError)?;
        let taken = *last;
        wipe(last);
        bytes.truncate(bytes.len() - N);
        Ok(taken)
    }

    fn refill(&mut self) -> Result<(), RandomError> {
        let many = self.calls >= CAREFUL;
        self.calls = self.calls.saturating_add(1);
        let bytes = self.bytes.expose_mut();
        wipe(bytes);
        bytes.clear();
        bytes.resize(if many { MANY } else { FEW }, 0);
        // On failure no byte of it may be taken for a random one.
        fill(bytes).inspect_err(|_| bytes.clear())
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Batch(…)")
    }
}

/// `N` random bytes that are a key.
pub fn secret<const N: usize>() -> Result<Secret<N>, RandomError> {
    Secret::filled_by(|bytes| fill(bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_byte_is_given_out_twice() {
        let mut batch = Batch::default();
        let all: HashSet<[u8; 12]> = (0..1_000).map(|_| batch.take().unwrap()).collect();
        assert_eq!(all.len(), 1_000);
        // Overlapping windows would show as a common half.
        let halves: HashSet<&[u8]> = all.iter().flat_map(|one| one.chunks_exact(6)).collect();
        assert_eq!(halves.len(), 2_000);
        assert!(!all.contains(&[0; 12]), "what was wiped is not given out");
    }

    #[test]
    fn what_was_given_out_is_gone() {
        let mut batch = Batch::default();
        let first: [u8; 12] = batch.take().unwrap();
        assert_eq!(batch.bytes.expose().len(), FEW - 12);
        assert!(!batch.bytes.expose().windows(12).any(|left| left == first));
        let second: [u8; 52] = batch.take().unwrap();
        assert!(batch.bytes.expose().is_empty());
        assert_ne!(first[..], second[..12]);
        assert_eq!(format!("{batch:?}"), "Batch(…)");
    }
}
