//! Whatever happens in whatever order, a child gets every block, the urgent ones first.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::rig::{DEMAND, Rig};
use crate::block::BlockIndex;
use crate::relay::{Ask, Class, Input, Limits, Mode, Output, Source};
use crate::vm::VmId;

const CHILD: VmId = VmId(9);
const ROOT: &[(Option<u64>, Option<u64>)] = &[(None, None)];

#[derive(Clone, Debug)]
enum Step {
    Stored(u32),
    Asked(u32, Class),
    /// The child takes its oldest block.
    Takes,
    Profile(Vec<u32>),
    /// If the driver does not have it in hand.
    Dropped(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let class = prop_oneof![Just(Class::Demand), Just(Class::Profile), Just(Class::Rest)];
    prop_oneof![
        4 => (2u32..19).prop_map(Step::Stored),
        3 => (2u32..19, class).prop_map(|(block, class)| Step::Asked(block, class)),
        3 => Just(Step::Takes),
        1 => proptest::collection::vec(0u32..22, 0..12).prop_map(Step::Profile),
        1 => (2u32..19).prop_map(Step::Dropped),
    ]
}

struct Parent {
    rig: Rig,
    in_hand: Vec<BlockIndex>,
    sent: BTreeSet<BlockIndex>,
}

impl Parent {
    fn step(&mut self, step: Step) {
        match step {
            Step::Stored(block) => {
                self.input(Input::Stored { block: BlockIndex(block), from: Source::Origin });
            }
            Step::Asked(block, class) => {
                let ask = Ask { class, ..DEMAND };
                self.input(Input::Asked { child: CHILD, block: BlockIndex(block), ask });
            }
            Step::Takes => self.take(),
            Step::Profile(blocks) => {
                self.input(Input::Profile { blocks: blocks.into_iter().map(BlockIndex).collect() });
            }
            Step::Dropped(block) => {
                let block = BlockIndex(block);
                if !self.in_hand.contains(&block) {
                    self.input(Input::Dropped { block });
                }
            }
        }
    }

    fn take(&mut self) {
        if !self.in_hand.is_empty() {
            let block = self.in_hand.remove(0);
            self.input(Input::Sent { child: CHILD, block });
        }
    }

    fn input(&mut self, input: Input) {
        self.rig.engine.handle(self.rig.now, input);
        let mut pushed = false;
        while let Some(output) = self.rig.engine.poll() {
            let Output::Send { block, class, .. } = output else { continue };
            assert!(!pushed || class != Class::Demand, "a push went before a demand");
            pushed |= class != Class::Demand;
            assert!(self.sent.insert(block), "{block} goes twice");
            self.in_hand.push(block);
        }
        let engine = &self.rig.engine;
        let waits = engine.children[&CHILD].keeps_a_demand(&engine.config.limits);
        assert!(!waits, "a demand waits though its window is open");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_child_gets_everything_once_and_demands_never_wait_for_pushes(
        steps in proptest::collection::vec(step(), 1..150),
        push_window in 1u32..4,
        demand_window in 1u32..3,
    ) {
        let limits = Limits { push_window, demand_window, ..Limits::default() };
        let mut rig = Rig::with(Mode::Lazy, limits, &[0, 1]).placed(ROOT);
        rig.subscribed(CHILD.0, &[0, 1]);
        let mut parent = Parent { rig, in_hand: Vec::new(), sent: BTreeSet::new() };
        for step in steps {
            parent.step(step);
        }
        while !parent.in_hand.is_empty() {
            parent.take();
        }
        // 19 is 2 again.
        for block in parent.rig.engine.stored().iter().filter(|block| (2..19).contains(&block.0)) {
            prop_assert!(parent.sent.contains(&block), "{block} never went");
        }
    }
}
