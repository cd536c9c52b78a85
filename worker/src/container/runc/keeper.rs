//! The worker's end of a runc container: waiting for it, carrying out orders, running commands in it.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustix::process::{Pid, Signal};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::held::Held;
use super::{Bundle, Program, complaint_in};
use crate::container::exec::{collect, exit_code, input};
use crate::container::handle::{Exit, Keeper, Order, Runner};
use crate::container::{ContainerError, ExecOutput, ExecSpec, Spec};

/// How long the output of a container that has ended may still take to arrive.
const LAST_OUTPUT: Duration = Duration::from_secs(2);
/// When runc has not noticed by then that its container was killed, it is killed as well.
const PATIENCE: Duration = Duration::from_secs(5);
/// The exit code of a process that SIGKILL ended.
const KILLED: i32 = 128 + Signal::KILL.as_raw();

/// A running container. Dropped from the top: first its processes go, then its files.
pub(super) struct Running {
    pub(super) init: Option<KillOnDrop>,
    pub(super) held: Held,
    pub(super) bundle: Bundle,
    pub(super) drained: JoinHandle<()>,
}

/// The container's first process. Its end is the end of all that runs in the container.
#[derive(Debug)]
pub(super) struct KillOnDrop(OwnedFd);

impl KillOnDrop {
    pub(super) fn new(pidfd: OwnedFd) -> Self {
        Self(pidfd)
    }

    fn kill(&self) {
        let _already_dead = rustix::process::pidfd_send_signal(&self.0, Signal::KILL);
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Running {
    /// Waits until the container has ended and nothing of it is left.
    pub(super) async fn keep(mut self, mut keeper: Keeper, memory_is_limited: bool) {
        let mut killed: Option<Instant> = None;
        let status = loop {
            tokio::select! {
                order = keeper.order(), if killed.is_none() => match order {
                    Order::Signal(signal) => self.held.signal(signal),
                    Order::Kill => {
                        self.init.iter().for_each(KillOnDrop::kill);
                        killed = Some(Instant::now());
                    }
                },
                () = sleep_until(killed.unwrap_or_else(Instant::now) + PATIENCE), if killed.is_some() => {
                    self.held.signal(Signal::KILL);
                    killed = Some(Instant::now());
                }
                status = self.held.wait() => break status,
            }
        };
        let code = status.map_or(255, exit_code);
        let _late = tokio::time::timeout(LAST_OUTPUT, &mut self.drained).await;
        drop(self.init);
        self.held.release().await;
        drop(self.bundle);
        // runc takes the cgroup away, and with it the kernel's count; but nobody else here sends SIGKILL.
        let out_of_memory = memory_is_limited && killed.is_none() && code == KILLED;
        keeper.exit.send_replace(Some(Exit { code, out_of_memory }));
    }
}

/// Runs commands in one container.
#[derive(Debug)]
pub(super) struct RuncExec {
    program: Program,
    id: String,
    cwd: String,
    user: (u32, u32),
    bundle: PathBuf,
}

impl RuncExec {
    pub(super) fn new(program: Program, spec: &Spec, bundle: PathBuf) -> Self {
        let (cwd, user) = (spec.cwd.clone(), (spec.uid, spec.gid));
        Self { program, id: spec.id.clone(), cwd, user, bundle }
    }

    async fn run(&self, spec: &ExecSpec) -> Result<ExecOutput, ContainerError> {
        let failed = |error: std::io::Error| spec.failed(&self.id, error.to_string());
        let files = tempfile::tempdir_in(&self.bundle).map_err(failed)?;
        let (log, pid_file) = (files.path().join("log"), files.path().join("pid"));
        let mut command = self.program.command(&log, "exec");
        let (uid, gid) = spec.user.unwrap_or(self.user);
        command.arg("--user").arg(format!("{uid}:{gid}"));
        command.arg("--cwd").arg(spec.cwd.as_ref().unwrap_or(&self.cwd));
        command.arg("--pid-file").arg(&pid_file);
        for variable in &spec.env {
            command.arg("--env").arg(variable);
        }
        command.arg(&self.id).args(&spec.args);
        command.stdin(input(&spec.stdin).map_err(failed)?).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let finished = tokio::time::timeout(spec.deadline, collect(&mut child, spec.max_output)).await;
        let Ok(output) = finished else {
            kill_command(&pid_file);
            return Err(spec.late(&self.id));
        };
        let output = output.map_err(failed)?;
        match complaint_in(&log) {
            Some(complaint) if output.code != 0 => Err(spec.failed(&self.id, complaint)),
            _ => Ok(output),
        }
    }
}

/// Kills the command itself; killing `runc exec` would leave it running. The number is still the command's:
/// `runc exec` waits for it and has not ended.
fn kill_command(pid_file: &std::path::Path) {
    let number = fs::read_to_string(pid_file).ok();
    if let Some(pid) = number.and_then(|number| number.parse().ok()).and_then(Pid::from_raw) {
        let _already_dead = rustix::process::kill_process(pid, Signal::KILL);
    }
}

impl Runner for RuncExec {
    fn exec<'a>(&'a self, spec: &'a ExecSpec) -> BoxFuture<'a, Result<ExecOutput, ContainerError>> {
        Box::pin(self.run(spec))
    }
}
