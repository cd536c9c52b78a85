//! Memory for stored blocks, used again and again.
//!
//! Blocks come by the thousand, all of about one size, on one thread, and go on another. The system's allocator
//! answers that with arenas full of holes, or with fresh pages for every block.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use ft_core::BLOCK_SIZE;

/// Buffers of a whole block's size that are kept for later, at most: 8 MiB.
const KEPT: usize = 16;
const WHOLE: usize = BLOCK_SIZE as usize;

static FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// A buffer for one stored block. [`BlockBuffer::freeze`] makes [`Bytes`] of it without a copy; when the last
/// clone of those is dropped, the memory is kept for the next block.
#[derive(Debug)]
pub struct BlockBuffer(Vec<u8>);

impl BlockBuffer {
    /// An empty buffer that takes `len` bytes (a block's stored length) without growing.
    pub fn with_capacity(len: usize) -> Self {
        // A small block in a large buffer would hold more memory than it counts for.
        if len <= WHOLE / 2 || len > WHOLE {
            return Self(Vec::with_capacity(len));
        }
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self(free.unwrap_or_else(|| Vec::with_capacity(WHOLE)))
    }

    /// What has been written, for good.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Deref for BlockBuffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for BlockBuffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl AsRef<[u8]> for BlockBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for BlockBuffer {
    fn drop(&mut self) {
        if self.0.capacity() != WHOLE {
            return;
        }
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT {
            let mut bytes = std::mem::take(&mut self.0);
            bytes.clear();
            free.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_frozen_is_what_was_written_and_its_memory_serves_again() {
        let write = |fill: u8, len: usize| {
            let mut buffer = BlockBuffer::with_capacity(len);
            assert!(buffer.is_empty() && buffer.capacity() >= len);
            buffer.resize(len, fill);
            buffer.freeze()
        };
        for round in 0..100 {
            let whole = write(round, WHOLE);
            let small = write(round + 1, 1000);
            let part = whole.slice(5..9);
            drop(whole);
            assert_eq!(part, [round; 4][..], "the memory is not given away while anything holds it");
            assert_eq!(small, vec![round + 1; 1000]);
        }
        let many: Vec<_> = (0..2 * KEPT).map(|_| write(1, WHOLE)).collect();
        drop(many);
        assert!(FREE.lock().unwrap().len() <= KEPT);
    }
}
