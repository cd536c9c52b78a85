//! The demo's processes: one manager with its origin, and the workers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::args::{RuntimeChoice, TransportChoice, name_of};
use crate::client::Client;
use crate::failure::{Failure, Kind};
use crate::processes::{Process, stop_all};

/// How often a condition of another process is looked at.
const POLL: Duration = Duration::from_millis(20);
/// A daemon on this machine is up within this time or never.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// A manager and workers, each a process of its own, with all their state in one directory.
pub(super) struct Cluster {
    dir: PathBuf,
    manager: Option<Process>,
    workers: Vec<Process>,
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
        let manager = self.manager.insert(Process::start("manager", command, &self.dir)?);
        manager.serves(&state, START_DEADLINE).await
    }

    /// Starts `count` workers and waits until all are in the pool.
    pub(super) async fn start_workers(
        &mut self,
        client: &Client,
        count: u32,
        runtime: RuntimeChoice,
        transport: TransportChoice,
    ) -> Result<(), Failure> {
        let token = self.dir.join("manager").join("join-token");
        for nth in 1..=count {
            let name = format!("demo-{nth}");
            let mut command = ft(&["worker", "--listen", "127.0.0.1:0", "--name", &name])?;
            command.args(["--manager", &client.credential().manager]);
            command.arg("--join-token-file").arg(&token);
            command.arg("--state-dir").arg(self.dir.join(&name));
            command.args(["--runtime", &name_of(runtime), "--transport", &name_of(transport)]);
            self.workers.push(Process::start(&name, command, &self.dir)?);
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

/// A command that runs this very program.
fn ft(args: &[&str]) -> Result<Command, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("-v").args(args).arg("--die-with-parent");
    Ok(command)
}
