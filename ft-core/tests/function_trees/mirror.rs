//! The tree as somebody sees it who only gets the changes.

use std::collections::{BTreeMap, BTreeSet};

use ft_core::tree::{Change, FunctionTree, Shape};
use ft_core::{Epoch, Stripe, VmId};

/// A map of edges, kept by replaying changes, which also judges each change.
pub(crate) struct Mirror {
    epoch: Epoch,
    parents: BTreeMap<(Stripe, VmId), Option<VmId>>,
}

impl Mirror {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self { epoch, parents: BTreeMap::new() }
    }

    /// Replays a join: it moves at most one other VM in the pair, and nobody in the single tree.
    pub(crate) fn joined(&mut self, shape: Shape, vm: VmId, change: &Change) {
        assert_eq!(change.removed, None);
        let moved = self.replay(change);
        assert!(moved.contains(&vm), "the new VM has edges");
        let most = match shape {
            Shape::Avl => 0,
            Shape::Paired => 1,
        };
        assert!(moved.len() <= 1 + most, "a join moved {moved:?}");
    }

    /// Replays a leave: it moves at most five VMs in the pair.
    pub(crate) fn left(&mut self, shape: Shape, vm: VmId, change: &Change) {
        assert_eq!(change.removed, Some(vm));
        let moved = self.replay(change);
        assert!(!moved.contains(&vm), "the VM that left has no edges");
        if shape == Shape::Paired {
            assert!(moved.len() <= 5, "a leave moved {moved:?}");
        }
    }

    /// Applies a change and returns the VMs with a new parent.
    fn replay(&mut self, change: &Change) -> BTreeSet<VmId> {
        assert!(change.epoch > self.epoch, "{} does not follow {}", change.epoch, self.epoch);
        self.epoch = change.epoch;
        assert!(change.edges.is_sorted(), "edges come in order");
        for edge in &change.edges {
            let before = self.parents.insert((edge.stripe, edge.child), edge.parent);
            assert_ne!(before, Some(edge.parent), "only what changed is listed, and once: {edge:?}");
        }
        if let Some(removed) = change.removed {
            for stripe in [Stripe(0), Stripe(1)] {
                self.parents.remove(&(stripe, removed));
            }
        }
        change.edges.iter().map(|edge| edge.child).collect()
    }

    /// The replayed edges are the tree's.
    pub(crate) fn check(&self, tree: &dyn FunctionTree) {
        assert_eq!(self.epoch, tree.epoch());
        let stripes = (0..tree.stripes()).map(Stripe);
        let edges: BTreeMap<_, _> = stripes
            .flat_map(|stripe| tree.vms().map(move |vm| ((stripe, vm), tree.parent_of(vm, stripe))))
            .collect();
        assert_eq!(self.parents, edges);
    }
}
