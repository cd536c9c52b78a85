//! Images for tests.

use alloc::vec::Vec;

use crate::block::{BLOCK_SIZE, BlockId, Codec};
use crate::digest::Digest;
use crate::manifest::{BlockEntry, Layout, Manifest, Segment, SegmentKind};

/// An image of metadata blocks `0..metadata` and a segment of these data blocks; the same number is the same block.
pub(super) fn layout(metadata: u32, data: impl Iterator<Item = u32>) -> Layout {
    let entry = |id: u32| BlockEntry {
        id: BlockId::of(&id.to_le_bytes()),
        stored_len: BLOCK_SIZE,
        codec: Codec::Raw,
    };
    let segment = |kind, blocks: Vec<BlockEntry>| Segment {
        kind,
        raw_len: blocks.len() as u64 * u64::from(BLOCK_SIZE),
        pack: Digest::of(&[kind as u8]),
        blocks,
    };
    Layout::new(&Manifest {
        config: Vec::new(),
        segments: Vec::from([
            segment(SegmentKind::Metadata, (0..metadata).map(entry).collect()),
            segment(SegmentKind::Data, data.map(entry).collect()),
        ]),
    })
}
