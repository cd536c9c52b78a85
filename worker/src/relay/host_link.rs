//! This VM's link, which the blocks of every image share: its limits, and how fast it sends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ft_core::VmId;
use ft_core::relay::{InHand, Pace, Rates};

use super::clock::Clock;
use super::throttle::Throttle;

/// Limits of the traffic in blocks, in bytes per second; 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkLimits {
    /// Stored bytes to peers.
    pub upload_bytes_per_s: u64,
    /// Stored bytes from peers and from the origin.
    pub download_bytes_per_s: u64,
}

/// This VM's link, which the blocks of every image share.
pub struct HostLink {
    clock: Clock,
    upload: Throttle,
    download: Throttle,
    limits: Mutex<LinkLimits>,
    pace: Mutex<Pace>,
}

impl HostLink {
    /// A link with these limits.
    pub fn new(limits: LinkLimits) -> Arc<Self> {
        let clock = Clock::start();
        Arc::new(Self {
            clock,
            upload: Throttle::new(clock, limits.upload_bytes_per_s),
            download: Throttle::new(clock, limits.download_bytes_per_s),
            limits: Mutex::new(limits),
            pace: Mutex::default(),
        })
    }

    /// Changes the limits, at once.
    pub fn set_limits(&self, limits: LinkLimits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
        self.upload.set(limits.upload_bytes_per_s);
        self.download.set(limits.download_bytes_per_s);
    }

    /// The limits in force.
    pub fn limits(&self) -> LinkLimits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How fast this VM has sent to its children lately.
    pub fn upload_rates(&self) -> Rates {
        let now = self.clock.now();
        self.pace().rates(now)
    }

    /// Whether there is a limit on what comes.
    pub(super) fn limits_download(&self) -> bool {
        self.download.is_limited()
    }

    /// Waits until so many bytes may come. Demands go before everything else.
    pub(super) async fn receive(&self, demanded: bool, bytes: usize) {
        self.download.take(demanded, bytes).await;
    }

    /// Waits until so many bytes may go to a child; the block is in hand from now until what is returned is
    /// dropped. Demands go before everything else.
    pub(super) async fn send(&self, child: VmId, demanded: bool, bytes: usize) -> Sending<'_> {
        let now = self.clock.now();
        let sending = Sending { link: self, block: self.pace().take(now, child), sent: 0 };
        self.upload.take(demanded, bytes).await;
        sending
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A block that a lane has in hand.
pub(super) struct Sending<'a> {
    link: &'a HostLink,
    block: InHand,
    sent: u64,
}

impl Sending<'_> {
    /// The transport has taken it.
    pub(super) fn sent(mut self, bytes: usize) {
        self.sent = bytes as u64;
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        let now = self.link.clock.now();
        self.link.pace().release(now, self.block, self.sent);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ft_core::relay::Rate;

    use super::*;

    /// Blocks of 512 KiB to one child after the other, each of which takes so long, with a pause before each.
    async fn send(link: &HostLink, children: u64, blocks: u64, takes: u64, pause: u64) {
        let lane = async |child| {
            for _ in 0..blocks {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                let sending = link.send(VmId(child), false, 512 << 10).await;
                tokio::time::sleep(Duration::from_millis(takes)).await;
                sending.sent(512 << 10);
            }
        };
        futures_util::future::join_all((1..=children).map(lane)).await;
    }

    fn is_about(rate: Option<Rate>, bytes_per_s: u64, children: u32) -> bool {
        rate.is_some_and(|rate| {
            rate.bytes_per_s.abs_diff(bytes_per_s) * 20 <= bytes_per_s && rate.children == children
        })
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_link_that_always_has_something_in_hand_is_saturated() {
        let link = HostLink::new(LinkLimits::default());
        assert_eq!(link.upload_rates(), Rates::default());
        send(&link, 2, 20, 20, 80).await;
        let rates = link.upload_rates();
        assert!(is_about(rates.shown, 10 << 20, 2) && rates.saturated.is_none(), "{rates:?}");
        send(&link, 2, 20, 100, 0).await;
        let rates = link.upload_rates();
        assert!(is_about(rates.saturated, 10 << 20, 2), "{rates:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_limited_link_is_saturated_at_its_limit() {
        let link = HostLink::new(LinkLimits { upload_bytes_per_s: 2 << 20, download_bytes_per_s: 0 });
        send(&link, 1, 16, 0, 0).await;
        let rates = link.upload_rates();
        assert!(is_about(rates.saturated, 2 << 20, 1), "{rates:?}");
        assert!(!link.limits_download());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_given_up_was_not_sent() {
        let link = HostLink::new(LinkLimits::default());
        for _ in 0..16 {
            let sending = link.send(VmId(2), false, 512 << 10).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop(sending);
        }
        assert_eq!(link.upload_rates(), Rates::default());
    }
}
