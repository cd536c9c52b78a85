//! A set of blocks.

use alloc::vec;
use alloc::vec::Vec;

use crate::block::BlockIndex;

/// A set of blocks of one image, as a bitmap. Its byte form has one bit per block, least significant first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockSet {
    words: Vec<u64>,
    len: u32,
    count: u32,
}

impl BlockSet {
    /// The empty set over blocks `0..len`.
    pub fn new(len: u32) -> Self {
        Self { words: vec![0; len.div_ceil(64) as usize], len, count: 0 }
    }

    /// Blocks that could be in the set.
    pub fn capacity(&self) -> u32 {
        self.len
    }

    /// Blocks in the set.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether every block is in the set.
    pub fn is_full(&self) -> bool {
        self.count == self.len
    }

    /// Whether `block` is in the set; `false` past the end.
    pub fn contains(&self, block: BlockIndex) -> bool {
        let word = self.words.get((block.0 / 64) as usize).copied().unwrap_or(0);
        word >> (block.0 % 64) & 1 == 1
    }

    /// Adds `block`; `false` if it was there already or is past the end.
    pub fn insert(&mut self, block: BlockIndex) -> bool {
        if block.0 >= self.len || self.contains(block) {
            return false;
        }
        self.words[(block.0 / 64) as usize] |= 1 << (block.0 % 64);
        self.count += 1;
        true
    }

    /// Removes `block`; `false` if it was not there.
    pub fn remove(&mut self, block: BlockIndex) -> bool {
        if !self.contains(block) {
            return false;
        }
        self.words[(block.0 / 64) as usize] &= !(1 << (block.0 % 64));
        self.count -= 1;
        true
    }

    /// Adds the blocks of `other`, as far as they could be in this set.
    pub fn extend(&mut self, other: &Self) {
        for block in other.iter() {
            self.insert(block);
        }
    }

    /// The blocks in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = BlockIndex> + '_ {
        (0..self.len).map(BlockIndex).filter(|block| self.contains(*block))
    }

    /// The byte form, `ceil(len / 8)` bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = self.words.iter().flat_map(|word| word.to_le_bytes());
        bytes.take(self.len.div_ceil(8) as usize).collect()
    }

    /// The set over `0..len` with this byte form; `None` if the length is wrong or a bit past the end is set.
    pub fn from_bytes(len: u32, bytes: &[u8]) -> Option<Self> {
        if bytes.len() != len.div_ceil(8) as usize {
            return None;
        }
        let mut set = Self::new(len);
        for (byte, base) in bytes.iter().zip((0u32..).step_by(8)) {
            for bit in (0..8).filter(|bit| byte >> bit & 1 == 1) {
                if !set.insert(BlockIndex(base + bit)) {
                    return None;
                }
            }
        }
        Some(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_round_trip_and_reject_bits_past_the_end() {
        let mut set = BlockSet::new(11);
        assert!(set.insert(BlockIndex(0)) && set.insert(BlockIndex(10)) && !set.insert(BlockIndex(11)));
        assert_eq!(set.to_bytes(), [0b1, 0b100]);
        assert_eq!(BlockSet::from_bytes(11, &set.to_bytes()), Some(set));
        assert_eq!(BlockSet::from_bytes(11, &[0, 0b1000]), None);
        assert_eq!(BlockSet::from_bytes(11, &[0]), None);
    }
}
