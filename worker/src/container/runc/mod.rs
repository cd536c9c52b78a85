//! Containers run by `runc`.
//!
//! Each container is a `runc run` in the foreground: it passes signals on, and ends with the container's exit
//! code. Its state is below a root of our own, so that other users of runc on the host do not see it.

mod bundle;
mod cgroups;
mod held;
mod keeper;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustix::process::{Pid, PidfdFlags};
use tokio::process::Command;

use super::cgroup::Parent;
use super::check::{Inside, pid_namespace_of};
use super::exec::exit_code;
use super::output::OutputFile;
use super::{Container, ContainerError, Helper, Runtime, Spec};
use held::Held;
use keeper::{KillOnDrop, RuncExec, Running};

/// How long a `runc` command that only changes state may take.
const COMMAND: Duration = Duration::from_secs(30);

/// How runc is run.
#[derive(Debug, Clone)]
pub struct RuncOptions {
    /// The program, or `None` to look for `runc` in `PATH`.
    pub binary: Option<PathBuf>,
    /// The binary that looks into containers for checks of ports.
    pub helper: Helper,
    /// A directory of this runtime's own, made when missing.
    pub state_dir: PathBuf,
    /// How long a container's process may take to start. Its program's blocks may have to be fetched first.
    pub start_deadline: Duration,
}

impl RuncOptions {
    /// The usual options.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            binary: None,
            helper: Helper::current_exe(),
            state_dir: state_dir.into(),
            start_deadline: Duration::from_secs(120),
        }
    }
}

/// The runtime that drives runc.
#[derive(Debug)]
pub struct Runc {
    program: Program,
    options: RuncOptions,
    may_limit_memory: bool,
}

impl Runc {
    /// Finds the program and makes the state directory.
    ///
    /// # Errors
    /// When there is no runc, or the directory cannot be made.
    pub fn new(options: RuncOptions) -> Result<Self, ContainerError> {
        let binary = match &options.binary {
            Some(binary) => binary.clone(),
            None => find_in_path("runc").ok_or_else(|| {
                let hint = "runc is not in PATH (Debian: apt-get install runc), and no other was named";
                ContainerError::NoRuntime(hint.to_owned())
            })?,
        };
        let program = Program { binary, root: options.state_dir.join("runc") };
        for dir in [&program.root, &options.state_dir.join("bundles")] {
            fs::create_dir_all(dir).map_err(ContainerError::io("create", dir))?;
        }
        Ok(Self { program, options, may_limit_memory: Parent::find().is_ok() })
    }

    async fn run(&self, spec: Spec) -> Result<Container, ContainerError> {
        let mut spec = spec.checked()?;
        if spec.memory_bytes.is_some() && !self.may_limit_memory {
            tracing::warn!(
                id = spec.id,
                "the memory limit is not enforced: no cgroup has the memory controller"
            );
            spec.memory_bytes = None;
        }
        let bundle = Bundle::create(&self.options.state_dir.join("bundles"), &spec, &self.program.root)?;
        let (output, pipe, drained) =
            OutputFile::create(&spec.output).map_err(ContainerError::io("create", &spec.output))?;
        let clone = || pipe.try_clone().map_err(ContainerError::io("copy the pipe for", &spec.output));
        let mut command = self.program.command(&bundle.log(), "run");
        command.arg("--bundle").arg(&bundle.dir).arg("--pid-file").arg(bundle.pid_file()).arg(&spec.id);
        command.stdout(clone()?).stderr(clone()?);
        let child = command.spawn().map_err(ContainerError::io("run", &self.program.binary))?;
        drop((command, pipe));
        let mut held = Held::new(self.program.clone(), &spec.id, child);

        let after = self.options.start_deadline;
        let outcome = match tokio::time::timeout(after, started(&mut held, &bundle.pid_file())).await {
            Ok(Some(pid)) => Ok(pid),
            Ok(None) => Err(ContainerError::Start { id: spec.id.clone(), cause: bundle.complaint() }),
            Err(_) => Err(ContainerError::Deadline { id: spec.id.clone(), what: "starting", after }),
        };
        match outcome {
            Ok(pid) => Ok(self.watch(&spec, pid, Running { held, drained, bundle, init: None }, output)),
            Err(error) => {
                held.release().await;
                Err(error)
            }
        }
    }

    /// Takes charge of a container whose process runs.
    fn watch(&self, spec: &Spec, pid: Pid, mut running: Running, output: OutputFile) -> Container {
        // The number cannot have been given to another process: runc, our child, reaps this one and ends. A
        // process that has ended by now needs no killing.
        running.init = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok().map(KillOnDrop::new);
        let number = pid.as_raw_nonzero().get().unsigned_abs();
        let inside = Inside {
            helper: self.options.helper.clone(),
            pid: number,
            pid_namespace: pid_namespace_of(number).unwrap_or(0),
            user_namespace: false,
        };
        let runner = RuncExec::new(self.program.clone(), spec, running.bundle.dir.clone());
        let (container, keeper) = Container::new(spec.id.clone(), output, inside, Arc::new(runner));
        tokio::spawn(running.keep(keeper, spec.memory_bytes.is_some()));
        container
    }

    async fn clean_all(&self) -> Result<usize, ContainerError> {
        let mut cleaned = 0;
        for id in names_in(&self.program.root)? {
            self.program.delete(&id).await?;
            cleaned += 1;
        }
        let bundles = self.options.state_dir.join("bundles");
        for name in names_in(&bundles)? {
            cgroups::remove(&self.program.root, &name.to_string_lossy()).await;
            let dir = bundles.join(name);
            fs::remove_dir_all(&dir).map_err(ContainerError::io("remove", &dir))?;
        }
        Ok(cleaned)
    }
}

impl Runtime for Runc {
    fn name(&self) -> &'static str {
        "runc"
    }

    fn start(&self, spec: Spec) -> BoxFuture<'_, Result<Container, ContainerError>> {
        Box::pin(self.run(spec))
    }

    fn clean(&self) -> BoxFuture<'_, Result<usize, ContainerError>> {
        Box::pin(self.clean_all())
    }
}

/// The runc program, with the root of our containers.
#[derive(Debug, Clone)]
struct Program {
    binary: PathBuf,
    root: PathBuf,
}

impl Program {
    /// `runc SUBCOMMAND`, whose errors go to the file `log`.
    fn command(&self, log: &Path, subcommand: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--root").arg(&self.root).arg("--log").arg(log).args([
            "--log-format",
            "json",
            subcommand,
        ]);
        command.stdin(Stdio::null()).process_group(0).kill_on_drop(true);
        command
    }

    /// Kills and removes a container, if it exists.
    async fn delete(&self, id: impl AsRef<OsStr>) -> Result<(), ContainerError> {
        let id = id.as_ref();
        let mut command = Command::new(&self.binary);
        command.arg("--root").arg(&self.root).args(["delete", "--force"]).arg(id);
        let output = command.stdin(Stdio::null()).process_group(0).kill_on_drop(true).output();
        let id = || id.to_string_lossy().into_owned();
        let output = tokio::time::timeout(COMMAND, output)
            .await
            .map_err(|_| ContainerError::Deadline { id: id(), what: "runc delete", after: COMMAND })?
            .map_err(ContainerError::io("run", &self.binary))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let cause = format!("runc delete ended with {}: {}", exit_code(output.status), said.trim());
        Err(ContainerError::Start { id: id(), cause })
    }
}

/// A container's directory for runc; removed when dropped.
#[derive(Debug)]
struct Bundle {
    dir: PathBuf,
}

impl Bundle {
    fn create(bundles: &Path, spec: &Spec, state: &Path) -> Result<Self, ContainerError> {
        let dir = bundles.join(&spec.id);
        fs::create_dir(&dir).map_err(ContainerError::io("create", &dir))?;
        let bundle = Self { dir };
        let path = bundle.dir.join("config.json");
        let json = serde_json::to_vec_pretty(&bundle::config(spec, state)).map_err(io::Error::from);
        json.and_then(|json| fs::write(&path, json)).map_err(ContainerError::io("write", &path))?;
        Ok(bundle)
    }

    fn pid_file(&self) -> PathBuf {
        self.dir.join("pid")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// What runc says went wrong.
    fn complaint(&self) -> String {
        complaint_in(&self.log()).unwrap_or_else(|| "runc ended without saying why".to_owned())
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!(%error, dir = %self.dir.display(), "a bundle is left behind");
        }
    }
}

/// The last error in a log of runc's, one JSON object a line.
fn complaint_in(log: &Path) -> Option<String> {
    let text = fs::read_to_string(log).ok()?;
    text.lines().rev().find_map(|line| {
        let entry: serde_json::Value = serde_json::from_str(line).ok()?;
        let error = matches!(entry.get("level")?.as_str()?, "error" | "fatal");
        error.then(|| entry.get("msg")?.as_str().map(str::to_owned))?
    })
}

/// Waits until runc has started the container's process and written down its number; none if runc ends first.
async fn started(held: &mut Held, pid_file: &Path) -> Option<Pid> {
    const PAUSE: Duration = Duration::from_millis(2);
    let read = || fs::read_to_string(pid_file).ok()?.parse().ok().and_then(Pid::from_raw);
    loop {
        if let Some(pid) = read() {
            return Some(pid);
        }
        if let Ok(ended) = tokio::time::timeout(PAUSE, held.wait()).await {
            // It may have ended right after a short-lived process did.
            return ended.ok().and_then(|_| read());
        }
    }
}

/// Looks for a program where the shell would.
pub(super) fn find_in_path(name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| {
        file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    })
}

fn names_in(dir: &Path) -> Result<Vec<OsString>, ContainerError> {
    let entries = fs::read_dir(dir).map_err(ContainerError::io("read", dir))?;
    let names: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.file_name())).collect();
    names.map_err(ContainerError::io("read", dir))
}
