//! Owners, permissions, extended attributes and times.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};

use super::MaterializeOptions;
use crate::erofs::{Inode, Kind, Xattr};

/// What gets attributes.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    /// A file or directory that is open.
    Open(&'a dyn AsFd),
    /// Something that was just made in this directory and cannot be opened.
    Named(&'a OwnedFd, &'a [u8]),
}

/// Gives `target` what `inode` says; an error comes with what could not be done.
///
/// The order matters: a new owner takes away set-id bits and capabilities, and all of them change times.
pub(super) fn apply(
    target: Target<'_>,
    inode: &Inode,
    xattrs: &[Xattr],
    options: &MaterializeOptions,
) -> Result<(), (&'static str, io::Error)> {
    let doing = |action| move |error: rustix::io::Errno| (action, io::Error::from(error));
    if options.owners {
        set_owner(target, inode).map_err(doing("set the owner of"))?;
    }
    if inode.kind() != Kind::Symlink {
        let allowed = if options.owners { 0o7777 } else { 0o1777 };
        let mode = Mode::from_raw_mode(u32::from(inode.mode()) & allowed);
        set_mode(target, mode).map_err(doing("set the permissions of"))?;
    }
    for (name, value) in xattrs {
        set_xattr(target, OsStr::from_bytes(name), value).map_err(doing("set an extended attribute of"))?;
    }
    set_mtime(target, inode).map_err(doing("set the time of"))
}

fn set_owner(target: Target<'_>, inode: &Inode) -> rustix::io::Result<()> {
    // All ones mean "leave as it is" to the system; an image cannot mean that.
    let uid = (inode.uid() != u32::MAX).then(|| Uid::from_raw(inode.uid()));
    let gid = (inode.gid() != u32::MAX).then(|| Gid::from_raw(inode.gid()));
    match target {
        Target::Open(file) => rustix::fs::fchown(file.as_fd(), uid, gid),
        Target::Named(directory, name) => {
            rustix::fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
        }
    }
}

/// Not for symbolic links: the system would follow them.
fn set_mode(target: Target<'_>, mode: Mode) -> rustix::io::Result<()> {
    match target {
        Target::Open(file) => rustix::fs::fchmod(file.as_fd(), mode),
        Target::Named(directory, name) => rustix::fs::chmodat(directory, name, mode, AtFlags::empty()),
    }
}

fn set_xattr(target: Target<'_>, name: &OsStr, value: &[u8]) -> rustix::io::Result<()> {
    match target {
        Target::Open(file) => rustix::fs::fsetxattr(file.as_fd(), name, value, XattrFlags::empty()),
        Target::Named(directory, object) => {
            rustix::fs::lsetxattr(path_of(directory.as_fd(), object), name, value, XattrFlags::empty())
        }
    }
}

fn set_mtime(target: Target<'_>, inode: &Inode) -> rustix::io::Result<()> {
    let (tv_sec, nanos) = inode.mtime();
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec, tv_nsec: nanos.into() },
    };
    match target {
        Target::Open(file) => rustix::fs::futimens(file.as_fd(), &times),
        Target::Named(directory, name) => {
            rustix::fs::utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)
        }
    }
}

/// A path to `object` in an open directory, for calls that know no directories.
fn path_of(directory: BorrowedFd<'_>, object: &[u8]) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(OsStr::from_bytes(object))
}
