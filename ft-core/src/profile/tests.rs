use alloc::vec;

use proptest::prelude::*;

use super::*;

const IMAGE: u32 = 2000;

fn blocks(indices: impl IntoIterator<Item = u32>) -> Vec<BlockIndex> {
    indices.into_iter().map(BlockIndex).collect()
}

/// Starts with these reports, each of another VM.
fn starts(reports: &[Vec<BlockIndex>]) -> Starts {
    let mut starts = Starts::new(IMAGE);
    for (vm, report) in (1..).zip(reports) {
        starts.record(VmId(vm), report).unwrap();
    }
    starts
}

#[test]
fn one_or_two_starts_count_as_they_are() {
    assert!(Starts::new(IMAGE).profile().is_empty());
    let first = blocks([5, 3, 9]);
    assert_eq!(starts(core::slice::from_ref(&first)).profile(), first);
    let second = blocks([5, 4, 9]);
    assert_eq!(starts(&[first, second]).profile(), blocks([5, 3, 4, 9]));
}

#[test]
fn from_three_starts_on_half_of_them_decide() {
    let reports = [blocks([1, 2, 3]), blocks([1, 3, 8]), blocks([1, 2, 9])];
    assert_eq!(starts(&reports).profile(), blocks([1, 2, 3]));
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let mut starts = starts(&[blocks([1])]);
    let before = starts.clone();
    let past_the_end = ReportError::NoSuchBlock { block: BlockIndex(IMAGE), blocks: IMAGE };
    assert_eq!(starts.record(VmId(1), &blocks([0, IMAGE])), Err(past_the_end));
    assert_eq!(starts.record(VmId(1), &[]), Err(ReportError::Empty));
    assert_eq!(starts, before);
}

#[test]
fn a_vm_has_its_share_and_the_oldest_go_first() {
    let mut starts = Starts::new(IMAGE);
    for nth in 0..10 {
        starts.record(VmId(1), &blocks([nth])).unwrap();
    }
    let kept: Vec<_> = starts.iter().map(|start| start.blocks[0].0).collect();
    assert_eq!(kept, [6, 7, 8, 9]);
    for vm in 2..=40 {
        starts.record(VmId(vm), &blocks([100])).unwrap();
    }
    assert_eq!(starts.len(), STARTS);
    assert_eq!(starts.profile(), blocks([100]), "the first VM's are all gone");
}

#[test]
fn size_is_bounded() {
    let image = 1 << 20;
    let mut starts = Starts::new(image);
    for vm in 0..100u32 {
        let report: Vec<_> = blocks((0..3 * 4096).map(|nth| nth * 17 + vm)).repeat(2);
        starts.record(VmId(vm.into()), &report).unwrap();
    }
    assert!(starts.iter().all(|start| start.blocks.len() == MAX_BLOCKS));
    assert!(starts.profile().len() <= MAX_BLOCKS);
}

#[test]
fn small_differences_are_none() {
    let told = blocks(0..64);
    assert!(!differs(&told, &told));
    assert!(differs(&[], &told) && differs(&told, &[]), "the first one is news");
    let mut swapped = told.clone();
    swapped.swap(3, 4);
    swapped.push(BlockIndex(99));
    assert!(!differs(&told, &swapped));
    assert!(differs(&told, &blocks(0..56)), "an eighth is missing");
    let reversed: Vec<_> = told.iter().rev().copied().collect();
    assert!(differs(&told, &reversed));
}

/// A start's reads, and between three and all of the starts that look the same but for some neighbours that
/// changed places.
fn ordinary() -> impl Strategy<Value = (Vec<BlockIndex>, Vec<Vec<usize>>)> {
    let reads = proptest::collection::hash_set(0..IMAGE, 1..60).prop_map(|set| {
        let mut reads: Vec<_> = set.into_iter().collect();
        reads.sort_by_key(|block| block.wrapping_mul(2_654_435_761));
        blocks(reads)
    });
    let swaps = proptest::collection::vec(any::<proptest::sample::Index>(), 0..6);
    (reads, proptest::collection::vec(swaps, 3..STARTS)).prop_map(|(reads, swaps)| {
        let len = reads.len();
        let places = |swaps: Vec<proptest::sample::Index>| swaps.iter().map(|swap| swap.index(len)).collect();
        (reads, swaps.into_iter().map(places).collect())
    })
}

fn odd(reads: &[BlockIndex], kind: u8, noise: &[u32]) -> Vec<BlockIndex> {
    match kind % 3 {
        0 => blocks(0..IMAGE),
        1 => blocks(noise.iter().copied()),
        _ => reads[..1].to_vec(),
    }
}

proptest! {
    #[test]
    fn one_odd_start_changes_nothing(
        (reads, swaps) in ordinary(),
        kind: u8,
        at: proptest::sample::Index,
        noise in proptest::collection::vec(0..IMAGE, 1..200),
    ) {
        let mut reports = vec![reads.clone(); swaps.len()];
        let expected = starts(&reports).profile();
        prop_assert_eq!(&expected, &reads);
        reports.insert(at.index(reports.len() + 1), odd(&reads, kind, &noise));
        prop_assert_eq!(starts(&reports).profile(), expected);
    }

    #[test]
    fn one_odd_start_adds_and_removes_no_block_where_orders_vary(
        (reads, swaps) in ordinary(),
        kind: u8,
        at: proptest::sample::Index,
        noise in proptest::collection::vec(0..IMAGE, 1..200),
    ) {
        let vary = |places: &Vec<usize>| {
            let mut report = reads.clone();
            for place in places {
                report.swap(*place, (place + 1) % reads.len());
            }
            report
        };
        let mut reports: Vec<_> = swaps.iter().map(vary).collect();
        reports.insert(at.index(reports.len() + 1), odd(&reads, kind, &noise));
        let mut profile = starts(&reports).profile();
        profile.sort_unstable();
        let mut expected = reads.clone();
        expected.sort_unstable();
        prop_assert_eq!(profile, expected);
    }

    #[test]
    fn recorded_again_the_starts_give_the_same_profile(
        reports in proptest::collection::vec((1..6u64, proptest::collection::vec(0..IMAGE, 1..50)), 0..40),
    ) {
        let mut first = Starts::new(IMAGE);
        for (vm, report) in reports {
            first.record(VmId(vm), &blocks(report)).unwrap();
        }
        let mut second = Starts::new(IMAGE);
        for start in first.iter() {
            second.record(start.vm, &start.blocks).unwrap();
        }
        prop_assert_eq!(first, second);
    }
}
