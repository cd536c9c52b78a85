//! How a regular file is divided into chunks.
//!
//! All chunks of a file have the same size, a power of two; each is either a hole or lies in one piece on
//! the data device. So a file without holes wants the smallest chunk that covers it (one index), and a sparse
//! one the largest that its holes allow.

use super::disk::{BLOCK, BLOCK_BITS, MAX_CHUNK_BITS};
use crate::entry::Segment;

/// The most chunks that a sparse file is divided into; beyond, chunks get larger and small holes are stored
/// as zeros.
const MAX_SPARSE_CHUNKS: u64 = 1 << 20;

/// A part of a file that is stored, in whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// First byte in the file, a multiple of the chunk size.
    pub(crate) start: u64,
    /// One past the last byte: a multiple of the chunk size, or the file's end rounded up to a block.
    pub(crate) end: u64,
}

/// How to divide one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChunkPlan {
    /// The chunk size as a power of two.
    pub(crate) bits: u8,
    /// The stored parts in order, with holes between them.
    pub(crate) spans: Vec<Span>,
}

impl ChunkPlan {
    /// The plan for a file of `size` bytes with data in `segments` (in order, within the file); `size` is
    /// at most 2^62.
    pub(crate) fn new(size: u64, segments: &[Segment]) -> Self {
        let end = size.next_multiple_of(BLOCK.into());
        let largest = cover_bits(size);
        let blocks = round(segments, BLOCK_BITS, end);
        let dense = matches!(blocks[..], [Span { start: 0, end: last }] if last == end) || blocks.is_empty();
        if dense {
            return Self { bits: largest, spans: blocks };
        }
        let edges = blocks.iter().flat_map(|span| [span.start, span.end]).filter(|edge| *edge != end);
        let aligned = edges.map(u64::trailing_zeros).min().unwrap_or(u32::from(largest));
        // At most 64, so it fits.
        let mut bits = u8::try_from(aligned).unwrap_or(largest).min(largest);
        while bits < largest && size >> bits > MAX_SPARSE_CHUNKS {
            bits += 1;
        }
        Self { bits, spans: round(segments, bits, end) }
    }
}

/// The smallest allowed chunk that covers `size` bytes, or else the largest allowed one.
fn cover_bits(size: u64) -> u8 {
    let bits = size.next_power_of_two().trailing_zeros();
    u8::try_from(bits).unwrap_or(MAX_CHUNK_BITS).clamp(BLOCK_BITS, MAX_CHUNK_BITS)
}

/// `segments` widened to multiples of `2^bits` but not beyond `end`; those that then touch become one.
fn round(segments: &[Segment], bits: u8, end: u64) -> Vec<Span> {
    let unit = 1 << bits;
    let mut spans: Vec<Span> = Vec::new();
    for segment in segments {
        let start = segment.offset / unit * unit;
        let stop = (segment.offset + segment.len).next_multiple_of(unit).min(end);
        match spans.last_mut() {
            Some(last) if last.end >= start => last.end = last.end.max(stop),
            _ => spans.push(Span { start, end: stop }),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(size: u64, segments: &[(u64, u64)]) -> (u8, Vec<(u64, u64)>) {
        let segments: Vec<_> = segments.iter().map(|&(offset, len)| Segment { offset, len }).collect();
        let plan = ChunkPlan::new(size, &segments);
        (plan.bits, plan.spans.iter().map(|span| (span.start, span.end)).collect())
    }

    #[test]
    fn a_file_without_holes_is_one_chunk() {
        assert_eq!(plan(1, &[(0, 1)]), (12, vec![(0, 4096)]));
        assert_eq!(plan(4097, &[(0, 4097)]), (13, vec![(0, 8192)]));
        assert_eq!(plan(1 << 40, &[(0, 1 << 40)]), (31, vec![(0, 1 << 40)]));
    }

    #[test]
    fn a_hole_alone_is_one_chunk() {
        assert_eq!(plan(1 << 20, &[]), (20, vec![]));
    }

    #[test]
    fn holes_decide_the_chunk_size() {
        // Data at 1 MiB and at 3 MiB, the latter up to the end.
        let (mib, size) = (1 << 20, (3 << 20) + 5);
        assert_eq!(
            plan(size, &[(mib, mib), (3 * mib, 5)]),
            (20, vec![(mib, 2 * mib), (3 * mib, 3 * mib + 4096)])
        );
        assert_eq!(plan(size, &[(100, 1), (9000, 1)]), (12, vec![(0, 4096), (8192, 12288)]));
    }

    #[test]
    fn a_hole_smaller_than_a_block_is_stored() {
        assert_eq!(plan(5000, &[(0, 10), (4000, 1000)]), (13, vec![(0, 8192)]));
    }

    #[test]
    fn a_huge_sparse_file_gets_larger_chunks() {
        let (bits, spans) = plan(1 << 40, &[(4096, 1), (1 << 39, 1)]);
        assert_eq!((bits, spans.len()), (20, 2));
    }
}
