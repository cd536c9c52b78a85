//! This VM's place in the function tree, and from whom a block may come because of it.

use alloc::vec::Vec;

use super::event::{Edges, Source, StripeEdges};
use crate::block::Stripe;
use crate::epoch::Epoch;
use crate::vm::VmId;

/// The most stripes that a tree has.
pub(super) const MAX_STRIPES: usize = 2;

/// A source that may be asked for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) source: Source,
    /// Whether it is to fetch what it does not have.
    pub(super) may_fetch: bool,
}

/// Sources, the first to be asked first.
pub(super) type Candidates = [Option<Candidate>; 4];

/// What became of new edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Taken,
    /// Not newer than those known.
    Stale,
    /// No stripes, or too many.
    Malformed,
}

/// The newest edges. Before any have come, this VM counts as the root of a tree of its own: there is
/// nobody but the origin to turn to.
#[derive(Debug)]
pub(super) struct Place {
    me: VmId,
    epoch: Option<Epoch>,
    /// VMs in the tree; 0: not known.
    vms: u32,
    stripes: Vec<StripeEdges>,
}

impl Place {
    pub(super) fn new(me: VmId) -> Self {
        Self { me, epoch: None, vms: 0, stripes: Vec::new() }
    }

    /// Whether edges have come.
    pub(super) fn is_known(&self) -> bool {
        self.epoch.is_some()
    }

    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// Takes `edges` if they are newer.
    pub(super) fn take(&mut self, edges: Edges) -> Verdict {
        if !(1..=MAX_STRIPES).contains(&edges.stripes.len()) {
            return Verdict::Malformed;
        }
        if self.epoch.is_some_and(|known| edges.epoch <= known) {
            return Verdict::Stale;
        }
        self.epoch = Some(edges.epoch);
        self.vms = edges.vms;
        self.stripes = edges.stripes;
        Verdict::Taken
    }

    /// VMs in the tree; 0: not known.
    pub(super) fn vms(&self) -> u32 {
        self.vms
    }

    /// Whether the tree is so small that a demanded block comes fastest straight from the origin, which two
    /// readers do not overload.
    pub(super) fn is_small(&self) -> bool {
        (1..=2).contains(&self.vms)
    }

    /// Whether this VM may read blocks of `stripe` from the origin without a share of the budget.
    pub(super) fn reads_origin_freely(&self, stripe: Stripe) -> bool {
        self.is_small() || self.parent(stripe).is_none()
    }

    /// How many stripes the tree has.
    pub(super) fn of(&self) -> u8 {
        if self.stripes.len() > 1 { 2 } else { 1 }
    }

    pub(super) fn stripes(&self) -> impl Iterator<Item = Stripe> + use<> {
        (0..self.of()).map(Stripe)
    }

    /// The stripe's parent; `None` at its root.
    pub(super) fn parent(&self, stripe: Stripe) -> Option<VmId> {
        self.stripes.get(stripe.index())?.parent.filter(|vm| *vm != self.me)
    }

    /// The parent's parent, where there is one.
    pub(super) fn grandparent(&self, stripe: Stripe) -> Option<VmId> {
        self.parent(stripe)?;
        self.stripes.get(stripe.index())?.grandparent.filter(|vm| *vm != self.me)
    }

    /// The other stripe's parent, if that is another VM than this stripe's.
    pub(super) fn other_parent(&self, stripe: Stripe) -> Option<VmId> {
        let other = (0..self.of()).map(Stripe).find(|other| *other != stripe)?;
        self.parent(other).filter(|vm| Some(*vm) != self.parent(stripe))
    }

    /// Whether this VM reads the origin in the ordinary course, in any stripe.
    pub(super) fn is_root(&self) -> bool {
        self.stripes().any(|stripe| self.parent(stripe).is_none())
    }

    /// Whether `vm` is a parent.
    pub(super) fn is_parent(&self, vm: VmId) -> bool {
        self.stripes().any(|stripe| self.parent(stripe) == Some(vm))
    }

    /// Whether `vm` is a parent or a grandparent.
    pub(super) fn names(&self, vm: VmId) -> bool {
        self.stripes().any(|stripe| self.parent(stripe) == Some(vm) || self.grandparent(stripe) == Some(vm))
    }

    /// From whom a block of `stripe` may come, in this order; `demanded`: somebody waits for it.
    ///
    /// No cyclic waits: only a parent and a grandparent *in the block's own stripe* are asked to fetch, and
    /// those are ancestors, so that along a chain of VMs that wait for each other the depth in that stripe
    /// falls, down to the root, which waits for the origin. The other stripe's parent may be a descendant
    /// in this one; it gives what it has or refuses at once, so nobody waits for it. VMs that know
    /// different epochs of the tree may still wait for each other in a circle; then the deadline of the
    /// first one sends it on, to the origin in the end. The order does not matter for that.
    pub(super) fn candidates(&self, stripe: Stripe, demanded: bool) -> Candidates {
        let origin = Some(Candidate { source: Source::Origin, may_fetch: false });
        let peer = |vm, may_fetch| Candidate { source: Source::Peer(vm), may_fetch };
        let (parent, grandparent) = (self.parent(stripe), self.grandparent(stripe));
        let other = self.other_parent(stripe).map(|vm| peer(vm, Some(vm) == grandparent));
        let Some(parent) = parent else { return [origin, other, None, None] };
        let first = Some(peer(parent, true));
        let grandparent = grandparent.filter(|vm| *vm != parent).map(|vm| peer(vm, true));
        if demanded && self.is_small() {
            return [origin, first, other, grandparent];
        }
        [first, other, grandparent, origin]
    }
}
