//! Congestion control: cubic, with a limit on what it lets out.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use quinn::congestion::{Controller, ControllerFactory, Cubic, CubicConfig};
use quinn_proto::RttEstimator;

use crate::transport::in_flight::InFlight;

/// What may always be out, in bytes: enough to begin with, and little for a demanded block to wait for.
const FLOOR: u64 = 128 << 10;

/// Makes [`LimitedCubic`]s.
#[derive(Debug, Default)]
pub(super) struct LimitedCubicConfig(Arc<CubicConfig>);

impl ControllerFactory for LimitedCubicConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let cubic = Cubic::new(Arc::clone(&self.0), now, current_mtu);
        Box::new(LimitedCubic { cubic, limit: InFlight::new(FLOOR) })
    }
}

/// Cubic that lets out no more than a [`InFlight`] allows.
#[derive(Clone, Debug)]
struct LimitedCubic {
    cubic: Cubic,
    limit: InFlight,
}

impl Controller for LimitedCubic {
    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.limit.delivered(now, bytes, rtt.get(), rtt.min());
        // A window that the limit does not let it use says nothing about the path.
        if self.cubic.window() < self.limit.bytes() {
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
        self.cubic.window().min(self.limit.bytes())
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
