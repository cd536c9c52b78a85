//! Full-duplex links as two FIFO queues: the model that predicted real trees within 0.5% (`docs/design.md`).

use ft_core::{Duration, Instant};

/// One direction of a host's link: blocks pass one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane {
    nanos_per_byte: f64,
    free: Instant,
}

impl Lane {
    /// A lane of `rate` bytes per second; infinitely fast if that is 0.
    pub(crate) fn new(rate: u64) -> Self {
        let nanos_per_byte = if rate == 0 { 0.0 } else { 1e9 / rate as f64 };
        Self { nanos_per_byte, free: Instant::ZERO }
    }

    fn span(&self, bytes: u32) -> Duration {
        let nanos = f64::from(bytes) * self.nanos_per_byte;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a span of seconds, never negative"
        )]
        Duration::from_nanos(nanos.round() as u64)
    }
}

/// Sends `bytes` from one lane into another; gives when the sender is done and when the receiver has them all.
/// The receiver takes them in while they are sent, unless it is busy with others'.
pub(crate) fn transfer(now: Instant, up: &mut Lane, down: &mut Lane, bytes: u32) -> (Instant, Instant) {
    let sent = up.free.max(now) + up.span(bytes);
    up.free = sent;
    let received = sent.max(down.free + down.span(bytes));
    down.free = received;
    (sent, received)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_senders_share_a_receiver() {
        let mut down = Lane::new(1_000_000_000);
        let (mut one, mut two) = (Lane::new(1_000_000_000), Lane::new(1_000_000_000));
        let at = |transfer: (Instant, Instant)| (transfer.0.as_nanos(), transfer.1.as_nanos());
        assert_eq!(at(transfer(Instant::ZERO, &mut one, &mut down, 100)), (100, 100));
        assert_eq!(at(transfer(Instant::ZERO, &mut two, &mut down, 100)), (100, 200));
    }
}
