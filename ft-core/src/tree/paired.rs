//! The pair: two binary trees over the same VMs, each carrying half of the blocks.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::index::VmIndex;
use super::journal::{Edge, Journal};
use super::{Change, FunctionTree, Shape, TreeError};
use crate::block::Stripe;
use crate::epoch::Epoch;
use crate::vm::VmId;
use groups::{GROUPS, Group, Kind};

mod groups;
mod order;
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
///
/// # Slow VMs
/// They lie behind all others in both heaps, and are leaves in both trees while they are at most n/2, rounded
/// up. Then tree k has more places with children than VMs of class k to take them. The lowest of these places
/// go to VMs of the other class, *lent* ones: those with the lowest places in their own tree. Such a VM has up
/// to four children, but those in the other tree are slow, since the lowest places with children are above the
/// last leaves. With one slow VM, still nobody has more than two.
///
/// Where there are more slow VMs, nobody else is a leaf in both trees, and slow ones take the lowest places
/// with children. They have classes as well, so that no slow VM has children in both trees.
#[derive(Debug)]
pub struct PairedTree {
    /// Tree k in heap order.
    heaps: [Vec<VmId>; 2],
    /// Where each group ends in heap k, by the group's rank there.
    ends: [[usize; GROUPS]; 2],
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
            ends: [[0; GROUPS]; 2],
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

    /// Puts a VM at a position of a heap; the edges that this changes are the VM's own and those of the
    /// position's children.
    fn put(&mut self, tree: usize, position: usize, vm: VmId, journal: &mut Journal) {
        if self.at(tree, position) == Some(vm) {
            return;
        }
        let stripe = STRIPES[tree];
        let below = children(position).map(|position| self.at(tree, position));
        for moved in below.into_iter().flatten().chain([vm]) {
            journal.note(stripe, moved, self.edge(stripe, moved));
        }
        if let Some(place) = self.heaps[tree].get_mut(position) {
            *place = vm;
        }
        if let Some(positions) = self.positions.get_mut(vm) {
            positions[tree] = position;
        }
        self.touch();
    }

    /// Ends an operation: groups have the size that they should have, and there is a new epoch.
    fn changed(&mut self, mut journal: Journal, removed: Option<VmId>) -> Change {
        self.settle(&mut journal);
        self.epoch = self.epoch.next();
        journal.finish(self.epoch, removed, |stripe, child| self.edge(stripe, child))
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
        for (stripe, heap) in STRIPES.into_iter().zip(&mut self.heaps) {
            journal.note(stripe, vm, Edge::Absent);
            heap.push(vm);
        }
        self.positions.set(vm, [end; 2]);
        let group = Group::new(self.smaller_class(false), Kind::Plain);
        self.regroup(vm, None, Some(group), &mut journal);
        Ok(self.changed(journal, None))
    }

    fn remove(&mut self, vm: VmId) -> Result<Change, TreeError> {
        let group = self.group_of(vm).ok_or(TreeError::NotIn(vm))?;
        let mut journal = Journal::default();
        match self.heir_of(group) {
            Some(heir) => self.succeed(vm, group, heir, &mut journal),
            None => self.regroup(vm, Some(group), None, &mut journal),
        }
        for heap in &mut self.heaps {
            heap.pop();
        }
        self.positions.remove(vm);
        Ok(self.changed(journal, Some(vm)))
    }

    fn set_slow(&mut self, vm: VmId, slow: bool) -> Result<Change, TreeError> {
        let group = self.group_of(vm).ok_or(TreeError::NotIn(vm))?;
        let mut journal = Journal::default();
        if group.is_slow() != slow {
            let kind = if slow { Kind::Slow } else { Kind::Plain };
            let to = Group::new(self.smaller_class(slow), kind);
            self.regroup(vm, Some(group), Some(to), &mut journal);
        }
        Ok(self.changed(journal, None))
    }

    fn is_slow(&self, vm: VmId) -> bool {
        self.group_of(vm).is_some_and(Group::is_slow)
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
