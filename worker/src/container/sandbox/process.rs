//! Starting a process in a container and watching over it.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::Command as StdCommand;
use std::sync::{Arc, OnceLock};
use std::thread;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use super::protocol::Command;
use super::sys::Failure;
use crate::container::exec::input;

/// How much of `/etc/passwd` is read.
const LARGEST_PASSWD: u64 = 1 << 20;

/// What an order to kill concerns, and what goes when the worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of this PID namespace, of which this process is the first.
    Namespace,
    /// The process's group.
    Group,
}

/// Starts the process, in a process group of its own. Returns when it runs its program.
pub(super) fn spawn(command: &Command, stdin: &[u8]) -> Result<Pid, Failure> {
    let (program, args) =
        command.args.split_first().ok_or_else(|| Failure::new("there is no program to run"))?;
    let mut child = StdCommand::new(program);
    child.args(args).current_dir(&command.cwd).process_group(0).env_clear();
    child.stdin(input(stdin).map_err(Failure::at("make its stdin"))?);
    child.envs(command.env.iter().filter_map(|variable| variable.split_once('=')));
    if !command.env.iter().any(|variable| variable.starts_with("HOME=")) {
        child.env("HOME", home_of(command.user.map_or(0, |(uid, _)| uid)));
    }
    if let Some((uid, gid)) = command.user {
        child.uid(uid).gid(gid);
    }
    let child = child.spawn().map_err(|error| {
        Failure::new(format!("cannot run {program:?} in {:?} of the image: {error}", command.cwd))
    })?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| Failure::new("a process number out of range"))
}

/// A user's home directory as the image has it, or `/`. As in runc.
fn home_of(uid: u32) -> String {
    // The file is the image's, so it may be anything.
    let mut accounts = String::new();
    let file = File::open("/etc/passwd").map(|file| file.take(LARGEST_PASSWD));
    let _unreadable = file.and_then(|mut file| file.read_to_string(&mut accounts));
    let home = accounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, number, _, _, home, ..] = fields.as_slice() else { return None };
        (number.parse() == Ok(uid)).then(|| (*home).to_owned())
    });
    home.unwrap_or_else(|| "/".to_owned())
}

/// The worker's orders, followed by a thread of their own.
#[derive(Debug)]
pub(super) struct Orders {
    child: Arc<OnceLock<Pid>>,
}

impl Orders {
    /// Starts following what comes over `socket`. The thread sees the namespaces that its starter is in now; one
    /// cannot be started once a new PID namespace is set for children.
    pub(super) fn follow(socket: UnixStream, scope: Scope) -> Self {
        let child = Arc::new(OnceLock::new());
        let known = Arc::clone(&child);
        thread::spawn(move || follow(socket, &known, scope));
        Self { child }
    }

    /// Waits for the process to end and returns its exit code. Reaps others that end meanwhile.
    pub(super) fn supervise(&self, child: Pid) -> i32 {
        let _first = self.child.set(child);
        loop {
            match rustix::process::wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) if pid == child => return exit_code(status),
                Ok(_) | Err(Errno::INTR) => {}
                // There is no child any more: somebody else has reaped it.
                Err(_) => return super::sys::FAILED,
            }
        }
    }
}

fn follow(mut socket: UnixStream, child: &OnceLock<Pid>, scope: Scope) {
    loop {
        let mut order = [0];
        let signal = match socket.read(&mut order) {
            Ok(1..) => Signal::from_named_raw(i32::from(order[0])),
            Ok(0) => Some(Signal::KILL),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => Some(Signal::KILL),
        };
        match (signal, scope) {
            // The kernel kills the rest of the namespace.
            (Some(Signal::KILL), Scope::Namespace) => std::process::exit(128 + Signal::KILL.as_raw()),
            (Some(Signal::KILL), Scope::Group) => {
                let _ended = rustix::process::kill_process_group(*child.wait(), Signal::KILL);
                return;
            }
            (Some(signal), _) => {
                let _ended = rustix::process::kill_process(*child.wait(), signal);
            }
            (None, _) => {}
        }
    }
}

fn exit_code(status: WaitStatus) -> i32 {
    let signal = status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or(signal).unwrap_or(super::sys::FAILED)
}
