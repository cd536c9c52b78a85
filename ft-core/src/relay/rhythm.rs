//! How often something comes.

use crate::clock::{Duration, Instant};

/// The time from one to the next: smoothed, and how long the next one has been coming.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rhythm {
    mean: Option<Duration>,
    /// When the last one came; `None` when none has, or none was awaited since.
    last: Option<Instant>,
    /// Since when one has been awaited.
    awaited: Option<Instant>,
}

impl Rhythm {
    /// One came. Smoothed as round-trip times are in RFC 6298.
    pub(super) fn beat(&mut self, now: Instant) {
        if let Some(before) = self.last.replace(now) {
            let sample = now - before;
            let mean = self.mean.unwrap_or(sample).as_nanos();
            self.mean = Some(Duration::from_nanos(mean - mean / 8 + sample.as_nanos() / 8));
        }
    }

    /// One is awaited, from now on if not before.
    pub(super) fn await_one(&mut self, now: Instant) {
        self.awaited.get_or_insert(now);
    }

    /// None is awaited: the time until the next one says nothing.
    pub(super) fn rest(&mut self) {
        (self.last, self.awaited) = (None, None);
    }

    /// The time from one to the next: the mean, or how long the next one has been coming. `None` if none is awaited.
    pub(super) fn interval(&self, now: Instant) -> Option<Duration> {
        let coming = now - self.last.or(self.awaited)?;
        Some(self.mean.map_or(coming, |mean| mean.max(coming)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn the_interval_is_the_mean_or_what_the_next_one_takes_already() {
        let mut rhythm = Rhythm::default();
        assert_eq!(rhythm.interval(at(5)), None);
        rhythm.await_one(at(10));
        rhythm.await_one(at(20));
        assert_eq!(rhythm.interval(at(50)), Some(Duration::from_millis(40)));
        for nth in 1..4 {
            rhythm.beat(at(nth * 100));
        }
        assert_eq!(rhythm.interval(at(310)), Some(Duration::from_millis(100)));
        assert_eq!(rhythm.interval(at(700)), Some(Duration::from_millis(400)));
        rhythm.rest();
        rhythm.beat(at(5_000));
        assert_eq!(rhythm.interval(at(5_000)), Some(Duration::from_millis(100)), "a rest is no sample");
    }
}
