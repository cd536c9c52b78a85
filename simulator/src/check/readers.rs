//! Every live reader is served, or told that its block is not to be had, within its deadline.

use std::collections::BTreeMap;

use ft_core::{BlockIndex, Duration, Instant, VmId};

use super::{Check, Verdict, ensure};
use crate::seen::Seen;

/// A read of a mount has an error after so long (`docs/design.md`, mounts): by then its reader must have been
/// told anyway.
const DEADLINE: Duration = Duration::from_secs(60);

/// Keeps since when readers wait. They begin to wait in the order of time, so the first is the oldest.
#[derive(Default)]
pub(super) struct Readers {
    since: BTreeMap<(VmId, BlockIndex), Instant>,
    oldest: Option<Instant>,
}

impl Readers {
    fn settle(&mut self) {
        self.oldest = self.since.values().min().copied();
    }
}

impl Check for Readers {
    fn name(&self) -> &'static str {
        "readers"
    }

    fn see(&mut self, at: Instant, seen: &Seen<'_>) -> Verdict {
        match *seen {
            Seen::ReaderWaits { vm, block } => {
                self.since.entry((vm, block)).or_insert(at);
                self.oldest = self.oldest.or(Some(at));
            }
            Seen::ReaderGot { vm, block, .. } | Seen::ReaderTold { vm, block } => {
                self.since.remove(&(vm, block));
                self.settle();
            }
            Seen::Stopped { vm } => {
                self.since.retain(|(of, _), _| *of != vm);
                self.settle();
            }
            _ => {}
        }
        if self.oldest.is_none_or(|since| at - since <= DEADLINE) {
            return Ok(());
        }
        let late = self.since.iter().find(|(_, since)| at - **since > DEADLINE);
        late.map_or(Ok(()), |((vm, block), since)| {
            let since = since.as_nanos() / 1_000_000;
            ensure(false, || format!("a reader on {vm} waits for block {block} since {since} ms"))
                .map_err(|broken| broken.of(*vm, Some(*block)))
        })
    }

    fn end(&mut self, _drained: bool) -> Verdict {
        self.since.keys().next().map_or(Ok(()), |(vm, block)| {
            ensure(false, || format!("a reader on {vm} waits for block {block} for ever"))
                .map_err(|broken| broken.of(*vm, Some(*block)))
        })
    }
}
