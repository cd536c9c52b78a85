//! The manifest of a function image: the list of its blocks, and the root of trust.
//!
//! A manifest is addressed by the SHA-256 of its encoded bytes (`docs/formats.md` has every byte). It holds
//! the run configuration, one metadata segment and any number of data segments.

use alloc::vec::Vec;

use crate::block::{BLOCK_SIZE, BlockId, Codec};
use crate::digest::Digest;

mod codec;
mod layout;
#[cfg(test)]
mod tests;

pub use codec::DecodeError;
pub use layout::{BlockPlace, ByteRange, Layout};

/// The most bytes that an encoded manifest may have: 64 MiB, an image of about 900 GB.
pub const MAX_MANIFEST_BYTES: usize = 64 << 20;
/// The most bytes that a run configuration may have.
pub const MAX_CONFIG_BYTES: usize = 256 << 10;
/// The most segments that an image may have.
pub const MAX_SEGMENTS: usize = 1024;
/// The most blocks that an image may have.
pub const MAX_BLOCKS: usize = 1 << 20;

/// What a function image consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The run configuration: JSON that the core does not look into.
    pub config: Vec<u8>,
    /// The metadata segment first, then the data segments in layer order.
    pub segments: Vec<Segment>,
}

/// The metadata of an image, or the file data of one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// What the segment holds.
    pub kind: SegmentKind,
    /// Raw (decompressed) bytes of the segment, at least 1.
    pub raw_len: u64,
    /// SHA-256 of the pack: the segment's stored blocks back to back.
    pub pack: Digest,
    /// The blocks in order; `ceil(raw_len / BLOCK_SIZE)` of them.
    pub blocks: Vec<BlockEntry>,
}

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SegmentKind {
    /// The EROFS primary device: superblock, inodes, directories, xattrs, chunk map.
    Metadata = 0,
    /// A part of the EROFS extra device: file data of one layer.
    Data = 1,
}

/// One block of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockEntry {
    /// BLAKE3 of the stored bytes.
    pub id: BlockId,
    /// Stored bytes, 1 to [`BLOCK_SIZE`].
    pub stored_len: u32,
    /// How the stored bytes encode the raw ones.
    pub codec: Codec,
}

impl Segment {
    /// Raw bytes of the segment's block `nth`: [`BLOCK_SIZE`], except perhaps for the last.
    pub fn block_raw_len(&self, nth: usize) -> u32 {
        let start = nth as u64 * u64::from(BLOCK_SIZE);
        let left = self.raw_len.saturating_sub(start).min(u64::from(BLOCK_SIZE));
        // At most BLOCK_SIZE, so this cannot fail.
        u32::try_from(left).unwrap_or(BLOCK_SIZE)
    }

    /// Bytes of the pack.
    pub fn pack_len(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.stored_len)).sum()
    }
}

impl Manifest {
    /// The manifest's bytes; see `docs/formats.md`. [`Manifest::decode`] accepts them if the manifest is
    /// within the limits.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Parses and validates a manifest; never reads past `bytes`, never allocates more than they justify.
    ///
    /// # Errors
    /// [`DecodeError`] says what is wrong and where.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes)
    }

    /// Raw bytes of all segments together.
    pub fn image_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.raw_len).sum()
    }

    /// Stored bytes of all segments together; a block that occurs twice counts twice.
    pub fn stored_bytes(&self) -> u64 {
        self.segments.iter().map(Segment::pack_len).sum()
    }
}
