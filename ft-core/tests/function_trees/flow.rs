//! How long an image takes through a tree, when links are queues.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use ft_core::tree::FunctionTree;
use ft_core::{BlockIndex, Stripe, VmId};

/// When each VM has all of an image of `blocks` blocks, in units of the time that all of them take on one link.
/// A VM forwards blocks in the order in which it gets them. A link of speed 1 carries a block in one tick each
/// way; `ticks` says how many a VM's link takes.
pub(crate) fn completion(
    tree: &dyn FunctionTree,
    blocks: u32,
    ticks: impl Fn(VmId) -> u32,
) -> BTreeMap<VmId, f64> {
    let mut arrivals = BinaryHeap::new();
    for block in 0..blocks {
        let stripe = stripe_of(tree, block);
        let root = tree.root(stripe).expect("somebody is in the tree");
        arrivals.push(Reverse((block + 1, block, root)));
    }
    let (mut up, mut down) = (BTreeMap::new(), BTreeMap::new());
    let mut last = BTreeMap::new();
    while let Some(Reverse((now, block, vm))) = arrivals.pop() {
        last.insert(vm, f64::from(now) / f64::from(blocks));
        let stripe = stripe_of(tree, block);
        for child in tree.children_of(vm, stripe).into_iter().flatten() {
            let sent = now.max(*up.get(&vm).unwrap_or(&0)) + ticks(vm);
            up.insert(vm, sent);
            // It arrives while it is being sent, unless the child's own link is slower or busy.
            let received = sent.max(*down.get(&child).unwrap_or(&0) + ticks(child));
            down.insert(child, received);
            arrivals.push(Reverse((received, block, child)));
        }
    }
    last
}

fn stripe_of(tree: &dyn FunctionTree, block: u32) -> Stripe {
    BlockIndex(block).stripe(tree.stripes())
}
