//! System calls of the helper that need more than a wrapper, and its errors.

use std::fmt;
use std::fs;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::ioctl::{self, Opcode, Setter};
use rustix::mount::OpenTreeFlags;
use rustix::net::{AddressFamily, SocketType};
use rustix::thread::UnshareFlags;

/// The helper's exit code when it fails itself; the container's own codes are its own.
pub(super) const FAILED: i32 = 125;

/// What the helper could not do.
#[derive(Debug)]
pub(super) struct Failure(String);

impl Failure {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// For `map_err`: `cannot WHAT: ERROR`.
    pub(super) fn at<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |error| Self(format!("cannot {what}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Gives this process new namespaces.
pub(super) fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES));
    // SAFETY: file descriptors stay shared with all threads (there is but one), as asserted.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// A copy of the mount at `path` and, if `recursive`, of those below, attached nowhere.
pub(super) fn clone_tree(path: &Path, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(CWD, path, flags)
}

/// Sets flags (`MOUNT_ATTR_…`) of a detached mount and of all below it (Linux 5.12 and later).
pub(super) fn restrict(tree: &OwnedFd, flags: u64) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: flags, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: `mount_setattr(2)`. The path is an empty NUL-terminated string, the structure is a live
    // `mount_attr` of the size that is passed, and the call only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// This program as a path that can be started but not written to.
///
/// Code in a container can make a process of the helper reopen `/proc/self/exe` for writing (an interpreter
/// line is enough), and thereby replace the host's program: CVE-2019-5736. From a read-only mount it cannot.
pub(super) fn read_only_self(exe: &Path) -> Result<(PathBuf, OwnedFd), Failure> {
    let tree = clone_tree(exe, false).map_err(Failure::at("clone the mount of the ft program"))?;
    restrict(&tree, libc::MOUNT_ATTR_RDONLY).map_err(Failure::at("make the ft program read-only"))?;
    Ok((format!("/proc/self/fd/{}", tree.as_raw_fd()).into(), tree))
}

/// This program's path as it shows in this mount namespace.
pub(super) fn own_path() -> Result<PathBuf, Failure> {
    let path = fs::read_link("/proc/self/exe").map_err(Failure::at("find the ft program"))?;
    if path.exists() {
        return Ok(path);
    }
    Err(Failure::new("the ft program was replaced while it runs; restart the worker"))
}

/// Sets the loopback interface of this network namespace up.
pub(super) fn loopback_up() -> io::Result<()> {
    const SIOCSIFFLAGS: Opcode = 0x8914; // <linux/sockios.h>
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(b"lo") {
        *to = (*from).cast_signed();
    }
    let flags = i16::try_from(libc::IFF_UP).map_err(io::Error::other)?;
    let request =
        libc::ifreq { ifr_name: name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags } };
    // SAFETY: SIOCSIFFLAGS reads a `struct ifreq` whose name ends in NUL and whose flags are set, and writes
    // nothing.
    unsafe { ioctl::ioctl(socket.as_fd(), Setter::<SIOCSIFFLAGS, libc::ifreq>::new(request)) }?;
    Ok(())
}
