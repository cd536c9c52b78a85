//! The engine itself: its state, and the doors to it.

use alloc::collections::{BTreeMap, VecDeque};

use super::budget::Budget;
use super::catalog::Catalog;
use super::children::Child;
use super::config::EngineConfig;
use super::event::{Input, Output};
use super::feeds::Feeds;
use super::jobs::Jobs;
use super::links::Links;
use super::place::Place;
use super::service::Services;
use super::set::BlockSet;
use super::shelf::Shelf;
use super::stats::Stats;
use super::timer::Timers;
use super::wants::Wants;
use crate::clock::Instant;
use crate::epoch::Epoch;
use crate::manifest::Layout;
use crate::vm::VmId;

mod checking;
mod fetching;
mod helping;
mod linking;
mod pulling;
mod racing;
mod serving;
#[cfg(test)]
mod tests;

/// The relay engine of one VM for one function image.
///
/// The driver calls [`handle`](Self::handle) with what happened, any number of times, then
/// [`poll`](Self::poll) until there is nothing to do, then sleeps until something happens or
/// [`deadline`](Self::deadline) has passed; then [`Input::Timeout`] tells the engine so.
///
/// Rules that hold at every moment:
/// - a block is in flight from at most one source; a demanded one that is overdue, from two;
/// - a block that is stored is not fetched;
/// - a block goes to a child at most once in a session, unless the child says that it was lost;
/// - for every block that is in flight, every session that is being made, and every stripe that lacks a
///   wanted block, a timer runs, so that nothing waits for ever.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    catalog: Catalog,
    shelf: Shelf,
    wants: Wants,
    place: Place,
    links: Links,
    feeds: Feeds,
    jobs: Jobs,
    services: Services,
    budget: Budget,
    /// When the origin last delivered anything.
    origin_heard: Instant,
    children: BTreeMap<VmId, Child>,
    /// Blocks that a peer may believe to have sent: they are asked for with [`Ask::again`](super::Ask).
    suspects: BlockSet,
    timers: Timers,
    stats: Stats,
    now: Instant,
    out: VecDeque<Output>,
    /// Whether something has happened since the engine last looked for work.
    stirred: bool,
    told_complete: bool,
}

impl Engine {
    /// An engine for the image with this layout, of which the blocks in `stored` are here (any index of a
    /// block counts). It pulls nothing before it knows its edges; a demand before that goes to the origin.
    pub fn new(config: EngineConfig, layout: &Layout, stored: BlockSet) -> Self {
        let catalog = Catalog::new(layout);
        let shelf = Shelf::new(&catalog, &stored);
        Self {
            wants: Wants::new(config.mode, &catalog, &shelf),
            place: Place::new(config.me),
            links: Links::default(),
            feeds: Feeds::default(),
            jobs: Jobs::default(),
            services: Services::default(),
            budget: Budget::new(&config.limits),
            origin_heard: Instant::ZERO,
            children: BTreeMap::new(),
            suspects: BlockSet::new(catalog.len()),
            timers: Timers::default(),
            stats: Stats::default(),
            now: Instant::ZERO,
            out: VecDeque::new(),
            stirred: true,
            told_complete: false,
            config,
            catalog,
            shelf,
        }
    }

    /// Tells the engine what happened at `now`. Time does not run backwards; an earlier `now` than the last
    /// one counts as that.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        self.stirred = true;
        match input {
            Input::Edges(edges) => self.handle_edges(edges),
            Input::PeerUp(peer) => self.handle_peer_up(peer),
            Input::PeerDown(peer) => self.handle_peer_down(peer),
            Input::ChildDown(child) => self.handle_child_down(child),
            Input::Subscribed { child, subscription } => self.handle_subscribed(child, &subscription),
            Input::Unsubscribed { child } => self.handle_unsubscribed(child),
            Input::Asked { child, block, ask } => self.handle_asked(child, block, ask),
            Input::Has { child, block } => self.handle_has(child, block),
            Input::Demand { block } => self.handle_demand(block),
            Input::Expect { blocks } => self.handle_expect(&blocks),
            Input::Profile { blocks } => self.handle_profile(&blocks),
            Input::Stored { block, from } => self.handle_stored(block, from),
            Input::Rejected { block, from, why } => self.handle_rejected(block, from, why),
            Input::Dropped { block } => self.handle_dropped(block),
            Input::Sent { child, block } => self.handle_sent(child, block),
            Input::Timeout => {}
        }
        // After the input: what came in time is not late.
        while let Some(timer) = self.timers.pop_expired(self.now) {
            self.handle_timer(timer);
        }
    }

    /// The next thing to do; `None` until something happens.
    pub fn poll(&mut self) -> Option<Output> {
        if self.out.is_empty() && self.stirred {
            self.stirred = false;
            self.look_for_work();
        }
        self.out.pop_front()
    }

    /// When to call with [`Input::Timeout`] if nothing happens before. Valid once [`poll`](Self::poll) has
    /// returned `None`.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The blocks that are here; of a block that occurs at several indices, all are set.
    pub fn stored(&self) -> &BlockSet {
        self.shelf.stored()
    }

    /// Whether every block is here.
    pub fn is_complete(&self) -> bool {
        self.shelf.distinct() == self.catalog.distinct()
    }

    /// The epoch of the edges that the engine follows; `None` before any have come.
    pub fn epoch(&self) -> Option<Epoch> {
        self.place.epoch()
    }

    /// What the engine has counted.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    fn look_for_work(&mut self) {
        self.choose_feeders();
        self.subscribe();
        self.pull();
        self.ask_for_help();
        self.fetch();
        self.send();
        self.release_links();
        if self.is_complete() && !self.told_complete {
            self.told_complete = true;
            self.out.push_back(Output::Complete);
        }
    }
}
