//! What can go wrong with mounts.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A mount could not be made, found or removed.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// A file or directory that mounting needs.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The kernel refused a mount.
    #[error("cannot mount {fs} at {}: {source}{detail}", at.display())]
    Mount {
        /// The file system's type.
        fs: &'static str,
        /// Where it was to appear.
        at: PathBuf,
        /// What the kernel logged about it, or empty.
        detail: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Neither a file-backed mount nor one over loop devices worked.
    #[error("cannot mount the image at {}: file-backed: {file}; over loop devices: {loop_device}", at.display())]
    NoMethod {
        /// Where it was to appear.
        at: PathBuf,
        /// Why the kernel did not take the files themselves.
        file: Box<MountError>,
        /// Why loop devices did not help.
        loop_device: Box<MountError>,
    },
    /// A mount call did not return in time; if it still succeeds, its mount is removed at once.
    #[error("mounting at {} took longer than {after:?}", at.display())]
    Deadline {
        /// Where it was to appear.
        at: PathBuf,
        /// The deadline.
        after: Duration,
    },
    /// A file of that name is already served.
    #[error("the FUSE file system already has a file named {0:?}")]
    Duplicate(String),
    /// The name cannot be a file name.
    #[error("{0:?} cannot be a file name: it is empty, too long, a dot name or has a slash or NUL")]
    BadName(String),
    /// Mounts are left below a directory, although all were told to go.
    #[error("{count} mounts are left below {}, the first at {}", dir.display(), first.display())]
    Remaining {
        /// The directory that was to be cleared.
        dir: PathBuf,
        /// How many are left.
        count: usize,
        /// One of them.
        first: PathBuf,
    },
    /// The thread that was to mount is gone.
    #[error("the mounting thread for {} died", .0.display())]
    Interrupted(PathBuf),
}

impl MountError {
    /// For `map_err` on file operations.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// The same for `rustix` calls.
    pub(super) fn sys(action: &'static str, path: &Path) -> impl FnOnce(rustix::io::Errno) -> Self {
        let path = path.to_owned();
        move |errno| Self::Io { action, path, source: errno.into() }
    }

    /// The operating system's error number, where there is one.
    pub(super) fn errno(&self) -> Option<rustix::io::Errno> {
        match self {
            Self::Io { source, .. } | Self::Mount { source, .. } => {
                source.raw_os_error().map(rustix::io::Errno::from_raw_os_error)
            }
            _ => None,
        }
    }
}
