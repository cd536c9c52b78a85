//! What is wanted though nobody waits for it: pulled where nobody pushes it, or where the feeder is slow.

use super::Engine;
use super::fetching::Wanter;
use crate::block::{BlockIndex, Stripe};
use crate::relay::event::Source;
use crate::relay::place::MAX_STRIPES;
use crate::relay::policy;

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
    pub(super) fn is_pulled(&self, stripe: Stripe) -> bool {
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

    /// The wanted block of `stripe` after the next one; with a single one left, that.
    pub(super) fn next_but_one(&mut self, stripe: Stripe) -> Option<BlockIndex> {
        let Self { wants, shelf, jobs, .. } = self;
        let (_, next) = wants.next(shelf, stripe, |block| jobs.contains(block))?;
        let second = wants.next(shelf, stripe, |block| block == next || jobs.contains(block));
        wants.revisit(next);
        Some(second.map_or(next, |(_, block)| block))
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
}
