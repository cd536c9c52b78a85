//! How long readers waited.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Buckets: the first is below 1 ms, bucket n from 2^((n-1)/4) ms to 2^(n/4) ms, the last has no end (from 46 s).
const BUCKETS: usize = 64;

/// Counts waits by how long they took.
pub(super) struct Waits([AtomicU64; BUCKETS]);

impl Default for Waits {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Waits {
    /// A reader begins to wait; counted when the value is dropped, also for one that gives up.
    pub(super) fn begin(&self) -> Wait<'_> {
        Wait { waits: self, since: Instant::now() }
    }

    /// The counts by bucket, without zeros at the end.
    pub(super) fn read(&self) -> Vec<u64> {
        let mut counts: Vec<_> = self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        while counts.last() == Some(&0) {
            counts.pop();
        }
        counts
    }

    fn count(&self, waited: Duration) {
        self.0[bucket(waited)].fetch_add(1, Ordering::Relaxed);
    }
}

/// A wait that has not ended.
pub(super) struct Wait<'a> {
    waits: &'a Waits,
    since: Instant,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.waits.count(self.since.elapsed());
    }
}

fn bucket(waited: Duration) -> usize {
    let millis = waited.as_secs_f64() * 1e3;
    let end = |bucket: u8| (f64::from(bucket) / 4.0).exp2();
    (0..).take(BUCKETS - 1).find(|bucket| millis < end(*bucket)).map_or(BUCKETS - 1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_go_to_the_bucket_that_holds_them() {
        let micros = |micros| bucket(Duration::from_micros(micros));
        assert_eq!((micros(0), micros(999)), (0, 0));
        assert_eq!((micros(1_000), micros(1_188)), (1, 1), "1 to 1.189 ms");
        assert_eq!((micros(1_190), micros(1_999)), (2, 4));
        assert_eq!((micros(2_000), micros(1_024_000)), (5, 41));
        assert_eq!(bucket(Duration::from_secs(86_400)), BUCKETS - 1);
    }

    #[test]
    fn every_wait_is_counted_once() {
        let waits = Waits::default();
        assert_eq!(waits.read(), [0u64; 0]);
        drop(waits.begin());
        waits.count(Duration::from_millis(3));
        assert_eq!(waits.read()[0], 1);
        assert_eq!(waits.read().iter().sum::<u64>(), 2);
        assert_eq!(waits.read().len(), 8);
    }
}
