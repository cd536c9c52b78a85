//! Long sequences of joins and leaves, checked against the invariants of `docs/design.md`.

mod invariants;
mod mirror;
mod random;

use ft_core::tree::{self, Shape};
use ft_core::{Epoch, VmId};
use proptest::prelude::*;

use crate::invariants::check;
use crate::mirror::Mirror;
use crate::random::Rng;

const SHAPES: [Shape; 2] = [Shape::Avl, Shape::Paired];

/// A join of the next VM, or a leave of the VM at `nth` modulo the number of VMs.
#[derive(Clone, Copy, Debug)]
enum Step {
    Join,
    Leave { nth: usize },
}

/// Runs the steps on a fresh tree and its mirror; checks everything after every `every`th step and at the end.
fn run(shape: Shape, steps: impl IntoIterator<Item = Step>, every: usize) {
    let mut tree = tree::new(shape, Epoch::first(1));
    let mut mirror = Mirror::new(tree.epoch());
    let mut here: Vec<VmId> = Vec::new();
    let mut next = 0;
    for (count, step) in steps.into_iter().enumerate() {
        match step {
            Step::Leave { .. } if here.is_empty() => {}
            Step::Leave { nth } => {
                let vm = here.swap_remove(nth % here.len());
                let change = tree.remove(vm).expect("it is in the tree");
                mirror.left(shape, vm, &change);
            }
            Step::Join => {
                let vm = VmId(next);
                next += 1;
                here.push(vm);
                let change = tree.insert(vm).expect("it is not in the tree");
                mirror.joined(shape, vm, &change);
            }
        }
        if count % every == 0 {
            check(&*tree, &here);
            mirror.check(&*tree);
        }
    }
    check(&*tree, &here);
    mirror.check(&*tree);
}

/// Seeded steps that let the tree grow to about `most` VMs, shrink to none, grow again…
fn churn(seed: u64, steps: usize, most: usize) -> impl Iterator<Item = Step> {
    let mut rng = Rng::new(seed);
    let mut growing = true;
    let mut vms: usize = 0;
    (0..steps).map(move |_| {
        growing = if growing { vms < most } else { vms == 0 };
        if rng.below(10) < if growing { 7 } else { 3 } {
            vms += 1;
            Step::Join
        } else {
            vms = vms.saturating_sub(1);
            Step::Leave { nth: rng.below(usize::MAX) }
        }
    })
}

#[test]
fn long_churn_of_small_trees() {
    for shape in SHAPES {
        run(shape, churn(1, 30_000, 30), 1);
    }
}

#[test]
fn long_churn_of_large_trees() {
    for shape in SHAPES {
        run(shape, churn(2, 60_000, 4_000), 1_999);
    }
}

#[test]
fn everyone_leaves_in_the_order_of_joining_and_in_reverse() {
    for shape in SHAPES {
        for backwards in [false, true] {
            let nth = if backwards { usize::MAX } else { 0 };
            let joins = (0..300).map(|_| Step::Join);
            let leaves = (0..300).map(|left| Step::Leave { nth: nth.min(299 - left) });
            run(shape, joins.chain(leaves), 1);
        }
    }
}

#[test]
fn every_single_leave_from_every_small_tree() {
    for shape in SHAPES {
        for vms in 1..40 {
            for nth in 0..vms {
                run(shape, (0..vms).map(|_| Step::Join).chain([Step::Leave { nth }]), vms);
            }
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let leave = any::<usize>().prop_map(|nth| Step::Leave { nth });
    proptest::collection::vec(prop_oneof![3 => Just(Step::Join), 2 => leave], 0..150)
}

proptest! {
    #[test]
    fn any_joins_and_leaves_keep_the_single_tree_sound(steps in steps()) {
        run(Shape::Avl, steps, 1);
    }

    #[test]
    fn any_joins_and_leaves_keep_the_pair_sound(steps in steps()) {
        run(Shape::Paired, steps, 1);
    }

    #[test]
    fn the_same_steps_give_the_same_changes(steps in steps(), paired: bool) {
        let shape = if paired { Shape::Paired } else { Shape::Avl };
        let changes = || {
            let mut tree = tree::new(shape, Epoch::first(1));
            let mut changes = Vec::new();
            for (step, vm) in steps.iter().zip(0..) {
                changes.push(match *step {
                    Step::Join => tree.insert(VmId(vm)),
                    Step::Leave { nth } => tree.remove(VmId(nth as u64 % (vm + 1))),
                });
            }
            changes
        };
        prop_assert_eq!(changes(), changes());
    }
}
