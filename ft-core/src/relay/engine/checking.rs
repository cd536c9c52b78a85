//! Whether a parent pushes far more slowly than another source would give.
//!
//! A parent that has nothing that this VM lacks waits as this VM does: to turn elsewhere would gain nothing, and
//! when a whole tree waits, it would be a stampede. So a parent whose pushes are rare is first asked for the next
//! wanted block *if it has it* (the trial). Only if it has it and keeps it back, another source is asked for a
//! block that the parent will not push soon (the probe), and what the parent gave meanwhile is compared with what
//! that took.

use super::Engine;
use crate::block::{BlockIndex, Stripe};
use crate::clock::Duration;
use crate::relay::event::Source;
use crate::relay::feeds::{Check, Feed};
use crate::relay::place::Candidate;
use crate::relay::timer::Timer;
use crate::vm::VmId;

/// A feeder is slow if another source gives so many times as much. One that shares its link between two children
/// gives each of them half of what it could.
const FAR: u64 = 3;
/// A feeder that is not slow is left in peace so many times as long as a block from another peer took.
const PEACE: u64 = 16;
/// The same for a block from the origin, for each VM of the tree: so comparisons take a quarter of what it can give
/// at most, however many VMs make them.
const PEACE_OF_ORIGIN: u64 = 4;

impl Engine {
    /// The parent in `stripe`, if it is the one that pushes it.
    fn parent_that_feeds(&self, stripe: Stripe) -> Option<VmId> {
        self.feeds[stripe.index()].feeder.filter(|vm| self.place.parent(stripe) == Some(*vm))
    }

    /// Whether the feeder of `stripe` has pushed so rarely that it may be slow.
    pub(super) fn pushes_rarely(&self, stripe: Stripe) -> bool {
        let Feed { feeder, watched: (since, came), .. } = self.feeds[stripe.index()];
        let pace = self.config.limits.trial_pace;
        let interval = feeder.and_then(|feeder| self.services.push_interval(feeder, self.now));
        interval.is_some_and(|interval| interval > pace)
            && pace.saturating_mul(came.into()) < self.now - since
    }

    /// Sees to it that the parent in `stripe` is asked for a block if it pushes rarely.
    pub(super) fn time_trial(&mut self, stripe: Stripe) {
        let timer = Timer::Trial(stripe);
        let trials = self.feeds[stripe.index()].trials;
        let feeder = self.parent_that_feeds(stripe);
        let Some(feeder) = feeder.filter(|_| self.wants.lacks(stripe) && !self.is_checked(stripe)) else {
            self.timers.clear(timer);
            return;
        };
        let limits = &self.config.limits;
        let factor = 1u64.checked_shl(trials).unwrap_or(u64::MAX);
        let pause = limits.trial_pause.saturating_mul(factor).min(limits.patience.max(limits.trial_pause));
        let at = (self.now + pause).max(self.services.settled_until(feeder, self.now));
        if self.timers.set_if_clear(timer, at) {
            self.feeds[stripe.index()].watched = (self.now, 0);
        }
    }

    /// Whether a check of the feeder of `stripe` goes on.
    fn is_checked(&self, stripe: Stripe) -> bool {
        let Some(check) = self.feeds[stripe.index()].check else { return false };
        let goes_on = |block: BlockIndex| self.jobs.get(block).is_some_and(|job| job.trial || job.probe);
        goes_on(check.trial) || check.probe.is_some_and(goes_on)
    }

    /// Little has been pushed in `stripe` for a moment: the parent is asked for the next block, if it has it.
    pub(super) fn try_feeder(&mut self, stripe: Stripe) {
        let feeder = self.parent_that_feeds(stripe).filter(|vm| !self.is_slow(Source::Peer(*vm)));
        // Of a few blocks, it may have all in hand already.
        let enough = self.wants.missing(stripe) > self.config.limits.push_window;
        let may_try = enough && self.pushes_rarely(stripe) && !self.is_checked(stripe);
        let Some(feeder) = feeder.filter(|_| may_try) else { return };
        // Not the next one: that may have reached the parent a moment ago, and be on its way.
        let Some(block) = self.next_but_one(stripe) else { return };
        self.feeds[stripe.index()].check = Some(Check::new(feeder, block, self.now));
        self.jobs.want(block, self.catalog.class(block), Some(self.catalog.rank(block)));
        if let Some(job) = self.jobs.get_mut(block) {
            job.trial = true;
        }
        self.queue(block, Candidate { source: Source::Peer(feeder), may_fetch: false });
    }

    /// The feeder does not have `block`: it waits for it as this VM does.
    pub(super) fn end_trial(&mut self, block: BlockIndex) {
        self.forget_errand(block);
        self.end_check(self.stripe_of(block));
    }

    /// `block`, which nobody waits for, was asked for to find something out; that is over.
    fn forget_errand(&mut self, block: BlockIndex) {
        self.timers.clear(Timer::Fetch(block));
        self.jobs.remove(block);
        self.wants.revisit(block);
    }

    /// The check of the feeder of `stripe` ends without a comparison.
    fn end_check(&mut self, stripe: Stripe) {
        let feed = &mut self.feeds[stripe.index()];
        feed.check = None;
        feed.trials = feed.trials.saturating_add(1);
    }

    /// The feeder had the trial's `block`, and `took` so long to send it.
    pub(super) fn end_answered_trial(&mut self, block: BlockIndex, took: Duration) {
        let stripe = self.stripe_of(block);
        if took > self.config.limits.trial_pace {
            self.probe(stripe);
        } else {
            self.feeds[stripe.index()].check = None;
        }
    }

    /// The feeder has had time to say that it does not have the trial's `block`, or to send it.
    pub(super) fn lose_trial(&mut self, block: BlockIndex) {
        let stripe = self.stripe_of(block);
        let feeder = self.parent_that_feeds(stripe).map(Source::Peer);
        let Some(job) = self.jobs.get_mut(block) else { return };
        job.trial = false;
        // Edges have come since: what the old feeder owes says nothing about the new one.
        if let Some(leg) = job.legs().first().copied().filter(|leg| feeder != Some(leg.source)) {
            self.lose(block, leg);
            self.end_trial(block);
            return;
        }
        self.set_fetch_timer(block);
        self.probe(stripe);
    }

    /// The feeder of `stripe` has blocks and keeps them back: another source is asked for one.
    fn probe(&mut self, stripe: Stripe) {
        let Self { wants, shelf, jobs, .. } = self;
        let block = wants.last(shelf, stripe, |block| jobs.contains(block));
        let Some((block, check)) = block.zip(self.feeds[stripe.index()].check.as_mut()) else {
            self.end_check(stripe);
            return;
        };
        check.probe = Some(block);
        self.stats.probes += 1;
        self.jobs.want(block, self.catalog.class(block), Some(self.catalog.rank(block)));
        if let Some(job) = self.jobs.get_mut(block) {
            job.probe = true;
        }
        self.turn_to_next_source(block);
    }

    /// Whether a block from `source` could show that the feeder of `stripe` is slow. One from the origin cannot if
    /// this VM's share of the budget is worth no more than what the feeder gives.
    pub(super) fn may_probe(&self, stripe: Stripe, source: Source) -> bool {
        let Some(check) = self.feeds[stripe.index()].check else { return false };
        match source {
            Source::Peer(peer) => peer != check.of && !self.is_slow(source),
            Source::Origin => {
                let interval = self.services.push_interval(check.of, self.now).unwrap_or_default();
                interval > self.share_of_origin(stripe).saturating_mul(FAR)
            }
        }
    }

    /// From one block of `stripe` to the next, as the origin's budget lets this VM read them.
    fn share_of_origin(&self, stripe: Stripe) -> Duration {
        if self.place.reads_origin_freely(stripe) { Duration::ZERO } else { self.budget.interval() }
    }

    /// Nobody else has the probe's `block`, or is worth being asked.
    pub(super) fn end_probe(&mut self, block: BlockIndex) {
        self.forget_errand(block);
        self.end_check(self.stripe_of(block));
    }

    /// The probe's `block` came `from` another source and `took` so long.
    pub(super) fn judge_feeder(&mut self, block: BlockIndex, from: Source, took: Duration) {
        let stripe = self.stripe_of(block);
        let Some(check) = self.feeds[stripe.index()].check.take() else { return };
        let feeder = check.of;
        if self.parent_that_feeds(stripe) != Some(feeder) || Source::Peer(feeder) == from {
            return;
        }
        let took = if from == Source::Origin { took.max(self.share_of_origin(stripe)) } else { took };
        if check.interval(self.now) <= took.saturating_mul(FAR) {
            self.leave_in_peace(feeder, from, took);
            return;
        }
        self.services.set_slow(feeder, &self.config.limits, self.now);
        self.note_slow(feeder);
    }

    /// `feeder` is as good as `from`, which `took` so long for a block, and is not compared again for a while.
    fn leave_in_peace(&mut self, feeder: VmId, from: Source, took: Duration) {
        let blocks = match from {
            Source::Peer(_) => PEACE,
            Source::Origin => PEACE_OF_ORIGIN * u64::from(self.place.vms().max(1)),
        };
        self.services
            .forgive(feeder, self.now + took.saturating_mul(blocks).min(self.config.limits.slow_max));
    }

    /// `block` came `from` a source that gives one in so long an `interval`. If the feeder of its stripe, which
    /// counts as slow, gives one as often, then everybody's links are slow.
    pub(super) fn compare_with_feeder(&mut self, block: BlockIndex, from: Source, interval: Duration) {
        let Some(feeder) = self.feeds[self.stripe_of(block).index()].feeder else { return };
        if Source::Peer(feeder) == from || !self.is_slow(Source::Peer(feeder)) {
            return;
        }
        if self.services.push_interval(feeder, self.now).is_some_and(|pushes| pushes <= interval) {
            self.leave_in_peace(feeder, from, interval);
        }
    }
}
