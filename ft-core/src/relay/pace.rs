//! How fast this VM's uplink is.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::clock::{Duration, Instant};
use crate::vm::VmId;

mod window;

/// Time is cut into slots of this length.
const SLOT: Duration = Duration::from_millis(100);
/// So many slots are kept, beside the one that is being filled: 10 s.
const SLOTS: usize = 100;
/// A block that has been in hand for so many slots is stuck, and nothing went of it.
const STUCK: u64 = 70;
/// A child counts as one of those that are sent to until nothing was in hand for it for so long.
const LATELY: Duration = Duration::from_secs(2);

/// Bytes per second, and how many children shared them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Stored bytes per second of wall time.
    pub bytes_per_s: u64,
    /// Children that took a fair part of them: at least half the mean. One at least.
    pub children: u32,
}

/// What a VM's uplink carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// The best of the last 10 s: the link carries at least about this much. `None`: less than 1 MiB was sent.
    pub shown: Option<Rate>,
    /// The best of the last 3 s while every child had something in hand: the link carries no more than this to
    /// these children. `None`: there was no such time.
    pub saturated: Option<Rate>,
}

/// A block that a driver has in hand for a child.
#[derive(Clone, Copy, Debug)]
pub struct InHand {
    child: VmId,
    since: Instant,
}

/// Measures how fast a VM can send.
///
/// A block counts as sent when the operating system has taken it, so buffers make a VM seem fast that has little
/// to send: time without anything in hand must not be left out. Only a VM that has something in hand for each of
/// its children all the time shows how fast its link is. If it has nothing for one of them, then it is not its link
/// that keeps the others' blocks in hand, but theirs. (A VM with a single child, and that one slow, cannot be told
/// from a slow VM here.)
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// Until when time is reckoned.
    at: Instant,
    /// Those that were sent to lately.
    children: BTreeMap<VmId, Child>,
    /// How many blocks were taken in hand at which instant.
    in_hand: BTreeMap<Instant, u32>,
    /// The last one holds `at`, and is still being filled.
    slots: VecDeque<Slot>,
}

#[derive(Clone, Debug, Default)]
struct Child {
    /// Blocks in hand.
    blocks: u32,
    /// When the last one went out of hand.
    quiet_since: Instant,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    /// How long every child had something in hand.
    busy: Duration,
    /// What went to whom.
    bytes: BTreeMap<VmId, u64>,
}

impl Pace {
    /// From `now` on the driver has a block in hand for a child.
    pub fn take(&mut self, now: Instant, child: VmId) -> InHand {
        self.advance(now);
        let since = self.at;
        *self.in_hand.entry(since).or_default() += 1;
        self.children.entry(child).or_default().blocks += 1;
        InHand { child, since }
    }

    /// The block is not in hand any more; the operating system has taken so many bytes of it.
    pub fn release(&mut self, now: Instant, block: InHand, bytes: u64) {
        self.advance(now);
        let InHand { child, since } = block;
        if let Some(count) = self.in_hand.get_mut(&since) {
            *count -= 1;
            if *count == 0 {
                self.in_hand.remove(&since);
            }
        }
        if let Some(child) = self.children.get_mut(&child) {
            child.blocks = child.blocks.saturating_sub(1);
            child.quiet_since = self.at;
        }
        self.spread(child, since, bytes);
    }

    /// What the link carried until `now`.
    pub fn rates(&mut self, now: Instant) -> Rates {
        self.advance(now);
        // What is in hand now may be half sent: what went since it was taken is not known.
        let recent = start(number(self.at).saturating_sub(STUCK));
        let since = self.in_hand.range(recent..).next().map_or(self.at, |(since, _)| *since);
        let filled = self.slots.len().saturating_sub(1);
        let slots: Vec<&Slot> = self.slots.iter().take(filled).collect();
        window::rates(&slots, filled.saturating_sub(slots_in(start(number(self.at)) - since)))
    }

    /// A block went evenly while it was in hand.
    fn spread(&mut self, child: VmId, since: Instant, bytes: u64) {
        let span = u128::from((self.at - since).as_nanos().max(1));
        let gone_by = |until: Instant| {
            let passed = u128::from((until - since).as_nanos());
            u64::try_from(u128::from(bytes) * passed / span).unwrap_or(bytes)
        };
        let last = number(self.at);
        for (back, slot) in (0..=last - number(since)).zip(self.slots.iter_mut().rev()) {
            let (from, until) = (start(last - back), start(last - back + 1));
            let gone = if back == 0 { bytes } else { gone_by(until) } - gone_by(from);
            if gone > 0 {
                let to_child = slot.bytes.entry(child).or_default();
                *to_child = to_child.saturating_add(gone);
            }
        }
    }

    /// Reckons the time until `now`.
    fn advance(&mut self, now: Instant) {
        let now = self.at.max(now);
        if slots_in(now - self.at) > SLOTS {
            // All that is kept is younger than the last call, and was as it is now.
            self.slots.clear();
            self.at = start(number(now).saturating_sub(SLOTS as u64));
        }
        if self.slots.is_empty() {
            self.slots.push_back(Slot::default());
        }
        while self.at < now {
            self.step(now);
        }
    }

    /// Reckons the time until the end of a slot, until a child is quiet for long, or until `now`.
    fn step(&mut self, now: Instant) {
        let at = self.at;
        self.children.retain(|_, child| child.blocks > 0 || at - child.quiet_since < LATELY);
        let quiet = self.children.values().filter(|child| child.blocks == 0);
        let first_quiet = quiet.map(|child| child.quiet_since + LATELY).min();
        let next_slot = start(number(at) + 1);
        let until = first_quiet.map_or(now, |until| until.min(now)).min(next_slot);
        if first_quiet.is_none()
            && !self.children.is_empty()
            && let Some(slot) = self.slots.back_mut()
        {
            slot.busy = slot.busy + (until - at);
        }
        self.at = until;
        if until == next_slot {
            self.slots.push_back(Slot::default());
            if self.slots.len() > SLOTS + 1 {
                self.slots.pop_front();
            }
        }
    }
}

/// The slot that holds an instant.
const fn number(at: Instant) -> u64 {
    at.as_nanos() / SLOT.as_nanos()
}

/// When a slot begins.
const fn start(slot: u64) -> Instant {
    Instant::from_nanos(slot.saturating_mul(SLOT.as_nanos()))
}

/// How many slots a span reaches into, at most.
fn slots_in(span: Duration) -> usize {
    usize::try_from(span.as_nanos().div_ceil(SLOT.as_nanos())).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
