//! Whether a parent pushes far more slowly than another source would give.
//!
//! A parent whose pushes are rare is first asked for the next wanted block *if it has it* (the trial). If it has it and
//! keeps it back, what it gives is watched, and another source is asked for a block that the parent will not push soon
//! (the probe). What the parent gave in the meantime is compared with what that took. It takes several comparisons in a
//! row to make a parent slow (`standing.rs`).
//!
//! A parent that has nothing that this VM lacks waits as this VM does, or it receives so slowly itself. Then its own
//! sources are probed for what it lacks: its parent, and only if it is the root, the origin. So when a whole tree waits,
//! the root's children ask the origin, and there is no stampede.

use super::Engine;
use crate::block::{BlockIndex, Stripe};
use crate::clock::Duration;
use crate::relay::event::Source;
use crate::relay::feeds::{Check, Feed, Stage};
use crate::relay::place::Candidate;
use crate::relay::standing::{self, FAR};
use crate::relay::timer::Timer;
use crate::vm::VmId;

/// A feeder is watched for so many times as long as another source took for a block: a good one gives four meanwhile,
/// one that is far slower one at most.
const WATCH: u64 = 2 * FAR;
/// A feeder gives about as much as comes of the other stripe if it takes at most so many times as long for a block.
const ALIKE: u64 = 3;
/// After so many checks in vain, a parent that lacks blocks is compared with its own parent: not before it could find
/// out itself that that one is slow.
const IN_VAIN: u32 = 3;
/// The origin is turned to if this VM's share of its budget is worth so many times as much as the feeder gives.
const WORTH_IT: u64 = 2;
/// A feeder that is not slow is left in peace at first so many times as long as a block from another peer took.
const PEACE: u64 = 16;
/// The same for a block from the origin, for each VM of the tree: so comparisons take a quarter of what it can give
/// at most, however many VMs make them.
const PEACE_OF_ORIGIN: u64 = 4;
/// The longest peace, for each VM of the tree: in the long run, each of them compares once while so long a time passes
/// for every VM.
const LONGEST_PEACE: Duration = Duration::from_millis(500);

impl Engine {
    /// The parent in `stripe`, if it is the one that pushes it.
    fn parent_that_feeds(&self, stripe: Stripe) -> Option<VmId> {
        self.feeds[stripe.index()].feeder.filter(|vm| self.place.parent(stripe) == Some(*vm))
    }

    /// Whether the feeder of `stripe` pushes so rarely that it may be slow.
    pub(super) fn pushes_rarely(&self, stripe: Stripe) -> bool {
        let Feed { feeder, watched: (since, came), .. } = self.feeds[stripe.index()];
        let Some(feeder) = feeder else { return false };
        let Some(interval) = self.services.push_interval(feeder, self.now) else { return false };
        let pace = self.config.limits.trial_pace;
        interval > pace
            && pace.saturating_mul(came.into()) < self.now - since
            && !self.services.standing(feeder).is_good(interval, self.now)
            && !self.comes_as_often_elsewhere(stripe, interval)
    }

    /// Whether so long an `interval` between blocks of `stripe` is what the other stripe has too: then it is this VM's
    /// link, or everybody's. Not if it is so long that both may have slow parents.
    fn comes_as_often_elsewhere(&self, stripe: Stripe, interval: Duration) -> bool {
        let others = self.place.stripes().filter(|other| *other != stripe);
        let elsewhere = others.filter_map(|other| self.feeds[other.index()].rhythm.interval(self.now)).min();
        interval <= self.config.limits.crawl_pace
            && elsewhere.is_some_and(|elsewhere| interval <= elsewhere.saturating_mul(ALIKE))
    }

    /// Sees to it that the parent in `stripe` is asked for a block if it pushes rarely.
    pub(super) fn time_trial(&mut self, stripe: Stripe) {
        let timer = Timer::Trial(stripe);
        let Some(feeder) = self.parent_that_feeds(stripe).filter(|_| self.wants.lacks(stripe)) else {
            self.feeds[stripe.index()].check = None;
            self.timers.clear(timer);
            return;
        };
        match self.feeds[stripe.index()].check.map(|check| check.stage) {
            // The timer is that of the watch.
            Some(Stage::Watch | Stage::Weigh(..)) => return,
            Some(Stage::Trial(block)) if self.jobs.get(block).is_some_and(|job| job.trial) => {
                self.timers.clear(timer);
                return;
            }
            Some(Stage::Probe(block)) if self.jobs.get(block).is_some_and(|job| job.probe) => {
                self.timers.clear(timer);
                return;
            }
            Some(_) | None => self.feeds[stripe.index()].check = None,
        }
        let limits = &self.config.limits;
        let factor = 1u64.checked_shl(self.feeds[stripe.index()].trials).unwrap_or(u64::MAX);
        let pause = limits.trial_pause.saturating_mul(factor).min(limits.patience.max(limits.trial_pause));
        let slow_until = self.services.standing(feeder).slow_until(self.now).unwrap_or_default();
        if self.timers.set_if_clear(timer, (self.now + pause).max(slow_until)) {
            self.feeds[stripe.index()].watched = (self.now, 0);
        }
    }

    /// Little has been pushed in `stripe` for a moment, or its feeder has been watched for long enough.
    pub(super) fn look_at_feeder(&mut self, stripe: Stripe) {
        match self.current_check(stripe).map(|check| check.stage) {
            Some(Stage::Watch) => self.end_watch(stripe),
            Some(Stage::Weigh(from, took)) => self.weigh(stripe, from, took),
            Some(Stage::Trial(_) | Stage::Probe(_)) | None => self.try_feeder(stripe),
        }
    }

    /// The check of the feeder of `stripe`. One of a feeder that has changed since is over.
    fn current_check(&mut self, stripe: Stripe) -> Option<Check> {
        let feeder = self.parent_that_feeds(stripe);
        let check = &mut self.feeds[stripe.index()].check;
        *check = check.filter(|check| feeder == Some(check.of));
        *check
    }

    /// The feeder is asked for the next block of `stripe` if it has it, if it pushes rarely.
    fn try_feeder(&mut self, stripe: Stripe) {
        let feeder = self.parent_that_feeds(stripe).filter(|vm| !self.is_slow(Source::Peer(*vm)));
        // Of a few blocks, it may have all in hand already.
        let enough = self.wants.missing(stripe) > self.config.limits.push_window;
        let Some(feeder) = feeder.filter(|_| enough && self.pushes_rarely(stripe)) else { return };
        // Not the next one: that may have reached the parent a moment ago, and be on its way.
        let Some(block) = self.next_but_one(stripe) else { return };
        self.feeds[stripe.index()].check = Some(Check::new(feeder, block, self.now));
        self.jobs.want(block, self.catalog.class(block), Some(self.catalog.rank(block)));
        if let Some(job) = self.jobs.get_mut(block) {
            job.trial = true;
        }
        self.queue(block, Candidate { source: Source::Peer(feeder), may_fetch: false });
    }

    /// The feeder does not have the trial's `block`: maybe those above it do.
    pub(super) fn end_trial(&mut self, block: BlockIndex) {
        self.forget_errand(block);
        let stripe = self.stripe_of(block);
        let below_root = self.place.grandparent(stripe).is_none();
        let feed = &mut self.feeds[stripe.index()];
        match &mut feed.check {
            Some(check) if below_root || feed.trials >= IN_VAIN => {
                check.lacks = true;
                self.watch(stripe);
            }
            _ => self.end_check(stripe),
        }
    }

    /// `block`, which nobody waits for, was asked for beside what is pushed; that is over.
    pub(super) fn forget_errand(&mut self, block: BlockIndex) {
        self.timers.clear(Timer::Fetch(block));
        self.jobs.remove(block);
        self.wants.revisit(block);
    }

    /// The check of the feeder of `stripe` ends without a comparison.
    fn end_check(&mut self, stripe: Stripe) {
        let feed = &mut self.feeds[stripe.index()];
        feed.trials = feed.trials.saturating_add(1);
        if let Some(check) = feed.check.take() {
            self.services.standing_mut(check.of).excuse();
        }
    }

    /// The feeder had the trial's `block`, and has sent it.
    pub(super) fn end_answered_trial(&mut self, block: BlockIndex) {
        let stripe = self.stripe_of(block);
        let Some(check) = self.current_check(stripe) else { return };
        if self.now - check.since > self.config.limits.trial_pace {
            self.watch(stripe);
        } else {
            self.feeds[stripe.index()].check = None;
            self.services.standing_mut(check.of).excuse();
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
            self.forget_errand(block);
            self.end_check(stripe);
            return;
        }
        self.set_fetch_timer(block);
        self.watch(stripe);
    }

    /// The feeder of `stripe` keeps blocks back, or has none: what it gives is watched for a while.
    fn watch(&mut self, stripe: Stripe) {
        let Some(mut check) = self.current_check(stripe) else { return };
        check.stage = Stage::Watch;
        self.feeds[stripe.index()].check = Some(check);
        self.timers.set(Timer::Trial(stripe), check.since + self.config.limits.trial_watch);
    }

    /// The feeder of `stripe` has been watched: unless it is as good as it was known to be, another source is asked for
    /// a block.
    fn end_watch(&mut self, stripe: Stripe) {
        let Some(mut check) = self.current_check(stripe) else { return };
        let standing = self.services.standing(check.of);
        if standing.is_good(check.interval(self.now), self.now) || !self.pushes_rarely(stripe) {
            self.end_check(stripe);
            return;
        }
        let block = if check.lacks { self.next_but_one(stripe) } else { self.last_wanted(stripe) };
        let Some(block) = block else {
            self.end_check(stripe);
            return;
        };
        check.stage = Stage::Probe(block);
        self.feeds[stripe.index()].check = Some(check);
        self.stats.probes += 1;
        self.jobs.want(block, self.catalog.class(block), Some(self.catalog.rank(block)));
        if let Some(job) = self.jobs.get_mut(block) {
            job.probe = true;
        }
        self.turn_to_next_source(block);
    }

    /// The block of `stripe` that the feeder will push last.
    fn last_wanted(&mut self, stripe: Stripe) -> Option<BlockIndex> {
        let Self { wants, shelf, jobs, .. } = self;
        wants.last(shelf, stripe, |block| jobs.contains(block))
    }

    /// Whether a block from `source` could show that the feeder of `stripe` is slow. One from the origin cannot if
    /// this VM's share of the budget is worth no more than what the feeder gives, or if the feeder lacks blocks and is not
    /// who gets them from there.
    pub(super) fn may_probe(&self, stripe: Stripe, source: Source) -> bool {
        let Some(check) = self.feeds[stripe.index()].check else { return false };
        match source {
            Source::Peer(peer) => {
                // Another parent's answer waits behind what that one pushes: it does not acquit twice in a row.
                let acquitted_by = self.services.standing(check.of).acquitted_by();
                peer != check.of && !self.is_slow(source) && acquitted_by != Some(source)
            }
            Source::Origin => {
                let below_root = self.place.grandparent(stripe).is_none();
                (below_root || !check.lacks) && self.share_is_worth_more(stripe, check.interval(self.now))
            }
        }
    }

    /// Whether this VM may read far more of `stripe` from the origin than a feeder gives that takes so long an
    /// `interval` from one block to the next.
    fn share_is_worth_more(&self, stripe: Stripe, interval: Duration) -> bool {
        self.place.reads_origin_freely(stripe) || interval > self.budget.interval().saturating_mul(WORTH_IT)
    }

    /// Nobody else has the probe's `block`, or is worth being asked.
    pub(super) fn end_probe(&mut self, block: BlockIndex) {
        self.forget_errand(block);
        let stripe = self.stripe_of(block);
        if let Some(check) = self.feeds[stripe.index()].check {
            self.services.standing_mut(check.of).forget_acquittal();
        }
        self.end_check(stripe);
    }

    /// The probe's `block` came `from` another source and `took` so long: now the feeder's pace can be compared, as soon
    /// as it has been watched for long enough.
    pub(super) fn end_answered_probe(&mut self, block: BlockIndex, from: Source, took: Duration) {
        let stripe = self.stripe_of(block);
        let Some(mut check) = self.current_check(stripe) else { return };
        if Source::Peer(check.of) == from {
            self.feeds[stripe.index()].check = None;
            return;
        }
        check.stage = Stage::Weigh(from, took);
        self.feeds[stripe.index()].check = Some(check);
        let long_enough = took.saturating_mul(WATCH).max(self.config.limits.trial_watch);
        self.timers.set(Timer::Trial(stripe), check.since + long_enough);
    }

    /// Compares the pace of the feeder of `stripe` with what another source `took` for a block.
    fn weigh(&mut self, stripe: Stripe, from: Source, took: Duration) {
        let Some(check) = self.feeds[stripe.index()].check.take() else { return };
        let interval = check.interval(self.now);
        let worth_it = from != Source::Origin || self.share_is_worth_more(stripe, interval);
        if !standing::is_far(interval, took) || !worth_it {
            self.acquit(check.of, from, took);
            return;
        }
        let Self { services, config, now, .. } = self;
        if services.standing_mut(check.of).lost_comparison(took, &config.limits, *now) {
            self.note_slow(check.of);
        } else {
            self.try_feeder(stripe);
        }
    }

    /// `feeder` is as good as `from`, which `took` so long for a block, and is not compared again for a while.
    fn acquit(&mut self, feeder: VmId, from: Source, took: Duration) {
        let vms = u64::from(self.place.vms().max(1));
        let blocks = match from {
            Source::Peer(_) => PEACE,
            Source::Origin => PEACE_OF_ORIGIN * vms,
        };
        let longest = LONGEST_PEACE.saturating_mul(vms).min(self.config.limits.slow_max);
        let peace = (took.saturating_mul(blocks), longest);
        self.services.standing_mut(feeder).acquit((from, took), peace, self.now);
    }

    /// `block` came `from` a source that gives one in so long an `interval`. If the feeder of its stripe, which
    /// counts as slow, gives about as many, then everybody's links are slow, or it is slow no more.
    pub(super) fn compare_with_feeder(&mut self, block: BlockIndex, from: Source, interval: Duration) {
        let Some(feeder) = self.feeds[self.stripe_of(block).index()].feeder else { return };
        if Source::Peer(feeder) != from
            && self.is_slow(Source::Peer(feeder))
            && self.services.standing_mut(feeder).has_caught_up(interval, self.now)
        {
            self.acquit(feeder, from, interval);
        }
    }
}
