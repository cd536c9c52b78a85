//! The single tree's nodes and links.

use alloc::vec::Vec;

use crate::vm::VmId;

/// A node's place in the arena. Only the arena makes them, so they are always valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(usize);

/// The nodes of one tree. Links are kept in both directions.
#[derive(Debug, Default)]
pub(super) struct Arena {
    nodes: Vec<Node>,
    /// Slots to use again.
    free: Vec<Slot>,
    root: Option<Slot>,
    /// Nodes read or written, for the test that operations are O(log n).
    #[cfg(test)]
    pub(super) touched: core::cell::Cell<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    vm: VmId,
    slow: bool,
    parent: Option<Slot>,
    children: [Option<Slot>; 2],
    /// Levels of the subtree: 1 for a leaf.
    levels: u32,
    /// Edges down to the nearest node with a free child: 0 for a leaf.
    gap: u32,
    /// The most levels that a slow VM of the subtree has: 0 if there is none.
    tallest_slow: u32,
    /// The fewest levels that another VM of the subtree has: `u32::MAX` if there is none.
    lowest_healthy: u32,
}

impl Arena {
    fn node(&self, slot: Slot) -> &Node {
        #[cfg(test)]
        self.touched.set(self.touched.get() + 1);
        &self.nodes[slot.0]
    }

    fn node_mut(&mut self, slot: Slot) -> &mut Node {
        #[cfg(test)]
        self.touched.set(self.touched.get() + 1);
        &mut self.nodes[slot.0]
    }

    /// How many nodes there is room for, in use or not.
    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn root(&self) -> Option<Slot> {
        self.root
    }

    pub(super) fn vm(&self, slot: Slot) -> VmId {
        self.node(slot).vm
    }

    pub(super) fn is_slow(&self, slot: Slot) -> bool {
        self.node(slot).slow
    }

    /// Marks the node's VM. Its figures and those above it have to be derived anew.
    pub(super) fn set_slow(&mut self, slot: Slot, slow: bool) {
        self.node_mut(slot).slow = slow;
    }

    /// Lets two nodes' VMs change places. The figures of both and of those above have to be derived anew.
    pub(super) fn exchange(&mut self, one: Slot, other: Slot) {
        let (first, second) = (*self.node(one), *self.node(other));
        for (slot, from) in [(one, second), (other, first)] {
            let node = self.node_mut(slot);
            (node.vm, node.slow) = (from.vm, from.slow);
        }
    }

    /// The most levels that a slow VM of the subtree has: 0 if there is none.
    pub(super) fn tallest_slow(&self, slot: Slot) -> u32 {
        self.node(slot).tallest_slow
    }

    /// The fewest levels that a VM of the subtree has which is not slow: `u32::MAX` if there is none.
    pub(super) fn lowest_healthy(&self, slot: Slot) -> u32 {
        self.node(slot).lowest_healthy
    }

    pub(super) fn parent(&self, slot: Slot) -> Option<Slot> {
        self.node(slot).parent
    }

    pub(super) fn children(&self, slot: Slot) -> [Option<Slot>; 2] {
        self.node(slot).children
    }

    /// Levels of the subtree at `slot`; 0 for none.
    pub(super) fn levels(&self, slot: Option<Slot>) -> u32 {
        slot.map_or(0, |slot| self.node(slot).levels)
    }

    /// Edges from `slot` down to the nearest node with a free child; none at all is no way down.
    pub(super) fn gap(&self, slot: Option<Slot>) -> u32 {
        slot.map_or(u32::MAX, |slot| self.node(slot).gap)
    }

    /// A new leaf: the root if there is none yet, otherwise linked to nothing.
    pub(super) fn add(&mut self, vm: VmId) -> Slot {
        let leaf = Node {
            vm,
            slow: false,
            parent: None,
            children: [None; 2],
            levels: 1,
            gap: 0,
            tallest_slow: 0,
            lowest_healthy: 1,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                *self.node_mut(slot) = leaf;
                slot
            }
            None => {
                self.nodes.push(leaf);
                Slot(self.nodes.len() - 1)
            }
        };
        self.root.get_or_insert(slot);
        slot
    }

    /// Gives up a node that nothing links to.
    pub(super) fn release(&mut self, slot: Slot) {
        self.free.push(slot);
    }

    /// Makes `child` the child on `side` of `parent`.
    pub(super) fn attach(&mut self, parent: Slot, side: usize, child: Option<Slot>) {
        self.node_mut(parent).children[side] = child;
        if let Some(child) = child {
            self.node_mut(child).parent = Some(parent);
        }
    }

    /// Puts `new` where `old` is, below its parent or as the root.
    pub(super) fn replace(&mut self, old: Slot, new: Option<Slot>) {
        match self.parent(old) {
            Some(parent) => {
                let side = usize::from(self.children(parent)[1] == Some(old));
                self.attach(parent, side, new);
            }
            None => {
                self.root = new;
                if let Some(new) = new {
                    self.node_mut(new).parent = None;
                }
            }
        }
    }

    /// Derives the node's own figures from its children's.
    pub(super) fn refresh(&mut self, slot: Slot) {
        let children = self.children(slot);
        let [left, right] = children.map(|child| self.levels(child));
        let gap = match children {
            [Some(_), Some(_)] => 1 + children.map(|child| self.gap(child)).into_iter().min().unwrap_or(0),
            _ => 0,
        };
        let levels = 1 + left.max(right);
        let (mut tallest_slow, mut lowest_healthy) =
            if self.is_slow(slot) { (levels, u32::MAX) } else { (0, levels) };
        for child in children.into_iter().flatten() {
            tallest_slow = tallest_slow.max(self.tallest_slow(child));
            lowest_healthy = lowest_healthy.min(self.lowest_healthy(child));
        }
        let node = self.node_mut(slot);
        (node.levels, node.gap) = (levels, gap);
        (node.tallest_slow, node.lowest_healthy) = (tallest_slow, lowest_healthy);
    }
}
