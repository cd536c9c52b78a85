//! Who pushes each stripe to this VM.

use super::event::Source;
use super::links::Links;
use super::place::{MAX_STRIPES, Place};
use super::rhythm::Rhythm;
use crate::block::{BlockIndex, Stripe};
use crate::clock::{Duration, Instant};
use crate::vm::VmId;

/// How a stripe's blocks come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Feed {
    /// The peer that pushes them.
    pub(super) feeder: Option<VmId>,
    /// Whether wanted blocks are asked for: always at the root; elsewhere when nobody has pushed for a while.
    pub(super) pulling: bool,
    /// Since when the feeder's pushes are watched, and how many blocks of the stripe have come from it since.
    pub(super) watched: (Instant, u32),
    /// What is being found out about the feeder's pace.
    pub(super) check: Option<Check>,
    /// Checks in a row that ended without a comparison: the next one comes later.
    pub(super) trials: u32,
    /// Whether another VM has come above this one: until then, the stripe may have been held up.
    pub(super) moved: bool,
    /// Blocks of it that the other stripe's parent was asked for, to use a link's free half.
    pub(super) helped: u32,
    /// Not before this is it asked for another one.
    pub(super) help_from: Instant,
    /// The stripe's blocks, from whomever they come.
    pub(super) rhythm: Rhythm,
}

/// A comparison of a feeder's pace with another source's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Check {
    /// The feeder.
    pub(super) of: VmId,
    pub(super) stage: Stage,
    /// Since when its blocks of the stripe are counted.
    pub(super) since: Instant,
    /// Whether it did not have the trial's block.
    pub(super) lacks: bool,
    came: u32,
}

/// How far a comparison is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The feeder was asked for this block, if it has it.
    Trial(BlockIndex),
    /// It kept it back, or did not have it: its pace is watched for a while.
    Watch,
    /// Another source was asked for this block.
    Probe(BlockIndex),
    /// It came from there, and took so long: the feeder's pace is watched until that can be compared.
    Weigh(Source, Duration),
}

impl Check {
    pub(super) fn new(of: VmId, trial: BlockIndex, now: Instant) -> Self {
        Self { of, stage: Stage::Trial(trial), since: now, lacks: false, came: 0 }
    }

    /// A block came from the feeder.
    pub(super) fn note(&mut self) {
        self.came += 1;
    }

    /// How long the feeder has taken from one block to the next.
    pub(super) fn interval(&self, now: Instant) -> Duration {
        Duration::from_nanos((now - self.since).as_nanos() / u64::from(self.came.max(1)))
    }
}

/// The feeds, by stripe.
pub(super) type Feeds = [Feed; MAX_STRIPES];

/// Who is to push a stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Nobody: this VM is the root, and pulls.
    Root,
    /// Nobody: every peer that could is lost. It pulls if that lasts.
    Orphan,
    /// This peer, to which a session is up.
    Feeder(VmId),
    /// This peer, as soon as a session is up.
    Await(VmId),
}

/// Who is to push `stripe`, if `current` does now: the parent; until its session is up, whoever pushed
/// before; when it is lost, the other stripe's parent (of what it has: it is not asked to fetch) or else
/// the grandparent.
pub(super) fn choose(place: &Place, links: &Links, stripe: Stripe, current: Option<VmId>) -> Choice {
    let Some(parent) = place.parent(stripe) else { return Choice::Root };
    if links.is_up(parent) {
        return Choice::Feeder(parent);
    }
    if let Some(current) = current.filter(|vm| links.is_up(*vm)) {
        return Choice::Feeder(current);
    }
    if !links.is_lost(parent) {
        return Choice::Await(parent);
    }
    let other = place.other_parent(stripe);
    if let Some(other) = other.filter(|vm| links.is_up(*vm)) {
        return Choice::Feeder(other);
    }
    let grandparent = place.grandparent(stripe).filter(|vm| *vm != parent);
    match grandparent.or(other).filter(|vm| !links.is_lost(*vm)) {
        Some(vm) if links.is_up(vm) => Choice::Feeder(vm),
        Some(vm) => Choice::Await(vm),
        None => Choice::Orphan,
    }
}
