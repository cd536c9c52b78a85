//! A real cluster on a testbed: manager, origin and workers as processes, each on a host of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ft_testbed::{Host, Options, Rate, Testbed};
use serde_json::Value;

/// Whatever is waited for happens within this time or never.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// Clusters share two cores, so there is one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The `ft` to test: `cargo xtask test` names the release build.
pub(crate) fn ft_binary() -> PathBuf {
    std::env::var_os("FT_BIN").map_or_else(|| env!("CARGO_BIN_EXE_ft").into(), PathBuf::from)
}

/// A manager on host 0, and a worker on each other host.
pub(crate) struct Cluster {
    manager: Option<Child>,
    workers: Vec<Option<Child>>,
    /// Whether a worker was killed, so that mounts may be left.
    killed: bool,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) bed: Testbed,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Starts a cluster of `vms` workers behind links of `rate`, and waits until all have joined.
    pub(crate) fn start(vms: usize, rate: Option<Rate>) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let bed = Testbed::create(&Options { hosts: vms + 1, rate })
            .expect("a testbed (needs root and Debian's iproute2: run `cargo xtask test`)");
        let dir = tempfile::Builder::new().prefix("ft-e2e-").tempdir().expect("a directory");
        let mut cluster = Self { manager: None, workers: Vec::new(), killed: false, dir, bed, _turn: turn };
        // The origin and the manager are no VMs: their link is not what is tested.
        cluster.bed.set_rate(0, None).expect("host 0 has a link");
        cluster.start_manager();
        for nth in 0..vms {
            cluster.workers.push(None);
            cluster.start_worker(nth);
        }
        cluster.wait_for("all workers to join", |cluster| {
            let vms = cluster.json(&["vm", "ls"]);
            vms.as_array().is_some_and(|list| list.len() == vms_len(cluster))
        });
        cluster
    }

    pub(crate) fn start_manager(&mut self) {
        let ip = self.host().ip();
        let mut command = self.host().command(ft_binary());
        command.args(["-v", "manager", "--listen", &format!("{ip}:7400"), "--origin-listen"]);
        command.arg(format!("{ip}:7401")).arg("--state-dir").arg(self.dir.path().join("manager"));
        self.manager = Some(self.spawn(command, "manager"));
        let credential = self.credential();
        self.wait_for("the manager's credential", |_| credential.exists());
        self.wait_for("the manager", |cluster| cluster.ft(&["vm", "ls"]).status.success());
    }

    pub(crate) fn start_worker(&mut self, nth: usize) {
        let host = &self.bed.hosts()[nth + 1];
        let mut command = host.command(ft_binary());
        command.args(["-v", "worker", "--name", &format!("host-{}", nth + 1)]);
        command.args(["--manager", &format!("https://{}:7400", self.host().ip())]);
        command.args(["--listen", &format!("{}:7410", host.ip())]);
        command.arg("--join-token-file").arg(self.dir.path().join("manager/join-token"));
        command.arg("--state-dir").arg(self.worker_dir(nth));
        let child = self.spawn(command, &format!("worker-{nth}"));
        self.workers[nth] = Some(child);
    }

    /// The state directory of worker `nth`.
    pub(crate) fn worker_dir(&self, nth: usize) -> PathBuf {
        self.dir.path().join(format!("vm-{nth}"))
    }

    /// The host of the manager and the origin.
    pub(crate) fn host(&self) -> &Host {
        &self.bed.hosts()[0]
    }

    fn credential(&self) -> PathBuf {
        self.dir.path().join("manager/admin.json")
    }

    /// A command on host 0 that is the manager's admin.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.host().command(ft_binary());
        command.args(args).env("FT_CREDENTIAL", self.credential()).env("TMPDIR", self.dir.path());
        command
    }

    /// Runs `ft` with these arguments to its end.
    pub(crate) fn ft(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().expect("ft runs")
    }

    /// Runs `ft ARGS -o json`, which must succeed, and parses its lines: one value, or an array of several.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let mut line = vec!["-o", "json"];
        line.extend_from_slice(args);
        let output = self.ft(&line);
        let shown = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ft {args:?}: {}\n{shown}\n{}", output.status, self.logs());
        let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
        let mut values: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
        if values.len() == 1 { values.remove(0) } else { Value::Array(values) }
    }

    /// Sends SIGKILL to worker `nth`.
    pub(crate) fn kill_worker(&mut self, nth: usize) {
        kill(&mut self.workers[nth]);
        self.killed = true;
    }

    /// Sends SIGKILL to the manager (and the origin with it).
    pub(crate) fn kill_manager(&mut self) {
        kill(&mut self.manager);
    }

    /// The worker with this VM id, by the name it was started with.
    pub(crate) fn worker_of(&self, vm: &str) -> usize {
        let vms = self.json(&["vm", "ls"]);
        let found = vms.as_array().expect("a list").iter().find(|entry| entry["vm"] == vm);
        let name = found.and_then(|entry| entry["name"].as_str()).expect("a known VM").to_owned();
        name.trim_start_matches("host-").parse::<usize>().expect("host-N") - 1
    }

    /// Looks until `condition` holds; panics with the daemons' logs when it does not in time.
    pub(crate) fn wait_for(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !condition(self) {
            assert!(Instant::now() < end, "waited too long for {what}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The ends of the daemons' logs.
    pub(crate) fn logs(&self) -> String {
        let mut names = vec!["manager".to_owned()];
        names.extend((0..self.workers.len()).map(|nth| format!("worker-{nth}")));
        let tails = names.iter().map(|name| {
            let log = std::fs::read_to_string(self.log(name)).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            format!("--- {name}\n{}\n", lines[lines.len().saturating_sub(15)..].join("\n"))
        });
        tails.collect()
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.log"))
    }

    fn spawn(&self, mut command: Command, name: &str) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(self.log(name)).expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.spawn().expect("ft starts")
    }
}

fn vms_len(cluster: &Cluster) -> usize {
    cluster.workers.len()
}

fn kill(process: &mut Option<Child>) {
    if let Some(mut child) = process.take() {
        child.kill().expect("the process is ours");
        child.wait().expect("the process is ours");
    }
}

/// Asks for a graceful end.
fn terminate(process: &Option<Child>) {
    let pid = process.as_ref().and_then(|child| i32::try_from(child.id()).ok());
    if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
        // One that has just ended needs no signal.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// Waits for a graceful end; whether it came.
fn ended(process: &mut Option<Child>) -> bool {
    let Some(child) = process else { return true };
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.workers.iter().for_each(terminate);
        let gracefully = self.workers.iter_mut().all(ended);
        terminate(&self.manager);
        let gracefully = ended(&mut self.manager) && gracefully;
        let left = mounts_below(self.dir.path());
        // Workers that were killed cannot take their mounts away.
        let cleaned = ft_worker::mount::clean_below(self.dir.path());
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
            return;
        }
        assert!(gracefully, "a daemon did not end when asked to\n{}", self.logs());
        assert!(left.is_empty() || self.killed, "left mounted: {left:?}\n{}", self.logs());
        cleaned.expect("mounts can be removed");
    }
}

/// The mount points below `dir`.
pub(crate) fn mounts_below(dir: &Path) -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| Path::new(point).starts_with(dir)).map(str::to_owned).collect()
}
