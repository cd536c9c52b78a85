//! The manager: keeps the tree, tells VMs their edges, gives up VMs that are silent for a lease.

use std::collections::BTreeSet;

use ft_core::relay::{Edges, Input, StripeEdges};
use ft_core::tree::{self, FunctionTree, Shape};
use ft_core::{Duration, Epoch, Instant, Stripe, VmId};

use super::{Event, Life, World, id};
use crate::seen::{Seen, Watch};

/// A VM that is silent for so long is lost.
const LEASE: Duration = Duration::from_secs(3);

/// What the manager does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// A VM joins, or is back.
    Join(Life),
    /// A VM's lease is over, if it did not come back meanwhile.
    Expire(Life),
    /// The manager is back.
    Resume {
        /// As a new one: it builds the trees anew.
        restarted: bool,
    },
}

pub(super) struct Manager {
    shape: Shape,
    term: u64,
    tree: Box<dyn FunctionTree + Send>,
    members: BTreeSet<VmId>,
    /// How many reasons there are for it to be away.
    pub(super) away: u32,
    /// What came while it was away.
    missed: Vec<Act>,
    /// Edges that were told once, to be told again when they are stale.
    old: Option<(Life, Edges)>,
}

impl Manager {
    pub(super) fn new(shape: Shape) -> Self {
        Self {
            shape,
            term: 1,
            tree: tree::new(shape, Epoch::first(1)),
            members: BTreeSet::new(),
            away: 0,
            missed: Vec::new(),
            old: None,
        }
    }

    fn edges_of(&self, vm: VmId) -> Edges {
        let tree = &self.tree;
        let stripes = (0..tree.stripes()).map(Stripe).map(|stripe| {
            let parent = tree.parent_of(vm, stripe);
            StripeEdges {
                parent,
                grandparent: parent.and_then(|parent| tree.parent_of(parent, stripe)),
                children: tree.children_of(vm, stripe).into_iter().flatten().collect(),
            }
        });
        let vms = u32::try_from(tree.len()).unwrap_or(u32::MAX);
        Edges { epoch: tree.epoch(), vms, stripes: stripes.collect() }
    }
}

impl<W: Watch> World<W> {
    /// VMs join at once, and are told once.
    pub(super) fn join_all(&mut self, vms: &[usize]) {
        for &vm in vms {
            self.enter(vm);
        }
        for &vm in vms {
            self.tell_edges(vm);
        }
    }

    pub(super) fn manage(&mut self, act: Act) {
        if self.manager.away > 0 && !matches!(act, Act::Resume { .. }) {
            self.manager.missed.push(act);
            return;
        }
        match act {
            Act::Join(of) => {
                if self.is_current(of) && !self.enter(of.vm) {
                    self.tell_edges(of.vm);
                }
            }
            Act::Expire(of) => {
                let back = self.hosts[of.vm].engine.is_some() && self.reaches_manager(of.vm);
                if !back {
                    self.leave_tree(of.vm);
                }
            }
            Act::Resume { restarted } => self.resume(restarted),
        }
    }

    fn resume(&mut self, restarted: bool) {
        self.manager.away = self.manager.away.saturating_sub(1);
        if self.manager.away > 0 {
            return;
        }
        if restarted {
            let manager = &mut self.manager;
            manager.term += 1;
            manager.tree = tree::new(manager.shape, Epoch::first(manager.term));
            // The order in which VMs report is another than that in which they joined.
            let mut order: Vec<VmId> = manager.members.iter().copied().collect();
            for place in (1..order.len()).rev() {
                let other = self.dice.edges.between(0, place as u64);
                order.swap(place, usize::try_from(other).unwrap_or(place));
            }
            for vm in order {
                // Members are in the tree once.
                let _change = self.manager.tree.insert(vm);
            }
        }
        for act in std::mem::take(&mut self.manager.missed) {
            self.manage(act);
        }
        self.see_tree();
        self.tell_everybody();
    }

    /// A VM is in the tree from now on; whether everybody was told.
    fn enter(&mut self, vm: usize) -> bool {
        if self.manager.tree.insert(id(vm)).is_err() {
            return false;
        }
        self.manager.members.insert(id(vm));
        self.see_tree();
        if self.now > Instant::ZERO {
            self.tell_everybody();
        }
        true
    }

    pub(super) fn leave_tree(&mut self, vm: usize) {
        if self.manager.tree.remove(id(vm)).is_ok() {
            self.manager.members.remove(&id(vm));
            self.see_tree();
            self.tell_everybody();
        }
    }

    /// A VM is slow, or is so no more: the tree has it at a leaf, or anywhere.
    pub(super) fn mark_slow(&mut self, vm: usize, slow: bool) {
        let known = self.manager.tree.is_slow(id(vm)) == slow;
        if self.manager.away == 0 && !known && self.manager.tree.set_slow(id(vm), slow).is_ok() {
            self.see_tree();
            self.tell_everybody();
        }
    }

    /// A VM is silent from now on: in a while it is given up.
    pub(super) fn miss(&mut self, vm: usize) {
        let of = self.life(vm);
        self.after(LEASE, Event::Manager(Act::Expire(of)));
    }

    /// A VM asks to be in the tree.
    pub(super) fn ask_to_join(&mut self, vm: usize) {
        let (of, delay) = (self.life(vm), self.delay());
        self.after(delay, Event::Manager(Act::Join(of)));
    }

    fn see_tree(&mut self) {
        let seen = Seen::Tree { tree: &*self.manager.tree, members: &self.manager.members };
        self.watch.see(self.now, &seen);
    }

    pub(super) fn tell_everybody(&mut self) {
        let members: Vec<VmId> = self.manager.members.iter().copied().collect();
        for vm in members {
            if let Some(vm) = self.number(vm) {
                self.tell_edges(vm);
            }
        }
    }

    /// A VM is told its edges. What the manager says arrives in order, but for a fault.
    fn tell_edges(&mut self, vm: usize) {
        if self.hosts[vm].engine.is_none() || !self.reaches_manager(vm) {
            return;
        }
        let (of, edges, odds) = (self.life(vm), self.manager.edges_of(id(vm)), self.setup.odds);
        let mut arrives = self.now + self.delay();
        if !self.calm && self.dice.edges.one_in(odds.late_edges) {
            arrives += Duration::from_millis(self.dice.edges.between(1, 500));
        } else {
            arrives = arrives.max(self.hosts[vm].told_at);
            self.hosts[vm].told_at = arrives;
        }
        if !self.calm && self.dice.edges.one_in(odds.stale_edges) {
            let old = self.manager.old.replace((of, edges.clone()));
            if let Some((of, edges)) = old {
                self.queue.push(arrives, Event::Input(of, Input::Edges(edges)));
            }
        }
        self.queue.push(arrives, Event::Input(of, Input::Edges(edges)));
    }
}
