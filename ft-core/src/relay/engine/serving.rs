//! How blocks go: subscriptions, requests of peers, and the windows towards them.

use super::Engine;
use super::fetching::Wanter;
use crate::block::BlockIndex;
use crate::relay::children::Child;
use crate::relay::event::{Ask, Output, Source, Subscription};
use crate::relay::place::MAX_STRIPES;
use crate::vm::VmId;

impl Engine {
    fn child(&mut self, child: VmId) -> &mut Child {
        let len = self.catalog.len();
        self.children.entry(child).or_insert_with(|| Child::new(len))
    }

    pub(super) fn handle_subscribed(&mut self, child: VmId, subscription: &Subscription) {
        let of = 1..=MAX_STRIPES;
        if subscription.have.capacity() != self.catalog.len() || !of.contains(&usize::from(subscription.of)) {
            self.stats.ignored += 1;
            return;
        }
        self.child(child).subscribe(subscription);
    }

    pub(super) fn handle_unsubscribed(&mut self, child: VmId) {
        if let Some(child) = self.children.get_mut(&child) {
            child.unsubscribe();
        }
    }

    pub(super) fn handle_asked(&mut self, peer: VmId, block: BlockIndex, ask: Ask) {
        let Some(block) = self.block_at(block) else { return };
        self.stats.asked += 1;
        let most = self.config.limits.asks_per_child;
        let here = self.shelf.contains(block);
        let child = self.child(peer);
        if ask.again {
            child.lost(block);
        }
        if here {
            child.answer(block, ask.class);
            return;
        }
        // A peer that is itself asked for the block here would wait for itself.
        let circle = self.jobs.get(block).is_some_and(|job| job.source() == Some(Source::Peer(peer)));
        let hopeless = circle || !ask.may_fetch || self.wants.is_parked(block);
        if !hopeless && self.child(peer).wait(block, ask.class, most) {
            self.want(block, ask.class, Wanter::Child(peer));
        } else {
            self.refuse(peer, block);
        }
    }

    pub(super) fn refuse(&mut self, child: VmId, block: BlockIndex) {
        self.stats.refused += 1;
        self.out.push_back(Output::Refuse { child, block });
    }

    pub(super) fn handle_has(&mut self, peer: VmId, block: BlockIndex) {
        let Some(block) = self.block_at(block) else { return };
        self.child(peer).got(block);
        self.forget_waiter(peer, block);
    }

    pub(super) fn handle_sent(&mut self, child: VmId, block: BlockIndex) {
        let Some(block) = self.block_at(block) else { return };
        if let Some(child) = self.children.get_mut(&child) {
            child.sent(block);
        }
    }

    pub(super) fn handle_child_down(&mut self, child: VmId) {
        let Some(gone) = self.children.remove(&child) else { return };
        for block in gone.waiting() {
            self.forget_waiter(child, block);
        }
    }

    /// `peer` does not wait for `block` any more.
    pub(super) fn forget_waiter(&mut self, peer: VmId, block: BlockIndex) {
        let Some(job) = self.jobs.get_mut(block) else { return };
        job.waiters.remove(&peer);
        self.forget_unless_wanted(block);
    }

    /// What nobody wants any more is not fetched, unless it is already on its way.
    pub(super) fn forget_unless_wanted(&mut self, block: BlockIndex) {
        let Some(job) = self.jobs.get(block) else { return };
        if !job.is_awaited() && job.in_flight_from().is_none() && !self.wants.wants(block) {
            self.jobs.remove(block);
        }
    }

    /// Hands blocks to the driver, as far as the children's windows allow.
    pub(super) fn send(&mut self) {
        for (&vm, child) in &mut self.children {
            while let Some((block, class)) = child.next(&self.shelf, &self.config.limits) {
                self.stats.sent.add(self.catalog.stored_len(block));
                self.out.push_back(Output::Send { child: vm, block, class });
            }
        }
    }
}
