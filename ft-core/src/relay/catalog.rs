//! What the engine needs to know of an image's layout.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;

use super::event::Class;
use crate::block::BlockIndex;
use crate::manifest::Layout;

/// The image's blocks. A block whose id occurs at several indices is one block, known by the first.
#[derive(Debug)]
pub(super) struct Catalog {
    /// By index: the canonical index, and the stored bytes.
    blocks: Vec<(BlockIndex, u32)>,
    /// The further indices of the blocks that have some.
    further: BTreeMap<BlockIndex, Vec<BlockIndex>>,
    metadata: u32,
    distinct: u32,
    /// The start-up profile: data blocks, each once, in order.
    profile: Vec<BlockIndex>,
    /// Their places in it.
    ranks: BTreeMap<BlockIndex, u32>,
}

impl Catalog {
    pub(super) fn new(layout: &Layout) -> Self {
        let mut catalog = Self {
            blocks: Vec::with_capacity(layout.blocks().len()),
            further: BTreeMap::new(),
            metadata: layout.metadata_blocks(),
            distinct: 0,
            profile: Vec::new(),
            ranks: BTreeMap::new(),
        };
        for (place, index) in layout.blocks().iter().zip((0..).map(BlockIndex)) {
            catalog.blocks.push((place.canonical, place.stored_len));
            if place.canonical == index {
                catalog.distinct += 1;
            } else {
                catalog.further.entry(place.canonical).or_default().push(index);
            }
        }
        catalog
    }

    /// Indices of the image.
    pub(super) fn len(&self) -> u32 {
        // A manifest holds at most `MAX_BLOCKS` blocks, so this cannot fail.
        u32::try_from(self.blocks.len()).unwrap_or(u32::MAX)
    }

    /// Blocks of the image, each counted once.
    pub(super) fn distinct(&self) -> u32 {
        self.distinct
    }

    /// Indices `0..metadata()` hold metadata.
    pub(super) fn metadata(&self) -> u32 {
        self.metadata
    }

    /// The index that the block at `index` is known by; `None` past the end.
    pub(super) fn canonical(&self, index: BlockIndex) -> Option<BlockIndex> {
        self.blocks.get(index.0 as usize).map(|(canonical, _)| *canonical)
    }

    /// Whether a block is known by `index`.
    pub(super) fn is_canonical(&self, index: BlockIndex) -> bool {
        self.canonical(index) == Some(index)
    }

    /// Every index of `block`, which is canonical.
    pub(super) fn indices(&self, block: BlockIndex) -> impl Iterator<Item = BlockIndex> + '_ {
        let further = self.further.get(&block).map(Vec::as_slice).unwrap_or_default();
        core::iter::once(block).chain(further.iter().copied())
    }

    /// Stored bytes of `block`.
    pub(super) fn stored_len(&self, block: BlockIndex) -> u32 {
        self.blocks.get(block.0 as usize).map_or(0, |(_, len)| *len)
    }

    /// How urgent `block` is when nobody waits for it.
    pub(super) fn class(&self, block: BlockIndex) -> Class {
        if block.0 < self.metadata {
            Class::Metadata
        } else if self.ranks.contains_key(&block) {
            Class::Profile
        } else {
            Class::Rest
        }
    }

    /// The place of `block` among those of its class: the profile has an order of its own, the others are in
    /// the image's.
    pub(super) fn rank(&self, block: BlockIndex) -> u32 {
        self.ranks.get(&block).copied().unwrap_or(block.0)
    }

    /// The start-up profile, in order.
    pub(super) fn profile(&self) -> &[BlockIndex] {
        &self.profile
    }

    /// Takes a start-up profile of canonical blocks: metadata, which comes before it anyhow, and repetitions
    /// are left out. `false` if it is the one that it was.
    pub(super) fn set_profile(&mut self, blocks: impl Iterator<Item = BlockIndex>) -> bool {
        let before = core::mem::take(&mut self.profile);
        self.ranks.clear();
        for block in blocks.filter(|block| block.0 >= self.metadata) {
            let rank = u32::try_from(self.profile.len()).unwrap_or(u32::MAX);
            if let Entry::Vacant(place) = self.ranks.entry(block) {
                place.insert(rank);
                self.profile.push(block);
            }
        }
        self.profile != before
    }
}
