//! Which blocks readers will want next.

use alloc::vec::Vec;

use crate::block::BlockIndex;

/// How far read-ahead goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadaheadLimits {
    /// The most blocks ahead of a reader.
    pub window: u32,
    /// Sequential streams followed at a time; a new one replaces the one that was quiet the longest.
    pub streams: u32,
}

impl Default for ReadaheadLimits {
    fn default() -> Self {
        Self { window: 16, streams: 8 }
    }
}

/// A stream may skip a block, or come back by as many: the kernel's reads overtake each other.
const SLACK: u32 = 2;

/// Credit is in parts of a block.
const BLOCK: u32 = 32;
/// What there is at first.
const START: u32 = 4 * BLOCK;
/// The most that can be saved.
const MOST: u32 = 16 * BLOCK;
/// What a read earns: so much of what is read may be wasted (1 / 32).
const TRICKLE: u32 = 1;

/// Read-ahead for one image: told of every data block that a reader reads, says which blocks to expect
/// ([`Input::Expect`](super::Input)).
///
/// It follows a few streams at a time, each of them reads of ascending blocks. A stream's window doubles
/// with every step; it is filled again when half of it is used, so that requests stay large.
///
/// What it expects costs credit, which a block that is then read gives back; and every read earns a little.
/// So sequential reads have more and more on the way, and what is wasted is bounded by a small part of
/// what is read: bytes read from the origin are to stay those that somebody needs.
#[derive(Clone, Debug)]
pub struct Readahead {
    limits: ReadaheadLimits,
    first: u32,
    end: u32,
    /// The most recently read one first.
    streams: Vec<Stream>,
    credit: u32,
}

#[derive(Clone, Debug)]
struct Stream {
    /// The furthest block read.
    last: u32,
    /// Blocks to be ahead of `last`.
    window: u32,
    /// Everything before it was expected, or was here.
    ahead: u32,
    /// What was expected and has not been read.
    unread: Vec<u32>,
}

impl Readahead {
    /// For the image whose data blocks are `first_data_block..end`.
    pub fn new(limits: ReadaheadLimits, first_data_block: BlockIndex, end: BlockIndex) -> Self {
        Self { limits, first: first_data_block.0, end: end.0, streams: Vec::new(), credit: START }
    }

    /// A reader reads `block`. Returns the blocks to expect, ascending: of those that lie ahead, the ones that
    /// are `missing` (neither here nor on their way). Reading the same block again changes nothing.
    pub fn observe(&mut self, block: BlockIndex, missing: impl Fn(BlockIndex) -> bool) -> Vec<BlockIndex> {
        if !(self.first..self.end).contains(&block.0) {
            return Vec::new();
        }
        let near = |stream: &Stream| block.0 + SLACK >= stream.last && block.0 <= stream.last + SLACK;
        let Some(nth) = self.streams.iter().position(near) else {
            self.begin(block.0);
            return Vec::new();
        };
        self.streams[..=nth].rotate_right(1);
        let stream = &mut self.streams[0];
        if let Some(nth) = stream.unread.iter().position(|expected| *expected == block.0) {
            stream.unread.swap_remove(nth);
            self.credit += BLOCK;
        }
        if block.0 <= stream.last {
            return Vec::new();
        }
        stream.last = block.0;
        stream.ahead = stream.ahead.max(block.0 + 1);
        stream.window = (stream.window * 2).clamp(1, self.limits.window.max(1));
        self.credit = MOST.min(self.credit + TRICKLE);
        self.fill(missing)
    }

    /// A read that continues no stream begins one.
    fn begin(&mut self, block: u32) {
        self.credit = MOST.min(self.credit + TRICKLE);
        self.streams.truncate(self.limits.streams.max(1) as usize - 1);
        self.streams.insert(0, Stream { last: block, window: 0, ahead: block + 1, unread: Vec::new() });
    }

    /// Expects what the foremost stream's window and the credit allow.
    fn fill(&mut self, missing: impl Fn(BlockIndex) -> bool) -> Vec<BlockIndex> {
        let stream = &mut self.streams[0];
        let mut expected = Vec::new();
        if stream.ahead - stream.last - 1 > stream.window / 2 {
            return expected;
        }
        let until = self.end.min(stream.last.saturating_add(1 + stream.window));
        while stream.ahead < until {
            let block = BlockIndex(stream.ahead);
            if missing(block) {
                if self.credit < BLOCK {
                    break;
                }
                self.credit -= BLOCK;
                stream.unread.push(block.0);
                expected.push(block);
            }
            stream.ahead += 1;
        }
        expected
    }
}

#[cfg(test)]
mod tests;
