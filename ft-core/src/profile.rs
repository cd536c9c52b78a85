//! The start-up profile: the blocks that cold starts of an image read, in the order in which they read them.
//!
//! It is made from the last [`STARTS`] reports: the blocks that at least half of those starts read, each at the
//! median of its ranks. So once three ordinary starts are in, one odd start (garbage, a scan of everything, one
//! that read little) neither adds a block nor removes one. Reports come from workers, which may lie: what a
//! report may name, how long it may be, and how many of the reports may come from one VM is limited.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::block::BlockIndex;
use crate::vm::VmId;

/// How many starts are remembered, the last ones.
pub const STARTS: usize = 16;
/// The most of them from one VM: too few to decide alone.
pub const STARTS_OF_ONE_VM: usize = 4;
/// The most blocks of one start that count, the first ones: 2 GiB. So the profile is bounded too.
pub const MAX_BLOCKS: usize = 4096;

/// Two profiles are alike while at most this part of the blocks is another or elsewhere.
const ALIKE: usize = 16;

const _: () = assert!(STARTS_OF_ONE_VM * 2 < STARTS, "one VM would decide what is in the profile");

/// What one cold start read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Where it was.
    pub vm: VmId,
    /// Each block once, in the order of the first reads.
    pub blocks: Vec<BlockIndex>,
}

/// Why a report does not count. What was known is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// It names a block that the image does not have.
    #[error("block {block} of an image with {blocks} blocks")]
    NoSuchBlock {
        /// The block.
        block: BlockIndex,
        /// How many the image has.
        blocks: u32,
    },
    /// It names no block: the start found everything in memory, and says nothing about a cold one.
    #[error("no block was read")]
    Empty,
}

/// The last cold starts of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Starts {
    image_blocks: u32,
    /// The oldest first.
    starts: VecDeque<Start>,
}

impl Starts {
    /// No start yet, of an image with so many blocks.
    pub fn new(image_blocks: u32) -> Self {
        Self { image_blocks, starts: VecDeque::new() }
    }

    /// Takes a report in: blocks in the order in which they were first read; repetitions are left out. It
    /// replaces the oldest one of its VM if that has its share, else the oldest if there are enough.
    ///
    /// # Errors
    /// [`ReportError`]: the report does not count.
    pub fn record(&mut self, vm: VmId, blocks: &[BlockIndex]) -> Result<(), ReportError> {
        if blocks.is_empty() {
            return Err(ReportError::Empty);
        }
        if let Some(block) = blocks.iter().find(|block| block.0 >= self.image_blocks) {
            return Err(ReportError::NoSuchBlock { block: *block, blocks: self.image_blocks });
        }
        let mut seen = BTreeSet::new();
        let blocks = blocks.iter().copied().filter(|block| seen.insert(*block)).take(MAX_BLOCKS).collect();
        let own = self.starts.iter().filter(|start| start.vm == vm).count();
        if own >= STARTS_OF_ONE_VM {
            if let Some(oldest) = self.starts.iter().position(|start| start.vm == vm) {
                self.starts.remove(oldest);
            }
        } else if self.starts.len() >= STARTS {
            self.starts.pop_front();
        }
        self.starts.push_back(Start { vm, blocks });
        Ok(())
    }

    /// How many starts count.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether no start has been reported.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The starts that count, the oldest first. Recorded in this order, they give the same profile.
    pub fn iter(&self) -> impl Iterator<Item = &Start> {
        self.starts.iter()
    }

    /// The profile: what at least half of the starts read (of one or two starts: what any of them read), by
    /// median rank, then by index; at most [`MAX_BLOCKS`].
    pub fn profile(&self) -> Vec<BlockIndex> {
        let mut ranks: BTreeMap<BlockIndex, Vec<usize>> = BTreeMap::new();
        for start in &self.starts {
            for (rank, block) in start.blocks.iter().enumerate() {
                ranks.entry(*block).or_default().push(rank);
            }
        }
        let common = ranks.into_iter().filter(|(_, ranks)| ranks.len() * 2 >= self.starts.len());
        let mut blocks: Vec<_> = common.map(|(block, ranks)| (doubled_median(ranks), block)).collect();
        blocks.sort_unstable();
        blocks.into_iter().map(|(_, block)| block).take(MAX_BLOCKS).collect()
    }
}

/// Twice the median of at least one number.
fn doubled_median(mut numbers: Vec<usize>) -> usize {
    numbers.sort_unstable();
    let upper = numbers.len() / 2;
    let lower = (numbers.len() - 1) / 2;
    numbers[lower] + numbers[upper]
}

/// Whether a profile differs so much from the one that workers have that they should hear of it: more than one
/// block in [`ALIKE`] is new, missing, or has moved by more than a quarter of the profile.
pub fn differs(told: &[BlockIndex], now: &[BlockIndex]) -> bool {
    let rank = |blocks: &[BlockIndex]| -> BTreeMap<BlockIndex, usize> {
        blocks.iter().enumerate().map(|(rank, block)| (*block, rank)).collect()
    };
    let (before, after) = (rank(told), rank(now));
    let missing = before.keys().filter(|block| !after.contains_key(block)).count();
    let far = now.len() / 4;
    let changed = after
        .iter()
        .filter(|(block, rank)| before.get(block).is_none_or(|before| before.abs_diff(**rank) > far));
    (missing + changed.count()) * ALIKE > told.len()
}

#[cfg(test)]
mod tests;
