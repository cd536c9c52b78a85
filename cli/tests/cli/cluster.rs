//! A cluster on loopback, started by hand: a manager with its origin, and workers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::Signal;
use serde_json::Value;

use crate::daemon::Daemon;
use crate::run::{Run, ft, wait_for};
use crate::{host, rootfs};

/// Clusters and demos share two cores, so there is one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Waits for this host to be free.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory for one test.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("ft-cli-").tempdir().expect("a directory")
}

/// The command that starts a manager with its origin on free ports.
pub(crate) fn manager(state: &Path) -> Command {
    let mut manager = ft(&["-v", "manager", "--listen", "127.0.0.1:0", "--origin-listen", "127.0.0.1:0"]);
    manager.arg("--state-dir").arg(state);
    manager
}

/// Processes on this host that make a cluster. Dropped, they end and must leave nothing.
pub(crate) struct Cluster {
    manager: Option<Daemon>,
    workers: Vec<Daemon>,
    pub(crate) dir: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    /// A manager, and a worker with each of these runtimes.
    pub(crate) fn start(runtimes: &[&str]) -> Self {
        let turn = turn();
        let mut cluster = Self { manager: None, workers: Vec::new(), dir: directory(), _turn: turn };
        let log = cluster.dir.path().join("manager.log");
        let mut manager = Daemon::start(&mut manager(&cluster.manager_dir()), &log);
        manager.wait_until_it_says("the manager and its origin serve");
        cluster.manager = Some(manager);
        let token = cluster.manager_dir().join("join-token");
        for runtime in runtimes {
            cluster.add_worker(|worker| worker.args(["--runtime", runtime, "--join-token-file"]).arg(&token));
        }
        cluster
    }

    /// Starts another worker, with what `add` says besides.
    pub(crate) fn add_worker(&mut self, add: impl FnOnce(&mut Command) -> &mut Command) {
        let nth = self.workers.len();
        let log = self.dir.path().join(format!("worker-{nth}.log"));
        let mut worker = Daemon::start(add(&mut self.worker(nth)), &log);
        worker.wait_until_it_says("the worker serves");
        self.workers.push(worker);
    }

    /// The command that starts worker `nth`, but for its token.
    pub(crate) fn worker(&self, nth: usize) -> Command {
        let mut worker = ft(&["-v", "worker", "--listen", "127.0.0.1:0", "--name", &format!("host-{nth}")]);
        worker.args(["--manager", &self.url()]).arg("--state-dir").arg(self.worker_dir(nth));
        worker
    }

    pub(crate) fn manager_dir(&self) -> PathBuf {
        self.dir.path().join("manager")
    }

    pub(crate) fn worker_dir(&self, nth: usize) -> PathBuf {
        self.dir.path().join(format!("worker-{nth}"))
    }

    pub(crate) fn credential(&self) -> PathBuf {
        self.manager_dir().join("admin.json")
    }

    /// The manager's URL, as its credential says.
    pub(crate) fn url(&self) -> String {
        let text = std::fs::read(self.credential()).expect("a credential");
        let credential: Value = serde_json::from_slice(&text).expect("JSON");
        credential["manager"].as_str().expect("a URL").to_owned()
    }

    /// `ft ARGS` as the manager's admin.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = ft(args);
        command.env("FT_CREDENTIAL", self.credential()).env("TMPDIR", self.dir.path());
        command
    }

    /// Runs `ft ARGS` as the manager's admin.
    pub(crate) fn run(&self, args: &[&str]) -> Run {
        Run::of(&mut self.command(args))
    }

    /// The one object of `ft ARGS -o json`, which succeeds.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.run(&[&["-o", "json"], args].concat()).ok().json()
    }

    /// Seeds an image that says `text` as the function `hello`; gives the directory it was made of. Its
    /// containers are ready at once and stay.
    pub(crate) fn seed(&self, text: &str) -> PathBuf {
        let root = rootfs::make(self.dir.path(), text);
        let source = format!("dir:{}", root.display());
        let check = ["--check-exec", "test -e /data/noise"];
        let seed =
            [&["seed", &source, "--name", "hello"], &check[..], &["--", "/bin/sleep", "1000"]].concat();
        self.run(&seed).ok();
        root
    }

    /// Seeds an image that says `text` as the function `once`, which says so and is done.
    pub(crate) fn seed_once(&self, text: &str) {
        let source = format!("dir:{}", rootfs::make(self.dir.path(), text).display());
        self.run(&["seed", &source, "--name", "once", "--", "/bin/cat", rootfs::GREETING]).ok();
    }

    /// The containers of `ft ps` in this state.
    pub(crate) fn containers(&self, state: &str) -> Vec<String> {
        let list = self.json(&["ps"]);
        let list = list.as_array().expect("a list").iter().filter(|container| container["state"] == state);
        list.map(|container| container["container"].as_str().expect("a name").to_owned()).collect()
    }

    /// Looks until `condition` gives something.
    pub(crate) fn wait_for<T>(&self, what: &str, condition: impl FnMut() -> Option<T>) -> T {
        wait_for(what, || self.logs(), condition)
    }

    /// Ends the manager, which leaves the workers alone.
    pub(crate) fn stop_manager(&mut self) {
        let manager = self.manager.as_mut().expect("it runs");
        manager.signal(Signal::TERM);
        assert!(manager.ended().success(), "{}", manager.said());
    }

    fn logs(&self) -> String {
        let daemons = self.manager.iter().chain(&self.workers);
        daemons.map(|daemon| format!("---\n{}", daemon.said())).collect()
    }

    fn stop(&mut self) {
        for daemon in self.workers.iter_mut().chain(&mut self.manager) {
            daemon.signal(Signal::TERM);
            let status = daemon.ended();
            assert!(status.success(), "{status}:\n{}", daemon.said());
        }
    }

    /// Ends everything, whatever it takes.
    fn destroy(&mut self) {
        for daemon in self.workers.iter_mut().chain(&mut self.manager) {
            daemon.signal(Signal::TERM);
            // Dropped, it is killed if it has not ended.
            let _ = daemon.has_ended();
        }
        self.workers.clear();
        self.manager = None;
        // Not worth a second panic.
        let _ = ft_worker::mount::clean_below(self.dir.path());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
            self.destroy();
            return;
        }
        self.stop();
        let workers: Vec<_> = (0..self.workers.len()).map(|nth| self.worker_dir(nth)).collect();
        host::assert_nothing_of(self.dir.path(), &workers);
    }
}

/// The names below `dir`.
pub(crate) fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry"));
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
