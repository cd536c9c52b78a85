//! The single tree: one binary tree, kept balanced by rotations.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::iter;

use super::index::VmIndex;
use super::journal::{Edge, Journal};
use super::{Change, FunctionTree, Shape, TreeError};
use crate::block::Stripe;
use crate::epoch::Epoch;
use crate::vm::VmId;
use arena::{Arena, Slot};

mod arena;
mod slow;
#[cfg(test)]
mod tests;

/// The only stripe.
const STRIPE: Stripe = Stripe(0);

/// One binary tree, as in FaaSNet (Wang et al., USENIX ATC 2021): a new VM goes under the first node in level
/// order with a free child; a removed VM is replaced by a deepest leaf below it; where two subtrees' heights
/// then differ by more than one, rotations (Adelson-Velsky and Landis, 1962) make up for it. Each operation
/// takes O(log n) time: every node knows its subtree's height and how far below it the nearest free child is.
/// No VM that is marked as slow has more levels below it than one that is not.
#[derive(Debug)]
pub struct AvlTree {
    nodes: Arena,
    slots: VmIndex<Slot>,
    epoch: Epoch,
    rotations: u64,
}

impl AvlTree {
    /// The empty tree.
    pub fn new(epoch: Epoch) -> Self {
        Self { nodes: Arena::default(), slots: VmIndex::new(), epoch, rotations: 0 }
    }

    /// How many rotations there have been since the tree was made: each changes up to three edges.
    pub fn rotations(&self) -> u64 {
        self.rotations
    }

    /// Where the VM is in `stripe`.
    fn slot(&self, vm: VmId, stripe: Stripe) -> Option<Slot> {
        if stripe == STRIPE { self.slots.get(vm) } else { None }
    }

    fn edge(&self, child: VmId) -> Edge {
        match self.slots.get(child) {
            None => Edge::Absent,
            Some(_) => Edge::From(self.parent_of(child, STRIPE)),
        }
    }

    fn note(&self, slot: Slot, journal: &mut Journal) {
        let child = self.nodes.vm(slot);
        journal.note(STRIPE, child, self.edge(child));
    }

    fn note_children(&self, slot: Slot, journal: &mut Journal) {
        for child in self.nodes.children(slot).into_iter().flatten() {
            self.note(child, journal);
        }
    }

    /// The first node in level order with a free child; `None` if the tree is empty.
    fn first_gap(&self) -> Option<Slot> {
        let mut at = self.nodes.root()?;
        // A node without a free child has both children; ties go to the left.
        while let [Some(left), Some(right)] = self.nodes.children(at) {
            at = if self.nodes.gap(Some(left)) <= self.nodes.gap(Some(right)) { left } else { right };
        }
        Some(at)
    }

    /// A deepest leaf of the subtree at `top`; ties go to the left.
    fn deepest_leaf(&self, top: Slot) -> Slot {
        let mut at = top;
        loop {
            let [left, right] = self.nodes.children(at);
            let taller = if self.nodes.levels(left) >= self.nodes.levels(right) { left } else { right };
            match taller {
                Some(child) => at = child,
                None => return at,
            }
        }
    }

    /// Restores the balance from `slot` up to the root after a change below it.
    fn retrace(&mut self, slot: Option<Slot>, journal: &mut Journal) {
        let mut next = slot;
        while let Some(at) = next {
            let top = self.balance(at, journal);
            next = self.nodes.parent(top);
        }
    }

    /// Balances the node, whose subtrees are balanced, and returns the node that is now in its place.
    fn balance(&mut self, top: Slot, journal: &mut Journal) -> Slot {
        self.nodes.refresh(top);
        let children = self.nodes.children(top);
        let [left, right] = children.map(|child| self.nodes.levels(child));
        if left.abs_diff(right) <= 1 {
            return top;
        }
        let side = usize::from(right > left);
        if let Some(tall) = children[side] {
            // The grandchild that a single rotation would leave as deep as before goes up first.
            let below = self.nodes.children(tall).map(|child| self.nodes.levels(child));
            if below[1 - side] > below[side] {
                self.rotate(tall, 1 - side, journal);
            }
        }
        self.rotate(top, side, journal)
    }

    /// Lifts the child on `side` of `top` into its place and returns it; `top` becomes its other child.
    fn rotate(&mut self, top: Slot, side: usize, journal: &mut Journal) -> Slot {
        let Some(up) = self.nodes.children(top)[side] else { return top };
        let middle = self.nodes.children(up)[1 - side];
        for moved in [Some(top), Some(up), middle].into_iter().flatten() {
            self.note(moved, journal);
        }
        self.nodes.replace(top, Some(up));
        self.nodes.attach(top, side, middle);
        self.nodes.attach(up, 1 - side, Some(top));
        self.nodes.refresh(top);
        self.nodes.refresh(up);
        self.rotations += 1;
        up
    }

    /// Ends an operation: slow VMs go where they belong, and there is a new epoch.
    fn changed(&mut self, mut journal: Journal, removed: Option<VmId>) -> Change {
        self.settle(&mut journal);
        self.epoch = self.epoch.next();
        journal.finish(self.epoch, removed, |_, child| self.edge(child))
    }
}

impl FunctionTree for AvlTree {
    fn shape(&self) -> Shape {
        Shape::Avl
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn len(&self) -> usize {
        self.slots.len()
    }

    fn insert(&mut self, vm: VmId) -> Result<Change, TreeError> {
        if self.contains(vm) {
            return Err(TreeError::AlreadyIn(vm));
        }
        let mut journal = Journal::default();
        journal.note(STRIPE, vm, Edge::Absent);
        let gap = self.first_gap();
        let slot = self.nodes.add(vm);
        self.slots.set(vm, slot);
        if let Some(above) = gap {
            let side = usize::from(self.nodes.children(above)[0].is_some());
            self.nodes.attach(above, side, Some(slot));
        }
        self.retrace(gap, &mut journal);
        Ok(self.changed(journal, None))
    }

    fn remove(&mut self, vm: VmId) -> Result<Change, TreeError> {
        let Some(slot) = self.slots.get(vm) else { return Err(TreeError::NotIn(vm)) };
        let mut journal = Journal::default();
        let leaf = self.deepest_leaf(slot);
        let above = self.nodes.parent(leaf);
        if leaf != slot {
            self.exchange(slot, leaf, &mut journal);
        }
        self.nodes.replace(leaf, None);
        self.nodes.release(leaf);
        self.slots.remove(vm);
        self.retrace(above, &mut journal);
        Ok(self.changed(journal, Some(vm)))
    }

    fn set_slow(&mut self, vm: VmId, slow: bool) -> Result<Change, TreeError> {
        let slot = self.slots.get(vm).ok_or(TreeError::NotIn(vm))?;
        let mut journal = Journal::default();
        self.nodes.set_slow(slot, slow);
        self.retrace(Some(slot), &mut journal);
        Ok(self.changed(journal, None))
    }

    fn is_slow(&self, vm: VmId) -> bool {
        self.slots.get(vm).is_some_and(|slot| self.nodes.is_slow(slot))
    }

    fn contains(&self, vm: VmId) -> bool {
        self.slots.get(vm).is_some()
    }

    fn parent_of(&self, vm: VmId, stripe: Stripe) -> Option<VmId> {
        let above = self.nodes.parent(self.slot(vm, stripe)?)?;
        Some(self.nodes.vm(above))
    }

    fn children_of(&self, vm: VmId, stripe: Stripe) -> [Option<VmId>; 2] {
        match self.slot(vm, stripe) {
            None => [None; 2],
            Some(slot) => self.nodes.children(slot).map(|child| child.map(|child| self.nodes.vm(child))),
        }
    }

    fn root(&self, stripe: Stripe) -> Option<VmId> {
        if stripe == STRIPE { self.nodes.root().map(|root| self.nodes.vm(root)) } else { None }
    }

    fn depth_of(&self, vm: VmId, stripe: Stripe) -> Option<u32> {
        let slot = self.slot(vm, stripe)?;
        let path = iter::successors(self.nodes.parent(slot), |at| self.nodes.parent(*at));
        Some(path.fold(0, |depth, _| depth + 1))
    }

    fn height(&self, stripe: Stripe) -> u32 {
        if stripe == STRIPE { self.nodes.levels(self.nodes.root()).saturating_sub(1) } else { 0 }
    }

    fn vms(&self) -> Box<dyn Iterator<Item = VmId> + '_> {
        let mut queue: VecDeque<Slot> = self.nodes.root().into_iter().collect();
        Box::new(iter::from_fn(move || {
            let slot = queue.pop_front()?;
            queue.extend(self.nodes.children(slot).into_iter().flatten());
            Some(self.nodes.vm(slot))
        }))
    }
}
