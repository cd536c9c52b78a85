//! What an operation is about to change, so that it can tell afterwards what it did change.

use alloc::vec::Vec;

use super::{Change, EdgeChange};
use crate::block::Stripe;
use crate::epoch::Epoch;
use crate::vm::VmId;

/// A VM's place in a stripe, as far as edges go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    /// The VM is not in the tree.
    Absent,
    /// The VM's parent; `None` for the root.
    From(Option<VmId>),
}

/// The edges as they were before the operation, noted before each is touched.
#[derive(Debug, Default)]
pub(super) struct Journal {
    before: Vec<(Stripe, VmId, Edge)>,
}

impl Journal {
    /// Notes the edge above `child` as it is; only the first note counts.
    pub(super) fn note(&mut self, stripe: Stripe, child: VmId, edge: Edge) {
        self.before.push((stripe, child, edge));
    }

    /// The change: every noted edge that is not as it was. `now` gives the edges after the operation.
    pub(super) fn finish(
        mut self,
        epoch: Epoch,
        removed: Option<VmId>,
        now: impl Fn(Stripe, VmId) -> Edge,
    ) -> Change {
        // Stable, so that the first note on an edge stays the first.
        self.before.sort_by_key(|(stripe, child, _)| (*stripe, *child));
        self.before.dedup_by_key(|(stripe, child, _)| (*stripe, *child));
        let changed = self.before.into_iter().filter_map(|(stripe, child, before)| {
            let now = now(stripe, child);
            match now {
                Edge::From(parent) if now != before => Some(EdgeChange { stripe, child, parent }),
                _ => None,
            }
        });
        Change { epoch, edges: changed.collect(), removed }
    }
}
