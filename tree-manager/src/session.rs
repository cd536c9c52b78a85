//! A worker's session: reports come up, commands go down.
//!
//! What is queued for a worker are not commands but things to look at ([`Work`]), each at most once; the
//! command is worked out when it can be sent. So the queue is bounded by what the VM has, and a worker that
//! was slow hears only the latest. One that takes nothing for the
//! `command_timeout` is disconnected.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ft_core::{Digest, VmId};
use ft_proto::v1::{self, command};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::ids::{ContainerId, TreeKey};
use crate::refusal::Refusal;

mod queue;
mod receive;
mod run;
mod send;

use queue::Queue;
pub(crate) use run::run;

/// The first report must come within this time.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(5);
/// Commands that have been worked out and not yet sent: few, so that they say the latest.
const IN_FLIGHT: usize = 8;
/// A worker that leaves more commands unanswered is disconnected.
const MAX_UNANSWERED: usize = 65_536;
/// The most commands that somebody asked for and that may wait for one worker.
const MAX_JOBS: usize = 64;

/// How soon a worker is asked again to leave an image that it could not leave.
const LEAVE_AGAIN: Duration = Duration::from_millis(500);

/// Something about which a worker may have to be told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    /// The edges of this tree.
    Image(TreeKey),
    /// The start or stop of this container.
    Container(TreeKey, ContainerId),
    /// The worker runs a container that nobody wants.
    Stray(ContainerId),
    /// The worker follows an image that nothing on its VM needs.
    StrayImage(Digest),
}

/// A command that somebody asked for, and waits for the result of.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) command: command::Command,
    pub(crate) done: oneshot::Sender<v1::CommandResult>,
}

/// What an unanswered command was about.
#[derive(Debug)]
enum Unanswered {
    Follow(TreeKey),
    Start(ContainerId),
    Stop(ContainerId),
    Job(oneshot::Sender<v1::CommandResult>),
    Leave(Digest),
}

/// One connection of a worker.
#[derive(Debug)]
pub(crate) struct Session {
    vm: VmId,
    queue: Mutex<Queue>,
    wake: Notify,
    unanswered: Mutex<BTreeMap<u64, Unanswered>>,
    ended: CancellationToken,
}

impl Session {
    fn new(vm: VmId, ended: CancellationToken) -> Self {
        Self { vm, queue: Mutex::default(), wake: Notify::new(), unanswered: Mutex::default(), ended }
    }

    /// Queues something to look at, unless it is queued already.
    pub(crate) fn push(&self, work: Work) {
        self.queue().push(work);
        self.wake.notify_one();
    }

    /// Queues a command that somebody asked for.
    pub(crate) fn ask(&self, job: Job) -> Result<(), Refusal> {
        let mut queue = self.queue();
        if self.ended.is_cancelled() {
            return Err(Refusal::Disconnected(self.vm));
        }
        if !queue.push_job(job) {
            return Err(Refusal::Busy(self.vm));
        }
        drop(queue);
        self.wake.notify_one();
        Ok(())
    }

    /// Queues the leaving of an image for a little later.
    fn leave_again(self: &Arc<Self>, image: Digest) {
        let session = Arc::clone(self);
        tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(LEAVE_AGAIN) => session.push(Work::StrayImage(image)),
                () = session.ended.cancelled() => {}
            }
        });
    }

    /// Ends the session; the worker may connect again.
    pub(crate) fn end(&self) {
        self.ended.cancel();
    }

    /// After the end: nobody waits for an answer any more.
    fn clear(&self) {
        *self.queue() = Queue::default();
        self.unanswered().clear();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unanswered(&self) -> MutexGuard<'_, BTreeMap<u64, Unanswered>> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Session {
    /// A session without a connection.
    pub(crate) fn detached(vm: VmId) -> Arc<Self> {
        Arc::new(Self::new(vm, CancellationToken::new()))
    }
}
