//! From whom blocks are asked: sources in order, deadlines, races (hedges), and the origin's budget.

use alloc::vec::Vec;

use super::Engine;
use crate::block::{BlockIndex, Stripe};
use crate::clock::{Duration, Instant};
use crate::relay::event::{Ask, Class, Output, Rejection, Source};
use crate::relay::jobs::{Job, Leg};
use crate::relay::place::Candidate;
use crate::relay::policy;
use crate::relay::service::Asked;
use crate::relay::timer::Timer;
use crate::vm::VmId;

impl Engine {
    /// Whom to ask for a block of `stripe`, in this order: the slow ones last.
    pub(super) fn sources(&self, stripe: Stripe, demanded: bool) -> impl Iterator<Item = Candidate> + use<> {
        let mut sources = self.place.candidates(stripe, demanded);
        // Stable: otherwise the order stays.
        sources.sort_by_key(|candidate| candidate.is_some_and(|candidate| self.is_slow(candidate.source)));
        sources.into_iter().flatten()
    }

    pub(super) fn is_slow(&self, source: Source) -> bool {
        matches!(source, Source::Peer(peer) if self.services.standing(peer).slow_until(self.now).is_some())
    }

    pub(super) fn is_lost(&self, source: Source) -> bool {
        matches!(source, Source::Peer(peer) if self.links.is_lost(peer))
    }

    /// The first source that has not failed to deliver `block` and is not asked for it.
    fn next_source(&mut self, block: BlockIndex) -> Option<Candidate> {
        let job = self.jobs.get(block)?;
        let (demanded, probe) = (job.is_demanded(), job.probe && !job.is_awaited());
        let stripe = self.stripe_of(block);
        for next in self.sources(stripe, demanded) {
            let lost = self.is_lost(next.source);
            if probe && !self.may_probe(stripe, next.source) {
                continue;
            }
            let job = self.jobs.get_mut(block)?;
            if job.has_tried(next.source) || job.leg(next.source).is_some() {
                continue;
            }
            if lost {
                job.tried.push((next.source, Rejection::Failed));
                continue;
            }
            // It waits for this VM: edges of different epochs, for a moment.
            if matches!(next.source, Source::Peer(peer) if job.waiters.contains(&peer)) {
                job.tried.push((next.source, Rejection::NotHere));
                continue;
            }
            return Some(next);
        }
        None
    }

    /// Queues `block`, for which no source is asked, at the next one, or gives up; forgets it if nobody wants
    /// it any more.
    pub(super) fn turn_to_next_source(&mut self, block: BlockIndex) {
        self.timers.clear(Timer::Fetch(block));
        let Some(job) = self.jobs.get_mut(block) else { return };
        job.trial = false;
        if !job.is_awaited() && !self.wants.wants(block) {
            self.jobs.remove(block);
        } else if self.jobs.get(block).is_some_and(|job| job.help && !job.is_awaited()) {
            self.forget_errand(block);
        } else if let Some(next) = self.next_source(block) {
            self.queue(block, next);
        } else if self.jobs.get(block).is_some_and(|job| job.probe && !job.is_awaited()) {
            self.end_probe(block);
        } else {
            self.give_up(block);
        }
    }

    /// Queues `block` at `next` too. A demanded one does not wait there for ever.
    pub(super) fn queue(&mut self, block: BlockIndex, next: Candidate) {
        self.jobs.queue(block, next, self.now);
        if let Source::Peer(peer) = next.source {
            self.connect(peer);
        }
        self.set_fetch_timer(block);
    }

    /// `source`, where `block` was queued or in flight, does not deliver it.
    pub(super) fn fail_leg(&mut self, block: BlockIndex, source: Source, why: Rejection) {
        if why == Rejection::NotHere && self.jobs.was_crossed(block, source) {
            return;
        }
        let awaited = self.jobs.get(block).is_some_and(Job::is_awaited);
        let Some(job) = self.jobs.get_mut(block) else { return };
        if job.trial && why == Rejection::NotHere && !awaited {
            self.end_trial(block);
            return;
        }
        job.trial = false;
        job.tried.push((source, why));
        let helped = job.help;
        self.jobs.withdraw(block, source);
        if helped {
            self.pause_help(block);
        }
        let Some(job) = self.jobs.get(block) else { return };
        if job.legs().is_empty() {
            self.turn_to_next_source(block);
        } else if job.overdue && job.is_demanded() {
            self.race(block);
        } else {
            self.set_fetch_timer(block);
        }
    }

    /// `block`, which is queued or in flight, has become more urgent, or somebody waits for it now.
    pub(super) fn raise(&mut self, block: BlockIndex) {
        let Some(job) = self.jobs.get_mut(block) else { return };
        let was_trial = job.trial && job.is_awaited();
        job.trial &= !was_trial;
        let demanded = job.is_demanded();
        let (class, since) = (job.class(), demanded.then_some(self.now));
        let sources: Vec<Source> = job.legs().iter().map(|leg| leg.source).collect();
        for &from in &sources {
            let Some(leg) = self.jobs.raise(block, from, was_trial, since) else { continue };
            if leg.in_flight && from != Source::Origin {
                let deaf = matches!(from, Source::Peer(peer) if self.links.is_deaf(peer));
                let ask =
                    Ask { class, may_fetch: leg.may_fetch, again: deaf || self.suspects.contains(block) };
                self.out.push_back(Output::Fetch { from, blocks: Vec::from([block]), ask });
            }
        }
        if demanded && self.place.is_small() && !sources.contains(&Source::Origin) {
            self.overdue(block);
        } else {
            self.set_fetch_timer(block);
        }
    }

    /// When a demanded block is late at a source: by what that source has shown, but never long after others
    /// would have delivered.
    fn deadline_at(&self, block: BlockIndex, leg: &Leg) -> Duration {
        let limits = &self.config.limits;
        let learnt = self.services.deadline(leg.source, leg.ahead, limits).max(limits.deadline_min);
        if leg.source == Source::Origin {
            return learnt.min(limits.origin_deadline);
        }
        if !self.services.is_known(leg.source) {
            return learnt.min(limits.deadline_max);
        }
        let others = self.place.candidates(self.stripe_of(block), true).into_iter().flatten();
        let others = others.filter(|other| other.source != leg.source && !self.is_lost(other.source));
        let others = others.filter_map(|other| self.services.expected(other.source, leg.ahead)).min();
        let most = others.map_or(limits.deadline_max, |expected| {
            expected.saturating_mul(limits.race_factor.into()).max(limits.deadline_min)
        });
        learnt.min(most).min(limits.deadline_max)
    }

    /// When `block` is late at the source of `leg`. Until then, a peer that keeps delivering other blocks gets more
    /// time: what it has begun to send, it cannot take back.
    fn late_at(&self, block: BlockIndex, job: &Job, leg: &Leg) -> Instant {
        let deadline = self.deadline_at(block, leg);
        let heard = match leg.source {
            Source::Peer(peer) if leg.in_flight => self.links.heard(peer),
            Source::Origin if leg.in_flight && !job.is_demanded() => self.origin_heard,
            Source::Peer(_) | Source::Origin => leg.since,
        };
        let limits = &self.config.limits;
        if job.is_demanded() && !job.trial {
            return policy::demand_late_at(leg.since, heard, deadline);
        }
        let late_at = match job.trial {
            true => leg.since + limits.trial_watch,
            false => policy::background_late_at(limits, leg.source, leg.since, heard, deadline),
        };
        if self.was_asked_before_it_was_slow(leg) {
            let patience = if leg.may_fetch { limits.background_deadline } else { limits.deadline_min };
            return late_at.min(leg.since + patience);
        }
        late_at
    }

    /// Whether the source of `leg` has turned out slow since it was asked.
    fn was_asked_before_it_was_slow(&self, leg: &Leg) -> bool {
        let Source::Peer(peer) = leg.source else { return false };
        self.services.standing(peer).slow_since(self.now).is_some_and(|since| leg.since < since)
    }

    /// Sets the timer of `block`'s newest source. What is merely queued has one only if it is demanded.
    pub(super) fn set_fetch_timer(&mut self, block: BlockIndex) {
        self.set_fetch_timer_from(block, Instant::ZERO);
    }

    /// The same, with a timer that does not expire before `soonest`.
    fn set_fetch_timer_from(&mut self, block: BlockIndex, soonest: Instant) {
        let Some(job) = self.jobs.get(block) else { return };
        let timed = |leg: &&Leg| leg.in_flight || job.is_demanded();
        match job.legs().iter().rev().find(timed) {
            Some(leg) => self.timers.set(Timer::Fetch(block), self.late_at(block, job, leg).max(soonest)),
            None => self.timers.clear(Timer::Fetch(block)),
        }
    }

    /// The time for `block` is up, unless more is known by now.
    pub(super) fn handle_fetch_timer(&mut self, block: BlockIndex) {
        let Some(job) = self.jobs.get(block) else { return };
        let Some(newest) = job.legs().last() else { return };
        if job.is_demanded() {
            if self.late_at(block, job, newest) > self.now {
                self.set_fetch_timer(block);
            } else {
                self.overdue(block);
            }
            return;
        }
        let in_flight = job.legs().iter().filter(|leg| leg.in_flight);
        let late: Vec<_> =
            in_flight.filter(|leg| self.late_at(block, job, leg) <= self.now).copied().collect();
        if job.trial && !late.is_empty() {
            self.lose_trial(block);
            return;
        }
        for leg in late {
            self.lose(block, leg);
            self.fail_leg(block, leg.source, Rejection::Late);
        }
        self.set_fetch_timer(block);
    }

    /// A request is late: its source may have lost it.
    pub(super) fn lose(&mut self, block: BlockIndex, leg: Leg) {
        self.stats.late += 1;
        self.suspects.insert(block);
        self.services.late(leg.source, leg.since, self.now);
        if let Source::Peer(peer) = leg.source {
            self.links.unanswered(peer, leg.since, self.now, self.config.limits.deadline_max);
        }
    }

    /// `block`, for which somebody waits, has not come in time: another source is asked too.
    pub(super) fn overdue(&mut self, block: BlockIndex) {
        let Some(job) = self.jobs.get_mut(block) else { return };
        job.overdue = true;
        if let Some(newest) = job.legs().last().filter(|leg| leg.in_flight) {
            self.services.late(newest.source, newest.since, self.now);
        }
        self.race(block);
    }

    /// Nobody waits for `block` any more, which is in flight: it is not asked of another source.
    pub(super) fn end_race(&mut self, block: BlockIndex) {
        let Some(job) = self.jobs.get_mut(block) else { return };
        job.overdue = false;
        let queued = job.legs().iter().find(|leg| !leg.in_flight).map(|leg| leg.source);
        if let Some(source) = queued {
            self.jobs.withdraw(block, source);
        }
        self.set_fetch_timer(block);
    }

    /// Asks the next source for `block` while the newest one stays in flight. Of two, one makes room: the one that
    /// has not been asked yet, else the older one. With nobody left to ask, waits for those that are asked.
    fn race(&mut self, block: BlockIndex) {
        let Some(next) = self.next_source(block) else {
            self.await_the_last(block);
            return;
        };
        let Some(job) = self.jobs.get(block) else { return };
        if let [older, newer] = *job.legs() {
            let gives_way = if newer.in_flight { older } else { newer };
            // It waits for the budget: that is no fault of the origin's.
            if gives_way.source == Source::Origin && !gives_way.in_flight {
                self.await_the_last(block);
                return;
            }
            if gives_way.in_flight {
                self.stats.late += 1;
                self.suspects.insert(block);
            }
            self.jobs.withdraw(block, gives_way.source);
            if let Some(job) = self.jobs.get_mut(block) {
                job.tried.push((gives_way.source, Rejection::Late));
            }
        }
        self.queue(block, next);
    }

    /// There is nobody else to ask for `block`: whoever is asked has until it is hopeless.
    fn await_the_last(&mut self, block: BlockIndex) {
        let Some(job) = self.jobs.get(block) else { return };
        let limits = &self.config.limits;
        let ends = |leg: &Leg| leg.since + policy::hopeless_after(limits, leg.source);
        let asked = job.legs().iter().filter(|leg| leg.in_flight);
        match asked.min_by_key(|leg| ends(leg)).copied() {
            Some(leg) if ends(&leg) <= self.now => {
                self.lose(block, leg);
                self.fail_leg(block, leg.source, Rejection::Late);
            }
            Some(leg) => {
                let at = ends(&leg);
                self.timers.set(Timer::Fetch(block), at);
            }
            // What is queued has its session's timer, the budget's, or those of what is before it.
            None => self.timers.clear(Timer::Fetch(block)),
        }
    }

    /// What the arrival of `block` `from` a source says about that one and those that were asked too.
    pub(super) fn learn(&mut self, block: BlockIndex, job: &Job, from: Source) {
        let Some(winner) = job.leg(from).filter(|leg| leg.in_flight) else { return };
        let took = self.now - winner.since;
        if job.is_demanded() {
            self.services.delivered(from, Asked { at: winner.since, ahead: winner.ahead }, self.now);
        }
        let ahead = u64::from(winner.ahead);
        let each = Duration::from_nanos(took.as_nanos() / (ahead + 1));
        self.compare_with_feeder(block, from, each);
        if job.trial {
            self.end_answered_trial(block);
        } else if job.probe {
            self.end_answered_probe(block, from, each);
        }
        if !job.overdue {
            return;
        }
        let far_slower = took.saturating_mul(self.config.limits.race_factor.into());
        let outrun = |leg: &&Leg| leg.in_flight && leg.source != from && self.now - leg.since >= far_slower;
        let outrun = job.legs().iter().filter(outrun).map(|leg| leg.source);
        let given_up = job.tried.iter().filter(|(_, why)| *why == Rejection::Late).map(|(source, _)| *source);
        for loser in outrun.chain(given_up).collect::<Vec<_>>() {
            let Self { services, links, config, now, .. } = self;
            // One that delivered something else meanwhile was busy.
            if let Source::Peer(peer) = loser
                && links.heard(peer) < winner.since
                && services.standing_mut(peer).lost_race(&config.limits, *now)
            {
                self.note_slow(peer);
            }
        }
    }

    /// `peer` has turned out slow: nobody waits for it any longer.
    pub(super) fn note_slow(&mut self, peer: VmId) {
        self.stats.slow_peers += 1;
        let source = Source::Peer(peer);
        for block in self.jobs.at(source) {
            let Some(job) = self.jobs.get(block) else { continue };
            if job.is_demanded() {
                if !job.overdue {
                    self.overdue(block);
                }
                continue;
            }
            let Some(leg) = job.leg(source).filter(|leg| leg.in_flight).copied() else { continue };
            if self.late_at(block, job, &leg) <= self.now {
                self.lose(block, leg);
                self.fail_leg(block, source, Rejection::Late);
            } else {
                self.set_fetch_timer(block);
            }
        }
    }

    /// Asks the sources for what is queued at them.
    pub(super) fn fetch(&mut self) {
        self.timers.clear(Timer::Budget);
        for from in self.jobs.sources_with_queue() {
            if matches!(from, Source::Peer(peer) if !self.links.is_up(peer)) {
                continue;
            }
            let windows = policy::windows(&self.config.limits, &self.place, from);
            let deaf = matches!(from, Source::Peer(peer) if self.links.is_deaf(peer));
            loop {
                let Self { jobs, place, budget, timers, stats, suspects, now, .. } = self;
                let of = place.of();
                let may = |block: BlockIndex, _: Class| {
                    if from != Source::Origin || place.reads_origin_freely(block.stripe(of)) {
                        return true;
                    }
                    match budget.spend(*now) {
                        Ok(()) => stats.budgeted += 1,
                        Err(then) => {
                            timers.set(Timer::Budget, then);
                            return false;
                        }
                    }
                    true
                };
                let again = |block| deaf || suspects.contains(block);
                let Some(batch) = jobs.take_batch(from, windows, again, *now, may) else { break };
                for &block in &batch.blocks {
                    let asked =
                        self.jobs.get(block).map_or(&[][..], Job::legs).iter().filter(|leg| leg.in_flight);
                    self.stats.hedges += asked.skip(1).count() as u64;
                    // By what is known now, another source of it may be late already: that is for the next input.
                    self.set_fetch_timer_from(block, self.now + Duration::from_nanos(1));
                }
                self.out.push_back(Output::Fetch { from, blocks: batch.blocks, ask: batch.ask });
            }
        }
    }
}
