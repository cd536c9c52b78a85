//! Slow VMs in the single tree: where they may stay, and who changes places with them.

use super::arena::Slot;
use super::{AvlTree, Journal};

impl AvlTree {
    /// Moves slow VMs to the lowest places: while some slow VM has more levels below it than some other VM, the
    /// two change places. So slow VMs are leaves as long as there are leaves for them, and only then the
    /// parents of leaves, and so on. The tree keeps its form. An operation changes the levels of one path,
    /// on which each number of levels occurs once, so there are only a few exchanges.
    pub(super) fn settle(&mut self, journal: &mut Journal) {
        while let Some((slow, other)) = self.misplaced() {
            self.exchange(slow, other, journal);
        }
    }

    /// A slow VM's node and one of another VM with fewer levels.
    fn misplaced(&self) -> Option<(Slot, Slot)> {
        let root = self.nodes.root()?;
        let (tallest, lowest) = (self.nodes.tallest_slow(root), self.nodes.lowest_healthy(root));
        if tallest <= lowest {
            return None;
        }
        let slow = self.descend(root, |slot| self.nodes.tallest_slow(slot) == tallest);
        let other = self.descend(root, |slot| self.nodes.lowest_healthy(slot) == lowest);
        Some((slow, other))
    }

    /// The lowest node, left before right, of whose subtree `holds` is true, as it is of the one at `top`.
    fn descend(&self, top: Slot, holds: impl Fn(Slot) -> bool) -> Slot {
        let mut at = top;
        while let Some(child) = self.nodes.children(at).into_iter().flatten().find(|child| holds(*child)) {
            at = child;
        }
        at
    }

    /// Lets the VMs of two nodes change places.
    pub(super) fn exchange(&mut self, one: Slot, other: Slot, journal: &mut Journal) {
        for slot in [one, other] {
            self.note(slot, journal);
            self.note_children(slot, journal);
        }
        self.nodes.exchange(one, other);
        for slot in [one, other] {
            self.slots.set(self.nodes.vm(slot), slot);
        }
        for slot in [one, other] {
            self.retrace(Some(slot), journal);
        }
    }
}
