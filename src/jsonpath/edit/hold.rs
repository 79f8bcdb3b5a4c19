//! A selected value on its way into memory.

use crate::secret::SecretBytes;

/// What of a selected value came in earlier chunks. Wiped when dropped, and when it moves to a larger buffer.
pub struct Hold {
    pub selector: usize,
    /// How deep the value stands.
    pub depth: usize,
    limit: usize,
    buffer: SecretBytes,
    capacity: usize,
}

impl Hold {
    pub fn new(selector: usize, depth: usize, limit: usize) -> Self {
        Self { selector, depth, limit, buffer: SecretBytes::default(), capacity: 0 }
    }

    pub fn bytes(&self) -> &[u8] {
        self.buffer.expose()
    }

    /// Whether the value would be larger than it may be.
    pub fn outgrown_by(&self, more: &[u8]) -> bool {
        self.bytes().len() + more.len() > self.limit
    }

    /// Takes `more` in; all there is by now.
    pub fn extended(&mut self, more: &[u8]) -> &[u8] {
        let needed = self.bytes().len() + more.len();
        if needed > self.capacity {
            // A `Vec` that grows by itself leaves its old bytes behind in freed memory.
            let mut larger = Vec::with_capacity(needed.max(self.capacity.saturating_mul(2).min(self.limit)));
            self.capacity = larger.capacity();
            larger.extend_from_slice(self.bytes());
            self.buffer = SecretBytes::new(larger);
        }
        self.buffer.expose_mut().extend_from_slice(more);
        self.bytes()
    }

    pub fn held(&self) -> usize {
        self.capacity
    }
}
