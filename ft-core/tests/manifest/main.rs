//! Manifests come from outside: whatever their bytes are, decoding neither panics nor takes more memory than
//! they justify, and what it accepts is consistent.

mod memory;

use ft_core::block::BLOCK_SIZE;
use ft_core::manifest::{BlockEntry, DecodeError, Layout, Manifest, Segment, SegmentKind};
use ft_core::{BlockId, BlockIndex, Codec, Digest};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::memory::peak_of;

/// Decodes and holds the result to everything that a manifest promises.
fn decode(bytes: &[u8]) -> Result<Manifest, DecodeError> {
    let (decoded, peak) = peak_of(|| Manifest::decode(bytes));
    assert!(peak <= 4 * bytes.len() + 4096, "{peak} bytes allocated for {} bytes", bytes.len());
    if let Ok(manifest) = &decoded {
        assert_eq!(manifest.encode(), bytes, "there is one encoding of each manifest");
        check_layout(&Layout::new(manifest), manifest);
    }
    decoded
}

fn check_layout(layout: &Layout, manifest: &Manifest) {
    let blocks = layout.blocks();
    assert_eq!(blocks.len(), manifest.segments.iter().map(|segment| segment.blocks.len()).sum::<usize>());
    assert_eq!(blocks.iter().map(|block| u64::from(block.raw_len)).sum::<u64>(), manifest.image_bytes());
    assert_eq!(blocks.iter().map(|block| u64::from(block.stored_len)).sum::<u64>(), manifest.stored_bytes());
    for (block, index) in blocks.iter().zip((0..).map(BlockIndex)) {
        assert!(block.canonical <= index);
        let twin = layout.block(block.canonical).expect("a canonical index is an index");
        assert_eq!(
            (twin.id, twin.codec, twin.stored_len, twin.raw_len),
            (block.id, block.codec, block.stored_len, block.raw_len)
        );
        assert_eq!(twin.canonical, block.canonical);
        if index.0 >= layout.metadata_blocks() {
            let last_byte = block.device_offset + u64::from(block.raw_len) - 1;
            assert_eq!(layout.data_block_at(block.device_offset), Some(index));
            assert_eq!(layout.data_block_at(last_byte), Some(index));
            assert!(last_byte < layout.data_len());
        }
    }
}

/// Valid manifests. A block follows from its number and its length, so numbers that occur again give
/// blocks that occur again.
fn manifests() -> impl Strategy<Value = Manifest> {
    let numbers = vec(0..6_u8, 1..6);
    let segment = (numbers, 1..=BLOCK_SIZE);
    (vec(any::<u8>(), 0..100), vec(segment, 1..5)).prop_map(|(config, segments)| Manifest {
        config,
        segments: segments
            .into_iter()
            .enumerate()
            .map(|(nth, (numbers, last_len))| segment_of(nth, &numbers, last_len))
            .collect(),
    })
}

fn segment_of(nth: usize, numbers: &[u8], last_len: u32) -> Segment {
    let full = numbers.len() as u64 - 1;
    let mut segment = Segment {
        kind: if nth == 0 { SegmentKind::Metadata } else { SegmentKind::Data },
        raw_len: full * u64::from(BLOCK_SIZE) + u64::from(last_len),
        pack: Digest::of(numbers),
        blocks: Vec::new(),
    };
    for (nth, number) in numbers.iter().enumerate() {
        let raw_len = segment.block_raw_len(nth);
        let compressed = number % 2 == 0 && raw_len > 1;
        let mut seed = raw_len.to_le_bytes().to_vec();
        seed.push(*number);
        segment.blocks.push(BlockEntry {
            id: BlockId::of(&seed),
            stored_len: if compressed { raw_len.div_ceil(2) } else { raw_len },
            codec: if compressed { Codec::Lz4 } else { Codec::Raw },
        });
    }
    segment
}

/// One thing done to valid bytes.
#[derive(Clone, Debug)]
enum Damage {
    Flip { at: usize, bits: u8 },
    Overwrite { at: usize, with: [u8; 4] },
    Insert { at: usize, byte: u8 },
    Cut { at: usize, len: usize },
    Truncate { at: usize },
    Repeat { at: usize, len: usize },
}

fn damages() -> impl Strategy<Value = Damage> {
    let at = any::<usize>();
    prop_oneof![
        (at, 1..=u8::MAX).prop_map(|(at, bits)| Damage::Flip { at, bits }),
        (at, prop_oneof![any::<[u8; 4]>(), Just([0xff; 4]), Just([0; 4])])
            .prop_map(|(at, with)| Damage::Overwrite { at, with }),
        (at, any::<u8>()).prop_map(|(at, byte)| Damage::Insert { at, byte }),
        (at, 1..100_usize).prop_map(|(at, len)| Damage::Cut { at, len }),
        at.prop_map(|at| Damage::Truncate { at }),
        (at, 1..100_usize).prop_map(|(at, len)| Damage::Repeat { at, len }),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    let end = |at: usize, len: usize, bytes: &[u8]| (at + len).min(bytes.len());
    match *damage {
        Damage::Flip { at, bits } => {
            let at = at % bytes.len();
            bytes[at] ^= bits;
        }
        Damage::Overwrite { at, with } => {
            let at = at % bytes.len();
            bytes[at..].iter_mut().zip(with).for_each(|(byte, new)| *byte = new);
        }
        Damage::Insert { at, byte } => bytes.insert(at % bytes.len(), byte),
        Damage::Cut { at, len } => {
            let at = at % bytes.len();
            bytes.drain(at..end(at, len, bytes));
        }
        Damage::Truncate { at } => bytes.truncate(at % bytes.len()),
        Damage::Repeat { at, len } => {
            let at = at % bytes.len();
            let piece = bytes[at..end(at, len, bytes)].to_vec();
            bytes.splice(at..at, piece);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_decode_or_fail_cleanly(bytes in vec(any::<u8>(), 0..2_000)) {
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn any_bytes_after_a_valid_head_decode_or_fail_cleanly(tail in vec(any::<u8>(), 0..2_000)) {
        let mut bytes = b"FTMF\x01\0\0\0".to_vec();
        bytes.extend_from_slice(&BLOCK_SIZE.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&tail);
        decode(&bytes).ok();
    }

    #[test]
    fn valid_manifests_come_back(manifest in manifests()) {
        prop_assert_eq!(decode(&manifest.encode()), Ok(manifest));
    }

    #[test]
    fn damaged_manifests_decode_or_fail_cleanly(
        manifest in manifests(),
        damages in vec(damages(), 1..4),
    ) {
        let mut bytes = manifest.encode();
        for damage in &damages {
            apply(&mut bytes, damage);
        }
        decode(&bytes).ok();
    }
}

#[test]
fn a_claim_of_many_blocks_costs_nothing_unless_they_are_there() {
    let mut bytes = b"FTMF\x01\0\0\0".to_vec();
    bytes.extend_from_slice(&BLOCK_SIZE.to_le_bytes());
    bytes.extend_from_slice(&0_u32.to_le_bytes());
    bytes.extend_from_slice(&1_u32.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    let blocks = 1_u32 << 20;
    bytes.extend_from_slice(&(u64::from(blocks) * u64::from(BLOCK_SIZE)).to_le_bytes());
    bytes.extend_from_slice(&[0; 32]);
    bytes.extend_from_slice(&blocks.to_le_bytes());
    let len = bytes.len();
    assert_eq!(decode(&bytes), Err(DecodeError::Truncated { field: "blocks", len }));
}
