//! The supervisor: enters new namespaces, starts PID 1 in them and waits for it.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::{MountAttrFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;

use super::protocol::{Report, await_start, report, socket};
use super::sys::{self, Failure};
use crate::container::exec::exit_code;
use crate::mount::Context;

/// Runs a container; returns its exit code.
pub(super) fn run(new_network: bool, new_user: bool) -> Result<i32, Failure> {
    let mut socket = socket().map_err(Failure::at("take over the socket"))?;
    await_start(&mut socket)?;
    let (program, _open) = enter(new_network, new_user)?;
    let mut init = Command::new(program)
        .arg0("ft")
        .args(["__sandbox", "init"])
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .spawn()
        .map_err(Failure::at("start PID 1"))?;
    report(&Report::Init { pid: init.id() });
    // PID 1 does all the rest. Should this process be killed, the kernel kills PID 1.
    let status = init.wait().map_err(Failure::at("wait for PID 1"))?;
    Ok(exit_code(status))
}

/// Enters the namespaces of a container and mounts a `/proc` of its own, to find out whether this host allows it
/// to a user without root.
pub(super) fn try_namespaces() -> Result<i32, Failure> {
    let (program, _open) = enter(true, true)?;
    // Only a process of the new PID namespace can mount its /proc, so one of those is needed too.
    let status = Command::new(program)
        .args(["__sandbox", "try-proc"])
        .status()
        .map_err(Failure::at("start a process in a new PID namespace"))?;
    Ok(exit_code(status))
}

/// What [`try_namespaces`] does in its new PID namespace.
pub(super) fn try_proc() -> Result<i32, Failure> {
    let context = Context::open("proc", Path::new("/proc"));
    context.and_then(|proc| proc.create(MountAttrFlags::empty())).map_err(Failure::at("mount /proc"))?;
    Ok(0)
}

/// Enters the new namespaces and returns this program on a read-only mount.
fn enter(new_network: bool, new_user: bool) -> Result<(PathBuf, OwnedFd), Failure> {
    let mut flags = UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    if new_network {
        flags |= UnshareFlags::NEWNET;
    }
    // With root, the mount is cloned first: by the link, which also works when the file has been replaced.
    // Without, cloning is allowed only in a namespace of one's own.
    let program = if new_user {
        let own = sys::own_path()?;
        enter_user_namespace(flags)?;
        sys::read_only_self(&own)?
    } else {
        let program = sys::read_only_self(Path::new("/proc/self/exe"))?;
        sys::unshare(flags).map_err(Failure::at("enter new namespaces"))?;
        program
    };
    // What the host unmounts shall go here too, and nothing the other way.
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", slave).map_err(Failure::at("separate the mounts"))?;
    if new_network {
        sys::loopback_up().map_err(Failure::at("set the loopback interface up"))?;
    }
    Ok(program)
}

/// Enters a user namespace in which the calling user and group are 0, and with it the others.
fn enter_user_namespace(others: UnshareFlags) -> Result<(), Failure> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    sys::unshare(others | UnshareFlags::NEWUSER).map_err(Failure::at(
        "enter a user namespace (see kernel.unprivileged_userns_clone, user.max_user_namespaces and \
         kernel.apparmor_restrict_unprivileged_userns)",
    ))?;
    let write = |file: &str, text: String| {
        fs::write(format!("/proc/self/{file}"), text).map_err(Failure::at(format!("write {file}")))
    };
    // The kernel wants this first, lest a group that forbids something be given up.
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("0 {uid} 1"))?;
    write("gid_map", format!("0 {gid} 1"))
}
