//! Full-duplex links as FIFO queues: the model that predicted real trees within 0.5% (`docs/design.md`).

use ft_core::{Duration, Instant};

/// What a slow link takes for a block at most, in nanoseconds, unless it takes longer when it is not slowed
/// down: a block that has begun to pass goes on as slowly even if the link recovers.
const SLOWEST: f64 = 3e9;

/// One direction of a host's link: what passes through it passes one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane {
    nanos_per_byte: f64,
    /// The link is so many times slower than it should be.
    slowed: u32,
    free: Instant,
}

impl Lane {
    /// A lane of `rate` bytes per second; infinitely fast if that is 0.
    pub(crate) fn new(rate: u64) -> Self {
        let nanos_per_byte = if rate == 0 { 0.0 } else { 1e9 / rate as f64 };
        Self { nanos_per_byte, slowed: 1, free: Instant::ZERO }
    }

    /// Makes it so many times slower than at first, for what has not yet begun to pass.
    pub(crate) fn slow_down(&mut self, factor: u32) {
        self.slowed = factor.max(1);
    }

    /// How long `bytes` take.
    pub(crate) fn span(&self, bytes: u32) -> Duration {
        let nanos = f64::from(bytes) * self.nanos_per_byte;
        let nanos = nanos.max((nanos * f64::from(self.slowed)).min(SLOWEST));
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a span of seconds, never negative"
        )]
        Duration::from_nanos(nanos.round() as u64)
    }

    /// Passes `bytes` after all that came before; returns when that is done.
    pub(crate) fn pass(&mut self, now: Instant, bytes: u32) -> Instant {
        self.free = self.free.max(now) + self.span(bytes);
        self.free
    }

    /// Takes in `bytes` whose last one arrives now, and which came as fast as the lane takes them, unless it
    /// was busy with others; returns when the last one is in.
    pub(crate) fn take_in(&mut self, now: Instant, bytes: u32) -> Instant {
        self.free = now.max(self.free + self.span(bytes));
        self.free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_senders_share_a_receiver() {
        let mut down = Lane::new(1_000_000_000);
        let (mut one, mut two) = (Lane::new(1_000_000_000), Lane::new(1_000_000_000));
        for (sender, received) in [(&mut one, 100), (&mut two, 200)] {
            let sent = sender.pass(Instant::ZERO, 100);
            assert_eq!(sent.as_nanos(), 100);
            assert_eq!(down.take_in(sent, 100).as_nanos(), received);
        }
    }

    #[test]
    fn a_slow_link_takes_so_many_times_longer() {
        let mut lane = Lane::new(1_000_000_000);
        lane.slow_down(3);
        assert_eq!(lane.pass(Instant::ZERO, 100).as_nanos(), 300);
        lane.slow_down(1);
        assert_eq!(lane.pass(Instant::ZERO, 100).as_nanos(), 400);
    }
}
