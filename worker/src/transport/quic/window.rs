//! Congestion control: cubic, with a limit on what it lets out, and on short paths without pacing.
//!
//! quinn paces: it sends what the window allows in pieces of about 2 ms, each with a timer. Where a round trip takes
//! less than a few milliseconds, those are most of a sender's wake-ups, and large batches become small ones. What
//! pacing prevents, long bursts into a queue, the limit prevents there too.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::{Controller, ControllerFactory, Cubic, CubicConfig};
use quinn_proto::RttEstimator;

use super::gathering::FULL_CALL;
use crate::transport::in_flight::InFlight;

/// What may always be out, in bytes: enough to begin with, and little for a demanded block to wait for.
const FLOOR: u64 = 80 << 10;
/// On paths whose shortest round trip is shorter, nothing is paced.
const SHORT: Duration = Duration::from_millis(5);
/// quinn does not pace beyond a window of 32 bits.
const UNPACED: u64 = 1 << 40;
/// Datagrams up to this size, in bytes, may be mere acknowledgements, which are not acknowledged themselves.
const SMALL: u64 = 300;

/// Makes [`LimitedCubic`]s.
#[derive(Debug, Default)]
pub(super) struct LimitedCubicConfig(Arc<CubicConfig>);

impl ControllerFactory for LimitedCubicConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let cubic = Cubic::new(Arc::clone(&self.0), now, current_mtu);
        Box::new(LimitedCubic {
            cubic,
            limit: InFlight::new(FLOOR),
            out: 0,
            mtu: current_mtu,
            shortest: Duration::MAX,
        })
    }
}

/// Cubic that lets out no more than a [`InFlight`] allows.
#[derive(Clone, Debug)]
struct LimitedCubic {
    cubic: Cubic,
    limit: InFlight,
    /// What is on its way, in bytes. quinn says so exactly with every acknowledgement; between them it is counted.
    out: u64,
    mtu: u16,
    /// The path's shortest round trip.
    shortest: Duration,
}

impl LimitedCubic {
    /// How many bytes may be out.
    fn allowed(&self) -> u64 {
        self.cubic.window().min(self.limit.bytes())
    }

    /// Whether to let out the next call's datagrams at once: at most [`FULL_CALL`] more than is allowed, so not
    /// where that is much.
    fn is_unpaced(&self) -> bool {
        let call = FULL_CALL as u64 * u64::from(self.mtu);
        self.shortest < SHORT && self.allowed() >= 2 * call && self.out < self.allowed()
    }
}

impl Controller for LimitedCubic {
    fn on_sent(&mut self, _now: Instant, bytes: u64, _last_packet: u64) {
        if bytes > SMALL {
            self.out = self.out.saturating_add(bytes);
        }
    }

    fn on_end_acks(&mut self, _now: Instant, in_flight: u64, _app_limited: bool, _largest: Option<u64>) {
        self.out = in_flight;
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.shortest = rtt.min();
        self.limit.delivered(now, bytes, rtt.get(), rtt.min());
        // A window that the limit does not let it use says nothing about the path.
        if self.cubic.window() < self.limit.bytes() {
            self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
        }
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent: bool, lost_bytes: u64) {
        self.out = self.out.saturating_sub(lost_bytes);
        self.cubic.on_congestion_event(now, sent, is_persistent, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu;
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        if self.is_unpaced() { UNPACED } else { self.allowed() }
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

    const MTU: u16 = 1_472;
    const CALL: u64 = FULL_CALL as u64 * MTU as u64;

    /// A controller on a path with this shortest round trip, whose cubic is no limit.
    fn on_path(shortest: Duration) -> LimitedCubic {
        let mut config = CubicConfig::default();
        config.initial_window(1 << 30);
        let cubic = Cubic::new(Arc::new(config), Instant::now(), MTU);
        LimitedCubic { cubic, limit: InFlight::new(FLOOR), out: 0, mtu: MTU, shortest }
    }

    /// Sends full calls for as long as the window lets it; how much.
    fn send(controller: &mut LimitedCubic) -> u64 {
        let mut sent = 0;
        while controller.out < controller.window() {
            controller.on_sent(Instant::now(), CALL, 0);
            sent += CALL;
        }
        sent
    }

    #[test]
    fn a_short_path_is_not_paced_and_takes_one_call_too_many_at_most() {
        let mut controller = on_path(Duration::from_micros(200));
        assert_eq!(controller.window(), UNPACED);
        let sent = send(&mut controller);
        assert!((FLOOR..FLOOR + CALL).contains(&sent), "{sent}");
        assert_eq!(controller.window(), FLOOR, "nothing more, until something is acknowledged");
        controller.on_end_acks(Instant::now(), sent - CALL, false, None);
        assert_eq!(send(&mut controller), CALL);
    }

    #[test]
    fn a_long_path_is_paced() {
        assert_eq!(on_path(Duration::from_millis(20)).window(), FLOOR);
        assert_eq!(on_path(Duration::MAX).window(), FLOOR, "a path of which nothing is known");
    }

    #[test]
    fn a_window_that_losses_have_closed_is_kept_to_the_byte() {
        let mut controller = on_path(Duration::from_micros(200));
        let now = Instant::now();
        for second in 1..40 {
            let at = now + Duration::from_secs(second);
            controller.on_congestion_event(at, at, false, 0);
        }
        assert!(controller.window() < CALL, "{}", controller.window());
        assert_eq!(controller.window(), controller.cubic.window());
    }

    #[test]
    fn acknowledgements_do_not_close_the_window() {
        let mut controller = on_path(Duration::from_micros(200));
        for _ in 0..1_000_000 {
            controller.on_sent(Instant::now(), 40, 0);
        }
        assert_eq!(controller.window(), UNPACED);
    }

    #[test]
    fn what_is_lost_is_no_longer_out() {
        let mut controller = on_path(Duration::from_micros(200));
        let sent = send(&mut controller);
        let now = Instant::now();
        controller.on_congestion_event(now, now, false, sent);
        assert_eq!(controller.out, 0);
    }
}
