//! Every timer of the engine.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::block::{BlockIndex, Stripe};
use crate::clock::Instant;
use crate::vm::VmId;

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The newest source of a block has not delivered in time: turn to the next one. Runs for every block that
    /// is in flight, and for demanded ones that are queued.
    Fetch(BlockIndex),
    /// A session is not up yet: give the attempt up.
    Connect(VmId),
    /// Try again to make a session that was lost.
    Reconnect(VmId),
    /// Nothing was pushed for a while in a stripe that lacks blocks: ask.
    Patience(Stripe),
    /// A child may have taken nothing for too long of what the driver has in hand for it.
    Stuck(VmId),
    /// Nothing was pushed for a moment: ask whether the feeder has anything.
    Trial(Stripe),
    /// The origin's budget allows another block.
    Budget,
    /// Try again what could be had from nowhere.
    Retry,
}

/// The timers that are set.
#[derive(Debug, Default)]
pub(super) struct Timers {
    at: BTreeMap<Timer, Instant>,
    queue: BTreeSet<(Instant, Timer)>,
}

impl Timers {
    /// Sets `timer`, in place of an earlier setting.
    pub(super) fn set(&mut self, timer: Timer, at: Instant) {
        self.clear(timer);
        self.at.insert(timer, at);
        self.queue.insert((at, timer));
    }

    /// Sets `timer` unless it is set; whether it was not.
    pub(super) fn set_if_clear(&mut self, timer: Timer, at: Instant) -> bool {
        let clear = !self.at.contains_key(&timer);
        if clear {
            self.set(timer, at);
        }
        clear
    }

    /// Stops `timer` if it is set.
    pub(super) fn clear(&mut self, timer: Timer) {
        if let Some(at) = self.at.remove(&timer) {
            self.queue.remove(&(at, timer));
        }
    }

    #[cfg(test)]
    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.at.contains_key(&timer)
    }

    /// When the next one expires.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes the first one that has expired by `now`.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = *self.queue.first()?;
        if at > now {
            return None;
        }
        self.clear(timer);
        Some(timer)
    }
}
