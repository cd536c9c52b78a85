//! Who pushes each stripe to this VM.

use super::links::Links;
use super::place::{MAX_STRIPES, Place};
use crate::block::{BlockIndex, Stripe};
use crate::vm::VmId;

/// How a stripe's blocks come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Feed {
    /// The peer that pushes them.
    pub(super) feeder: Option<VmId>,
    /// Whether wanted blocks are asked for: always at the root; elsewhere when nobody has pushed for a while.
    pub(super) pulling: bool,
    /// A block that the feeder was asked for, if it has it, when it pushed nothing for a moment.
    pub(super) trial: Option<BlockIndex>,
    /// How often in a row it did not have it.
    pub(super) trials: u32,
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
