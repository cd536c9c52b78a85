//! The blocks that this VM is getting.
//!
//! What a block goes through:
//!
//! ```text
//!               wanted               its turn at a source
//!  ┌────────┐ ────────► ┌────────┐ ─────────────────────► ┌───────────┐
//!  │ absent │           │ queued │                        │ in flight │
//!  └────────┘ ◄──────── └────────┘ ◄───────────────────── └───────────┘
//!    ▲ ▲  │ nobody wants │      │    rejected, late, lost    │      │
//!    │ │  │ it any more  │      │    with its session        │      │
//!    │ │  │              │      └──────────────┐      ┌──────┘      │
//!    │ │  │ pushed       │ pushed     no source│      │no source    │ came, from there
//!    │ │  ▼              ▼            is left  ▼      ▼is left      ▼ or elsewhere
//!    │ │ ┌─────────────────────────────┐   ┌─────────────┐     (stored)
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
//! [`Wants`](super::wants::Wants). A block has at most one job, and a job at most one source at a time, so
//! at most one fetch of a block is in flight. (A deliberate hedge would make *in flight* hold two.)

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::event::{Ask, Class, Rejection, Source};
use super::place::Candidate;
use super::policy::Windows;
use super::set::BlockSet;
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
    /// Its place among the blocks of its class.
    order: u64,
    phase: Phase,
    /// Whether its source is to fetch it if it does not have it.
    may_fetch: bool,
    /// When it was asked for.
    since: Instant,
}

impl Job {
    fn new(class: Class, order: u64) -> Self {
        Self {
            class,
            local: false,
            expected: false,
            waiters: BTreeSet::new(),
            tried: Vec::new(),
            order,
            phase: Phase::New,
            may_fetch: false,
            since: Instant::ZERO,
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

    /// Whether `source` has failed to deliver it.
    pub(super) fn has_tried(&self, source: Source) -> bool {
        self.tried.iter().any(|(tried, _)| *tried == source)
    }

    /// The source that it is queued at or in flight from.
    pub(super) fn source(&self) -> Option<Source> {
        match self.phase {
            Phase::New => None,
            Phase::Queued(source) | Phase::InFlight(source) => Some(source),
        }
    }

    /// The source that it is in flight from.
    pub(super) fn in_flight_from(&self) -> Option<Source> {
        match self.phase {
            Phase::InFlight(source) => Some(source),
            Phase::New | Phase::Queued(_) => None,
        }
    }

    /// When it was asked for.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    pub(super) fn may_fetch(&self) -> bool {
        self.may_fetch
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No source has been chosen.
    New,
    Queued(Source),
    InFlight(Source),
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
        if let Phase::Queued(source) = job.phase {
            let queue = self.queues.entry(source).or_default();
            queue.remove(&old);
            queue.insert((class, order, block));
        }
    }

    /// Queues `block`'s job at `next`, wherever it was.
    pub(super) fn queue(&mut self, block: BlockIndex, next: Candidate) {
        self.withdraw(block);
        let Some(job) = self.by_block.get_mut(&block) else { return };
        job.phase = Phase::Queued(next.source);
        job.may_fetch = next.may_fetch;
        self.queues.entry(next.source).or_default().insert((job.class, job.order, block));
    }

    /// Takes `block`'s job from its source.
    fn withdraw(&mut self, block: BlockIndex) {
        let Some(job) = self.by_block.get_mut(&block) else { return };
        match job.phase {
            Phase::New => {}
            Phase::Queued(source) => {
                let key = (job.class, job.order, block);
                remove_from(&mut self.queues, source, &key);
            }
            Phase::InFlight(source) => remove_from(&mut self.in_flight, source, &block),
        }
        job.phase = Phase::New;
    }

    /// Ends `block`'s job.
    pub(super) fn remove(&mut self, block: BlockIndex) -> Option<Job> {
        let phase = self.by_block.get(&block)?.phase;
        self.withdraw(block);
        let mut job = self.by_block.remove(&block)?;
        job.phase = phase;
        Some(job)
    }

    /// Blocks in flight from `source`.
    pub(super) fn in_flight(&self, source: Source) -> usize {
        self.in_flight.get(&source).map_or(0, BTreeSet::len)
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

    /// All queued blocks.
    pub(super) fn queued(&self) -> Vec<BlockIndex> {
        self.queues.values().flatten().map(|(_, _, block)| *block).collect()
    }

    /// The sources at which something is queued.
    pub(super) fn sources_with_queue(&self) -> Vec<Source> {
        self.queues.keys().copied().collect()
    }

    /// Takes the next request for `source` out of its queue and into flight at `now`, as far as `windows`
    /// allow: the first block in the queue and those after it that are to be asked for alike. Blocks in
    /// `again` are asked for again.
    pub(super) fn take_batch(
        &mut self,
        source: Source,
        windows: Windows,
        again: &BlockSet,
        now: Instant,
    ) -> Option<Batch> {
        let queue = self.queues.get(&source)?;
        let how = |(class, _, block): &(Class, u64, BlockIndex)| Ask {
            class: *class,
            may_fetch: self.by_block.get(block).is_some_and(Job::may_fetch),
            again: again.contains(*block),
        };
        let ask = how(queue.first()?);
        let window = if ask.class == Class::Demand { windows.all } else { windows.background };
        let room = window.saturating_sub(self.in_flight(source)).min(windows.batch);
        let keys = queue.iter().take_while(|key| how(key) == ask).take(room);
        let mut blocks: Vec<_> = keys.map(|(_, _, block)| *block).collect();
        if blocks.is_empty() {
            return None;
        }
        for &block in &blocks {
            self.withdraw(block);
            if let Some(job) = self.by_block.get_mut(&block) {
                job.phase = Phase::InFlight(source);
                job.since = now;
            }
            self.in_flight.entry(source).or_default().insert(block);
        }
        // Adjacent blocks are read from the origin in one range; a peer serves in the order of asking.
        if source == Source::Origin {
            blocks.sort_unstable();
        }
        Some(Batch { blocks, ask })
    }
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
