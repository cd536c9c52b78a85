//! The pair: two binary trees over the same VMs, each carrying half of the blocks.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::index::VmIndex;
use super::journal::{Edge, Journal};
use super::{Change, FunctionTree, Shape, TreeError};
use crate::block::Stripe;
use crate::epoch::Epoch;
use crate::vm::VmId;

#[cfg(test)]
mod tests;

/// Two binary trees over the same VMs, so arranged that a VM with children in one is a leaf in the other and
/// nobody sends to more than two. Every VM then sends each byte about once, and the whole image takes the
/// time that one copy takes (Sanders, Speck, Träff, "Two-tree algorithms for full bandwidth broadcast,
/// reduction and scan", 2009). Every operation takes O(1) time (amortized, as its arrays grow).
///
/// # How it is kept
/// Each VM has a class, 0 or 1; the classes differ in number by at most one. Tree k is an array in heap order
/// (the parent of position p is at (p-1)/2): first the VMs of class k, then the others. In a heap of n, only
/// the first n/2 positions (rounded down) have children, so a VM only has children in the tree of its class.
/// The shape of a heap depends on n alone, so it is balanced whatever happened before.
#[derive(Debug)]
pub struct PairedTree {
    /// Tree k in heap order.
    heaps: [Vec<VmId>; 2],
    /// How many VMs have class k: the first so many of heap k.
    members: [usize; 2],
    /// Each VM's position in both heaps.
    positions: VmIndex<[usize; 2]>,
    epoch: Epoch,
    /// Heap entries and positions read or written, for the test that operations are O(1).
    #[cfg(test)]
    touched: core::cell::Cell<usize>,
}

impl PairedTree {
    /// The empty tree.
    pub fn new(epoch: Epoch) -> Self {
        Self {
            heaps: [Vec::new(), Vec::new()],
            members: [0, 0],
            positions: VmIndex::new(),
            epoch,
            #[cfg(test)]
            touched: core::cell::Cell::default(),
        }
    }

    #[cfg(test)]
    fn touch(&self) {
        self.touched.set(self.touched.get() + 1);
    }

    #[cfg(not(test))]
    fn touch(&self) {}

    fn at(&self, tree: usize, position: usize) -> Option<VmId> {
        self.touch();
        self.heaps.get(tree)?.get(position).copied()
    }

    fn position(&self, vm: VmId, tree: usize) -> Option<usize> {
        self.touch();
        self.positions.get(vm)?.get(tree).copied()
    }

    fn edge(&self, stripe: Stripe, child: VmId) -> Edge {
        match self.position(child, stripe.index()) {
            None => Edge::Absent,
            Some(_) => Edge::From(self.parent_of(child, stripe)),
        }
    }

    /// Puts a VM at a position of a heap, which may be the one after its end; the edges that this changes
    /// are the VM's own and those of the position's children.
    fn put(&mut self, tree: usize, position: usize, vm: VmId, journal: &mut Journal) {
        let stripe = STRIPES[tree];
        let below = children(position).map(|position| self.at(tree, position));
        for moved in below.into_iter().flatten().chain([vm]) {
            journal.note(stripe, moved, self.edge(stripe, moved));
        }
        match self.heaps[tree].get_mut(position) {
            Some(place) => *place = vm,
            None => self.heaps[tree].push(vm),
        }
        if let Some(positions) = self.positions.get_mut(vm) {
            positions[tree] = position;
        }
        self.touch();
    }

    /// Shortens a heap by one, the last VM filling `hole`.
    fn close(&mut self, tree: usize, hole: usize, journal: &mut Journal) {
        if let Some(last) = self.heaps[tree].last().copied()
            && hole + 1 < self.heaps[tree].len()
        {
            self.put(tree, hole, last, journal);
        }
        self.heaps[tree].pop();
        self.touch();
    }
}

const STRIPES: [Stripe; 2] = [Stripe(0), Stripe(1)];

fn children(position: usize) -> [usize; 2] {
    [2 * position + 1, 2 * position + 2]
}

fn parent(position: usize) -> Option<usize> {
    position.checked_sub(1).map(|above| above / 2)
}

impl FunctionTree for PairedTree {
    fn shape(&self) -> Shape {
        Shape::Paired
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn len(&self) -> usize {
        self.positions.len()
    }

    fn insert(&mut self, vm: VmId) -> Result<Change, TreeError> {
        if self.contains(vm) {
            return Err(TreeError::AlreadyIn(vm));
        }
        let mut journal = Journal::default();
        let end = self.len();
        let own = usize::from(self.members[0] > self.members[1]);
        for stripe in STRIPES {
            journal.note(stripe, vm, Edge::Absent);
        }
        self.positions.set(vm, [end; 2]);
        // In the tree of its class it takes the place of the first VM of the other class, a leaf.
        let place = self.members[own];
        if let Some(displaced) = self.at(own, place) {
            self.put(own, end, displaced, &mut journal);
        }
        self.put(own, place, vm, &mut journal);
        self.put(1 - own, end, vm, &mut journal);
        self.members[own] += 1;
        self.epoch = self.epoch.next();
        Ok(journal.finish(self.epoch, None, |stripe, child| self.edge(stripe, child)))
    }

    fn remove(&mut self, vm: VmId) -> Result<Change, TreeError> {
        let Some(positions) = self.positions.get(vm) else { return Err(TreeError::NotIn(vm)) };
        let mut journal = Journal::default();
        let own = usize::from(positions[0] >= self.members[0]);
        let other = 1 - own;
        // Who takes the VM's place in the tree of its class. If the other class is the larger one, a VM of
        // that class goes over: the last of its part of the other tree, which is a leaf there and is now the
        // first of the second part. Otherwise it is the last of the same class.
        let goes_over = self.members[own] < self.members[other];
        let shrinking = if goes_over { other } else { own };
        self.members[shrinking] -= 1;
        let mut hole = positions[own];
        if let Some(heir) = self.at(shrinking, self.members[shrinking])
            && let Some(left) = self.position(heir, own)
            && heir != vm
        {
            self.put(own, hole, heir, &mut journal);
            hole = left;
        }
        self.close(own, hole, &mut journal);
        self.close(other, positions[other], &mut journal);
        self.positions.remove(vm);
        self.epoch = self.epoch.next();
        Ok(journal.finish(self.epoch, Some(vm), |stripe, child| self.edge(stripe, child)))
    }

    fn contains(&self, vm: VmId) -> bool {
        self.position(vm, 0).is_some()
    }

    fn parent_of(&self, vm: VmId, stripe: Stripe) -> Option<VmId> {
        let position = self.position(vm, stripe.index())?;
        self.at(stripe.index(), parent(position)?)
    }

    fn children_of(&self, vm: VmId, stripe: Stripe) -> [Option<VmId>; 2] {
        match self.position(vm, stripe.index()) {
            None => [None; 2],
            Some(position) => children(position).map(|child| self.at(stripe.index(), child)),
        }
    }

    fn root(&self, stripe: Stripe) -> Option<VmId> {
        self.at(stripe.index(), 0)
    }

    fn depth_of(&self, vm: VmId, stripe: Stripe) -> Option<u32> {
        self.position(vm, stripe.index()).map(|position| (position + 1).ilog2())
    }

    fn height(&self, stripe: Stripe) -> u32 {
        self.heaps.get(stripe.index()).and_then(|heap| heap.len().checked_ilog2()).unwrap_or(0)
    }

    fn vms(&self) -> Box<dyn Iterator<Item = VmId> + '_> {
        Box::new(self.heaps[0].iter().copied())
    }
}
