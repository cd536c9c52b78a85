//! Children that are slow, and children that are stuck.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use proptest::prelude::*;

use super::rig::{DEMAND, Rig};
use crate::block::BlockIndex;
use crate::clock::Duration;
use crate::relay::children::Child;
use crate::relay::{Ask, Class, Input, Limits, Mode, Output, Source};
use crate::vm::VmId;

const ROOT: &[(Option<u64>, Option<u64>)] = &[(None, None)];

/// A root that has these blocks, of which VM 9 wants all.
fn rig(stored: &[u32]) -> Rig {
    let limits = Limits { push_window: 2, ..Limits::default() };
    let mut rig = Rig::with(Mode::Lazy, limits, stored).placed(ROOT);
    rig.subscribed(9, &[0, 1]);
    rig
}

#[test]
fn a_child_that_takes_nothing_is_reported_once_until_it_takes_again() {
    let mut rig = rig(&[0, 1, 2, 3, 4, 5]);
    assert!(rig.wait(29_999).is_empty());
    assert_eq!(rig.wait(1), ["stuck vm-9"]);
    assert!(rig.wait(300_000).is_empty());
    assert_eq!(rig.asked(9, 5, DEMAND), ["send 5 to vm-9 as Demand"], "that it asks shows nothing");
    assert!(rig.wait(300_000).is_empty());
    assert_eq!(rig.sent(9, 2), ["send 4 to vm-9 as Rest"]);
    assert!(rig.wait(29_999).is_empty());
    assert_eq!(rig.wait(1), ["stuck vm-9"]);
    assert_eq!(rig.engine.stats().stuck, 2);
}

/// A driver that is busy tells several things before it asks what is to be done.
#[test]
fn one_that_takes_something_once_and_nothing_more_is_reported_again() {
    let mut rig = rig(&[0, 1, 2, 3, 4, 5]);
    assert_eq!(rig.wait(30_000), ["stuck vm-9"]);
    rig.tell(Input::Sent { child: VmId(9), block: BlockIndex(2) });
    rig.pass(1);
    rig.tell(Input::Sent { child: VmId(9), block: BlockIndex(12) });
    assert_eq!(rig.drain(), ["send 4 to vm-9 as Rest"]);
    assert!(rig.wait(29_998).is_empty());
    assert_eq!(rig.wait(1), ["stuck vm-9"]);
}

#[test]
fn a_slow_child_is_not_stuck_nor_one_that_wants_nothing() {
    let mut rig = rig(&[0, 1, 2, 3, 4, 5]);
    for block in 2..=5 {
        assert!(rig.wait(29_000).is_empty());
        rig.sent(9, block);
    }
    assert_eq!(rig.engine.deadline(), None, "nothing is in hand");
    assert!(rig.wait(300_000).is_empty());
    rig.stored(6, Source::Origin);
    assert!(rig.wait(29_999).is_empty(), "the time begins when there is something to take");
    assert_eq!(rig.wait(1), ["stuck vm-9"]);
}

#[test]
fn what_was_not_in_hand_is_nothing_taken() {
    let mut rig = rig(&[0, 1, 2, 3]);
    rig.wait(15_000);
    assert!(rig.sent(9, 12).is_empty());
    assert!(rig.wait(14_999).is_empty());
    assert_eq!(rig.wait(1), ["stuck vm-9"]);
}

#[test]
fn a_child_that_is_gone_is_not_stuck() {
    let mut rig = rig(&[0, 1, 2, 3]);
    rig.input(Input::ChildDown(VmId(9)));
    assert_eq!(rig.engine.deadline(), None);
    rig.subscribed(9, &[0, 1]);
    assert!(rig.wait(29_999).is_empty(), "a new session, a new chance");
    assert_eq!(rig.wait(1), ["stuck vm-9"]);
}

const FAST: VmId = VmId(8);
const SLOW: VmId = VmId(9);

/// What happens to a VM with two children.
#[derive(Clone, Debug)]
enum Step {
    Stored(u32),
    /// Both children ask for it.
    Asked(u32, Class),
    /// The slow child takes its oldest block.
    Takes,
    Profile(Vec<u32>),
}

fn step() -> impl Strategy<Value = Step> {
    let class = prop_oneof![Just(Class::Demand), Just(Class::Profile), Just(Class::Rest)];
    prop_oneof![
        6 => (2u32..19).prop_map(Step::Stored),
        4 => (2u32..19, class).prop_map(|(block, class)| Step::Asked(block, class)),
        1 => Just(Step::Takes),
        1 => proptest::collection::vec(2u32..19, 0..6).prop_map(Step::Profile),
    ]
}

/// The VM, and what goes to its children.
struct Parent {
    rig: Rig,
    /// Whether the slow child takes at once after all.
    both_fast: bool,
    in_hand: VecDeque<BlockIndex>,
    /// What the fast child got.
    got: Vec<(BlockIndex, Class)>,
}

impl Parent {
    fn new(limits: Limits, both_fast: bool) -> Self {
        let mut rig = Rig::with(Mode::Lazy, limits, &[0, 1]).placed(ROOT);
        rig.subscribed(FAST.0, &[0, 1]);
        rig.subscribed(SLOW.0, &[0, 1]);
        Self { rig, both_fast, in_hand: VecDeque::new(), got: Vec::new() }
    }

    fn step(&mut self, step: &Step) {
        self.rig.now += Duration::from_millis(1);
        match step {
            Step::Stored(block) => {
                self.input(Input::Stored { block: BlockIndex(*block), from: Source::Origin });
            }
            Step::Asked(block, class) => {
                let (block, ask) = (BlockIndex(*block), Ask { class: *class, ..DEMAND });
                for child in [FAST, SLOW] {
                    self.input(Input::Asked { child, block, ask });
                }
            }
            Step::Takes => {
                if let Some(block) = self.in_hand.pop_front() {
                    self.input(Input::Sent { child: SLOW, block });
                }
            }
            Step::Profile(blocks) => {
                self.input(Input::Profile { blocks: blocks.iter().copied().map(BlockIndex).collect() });
            }
        }
    }

    fn input(&mut self, input: Input) {
        self.rig.engine.handle(self.rig.now, input);
        while let Some(output) = self.rig.engine.poll() {
            let Output::Send { child, block, class } = output else { continue };
            if child == FAST {
                self.got.push((block, class));
            }
            if child == FAST || self.both_fast {
                self.rig.engine.handle(self.rig.now, Input::Sent { child, block });
            } else {
                self.in_hand.push_back(block);
            }
        }
    }

    /// Block ids that are kept for the slow child.
    fn held(&self) -> usize {
        self.rig.engine.children.get(&SLOW).map_or(0, Child::held)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_slow_child_does_not_slow_its_sibling(
        steps in proptest::collection::vec(step(), 1..120),
        push_window in 1u32..4,
        demand_window in 1u32..4,
    ) {
        let limits = Limits { push_window, demand_window, ..Limits::default() };
        let (mut slow, mut fast) = (Parent::new(limits.clone(), false), Parent::new(limits, true));
        for step in &steps {
            slow.step(step);
            fast.step(step);
            prop_assert_eq!(&slow.got, &fast.got, "the same, in the same order, at the same time");
        }
        let distinct: BTreeSet<_> = slow.got.iter().map(|(block, _)| *block).collect();
        prop_assert_eq!(distinct.len(), slow.got.len(), "nothing goes twice");
    }

    #[test]
    fn a_slow_child_costs_no_memory(steps in proptest::collection::vec(step(), 1..120)) {
        let limits = Limits { push_window: 2, demand_window: 2, asks_per_child: 3, ..Limits::default() };
        let mut parent = Parent::new(limits, false);
        for step in &steps {
            parent.step(step);
            prop_assert!(parent.held() <= 2 + 2 + 3, "{} ids are kept", parent.held());
        }
    }
}
