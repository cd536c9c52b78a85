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
                raw_len: u64::from(BLOCK_SIZE) + 5000,
                pack: Digest::of(b"b"),
                blocks: vec![block(1, BLOCK_SIZE, Codec::Raw), block(3, 40, Codec::Lz4)],
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
fn one_id_with_two_meanings_is_an_error_that_says_where() {
    // Every block entry has 37 bytes; the last segment's are the last of the manifest.
    let len = sample().encode().len();
    let (dup, last) = (len - 2 * 37, len - 37);
    let twin = dup - 48 - 2 * 37;

    let mut other_length = sample();
    other_length.segments[2].blocks[0] = block(1, 40, Codec::Lz4);
    let id = BlockId::of(&[1]);
    assert_eq!(
        Manifest::decode(&other_length.encode()),
        Err(DecodeError::Conflict { id, at: dup, first: twin })
    );

    // The same stored bytes, of which the shorter block of a segment's end decompresses to less.
    let mut other_raw_len = sample();
    other_raw_len.segments[2].blocks = vec![block(9, 40, Codec::Lz4), block(9, 40, Codec::Lz4)];
    let id = BlockId::of(&[9]);
    assert_eq!(
        Manifest::decode(&other_raw_len.encode()),
        Err(DecodeError::Conflict { id, at: last, first: dup })
    );
}

#[test]
fn layout_places_segments_on_block_boundaries() {
    let layout = Layout::new(&sample());
    let block = u64::from(BLOCK_SIZE);
    assert_eq!(layout.len(), 5);
    assert_eq!(layout.metadata_blocks(), 1);
    assert_eq!(layout.data_len(), 3 * block + 5000);
    let offsets: Vec<u64> = layout.blocks().iter().map(|block| block.device_offset).collect();
    assert_eq!(offsets, [0, 0, block, 2 * block, 3 * block]);
    assert_eq!(layout.block(BlockIndex(3)).unwrap().canonical, BlockIndex(1));
    assert_eq!(layout.data_block_at(0), Some(BlockIndex(1)));
    assert_eq!(layout.data_block_at(block + 10), None, "the gap after a segment");
    assert_eq!(layout.data_block_at(3 * block + 4999), Some(BlockIndex(4)));
    assert_eq!(layout.data_block_at(3 * block + 5000), None);
}

#[test]
fn adjacent_blocks_of_a_pack_become_one_range() {
    let layout = Layout::new(&sample());
    let block = u64::from(BLOCK_SIZE);
    let ranges = layout.ranges(&[0, 1, 2, 3, 4].map(BlockIndex));
    let spans: Vec<_> = ranges.iter().map(|range| (range.start, range.end, range.count)).collect();
    assert_eq!(spans, [(0, 100, 1), (0, block + 10, 2), (0, block + 40, 2)]);
}
