//! The demo's processes: one manager with its origin, and the workers.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::args::RuntimeChoice;
use crate::client::{Client, Credential};
use crate::failure::{Failure, Kind};

/// How often a condition of another process is looked at.
const POLL: Duration = Duration::from_millis(20);
/// A daemon on this machine is up within this time or never.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// A daemon that is asked to stop has this long to clean up.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// Lines of a daemon's log that explain its failure.
const LOG_TAIL_LINES: usize = 12;

/// A manager and workers, each a process of its own, with all their state in one directory.
pub(super) struct Cluster {
    dir: PathBuf,
    manager: Option<Process>,
    workers: Vec<Process>,
}

struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Cluster {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), manager: None, workers: Vec::new() }
    }

    /// Starts the manager and connects to it.
    pub(super) async fn start_manager(&mut self) -> Result<Client, Failure> {
        let state = self.dir.join("manager");
        let mut command = ft(&["manager", "--listen", "127.0.0.1:0", "--origin-listen", "127.0.0.1:0"])?;
        command.arg("--state-dir").arg(&state);
        let manager = self.manager.insert(self_start("manager", command, &self.dir)?);
        let credential = state.join("admin.json");
        let end = Instant::now() + START_DEADLINE;
        while !credential.exists() {
            manager.check()?;
            if Instant::now() > end {
                return Err(manager.failure("did not come up in time"));
            }
            sleep(POLL).await;
        }
        Client::with(Credential::load(&credential)?).await
    }

    /// Starts `count` workers and waits until all are in the pool.
    pub(super) async fn start_workers(
        &mut self,
        client: &Client,
        count: u32,
        runtime: RuntimeChoice,
    ) -> Result<(), Failure> {
        let token = self.dir.join("manager").join("join-token");
        for nth in 1..=count {
            let name = format!("demo-{nth}");
            let mut command = ft(&["worker", "--listen", "127.0.0.1:0", "--name", &name])?;
            command.args(["--manager", &client.credential().manager]);
            command.arg("--join-token-file").arg(&token);
            command.arg("--state-dir").arg(self.dir.join(&name));
            command.args(["--runtime", runtime_name(runtime)]);
            self.workers.push(self_start(&name, command, &self.dir)?);
        }
        let end = Instant::now() + START_DEADLINE;
        loop {
            self.check()?;
            let vms = client.pool().list_vms(ft_proto::v1::ListVmsRequest {}).await?.into_inner().vms;
            if vms.len() >= self.workers.len() {
                return Ok(());
            }
            if Instant::now() > end {
                let message = format!("only {} of {count} workers joined in time", vms.len());
                return Err(Failure::message(Kind::Failed, message));
            }
            sleep(POLL).await;
        }
    }

    /// An error if a daemon has ended on its own.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        self.manager.iter_mut().chain(&mut self.workers).try_for_each(Process::check)
    }

    /// Waits until a daemon ends on its own, which none should.
    pub(super) async fn watch(&mut self) -> Failure {
        loop {
            if let Err(failure) = self.check() {
                return failure;
            }
            sleep(POLL * 10).await;
        }
    }

    /// Stops everything, workers first so that they can take leave, and removes what is left of their mounts.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        let mut killed = stop_all(&mut self.workers).await;
        killed.extend(stop_all(self.manager.as_mut_slice()).await);
        ft_worker::mount::clean_below(&self.dir).map_err(anyhow::Error::from)?;
        if killed.is_empty() {
            return Ok(());
        }
        let message = format!("{} did not stop in time and had to be killed", killed.join(", "));
        Err(Failure::message(Kind::Failed, message))
    }
}

impl Process {
    fn check(&mut self) -> Result<(), Failure> {
        match self.child.try_wait()? {
            Some(status) => Err(self.failure(&ended(status))),
            None => Ok(()),
        }
    }

    /// A failure with the end of the daemon's log.
    fn failure(&self, what: &str) -> Failure {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
        Failure::message(Kind::Failed, format!("{} {what}; it said:\n{}", self.name, tail.join("\n")))
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // One that has just ended needs no signal.
            let _ = kill_process(pid, signal);
        }
    }
}

fn ended(status: ExitStatus) -> String {
    format!("ended unexpectedly ({status})")
}

/// Asks all of them to end, kills those that do not in time, and names these.
async fn stop_all(processes: &mut [Process]) -> Vec<String> {
    for process in processes.iter() {
        process.signal(Signal::TERM);
    }
    let end = Instant::now() + STOP_DEADLINE;
    let mut killed = Vec::new();
    for process in processes {
        if timeout_at(end, process.child.wait()).await.is_err() {
            process.signal(Signal::KILL);
            // Only a process that is stuck in the kernel outlives this.
            let _ = timeout(STOP_DEADLINE, process.child.wait()).await;
            killed.push(process.name.clone());
        }
    }
    killed
}

/// A command that runs this very program.
fn ft(args: &[&str]) -> Result<Command, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("-v").args(args).arg("--die-with-parent");
    // Only what the demo says counts, not what is meant for the user's own daemons.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("FT_") && name != "FT_LOG") {
            command.env_remove(name);
        }
    }
    Ok(command)
}

fn self_start(name: &str, mut command: Command, dir: &Path) -> Result<Process, Failure> {
    let log = dir.join(format!("{name}.log"));
    let file = std::fs::File::create(&log)?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).kill_on_drop(true);
    // A Ctrl-C at the terminal is for the demo, which then stops its daemons in order.
    command.process_group(0);
    let child = command
        .spawn()
        .map_err(|error| Failure::new(Kind::Failed, error).context(format!("cannot start {name}")))?;
    Ok(Process { name: name.to_owned(), child, log })
}

fn runtime_name(runtime: RuntimeChoice) -> &'static str {
    match runtime {
        RuntimeChoice::Auto => "auto",
        RuntimeChoice::Runc => "runc",
        RuntimeChoice::Sandbox => "sandbox",
    }
}
