//! What waits to be sent to one worker.

use std::collections::{BTreeSet, VecDeque};

use super::{ExecJob, MAX_EXECS, Work};

/// First in, first out, each thing once.
#[derive(Debug, Default)]
pub(super) struct Queue {
    order: VecDeque<Work>,
    queued: BTreeSet<Work>,
    execs: VecDeque<ExecJob>,
}

/// The next thing to do for a worker.
#[derive(Debug)]
pub(super) enum Next {
    Work(Work),
    Exec(ExecJob),
}

impl Queue {
    pub(super) fn push(&mut self, work: Work) {
        if self.queued.insert(work.clone()) {
            self.order.push_back(work);
        }
    }

    /// Gives the job back if too many wait.
    pub(super) fn push_exec(&mut self, job: ExecJob) -> Result<(), ExecJob> {
        if self.execs.len() >= MAX_EXECS {
            return Err(job);
        }
        self.execs.push_back(job);
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Option<Next> {
        if let Some(work) = self.order.pop_front() {
            self.queued.remove(&work);
            return Some(Next::Work(work));
        }
        self.execs.pop_front().map(Next::Exec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn execs_are_bounded() {
        let mut queue = Queue::default();
        let job = || ExecJob { exec: ft_proto::v1::Exec::default(), done: tokio::sync::oneshot::channel().0 };
        for _ in 0..MAX_EXECS {
            queue.push_exec(job()).unwrap();
        }
        assert!(queue.push_exec(job()).is_err());
        assert!(matches!(queue.pop(), Some(Next::Exec(_))));
        queue.push_exec(job()).unwrap();
    }
}
