//! How much may be on its way to a peer.
//!
//! Nothing in a data centre's path stops cubic before a queue is full, and then everything waits behind that
//! queue: a demanded block, and the other child's packets. So no more is let out than twice what the path itself
//! holds (its rate times its shortest round trip), and a few milliseconds' worth. The rest would only lie in a
//! queue.

use std::time::{Duration, Instant};

/// What may be out beside that, at the path's rate: on short paths, which hold next to nothing, this bridges late
/// acknowledgements and the pauses of processes that share few cores.
const BRIDGED: Duration = Duration::from_millis(5);
/// A delivery rate is measured over at least so long: acknowledgements come in bunches.
const ROUND: Duration = Duration::from_millis(25);
/// The highest of so many measured rates counts, so that a pause of the sender does not close the window.
const ROUNDS: usize = 8;

/// How many bytes may be out, by what was delivered so far.
#[derive(Clone, Debug)]
pub(super) struct InFlight {
    /// What may always be out, in bytes.
    floor: u64,
    /// When the current round began, and what was delivered since.
    round: Option<Instant>,
    delivered: u64,
    /// The last rounds' rates in bytes per second.
    rates: [u64; ROUNDS],
    next: usize,
    bytes: u64,
}

impl InFlight {
    /// `floor`: what may always be out, in bytes.
    pub(super) fn new(floor: u64) -> Self {
        Self { floor, round: None, delivered: 0, rates: [0; ROUNDS], next: 0, bytes: floor }
    }

    /// How many bytes may be out.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// `bytes` were delivered on a path whose usual and shortest round trips are these.
    pub(super) fn delivered(&mut self, now: Instant, bytes: u64, usual: Duration, shortest: Duration) {
        let start = *self.round.get_or_insert(now);
        let elapsed = now.saturating_duration_since(start);
        if elapsed >= ROUND.max(usual) {
            self.rates[self.next] = per_second(self.delivered, elapsed);
            self.next = (self.next + 1) % ROUNDS;
            let rate = self.rates.into_iter().max().unwrap_or(0);
            self.bytes = within(rate, shortest.saturating_mul(2).saturating_add(BRIDGED)).max(self.floor);
            (self.round, self.delivered) = (Some(now), 0);
        }
        self.delivered = self.delivered.saturating_add(bytes);
    }
}

fn per_second(bytes: u64, elapsed: Duration) -> u64 {
    let rate = u128::from(bytes) * 1_000_000_000 / elapsed.as_nanos().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

fn within(rate: u64, time: Duration) -> u64 {
    let bytes = u128::from(rate).saturating_mul(time.as_nanos()) / 1_000_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: u64 = 128 << 10;

    /// Delivers at `rate` for a while, or as fast as the limit lets it, in bunches of a millisecond.
    fn deliver(limit: &mut InFlight, start: Instant, rate: u64, trip: Duration) -> Instant {
        let mut now = start;
        for _ in 0..2_000 {
            now += Duration::from_millis(1);
            let fastest = per_second(limit.bytes, trip);
            limit.delivered(now, rate.min(fastest) / 1_000, trip, trip);
        }
        now
    }

    #[test]
    fn a_short_path_lets_out_some_milliseconds_worth() {
        let trip = Duration::from_micros(200);
        let mut limit = InFlight::new(FLOOR);
        let now = deliver(&mut limit, Instant::now(), 12_500_000, trip);
        assert_eq!(limit.bytes, FLOOR, "100 Mbit/s");
        deliver(&mut limit, now, 125_000_000, trip);
        assert!((600_000..750_000).contains(&limit.bytes), "1 Gbit/s: {limit:?}");
    }

    #[test]
    fn a_long_path_is_filled() {
        // 1 Gbit/s over 50 ms holds 6.25 MB, 48 times the floor.
        let mut limit = InFlight::new(FLOOR);
        deliver(&mut limit, Instant::now(), 125_000_000, Duration::from_millis(50));
        assert!((11_500_000..14_500_000).contains(&limit.bytes), "{limit:?}");
    }

    #[test]
    fn a_path_that_becomes_slower_gets_less_after_some_rounds() {
        let mut limit = InFlight::new(FLOOR);
        let trip = Duration::from_millis(50);
        let now = deliver(&mut limit, Instant::now(), 125_000_000, trip);
        deliver(&mut limit, now, 12_500_000, trip);
        assert!((1_200_000..1_500_000).contains(&limit.bytes), "{limit:?}");
    }

    #[test]
    fn a_pause_of_the_sender_does_not_close_the_window() {
        let mut limit = InFlight::new(FLOOR);
        let trip = Duration::from_millis(50);
        let now = deliver(&mut limit, Instant::now(), 125_000_000, trip);
        limit.delivered(now + Duration::from_secs(10), 1_000, trip, trip);
        assert!(limit.bytes > 11_000_000, "{limit:?}");
    }

    #[test]
    fn nothing_overflows() {
        let mut limit = InFlight::new(FLOOR);
        let now = Instant::now();
        limit.delivered(now, u64::MAX / 2, Duration::ZERO, Duration::MAX);
        limit.delivered(now + ROUND, 1, Duration::ZERO, Duration::MAX);
        assert_eq!(limit.bytes, u64::MAX);
    }
}
