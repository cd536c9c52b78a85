//! What has been received and sent.

use std::sync::atomic::{AtomicU64, Ordering};

use ft_core::relay::{Source, Stats};

/// Stored bytes of blocks received and sent, duplicates included, and blocks that were no good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes from the origin.
    pub origin_bytes: u64,
    /// Bytes from peers.
    pub peer_bytes_in: u64,
    /// Bytes to peers.
    pub peer_bytes_out: u64,
    /// Blocks that failed verification on arrival.
    pub corrupt_blocks: u64,
    /// Blocks asked of a second source while the first was late.
    pub hedges: u64,
    /// Requests that were not answered in time.
    pub late_requests: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    origin_bytes: AtomicU64,
    peer_bytes_in: AtomicU64,
    peer_bytes_out: AtomicU64,
    corrupt_blocks: AtomicU64,
    hedges: AtomicU64,
    late_requests: AtomicU64,
}

impl Counters {
    pub(super) fn received(&self, from: Source, bytes: usize) {
        let counter = match from {
            Source::Origin => &self.origin_bytes,
            Source::Peer(_) => &self.peer_bytes_in,
        };
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.peer_bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn corrupt(&self) {
        self.corrupt_blocks.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes over what the engine has counted.
    pub(super) fn engine(&self, stats: &Stats) {
        self.hedges.store(stats.hedges, Ordering::Relaxed);
        self.late_requests.store(stats.late, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Traffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            origin_bytes: read(&self.origin_bytes),
            peer_bytes_in: read(&self.peer_bytes_in),
            peer_bytes_out: read(&self.peer_bytes_out),
            corrupt_blocks: read(&self.corrupt_blocks),
            hedges: read(&self.hedges),
            late_requests: read(&self.late_requests),
        }
    }
}
