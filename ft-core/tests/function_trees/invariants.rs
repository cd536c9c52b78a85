//! What holds of a function tree at any time, seen from outside.

use std::collections::{BTreeMap, BTreeSet};

use ft_core::tree::{FunctionTree, Shape};
use ft_core::{Stripe, VmId};

/// Checks every invariant of a tree that should hold exactly the VMs `expected`, of which those in `slow` are
/// marked as slow.
pub(crate) fn check(tree: &dyn FunctionTree, expected: &[VmId], slow: &BTreeSet<VmId>) {
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
        assert_eq!(tree.is_slow(vm), slow.contains(&vm));
        check_children(tree, vm, slow.len());
    }
}

/// Nobody has too much to send: who has children in two stripes has slow ones in at least one of them.
fn check_children(tree: &dyn FunctionTree, vm: VmId, slow: usize) {
    let stripes = || (0..tree.stripes()).map(Stripe);
    let sending: Vec<usize> = stripes().map(|stripe| children(tree, vm, stripe).count()).collect();
    let everywhere = sending.len() > 1 && sending.iter().all(|count| *count > 0);
    if slow <= 1 {
        assert!(sending.iter().sum::<usize>() <= 2, "{vm} sends to {sending:?}");
    }
    if slow == 0 || tree.is_slow(vm) {
        assert!(!everywhere, "{vm} sends to {sending:?}");
    }
    if everywhere {
        let slow_only = |stripe| children(tree, vm, stripe).all(|child| tree.is_slow(child));
        assert!(stripes().any(slow_only), "{vm} sends to {sending:?}");
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
    let mut depths = BTreeMap::from([(root, 0)]);
    let mut order = vec![root];
    let mut next = 0;
    while let Some(&vm) = order.get(next) {
        next += 1;
        for child in children(tree, vm, stripe) {
            assert_eq!(tree.parent_of(child, stripe), Some(vm));
            let before = depths.insert(child, depths[&vm] + 1);
            assert_eq!(before, None, "{child} is reached twice: a cycle, or two parents");
            order.push(child);
        }
    }
    assert_eq!(&depths.keys().copied().collect::<BTreeSet<_>>(), expected, "the root reaches every VM");
    for (vm, depth) in &depths {
        assert_eq!(tree.depth_of(*vm, stripe), Some(*depth));
    }
    assert_eq!(Some(&tree.height(stripe)), depths.values().max());
    check_levels(tree, stripe, &order);
}

/// Subtrees are balanced, and no slow VM has more levels below it than another VM. `order` lists everyone after
/// its parent.
fn check_levels(tree: &dyn FunctionTree, stripe: Stripe, order: &[VmId]) {
    let mut levels: BTreeMap<VmId, u32> = BTreeMap::new();
    for vm in order.iter().rev() {
        let below = tree.children_of(*vm, stripe).map(|child| child.map_or(0, |child| levels[&child]));
        if tree.shape() != Shape::Chain {
            assert!(below[0].abs_diff(below[1]) <= 1, "{vm} has subtrees of {below:?} levels");
        }
        levels.insert(*vm, 1 + below[0].max(below[1]));
    }
    let (slow, others): (Vec<_>, Vec<_>) = order.iter().partition(|vm| tree.is_slow(**vm));
    let tallest = slow.iter().map(|vm| levels[vm]).max().unwrap_or(0);
    let lowest = others.iter().map(|vm| levels[vm]).min().unwrap_or(u32::MAX);
    assert!(tallest <= lowest, "a slow VM has {tallest} levels, another one {lowest}");
}
