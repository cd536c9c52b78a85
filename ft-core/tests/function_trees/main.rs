//! Long sequences of joins, leaves and marks of slow VMs, checked against the invariants of `docs/design.md`.

mod flow;
mod invariants;
mod mirror;
mod random;

use ft_core::tree::{self, FunctionTree, Shape};
use ft_core::{Epoch, VmId};
use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::flow::completion;
use crate::invariants::check;
use crate::mirror::Mirror;
use crate::random::Rng;

const SHAPES: [Shape; 3] = Shape::ALL;

/// A join of the next VM, or something that happens to the VM at `nth` modulo the number of VMs.
#[derive(Clone, Copy, Debug)]
enum Step {
    Join,
    Leave { nth: usize },
    Mark { nth: usize, slow: bool },
}

/// A tree, what it should hold, and somebody who only sees its changes.
struct World {
    tree: Box<dyn FunctionTree + Send>,
    mirror: Mirror,
    here: Vec<VmId>,
    slow: BTreeSet<VmId>,
    next: u64,
}

impl World {
    fn new(shape: Shape) -> Self {
        let tree = tree::new(shape, Epoch::first(1));
        let mirror = Mirror::new(tree.epoch());
        Self { tree, mirror, here: Vec::new(), slow: BTreeSet::new(), next: 0 }
    }

    fn step(&mut self, step: Step) {
        let any_slow = !self.slow.is_empty();
        let moved = match step {
            Step::Leave { .. } | Step::Mark { .. } if self.here.is_empty() => return,
            Step::Join => {
                let vm = VmId(self.next);
                self.next += 1;
                self.here.push(vm);
                let change = self.tree.insert(vm).expect("it is not in the tree");
                self.mirror.joined(vm, &change)
            }
            Step::Leave { nth } => {
                let vm = self.here.swap_remove(nth % self.here.len());
                self.slow.remove(&vm);
                let change = self.tree.remove(vm).expect("it is in the tree");
                self.mirror.left(vm, &change)
            }
            Step::Mark { nth, slow } => {
                let vm = self.here[nth % self.here.len()];
                let changes = if slow { self.slow.insert(vm) } else { self.slow.remove(&vm) };
                let change = self.tree.set_slow(vm, slow).expect("it is in the tree");
                let moved = self.mirror.marked(&change);
                assert!(changes || moved == 0, "a mark that was there already moved {moved} VMs");
                moved
            }
        };
        let most = most_moved(self.tree.shape(), step, any_slow);
        assert!(moved <= most, "{step:?} moved {moved} VMs");
    }

    fn check(&self) {
        check(&*self.tree, &self.here, &self.slow);
        self.mirror.check(&*self.tree);
    }
}

/// How many VMs an operation may give another parent, besides the one that joins.
fn most_moved(shape: Shape, step: Step, any_slow: bool) -> usize {
    match (shape, step, any_slow) {
        (Shape::Avl, Step::Join, false) => 0,
        (Shape::Avl, ..) => usize::MAX,
        (Shape::Chain, Step::Join | Step::Leave { .. }, _) => 1,
        (Shape::Chain, Step::Mark { .. }, _) => 3,
        (Shape::Paired, Step::Join, false) => 1,
        (Shape::Paired, Step::Leave { .. }, false) => 5,
        (Shape::Paired, Step::Mark { .. }, false) => 8,
        // One VM changes place, one the class, up to four are lent or not lent any more.
        (Shape::Paired, _, true) => 28,
    }
}

/// Runs the steps on a fresh tree and its mirror; checks everything after every `every`th step and at the end.
fn run(shape: Shape, steps: impl IntoIterator<Item = Step>, every: usize) {
    let mut world = World::new(shape);
    for (count, step) in steps.into_iter().enumerate() {
        world.step(step);
        if count % every == 0 {
            world.check();
        }
    }
    world.check();
}

/// Seeded steps that let the tree grow to about `most` VMs, shrink to none, grow again… Of ten steps, `marks`
/// tell that a VM is slow or no longer so.
fn churn(seed: u64, steps: usize, most: usize, marks: usize) -> impl Iterator<Item = Step> {
    let mut rng = Rng::new(seed);
    let mut growing = true;
    let mut vms: usize = 0;
    (0..steps).map(move |_| {
        growing = if growing { vms < most } else { vms == 0 };
        if rng.below(10) < marks {
            // While the tree grows, more and more are slow; while it shrinks, fewer and fewer.
            let slow = rng.below(10) < if growing { 7 } else { 3 };
            return Step::Mark { nth: rng.below(usize::MAX), slow };
        }
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
        run(shape, churn(1, 30_000, 30, 0), 1);
    }
}

#[test]
fn long_churn_of_small_trees_with_slow_vms() {
    for shape in SHAPES {
        run(shape, churn(3, 10_000, 30, 4), 1);
        run(shape, churn(4, 10_000, 8, 5), 1);
    }
}

#[test]
fn long_churn_of_large_trees() {
    for shape in SHAPES {
        run(shape, churn(2, 60_000, 4_000, 0), 4_999);
    }
}

#[test]
fn long_churn_of_large_trees_with_slow_vms() {
    for shape in SHAPES {
        run(shape, churn(6, 20_000, 4_000, 2), 4_999);
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

#[test]
fn any_number_of_slow_vms_in_every_small_tree() {
    for shape in SHAPES {
        for vms in 1..24 {
            let joins = (0..vms).map(|_| Step::Join);
            let slow = (0..vms).map(|nth| Step::Mark { nth: nth * 7, slow: true });
            let healthy = (0..vms).map(|nth| Step::Mark { nth: nth * 5, slow: false });
            run(shape, joins.chain(slow).chain(healthy), 1);
        }
    }
}

/// The slowest VM of all but `slow`, when that has half of the speed of the others.
fn slowest_other(shape: Shape, vms: u64, slow: &[u64], marked: bool) -> f64 {
    let mut world = World::new(shape);
    for _ in 0..vms {
        world.step(Step::Join);
    }
    for vm in slow.iter().filter(|_| marked) {
        world.tree.set_slow(VmId(*vm), true).expect("it is in the tree");
    }
    let times = completion(&*world.tree, 1_000, |vm| if slow.contains(&vm.0) { 2 } else { 1 });
    let others = times.into_iter().filter(|(vm, _)| !slow.contains(&vm.0));
    others.map(|(_, time)| time).fold(0.0, f64::max)
}

#[test]
fn a_slow_vm_holds_back_only_itself() {
    for (shape, interior, leaf) in
        [(Shape::Paired, 1.9, 1.05), (Shape::Avl, 3.9, 2.05), (Shape::Chain, 1.9, 1.05)]
    {
        // The root of the first stripe.
        let unmarked = slowest_other(shape, 15, &[0], false);
        assert!(unmarked > interior, "{shape}: {unmarked}");
        for vm in 0..15 {
            let marked = slowest_other(shape, 15, &[vm], true);
            assert!(marked < leaf, "{shape}, VM {vm}: {marked}");
        }
    }
    // Lent VMs send twice as much as the others, and the others below them wait for it.
    let marked = slowest_other(Shape::Paired, 31, &[0, 1, 2, 3], true);
    assert!((1.5..1.7).contains(&marked), "{marked}");
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let leave = any::<usize>().prop_map(|nth| Step::Leave { nth });
    let mark = any::<(usize, bool)>().prop_map(|(nth, slow)| Step::Mark { nth, slow });
    proptest::collection::vec(prop_oneof![3 => Just(Step::Join), 2 => leave, 2 => mark], 0..150)
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
    fn any_joins_and_leaves_keep_the_chain_sound(steps in steps()) {
        run(Shape::Chain, steps, 1);
    }

    #[test]
    fn the_same_steps_give_the_same_changes(steps in steps(), shape in proptest::sample::select(&SHAPES[..])) {
        let changes = || {
            let mut tree = tree::new(shape, Epoch::first(1));
            let mut changes = Vec::new();
            for (step, vm) in steps.iter().zip(0..) {
                changes.push(match *step {
                    Step::Join => tree.insert(VmId(vm)),
                    Step::Leave { nth } => tree.remove(VmId(nth as u64 % (vm + 1))),
                    Step::Mark { nth, slow } => tree.set_slow(VmId(nth as u64 % (vm + 1)), slow),
                });
            }
            changes
        };
        prop_assert_eq!(changes(), changes());
    }
}
