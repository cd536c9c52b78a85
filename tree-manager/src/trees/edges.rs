//! Who joins and leaves the tree, and which VMs see other edges because of it.

use std::collections::{BTreeMap, BTreeSet};

use ft_core::tree::{Change, FunctionTree};
use ft_core::{Epoch, Stripe, VmId};

use super::{Effects, ManagedTree};

/// A tree with fewer VMs is small: see [`size_matters`].
const SMALL: usize = 3;

/// The VMs in the tree and what their workers know of it.
#[derive(Debug, Default)]
pub(super) struct Members(BTreeMap<VmId, Member>);

/// A VM in the tree.
#[derive(Debug)]
pub(super) struct Member {
    /// Its edges, by stripe.
    pub(super) view: Vec<StripeView>,
    /// When they last changed.
    pub(super) epoch: Epoch,
    /// The epoch of the edges that its worker was told since it connected.
    pub(super) told: Option<Epoch>,
    /// The version of the start-up profile that its worker was told since it connected; 0: none.
    pub(super) told_profile: u64,
    /// Whether its worker has ever confirmed to follow the image.
    pub(super) joined: bool,
}

/// One VM's edges in one stripe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StripeView {
    pub(super) parent: Option<VmId>,
    pub(super) grandparent: Option<VmId>,
    pub(super) children: Vec<VmId>,
}

impl Member {
    fn new(epoch: Epoch) -> Self {
        Self { view: Vec::new(), epoch, told: None, told_profile: 0, joined: false }
    }
}

impl Members {
    pub(super) fn get(&self, vm: VmId) -> Option<&Member> {
        self.0.get(&vm)
    }

    pub(super) fn get_mut(&mut self, vm: VmId) -> Option<&mut Member> {
        self.0.get_mut(&vm)
    }

    pub(super) fn has_joined(&self, vm: VmId) -> bool {
        self.0.get(&vm).is_some_and(|member| member.joined)
    }
}

impl ManagedTree {
    /// Puts VMs into the tree that are not in it yet.
    pub(super) fn join(&mut self, vms: impl IntoIterator<Item = VmId>, effects: &mut Effects) {
        let mut around = BTreeSet::new();
        for vm in vms {
            if self.awaited.contains(&vm) {
                continue;
            }
            if let Ok(change) = self.tree.insert(vm) {
                self.members.0.insert(vm, Member::new(change.epoch));
                self.note_around(&change, &mut around);
                if self.slow.contains(vm) {
                    self.mark_slow(vm, true, &mut around);
                }
            }
        }
        self.refresh(around, effects);
    }

    /// A VM has become slow, or is so no more: it moves while the tree is in use.
    pub(crate) fn set_slow(&mut self, vm: VmId, slow: bool) -> Effects {
        let (mut around, mut effects) = (BTreeSet::new(), Effects::default());
        self.mark_slow(vm, slow, &mut around);
        self.refresh(around, &mut effects);
        effects
    }

    fn mark_slow(&mut self, vm: VmId, slow: bool, around: &mut BTreeSet<VmId>) {
        // Who is not in the tree is marked when it joins.
        if let Ok(change) = self.tree.set_slow(vm, slow) {
            self.note_around(&change, around);
        }
    }

    /// Whether both VMs are in the tree.
    pub(crate) fn has_both(&self, one: VmId, other: VmId) -> bool {
        self.tree.contains(one) && self.tree.contains(other) && one != other
    }

    /// Whether one VM passes blocks on to the other.
    pub(crate) fn is_parent(&self, parent: VmId, child: VmId) -> bool {
        let view = self.members.get(parent).map(|member| member.view.as_slice());
        view.unwrap_or_default().iter().any(|stripe| stripe.children.contains(&child))
    }

    /// Takes a VM out of the tree; its worker is told to leave.
    pub(super) fn leave(&mut self, vm: VmId, effects: &mut Effects) {
        let mut around = BTreeSet::new();
        if let Ok(change) = self.tree.remove(vm) {
            self.note_around(&change, &mut around);
            self.members.0.remove(&vm);
            effects.images.insert(vm);
        }
        self.refresh(around, effects);
    }

    /// The VM has another address: its neighbours must connect anew, which takes newer edges.
    pub(super) fn rejoin(&mut self, vm: VmId, effects: &mut Effects) {
        let joined = self.members.has_joined(vm);
        if self.tree.contains(vm) {
            self.leave(vm, effects);
            self.join([vm], effects);
        }
        if let Some(member) = self.members.get_mut(vm) {
            member.joined = joined;
        }
    }

    /// Builds the tree of everyone who has reported, once nobody is awaited any more.
    pub(super) fn build_when_complete(&mut self, effects: &mut Effects) {
        if self.awaited.is_empty() {
            let vms: Vec<VmId> = self.live.keys().copied().collect();
            self.join(vms, effects);
        }
    }

    /// Collects the VMs that may see a change: the child, its old and new parent, its children (their
    /// grandparent changed), and the parents of a VM that was removed. Called after each change and before
    /// the views are refreshed, so that they still hold what was before.
    fn note_around(&self, change: &Change, around: &mut BTreeSet<VmId>) {
        let before = |vm: VmId, stripe: Stripe| self.members.get(vm)?.view.get(stripe.index());
        for edge in &change.edges {
            around.insert(edge.child);
            around.extend(edge.parent);
            around.extend(self.tree.children_of(edge.child, edge.stripe).into_iter().flatten());
            around.extend(before(edge.child, edge.stripe).and_then(|view| view.parent));
        }
        if let Some(removed) = change.removed.and_then(|vm| self.members.get(vm)) {
            around.extend(removed.view.iter().filter_map(|view| view.parent));
        }
    }

    /// Works out the edges of these VMs anew; those whose edges differ are to be told. If the tree's size is
    /// another one by far, everyone is.
    fn refresh(&mut self, vms: BTreeSet<VmId>, effects: &mut Effects) {
        let epoch = self.tree.epoch();
        if size_matters(self.told_size, self.tree.len()) {
            self.told_size = self.tree.len();
            for (vm, member) in &mut self.members.0 {
                member.epoch = epoch;
                effects.images.insert(*vm);
            }
        }
        for vm in vms {
            let Some(member) = self.members.0.get_mut(&vm) else { continue };
            let view = view_of(self.tree.as_ref(), vm);
            if member.view != view {
                member.view = view;
                member.epoch = epoch;
                effects.images.insert(vm);
            }
        }
    }
}

/// Whether everyone should hear that the tree has `now` VMs, who last heard that it had `told`: in a small tree
/// they go straight to the origin; otherwise the order of magnitude is enough.
fn size_matters(told: usize, now: usize) -> bool {
    (told < SMALL) != (now < SMALL) || now >= told * 2 || now * 2 <= told
}

/// A VM's edges as the tree has them now.
pub(super) fn view_of(tree: &dyn FunctionTree, vm: VmId) -> Vec<StripeView> {
    (0..tree.stripes())
        .map(|stripe| {
            let stripe = Stripe(stripe);
            let parent = tree.parent_of(vm, stripe);
            let mut children: Vec<_> = tree.children_of(vm, stripe).into_iter().flatten().collect();
            // Which is left and which is right means nothing to a worker.
            children.sort_unstable();
            StripeView {
                parent,
                grandparent: parent.and_then(|parent| tree.parent_of(parent, stripe)),
                children,
            }
        })
        .collect()
}
