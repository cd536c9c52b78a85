//! What the manager hears of peers with which something is wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use ft_core::{Digest, VmId};
use ft_proto::v1;
use ft_proto::v1::report::Report as Kind;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Agent;
use crate::relay::{PeerTrouble, Trouble};

/// A child is reported as stuck at most this often for one image.
const STUCK_PAUSE: Duration = Duration::from_secs(10);

impl Agent {
    pub(super) async fn report_troubles(&self, mut troubles: mpsc::Receiver<PeerTrouble>) {
        let mut filter = Filter::default();
        while let Some(trouble) = troubles.recv().await {
            if filter.passes(&trouble, Instant::now()) {
                self.outbox.push(report(trouble));
            }
        }
    }
}

/// Lets a stuck child through only now and then: one that takes a block a minute is stuck again and again.
#[derive(Default)]
struct Filter {
    /// When each was last let through, within the pause.
    stuck: BTreeMap<(Digest, VmId), Instant>,
}

impl Filter {
    fn passes(&mut self, trouble: &PeerTrouble, now: Instant) -> bool {
        if matches!(trouble.what, Trouble::Lost(_)) {
            return true;
        }
        self.stuck.retain(|_, at| now - *at < STUCK_PAUSE);
        let key = (trouble.image, trouble.peer);
        if self.stuck.contains_key(&key) {
            return false;
        }
        self.stuck.insert(key, now);
        true
    }
}

fn report(PeerTrouble { image, peer, what }: PeerTrouble) -> Kind {
    let (image, vm) = (image.to_string(), peer.to_string());
    match what {
        Trouble::Lost(cause) => Kind::PeerLost(v1::PeerLost { image, vm, cause }),
        Trouble::Stuck => Kind::PeerStuck(v1::PeerStuck { image, vm }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stuck_child_is_reported_now_and_then_a_lost_peer_always() {
        let mut filter = Filter::default();
        let trouble = |vm, what| PeerTrouble { image: Digest::of(b"image"), peer: VmId(vm), what };
        let start = Instant::now();
        assert!(filter.passes(&trouble(1, Trouble::Stuck), start));
        assert!(!filter.passes(&trouble(1, Trouble::Stuck), start + STUCK_PAUSE / 2));
        assert!(filter.passes(&trouble(2, Trouble::Stuck), start + STUCK_PAUSE / 2));
        assert!(filter.passes(&trouble(1, Trouble::Stuck), start + STUCK_PAUSE));
        for _ in 0..2 {
            assert!(filter.passes(&trouble(1, Trouble::Lost("gone".to_owned())), start));
        }
        assert_eq!(filter.stuck.len(), 2);
        let lost = report(trouble(3, Trouble::Lost("gone".to_owned())));
        assert!(matches!(lost, Kind::PeerLost(lost) if lost.vm == "vm-3" && lost.cause == "gone"));
    }
}
