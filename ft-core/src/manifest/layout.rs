//! Where every block of an image lies: in its pack, on its device, and in the order of transfer.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::{Manifest, SegmentKind};
use crate::block::{BLOCK_SIZE, BlockId, BlockIndex, Codec};
use crate::digest::Digest;

/// One block's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPlace {
    /// BLAKE3 of the stored bytes.
    pub id: BlockId,
    /// How the stored bytes encode the raw ones.
    pub codec: Codec,
    /// Stored bytes.
    pub stored_len: u32,
    /// Raw bytes.
    pub raw_len: u32,
    /// The segment, counted from 0.
    pub segment: u32,
    /// Where the stored bytes start in the segment's pack.
    pub pack_offset: u64,
    /// Where the raw bytes start on the segment's device: the metadata image, or the data device. Data
    /// segments follow each other there, each starting on a block boundary.
    pub device_offset: u64,
    /// The first index at which the same id occurs; the block is transferred and stored under that one.
    pub canonical: BlockIndex,
}

/// A byte range of one pack that holds adjacent blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// The pack.
    pub pack: Digest,
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// The first block in the range.
    pub first: BlockIndex,
    /// How many blocks, with consecutive indices.
    pub count: u32,
}

/// The places of all blocks of an image, by [`BlockIndex`]; derived from its [`Manifest`].
#[derive(Clone, Debug)]
pub struct Layout {
    blocks: Vec<BlockPlace>,
    packs: Vec<Digest>,
    metadata_blocks: u32,
    metadata_len: u64,
    data_len: u64,
}

impl Layout {
    /// Derives the layout of `manifest`, in O(blocks · log blocks).
    pub fn new(manifest: &Manifest) -> Self {
        let mut layout =
            Self { blocks: Vec::new(), packs: Vec::new(), metadata_blocks: 0, metadata_len: 0, data_len: 0 };
        let mut seen = BTreeMap::new();
        for (nth, segment) in manifest.segments.iter().enumerate() {
            let block = u64::from(BLOCK_SIZE);
            let base = match segment.kind {
                SegmentKind::Metadata => 0,
                SegmentKind::Data => layout.data_len.next_multiple_of(block),
            };
            let mut pack_offset = 0;
            for (entry, at) in segment.blocks.iter().zip(0usize..) {
                let index = layout.next_index();
                layout.blocks.push(BlockPlace {
                    id: entry.id,
                    codec: entry.codec,
                    stored_len: entry.stored_len,
                    raw_len: segment.block_raw_len(at),
                    segment: u32::try_from(nth).unwrap_or(u32::MAX),
                    pack_offset,
                    device_offset: base + at as u64 * block,
                    canonical: *seen.entry(entry.id).or_insert(index),
                });
                pack_offset += u64::from(entry.stored_len);
            }
            layout.packs.push(segment.pack);
            match segment.kind {
                SegmentKind::Metadata => {
                    layout.metadata_blocks = layout.next_index().0;
                    layout.metadata_len = segment.raw_len;
                }
                SegmentKind::Data => layout.data_len = base + segment.raw_len,
            }
        }
        layout
    }

    /// Manifests hold at most `MAX_BLOCKS` blocks, so indices fit.
    fn next_index(&self) -> BlockIndex {
        BlockIndex(u32::try_from(self.blocks.len()).unwrap_or(u32::MAX))
    }

    /// Blocks of the image.
    pub fn len(&self) -> u32 {
        self.next_index().0
    }

    /// Whether the image has no block at all (a decoded manifest has at least one).
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Blocks of the metadata segment: indices `0..metadata_blocks()`.
    pub fn metadata_blocks(&self) -> u32 {
        self.metadata_blocks
    }

    /// Bytes of the metadata image (the EROFS primary device).
    pub fn metadata_len(&self) -> u64 {
        self.metadata_len
    }

    /// Bytes of the data device (the EROFS extra device); 0 if the image has no file data.
    pub fn data_len(&self) -> u64 {
        self.data_len
    }

    /// The block at `index`, or `None` past the end.
    pub fn block(&self, index: BlockIndex) -> Option<&BlockPlace> {
        self.blocks.get(index.0 as usize)
    }

    /// All blocks in order.
    pub fn blocks(&self) -> &[BlockPlace] {
        &self.blocks
    }

    /// The pack of a segment.
    pub fn pack(&self, segment: u32) -> Option<Digest> {
        self.packs.get(segment as usize).copied()
    }

    /// The data block that holds byte `offset` of the data device; `None` in the gap after a segment's end
    /// and past the end of the device (both read as zeros).
    pub fn data_block_at(&self, offset: u64) -> Option<BlockIndex> {
        let data = self.blocks.get(self.metadata_blocks as usize..)?;
        let after = data.partition_point(|block| block.device_offset <= offset);
        let nth = after.checked_sub(1)?;
        let block = &data[nth];
        let inside = offset < block.device_offset + u64::from(block.raw_len);
        inside.then(|| BlockIndex(self.metadata_blocks + u32::try_from(nth).unwrap_or(u32::MAX)))
    }

    /// Groups blocks into byte ranges of their packs: consecutive indices of one segment become one range.
    /// `blocks` is in ascending order; indices past the end are left out.
    pub fn ranges(&self, blocks: &[BlockIndex]) -> Vec<ByteRange> {
        let mut ranges: Vec<ByteRange> = Vec::new();
        let mut segment_of_last = None;
        for &index in blocks {
            let Some(place) = self.block(index) else { continue };
            let Some(pack) = self.pack(place.segment) else { continue };
            let end = place.pack_offset + u64::from(place.stored_len);
            match ranges.last_mut() {
                Some(last)
                    if segment_of_last == Some(place.segment) && last.first.0 + last.count == index.0 =>
                {
                    last.end = end;
                    last.count += 1;
                }
                _ => ranges.push(ByteRange { pack, start: place.pack_offset, end, first: index, count: 1 }),
            }
            segment_of_last = Some(place.segment);
        }
        ranges
    }
}
