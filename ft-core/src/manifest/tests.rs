use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::block::BlockIndex;

fn block(seed: u8, stored_len: u32, codec: Codec) -> BlockEntry {
    BlockEntry { id: BlockId::of(&[seed]), stored_len, codec }
}

fn sample() -> Manifest {
    Manifest {
        config: b"{}".to_vec(),
        segments: vec![
            Segment {
                kind: SegmentKind::Metadata,
                raw_len: 8192,
                pack: Digest::of(b"meta"),
                blocks: vec![block(0, 100, Codec::Lz4)],
            },
            Segment {
                kind: SegmentKind::Data,
                raw_len: u64::from(BLOCK_SIZE) + 10,
                pack: Digest::of(b"a"),
                blocks: vec![block(1, BLOCK_SIZE, Codec::Raw), block(2, 10, Codec::Raw)],
            },
            Segment {
                kind: SegmentKind::Data,
                raw_len: 5000,
                pack: Digest::of(b"b"),
                blocks: vec![block(1, 40, Codec::Lz4)],
            },
        ],
    }
}

#[test]
fn decodes_what_it_encodes() {
    let manifest = sample();
    assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
}

#[test]
fn every_truncation_and_every_trailing_byte_is_an_error() {
    let bytes = sample().encode();
    for len in 0..bytes.len() {
        assert!(Manifest::decode(&bytes[..len]).is_err(), "accepted {len} of {} bytes", bytes.len());
    }
    let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
    assert_eq!(Manifest::decode(&longer), Err(DecodeError::Trailing { count: 1 }));
}

#[test]
fn layout_places_segments_on_block_boundaries() {
    let layout = Layout::new(&sample());
    assert_eq!(layout.len(), 4);
    assert_eq!(layout.metadata_blocks(), 1);
    assert_eq!(layout.data_len(), 2 * u64::from(BLOCK_SIZE) + 5000);
    let offsets: Vec<u64> = layout.blocks().iter().map(|block| block.device_offset).collect();
    assert_eq!(offsets, [0, 0, u64::from(BLOCK_SIZE), 2 * u64::from(BLOCK_SIZE)]);
    assert_eq!(layout.block(BlockIndex(3)).unwrap().canonical, BlockIndex(1));
    assert_eq!(layout.data_block_at(0), Some(BlockIndex(1)));
    assert_eq!(layout.data_block_at(u64::from(BLOCK_SIZE) + 10), None, "the gap after a segment");
    assert_eq!(layout.data_block_at(2 * u64::from(BLOCK_SIZE) + 4999), Some(BlockIndex(3)));
    assert_eq!(layout.data_block_at(2 * u64::from(BLOCK_SIZE) + 5000), None);
}

#[test]
fn adjacent_blocks_of_a_pack_become_one_range() {
    let layout = Layout::new(&sample());
    let ranges = layout.ranges(&[BlockIndex(0), BlockIndex(1), BlockIndex(2), BlockIndex(3)]);
    let spans: Vec<_> = ranges.iter().map(|range| (range.start, range.end, range.count)).collect();
    assert_eq!(spans, [(0, 100, 1), (0, u64::from(BLOCK_SIZE) + 10, 2), (0, 40, 1)]);
}
