//! How much a VM that is no root may read from the origin.

use super::bucket::TokenBucket;
use super::config::Limits;
use crate::clock::{Duration, Instant};

/// A block, in the bucket's units: shares are fractions of a block.
const BLOCK: u64 = 1_000;

/// This VM's share of what its tree may read from the origin beside the roots' ordinary reads, so that a
/// failure that sends many VMs there is no stampede.
#[derive(Debug)]
pub(super) struct Budget {
    bucket: TokenBucket,
}

impl Budget {
    /// The share of the only VM of a tree.
    pub(super) fn new(limits: &Limits) -> Self {
        let (rate, burst) = share(limits, 1);
        Self { bucket: TokenBucket::new(rate, burst) }
    }

    /// The tree has `vms` VMs from `now` on (0: not known). What has been spent stays spent.
    pub(super) fn share(&mut self, limits: &Limits, vms: u32, now: Instant) {
        let (rate, burst) = share(limits, vms);
        self.bucket.set_rate(now, rate);
        self.bucket.set_burst(now, burst);
    }

    /// From one block to the next, in the long run.
    pub(super) fn interval(&self) -> Duration {
        Duration::from_nanos(BLOCK * 1_000_000_000 / self.bucket.rate().max(1))
    }

    /// Spends a block.
    ///
    /// # Errors
    /// When there will be one to spend.
    pub(super) fn spend(&mut self, now: Instant) -> Result<(), Instant> {
        self.bucket.take(now, BLOCK)
    }
}

/// Rate and burst of each of `vms` VMs.
fn share(limits: &Limits, vms: u32) -> (u64, u64) {
    let of = |blocks: u32| u64::from(blocks) * BLOCK / u64::from(vms.max(1));
    // A rate of 0 would mean no limit.
    let rate = of(limits.origin_budget_rate).max(limits.origin_budget_floor.into()).max(1);
    (rate, of(limits.origin_budget_burst).max(BLOCK))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        let (rate, burst, floor) = (512, 64, 250);
        Limits {
            origin_budget_rate: rate,
            origin_budget_burst: burst,
            origin_budget_floor: floor,
            ..Limits::default()
        }
    }

    /// Blocks that can be had within `millis`.
    fn blocks(vms: u32, millis: u64) -> u32 {
        let mut budget = Budget::new(&limits());
        budget.share(&limits(), vms, Instant::ZERO);
        let (mut now, end) = (Instant::ZERO, Instant::ZERO + Duration::from_millis(millis));
        let mut blocks = 0;
        while now <= end {
            match budget.spend(now) {
                Ok(()) => blocks += 1,
                Err(then) => now = then,
            }
        }
        blocks
    }

    #[test]
    fn all_vms_together_stay_within_the_trees_budget() {
        for vms in [3, 8, 32, 64] {
            assert!(vms * blocks(vms, 3_000) <= 64 + 3 * 512, "{vms}");
        }
        assert_eq!(blocks(32, 3_000), 2 + 3 * 16);
    }

    #[test]
    fn nobody_waits_for_a_block_longer_than_the_floor_says() {
        assert_eq!(blocks(1_000_000, 0), 1);
        assert_eq!(blocks(1_000_000, 4_000), 2);
        assert_eq!(blocks(1_000_000, 40_000), 11);
    }

    #[test]
    fn new_edges_do_not_give_back_what_was_spent() {
        let mut budget = Budget::new(&limits());
        for _ in 0..64 {
            assert_eq!(budget.spend(Instant::ZERO), Ok(()));
        }
        for vms in [1, 1_000, 0, 3] {
            budget.share(&limits(), vms, Instant::ZERO);
            assert!(budget.spend(Instant::ZERO).is_err(), "{vms}");
        }
    }
}
