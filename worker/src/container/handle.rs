//! A running container, whichever runtime runs it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use rustix::process::Signal;
use tokio::sync::{mpsc, watch};

use super::check::Inside;
use super::exec::{ExecOutput, ExecSpec};
use super::output::OutputFile;
use super::{Check, ContainerError, NotReady, ready};

/// SIGKILL works at once, unless a process waits in the kernel for something that does not come.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// How a container's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code; 128 + n when signal n killed it, as shells count.
    pub code: i32,
    /// Whether it was killed because the container used more memory than it may.
    pub out_of_memory: bool,
}

impl Exit {
    /// Whoever watched over the process is gone.
    const LOST: Self = Self { code: 255, out_of_memory: false };
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}", self.code)?;
        if self.code > 128 && self.code < 128 + 65 {
            write!(f, " (signal {})", self.code - 128)?;
        }
        if self.out_of_memory { f.write_str(", out of memory") } else { Ok(()) }
    }
}

/// A started container. Dropping it kills it.
#[derive(Debug)]
pub struct Container {
    id: String,
    started_at: Instant,
    output: OutputFile,
    inside: Inside,
    runner: Arc<dyn Runner>,
    orders: mpsc::UnboundedSender<Order>,
    exit: watch::Receiver<Option<Exit>>,
}

/// What a container's keeper is told. When nobody can tell it anything any more, it kills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Send a signal to the container's first process.
    Signal(Signal),
    /// Kill everything in the container.
    Kill,
}

/// Runs commands inside one container.
pub(super) trait Runner: fmt::Debug + Send + Sync {
    fn exec<'a>(&'a self, spec: &'a ExecSpec) -> BoxFuture<'a, Result<ExecOutput, ContainerError>>;
}

/// The keeper's end of a container: the task that waits for it and carries out orders.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    pub(super) exit: watch::Sender<Option<Exit>>,
}

impl Keeper {
    /// The next order.
    pub(super) async fn order(&mut self) -> Order {
        self.orders.recv().await.unwrap_or(Order::Kill)
    }
}

impl Container {
    /// A container that has just started, and the keeper's end of it.
    pub(super) fn new(
        id: String,
        output: OutputFile,
        inside: Inside,
        runner: Arc<dyn Runner>,
    ) -> (Self, Keeper) {
        let (orders, received) = mpsc::unbounded_channel();
        let (ended, exit) = watch::channel(None);
        let container = Self { id, started_at: Instant::now(), output, inside, runner, orders, exit };
        (container, Keeper { orders: received, exit: ended })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When its process started.
    pub fn started_at(&self) -> Instant {
        self.started_at
    }

    /// The process number of its PID 1, as the host sees it.
    pub fn init_pid(&self) -> u32 {
        self.inside.pid
    }

    /// How it ended, if it has.
    pub fn exited(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Waits until it has ended and everything of it is gone.
    pub async fn wait(&self) -> Exit {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await;
        ended.ok().and_then(|exit| *exit).unwrap_or(Exit::LOST)
    }

    /// Ends it: SIGTERM to its process, after `grace` SIGKILL to all of it. Returns how it ended, also when it
    /// had ended before.
    ///
    /// # Errors
    /// When even SIGKILL does not end it within 10 s.
    pub async fn stop(&self, grace: Duration) -> Result<Exit, ContainerError> {
        self.order(Order::Signal(Signal::TERM));
        if let Ok(exit) = tokio::time::timeout(grace, self.wait()).await {
            return Ok(exit);
        }
        self.order(Order::Kill);
        tokio::time::timeout(KILL_DEADLINE, self.wait()).await.map_err(|_| ContainerError::Deadline {
            id: self.id.clone(),
            what: "dying of SIGKILL",
            after: KILL_DEADLINE,
        })
    }

    /// Runs a command inside and waits for it.
    ///
    /// # Errors
    /// When it cannot be started, the container has ended, or the deadline passes; the command is killed then.
    /// A command that ends with a code other than 0 is no error.
    pub async fn exec(&self, spec: &ExecSpec) -> Result<ExecOutput, ContainerError> {
        spec.check(&self.id)?;
        if let Some(Exit { code, .. }) = self.exited() {
            return Err(ContainerError::Ended { id: self.id.clone(), code });
        }
        self.runner.exec(spec).await
    }

    /// Waits until `check` passes; without one, until the process has exited with 0 or been alive for 1 s.
    ///
    /// # Errors
    /// When the process ends first (without a check: with another code than 0), or `deadline` passes.
    pub async fn ready(&self, check: Option<&Check>, deadline: Duration) -> Result<(), NotReady> {
        ready::wait(self, check, deadline).await
    }

    /// The last `most` bytes that it wrote to stdout and stderr. Blocking, but brief.
    pub fn output_tail(&self, most: u64) -> Vec<u8> {
        self.output.tail(most)
    }

    pub(super) fn inside(&self) -> &Inside {
        &self.inside
    }

    /// A keeper that is gone has nothing left to order about.
    fn order(&self, order: Order) {
        let _gone = self.orders.send(order);
    }
}
