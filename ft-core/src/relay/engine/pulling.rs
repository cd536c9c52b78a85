//! What is wanted though nobody waits for it: pulled where nobody pushes it, or where the feeder is slow.

use super::Engine;
use super::fetching::Wanter;
use crate::block::{BlockIndex, Stripe};
use crate::clock::Duration;
use crate::relay::event::Source;
use crate::relay::place::{Candidate, MAX_STRIPES};
use crate::relay::policy;
use crate::relay::timer::Timer;
use crate::vm::VmId;

impl Engine {
    /// Pulls wanted blocks in the stripes that need it, in the order in which they are wanted, as far as their
    /// sources' windows allow.
    pub(super) fn pull(&mut self) {
        let mut open = [false; MAX_STRIPES];
        for stripe in self.place.stripes() {
            let windows = policy::windows(&self.config.limits, &self.place, self.first_source(stripe));
            open[stripe.index()] = self.is_pulled(stripe) && self.pull_room(stripe) >= windows.refill;
        }
        while let Some(block) = self.next_wanted(open) {
            let stripe = self.stripe_of(block);
            if self.pull_room(stripe) > 0 {
                self.want(block, self.catalog.class(block), Wanter::Pull);
            } else {
                open[stripe.index()] = false;
            }
        }
    }

    /// Whether the wanted blocks of `stripe` are asked for.
    fn is_pulled(&self, stripe: Stripe) -> bool {
        let feed = &self.feeds[stripe.index()];
        feed.pulling || feed.feeder.is_some_and(|feeder| self.is_slow(Source::Peer(feeder)))
    }

    /// The first wanted block that may be pulled in one of the `open` stripes.
    fn next_wanted(&mut self, open: [bool; MAX_STRIPES]) -> Option<BlockIndex> {
        let Self { place, wants, shelf, jobs, .. } = self;
        let stripes = place.stripes().filter(|stripe| open[stripe.index()]);
        let next = |stripe| wants.next(shelf, stripe, |block| jobs.contains(block));
        stripes.filter_map(next).min().map(|(_, block)| block)
    }

    /// The source that a block of `stripe` is asked of first.
    fn first_source(&self, stripe: Stripe) -> Source {
        let mut sources = self.sources(stripe, false).map(|candidate| candidate.source);
        sources.find(|source| !self.is_lost(*source)).unwrap_or(Source::Origin)
    }

    /// How many more blocks of `stripe` may be pulled. One that its first source does not have turns to the
    /// next one, so below the root there has to be room at all of them.
    fn pull_room(&self, stripe: Stripe) -> usize {
        let first = self.first_source(stripe);
        let room = |source| {
            let windows = policy::windows(&self.config.limits, &self.place, source);
            windows.background.saturating_sub(self.jobs.load(source))
        };
        if first == Source::Origin {
            return room(first);
        }
        let sources = self.sources(stripe, false).map(|candidate| candidate.source);
        let usable = sources.filter(|source| !self.is_lost(*source) && !self.is_slow(*source));
        usable.map(room).min().unwrap_or_default()
    }

    /// Nothing has been pushed in `stripe` for a moment: the parent is asked for the next block, if it has it.
    pub(super) fn try_feeder(&mut self, stripe: Stripe) {
        let Some(feeder) = self.parent_that_feeds(stripe).filter(|vm| !self.is_slow(Source::Peer(*vm)))
        else {
            return;
        };
        if self.feeds[stripe.index()].pulling || self.is_on_trial(stripe) {
            return;
        }
        let mut open = [false; MAX_STRIPES];
        open[stripe.index()] = true;
        let Some(block) = self.next_wanted(open) else { return };
        self.feeds[stripe.index()].trial = Some(block);
        self.jobs.want(block, self.catalog.class(block), Some(self.catalog.rank(block)));
        if let Some(job) = self.jobs.get_mut(block) {
            job.trial = true;
        }
        self.queue(block, Candidate { source: Source::Peer(feeder), may_fetch: false });
    }

    /// The parent in `stripe`, if it is the one that pushes it.
    pub(super) fn parent_that_feeds(&self, stripe: Stripe) -> Option<VmId> {
        self.feeds[stripe.index()].feeder.filter(|vm| self.place.parent(stripe) == Some(*vm))
    }

    /// Whether the feeder of `stripe` has not answered yet.
    pub(super) fn is_on_trial(&self, stripe: Stripe) -> bool {
        let block = self.feeds[stripe.index()].trial;
        block.and_then(|block| self.jobs.get(block)).is_some_and(|job| job.trial)
    }

    /// The feeder does not have `block`: it waits for it as this VM does.
    pub(super) fn end_trial(&mut self, block: BlockIndex) {
        self.timers.clear(Timer::Fetch(block));
        self.jobs.remove(block);
        self.wants.revisit(block);
        let feed = &mut self.feeds[self.stripe_of(block).index()];
        feed.trial = None;
        feed.trials = feed.trials.saturating_add(1);
    }

    /// The feeder has had time to say that it does not have `block`, or to send it. If not much else came from it
    /// either, it is slow; else it is waited for as anybody is whom nobody waits for.
    pub(super) fn is_trial_lost(&mut self, block: BlockIndex) -> bool {
        let feeder = self.parent_that_feeds(self.stripe_of(block));
        let Some(job) = self.jobs.get_mut(block) else { return false };
        job.trial = false;
        // Edges have come since: what the old feeder owes says nothing about the new one.
        if let Some(leg) =
            job.legs().first().copied().filter(|leg| feeder.map(Source::Peer) != Some(leg.source))
        {
            self.lose(block, leg);
            self.end_trial(block);
            return false;
        }
        let Some(feeder) = feeder.filter(|vm| self.pushes_slowly(*vm, true)) else {
            self.set_fetch_timer(block);
            return false;
        };
        self.services.set_slow(feeder, &self.config.limits, self.now);
        self.note_slow(feeder);
        true
    }

    /// A feeder that was asked for `block` because it had pushed nothing for a moment had it. If it is always so,
    /// it is slow, unless others turn out to be so too.
    pub(super) fn judge_answer(&mut self, block: BlockIndex, from: Source) {
        let feeder = self.parent_that_feeds(self.stripe_of(block));
        let feeder = feeder.filter(|vm| Source::Peer(*vm) == from && self.pushes_slowly(*vm, false));
        if let Some(feeder) = feeder {
            self.services.set_slow(feeder, &self.config.limits, self.now);
            self.note_slow(feeder);
        }
    }

    /// Whether `feeder` takes longer for a block than it may before it is asked; `unknown` if it has not sent two.
    fn pushes_slowly(&self, feeder: VmId, unknown: bool) -> bool {
        let interval = self.services.push_interval(feeder, self.now);
        interval.map_or(unknown, |interval| interval > self.config.limits.trial_pause)
    }

    /// `block` took so long `from` a source. If that is not less than half of what the feeder of its stripe, which
    /// counts as slow, takes from one push to the next, then everybody's links are slow.
    pub(super) fn compare_with_feeder(&mut self, block: BlockIndex, from: Source, took: Duration) {
        let Some(feeder) = self.feeds[self.stripe_of(block).index()].feeder else { return };
        if Source::Peer(feeder) == from || !self.is_slow(Source::Peer(feeder)) {
            return;
        }
        let interval = self.services.push_interval(feeder, self.now);
        if interval.is_some_and(|interval| interval <= took.saturating_mul(2)) {
            self.services.forgive(feeder, &self.config.limits, self.now);
        }
    }
}
