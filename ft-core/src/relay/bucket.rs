//! A limit on a rate.

use crate::clock::Instant;

/// Amounts are kept in billionths, so that a refill of any number of nanoseconds is exact.
const UNIT: i128 = 1_000_000_000;

/// A token bucket: lets a rate through on average, and a burst at once. In bytes or blocks per second, as its
/// owner likes.
///
/// It is full at first. Whole numbers only: whatever the steps in which time passes, the same amount comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    /// Per second; 0: no limit.
    rate: u64,
    burst: u64,
    /// What may be taken, in units of 1 / [`UNIT`]; negative after an amount above the burst.
    level: i128,
    /// Until when `level` is reckoned.
    at: Instant,
}

impl TokenBucket {
    /// A full bucket that lets `rate_per_s` through (0: no limit) and holds `burst` (0 is taken as 1).
    pub fn new(rate_per_s: u64, burst: u64) -> Self {
        let burst = burst.max(1);
        Self { rate: rate_per_s, burst, level: i128::from(burst) * UNIT, at: Instant::ZERO }
    }

    /// The rate, per second; 0: no limit.
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// Changes the rate from `now` on. What has been saved, or is owed, stays.
    pub fn set_rate(&mut self, now: Instant, rate_per_s: u64) {
        self.refill(now);
        self.rate = rate_per_s;
    }

    /// Changes the burst from `now` on (0 is taken as 1). What has been saved beyond it is lost.
    pub fn set_burst(&mut self, now: Instant, burst: u64) {
        self.refill(now);
        self.burst = burst.max(1);
        self.level = self.level.min(i128::from(self.burst) * UNIT);
    }

    /// Takes `amount`. An amount above the burst goes once the bucket is full, and leaves it in debt, so that
    /// what follows waits for it too.
    ///
    /// # Errors
    /// When it can be taken, if nobody takes anything before; nothing has been taken.
    pub fn take(&mut self, now: Instant, amount: u64) -> Result<(), Instant> {
        self.refill(now);
        if self.rate == 0 {
            return Ok(());
        }
        let needed = i128::from(amount.min(self.burst)) * UNIT;
        if self.level < needed {
            let lacking = (needed - self.level).unsigned_abs();
            let nanos = lacking.div_ceil(u128::from(self.rate));
            let at = u128::from(self.at.as_nanos()) + nanos;
            return Err(Instant::from_nanos(u64::try_from(at).unwrap_or(u64::MAX)));
        }
        self.level -= i128::from(amount) * UNIT;
        Ok(())
    }

    fn refill(&mut self, now: Instant) {
        let full = i128::from(self.burst) * UNIT;
        let passed = now.since(self.at).as_nanos();
        self.at = self.at.max(now);
        let came = u128::from(passed) * u128::from(self.rate);
        let came = i128::try_from(came).unwrap_or(i128::MAX);
        self.level = if self.rate == 0 { full } else { self.level.saturating_add(came).min(full) };
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::Duration;

    const fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let mut bucket = TokenBucket::new(1_000, 500);
        assert_eq!(bucket.take(at(0), 300), Ok(()));
        assert_eq!(bucket.take(at(0), 200), Ok(()));
        assert_eq!(bucket.take(at(0), 100), Err(at(SECOND / 10)));
        assert_eq!(bucket.take(at(SECOND / 10 - 1), 100), Err(at(SECOND / 10)));
        assert_eq!(bucket.take(at(SECOND / 10), 100), Ok(()));
        assert_eq!(bucket.take(at(60 * SECOND), 501), Ok(()), "no more than a burst is saved");
        assert_eq!(bucket.take(at(60 * SECOND), 1), Err(at(60 * SECOND + SECOND / 500)));
    }

    #[test]
    fn an_amount_above_the_burst_leaves_a_debt() {
        let mut bucket = TokenBucket::new(100, 10);
        assert_eq!(bucket.take(at(0), 1_010), Ok(()));
        assert_eq!(bucket.take(at(0), 10), Err(at(10 * SECOND + SECOND / 10)));
        assert_eq!(bucket.take(at(10 * SECOND + SECOND / 10), 10), Ok(()));
    }

    #[test]
    fn the_rate_can_change_and_be_lifted() {
        let mut bucket = TokenBucket::new(10, 10);
        assert_eq!(bucket.take(at(0), 10), Ok(()));
        bucket.set_rate(at(SECOND / 2), 1);
        assert_eq!(bucket.take(at(SECOND / 2), 10), Err(at(SECOND / 2 + 5 * SECOND)), "5 came before");
        bucket.set_rate(at(SECOND), 0);
        for _ in 0..10 {
            assert_eq!(bucket.take(at(SECOND), u64::MAX), Ok(()));
        }
        bucket.set_rate(at(SECOND), 1);
        assert_eq!(bucket.take(at(SECOND), 10), Ok(()), "nothing is owed for what went without a limit");
        assert_eq!(bucket.take(at(SECOND), 1), Err(at(2 * SECOND)));
    }

    #[test]
    fn extremes_neither_panic_nor_wait_for_ever() {
        let mut bucket = TokenBucket::new(u64::MAX, u64::MAX);
        assert_eq!(bucket.take(at(u64::MAX), u64::MAX), Ok(()));
        assert!(bucket.take(at(0), u64::MAX).is_err(), "time does not run backwards");
        let mut slow = TokenBucket::new(1, 0);
        assert_eq!(slow.take(at(0), u64::MAX), Ok(()));
        assert_eq!(slow.take(at(0), 1), Err(at(u64::MAX)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Taken as soon as it may be, in any amounts: never more than rate × time + burst, and the promised
        /// moment is exact.
        #[test]
        fn what_goes_through_is_bounded_and_promises_are_exact(
            rate in 1u64..1 << 30,
            burst in 1u64..1 << 22,
            amounts in proptest::collection::vec(1u64..1 << 22, 1..60),
        ) {
            let mut bucket = TokenBucket::new(rate, burst);
            let (mut now, mut taken) = (Instant::ZERO, 0u128);
            for amount in amounts {
                if let Err(then) = bucket.take(now, amount) {
                    prop_assert!(then > now);
                    let before = Instant::from_nanos(then.as_nanos() - 1);
                    prop_assert_eq!(bucket.clone().take(before, amount), Err(then));
                    now = then;
                    prop_assert_eq!(bucket.take(now, amount), Ok(()));
                }
                taken += u128::from(amount);
                // This one may have gone into debt.
                let most = u128::from(rate) * u128::from(now.as_nanos()) / 1_000_000_000 + u128::from(burst);
                prop_assert!(taken - u128::from(amount.saturating_sub(burst)) <= most);
            }
        }

        /// The steps in which time passes make no difference.
        #[test]
        fn refills_do_not_drift(
            rate in 1u64..1 << 40,
            steps in proptest::collection::vec(1u64..10_000, 1..100),
        ) {
            let mut stepwise = TokenBucket::new(rate, u64::MAX / 2);
            let mut at_once = stepwise.clone();
            for bucket in [&mut stepwise, &mut at_once] {
                prop_assert_eq!(bucket.take(Instant::ZERO, u64::MAX / 2), Ok(()));
            }
            let mut now = Instant::ZERO;
            let asked: Vec<_> = steps.into_iter().map(|step| {
                now += Duration::from_nanos(step);
                stepwise.take(now, u64::MAX / 2)
            }).collect();
            prop_assert!(asked.iter().all(Result::is_err));
            prop_assert_eq!(at_once.take(now, u64::MAX / 2), stepwise.take(now, u64::MAX / 2));
            prop_assert_eq!(at_once, stepwise);
        }
    }
}
