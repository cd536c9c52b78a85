//! What the manager is to be told. It keeps while the manager is away.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use ft_proto::v1;
use ft_proto::v1::report::Report as Kind;
use tokio::sync::Notify;

/// Reports that are kept; the oldest go first. On every new session, the manager hears of what runs anyway.
const KEPT: usize = 4096;

/// Reports on their way to the manager.
#[derive(Default)]
pub(crate) struct Outbox {
    queue: Mutex<VecDeque<Kind>>,
    pushed: Notify,
}

impl Outbox {
    pub(crate) fn push(&self, report: Kind) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() >= KEPT {
            queue.pop_front();
            tracing::warn!("the manager has been away for long; dropped the oldest report");
        }
        queue.push_back(report);
        drop(queue);
        self.pushed.notify_one();
    }

    /// The next report, once there is one. One caller at a time.
    pub(crate) async fn next(&self) -> Kind {
        loop {
            if let Some(report) = self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
                return report;
            }
            self.pushed.notified().await;
        }
    }

    /// Puts back a report that could not be sent.
    pub(crate) fn put_back(&self, report: Kind) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_front(report);
        self.pushed.notify_one();
    }

    /// Forgets results of commands: they are answers to a session that is over.
    pub(crate) fn forget_results(&self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.retain(|report| !matches!(report, Kind::Result(_)));
    }
}

/// Whether figures should be fresh when the manager reads this report.
pub(crate) fn is_milestone(report: &Kind) -> bool {
    let Kind::Container(report) = report else { return false };
    matches!(
        report.state(),
        v1::ContainerState::Ready | v1::ContainerState::Failed | v1::ContainerState::Stopped
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(command: u64) -> Kind {
        Kind::Result(v1::CommandResult { command, ..Default::default() })
    }

    fn lost(vm: usize) -> Kind {
        Kind::PeerLost(v1::PeerLost { vm: vm.to_string(), ..Default::default() })
    }

    #[tokio::test]
    async fn reports_keep_their_order_and_the_oldest_make_room() {
        let outbox = Outbox::default();
        (0..=KEPT).for_each(|vm| outbox.push(lost(vm)));
        assert_eq!(outbox.next().await, lost(1));
        outbox.put_back(lost(1));
        assert_eq!(outbox.next().await, lost(1));
        assert_eq!(outbox.next().await, lost(2));
    }

    #[tokio::test]
    async fn answers_do_not_outlive_their_session() {
        let outbox = Outbox::default();
        outbox.push(result(1));
        outbox.push(lost(1));
        outbox.forget_results();
        assert_eq!(outbox.next().await, lost(1));
    }
}
