//! The tree as somebody sees it who only gets the changes.

use std::collections::{BTreeMap, BTreeSet};

use ft_core::tree::{Change, FunctionTree};
use ft_core::{Epoch, Stripe, VmId};

/// A map of edges, kept by replaying changes, which also judges each change and counts the VMs that it moves.
pub(crate) struct Mirror {
    epoch: Epoch,
    parents: BTreeMap<(Stripe, VmId), Option<VmId>>,
}

impl Mirror {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self { epoch, parents: BTreeMap::new() }
    }

    /// Replays a join.
    pub(crate) fn joined(&mut self, vm: VmId, change: &Change) -> usize {
        assert_eq!(change.removed, None);
        let moved = self.replay(change);
        assert!(moved.contains(&vm), "the new VM has edges");
        moved.len() - 1
    }

    /// Replays a leave.
    pub(crate) fn left(&mut self, vm: VmId, change: &Change) -> usize {
        assert_eq!(change.removed, Some(vm));
        let moved = self.replay(change);
        assert!(!moved.contains(&vm), "the VM that left has no edges");
        moved.len()
    }

    /// Replays a change of what is known of a VM's speed.
    pub(crate) fn marked(&mut self, change: &Change) -> usize {
        assert_eq!(change.removed, None);
        self.replay(change).len()
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
