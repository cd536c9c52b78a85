//! A container's file tree: its root, `/proc`, `/sys` and a minimal `/dev`.
//!
//! What comes from the host is taken while the host's tree is still in sight, as detached mounts. They are put
//! in place only once the container's root is the only one, so that no link in the image can lead elsewhere.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::mount::{MountAttrFlags, UnmountFlags};

use super::sys::{Failure, clone_tree, restrict};
use crate::container::Network;
use crate::container::limits::{MASKED_PATHS, READONLY_PATHS, shared_files};
use crate::mount::{Context, attach};

/// The device nodes of a container, each the host's own.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];

const NO_SUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;
const NO_DEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
const NO_EXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOEXEC;
const READ_ONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;

/// Makes `root` this mount namespace's root and fills in what is not in images.
pub(super) fn enter(root: &Path, network: Network, user_namespace: bool) -> Result<(), Failure> {
    let host = FromHost::take(network)?;
    switch_root(root)?;
    place(&host.proc, "/proc")?;
    if let Some(sys) = &host.sys {
        place(sys, "/sys")?;
    }
    fill_dev(&host, user_namespace).map_err(Failure::at("make /dev"))?;
    for (path, tree) in &host.files {
        place_file(tree, path).map_err(Failure::at(format!("show the host's {}", path.display())))?;
    }
    hide_host()
}

/// What can be had only while the host's mounts are in sight: the kernel gives a user namespace a new `/proc`
/// or `/sys` only where it sees one already.
struct FromHost {
    proc: OwnedFd,
    sys: Option<OwnedFd>,
    devices: Vec<(&'static str, OwnedFd)>,
    files: Vec<(&'static Path, OwnedFd)>,
}

impl FromHost {
    fn take(network: Network) -> Result<Self, Failure> {
        let new = |fs, at: &str, flags| Context::open(fs, Path::new(at)).and_then(|new| new.create(flags));
        let proc = new("proc", "/proc", NO_SUID | NO_DEV | NO_EXEC).map_err(Failure::at("make a /proc"))?;
        // Refused in a user namespace that shares the host's network; programs can do without.
        let sys = new("sysfs", "/sys", NO_SUID | NO_DEV | NO_EXEC | READ_ONLY).ok();
        let device = |name| {
            let path = Path::new("/dev").join(name);
            let tree = clone_tree(&path, false);
            tree.map(|tree| (name, tree)).map_err(Failure::at(format!("take {}", path.display())))
        };
        let devices = DEVICES.into_iter().map(device).collect::<Result<_, _>>()?;
        let file = |path: &'static Path| -> io::Result<_> {
            let tree = clone_tree(path, false)?;
            restrict(&tree, libc::MOUNT_ATTR_RDONLY)?;
            Ok((path, tree))
        };
        let files = shared_files(network).map(file).collect::<io::Result<_>>();
        Ok(Self { proc, sys, devices, files: files.map_err(Failure::at("take files of the host"))? })
    }
}

fn switch_root(root: &Path) -> Result<(), Failure> {
    let shown = root.display();
    let tree = clone_tree(root, true).map_err(Failure::at(format!("use {shown} as root")))?;
    restrict(&tree, libc::MOUNT_ATTR_NODEV).map_err(Failure::at(format!("forbid devices in {shown}")))?;
    attach(&tree, root).map_err(Failure::at(format!("mount {shown}")))?;
    let pivot = || -> rustix::io::Result<()> {
        rustix::process::chdir(root)?;
        // The old root comes to lie on top of the new one, and goes.
        rustix::process::pivot_root(".", ".")?;
        rustix::mount::unmount(".", UnmountFlags::DETACH)?;
        rustix::process::chdir("/")
    };
    pivot().map_err(Failure::at(format!("make {shown} the root")))
}

fn place(tree: &OwnedFd, at: &str) -> Result<(), Failure> {
    fs::create_dir_all(at).map_err(Failure::at(format!("make {at}")))?;
    attach(tree, Path::new(at)).map_err(Failure::at(format!("mount {at}")))
}

fn place_file(tree: &OwnedFd, at: &Path) -> io::Result<()> {
    if !at.exists() {
        at.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::File::create(at)?;
    }
    attach(tree, at)?;
    Ok(())
}

/// Mounts a new file system of type `fs` at the directory `at`, made if missing.
fn mount(fs: &'static str, at: &str, options: &[(&str, &str)], flags: MountAttrFlags) -> io::Result<()> {
    fs::create_dir_all(at)?;
    let new = || {
        let context = Context::open(fs, Path::new(at))?;
        for (key, value) in options {
            context.set(key, Path::new(value))?;
        }
        context.create(flags)
    };
    attach(&new().map_err(io::Error::other)?, Path::new(at))?;
    Ok(())
}

fn fill_dev(host: &FromHost, user_namespace: bool) -> io::Result<()> {
    mount("tmpfs", "/dev", &[("mode", "755"), ("size", "65536k")], NO_SUID)?;
    for (name, tree) in &host.devices {
        let node = Path::new("/dev").join(name);
        fs::File::create(&node)?;
        attach(tree, &node)?;
    }
    for (target, link) in LINKS {
        symlink(target, link)?;
    }
    let terminals = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
    // In a user namespace there is no group 5 (tty).
    let known = if user_namespace { terminals.len() - 1 } else { terminals.len() };
    mount("devpts", "/dev/pts", terminals.get(..known).unwrap_or_default(), NO_SUID | NO_EXEC)?;
    mount("tmpfs", "/dev/shm", &[("mode", "1777"), ("size", "65536k")], NO_SUID | NO_DEV | NO_EXEC)?;
    mount("mqueue", "/dev/mqueue", &[], NO_SUID | NO_DEV | NO_EXEC)
}

/// Covers what `/proc` and `/sys` tell about the host, and makes read-only what would change it.
fn hide_host() -> Result<(), Failure> {
    for path in MASKED_PATHS.map(Path::new) {
        let cover = || -> io::Result<()> {
            if path.is_dir() {
                return mount("tmpfs", &path.to_string_lossy(), &[("size", "0")], READ_ONLY);
            }
            attach(&clone_tree(Path::new("/dev/null"), false)?, path)?;
            Ok(())
        };
        if path.exists() {
            cover().map_err(Failure::at(format!("hide {}", path.display())))?;
        }
    }
    for path in READONLY_PATHS.map(Path::new) {
        let protect = || -> io::Result<()> {
            let tree = clone_tree(path, true)?;
            restrict(&tree, libc::MOUNT_ATTR_RDONLY)?;
            attach(&tree, path)?;
            Ok(())
        };
        if path.exists() {
            protect().map_err(Failure::at(format!("protect {}", path.display())))?;
        }
    }
    Ok(())
}
