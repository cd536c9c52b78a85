//! Encoding and decoding of manifests.

use alloc::vec::Vec;

use super::{
    BlockEntry, MAX_BLOCKS, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, MAX_SEGMENTS, Manifest, Segment,
    SegmentKind,
};
use crate::block::{BLOCK_SIZE, BlockId, Codec};
use crate::digest::Digest;

const MAGIC: [u8; 4] = *b"FTMF";
const VERSION: u16 = 1;
/// kind, padding, raw_len, pack, block count.
const SEGMENT_HEAD_BYTES: usize = 1 + 3 + 8 + 32 + 4;
/// id, stored_len, codec.
const BLOCK_ENTRY_BYTES: usize = 32 + 4 + 1;

/// Why bytes are not a manifest. Offsets are in bytes from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More bytes than any manifest may have.
    #[error("manifest of {len} bytes is larger than the limit of {MAX_MANIFEST_BYTES}")]
    TooLarge {
        /// Bytes given.
        len: usize,
    },
    /// The bytes end inside a field.
    #[error("manifest ends at byte {len}, inside {field}")]
    Truncated {
        /// What was being read.
        field: &'static str,
        /// Bytes given.
        len: usize,
    },
    /// The bytes do not start with `FTMF`.
    #[error("not a manifest: it does not start with FTMF")]
    Magic,
    /// A version this code does not know.
    #[error("manifest version {found} is not supported (this build reads version {VERSION})")]
    Version {
        /// The version field.
        found: u16,
    },
    /// A field has a value that the format does not allow.
    #[error("manifest field {field} has the invalid value {value}, at byte {at}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// Where it starts.
        at: usize,
    },
    /// One block id stands for different blocks.
    #[error(
        "block {id} at byte {at} has another length or codec than the block with the same id at byte {first}"
    )]
    Conflict {
        /// The id.
        id: BlockId,
        /// Where the first entry that disagrees with an earlier one starts.
        at: usize,
        /// Where the earlier one starts.
        first: usize,
    },
    /// Bytes follow the last field.
    #[error("{count} bytes follow the end of the manifest")]
    Trailing {
        /// How many.
        count: usize,
    },
}

pub(super) fn encode(manifest: &Manifest) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&0u16.to_le_bytes());
    out.extend_from_slice(&BLOCK_SIZE.to_le_bytes());
    put_len(&mut out, manifest.config.len());
    out.extend_from_slice(&manifest.config);
    put_len(&mut out, manifest.segments.len());
    for segment in &manifest.segments {
        out.extend_from_slice(&[segment.kind as u8, 0, 0, 0]);
        out.extend_from_slice(&segment.raw_len.to_le_bytes());
        out.extend_from_slice(segment.pack.as_bytes());
        put_len(&mut out, segment.blocks.len());
        for block in &segment.blocks {
            out.extend_from_slice(block.id.as_bytes());
            out.extend_from_slice(&block.stored_len.to_le_bytes());
            out.push(block.codec as u8);
        }
    }
    out
}

/// Lengths beyond 32 bits are far over every limit; the decoder rejects the saturated value.
fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
}

pub(super) fn decode(bytes: &[u8]) -> Result<Manifest, DecodeError> {
    if bytes.len() > MAX_MANIFEST_BYTES {
        return Err(DecodeError::TooLarge { len: bytes.len() });
    }
    let mut reader = Reader { bytes, at: 0 };
    if reader.take(4, "magic").map_err(|_| DecodeError::Magic)? != MAGIC {
        return Err(DecodeError::Magic);
    }
    let version = reader.u16("version")?;
    if version != VERSION {
        return Err(DecodeError::Version { found: version });
    }
    reader.expect_zero(2, "flags")?;
    reader.bounded("block size", BLOCK_SIZE as usize, BLOCK_SIZE as usize)?;
    let config_len = reader.bounded("config length", 0, MAX_CONFIG_BYTES)?;
    let config = reader.take(config_len, "config")?.to_vec();
    let count = reader.bounded("segment count", 1, MAX_SEGMENTS)?;
    let mut blocks_left = MAX_BLOCKS;
    let mut segments = Vec::new();
    let first_segment = reader.at;
    for nth in 0..count {
        let segment = decode_segment(&mut reader, nth, blocks_left)?;
        blocks_left -= segment.blocks.len();
        segments.push(segment);
    }
    check_twins(&segments, first_segment)?;
    match bytes.len() - reader.at {
        0 => Ok(Manifest { config, segments }),
        count => Err(DecodeError::Trailing { count }),
    }
}

/// What the entry at byte `at` says of a block.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    id: BlockId,
    at: usize,
    stored_len: u32,
    raw_len: u32,
    codec: Codec,
}

impl Claim {
    fn agrees(&self, other: &Self) -> bool {
        (self.stored_len, self.raw_len, self.codec) == (other.stored_len, other.raw_len, other.codec)
    }
}

/// Wherever an id occurs, the entry must say the same of the block: it is transferred once and stands for all
/// of them. `at` is the byte at which the first segment starts.
fn check_twins(segments: &[Segment], mut at: usize) -> Result<(), DecodeError> {
    let count = segments.iter().map(|segment| segment.blocks.len()).sum();
    let mut claims = Vec::with_capacity(count);
    for segment in segments {
        at += SEGMENT_HEAD_BYTES;
        for (nth, block) in segment.blocks.iter().enumerate() {
            let BlockEntry { id, stored_len, codec } = *block;
            claims.push(Claim { id, at, stored_len, raw_len: segment.block_raw_len(nth), codec });
            at += BLOCK_ENTRY_BYTES;
        }
    }
    // Sorting, unlike hashing, takes no longer for ids that were chosen with malice.
    claims.sort_unstable();
    let twins = claims.chunk_by(|left, right| left.id == right.id);
    let conflicts = twins.filter_map(|twins| {
        let (first, others) = twins.split_first()?;
        Some((others.iter().find(|other| !other.agrees(first))?.at, first))
    });
    match conflicts.min_by_key(|(at, _)| *at) {
        None => Ok(()),
        Some((at, first)) => Err(DecodeError::Conflict { id: first.id, at, first: first.at }),
    }
}

fn decode_segment(reader: &mut Reader<'_>, nth: usize, blocks_left: usize) -> Result<Segment, DecodeError> {
    let at = reader.at;
    let kind = match (nth, reader.u8("segment kind")?) {
        (0, 0) => SegmentKind::Metadata,
        (1.., 1) => SegmentKind::Data,
        (_, value) => return Err(DecodeError::Invalid { field: "segment kind", value: value.into(), at }),
    };
    reader.expect_zero(3, "segment padding")?;
    let at = reader.at;
    let raw_len = reader.u64("segment length")?;
    let pack = Digest::from_bytes(reader.array("pack digest")?);
    let expected = raw_len.div_ceil(u64::from(BLOCK_SIZE));
    let expected = match usize::try_from(expected) {
        Ok(count) if count >= 1 && count <= blocks_left => count,
        _ => return Err(DecodeError::Invalid { field: "segment length", value: raw_len, at }),
    };
    let count = reader.bounded("block count", expected, expected)?;
    // Known to be there before it is allocated.
    let entries = reader.take(count * BLOCK_ENTRY_BYTES, "blocks")?;
    let first = reader.at - entries.len();
    let mut segment = Segment { kind, raw_len, pack, blocks: Vec::with_capacity(count) };
    for (nth, entry) in entries.chunks_exact(BLOCK_ENTRY_BYTES).enumerate() {
        let at = first + nth * BLOCK_ENTRY_BYTES;
        let block = decode_block(entry, at, segment.block_raw_len(nth))?;
        segment.blocks.push(block);
    }
    Ok(segment)
}

fn decode_block(entry: &[u8], at: usize, raw_len: u32) -> Result<BlockEntry, DecodeError> {
    let mut reader = Reader { bytes: entry, at: 0 };
    let id = BlockId::from_bytes(reader.array("block id")?);
    let stored_len = reader.u32("stored length")?;
    let number = reader.u8("codec")?;
    let codec = Codec::from_number(number).ok_or(DecodeError::Invalid {
        field: "codec",
        value: number.into(),
        at: at + 36,
    })?;
    let valid = match codec {
        Codec::Raw => stored_len == raw_len,
        Codec::Lz4 => stored_len >= 1 && stored_len < raw_len,
    };
    if !valid {
        return Err(DecodeError::Invalid { field: "stored length", value: stored_len.into(), at: at + 32 });
    }
    Ok(BlockEntry { id, stored_len, codec })
}

/// Reads fields off a slice, little-endian.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(len);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or(DecodeError::Truncated { field, len: self.bytes.len() })?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, field)?);
        Ok(array)
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array(field).map(u8::from_le_bytes)
    }

    fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_le_bytes)
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_le_bytes)
    }

    fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A 32-bit length within `low..=high`.
    fn bounded(&mut self, field: &'static str, low: usize, high: usize) -> Result<usize, DecodeError> {
        let at = self.at;
        let value = self.u32(field)?;
        match usize::try_from(value) {
            Ok(len) if (low..=high).contains(&len) => Ok(len),
            _ => Err(DecodeError::Invalid { field, value: value.into(), at }),
        }
    }

    fn expect_zero(&mut self, len: usize, field: &'static str) -> Result<(), DecodeError> {
        let at = self.at;
        match self.take(len, field)?.iter().find(|byte| **byte != 0) {
            None => Ok(()),
            Some(byte) => Err(DecodeError::Invalid { field, value: (*byte).into(), at }),
        }
    }
}
