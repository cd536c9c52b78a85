//! The chain: every VM passes on to one other.

use alloc::boxed::Box;
use core::iter;

use super::index::VmIndex;
use super::journal::{Edge, Journal};
use super::{Change, FunctionTree, Shape, TreeError};
use crate::block::Stripe;
use crate::epoch::Epoch;
use crate::vm::VmId;

/// The only stripe.
const STRIPE: Stripe = Stripe(0);

/// A chain, to compare the trees with: everyone sends each byte once, as in the pair, but the last VM is as
/// deep as there are VMs, and one slow VM holds back all that follow. So slow VMs are last. A new VM goes to
/// the end of its part; a removed VM's parent is linked to its child. Every operation takes O(1) time, finding
/// a depth O(n).
#[derive(Debug)]
pub struct Chain {
    links: VmIndex<Link>,
    first: Option<VmId>,
    /// The last VM that is not slow: the slow ones begin behind it.
    last_healthy: Option<VmId>,
    last: Option<VmId>,
    epoch: Epoch,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    parent: Option<VmId>,
    child: Option<VmId>,
    slow: bool,
}

impl Chain {
    /// The empty chain.
    pub fn new(epoch: Epoch) -> Self {
        Self { links: VmIndex::new(), first: None, last_healthy: None, last: None, epoch }
    }

    fn link_of(&self, vm: VmId, stripe: Stripe) -> Option<Link> {
        if stripe == STRIPE { self.links.get(vm) } else { None }
    }

    fn edge(&self, child: VmId) -> Edge {
        self.links.get(child).map_or(Edge::Absent, |link| Edge::From(link.parent))
    }

    fn note(&self, vm: Option<VmId>, journal: &mut Journal) {
        if let Some(vm) = vm {
            journal.note(STRIPE, vm, self.edge(vm));
        }
    }

    /// Makes `child` follow `parent`; none stands for either end of the chain.
    fn join(&mut self, parent: Option<VmId>, child: Option<VmId>) {
        match parent.and_then(|vm| self.links.get_mut(vm)) {
            Some(link) => link.child = child,
            None => self.first = child,
        }
        match child.and_then(|vm| self.links.get_mut(vm)) {
            Some(link) => link.parent = parent,
            None => self.last = parent,
        }
    }

    /// Links a VM in behind the last of its part.
    fn link(&mut self, vm: VmId, slow: bool, journal: &mut Journal) {
        let parent = if slow { self.last } else { self.last_healthy };
        let child = match parent {
            Some(parent) => self.links.get(parent).and_then(|link| link.child),
            None => self.first,
        };
        self.note(Some(vm), journal);
        self.note(child, journal);
        self.links.set(vm, Link { parent: None, child: None, slow });
        self.join(parent, Some(vm));
        self.join(Some(vm), child);
        if !slow {
            self.last_healthy = Some(vm);
        }
    }

    /// Takes a VM out and links its parent to its child.
    fn unlink(&mut self, vm: VmId, link: Link, journal: &mut Journal) {
        self.note(Some(vm), journal);
        self.note(link.child, journal);
        if self.last_healthy == Some(vm) {
            // Whoever is before a healthy VM is healthy.
            self.last_healthy = link.parent;
        }
        self.join(link.parent, link.child);
        self.links.remove(vm);
    }

    fn changed(&mut self, journal: Journal, removed: Option<VmId>) -> Change {
        self.epoch = self.epoch.next();
        journal.finish(self.epoch, removed, |_, child| self.edge(child))
    }
}

impl FunctionTree for Chain {
    fn shape(&self) -> Shape {
        Shape::Chain
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn len(&self) -> usize {
        self.links.len()
    }

    fn insert(&mut self, vm: VmId) -> Result<Change, TreeError> {
        if self.contains(vm) {
            return Err(TreeError::AlreadyIn(vm));
        }
        let mut journal = Journal::default();
        self.link(vm, false, &mut journal);
        Ok(self.changed(journal, None))
    }

    fn remove(&mut self, vm: VmId) -> Result<Change, TreeError> {
        let link = self.links.get(vm).ok_or(TreeError::NotIn(vm))?;
        let mut journal = Journal::default();
        self.unlink(vm, link, &mut journal);
        Ok(self.changed(journal, Some(vm)))
    }

    fn set_slow(&mut self, vm: VmId, slow: bool) -> Result<Change, TreeError> {
        let link = self.links.get(vm).ok_or(TreeError::NotIn(vm))?;
        let mut journal = Journal::default();
        if link.slow != slow {
            self.unlink(vm, link, &mut journal);
            self.link(vm, slow, &mut journal);
        }
        Ok(self.changed(journal, None))
    }

    fn is_slow(&self, vm: VmId) -> bool {
        self.links.get(vm).is_some_and(|link| link.slow)
    }

    fn contains(&self, vm: VmId) -> bool {
        self.links.get(vm).is_some()
    }

    fn parent_of(&self, vm: VmId, stripe: Stripe) -> Option<VmId> {
        self.link_of(vm, stripe)?.parent
    }

    fn children_of(&self, vm: VmId, stripe: Stripe) -> [Option<VmId>; 2] {
        [self.link_of(vm, stripe).and_then(|link| link.child), None]
    }

    fn root(&self, stripe: Stripe) -> Option<VmId> {
        if stripe == STRIPE { self.first } else { None }
    }

    fn depth_of(&self, vm: VmId, stripe: Stripe) -> Option<u32> {
        let link = self.link_of(vm, stripe)?;
        let above = iter::successors(link.parent, |above| self.parent_of(*above, stripe));
        Some(above.fold(0, |depth, _| depth + 1))
    }

    fn height(&self, stripe: Stripe) -> u32 {
        if stripe == STRIPE { u32::try_from(self.len().saturating_sub(1)).unwrap_or(u32::MAX) } else { 0 }
    }

    fn vms(&self) -> Box<dyn Iterator<Item = VmId> + '_> {
        Box::new(iter::successors(self.first, |vm| self.links.get(*vm)?.child))
    }
}
