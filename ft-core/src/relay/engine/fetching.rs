//! How blocks come: who wants them, and what sources answer.

use alloc::vec::Vec;

use super::Engine;
use crate::block::{BlockIndex, Stripe};
use crate::relay::event::{Class, Output, Rejection, Source};
use crate::relay::jobs::Job;
use crate::relay::links::State;
use crate::relay::policy;
use crate::relay::timer::Timer;
use crate::vm::VmId;

/// Who wants a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanter {
    Reader,
    /// A reader that will probably come.
    Readahead,
    Child(VmId),
    /// Nobody waits, but it is wanted here.
    Pull,
}

impl Engine {
    /// The block that `index` belongs to; an index past the end is counted.
    pub(super) fn block_at(&mut self, index: BlockIndex) -> Option<BlockIndex> {
        let block = self.catalog.canonical(index);
        if block.is_none() {
            self.stats.ignored += 1;
        }
        block
    }

    pub(super) fn stripe_of(&self, block: BlockIndex) -> Stripe {
        block.stripe(self.place.of())
    }

    pub(super) fn handle_demand(&mut self, block: BlockIndex) {
        let Some(block) = self.block_at(block) else { return };
        if !self.shelf.contains(block) {
            self.stats.demands += 1;
            self.wants.unpark(block);
            self.want(block, Class::Demand, Wanter::Reader);
        }
    }

    pub(super) fn handle_expect(&mut self, blocks: &[BlockIndex]) {
        // What past starts read is a better guess than a reader's last reads, and the link carries only one.
        let foretold = !self.catalog.profile().is_empty();
        let starting = foretold && self.place.stripes().any(|stripe| self.wants.lacks(stripe));
        for &block in blocks {
            let Some(block) = self.block_at(block) else { continue };
            if starting && !self.wants.wants(block) {
                continue;
            }
            if !self.shelf.contains(block) && !self.wants.is_parked(block) {
                self.want(block, Class::Profile, Wanter::Readahead);
            }
        }
    }

    pub(super) fn handle_profile(&mut self, blocks: &[BlockIndex]) {
        let known = blocks.iter().filter_map(|block| self.catalog.canonical(*block)).collect::<Vec<_>>();
        self.stats.ignored += (blocks.len() - known.len()) as u64;
        if !self.catalog.set_profile(known.into_iter()) {
            return;
        }
        self.shelf.arrange(&self.catalog);
        self.wants.arrange(&self.catalog, &self.shelf);
        for child in self.children.values_mut() {
            child.logs_changed();
        }
        for (block, _) in self.jobs.queued() {
            self.forget_unless_wanted(block);
        }
        // What was to come later anyhow moves up.
        for block in self.catalog.profile().to_vec() {
            if self.jobs.contains(block) {
                self.want(block, Class::Profile, Wanter::Pull);
            }
        }
    }

    /// Sees to it that `block`, which is not here, comes.
    pub(super) fn want(&mut self, block: BlockIndex, class: Class, wanter: Wanter) {
        let place = match (class, wanter) {
            (Class::Demand, _) | (Class::Profile, Wanter::Readahead | Wanter::Child(_)) => None,
            _ => Some(self.catalog.rank(block)),
        };
        let raised = self.jobs.want(block, class, place);
        let Some(job) = self.jobs.get_mut(block) else { return };
        let demanded = job.is_demanded();
        match wanter {
            Wanter::Reader => job.local = true,
            Wanter::Readahead => job.expected = true,
            Wanter::Child(child) => {
                job.waiters.insert(child);
            }
            Wanter::Pull => {}
        }
        if job.legs().is_empty() {
            self.turn_to_next_source(block);
        } else if raised || (job.trial && job.is_awaited()) {
            self.raise(block);
        } else if job.is_demanded() != demanded {
            self.set_fetch_timer(block);
        }
    }

    /// `block` could be had from nowhere: whoever waits is told, and it rests for a moment. Until then peers
    /// that ask are refused, so that a block that nobody has is not hunted for through the whole tree.
    pub(super) fn give_up(&mut self, block: BlockIndex) {
        let Some(job) = self.jobs.remove(block) else { return };
        self.stats.failed += 1;
        for child in job.waiters {
            if let Some(waiting) = self.children.get_mut(&child) {
                waiting.stop_waiting(block);
            }
            self.refuse(child, block);
        }
        if job.local {
            self.out.push_back(Output::Failed { block, tried: job.tried });
        }
        self.suspects.insert(block);
        self.wants.park(block);
        let pause = policy::pause(&self.config.limits, self.wants.pauses());
        self.timers.set_if_clear(Timer::Retry, self.now + pause);
    }

    pub(super) fn handle_stored(&mut self, block: BlockIndex, from: Source) {
        let Some(block) = self.block_at(block) else { return };
        let len = self.catalog.stored_len(block);
        self.hear(from);
        if let Source::Peer(peer) = from
            && let Some(child) = self.children.get_mut(&peer)
        {
            child.got(block);
            self.forget_waiter(peer, block);
        }
        let class = self.jobs.get(block).map_or(Class::Rest, Job::class);
        if !self.shelf.insert(&self.catalog, block, class) {
            self.stats.duplicate.add(len);
            return;
        }
        match from {
            Source::Origin => {
                self.origin_heard = self.now;
                self.stats.from_origin.add(len);
            }
            Source::Peer(_) => self.stats.from_peers.add(len),
        }
        self.wants.stored(block);
        self.suspects.remove(block);
        self.timers.clear(Timer::Fetch(block));

        let job = self.jobs.remove(block);
        self.note_feed(block, from, job.as_ref().is_some_and(|job| job.is_in_flight_from(from)));
        if let Some(job) = &job {
            self.learn(block, job, from);
        }
        // Whoever else may send it need not.
        let late = job.iter().flat_map(|job| &job.tried).filter(|(_, why)| *why == Rejection::Late);
        let asked = job.iter().flat_map(Job::legs).filter(|leg| leg.in_flight).map(|leg| leg.source);
        let mut others: Vec<Source> = late.map(|(source, _)| *source).chain(asked).collect();
        others.extend(self.feeds[self.stripe_of(block).index()].feeder.map(Source::Peer));
        self.tell_have(block, from, others);

        for waiter in job.into_iter().flat_map(|job| job.waiters) {
            if let Some(child) = self.children.get_mut(&waiter)
                && let Some(class) = child.stop_waiting(block)
            {
                child.answer(block, class);
            }
        }
    }

    /// `source` shows that it works.
    fn hear(&mut self, source: Source) {
        if let Source::Peer(peer) = source {
            self.links.hear(peer, self.now);
        }
    }

    /// Tells those of `others` to which a session is up that `block` has come `from` elsewhere.
    fn tell_have(&mut self, block: BlockIndex, from: Source, mut others: Vec<Source>) {
        others.sort_unstable();
        others.dedup();
        for other in others.into_iter().filter(|other| *other != from) {
            if let Source::Peer(to) = other
                && self.links.state(to) == Some(State::Up)
            {
                self.out.push_back(Output::Have { to, block });
            }
        }
    }

    pub(super) fn handle_rejected(&mut self, block: BlockIndex, from: Source, why: Rejection) {
        let Some(block) = self.block_at(block) else { return };
        if why != Rejection::Late {
            self.hear(from);
        }
        match why {
            Rejection::NotHere => {}
            Rejection::Corrupt => self.stats.corrupt += 1,
            Rejection::Failed => self.stats.lost += 1,
            Rejection::Late => self.stats.late += 1,
        }
        if self.shelf.contains(block) {
            return;
        }
        if why != Rejection::NotHere {
            self.suspects.insert(block);
        }
        if self.jobs.get(block).is_some_and(|job| job.is_in_flight_from(from)) {
            self.fail_leg(block, from, why);
        } else if why == Rejection::Corrupt && !self.jobs.contains(block) && self.wants.wants(block) {
            // Pushed, and wanted.
            self.jobs.want(block, self.catalog.class(block), Some(self.catalog.rank(block)));
            if let Some(job) = self.jobs.get_mut(block) {
                job.tried.push((from, why));
            }
            self.turn_to_next_source(block);
        }
    }

    pub(super) fn handle_dropped(&mut self, block: BlockIndex) {
        let Some(block) = self.block_at(block) else { return };
        let Some((class, position)) = self.shelf.remove(&self.catalog, block) else { return };
        self.told_complete = false;
        self.suspects.insert(block);
        self.wants.dropped(block);
        let mut refused = Vec::new();
        for (&vm, child) in &mut self.children {
            child.log_shrank(class, position);
            if child.dropped(block) {
                refused.push(vm);
            }
        }
        for child in refused {
            self.refuse(child, block);
        }
        if self.wants.wants(block) && self.place.is_known() {
            self.want(block, self.catalog.class(block), Wanter::Pull);
        }
    }
}
