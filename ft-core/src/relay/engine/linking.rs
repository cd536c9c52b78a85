//! Edges, sessions, feeds and timers.

use alloc::vec::Vec;

use super::Engine;
use crate::block::{BlockIndex, Stripe};
use crate::relay::event::{Edges, Output, Rejection, Source, StripeSet, Subscription};
use crate::relay::feeds::{self, Choice, Feed};
use crate::relay::links::State;
use crate::relay::place::{MAX_STRIPES, Place, Verdict};
use crate::relay::policy;
use crate::relay::timer::Timer;
use crate::vm::VmId;

impl Engine {
    /// New edges: sessions and blocks in flight stay as they are until the new sessions are up; only what is
    /// merely queued turns to the new sources.
    pub(super) fn handle_edges(&mut self, edges: Edges) {
        let before = self.place.of();
        let above = |place: &Place, stripe| (place.parent(stripe), place.grandparent(stripe));
        let was_above = [Stripe(0), Stripe(1)].map(|stripe| above(&self.place, stripe));
        match self.place.take(edges) {
            Verdict::Taken => {}
            Verdict::Stale => {
                self.stats.stale_edges += 1;
                return;
            }
            Verdict::Malformed => {
                self.stats.ignored += 1;
                return;
            }
        }
        if self.place.of() != before {
            self.wants.split(&self.shelf, self.place.of());
            self.feeds = Default::default();
            self.timers.clear(Timer::Patience(Stripe(1)));
            self.timers.clear(Timer::Trial(Stripe(1)));
        }
        for stripe in self.place.stripes() {
            let was = was_above[stripe.index()];
            self.feeds[stripe.index()].moved |= was.0.is_some() && was != above(&self.place, stripe);
            if let Some(parent) = self.place.parent(stripe).filter(|vm| !self.links.is_lost(*vm)) {
                self.connect(parent);
            }
        }
        self.budget.share(&self.config.limits, self.place.vms(), self.now);
        for (block, source) in self.jobs.queued() {
            self.jobs.withdraw(block, source);
            if self.jobs.get(block).is_some_and(|job| job.legs().is_empty()) {
                self.turn_to_next_source(block);
            } else {
                self.overdue(block);
            }
        }
    }

    /// Makes a session with `peer` unless there is one.
    pub(super) fn connect(&mut self, peer: VmId) {
        if self.links.connect(peer) {
            self.timers.clear(Timer::Reconnect(peer));
            self.timers.set(Timer::Connect(peer), self.now + self.config.limits.connect_deadline);
            self.out.push_back(Output::Connect(peer));
        }
    }

    pub(super) fn handle_peer_up(&mut self, peer: VmId) {
        if self.links.up(peer) {
            self.timers.clear(Timer::Connect(peer));
        }
    }

    pub(super) fn handle_peer_down(&mut self, peer: VmId) {
        let Some(failures) = self.links.down(peer) else { return };
        self.timers.clear(Timer::Connect(peer));
        let pause = policy::pause(&self.config.limits, failures);
        self.timers.set(Timer::Reconnect(peer), self.now + pause);
        let source = Source::Peer(peer);
        self.services.forget(peer);
        for block in self.jobs.at(source) {
            self.stats.lost += 1;
            self.fail_leg(block, source, Rejection::Failed);
        }
    }

    pub(super) fn handle_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Fetch(block) => self.handle_fetch_timer(block),
            Timer::Connect(peer) => {
                self.out.push_back(Output::Disconnect(peer));
                self.handle_peer_down(peer);
            }
            // A grandparent is turned to when there is need; a parent always.
            Timer::Reconnect(peer) if self.place.is_parent(peer) => self.connect(peer),
            Timer::Reconnect(peer) => self.links.forgive(peer),
            Timer::Patience(stripe) => self.lose_patience(stripe),
            Timer::Stuck(child) => self.handle_stuck_timer(child),
            Timer::Trial(stripe) => self.look_at_feeder(stripe),
            // What is queued at the origin is looked at again.
            Timer::Budget => {}
            Timer::Retry => self.wants.resume(),
        }
    }

    /// Nothing wanted was pushed for too long: asks for it, and subscribes anew in case that got lost.
    fn lose_patience(&mut self, stripe: Stripe) {
        let feed = &mut self.feeds[stripe.index()];
        feed.pulling = true;
        if let Some(link) = feed.feeder.and_then(|feeder| self.links.get_mut(feeder)) {
            link.subscribed = Default::default();
        }
    }

    /// `block` came `from` a source, asked for or pushed: a push from the feeder shows that it feeds.
    pub(super) fn note_feed(&mut self, block: BlockIndex, from: Source, asked: bool) {
        let stripe = self.stripe_of(block);
        let feed = &mut self.feeds[stripe.index()];
        feed.rhythm.beat(self.now);
        if feed.feeder.map(Source::Peer) != Some(from) {
            return;
        }
        if !asked {
            feed.pulling = false;
        }
        feed.watched.1 += 1;
        if let Some(check) = &mut feed.check {
            check.note();
        }
        if let Some(feeder) = feed.feeder {
            self.services.pushed(feeder, self.now);
        }
        // Set again, if need be, when feeders are chosen.
        self.timers.clear(Timer::Patience(stripe));
        if !self.pushes_rarely(stripe) {
            self.feeds[stripe.index()].trials = 0;
            if self.feeds[stripe.index()].check.is_none() {
                self.timers.clear(Timer::Trial(stripe));
            }
        }
    }

    /// Settles for every stripe who pushes it, whether it is pulled, and how long to be patient.
    pub(super) fn choose_feeders(&mut self) {
        if !self.place.is_known() {
            return;
        }
        for stripe in self.place.stripes() {
            let Feed { feeder: before, pulling, .. } = self.feeds[stripe.index()];
            let choice = feeds::choose(&self.place, &self.links, stripe, before);
            let feeder = match choice {
                Choice::Feeder(vm) => Some(vm),
                Choice::Root | Choice::Orphan | Choice::Await(_) => None,
            };
            if let Choice::Await(vm) = choice {
                self.connect(vm);
            }
            let timer = Timer::Patience(stripe);
            if feeder != before {
                self.timers.clear(timer);
            }
            let pulling = choice == Choice::Root || (pulling && feeder == before);
            let feed = &mut self.feeds[stripe.index()];
            (feed.feeder, feed.pulling) = (feeder, pulling);
            if feeder != before {
                feed.trials = 0;
            }
            let lacks = self.wants.lacks(stripe);
            let rhythm = &mut self.feeds[stripe.index()].rhythm;
            if lacks {
                rhythm.await_one(self.now);
            } else {
                rhythm.rest();
            }
            match feeder {
                Some(feeder) if lacks => self.services.awaited(feeder, self.now),
                Some(feeder) => self.services.rested(feeder),
                None => {}
            }
            self.time_trial(stripe);
            let slow = feeder.is_some_and(|feeder| self.is_slow(Source::Peer(feeder)));
            if pulling || slow || !lacks {
                self.timers.clear(timer);
            } else {
                let limits = &self.config.limits;
                let patience = if choice == Choice::Orphan { limits.grace } else { limits.patience };
                self.timers.set_if_clear(timer, self.now + patience);
            }
        }
    }

    /// Tells the peers what to push, where that has changed: first who is to stop, then who is to start.
    pub(super) fn subscribe(&mut self) {
        let of = self.place.of();
        let mut subscribed = Vec::new();
        for (parent, link) in self.links.up_mut() {
            let fed = |feed: &Feed| feed.feeder == Some(parent);
            let stripes = (0..).map(Stripe).zip(&self.feeds).filter(|(_, feed)| fed(feed));
            let stripes = stripes.fold(StripeSet::default(), |set, (stripe, _)| set.with(stripe));
            let now = if stripes == StripeSet::default() { Default::default() } else { (stripes, of) };
            if now == link.subscribed {
                continue;
            }
            link.subscribed = now;
            if stripes == StripeSet::default() {
                self.out.push_back(Output::Unsubscribe { parent });
            } else {
                subscribed.push((parent, stripes));
            }
        }
        for (parent, stripes) in subscribed {
            let subscription = Subscription { stripes, of, have: self.shelf.stored().clone() };
            self.out.push_back(Output::Subscribe { parent, subscription });
        }
    }

    /// Ends the sessions with peers that the edges do not name any more, once nothing comes from them.
    pub(super) fn release_links(&mut self) {
        for peer in self.links.peers() {
            let feeds = self.feeds[..MAX_STRIPES].iter().any(|feed| feed.feeder == Some(peer));
            if self.place.names(peer) || feeds || self.jobs.load(Source::Peer(peer)) > 0 {
                continue;
            }
            self.timers.clear(Timer::Connect(peer));
            self.timers.clear(Timer::Reconnect(peer));
            self.services.forget(peer);
            if self.links.remove(peer).is_some_and(|link| link.state != State::Down) {
                self.out.push_back(Output::Disconnect(peer));
            }
        }
    }
}
