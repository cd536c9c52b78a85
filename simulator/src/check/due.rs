//! What a child is due is handed out: whenever there is room for a push in the worker's hands for a subscribed
//! child, nothing that is here, is subscribed to, and is not had by the child stays behind.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ft_core::relay::{BlockSet, Class, Input, Limits, Output, Source, StripeSet, Subscription};
use ft_core::{BlockIndex, Instant, VmId};

use super::{Check, Verdict, ensure};
use crate::image::Image;
use crate::seen::Seen;

/// A child as its parent knows it.
struct Child {
    pushes: Option<(StripeSet, u8)>,
    has: BlockSet,
    in_hand: BTreeMap<BlockIndex, Class>,
    /// What it waits for as a reader does: that has a window of its own.
    demands: BTreeSet<BlockIndex>,
}

impl Child {
    /// A block of those in `stored` that could be handed out and is not.
    fn forgotten(&self, stored: &BTreeSet<BlockIndex>, limits: &Limits) -> Option<BlockIndex> {
        let (stripes, of) = self.pushes?;
        let demands = self.in_hand.values().filter(|class| **class == Class::Demand).count();
        let pushes = self.in_hand.len() - demands;
        if pushes >= limits.push_window.max(1) as usize {
            return None;
        }
        let waits = |block: BlockIndex| {
            demands >= limits.demand_window.max(1) as usize && self.demands.contains(&block)
        };
        let due = |block: &&BlockIndex| {
            stripes.contains(block.stripe(of)) && !self.has.contains(**block) && !waits(**block)
        };
        stored.iter().find(due).copied()
    }
}

#[derive(Default)]
struct Vm {
    stored: BTreeSet<BlockIndex>,
    children: BTreeMap<VmId, Child>,
}

pub(super) struct Due {
    image: Rc<Image>,
    limits: Limits,
    vms: BTreeMap<VmId, Vm>,
    /// VMs to which something happened at `now`; they are judged once that is dealt with.
    touched: BTreeSet<VmId>,
    now: Instant,
}

impl Due {
    pub(super) fn new(image: Rc<Image>, limits: Limits) -> Self {
        Self { image, limits, vms: BTreeMap::new(), touched: BTreeSet::new(), now: Instant::ZERO }
    }

    fn child(&mut self, vm: VmId, child: VmId) -> &mut Child {
        let len = self.image.layout.len();
        let children = &mut self.vms.entry(vm).or_default().children;
        children.entry(child).or_insert_with(|| Child {
            pushes: None,
            has: BlockSet::new(len),
            in_hand: BTreeMap::new(),
            demands: BTreeSet::new(),
        })
    }

    fn subscribed(&mut self, vm: VmId, child: VmId, subscription: &Subscription) {
        let sound =
            subscription.have.capacity() == self.image.layout.len() && (1..=2).contains(&subscription.of);
        if sound {
            let child = self.child(vm, child);
            child.pushes = Some((subscription.stripes, subscription.of));
            child.has.extend(&subscription.have);
        }
    }

    fn see_input(&mut self, vm: VmId, input: &Input) {
        let canonical = |image: &Image, block: &BlockIndex| image.canonical(*block);
        match input {
            Input::Subscribed { child, subscription } => self.subscribed(vm, *child, subscription),
            Input::Unsubscribed { child } => self.child(vm, *child).pushes = None,
            Input::ChildDown(child) => {
                self.vms.entry(vm).or_default().children.remove(child);
            }
            Input::Asked { child, block, ask } => {
                let block = canonical(&self.image, block);
                let child = self.child(vm, *child);
                if ask.again && !child.in_hand.contains_key(&block) {
                    child.has.remove(block);
                }
                if ask.class == Class::Demand {
                    child.demands.insert(block);
                }
            }
            Input::Has { child, block } => {
                let block = canonical(&self.image, block);
                self.child(vm, *child).has.insert(block);
            }
            Input::Sent { child, block } => {
                if let Some(child) = self.vms.entry(vm).or_default().children.get_mut(child) {
                    child.in_hand.remove(block);
                }
            }
            Input::Stored { block, from } => {
                let vm = self.vms.entry(vm).or_default();
                vm.stored.insert(*block);
                if let Source::Peer(peer) = from
                    && let Some(child) = vm.children.get_mut(peer)
                {
                    child.has.insert(*block);
                }
            }
            Input::Dropped { block } => {
                let vm = self.vms.entry(vm).or_default();
                vm.stored.remove(block);
                for child in vm.children.values_mut().filter(|child| child.in_hand.contains_key(block)) {
                    child.has.remove(*block);
                }
            }
            _ => {}
        }
    }

    fn judge(&mut self) -> Verdict {
        for vm in std::mem::take(&mut self.touched) {
            let Some(state) = self.vms.get(&vm) else { continue };
            for (child, kept) in &state.children {
                let forgotten = kept.forgotten(&state.stored, &self.limits);
                if let Some(block) = forgotten {
                    return ensure(false, || {
                        format!("{vm} has room for {child}, and keeps block {block} back")
                    })
                    .map_err(|broken| broken.of(vm, forgotten));
                }
            }
        }
        Ok(())
    }
}

impl Check for Due {
    fn name(&self) -> &'static str {
        "due"
    }

    fn see(&mut self, at: Instant, seen: &Seen<'_>) -> Verdict {
        if at > self.now {
            self.now = at;
            self.judge()?;
        }
        match *seen {
            Seen::Started { vm, here, .. } => {
                let stored = here.iter().map(|index| self.image.canonical(index)).collect();
                self.vms.insert(vm, Vm { stored, children: BTreeMap::new() });
            }
            Seen::Stopped { vm } => {
                self.vms.remove(&vm);
            }
            Seen::Told { vm, input } => {
                self.see_input(vm, input);
                self.touched.insert(vm);
            }
            Seen::Does { vm, output: Output::Send { child, block, class } } => {
                let child = self.child(vm, *child);
                child.has.insert(*block);
                child.in_hand.insert(*block, *class);
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, _drained: bool) -> Verdict {
        self.judge()
    }
}
