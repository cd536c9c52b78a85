//! What the micro-benchmarks work on. Run them with `cargo bench -p ft-benches`.

pub mod counting;
pub mod relay;

use ft_core::block::BLOCK_SIZE;
use ft_core::manifest::{BlockEntry, Manifest, Segment, SegmentKind};
use ft_core::tree::{self, FunctionTree, Shape};
use ft_core::{BlockId, Codec, Digest, Epoch, VmId};

/// `full` when measuring, `tiny` when `cargo test` only sees whether the benchmark runs.
pub fn size<T>(full: T, tiny: T) -> T {
    let measuring = std::env::args().any(|argument| argument == "--bench");
    if measuring { full } else { tiny }
}

/// A tree of the VMs 0 to `vms`.
pub fn tree_of(shape: Shape, vms: u64) -> Box<dyn FunctionTree + Send> {
    let mut tree = tree::new(shape, Epoch::first(1));
    for vm in 0..vms {
        // The ids differ, so nothing can be refused.
        let inserted = tree.insert(VmId(vm));
        debug_assert!(inserted.is_ok(), "{inserted:?}");
    }
    tree
}

/// A manifest with one metadata block and `blocks` data blocks, all different.
pub fn manifest_of(blocks: u32) -> Manifest {
    let entry = |nth: u32| BlockEntry {
        id: BlockId::of(&nth.to_le_bytes()),
        stored_len: BLOCK_SIZE / 2,
        codec: Codec::Lz4,
    };
    let segment = |kind, blocks: Vec<BlockEntry>| Segment {
        kind,
        raw_len: blocks.len() as u64 * u64::from(BLOCK_SIZE),
        pack: Digest::of(b"pack"),
        blocks,
    };
    Manifest {
        config: b"{}".to_vec(),
        segments: vec![
            segment(SegmentKind::Metadata, vec![entry(0)]),
            segment(SegmentKind::Data, (1..=blocks).map(entry).collect()),
        ],
    }
}

/// A block that compresses to about half: text-like runs and noise by turns, the same on every run.
pub fn block() -> Vec<u8> {
    let mut state = 1_u64;
    let mut noise = move || {
        // xorshift64 (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut block = Vec::with_capacity(BLOCK_SIZE as usize);
    while block.len() < BLOCK_SIZE as usize {
        let word = noise();
        block.extend_from_slice(&word);
        block.extend_from_slice(&word);
    }
    block.truncate(BLOCK_SIZE as usize);
    block
}
