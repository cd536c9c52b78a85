//! Congestion control: cubic, with a limit on what it lets out.
//!
//! Nothing in a data centre's path stops cubic before a queue is full, and then everything waits behind that
//! queue: a demanded block, and the other child's packets. So no more is let out than twice what the path itself
//! holds (its rate times its shortest round trip), and a few milliseconds' worth. The rest would only lie in a
//! queue.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::{Controller, ControllerFactory, Cubic, CubicConfig};
use quinn_proto::RttEstimator;

/// What may always be out, in bytes: enough to begin with, and little for a demanded block to wait for.
const FLOOR: u64 = 128 << 10;
/// What may be out beside that, at the path's rate: on short paths, which hold next to nothing, this bridges late
/// acknowledgements and the pauses of processes that share few cores.
const BRIDGED: Duration = Duration::from_millis(5);
/// A delivery rate is measured over at least so long: acknowledgements come in bunches.
const ROUND: Duration = Duration::from_millis(25);
/// The highest of so many measured rates counts, so that a pause of the sender does not close the window.
const ROUNDS: usize = 8;

/// How many bytes may be out, by what was delivered so far.
#[derive(Clone, Debug)]
struct Limit {
    /// When the current round began, and what was delivered since.
    round: Option<Instant>,
    delivered: u64,
    /// The last rounds' rates in bytes per second.
    rates: [u64; ROUNDS],
    next: usize,
    bytes: u64,
}

impl Limit {
    fn new() -> Self {
        Self { round: None, delivered: 0, rates: [0; ROUNDS], next: 0, bytes: FLOOR }
    }

    /// `bytes` were delivered on a path whose usual and shortest round trips are these.
    fn delivered(&mut self, now: Instant, bytes: u64, usual: Duration, shortest: Duration) {
        let start = *self.round.get_or_insert(now);
        let elapsed = now.saturating_duration_since(start);
        if elapsed >= ROUND.max(usual) {
            self.rates[self.next] = per_second(self.delivered, elapsed);
            self.next = (self.next + 1) % ROUNDS;
            let rate = self.rates.into_iter().max().unwrap_or(0);
            self.bytes = within(rate, shortest.saturating_mul(2).saturating_add(BRIDGED)).max(FLOOR);
            (self.round, self.delivered) = (Some(now), 0);
        }
        self.delivered += bytes;
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

/// Makes [`LimitedCubic`]s.
#[derive(Debug, Default)]
pub(super) struct LimitedCubicConfig(Arc<CubicConfig>);

impl ControllerFactory for LimitedCubicConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let cubic = Cubic::new(Arc::clone(&self.0), now, current_mtu);
        Box::new(LimitedCubic { cubic, limit: Limit::new() })
    }
}

/// Cubic that lets out no more than a [`Limit`] allows.
#[derive(Clone, Debug)]
struct LimitedCubic {
    cubic: Cubic,
    limit: Limit,
}

impl Controller for LimitedCubic {
    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.limit.delivered(now, bytes, rtt.get(), rtt.min());
        // A window that the limit does not let it use says nothing about the path.
        if self.cubic.window() < self.limit.bytes {
            self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
        }
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent: bool, lost_bytes: u64) {
        self.cubic.on_congestion_event(now, sent, is_persistent, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.cubic.window().min(self.limit.bytes)
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Delivers at `rate` for a while, or as fast as the limit lets it, in bunches of a millisecond.
    fn deliver(limit: &mut Limit, start: Instant, rate: u64, trip: Duration) -> Instant {
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
        let mut limit = Limit::new();
        let now = deliver(&mut limit, Instant::now(), 12_500_000, trip);
        assert_eq!(limit.bytes, FLOOR, "100 Mbit/s");
        deliver(&mut limit, now, 125_000_000, trip);
        assert!((600_000..750_000).contains(&limit.bytes), "1 Gbit/s: {limit:?}");
    }

    #[test]
    fn a_long_path_is_filled() {
        // 1 Gbit/s over 50 ms holds 6.25 MB, 48 times the floor.
        let mut limit = Limit::new();
        deliver(&mut limit, Instant::now(), 125_000_000, Duration::from_millis(50));
        assert!((11_500_000..14_500_000).contains(&limit.bytes), "{limit:?}");
    }

    #[test]
    fn a_path_that_becomes_slower_gets_less_after_some_rounds() {
        let mut limit = Limit::new();
        let trip = Duration::from_millis(50);
        let now = deliver(&mut limit, Instant::now(), 125_000_000, trip);
        deliver(&mut limit, now, 12_500_000, trip);
        assert!((1_200_000..1_500_000).contains(&limit.bytes), "{limit:?}");
    }

    #[test]
    fn a_pause_of_the_sender_does_not_close_the_window() {
        let mut limit = Limit::new();
        let trip = Duration::from_millis(50);
        let now = deliver(&mut limit, Instant::now(), 125_000_000, trip);
        limit.delivered(now + Duration::from_secs(10), 1_000, trip, trip);
        assert!(limit.bytes > 11_000_000, "{limit:?}");
    }

    #[test]
    fn nothing_overflows() {
        let mut limit = Limit::new();
        let now = Instant::now();
        limit.delivered(now, u64::MAX / 2, Duration::ZERO, Duration::MAX);
        limit.delivered(now + ROUND, 1, Duration::ZERO, Duration::MAX);
        assert_eq!(limit.bytes, u64::MAX);
    }
}
