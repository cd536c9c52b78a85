//! Images to distribute. A block's content is a number here: its hash is real, its length is only claimed.

use ft_core::block::{BlockId, BlockIndex, Codec};
use ft_core::manifest::{BlockEntry, Layout, Manifest, Segment, SegmentKind};
use ft_core::{BLOCK_SIZE, Digest};

/// The bytes of a block.
pub(crate) type Content = u64;

/// One block to be: its content and its stored bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockPlan {
    /// What is in it; blocks with the same content are one block.
    pub(crate) content: u64,
    /// Stored bytes.
    pub(crate) stored_len: u32,
}

/// An image to be: segments of blocks, metadata first.
pub(crate) type ImagePlan = Vec<Vec<BlockPlan>>;

/// An image: its layout and the truth about its blocks.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) layout: Layout,
    contents: Vec<Content>,
}

impl Image {
    pub(crate) fn new(plan: &ImagePlan) -> Self {
        let segments = plan.iter().enumerate().map(|(nth, blocks)| Segment {
            kind: if nth == 0 { SegmentKind::Metadata } else { SegmentKind::Data },
            raw_len: blocks.len() as u64 * u64::from(BLOCK_SIZE),
            pack: Digest::of(&nth.to_le_bytes()),
            blocks: blocks.iter().map(entry).collect(),
        });
        let manifest = Manifest { config: Vec::new(), segments: segments.collect() };
        let contents = plan.iter().flatten().map(|block| block.content).collect();
        Self { layout: Layout::new(&manifest), contents }
    }

    /// What is really in `block`.
    pub(crate) fn truth(&self, block: BlockIndex) -> Option<Content> {
        self.contents.get(block.0 as usize).copied()
    }

    /// Whether `content` has the hash of `block`: what a worker can know.
    pub(crate) fn verifies(&self, block: BlockIndex, content: Content) -> bool {
        self.layout.block(block).is_some_and(|place| place.id == BlockId::of(&content.to_le_bytes()))
    }

    pub(crate) fn stored_len(&self, block: BlockIndex) -> u32 {
        self.layout.block(block).map_or(0, |place| place.stored_len)
    }

    /// The index that the block at `index` is known by; past the end, `index` itself.
    pub(crate) fn canonical(&self, index: BlockIndex) -> BlockIndex {
        self.layout.block(index).map_or(index, |place| place.canonical)
    }

    /// The blocks, each once.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = BlockIndex> + '_ {
        let indices = (0..self.layout.len()).map(BlockIndex);
        indices.filter(|index| self.canonical(*index) == *index)
    }
}

fn entry(block: &BlockPlan) -> BlockEntry {
    BlockEntry {
        id: BlockId::of(&block.content.to_le_bytes()),
        stored_len: block.stored_len,
        codec: Codec::Raw,
    }
}
