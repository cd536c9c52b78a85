//! The tree is sound at every epoch: in each stripe every member is reached once from the root, parents and
//! children agree, heights are those of a balanced tree, and nobody sends more than its share.

use std::collections::BTreeSet;

use ft_core::tree::{FunctionTree, Shape};
use ft_core::{Epoch, Instant, Stripe, VmId};

use super::{Check, Verdict, ensure};
use crate::seen::Seen;

#[derive(Default)]
pub(super) struct Trees {
    newest: Option<Epoch>,
}

impl Check for Trees {
    fn name(&self) -> &'static str {
        "trees"
    }

    fn see(&mut self, _at: Instant, seen: &Seen<'_>) -> Verdict {
        let Seen::Tree { tree, members } = seen else { return Ok(()) };
        let before = self.newest.replace(tree.epoch());
        ensure(before.is_none_or(|before| before <= tree.epoch()), || "an epoch came twice".to_owned())?;
        for stripe in (0..tree.stripes()).map(Stripe) {
            check_stripe(*tree, stripe, members)?;
        }
        let slow = members.iter().any(|vm| tree.is_slow(*vm));
        for &vm in *members {
            check_share(*tree, vm, slow)?;
        }
        Ok(())
    }
}

fn children(tree: &dyn FunctionTree, vm: VmId, stripe: Stripe) -> impl Iterator<Item = VmId> {
    tree.children_of(vm, stripe).into_iter().flatten()
}

/// Nobody sends to more than two, or in more than one stripe, unless it stands in for slow VMs.
fn check_share(tree: &dyn FunctionTree, vm: VmId, slow: bool) -> Verdict {
    let stripes = (0..tree.stripes()).map(Stripe);
    let sending: Vec<usize> = stripes.map(|stripe| children(tree, vm, stripe).count()).collect();
    let alone = sending.iter().filter(|count| **count > 0).count() <= 1;
    let fair = sending.iter().sum::<usize>() <= 2 && alone;
    ensure(fair || (slow && !tree.is_slow(vm)), || format!("{vm} sends to {sending:?}"))
}

fn check_stripe(tree: &dyn FunctionTree, stripe: Stripe, members: &BTreeSet<VmId>) -> Verdict {
    let mut reached = BTreeSet::new();
    let mut level: Vec<VmId> = tree.root(stripe).into_iter().collect();
    let mut levels = 0;
    while !level.is_empty() {
        levels += 1;
        let mut next = Vec::new();
        for vm in level {
            ensure(reached.insert(vm), || format!("{vm} is reached twice in {stripe:?}"))?;
            for child in children(tree, vm, stripe) {
                let agree = tree.parent_of(child, stripe) == Some(vm);
                ensure(agree, || format!("{child} does not know its parent {vm}"))?;
                next.push(child);
            }
        }
        level = next;
    }
    ensure(reached == *members, || format!("{stripe:?} reaches {reached:?}, not {members:?}"))?;
    ensure(levels <= most_levels(tree.shape(), members.len()), || {
        format!("{} VMs in {levels} levels in {stripe:?}", members.len())
    })
}

/// The levels that a tree of so many VMs may have: a height-balanced binary tree of h levels holds at least
/// fib(h + 2) - 1 of them.
fn most_levels(shape: Shape, vms: usize) -> usize {
    match shape {
        Shape::Avl | Shape::Paired => {
            let (mut levels, mut least, mut before) = (0, 1, 0);
            while least <= vms {
                (least, before) = (least + before + 1, least);
                levels += 1;
            }
            levels
        }
        Shape::Chain => vms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balanced_tree_of_four_has_three_levels_at_most() {
        let most = [0, 1, 2, 4, 7, 12].map(|vms| most_levels(Shape::Avl, vms));
        assert_eq!(most, [0, 1, 2, 3, 4, 5]);
        assert_eq!(most_levels(Shape::Avl, 3), 2);
        assert_eq!(most_levels(Shape::Avl, 6), 3);
    }
}
