//! The worker's end of a sandbox container: waiting for it, carrying out orders, running commands in it.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustix::process::Signal;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::held::Held;
use super::protocol::{Command, Reports, send_message};
use crate::container::check::Inside;
use crate::container::exec::{collect, exit_code};
use crate::container::handle::{Exit, Keeper, Order, Runner};
use crate::container::{ContainerError, ExecOutput, ExecSpec, Spec};

/// How long the output of a container that has ended may still take to arrive.
const LAST_OUTPUT: Duration = Duration::from_secs(2);
/// When PID 1 has not ended by then, its parent is killed, and the kernel kills PID 1 for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// A running container.
pub(super) struct Supervised {
    pub(super) held: Held,
    pub(super) reports: Reports,
    pub(super) drained: JoinHandle<()>,
}

impl Supervised {
    /// Waits until the container has ended and its cgroup is gone. When this task is dropped, the socket is
    /// too, and that kills the container.
    pub(super) async fn keep(mut self, mut keeper: Keeper) {
        let mut may_report = true;
        let mut killed: Option<Instant> = None;
        let status = loop {
            tokio::select! {
                more = self.reports.next(), if may_report => may_report = matches!(more, Ok(true)),
                order = keeper.order(), if killed.is_none() => {
                    self.carry_out(order).await;
                    killed = (order == Order::Kill).then(Instant::now);
                }
                () = sleep_until(killed.unwrap_or_else(Instant::now) + PATIENCE), if killed.is_some() => {
                    self.held.kill();
                    killed = Some(Instant::now());
                }
                status = self.held.wait() => break status,
            }
        };
        let code = self.reports.exit_code().or_else(|| status.ok().map(exit_code)).unwrap_or(255);
        let _late = tokio::time::timeout(LAST_OUTPUT, &mut self.drained).await;
        let out_of_memory = self.held.release().await;
        keeper.exit.send_replace(Some(Exit { code, out_of_memory }));
    }

    async fn carry_out(&mut self, order: Order) {
        let signal = match order {
            Order::Signal(signal) => signal,
            Order::Kill => Signal::KILL,
        };
        let byte = u8::try_from(signal.as_raw()).unwrap_or_default();
        // When nobody reads it any more, the container is about to end.
        let _ending = self.reports.socket.write_all(&[byte]).await;
    }
}

/// Runs commands in one container, each by a helper of its own.
#[derive(Debug)]
pub(super) struct HelperExec {
    id: String,
    env: Vec<String>,
    cwd: String,
    user: (u32, u32),
    inside: Inside,
    cgroup: Option<PathBuf>,
}

impl HelperExec {
    pub(super) fn new(spec: &Spec, inside: Inside, cgroup: Option<&Path>) -> Self {
        Self {
            id: spec.id.clone(),
            env: spec.env.clone(),
            cwd: spec.cwd.clone(),
            user: (spec.uid, spec.gid),
            inside,
            cgroup: cgroup.map(Path::to_owned),
        }
    }

    async fn run(&self, spec: &ExecSpec) -> Result<ExecOutput, ContainerError> {
        let failed = |error: std::io::Error| spec.failed(&self.id, error.to_string());
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let args = [vec!["exec".to_owned()], self.inside.arguments()].concat();
        let mut child = self
            .inside
            .helper
            .command(args)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Killed, it could not kill the command. It does so, and ends, when its socket does.
            .kill_on_drop(false)
            .spawn()
            .map_err(failed)?;
        if let (Some(cgroup), Some(pid)) = (&self.cgroup, child.id()) {
            std::fs::write(cgroup.join("cgroup.procs"), pid.to_string()).map_err(failed)?;
        }
        let mut reports = Reports::new(tokio::net::UnixStream::from_std(ours).map_err(failed)?);
        // Later variables win.
        let command = Command {
            args: spec.args.clone(),
            env: self.env.iter().chain(&spec.env).cloned().collect(),
            cwd: spec.cwd.clone().unwrap_or_else(|| self.cwd.clone()),
            user: (!self.inside.user_namespace).then(|| spec.user.unwrap_or(self.user)),
            stdin: u32::try_from(spec.stdin.len()).unwrap_or(u32::MAX),
        };
        send_message(&mut reports.socket, &command).await.map_err(failed)?;
        reports.socket.write_all(&spec.stdin).await.map_err(failed)?;
        reports.started().await.map_err(failed)?;
        let mut output = collect(&mut child, spec.max_output).await.map_err(failed)?;
        while let Ok(true) = reports.next().await {}
        output.code = reports.exit_code().unwrap_or(output.code);
        Ok(output)
    }
}

impl Runner for HelperExec {
    fn exec<'a>(&'a self, spec: &'a ExecSpec) -> BoxFuture<'a, Result<ExecOutput, ContainerError>> {
        // Dropping `run` at the deadline drops its socket, upon which the helper kills the command.
        Box::pin(async {
            tokio::time::timeout(spec.deadline, self.run(spec)).await.map_err(|_| spec.late(&self.id))?
        })
    }
}
