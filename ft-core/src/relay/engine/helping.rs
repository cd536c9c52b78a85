//! What half a link is used for that has become free.
//!
//! When a VM that held up a stripe has been moved, those that were below it lack more of that stripe than of the other one.
//! A VM of a pair that has all of one stripe receives only half of what its link carries while the other one comes. Whoever
//! pushed it the first one has half a link free as well, or will soon. So that peer is asked for wanted blocks of the
//! second one that it has: in no order, so that VMs one below the other get different ones and pass them on.

use super::Engine;
use crate::block::{BlockIndex, Stripe};
use crate::clock::Duration;
use crate::relay::event::Source;
use crate::relay::place::Candidate;
use crate::relay::policy;

/// One that did not have what it was asked for is left alone for so long.
const PAUSE: Duration = Duration::from_millis(50);

impl Engine {
    /// Asks the parent of the stripe that is here for wanted blocks of the other one.
    pub(super) fn ask_for_help(&mut self) {
        for stripe in self.place.stripes() {
            while let Some(helper) = self.helper(stripe)
                && let Some(block) = self.some_wanted(stripe)
            {
                self.jobs.want(block, self.catalog.class(block), Some(self.catalog.rank(block)));
                if let Some(job) = self.jobs.get_mut(block) {
                    job.help = true;
                }
                self.queue(block, helper);
            }
        }
    }

    /// Who is to be asked for another block of `stripe` now, beside the parent that pushes it.
    fn helper(&self, stripe: Stripe) -> Option<Candidate> {
        let feed = &self.feeds[stripe.index()];
        let helper = self.place.other_parent(stripe).filter(|vm| self.links.is_up(*vm))?;
        let source = Source::Peer(helper);
        let load = self.jobs.load(source);
        let room = load < policy::windows(&self.config.limits, &self.place, source).background;
        // The last ones are on their way.
        let many = self.wants.missing(stripe) as usize > self.config.limits.few as usize + load;
        let only_one = self.place.stripes().all(|other| other == stripe || !self.wants.lacks(other));
        let pushed = feed.feeder.is_some_and(|feeder| feeder != helper) && !self.is_pulled(stripe);
        let helps = feed.moved
            && only_one
            && many
            && room
            && pushed
            && self.now >= feed.help_from
            && !self.is_slow(source);
        helps.then_some(Candidate { source, may_fetch: false })
    }

    /// A wanted block of `stripe` that is not on its way: another one for each VM and each time.
    fn some_wanted(&mut self, stripe: Stripe) -> Option<BlockIndex> {
        let feed = &mut self.feeds[stripe.index()];
        feed.helped = feed.helped.wrapping_add(1);
        let seed = mix(u64::from(feed.helped) ^ mix(self.config.me.0));
        let Self { wants, shelf, jobs, .. } = self;
        wants.some(shelf, stripe, seed, |block| jobs.contains(block))
    }

    /// The helper does not give `block`: it lacks what this VM lacks, and is not asked for a moment.
    pub(super) fn pause_help(&mut self, block: BlockIndex) {
        let stripe = self.stripe_of(block);
        self.feeds[stripe.index()].help_from = self.now + PAUSE;
    }
}

/// The finalizer of splitmix64: numbers that differ a little give numbers that have nothing in common.
fn mix(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
