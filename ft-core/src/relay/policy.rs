//! How much is asked of whom, and for how long it is waited.

use super::config::Limits;
use super::event::Source;
use super::place::Place;
use crate::clock::{Duration, Instant};

/// How much may be asked of a source, in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Windows {
    /// In flight, demands included.
    pub(super) all: usize,
    /// In flight for anything but a demand to be asked.
    pub(super) background: usize,
    /// In one request.
    pub(super) batch: usize,
    /// Free of `background` before more is pulled, so that requests stay large.
    pub(super) refill: usize,
}

/// How much may be asked of `source`.
pub(super) fn windows(limits: &Limits, place: &Place, source: Source) -> Windows {
    let size = |window: u32| window.max(1) as usize;
    let all = size(limits.requests_per_source);
    match source {
        Source::Peer(_) => {
            Windows { all, background: size(limits.peer_window).min(all), batch: all, refill: 1 }
        }
        Source::Origin => {
            let window = if place.is_root() { limits.origin_window } else { limits.origin_window_below };
            let background = size(window).min(all);
            let batch = size(limits.origin_batch);
            Windows { all, background, batch, refill: batch.min(background) }
        }
    }
}

/// When a demanded block is late that was asked for at `since`, if it has so long a `deadline` and its source last
/// delivered anything at `heard`.
pub(super) fn demand_late_at(since: Instant, heard: Instant, deadline: Duration) -> Instant {
    (since.max(heard) + deadline).min(since + deadline.saturating_mul(BUSY))
}

/// So many times its deadline a source may take if it keeps delivering other blocks.
const BUSY: u64 = 4;

/// When a request that nobody waits for is late: made to `source` at `since`, where a demanded block would be
/// late after `deadline`, if the source last delivered anything at `heard`. It queues behind what is waited for
/// and behind pushes, so a source that delivers anything is busy.
pub(super) fn background_late_at(
    limits: &Limits,
    source: Source,
    since: Instant,
    heard: Instant,
    deadline: Duration,
) -> Instant {
    match source {
        Source::Peer(_) => {
            let silence = deadline.saturating_mul(BUSY).max(limits.background_deadline);
            (since.max(heard) + silence).min(since + limits.deadline_max)
        }
        Source::Origin => {
            let deadline = limits.origin_deadline;
            (since.max(heard) + deadline).min(since + deadline.saturating_mul(BUSY))
        }
    }
}

/// When a request to `source` is given up though there is nobody else to turn to.
pub(super) fn hopeless_after(limits: &Limits, source: Source) -> Duration {
    match source {
        Source::Peer(_) => limits.deadline_max,
        Source::Origin => limits.origin_deadline,
    }
}

/// How long to pause before the next attempt, after `failures` in a row.
pub(super) fn pause(limits: &Limits, failures: u32) -> Duration {
    let factor = 1u64.checked_shl(failures).unwrap_or(u64::MAX);
    limits.retry_min.saturating_mul(factor).min(limits.retry_max)
}
