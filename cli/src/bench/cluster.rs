//! A manager with its origin on the testbed's first host, and a worker on each other host.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ft_proto::v1;
use ft_testbed::{Host, Testbed};
use tokio::time::{Instant, sleep};

use super::stage::{self, Needs, Stage};
use crate::args::{TransportChoice, name_of};
use crate::client::Client;
use crate::failure::{Failure, Kind};
use crate::processes::{Process, stop_all};

/// How often a condition of another process is looked at.
const POLL: Duration = Duration::from_millis(50);
/// Daemons are up within this time or never; many start at once on few cores.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// Real `ft` daemons on the hosts of a testbed.
pub(super) struct Cluster<'a> {
    bed: &'a Testbed,
    dir: &'a Path,
    manager: Option<Process>,
    workers: Vec<Worker>,
    /// Flags of every worker.
    flags: Vec<String>,
    /// Sets of workers started so far: their names and directories differ.
    sets: u32,
}

/// A worker of a cluster.
pub(super) struct Worker {
    process: Process,
    /// Its host's number on the testbed.
    pub(super) host: usize,
    name: String,
    /// Its id in the pool.
    pub(super) vm: String,
    /// Whether it was killed on purpose.
    pub(super) killed: bool,
}

impl Worker {
    /// Its process, unless it has ended.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.pid()
    }
}

/// Plays on a stage with a cluster, which is stopped in the end, whatever came of `measure`. Fails if that takes longer
/// than `limit`.
pub(super) async fn play<T: Send + 'static>(
    needs: &Needs<'_>,
    limit: Duration,
    measure: impl AsyncFnOnce(&Stage<'_>, &mut Cluster<'_>) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let play = async move |stage: Stage<'_>| {
        let mut cluster = Cluster::new(stage.bed, stage.dir);
        let measured = stage.until_stopped(limit, measure(&stage, &mut cluster)).await;
        let stopped = cluster.stop().await;
        measured.and_then(|report| stopped.map(|()| report))
    };
    stage::play(needs, play).await
}

impl<'a> Cluster<'a> {
    /// No daemon runs yet; all state is kept below `dir`.
    fn new(bed: &'a Testbed, dir: &'a Path) -> Self {
        Self { bed, dir, manager: None, workers: Vec::new(), flags: Vec::new(), sets: 0 }
    }

    /// Starts the manager and connects to it.
    pub(super) async fn start_manager(&mut self) -> Result<Client, Failure> {
        let ip = self.bed.hosts()[0].ip();
        let state = self.dir.join("manager");
        let mut command = daemon(&self.bed.hosts()[0], "manager")?;
        command.args(["--listen", &format!("{ip}:7400"), "--origin-listen", &format!("{ip}:7401")]);
        command.arg("--state-dir").arg(&state);
        let manager = self.manager.insert(Process::start("manager", command, self.dir)?);
        manager.serves(&state, START_DEADLINE).await
    }

    /// Stops what runs, and starts a worker without any block on each of the hosts 1 to `count`.
    pub(super) async fn start_workers(
        &mut self,
        client: &Client,
        count: u32,
        flags: &[String],
    ) -> Result<(), Failure> {
        self.stop_workers().await?;
        self.sets += 1;
        self.flags = flags.to_vec();
        std::fs::create_dir(self.set_dir())?;
        for host in 1..=count as usize {
            let name = format!("set-{}-host-{host}", self.sets);
            let process = self.start_worker(&name, host)?;
            self.workers.push(Worker { process, host, name, vm: String::new(), killed: false });
        }
        self.join(client).await
    }

    fn start_worker(&self, name: &str, host: usize) -> Result<Process, Failure> {
        let host = &self.bed.hosts()[host];
        let mut command = daemon(host, "worker")?;
        command.args(["--name", name, "--listen", &format!("{}:7410", host.ip())]);
        command.args(["--manager", &format!("https://{}:7400", self.bed.hosts()[0].ip())]);
        command.arg("--join-token-file").arg(self.dir.join("manager/join-token"));
        command.arg("--state-dir").arg(self.set_dir().join(name));
        // The built-in sandbox starts faster than runc: containers are not what is measured.
        command.args(["--runtime", "sandbox"]).args(&self.flags);
        Process::start(name, command, self.dir)
    }

    fn set_dir(&self) -> PathBuf {
        self.dir.join(format!("set-{}", self.sets))
    }

    /// Waits until every worker is in the pool, and learns its id.
    async fn join(&mut self, client: &Client) -> Result<(), Failure> {
        let end = Instant::now() + START_DEADLINE;
        loop {
            self.check()?;
            let vms = client.pool().list_vms(v1::ListVmsRequest {}).await?.into_inner().vms;
            let free = |vm: &&v1::Vm| vm.state() == v1::VmState::Free;
            for vm in vms.iter().filter(free) {
                if let Some(worker) = self.workers.iter_mut().find(|worker| worker.name == vm.name) {
                    worker.vm.clone_from(&vm.vm);
                }
            }
            let joined = self.workers.iter().filter(|worker| !worker.vm.is_empty()).count();
            if joined == self.workers.len() {
                return Ok(());
            }
            if Instant::now() > end {
                let message = format!("only {joined} of {} workers joined in time", self.workers.len());
                return Err(Failure::message(Kind::Failed, message));
            }
            sleep(POLL).await;
        }
    }

    /// A worker's state directory.
    pub(super) fn state_dir(&self, worker: &Worker) -> PathBuf {
        self.set_dir().join(&worker.name)
    }

    /// The workers, in the order of their hosts.
    pub(super) fn workers(&self) -> &[Worker] {
        &self.workers
    }

    /// The number of the host on which the worker of `vm` runs.
    pub(super) fn host_of(&self, vm: &str) -> Option<usize> {
        self.workers.iter().find(|worker| worker.vm == vm).map(|worker| worker.host)
    }

    /// An error if a daemon has ended that was not killed on purpose.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        self.manager.iter_mut().try_for_each(Process::check)?;
        let others = self.workers.iter_mut().filter(|worker| !worker.killed);
        others.map(|worker| &mut worker.process).try_for_each(Process::check)
    }

    /// Kills the worker of `vm`, as a crash of its host would.
    pub(super) async fn kill(&mut self, vm: &str) {
        for worker in self.workers.iter_mut().filter(|worker| worker.vm == vm) {
            worker.killed = true;
            worker.process.kill().await;
        }
    }

    /// Kills the worker of `vm` and starts it again with what it has on its disk.
    pub(super) async fn restart(&mut self, vm: &str) -> Result<(), Failure> {
        let Some(nth) = self.workers.iter().position(|worker| worker.vm == vm) else { return Ok(()) };
        self.workers[nth].process.kill().await;
        let process = self.start_worker(&self.workers[nth].name, self.workers[nth].host)?;
        self.workers[nth].process = process;
        Ok(())
    }

    /// Ends the workers and removes what they have stored.
    pub(super) async fn stop_workers(&mut self) -> Result<(), Failure> {
        let workers = std::mem::take(&mut self.workers);
        if workers.is_empty() {
            return Ok(());
        }
        let killed = workers.iter().any(|worker| worker.killed);
        let mut processes: Vec<_> =
            workers.into_iter().filter(|worker| !worker.killed).map(|worker| worker.process).collect();
        let stuck = stop_all(&mut processes).await;
        if killed || !stuck.is_empty() {
            // They could not take their mounts away.
            ft_worker::mount::clean_below(&self.set_dir()).map_err(anyhow::Error::from)?;
        }
        std::fs::remove_dir_all(self.set_dir())?;
        if stuck.is_empty() {
            return Ok(());
        }
        let message = format!("{} did not stop in time and had to be killed", stuck.join(", "));
        Err(Failure::message(Kind::Failed, message))
    }

    /// Ends everything.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        let stopped = self.stop_workers().await;
        stop_all(self.manager.as_mut_slice()).await;
        stopped
    }
}

/// A command that runs this very program as a daemon on a host.
fn daemon(host: &Host, name: &str) -> Result<Command, Failure> {
    let mut command = host.command(std::env::current_exe()?);
    command.args(["-v", name, "--die-with-parent"]);
    Ok(command)
}

/// Flags of workers: their transport, and the bytes that a store may take.
pub(super) fn worker_flags(transport: TransportChoice, quota: u64) -> Vec<String> {
    let quota = quota.to_string();
    ["--quota", &quota, "--transport", &name_of(transport)].map(str::to_owned).to_vec()
}
