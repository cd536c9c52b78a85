//! How a peer stands: whether it is known to be as good as others, suspected of being far slower, or *slow*.
//!
//! A busy machine stalls a task for half a second now and then, so no single comparison decides. A peer is slow when it
//! has lost several in a row, at first for a short time only, doubled each time that turns out right again. While it
//! is, what it gives is counted on, and it is forgiven as soon as that comes at a decent pace.

use super::config::Limits;
use super::event::Source;
use crate::clock::{Duration, Instant};

/// A feeder is slow if another source would take less than this part of its time from one block to the next. One that
/// shares its link between two children, or has one stripe of two, takes twice as long as a source that does nothing
/// else; one at half speed, which the manager moves, four times.
pub(super) const FAR: u64 = 4;
/// A feeder that is slow is forgiven if it takes at most so many times as long.
const NEAR: u64 = 3;
/// So many of its blocks tell whether it is to be forgiven.
const BLOCKS: u32 = 4;
/// Losing so many comparisons in a row makes a feeder slow.
const COMPARISONS: u32 = 3;
/// Losing so many races in a row makes a source slow.
const RACES: u32 = 3;

/// What is known of a peer's speed against others'.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    /// Comparisons in a row that it lost.
    lost: u32,
    /// Races in a row that another source won.
    lost_races: u32,
    slow: Option<Slow>,
    good: Option<Good>,
}

/// It delivers far later than others, and is asked last.
#[derive(Clone, Copy, Debug)]
struct Slow {
    since: Instant,
    until: Instant,
    for_: Duration,
    /// What another source took for a block; 0 if that is not known.
    took: Duration,
    /// How many blocks have come from it since a moment.
    came: (Instant, u32),
}

/// It is as good as another source was.
#[derive(Clone, Copy, Debug)]
struct Good {
    /// Which.
    as_: Source,
    /// What that source took for a block.
    took: Duration,
    until: Instant,
    for_: Duration,
}

impl Standing {
    /// It lost a comparison with a source that `took` so long for a block; `true` if that makes it slow.
    pub(super) fn lost_comparison(&mut self, took: Duration, limits: &Limits, now: Instant) -> bool {
        self.lost += 1;
        let slow = self.lost >= COMPARISONS;
        if slow {
            self.set_slow(took, limits, now);
        }
        slow
    }

    /// Another source was faster than it, which was late; `true` if that makes it slow.
    pub(super) fn lost_race(&mut self, limits: &Limits, now: Instant) -> bool {
        self.lost_races += 1;
        let slow = self.lost_races >= RACES && self.slow_until(now).is_none();
        if slow {
            self.set_slow(Duration::ZERO, limits, now);
        }
        slow
    }

    /// It delivered what somebody waited for.
    pub(super) fn delivered(&mut self) {
        self.lost_races = 0;
    }

    fn set_slow(&mut self, took: Duration, limits: &Limits, now: Instant) {
        let before = self.slow.map(|slow| slow.for_.saturating_mul(2));
        let for_ = before.unwrap_or(limits.slow_min).min(limits.slow_max);
        self.slow = Some(Slow { since: now, until: now + for_, for_, took, came: (now, 0) });
        self.good = None;
        // When the time is over without its having been forgiven, the next loss is enough.
        (self.lost, self.lost_races) = (COMPARISONS - 1, RACES - 1);
    }

    /// Until when it counts as slow, if it does at `now`.
    pub(super) fn slow_until(&self, now: Instant) -> Option<Instant> {
        self.slow.map(|slow| slow.until).filter(|until| *until > now)
    }

    /// Since when it counts as slow, if it does at `now`.
    pub(super) fn slow_since(&self, now: Instant) -> Option<Instant> {
        self.slow.filter(|slow| slow.until > now).map(|slow| slow.since)
    }

    /// It has nothing that is wanted, or gave that at once: it has not lost the comparison.
    pub(super) fn excuse(&mut self) {
        if self.slow.is_none() {
            self.lost = 0;
        }
    }

    /// It is as good as another source, that `took` so long for a block. That is not put to the test again for a while: `first`
    /// at first, and longer each time that turns out right again, `most` at most.
    pub(super) fn acquit(
        &mut self,
        (as_, took): (Source, Duration),
        (first, most): (Duration, Duration),
        now: Instant,
    ) {
        let before = self.good.map(|good| (good.took, good.for_.saturating_mul(2)));
        let (known, for_) = before.unwrap_or((took, first));
        let for_ = for_.max(first).min(most);
        let good = Good { as_, took: known.min(took), until: now + for_, for_ };
        *self = Self { good: Some(good), ..Self::default() };
    }

    /// Whether it is known to be as good as others, if it takes so long an `interval` from one block to the next.
    pub(super) fn is_good(&self, interval: Duration, now: Instant) -> bool {
        self.good.is_some_and(|good| now < good.until && !is_far(interval, good.took))
    }

    /// As good as which source it was found last, if that is remembered.
    pub(super) fn acquitted_by(&self) -> Option<Source> {
        self.good.map(|good| good.as_)
    }

    /// Nobody was there to compare it with.
    pub(super) fn forget_acquittal(&mut self) {
        self.good = None;
    }

    /// It sent a block.
    pub(super) fn sent(&mut self) {
        if let Some(slow) = &mut self.slow {
            slow.came.1 += 1;
        }
    }

    /// Whether it is slow no more: what it sends comes at a decent pace, where another source takes so long an `interval`
    /// from one block to the next.
    pub(super) fn has_caught_up(&mut self, interval: Duration, now: Instant) -> bool {
        let Some(slow) = &mut self.slow else { return false };
        let (since, came) = slow.came;
        if came < BLOCKS {
            return false;
        }
        slow.came = (now, 0);
        let others = slow.took.max(interval);
        now - since <= others.saturating_mul(NEAR).saturating_mul(came.into())
    }
}

/// Whether a feeder that takes so long an `interval` from one block to the next is far slower than a source that `took`
/// so long for one.
pub(super) fn is_far(interval: Duration, took: Duration) -> bool {
    interval > took.saturating_mul(FAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(20);

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    /// Slow from `now` on.
    fn slow(now: Instant) -> Standing {
        let mut standing = Standing::default();
        while !standing.lost_comparison(TOOK, &Limits::default(), now) {}
        standing
    }

    #[test]
    fn one_comparison_decides_nothing_and_an_excuse_starts_anew() {
        let (mut standing, limits) = (Standing::default(), Limits::default());
        for _ in 0..5 {
            for _ in 1..COMPARISONS {
                assert!(!standing.lost_comparison(TOOK, &limits, at(0)));
            }
            standing.excuse();
        }
        assert_eq!(standing.slow_until(at(0)), None);
        assert_eq!(slow(at(0)).slow_until(at(0)), Some(at(0) + limits.slow_min));
    }

    #[test]
    fn one_that_was_slow_to_the_end_is_slow_again_at_once_and_for_longer() {
        let limits = Limits::default();
        let mut standing = slow(at(0));
        let mut until = at(0) + limits.slow_min;
        for doublings in 1..10 {
            assert_eq!(standing.slow_until(until), None);
            standing.excuse();
            let now = until;
            assert!(standing.lost_comparison(TOOK, &limits, now));
            until = now + limits.slow_min.saturating_mul(1 << doublings).min(limits.slow_max);
            assert_eq!(standing.slow_until(now), Some(until));
        }
    }

    #[test]
    fn races_make_a_peer_slow_that_keeps_losing_them() {
        let (mut standing, limits) = (Standing::default(), Limits::default());
        for _ in 0..10 {
            for _ in 1..RACES {
                assert!(!standing.lost_race(&limits, at(0)));
            }
            standing.delivered();
        }
        for nth in 1..=RACES {
            assert_eq!(standing.lost_race(&limits, at(0)), nth == RACES);
        }
        assert!(!standing.lost_race(&limits, at(1)), "once");
    }

    #[test]
    fn a_decent_pace_is_enough_to_be_forgiven() {
        for (interval, forgiven) in [(TOOK.saturating_mul(3), true), (TOOK.saturating_mul(4), false)] {
            let (mut standing, mut now) = (slow(at(0)), at(0));
            for nth in 1..=BLOCKS {
                now += interval;
                standing.sent();
                let caught_up = standing.has_caught_up(TOOK, now);
                assert_eq!(caught_up, forgiven && nth == BLOCKS, "{nth} of {interval:?}");
            }
        }
    }

    #[test]
    fn one_that_is_good_is_left_in_peace_for_longer_and_longer_unless_it_gets_far_slower() {
        let mut standing = Standing::default();
        let (second, most) = (Duration::from_secs(1), Duration::from_secs(6));
        for good_for in [1, 2, 4, 6, 6] {
            standing.acquit((Source::Origin, TOOK), (second, most), at(0));
            let end = good_for * 1_000;
            assert!(standing.is_good(TOOK.saturating_mul(FAR), at(end - 1)), "{good_for}");
            assert!(!standing.is_good(TOOK.saturating_mul(FAR + 1), at(1)));
            assert!(!standing.is_good(TOOK, at(end)));
        }
    }
}
