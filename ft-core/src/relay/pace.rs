//! How fast this VM's uplink is.

use alloc::collections::VecDeque;

use crate::clock::{Duration, Instant};

/// A meter's samples are so long, in busy time.
const SAMPLE: Duration = Duration::from_millis(500);
/// A rate is taken over so much busy time, and over more where that holds fewer than [`ENOUGH`] bytes.
const WINDOW: Duration = Duration::from_secs(4);
/// What was sent longer ago says nothing any more.
const STALE: Duration = Duration::from_secs(60);
/// So many bytes make a rate.
const ENOUGH: u64 = 2 * 1024 * 1024;

/// Measures how fast a VM can send, from the time in which it had something to send.
///
/// Time without anything in hand does not count, so a VM that receives slowly is not taken for one that sends
/// slowly. One child with a slow link keeps something in hand for ever, though. So the time in which
/// several children have something in hand is measured by itself, and the faster of the two rates counts: what
/// is slow in both is this VM's own link. (A VM with a single child, and that one slow, cannot be told from a
/// slow VM here.)
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// Children that have something in hand.
    children: usize,
    /// Until when time is reckoned.
    at: Instant,
    /// While one child has something in hand.
    one: Meter,
    /// While several do.
    several: Meter,
    /// Whether `several` was the last to run.
    was_several: bool,
}

impl Pace {
    /// From `now` on the driver has blocks in hand for so many children.
    pub fn busy(&mut self, now: Instant, children: usize) {
        self.advance(now);
        self.children = children;
        if children > 0 {
            self.was_several = children > 1;
        }
    }

    /// From `now` on there is nothing to send.
    pub fn idle(&mut self, now: Instant) {
        self.busy(now, 0);
    }

    /// At `now` the transport has taken so many bytes. To be told before the change that this makes to what
    /// is in hand.
    pub fn sent(&mut self, now: Instant, bytes: u64) {
        self.advance(now);
        self.meter().sent(bytes);
    }

    /// Bytes per second over the last few seconds of busy time; `None` until 2 MiB were sent within the last
    /// minute.
    pub fn rate(&mut self, now: Instant) -> Option<u64> {
        self.advance(now);
        self.one.rate(now).max(self.several.rate(now))
    }

    fn meter(&mut self) -> &mut Meter {
        if self.was_several { &mut self.several } else { &mut self.one }
    }

    fn advance(&mut self, now: Instant) {
        let (from, to) = (self.at, self.at.max(now));
        self.at = to;
        if self.children > 0 {
            self.meter().run(from, to);
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    busy: Duration,
    bytes: u64,
    /// When it was last added to.
    at: Instant,
}

/// Bytes over busy time. The last sample is still being filled; the sums are those of all samples.
#[derive(Clone, Debug, Default)]
struct Meter {
    samples: VecDeque<Sample>,
    busy: u64,
    bytes: u64,
}

impl Meter {
    /// It was busy all the time.
    fn run(&mut self, from: Instant, to: Instant) {
        self.forget(from);
        if self.samples.back().is_none_or(|last| last.busy >= SAMPLE) {
            self.samples.push_back(Sample::default());
        }
        if let Some(last) = self.samples.back_mut() {
            last.busy = last.busy + (to - from);
            last.at = to;
        }
        self.busy = self.busy.saturating_add((to - from).as_nanos());
    }

    fn sent(&mut self, bytes: u64) {
        // Nothing goes out before anything was in hand.
        if let Some(last) = self.samples.back_mut() {
            last.bytes = last.bytes.saturating_add(bytes);
            self.bytes = self.bytes.saturating_add(bytes);
        }
    }

    /// Drops the oldest samples: those that are stale, and those without which there is enough.
    fn forget(&mut self, now: Instant) {
        while let Some(&oldest) = self.samples.front() {
            let busy = self.busy.saturating_sub(oldest.busy.as_nanos());
            let bytes = self.bytes.saturating_sub(oldest.bytes);
            let enough = busy >= WINDOW.as_nanos() && bytes >= ENOUGH;
            if !enough && now - oldest.at <= STALE {
                return;
            }
            (self.busy, self.bytes) = (busy, bytes);
            self.samples.pop_front();
        }
    }

    fn rate(&mut self, now: Instant) -> Option<u64> {
        self.forget(now);
        if self.bytes < ENOUGH {
            return None;
        }
        // What a buffer swallowed took no time.
        let busy = u128::from(self.busy.max(Duration::from_millis(1).as_nanos()));
        let rate = u128::from(self.bytes) * 1_000_000_000 / busy;
        Some(u64::try_from(rate).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests;
