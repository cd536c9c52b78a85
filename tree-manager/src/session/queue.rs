//! What waits to be sent to one worker.

use std::collections::{BTreeSet, VecDeque};

use super::{Job, MAX_JOBS, Work};

/// First in, first out, each thing once.
#[derive(Debug, Default)]
pub(super) struct Queue {
    order: VecDeque<Work>,
    queued: BTreeSet<Work>,
    jobs: VecDeque<Job>,
}

/// The next thing to do for a worker.
#[derive(Debug)]
pub(super) enum Next {
    Work(Work),
    Job(Job),
}

impl Queue {
    pub(super) fn push(&mut self, work: Work) {
        if self.queued.insert(work.clone()) {
            self.order.push_back(work);
        }
    }

    /// Whether there was room for it.
    pub(super) fn push_job(&mut self, job: Job) -> bool {
        if self.jobs.len() >= MAX_JOBS {
            return false;
        }
        self.jobs.push_back(job);
        true
    }

    pub(super) fn pop(&mut self) -> Option<Next> {
        if let Some(work) = self.order.pop_front() {
            self.queued.remove(&work);
            return Some(Next::Work(work));
        }
        self.jobs.pop_front().map(Next::Job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ft_proto::v1::{self, command};

    use crate::ids::ContainerId;

    fn stray(number: u64) -> Work {
        Work::Stray(ContainerId { term: 1, number })
    }

    #[test]
    fn a_thing_waits_once_and_in_its_turn() {
        let mut queue = Queue::default();
        for number in [1, 2, 1] {
            queue.push(stray(number));
        }
        assert!(matches!(queue.pop(), Some(Next::Work(work)) if work == stray(1)));
        queue.push(stray(1));
        assert!(matches!(queue.pop(), Some(Next::Work(work)) if work == stray(2)));
        assert!(matches!(queue.pop(), Some(Next::Work(work)) if work == stray(1)));
        assert!(queue.pop().is_none());
    }

    #[test]
    fn jobs_are_bounded() {
        let mut queue = Queue::default();
        let job = || Job {
            command: command::Command::Exec(v1::Exec::default()),
            done: tokio::sync::oneshot::channel().0,
        };
        for _ in 0..MAX_JOBS {
            assert!(queue.push_job(job()));
        }
        assert!(!queue.push_job(job()));
        assert!(matches!(queue.pop(), Some(Next::Job(_))));
        assert!(queue.push_job(job()));
    }
}
