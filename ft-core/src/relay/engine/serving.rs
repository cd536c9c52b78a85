//! How blocks go: subscriptions, requests of peers, and the windows towards them.

use super::Engine;
use super::fetching::Wanter;
use crate::block::BlockIndex;
use crate::relay::children::Child;
use crate::relay::event::{Ask, Class, Output, Source, Subscription};
use crate::relay::place::MAX_STRIPES;
use crate::relay::timer::Timer;
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
        let too_much = !child.may_ask(block, most);
        if here && (!too_much || child.has(block)) {
            child.answer(block, ask.class);
            return;
        }
        // A peer that is itself asked for the block here would wait for itself.
        let circle = self.jobs.get(block).is_some_and(|job| job.leg(Source::Peer(peer)).is_some());
        if too_much || circle || !ask.may_fetch || self.wants.is_parked(block) {
            self.refuse(peer, block);
        } else {
            self.child(peer).wait(block, ask.class);
            self.want(block, ask.class, Wanter::Child(peer));
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
        let Some(taker) = self.children.get_mut(&child) else { return };
        let taken = taker.sent(block, self.now);
        if taker.idle_since().is_none() {
            self.timers.clear(Timer::Stuck(child));
        } else if taken {
            self.timers.set_if_clear(Timer::Stuck(child), self.now + self.config.limits.stuck);
        }
    }

    /// A child may have taken nothing for too long. It is reported once, until it takes something.
    pub(super) fn handle_stuck_timer(&mut self, child: VmId) {
        let Some(since) = self.children.get(&child).and_then(Child::idle_since) else { return };
        let stuck_at = since + self.config.limits.stuck;
        if stuck_at > self.now {
            self.timers.set(Timer::Stuck(child), stuck_at);
        } else {
            self.stats.stuck += 1;
            self.out.push_back(Output::Stuck { child });
        }
    }

    pub(super) fn handle_child_down(&mut self, child: VmId) {
        let Some(gone) = self.children.remove(&child) else { return };
        self.timers.clear(Timer::Stuck(child));
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

    /// What nobody wants any more is not fetched, unless it is already on its way; what nobody waits for is not
    /// asked of a second source.
    pub(super) fn forget_unless_wanted(&mut self, block: BlockIndex) {
        let Some(job) = self.jobs.get(block) else { return };
        if job.is_awaited() {
            return;
        }
        if job.is_in_flight() {
            self.end_race(block);
        } else if !self.wants.wants(block) {
            self.jobs.remove(block);
        }
    }

    /// Hands blocks to the driver, as far as the children's windows allow: first what readers below wait for,
    /// whichever child they are at.
    pub(super) fn send(&mut self) {
        let Self { children, shelf, config, catalog, stats, timers, out, now, .. } = self;
        let (limits, now) = (&config.limits, *now);
        for (&vm, child) in children.iter_mut() {
            while let Some(block) = child.next_demanded(limits, now) {
                stats.sent.add(catalog.stored_len(block));
                out.push_back(Output::Send { child: vm, block, class: Class::Demand });
            }
        }
        for (&vm, child) in children.iter_mut() {
            while let Some((block, class)) = child.next_push(shelf, limits, now) {
                stats.sent.add(catalog.stored_len(block));
                out.push_back(Output::Send { child: vm, block, class });
            }
            // The first thing that it has to take. The timer looks itself when it has last taken something.
            if child.idle_since() == Some(now) {
                timers.set_if_clear(Timer::Stuck(vm), now + limits.stuck);
            }
        }
    }
}
