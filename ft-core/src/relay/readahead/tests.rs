use alloc::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// A reader's view: what is here, and what was asked for ahead and never read.
struct Reader {
    readahead: Readahead,
    here: BTreeSet<u32>,
    reads: usize,
    /// Blocks that had to be waited for.
    waits: usize,
    expected: usize,
    /// Of these, the ones that were read.
    used: BTreeMap<u32, bool>,
}

impl Reader {
    fn new(blocks: u32) -> Self {
        let readahead = Readahead::new(ReadaheadLimits::default(), BlockIndex(10), BlockIndex(10 + blocks));
        Self { readahead, here: BTreeSet::new(), reads: 0, waits: 0, expected: 0, used: BTreeMap::new() }
    }

    /// Reads a block; what is expected because of that comes before the next read.
    fn read(&mut self, block: u32) -> Vec<u32> {
        let Self { readahead, here, .. } = self;
        let missing = |block: BlockIndex| !here.contains(&block.0);
        let expected: Vec<u32> =
            readahead.observe(BlockIndex(block), missing).into_iter().map(|block| block.0).collect();
        self.reads += 1;
        self.waits += usize::from(here.insert(block));
        if let Some(used) = self.used.get_mut(&block) {
            *used = true;
        }
        for &block in &expected {
            assert!(here.insert(block), "{block} is here");
            assert!(self.used.insert(block, false).is_none());
        }
        self.expected += expected.len();
        expected
    }

    fn wasted(&self) -> usize {
        self.used.values().filter(|used| !**used).count()
    }
}

/// Numbers without a pattern (SplitMix64).
fn random(seed: u64) -> impl Iterator<Item = u32> {
    (1u64..).map(move |nth| {
        let mut mixed = seed.wrapping_add(nth.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 32) as u32
    })
}

#[test]
fn a_sequential_scan_gets_ahead_and_further_ahead() {
    let mut reader = Reader::new(500);
    assert_eq!(reader.read(20), [], "one read says nothing");
    assert_eq!(reader.read(21), [22]);
    assert_eq!(reader.read(22), [23, 24]);
    assert_eq!(reader.read(23), [25, 26, 27]);
    let ahead: usize = (24..300).map(|block| reader.read(block).len()).sum();
    assert_eq!(reader.waits, 2, "nothing but the first two is waited for");
    assert!(ahead > 276, "the window has grown: {ahead}");
    assert!(reader.wasted() <= 16);
}

#[test]
fn it_stays_within_the_image_and_skips_what_is_here() {
    let mut reader = Reader::new(10);
    reader.here.extend([13, 14]);
    assert_eq!(reader.read(9), [], "metadata is not its business");
    assert_eq!(reader.read(20), [], "nor what is past the end");
    for block in [11, 11, 11, 12] {
        assert_eq!(reader.read(block), [], "13 is here");
    }
    assert_eq!(reader.read(13), [15]);
    assert_eq!(reader.read(14), [16, 17, 18]);
    assert_eq!(reader.read(15), [19]);
    assert_eq!(reader.read(16), []);
}

#[test]
fn reads_that_overtake_each_other_are_one_stream() {
    let mut reader = Reader::new(500);
    for pair in (20..220).step_by(2) {
        reader.read(pair + 1);
        reader.read(pair);
    }
    assert!(reader.waits <= 8, "{} waits", reader.waits);
}

#[test]
fn interleaved_scans_all_get_ahead() {
    let mut reader = Reader::new(2_000);
    for step in 0..100 {
        for start in [100, 700, 1_300, 1_900] {
            // Every block in several reads.
            reader.read(start + step);
            reader.read(start + step);
        }
    }
    assert!(reader.waits <= 4 * 4, "{} waits", reader.waits);
    assert!(reader.wasted() <= 4 * 16, "{} wasted", reader.wasted());
}

#[test]
fn reads_at_random_cost_little_and_sequential_ones_soon_get_ahead_again() {
    for (seed, blocks) in [(1, 10_000), (2, 1_000), (3, 300)] {
        let mut reader = Reader::new(blocks);
        for block in random(seed).take(2_000) {
            reader.read(10 + block % blocks);
        }
        assert!(reader.wasted() * 20 < reader.reads, "{} of {blocks} wasted", reader.wasted());
        // With none left, whatever there was.
        reader.readahead.credit = 0;
        reader.here.clear();
        reader.used.clear();
        reader.waits = 0;
        for block in 100..200 {
            reader.read(block);
        }
        assert!(reader.waits <= 40, "{} waits", reader.waits);
    }
}

#[test]
fn many_short_files_waste_little() {
    let mut reader = Reader::new(50_000);
    for file in random(4).take(200) {
        let start = 10 + file % 49_000;
        for block in start..start + 6 {
            reader.read(block);
        }
    }
    assert!(reader.waits < reader.reads, "{} of {} reads wait", reader.waits, reader.reads);
    assert!(reader.wasted() * 20 < reader.reads, "{} of {} wasted", reader.wasted(), reader.reads);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is read, it wastes at most what it has earned, and keeps little.
    #[test]
    fn waste_is_bounded_by_use(
        blocks in 1u32..400,
        reads in proptest::collection::vec((0u32..400, 1u32..12), 1..200),
    ) {
        let mut reader = Reader::new(blocks);
        for (start, count) in reads {
            for block in start..start + count {
                let expected = reader.read(block);
                prop_assert!(expected.is_sorted());
                prop_assert!(expected.iter().all(|at| (10..10 + blocks).contains(at)));
                prop_assert!(expected.len() <= 16);
            }
        }
        // What it started with, and what the reads have earned.
        let credit = (START / BLOCK) as usize + reader.reads / (BLOCK / TRICKLE) as usize;
        prop_assert!(reader.wasted() <= credit, "{} wasted", reader.wasted());
        prop_assert!(reader.expected <= credit + reader.reads);
        prop_assert!(reader.readahead.streams.len() <= 8);
    }
}
