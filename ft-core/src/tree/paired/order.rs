//! How the groups of the pair's heaps are kept in order and at their sizes.

use core::cmp::Ordering;

use super::groups::{GROUPS, Group, Kind};
use super::{Journal, PairedTree, STRIPES};
use crate::vm::VmId;

impl PairedTree {
    /// The VM's group.
    pub(super) fn group_of(&self, vm: VmId) -> Option<Group> {
        let position = self.position(vm, 0)?;
        let rank = self.ends[0].iter().position(|end| position < *end)?;
        Some(Group::at(0, rank))
    }

    /// Where the group begins and ends in the heap of `tree`.
    fn part(&self, tree: usize, group: Group) -> (usize, usize) {
        let rank = group.rank(tree);
        let start = rank.checked_sub(1).map_or(0, |before| self.ends[tree][before]);
        (start, self.ends[tree][rank])
    }

    fn size(&self, class: usize, kind: Kind) -> usize {
        let (start, end) = self.part(0, Group::new(class, kind));
        end - start
    }

    /// How many VMs of the class there are that are slow, or that are not.
    pub(super) fn members(&self, class: usize, slow: bool) -> usize {
        if slow {
            self.size(class, Kind::Slow)
        } else {
            self.size(class, Kind::Plain) + self.size(class, Kind::Lent)
        }
    }

    /// The class that has fewer such VMs; 0 if they are equal.
    pub(super) fn smaller_class(&self, slow: bool) -> usize {
        usize::from(self.members(0, slow) > self.members(1, slow))
    }

    /// Moves a VM from one group to another in both heaps. `None` stands for what is behind the last group:
    /// the last entry of a heap is there while it is being added or removed.
    pub(super) fn regroup(
        &mut self,
        vm: VmId,
        from: Option<Group>,
        to: Option<Group>,
        journal: &mut Journal,
    ) {
        for tree in 0..2 {
            let rank = |group: Option<Group>| group.map_or(GROUPS, |group| group.rank(tree));
            self.shift(tree, vm, rank(from), rank(to), journal);
        }
    }

    /// Moves a VM from one group of a heap to another: the groups between make room by moving one VM each from
    /// one of their ends to the other.
    fn shift(&mut self, tree: usize, vm: VmId, from: usize, to: usize, journal: &mut Journal) {
        journal.note(STRIPES[tree], vm, self.edge(STRIPES[tree], vm));
        let Some(mut hole) = self.position(vm, tree) else { return };
        let mut fill = |heap: &mut Self, end: usize| {
            if let Some(moved) = heap.at(tree, end) {
                heap.put(tree, hole, moved, journal);
            }
            hole = end;
        };
        for rank in from..to {
            self.ends[tree][rank] -= 1;
            fill(self, self.ends[tree][rank]);
        }
        for rank in (to..from).rev() {
            fill(self, self.ends[tree][rank]);
            self.ends[tree][rank] += 1;
        }
        self.put(tree, hole, vm, journal);
    }

    /// Who goes over to the class of a group's VM that is removed, because the other class would be larger by
    /// two otherwise: one whose place in its own tree is the lowest.
    pub(super) fn heir_of(&self, group: Group) -> Option<VmId> {
        let (own, other) = (group.class, 1 - group.class);
        if self.members(own, group.is_slow()) >= self.members(other, group.is_slow()) {
            return None;
        }
        self.last_of_class(other, group.is_slow())
    }

    /// The VM of the class, slow or not, that is the last in its own tree of those with few children.
    fn last_of_class(&self, class: usize, slow: bool) -> Option<VmId> {
        let kinds = if slow { [Kind::Slow; 2] } else { [Kind::Plain, Kind::Lent] };
        let kind = kinds.into_iter().find(|kind| self.size(class, *kind) > 0)?;
        let (_, end) = self.part(class, Group::new(class, kind));
        self.at(class, end - 1)
    }

    /// Moves `vm` behind the last group, and `heir` from the other class into its group. In the tree of that
    /// class the heir takes the VM's very place, which moves fewer than removal and change of class apart.
    pub(super) fn succeed(&mut self, vm: VmId, group: Group, heir: VmId, journal: &mut Journal) {
        let (own, other) = (group.class, 1 - group.class);
        let (Some(from), Some(place), Some(left)) =
            (self.group_of(heir), self.position(vm, own), self.position(heir, own))
        else {
            return;
        };
        journal.note(STRIPES[own], vm, self.edge(STRIPES[own], vm));
        self.put(own, place, heir, journal);
        self.put(own, left, vm, journal);
        self.shift(own, vm, from.rank(own), GROUPS, journal);
        self.shift(other, heir, from.rank(other), group.rank(other), journal);
        self.shift(other, vm, group.rank(other), GROUPS, journal);
    }

    /// Brings the groups to the sizes that they should have.
    pub(super) fn settle(&mut self, journal: &mut Journal) {
        for slow in [false, true] {
            self.even_out(slow, journal);
        }
        for class in 0..2 {
            self.lend(class, journal);
        }
    }

    /// Makes the classes differ by at most one, among the slow VMs or among the others.
    fn even_out(&mut self, slow: bool, journal: &mut Journal) {
        loop {
            let smaller = self.smaller_class(slow);
            let larger = 1 - smaller;
            if self.members(larger, slow) <= self.members(smaller, slow) + 1 {
                return;
            }
            let Some(vm) = self.last_of_class(larger, slow) else { return };
            let kind = if slow { Kind::Slow } else { Kind::Plain };
            self.regroup(vm, self.group_of(vm), Some(Group::new(smaller, kind)), journal);
        }
    }

    /// Lends as many VMs of the class to the other tree as that has places with children for which it has no
    /// VMs of its own: the last ones of the class in their own tree.
    fn lend(&mut self, class: usize, journal: &mut Journal) {
        let wanted = (self.heaps[0].len() / 2).saturating_sub(self.members(1 - class, false));
        let wanted = wanted.min(self.members(class, false));
        let (plain, lent) = (Group::new(class, Kind::Plain), Group::new(class, Kind::Lent));
        loop {
            let (border, end) = self.part(class, lent);
            let (vm, from, to) = match wanted.cmp(&(end - border)) {
                Ordering::Equal => return,
                Ordering::Greater => (self.at(class, border - 1), plain, lent),
                Ordering::Less => (self.at(class, border), lent, plain),
            };
            let Some(vm) = vm else { return };
            self.regroup(vm, Some(from), Some(to), journal);
        }
    }
}
