//! What the server has done, for metrics and tests.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerCounts {
    /// Requests of all kinds.
    pub requests: u64,
    /// Objects or parts of objects that were asked for.
    pub reads: u64,
    /// Bytes of objects sent; those of other answers, headers and TLS are not counted.
    pub bytes_served: u64,
    /// Objects stored.
    pub objects_stored: u64,
    /// Requests that were not allowed.
    pub refused: u64,
}

/// Live counts.
#[derive(Debug, Default)]
pub struct ServerCounters {
    pub(super) requests: AtomicU64,
    pub(super) reads: AtomicU64,
    pub(super) bytes_served: AtomicU64,
    pub(super) objects_stored: AtomicU64,
    pub(super) refused: AtomicU64,
}

impl ServerCounters {
    /// The counts as they are now.
    pub fn get(&self) -> ServerCounts {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ServerCounts {
            requests: now(&self.requests),
            reads: now(&self.reads),
            bytes_served: now(&self.bytes_served),
            objects_stored: now(&self.objects_stored),
            refused: now(&self.refused),
        }
    }
}

/// Adds to a counter.
pub(super) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
