//! What time it is, for deadlines and for people.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One reading of both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// For spans and deadlines.
    pub(crate) instant: Instant,
    /// For people: microseconds since 1970.
    pub(crate) unix_us: i64,
}

impl Now {
    pub(crate) fn read() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { instant: Instant::now(), unix_us: micros(unix) }
    }

    /// Whole seconds since 1970.
    pub(crate) fn unix_seconds(self) -> u64 {
        u64::try_from(self.unix_us / 1_000_000).unwrap_or(0)
    }
}

/// A span in microseconds; saturates after 292,000 years.
pub(crate) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}
