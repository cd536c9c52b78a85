use alloc::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::relay::event::Class;
use crate::relay::testing::layout;

const METADATA: u32 = 3;
const BLOCKS: u32 = 24;

/// Three metadata blocks and 21 of data, of which the last two repeat the first two of them.
fn catalog() -> Catalog {
    Catalog::new(&layout(METADATA, (METADATA..BLOCKS - 2).chain([METADATA, METADATA + 1])))
}

#[derive(Clone, Debug)]
enum Step {
    Stored(u32),
    Dropped(u32),
    Parked(u32),
    Unparked(u32),
    Resumed,
    /// On its way, or no more so because it was refused and parked.
    Going(u32),
    Profile(Vec<u32>),
    Split(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let block = || 0..BLOCKS - 2;
    prop_oneof![
        4 => block().prop_map(Step::Stored),
        2 => block().prop_map(Step::Dropped),
        2 => block().prop_map(Step::Parked),
        1 => block().prop_map(Step::Unparked),
        1 => Just(Step::Resumed),
        2 => block().prop_map(Step::Going),
        1 => proptest::collection::vec(0..BLOCKS, 0..10).prop_map(Step::Profile),
        1 => (1u8..=2).prop_map(Step::Split),
    ]
}

/// What is wanted, in order, worked out the long way.
fn wanted(full: bool, profile: &[u32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..METADATA).collect();
    let profile = profile
        .iter()
        .map(|block| if *block >= BLOCKS - 2 { *block - (BLOCKS - 2) + METADATA } else { *block });
    let rest = METADATA..if full { BLOCKS - 2 } else { METADATA };
    for block in profile.chain(rest) {
        if !order.contains(&block) {
            order.push(block);
        }
    }
    order
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The next block is always the first one in the order of metadata, profile and rest that is to be pulled.
    #[test]
    fn the_next_block_is_the_first_that_is_lacking(
        full in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut catalog = catalog();
        let mut shelf = Shelf::new(&catalog, &BlockSet::new(BLOCKS));
        let mut wants = Wants::new(if full { Mode::Full } else { Mode::Lazy }, &catalog, &shelf);
        let (mut profile, mut of) = (Vec::new(), 1);
        let (mut parked, mut going) = (BTreeSet::new(), BTreeSet::new());
        for step in steps {
            match step {
                Step::Stored(block) => {
                    if shelf.insert(&catalog, BlockIndex(block), Class::Rest) {
                        wants.stored(BlockIndex(block));
                        parked.remove(&block);
                        going.remove(&block);
                    }
                }
                Step::Dropped(block) => {
                    if shelf.remove(&catalog, BlockIndex(block)).is_some() {
                        wants.dropped(BlockIndex(block));
                    }
                }
                Step::Parked(block) => {
                    if going.remove(&block) {
                        wants.park(BlockIndex(block));
                        parked.insert(block);
                    }
                }
                Step::Unparked(block) => {
                    wants.unpark(BlockIndex(block));
                    parked.remove(&block);
                }
                Step::Resumed => {
                    wants.resume();
                    parked.clear();
                }
                Step::Going(block) => {
                    if !shelf.contains(BlockIndex(block)) && !parked.contains(&block) {
                        going.insert(block);
                    }
                }
                Step::Profile(blocks) => {
                    catalog.set_profile(blocks.iter().filter_map(|block| catalog.canonical(BlockIndex(*block))).collect::<Vec<_>>().into_iter());
                    shelf.arrange(&catalog);
                    wants.arrange(&catalog, &shelf);
                    profile = blocks;
                }
                Step::Split(stripes) => {
                    of = stripes;
                    wants.split(&shelf, of);
                }
            }
            let order = wanted(full, &profile);
            for stripe in (0..of).map(Stripe) {
                let lacking = || order.iter().map(|block| BlockIndex(*block))
                    .filter(|block| block.stripe(of) == stripe && !shelf.contains(*block));
                prop_assert_eq!(wants.lacks(stripe), lacking().next().is_some());
                let first = lacking().find(|block| !going.contains(&block.0) && !parked.contains(&block.0));
                let next = wants.next(&shelf, stripe, |block| going.contains(&block.0));
                prop_assert_eq!(next.map(|(_, block)| block), first);
            }
            for block in (0..BLOCKS - 2).map(BlockIndex) {
                prop_assert_eq!(wants.wants(block), order.contains(&block.0));
            }
        }
    }
}
