//! The built-in runtime: namespaces, `pivot_root` and a small PID 1, by starting this binary again.
//!
//! For each container there are, next to its own processes,
//!
//! - the *supervisor*, a child of the worker: enters the new namespaces, starts the next and waits for it
//!   ([`supervisor`]);
//! - *init*, the first process of the new PID namespace: builds the root file system, gives up its privileges,
//!   starts the container's process, reaps orphans and carries out the worker's orders ([`init`]).
//!
//! Both share one end of a socket as their stdin; the worker has the other ([`protocol`]). When the worker goes
//! away, however it dies, init reads the end of the socket and ends, and the kernel ends the namespace with it.
//! (The kernel's own signal at a parent's death watches the *thread* that started a child, and the worker's
//! threads come and go; it serves between supervisor and init.)
//!
//! With root, containers run as real users in the host's user namespace. Without, each gets a user namespace in
//! which the worker's user is root; its root file system must then be a plain directory.

mod held;
mod init;
mod join;
mod keeper;
mod look;
mod mounts;
mod place;
mod privileges;
mod process;
mod protocol;
mod supervisor;
mod sys;

use std::ffi::OsString;
use std::io::{self, PipeWriter};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::net::UnixStream as AsyncUnixStream;
use tokio::process::Child;

use super::cgroup::Parent;
use super::check::{Inside, pid_namespace_of};
use super::output::OutputFile;
use super::{Container, ContainerError, Helper, Network, Runtime, Spec};
use held::Held;
use keeper::Supervised;
use place::Place;
use protocol::{Launch, Report, Reports, send_message, send_start};

/// How the sandbox runs.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// The binary to start again.
    pub helper: Helper,
    /// A directory of the sandbox's own, made when missing.
    pub state_dir: PathBuf,
    /// How long a container's process may take to start. Its program's blocks may have to be fetched first.
    pub start_deadline: Duration,
}

impl SandboxOptions {
    /// The usual options.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            helper: Helper::current_exe(),
            state_dir: state_dir.into(),
            start_deadline: Duration::from_secs(120),
        }
    }
}

/// The built-in runtime.
#[derive(Debug)]
pub struct Sandbox {
    options: SandboxOptions,
    user_namespace: bool,
    /// Where memory can be limited, or why it cannot; found out at the first limit.
    cgroups: OnceLock<Result<Parent, String>>,
}

impl Sandbox {
    /// A sandbox with these options. Without `CAP_SYS_ADMIN` its containers get user namespaces.
    pub fn new(options: SandboxOptions) -> Self {
        Self { options, user_namespace: !privileges::may_mount(), cgroups: OnceLock::new() }
    }

    /// Whether containers run in user namespaces, where only user 0 exists.
    pub fn is_rootless(&self) -> bool {
        self.user_namespace
    }

    async fn run(&self, spec: Spec) -> Result<Container, ContainerError> {
        let spec = spec.checked()?;
        if self.user_namespace && (spec.uid, spec.gid) != (0, 0) {
            tracing::warn!(id = spec.id, uid = spec.uid, "without root, the process runs as user 0");
        }
        let limit = spec.memory_bytes.map(|bytes| (self.cgroups(), bytes));
        let place = Place::take(&self.notes(), &spec.id, limit)?;
        let (output, pipe, drained) =
            OutputFile::create(&spec.output).map_err(ContainerError::io("create", &spec.output))?;
        let words = ["run", network_word(spec.network), user_word(self.user_namespace)];
        let (socket, child) = self
            .spawn(words, &pipe)
            .map_err(|error| start_failed(&spec, format!("cannot start the sandbox helper: {error}")))?;
        drop(pipe);
        let held = Held::new(child, place);
        let mut reports = Reports::new(socket);
        let begun = self.begin(&spec, &held, &mut reports);
        let after = self.options.start_deadline;
        let outcome = match tokio::time::timeout(after, begun).await {
            Ok(begun) => begun.map_err(|error| start_failed(&spec, error.to_string())),
            Err(_) => Err(ContainerError::Deadline { id: spec.id.clone(), what: "starting", after }),
        };
        let pid = match outcome {
            Ok(pid) => pid,
            Err(error) => {
                held.release().await;
                return Err(error);
            }
        };
        let inside = Inside {
            helper: self.options.helper.clone(),
            pid,
            pid_namespace: pid_namespace_of(pid).unwrap_or(0),
            user_namespace: self.user_namespace,
        };
        let runner = Arc::new(keeper::HelperExec::new(&spec, inside.clone(), held.cgroup()));
        let (container, keeper) = Container::new(spec.id, output, inside, runner);
        tokio::spawn(Supervised { held, reports, drained }.keep(keeper));
        Ok(container)
    }

    /// Lets the helper go on, tells it what to run, and waits until that runs. Returns the number of PID 1.
    async fn begin(&self, spec: &Spec, held: &Held, reports: &mut Reports) -> io::Result<u32> {
        held.admit()?;
        send_start(&mut reports.socket).await?;
        send_message(&mut reports.socket, &Launch::of(spec, self.user_namespace)).await?;
        reports.started().await?;
        reports.init().await
    }

    /// Starts the helper with one end of a socket as its stdin, and `output` as its stdout and stderr.
    fn spawn(&self, args: [&str; 3], output: &PipeWriter) -> io::Result<(AsyncUnixStream, Child)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = self.options.helper.command(args);
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        command.stdout(output.try_clone()?).stderr(output.try_clone()?);
        Ok((AsyncUnixStream::from_std(ours)?, command.spawn()?))
    }

    /// Where the containers are noted.
    fn notes(&self) -> PathBuf {
        self.options.state_dir.join("containers")
    }

    fn cgroups(&self) -> &Result<Parent, String> {
        self.cgroups.get_or_init(|| {
            let find = || Parent::find().and_then(|parent| parent.prepare().map(|()| parent));
            find().map_err(|error| error.to_string())
        })
    }
}

fn start_failed(spec: &Spec, cause: impl Into<String>) -> ContainerError {
    ContainerError::Start { id: spec.id.clone(), cause: cause.into() }
}

fn network_word(network: Network) -> &'static str {
    match network {
        Network::Isolated => "new-network",
        Network::Host => "same-network",
    }
}

fn user_word(user_namespace: bool) -> &'static str {
    if user_namespace { "new-user" } else { "same-user" }
}

impl Runtime for Sandbox {
    fn name(&self) -> &'static str {
        "sandbox"
    }

    fn start(&self, spec: Spec) -> BoxFuture<'_, Result<Container, ContainerError>> {
        Box::pin(self.run(spec))
    }

    fn clean(&self) -> BoxFuture<'_, Result<usize, ContainerError>> {
        Box::pin(async { place::clean(&self.notes()).await })
    }
}

/// What `ft __sandbox ARGS…` does. To be called first in `main`, before there is any other thread: namespaces
/// are entered by threads, and some only by a process's only one.
///
/// Exits with the container's (or command's) own exit code.
pub fn sandbox_main(args: impl Iterator<Item = OsString>) -> ! {
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["run", network, user] => supervisor::run(*network == "new-network", *user == "new-user"),
        ["init"] => init::run(),
        ["exec", at @ ..] => join::exec(at),
        ["exec-inside", at @ ..] => join::exec_inside(at),
        ["check", pid, namespace, user, look @ ..] => join::check(&[pid, namespace, user], look),
        ["try"] => supervisor::try_namespaces(),
        ["try-proc"] => supervisor::try_proc(),
        _ => Err(sys::Failure::new("unknown arguments; this is run by ft itself")),
    };
    let code = match result {
        Ok(code) => code,
        Err(failure) => {
            // The worker reads the socket; whoever runs this by hand, stderr.
            protocol::report(&Report::Failed { message: failure.to_string() });
            eprintln!("ft __sandbox: {failure}");
            sys::FAILED
        }
    };
    std::process::exit(code)
}
