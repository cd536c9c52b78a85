//! The blocks that this VM is getting.
//!
//! What a block goes through:
//!
//! ```text
//!               wanted               its turn at a source
//!  ┌────────┐ ────────► ┌────────┐ ─────────────────────► ┌───────────┐ ──┐ late and demanded: the next
//!  │ absent │           │ queued │                        │ in flight │   │ source is raced, and the
//!  └────────┘ ◄──────── └────────┘ ◄───────────────────── └───────────┘ ◄─┘ first one stays; with two in the
//!    ▲ ▲  │ nobody wants │      │    rejected, lost with      │      │       race, the older one goes
//!    │ │  │ it any more  │      │    its session, late and    │      │
//!    │ │  │              │      │    not demanded: with no    │      │
//!    │ │  │              │      │    other source in the race │      │
//!    │ │  │ pushed       │      └──────────────┐      ┌───────┘      │
//!    │ │  │              │ pushed     no source│      │no source     │ came, from there
//!    │ │  ▼              ▼            is left  ▼      ▼is left       ▼ or elsewhere
//!    │ │ ┌─────────────────────────────┐   ┌─────────────┐      (stored)
//!    │ └─│ stored                      │◄──│ parked      │
//!    │   └─────────────────────────────┘   └─────────────┘
//!    │    dropped                 pushed          │  the pause is over
//!    └────────────────────────────────────────────┘  (a local reader: queued at once)
//! ```
//!
//! A block that is in flight when the last one who wanted it goes away stays so; if its source fails, it is
//! forgotten.
//!
//! *Queued* and *in flight* are a [`Job`]; *stored* is on the [`Shelf`](super::shelf::Shelf); *parked* in
//! [`Wants`](super::wants::Wants). A block has at most one job, and a job one [`Leg`]: it is queued at or in
//! flight from one source. Only a demanded block that is overdue has two, a race (a *hedge*); each of them is
//! queued or in flight. A demanded block that waits too long in a queue is overdue as well.
//!
//! A block that nobody waits for may be on an errand: asked of the feeder to see if it has it (a *trial*), of another source to compare
//! that with the feeder (a *probe*), or of the other stripe's parent, which has nothing else to give (*help*). If a trial or a probe brings
//! nothing, the block is absent again, and left to the feeder; one that help does not bring too.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::event::{Ask, Class, Rejection, Source};
use super::place::Candidate;
use super::policy::Windows;
use crate::block::BlockIndex;
use crate::clock::Instant;
use crate::vm::VmId;

/// A block that is wanted and not here.
#[derive(Debug)]
pub(super) struct Job {
    /// The most urgent class that anybody wanted it with.
    class: Class,
    /// Whether a local reader waits.
    pub(super) local: bool,
    /// Whether a local reader is expected to want it.
    pub(super) expected: bool,
    /// The peers that asked for it and wait.
    pub(super) waiters: BTreeSet<VmId>,
    /// The sources that did not deliver, in order.
    pub(super) tried: Vec<(Source, Rejection)>,
    /// Whether it is asked for to see if a feeder that pushes little has it.
    pub(super) trial: bool,
    /// Whether another source than the feeder is asked for it to see how fast that is.
    pub(super) probe: bool,
    /// Whether the other stripe's parent is asked for it beside the feeder, because half of this VM's link is free.
    pub(super) help: bool,
    /// Whether a deadline has passed while somebody waits: from then on two sources race.
    pub(super) overdue: bool,
    /// Its place among the blocks of its class.
    order: u64,
    /// Two at most, the older one first.
    legs: Vec<Leg>,
}

/// A source that a block is queued at or in flight from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leg {
    pub(super) source: Source,
    /// Whether the source is to fetch it if it does not have it.
    pub(super) may_fetch: bool,
    pub(super) in_flight: bool,
    /// Since when it is queued or, in flight, asked for as urgently as it is.
    pub(super) since: Instant,
    /// Blocks in flight from the source before it that are as urgent.
    pub(super) ahead: u32,
    /// Whether the source was first asked if it has the block, and then to see to it: that it has not may be on
    /// its way here, and no answer to the second request.
    pub(super) crossed: bool,
}

impl Job {
    fn new(class: Class, order: u64) -> Self {
        Self {
            class,
            local: false,
            expected: false,
            waiters: BTreeSet::new(),
            tried: Vec::new(),
            trial: false,
            probe: false,
            help: false,
            overdue: false,
            order,
            legs: Vec::new(),
        }
    }

    /// Whether a reader or a peer waits for it, or a reader is expected to.
    pub(super) fn is_awaited(&self) -> bool {
        self.local || self.expected || !self.waiters.is_empty()
    }

    /// The most urgent class that anybody wanted it with.
    pub(super) fn class(&self) -> Class {
        self.class
    }

    /// Whether somebody waits for it as for a demand.
    pub(super) fn is_demanded(&self) -> bool {
        self.class == Class::Demand && (self.local || !self.waiters.is_empty())
    }

    /// Whether `source` has failed to deliver it.
    pub(super) fn has_tried(&self, source: Source) -> bool {
        self.tried.iter().any(|(tried, _)| *tried == source)
    }

    /// The sources that it is queued at or in flight from, the older one first.
    pub(super) fn legs(&self) -> &[Leg] {
        &self.legs
    }

    /// How it is queued at or in flight from `source`.
    pub(super) fn leg(&self, source: Source) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.source == source)
    }

    /// Whether it is in flight from anywhere.
    pub(super) fn is_in_flight(&self) -> bool {
        self.legs.iter().any(|leg| leg.in_flight)
    }

    /// Whether it is in flight from `source`.
    pub(super) fn is_in_flight_from(&self, source: Source) -> bool {
        self.leg(source).is_some_and(|leg| leg.in_flight)
    }
}

/// Blocks to ask of one source in one request.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) blocks: Vec<BlockIndex>,
    pub(super) ask: Ask,
}

/// What has a place comes after everything that goes by its arrival.
const PLACES: u64 = 1 << 63;

/// The jobs, and what is queued at and in flight from each source.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    by_block: BTreeMap<BlockIndex, Job>,
    queues: BTreeMap<Source, BTreeSet<(Class, u64, BlockIndex)>>,
    in_flight: BTreeMap<Source, BTreeSet<BlockIndex>>,
    /// How many have been wanted without a place of their own so far.
    arrivals: u64,
}

impl Jobs {
    pub(super) fn contains(&self, block: BlockIndex) -> bool {
        self.by_block.contains_key(&block)
    }

    pub(super) fn get(&self, block: BlockIndex) -> Option<&Job> {
        self.by_block.get(&block)
    }

    pub(super) fn get_mut(&mut self, block: BlockIndex) -> Option<&mut Job> {
        self.by_block.get_mut(&block)
    }

    /// Makes sure of a job for `block` that is at least as urgent as `class`; `true` if it has just been
    /// made, or made more urgent. Within its class it is served at its `place`, or else before those that
    /// have one, in the order in which they came.
    pub(super) fn want(&mut self, block: BlockIndex, class: Class, place: Option<u32>) -> bool {
        let known = self.by_block.get(&block).map(|job| job.class);
        if known.is_some_and(|known| known <= class) {
            return false;
        }
        let order = match place {
            Some(place) => PLACES + u64::from(place),
            None => {
                self.arrivals += 1;
                self.arrivals
            }
        };
        if known.is_some() {
            self.rekey(block, class, order);
        } else {
            self.by_block.insert(block, Job::new(class, order));
        }
        true
    }

    fn rekey(&mut self, block: BlockIndex, class: Class, order: u64) {
        let Some(job) = self.by_block.get_mut(&block) else { return };
        let old = (job.class, job.order, block);
        (job.class, job.order) = (class, order);
        for leg in job.legs.iter().filter(|leg| !leg.in_flight) {
            let queue = self.queues.entry(leg.source).or_default();
            queue.remove(&old);
            queue.insert((class, order, block));
        }
    }

    /// Queues `block` at `next` too.
    pub(super) fn queue(&mut self, block: BlockIndex, next: Candidate, now: Instant) {
        let queue = self.queues.get(&next.source).into_iter().flatten();
        let queued = count(queue.take_while(|(class, ..)| *class == Class::Demand).count());
        let ahead = self.demanded(next.source) + queued;
        let Some(job) = self.by_block.get_mut(&block) else { return };
        let Candidate { source, may_fetch } = next;
        job.legs.push(Leg { source, may_fetch, in_flight: false, since: now, ahead, crossed: false });
        self.queues.entry(source).or_default().insert((job.class, job.order, block));
    }

    /// Takes `block` from `source`, where it is queued or in flight.
    pub(super) fn withdraw(&mut self, block: BlockIndex, source: Source) {
        let Some(job) = self.by_block.get_mut(&block) else { return };
        let Some(nth) = job.legs.iter().position(|leg| leg.source == source) else { return };
        if job.legs.remove(nth).in_flight {
            remove_from(&mut self.in_flight, source, &block);
        } else {
            remove_from(&mut self.queues, source, &(job.class, job.order, block));
        }
    }

    /// Ends `block`'s job.
    pub(super) fn remove(&mut self, block: BlockIndex) -> Option<Job> {
        let legs = self.by_block.get(&block)?.legs.clone();
        for leg in &legs {
            self.withdraw(block, leg.source);
        }
        let mut job = self.by_block.remove(&block)?;
        job.legs = legs;
        Some(job)
    }

    /// Blocks in flight from `source`.
    pub(super) fn in_flight(&self, source: Source) -> usize {
        self.in_flight.get(&source).map_or(0, BTreeSet::len)
    }

    /// Demanded blocks in flight from `source`.
    fn demanded(&self, source: Source) -> u32 {
        let blocks = self.in_flight.get(&source).into_iter().flatten();
        count(blocks.filter(|block| self.get(**block).is_some_and(Job::is_demanded)).count())
    }

    /// Blocks queued at and in flight from `source`.
    pub(super) fn load(&self, source: Source) -> usize {
        self.in_flight(source) + self.queues.get(&source).map_or(0, BTreeSet::len)
    }

    /// The blocks queued at or in flight from `source`.
    pub(super) fn at(&self, source: Source) -> Vec<BlockIndex> {
        let queued = self.queues.get(&source).into_iter().flatten().map(|(_, _, block)| *block);
        let in_flight = self.in_flight.get(&source).into_iter().flatten().copied();
        in_flight.chain(queued).collect()
    }

    /// Where which blocks are queued.
    pub(super) fn queued(&self) -> Vec<(BlockIndex, Source)> {
        let queues = self.queues.iter();
        queues.flat_map(|(source, queue)| queue.iter().map(|(_, _, block)| (*block, *source))).collect()
    }

    /// The sources at which something is queued.
    pub(super) fn sources_with_queue(&self) -> Vec<Source> {
        self.queues.keys().copied().collect()
    }

    /// `block`, queued at or in flight from `source`, has become more urgent: if `demanded`, its time begins at
    /// that moment; if it `may_fetch`, the source is to fetch it if it does not have it. How it stands there then.
    pub(super) fn raise(
        &mut self,
        block: BlockIndex,
        source: Source,
        may_fetch: bool,
        demanded: Option<Instant>,
    ) -> Option<Leg> {
        let ahead = self.demanded(source).saturating_sub(1);
        let leg = self.by_block.get_mut(&block)?.legs.iter_mut().find(|leg| leg.source == source)?;
        if let Some(now) = demanded {
            (leg.since, leg.ahead) = (now, ahead);
        }
        leg.crossed |= leg.in_flight && may_fetch && !leg.may_fetch;
        leg.may_fetch |= may_fetch;
        Some(*leg)
    }

    /// `source` does not have `block`: `true` if that answers only the first one of two requests that crossed it.
    pub(super) fn was_crossed(&mut self, block: BlockIndex, source: Source) -> bool {
        let legs = self.by_block.get_mut(&block).map(|job| &mut job.legs).into_iter().flatten();
        let mut leg = legs.filter(|leg| leg.source == source);
        leg.next().is_some_and(|leg| core::mem::take(&mut leg.crossed))
    }

    /// Takes the next request for `source` out of its queue and into flight at `now`, as far as `windows`
    /// and `allow` let it: the first block in the queue that is allowed, and others that are to be asked for
    /// alike. Blocks for which `again` is true are asked for again.
    pub(super) fn take_batch(
        &mut self,
        source: Source,
        windows: Windows,
        again: impl Fn(BlockIndex) -> bool,
        now: Instant,
        mut allow: impl FnMut(BlockIndex, Class) -> bool,
    ) -> Option<Batch> {
        let in_flight = self.in_flight(source);
        let mut first = None;
        let mut blocks: Vec<BlockIndex> = Vec::new();
        for (class, _, block) in self.queues.get(&source)? {
            let job = self.by_block.get(block);
            // A trial finds out what became of the others.
            let urgent = *class == Class::Demand || job.is_some_and(|job| job.trial);
            let window = if urgent { windows.all } else { windows.background };
            if blocks.len() >= window.saturating_sub(in_flight).min(windows.batch) {
                break;
            }
            let leg = job.and_then(|job| job.leg(source));
            let may_fetch = leg.is_some_and(|leg| leg.may_fetch);
            let ask = Ask { class: *class, may_fetch, again: again(*block) };
            if first.is_some_and(|first| first != ask) {
                break;
            }
            if allow(*block, *class) {
                first = Some(ask);
                blocks.push(*block);
            }
        }
        let ask = first?;
        let before = if ask.class == Class::Demand { self.demanded(source) } else { count(in_flight) };
        for (ahead, &block) in (before..).zip(&blocks) {
            self.ask(block, source, now, ahead);
        }
        // Adjacent blocks are read from the origin in one range; a peer serves in the order of asking.
        if source == Source::Origin {
            blocks.sort_unstable();
        }
        Some(Batch { blocks, ask })
    }

    fn ask(&mut self, block: BlockIndex, source: Source, now: Instant, ahead: u32) {
        let Some(job) = self.by_block.get_mut(&block) else { return };
        remove_from(&mut self.queues, source, &(job.class, job.order, block));
        self.in_flight.entry(source).or_default().insert(block);
        if let Some(leg) = job.legs.iter_mut().find(|leg| leg.source == source) {
            (leg.in_flight, leg.since, leg.ahead) = (true, now, ahead);
        }
    }
}

/// Counts of blocks of one image: at most [`MAX_BLOCKS`](crate::manifest::MAX_BLOCKS).
fn count(blocks: usize) -> u32 {
    u32::try_from(blocks).unwrap_or(u32::MAX)
}

/// Removes `item` from the set of `source`, and the set once it is empty.
fn remove_from<T: Ord>(sets: &mut BTreeMap<Source, BTreeSet<T>>, source: Source, item: &T) {
    if let Some(set) = sets.get_mut(&source) {
        set.remove(item);
        if set.is_empty() {
            sets.remove(&source);
        }
    }
}
