//! The origin: one link, requests served in the order in which they come.

use std::collections::BTreeMap;

use ft_core::{BlockIndex, Duration, Instant};

#[derive(Default)]
pub(crate) struct Origin {
    free_at: Instant,
    pub(crate) reads: BTreeMap<BlockIndex, u64>,
}

impl Origin {
    /// When a block that is asked for at `now` has left.
    pub(crate) fn read(&mut self, now: Instant, block: BlockIndex, takes: Duration) -> Instant {
        *self.reads.entry(block).or_default() += 1;
        self.free_at = self.free_at.max(now) + takes;
        self.free_at
    }
}
