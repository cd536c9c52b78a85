//! What holds of a function tree at any time, seen from outside.

use std::collections::BTreeSet;

use ft_core::tree::FunctionTree;
use ft_core::{Stripe, VmId};

/// Checks every invariant of a tree that should hold exactly the VMs `expected`.
pub(crate) fn check(tree: &dyn FunctionTree, expected: &[VmId]) {
    let expected: BTreeSet<VmId> = expected.iter().copied().collect();
    assert_eq!(tree.len(), expected.len());
    assert_eq!(tree.is_empty(), expected.is_empty());
    let listed: Vec<VmId> = tree.vms().collect();
    assert_eq!(listed.len(), expected.len(), "vms() lists nobody twice");
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), expected);
    for stripe in (0..tree.stripes()).map(Stripe) {
        check_stripe(tree, stripe, &expected);
    }
    for vm in expected {
        assert!(tree.contains(vm));
        let sending: Vec<usize> =
            (0..tree.stripes()).map(|stripe| children(tree, vm, Stripe(stripe)).count()).collect();
        assert!(sending.iter().sum::<usize>() <= 2, "{vm} sends to {sending:?}");
        assert!(sending.iter().filter(|count| **count > 0).count() <= 1, "{vm} sends to {sending:?}");
    }
}

fn children(tree: &dyn FunctionTree, vm: VmId, stripe: Stripe) -> impl Iterator<Item = VmId> {
    tree.children_of(vm, stripe).into_iter().flatten()
}

/// One walk from the root reaches every VM once, and on the way parents, depths and heights agree.
fn check_stripe(tree: &dyn FunctionTree, stripe: Stripe, expected: &BTreeSet<VmId>) {
    let Some(root) = tree.root(stripe) else {
        assert!(expected.is_empty(), "VMs without a root");
        return;
    };
    assert_eq!(tree.parent_of(root, stripe), None);
    let mut reached = BTreeSet::new();
    let levels = walk(tree, stripe, root, 0, &mut reached);
    assert_eq!(&reached, expected, "every VM is reachable from the root");
    assert_eq!(tree.height(stripe) + 1, levels);
}

/// Levels of the subtree at `vm`.
fn walk(tree: &dyn FunctionTree, stripe: Stripe, vm: VmId, depth: u32, reached: &mut BTreeSet<VmId>) -> u32 {
    assert!(reached.insert(vm), "{vm} is reached twice: a cycle, or two parents");
    assert_eq!(tree.depth_of(vm, stripe), Some(depth));
    let levels = tree.children_of(vm, stripe).map(|child| match child {
        None => 0,
        Some(child) => {
            assert_eq!(tree.parent_of(child, stripe), Some(vm));
            walk(tree, stripe, child, depth + 1, reached)
        }
    });
    assert!(levels[0].abs_diff(levels[1]) <= 1, "{vm} has subtrees of {levels:?} levels");
    1 + levels[0].max(levels[1])
}
