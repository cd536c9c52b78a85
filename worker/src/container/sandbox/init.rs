//! The container's PID 1.

use std::io;

use rustix::process::{DumpableBehavior, Signal};

use super::process::{self, Orders, Scope};
use super::protocol::{Launch, Report, receive, report, socket};
use super::sys::Failure;
use super::{mounts, privileges};

/// Builds the container's inside, runs its process and returns that one's exit code. The kernel then kills what
/// else is left in the PID namespace.
pub(super) fn run() -> Result<i32, Failure> {
    let mut socket = socket().map_err(Failure::at("take over the socket"))?;
    protect()?;
    let launch: Launch = receive(&mut socket)?;
    rustix::process::setsid().map_err(Failure::at("start a session"))?;
    rustix::system::sethostname(launch.hostname.as_bytes()).map_err(Failure::at("set the host name"))?;
    mounts::enter(&launch.rootfs, launch.network, launch.user_namespace)?;
    // As runc does; a process that cannot be started there says so below.
    let _exists = std::fs::create_dir_all(&launch.command.cwd);
    privileges::drop_all()?;
    // Changed privileges reset both.
    protect()?;
    let orders = Orders::follow(socket, Scope::Namespace);
    let child = process::spawn(&launch.command, &[])?;
    report(&Report::Started);
    let code = orders.supervise(child);
    report(&Report::Exited { code });
    Ok(code)
}

/// Dies with the supervisor, and cannot be traced or looked into from the container.
fn protect() -> Result<(), Failure> {
    let protect = || -> io::Result<()> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        Ok(())
    };
    protect().map_err(Failure::at("protect PID 1"))
}
