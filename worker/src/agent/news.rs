//! When the manager is to hear at once how fast this VM sends, not with the next heartbeat.

use std::time::Duration;

use ft_core::relay::Rates;
use tokio::time::Instant;

/// How often it is looked whether there is news.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// News is told again after so long, since the manager believes nothing that it has heard only once.
const AGAIN: Duration = Duration::from_millis(400);

/// What the manager was told, in bytes per second.
#[derive(Debug, Default)]
pub(super) struct News {
    /// What this VM's link carries at most.
    saturated: Option<u64>,
    /// What it carries at least: others are compared with that.
    shown: Option<u64>,
    again_at: Option<Instant>,
}

impl News {
    /// Whether a heartbeat with these rates cannot wait.
    pub(super) fn is_due(&self, rates: &Rates, now: Instant) -> bool {
        let shown = rates.shown.map(|rate| rate.bytes_per_s);
        self.is_new(rates) || is_less(self.shown, shown) || self.again_at.is_some_and(|at| at <= now)
    }

    /// A heartbeat told these rates.
    pub(super) fn told(&mut self, rates: &Rates, now: Instant) {
        if self.is_new(rates) {
            self.again_at = Some(now + AGAIN);
        } else if self.again_at.is_some_and(|at| at <= now) {
            self.again_at = None;
        }
        self.saturated = rates.saturated.map(|rate| rate.bytes_per_s);
        self.shown = rates.shown.map(|rate| rate.bytes_per_s);
    }

    /// The most that a link carries is new when nothing was known before, or when a quarter is gone.
    fn is_new(&self, rates: &Rates) -> bool {
        let now = rates.saturated.map(|rate| rate.bytes_per_s);
        now.is_some() && (self.saturated.is_none() || is_less(now, self.saturated))
    }
}

/// Whether one rate is less than three quarters of another; what is not known is nothing.
fn is_less(one: Option<u64>, than: Option<u64>) -> bool {
    u128::from(one.unwrap_or(0)) * 4 < u128::from(than.unwrap_or(0)) * 3
}

#[cfg(test)]
mod tests {
    use ft_core::relay::Rate;

    use super::*;

    fn rates(shown: u64, saturated: u64) -> Rates {
        let rate = |bytes_per_s| (bytes_per_s > 0).then_some(Rate { bytes_per_s, children: 2 });
        Rates { shown: rate(shown), saturated: rate(saturated) }
    }

    #[test]
    fn a_first_rate_and_one_that_has_fallen_are_told_twice_and_then_in_turn() {
        let (mut news, mut now) = (News::default(), Instant::now());
        assert!(!news.is_due(&rates(0, 0), now));
        for saturated in [100, 74] {
            let rates = rates(100, saturated);
            assert!(news.is_due(&rates, now), "{saturated}");
            news.told(&rates, now);
            // A heartbeat in its turn does not stand for the second one.
            news.told(&rates, now + AGAIN / 2);
            assert!(!news.is_due(&rates, now + AGAIN / 2));
            now += AGAIN;
            assert!(news.is_due(&rates, now));
            news.told(&rates, now);
            assert!(!news.is_due(&rates, now + 10 * AGAIN));
        }
        for saturated in [56, 1_000, 0] {
            assert!(!news.is_due(&rates(100, saturated), now), "{saturated} is no news after 74");
        }
        news.told(&rates(100, 0), now);
        assert!(news.is_due(&rates(100, 1_000), now), "known again");
    }

    #[test]
    fn what_is_shown_is_told_once_when_it_is_known_and_when_it_has_grown() {
        let (mut news, now) = (News::default(), Instant::now());
        for shown in [75, 101] {
            assert!(news.is_due(&rates(shown, 0), now), "{shown}");
            news.told(&rates(shown, 0), now);
            assert!(!news.is_due(&rates(shown, 0), now + AGAIN));
        }
        for shown in [134, 10, 0] {
            assert!(!news.is_due(&rates(shown, 0), now), "{shown} is no news after 101");
        }
    }
}
