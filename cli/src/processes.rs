//! Daemons that run as processes of their own on behalf of a command, and end with it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::client::{Client, Credential};
use crate::failure::{Failure, Kind};

/// A daemon that is asked to stop has this long to clean up.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// How often a condition of a daemon is looked at.
const POLL: Duration = Duration::from_millis(20);
/// Lines of a daemon's log that explain its failure.
const LOG_TAIL_LINES: usize = 12;

/// A daemon whose log is a file. Dropped, it is killed.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, which logs to `NAME.log` in `dir`.
    pub(crate) fn start(name: &str, mut command: Command, dir: &Path) -> Result<Self, Failure> {
        let log = dir.join(format!("{name}.log"));
        let file = std::fs::File::options().create(true).append(true).open(&log)?;
        // Only what its flags say counts, not what is meant for the user's own daemons.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("FT_") && name != "FT_LOG") {
                command.env_remove(name);
            }
        }
        let mut command = tokio::process::Command::from(command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).kill_on_drop(true);
        // A Ctrl-C at the terminal is for this program, which then stops its daemons in order.
        command.process_group(0);
        let child = command
            .spawn()
            .map_err(|error| Failure::new(Kind::Failed, error).context(format!("cannot start {name}")))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// An error if it has ended on its own.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        match self.child.try_wait()? {
            Some(status) => Err(self.failure(&ended(status))),
            None => Ok(()),
        }
    }

    /// Waits until this manager, whose state is in `state`, serves; a client of it.
    pub(crate) async fn serves(&mut self, state: &Path, limit: Duration) -> Result<Client, Failure> {
        let credential = state.join("admin.json");
        let end = Instant::now() + limit;
        while !credential.exists() {
            self.check()?;
            if Instant::now() > end {
                return Err(self.failure("did not come up in time"));
            }
            sleep(POLL).await;
        }
        Client::with(Credential::load(&credential)?).await
    }

    /// A failure with the end of the daemon's log.
    pub(crate) fn failure(&self, what: &str) -> Failure {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
        Failure::message(Kind::Failed, format!("{} {what}; it said:\n{}", self.name, tail.join("\n")))
    }

    /// Its process id, unless its end is known already.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Kills it, as a crash would.
    pub(crate) async fn kill(&mut self) {
        self.signal(Signal::KILL);
        // Only a process that is stuck in the kernel outlives this.
        let _ = timeout(STOP_DEADLINE, self.child.wait()).await;
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
pub(crate) async fn stop_all(processes: &mut [Process]) -> Vec<String> {
    for process in processes.iter() {
        process.signal(Signal::TERM);
    }
    let end = Instant::now() + STOP_DEADLINE;
    let mut killed = Vec::new();
    for process in processes {
        if timeout_at(end, process.child.wait()).await.is_err() {
            process.kill().await;
            killed.push(process.name.clone());
        }
    }
    killed
}
