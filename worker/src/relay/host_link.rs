//! This VM's link, which the blocks of every image share: its limits, and how fast it sends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ft_core::VmId;
use ft_core::relay::Pace;

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
    sending: Mutex<Sending>,
}

#[derive(Default)]
struct Sending {
    pace: Pace,
    /// Blocks in the lanes' hands, by child.
    in_hand: BTreeMap<VmId, usize>,
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
            sending: Mutex::default(),
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

    /// Bytes per second sent lately while there was something to send; `None` if that is not known.
    pub fn upload_pace(&self) -> Option<u64> {
        let now = self.clock.now();
        self.lock().pace.rate(now)
    }

    /// Whether there is a limit on what comes.
    pub(super) fn limits_download(&self) -> bool {
        self.download.is_limited()
    }

    /// Waits until so many bytes may come. Demands go before everything else.
    pub(super) async fn receive(&self, demanded: bool, bytes: usize) {
        self.download.take(demanded, bytes).await;
    }

    /// Waits until so many bytes may go to a child; the link counts as busy from now until the block is out of
    /// hand. Demands go before everything else.
    pub(super) async fn send(&self, child: VmId, demanded: bool, bytes: usize) -> InHand<'_> {
        let in_hand = InHand::new(self, child);
        self.upload.take(demanded, bytes).await;
        in_hand
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Sending> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A block that a lane has in hand.
pub(super) struct InHand<'a> {
    link: &'a HostLink,
    child: VmId,
}

impl<'a> InHand<'a> {
    fn new(link: &'a HostLink, child: VmId) -> Self {
        let now = link.clock.now();
        let mut sending = link.lock();
        *sending.in_hand.entry(child).or_default() += 1;
        let children = sending.in_hand.len();
        sending.pace.busy(now, children);
        Self { link, child }
    }

    /// The transport has taken it.
    pub(super) fn sent(self, bytes: usize) {
        let now = self.link.clock.now();
        self.link.lock().pace.sent(now, bytes as u64);
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        let now = self.link.clock.now();
        let mut sending = self.link.lock();
        if let Some(count) = sending.in_hand.get_mut(&self.child) {
            *count -= 1;
            if *count == 0 {
                sending.in_hand.remove(&self.child);
            }
        }
        let children = sending.in_hand.len();
        sending.pace.busy(now, children);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_pace_is_that_of_the_time_in_which_something_was_in_hand() {
        let link = HostLink::new(LinkLimits::default());
        assert_eq!(link.upload_pace(), None);
        for _ in 0..8 {
            let in_hand = link.send(VmId(2), false, 512 << 10).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            in_hand.sent(512 << 10);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let pace = link.upload_pace().unwrap();
        assert!((5 << 20..=11 << 19).contains(&pace), "{pace} bytes/s, 5 MiB/s expected");
    }

    #[tokio::test(start_paused = true)]
    async fn a_limited_link_is_as_slow_as_its_limit() {
        let link = HostLink::new(LinkLimits { upload_bytes_per_s: 1 << 20, download_bytes_per_s: 0 });
        for _ in 0..16 {
            link.send(VmId(2), false, 512 << 10).await.sent(512 << 10);
        }
        let pace = link.upload_pace().unwrap();
        assert!((1 << 20..3 << 19).contains(&pace), "{pace} bytes/s, about 1 MiB/s expected");
        assert!(!link.limits_download());
    }
}
