//! Joining a running container from outside, to run a command or to look at a port.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use rustix::process::{DumpableBehavior, Pid, PidfdFlags};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags};

use super::look::look;
use super::privileges;
use super::process::{self, Orders, Scope};
use super::protocol::{Command, Report, receive, receive_bytes, report, socket};
use super::sys::{self, Failure};
use crate::container::check::pid_namespace_of;

/// The container to join: what [`Inside::arguments`](crate::container::check::Inside::arguments) gives.
struct Target {
    pid: Pid,
    pid_namespace: u64,
    new_user: bool,
}

impl Target {
    fn parse(args: &[&str]) -> Result<Self, Failure> {
        let target = || {
            let [pid, namespace, user] = args else { return None };
            let pid = Pid::from_raw(pid.parse().ok()?)?;
            Some(Self { pid, pid_namespace: namespace.parse().ok()?, new_user: *user == "new-user" })
        };
        target().ok_or_else(|| Failure::new("unknown arguments; this is run by ft itself"))
    }

    /// A handle on the container's PID 1, which stays its own even when it ends.
    fn open(&self) -> Result<OwnedFd, Failure> {
        let gone = || Failure::new("the container has ended");
        let pidfd = rustix::process::pidfd_open(self.pid, PidfdFlags::empty()).map_err(|_| gone())?;
        // The descriptor holds on to the process, so what is checked now stays true.
        let number = u32::try_from(self.pid.as_raw_pid()).map_err(|_| gone())?;
        if pid_namespace_of(number) != Some(self.pid_namespace) {
            return Err(gone());
        }
        Ok(pidfd)
    }
}

/// Enters some of the container's namespaces.
fn join(container: &OwnedFd, namespaces: ThreadNameSpaceType) -> Result<(), Failure> {
    rustix::thread::move_into_thread_name_spaces(container.as_fd(), namespaces)
        .map_err(Failure::at("enter the container"))
}

/// Runs a command in a container: first half, which puts this program on a read-only mount (see
/// [`sys::read_only_self`]).
pub(super) fn exec(args: &[&str]) -> Result<i32, Failure> {
    let target = Target::parse(args)?;
    let (program, _open) = if target.new_user {
        let own = sys::own_path()?;
        join(&target.open()?, ThreadNameSpaceType::USER)?;
        sys::unshare(UnshareFlags::NEWNS).map_err(Failure::at("enter a mount namespace"))?;
        sys::read_only_self(&own)?
    } else {
        sys::read_only_self(Path::new("/proc/self/exe"))?
    };
    let error =
        std::process::Command::new(program).arg0("ft").args(["__sandbox", "exec-inside"]).args(args).exec();
    Err(Failure::at("start again")(error))
}

/// Second half: enters the container, gives up privileges and runs the command.
pub(super) fn exec_inside(args: &[&str]) -> Result<i32, Failure> {
    let target = Target::parse(args)?;
    let mut socket = socket().map_err(Failure::at("take over the socket"))?;
    let command: Command = receive(&mut socket)?;
    let stdin = receive_bytes(&mut socket, command.stdin)?;
    let hide = || rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    hide().map_err(Failure::at("hide from the container"))?;
    // A mount namespace can be entered only while there is one thread; threads can be started only as long as
    // children are born into the thread's own PID namespace. So the one that follows orders keeps its privileges;
    // it stays outside the container's PID namespace, and nothing of the container can reach it.
    let pidfd = target.open()?;
    join(
        &pidfd,
        ThreadNameSpaceType::MOUNT
            | ThreadNameSpaceType::NETWORK
            | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
            | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME,
    )?;
    let orders = Orders::follow(socket, Scope::Group);
    join(&pidfd, ThreadNameSpaceType::PROCESS_ID)?;
    privileges::drop_all()?;
    hide().map_err(Failure::at("hide from the container"))?;
    let child = process::spawn(&command, &stdin)?;
    report(&Report::Started);
    let code = orders.supervise(child);
    report(&Report::Exited { code });
    Ok(code)
}

/// Looks whether a port of the container answers.
pub(super) fn check(args: &[&str], at: &[&str]) -> Result<i32, Failure> {
    let target = Target::parse(args)?;
    let pidfd = target.open()?;
    if target.new_user {
        join(&pidfd, ThreadNameSpaceType::USER)?;
    }
    join(&pidfd, ThreadNameSpaceType::NETWORK)?;
    look(at).map(|()| 0)
}
