//! Where a benchmark plays: a testbed, and a thread on its first host with mounts of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ft_testbed::{Options, Rate, Testbed};
use tokio_util::sync::CancellationToken;

use crate::args::Global;
use crate::failure::{Failure, Kind};
use crate::signal;

/// What a benchmark needs of this machine.
pub(super) struct Needs<'a> {
    /// Hosts, the origin's included.
    pub(super) hosts: usize,
    /// Of every link.
    pub(super) rate: Rate,
    /// The most bytes that all stores together take, if that is known.
    pub(super) bytes: Option<u64>,
    /// Keep them there, not in memory.
    pub(super) disk: Option<&'a Path>,
}

/// What a benchmark plays on.
pub(super) struct Stage<'a> {
    /// Its hosts; the first one is the origin's and the manager's, and this thread is on it.
    pub(super) bed: &'a Testbed,
    /// For all state; empty.
    pub(super) dir: &'a Path,
    /// Cancelled when the user wants to stop.
    pub(super) shutdown: CancellationToken,
}

impl Stage<'_> {
    /// Waits for `work`, unless the user wants to stop or it takes longer than `limit`.
    pub(super) async fn until_stopped<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            done = work => done,
            () = self.shutdown.cancelled() => Err(Failure::message(Kind::Failed, "interrupted")),
            () = tokio::time::sleep(limit) => {
                let message = format!("not done after {}", humantime::format_duration(limit));
                Err(Failure::message(Kind::Failed, message).next("give it longer: --timeout 30m"))
            }
        }
    }
}

/// Runs `play` on the testbed's first host, in a directory of its own; then nothing is left. What it mounts goes
/// with its processes, even if this program is killed.
pub(super) async fn play<T: Send + 'static>(
    needs: &Needs<'_>,
    play: impl AsyncFnOnce(Stage<'_>) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let room = preflight(needs)?;
    let shutdown = signal::shutdown_token()?;
    let parent = needs.disk.map_or_else(std::env::temp_dir, Path::to_owned);
    let dir = tempfile::Builder::new().prefix("ft-bench-").tempdir_in(&parent).map_err(|error| {
        Failure::new(Kind::Failed, error).context(format!("cannot work in {}", parent.display()))
    })?;
    let options = Options { hosts: needs.hosts, rate: Some(needs.rate) };
    let memory = needs.disk.is_none().then_some(room);
    let path = dir.path().to_owned();
    let (tell, done) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("bench".to_owned()).spawn(move || {
        let played = Testbed::create(&options).map_err(failed).and_then(|bed| {
            // The testbed's namespaces are the machine's; only what comes now is this thread's own.
            std::thread::scope(|scope| {
                let stage = Stage { bed: &bed, dir: &path, shutdown };
                let actor = scope.spawn(|| on_first_host(stage, memory, play));
                actor.join().unwrap_or_else(|_| Err(Failure::message(Kind::Failed, "the benchmark panicked")))
            })
        });
        // Whoever waits has gone only if the program ends.
        let _ = tell.send(played);
    })?;
    let played = done.await.unwrap_or_else(|_| Err(Failure::message(Kind::Failed, "the benchmark ended")));
    // It has said its last word.
    let _ = thread.join();
    let removed = dir.close().map_err(|error| Failure::from(error).context("cannot remove the directory"));
    played.and_then(|value| removed.map(|()| value))
}

fn on_first_host<T>(
    stage: Stage<'_>,
    memory: Option<u64>,
    play: impl AsyncFnOnce(Stage<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    stage.bed.hosts()[0].enter().map_err(failed)?;
    ft_testbed::own_mounts().map_err(failed)?;
    if let Some(bytes) = memory {
        ft_testbed::mount_memory(stage.dir, bytes).map_err(failed)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let played = runtime.block_on(play(stage));
    runtime.shutdown_timeout(Duration::from_secs(5));
    played
}

fn failed(error: ft_testbed::Error) -> Failure {
    Failure::new(Kind::Failed, error)
}

/// Refuses at once what could only fail half-way; the bytes that stores may take.
fn preflight(needs: &Needs<'_>) -> Result<u64, Failure> {
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::message(Kind::NotAllowed, "only root can make network namespaces")
            .next("run it as root, for instance with sudo"));
    }
    let free = match needs.disk {
        Some(dir) => free_on_disk(dir)?,
        None => free_memory()? / 10 * 8,
    };
    let Some(bytes) = needs.bytes.filter(|bytes| *bytes > free) else { return Ok(free) };
    let (bytes, free) = (crate::output::bytes(bytes), crate::output::bytes(free));
    let message = format!("the stores of all VMs may take {bytes}, and there is room for {free}");
    Err(Failure::message(Kind::Usage, message).next("use fewer --vms, a smaller --size, or --disk DIR"))
}

fn free_on_disk(dir: &Path) -> Result<u64, Failure> {
    let space = rustix::fs::statvfs(dir).map_err(|errno| {
        Failure::new(Kind::Usage, std::io::Error::from(errno))
            .context(format!("cannot work in {}", dir.display()))
    })?;
    Ok(space.f_bavail * space.f_frsize)
}

fn free_memory() -> Result<u64, Failure> {
    let path = PathBuf::from("/proc/meminfo");
    let text = std::fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| Failure::message(Kind::Failed, "/proc/meminfo says nothing of available memory"))
}

/// Touches as much memory as stores in memory will take, and frees it. A virtual machine may have given memory that
/// nobody used back to its host, and gets it back page by page when it is touched: that is no work of a worker.
pub(super) async fn warm_memory(bytes: u64) -> Result<(), Failure> {
    let bytes = usize::try_from(bytes.min(free_memory()? / 10 * 8)).unwrap_or(usize::MAX);
    let touch = move || drop(std::hint::black_box(vec![1_u8; bytes]));
    tokio::task::spawn_blocking(touch)
        .await
        .map_err(|error| Failure::new(Kind::Failed, error).context("cannot touch the stores' memory"))
}

/// Whether progress may be shown.
pub(super) fn shows_progress(global: &Global) -> bool {
    use std::io::IsTerminal as _;
    !global.quiet && std::io::stderr().is_terminal()
}
