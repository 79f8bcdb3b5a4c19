//! Key material: one owner, wiped when dropped, never printed.

use std::fmt;
use std::mem::MaybeUninit;

use zeroize::{Zeroize, ZeroizeOnDrop, optimization_barrier};

/// `N` secret bytes on the heap (so that a move leaves no copy behind), zeroized on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret<const N: usize>(Box<[u8; N]>);

/// Overwrites bytes that hold something secret in a buffer that goes on to be used.
pub fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    optimization_barrier(bytes);
}

impl<const N: usize> Secret<N> {
    /// A secret of zero bytes, to be filled in place by `fill`.
    pub fn filled_by<E>(fill: impl FnOnce(&mut [u8; N]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self(Box::new([0; N]));
        fill(&mut secret.0)?;
        Ok(secret)
    }

    /// Copies `bytes` in; `None` if there are not exactly `N`.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == N).then(|| {
            let mut secret = Self(Box::new([0; N]));
            secret.0.copy_from_slice(bytes);
            secret
        })
    }

    /// The bytes themselves. Every call is a place where a key may leak: keep them few.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret<{N}>(…)")
    }
}

/// Secret bytes of any length (plaintexts, key files), zeroized on drop.
#[derive(Clone, Default)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes themselves.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Their memory, wiped, for something else.
    pub fn into_wiped(mut self) -> Vec<u8> {
        self.wipe_all();
        std::mem::take(&mut self.0)
    }

    /// All that is allocated, in pieces larger than a byte: there is one of these for each value that is opened.
    fn wipe_all(&mut self) {
        self.0.clear();
        let all = self.0.spare_capacity_mut();
        all.fill(MaybeUninit::new(0));
        optimization_barrier(all);
    }

    /// The buffer itself, to be filled or edited in place.
    pub fn expose_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.wipe_all();
    }
}

impl ZeroizeOnDrop for SecretBytes {}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_holds_nothing() {
        let mut secret = SecretBytes::new(b"canary".to_vec());
        let (capacity, place) = (secret.expose_mut().capacity(), secret.expose().as_ptr());
        secret.expose_mut().truncate(2);
        let wiped = secret.into_wiped();
        assert!(wiped.is_empty());
        assert_eq!((wiped.capacity(), wiped.as_ptr()), (capacity, place));
    }

    #[test]
    fn debug_shows_no_byte() {
        let secret = Secret::<4>::from_slice(&[1, 2, 3, 4]).unwrap();
        assert_eq!(format!("{secret:?}"), "Secret<4>(…)");
        assert_eq!(format!("{:?}", SecretBytes::new(vec![7])), "SecretBytes(…)");
        assert!(Secret::<4>::from_slice(&[1, 2, 3]).is_none());
    }
}
