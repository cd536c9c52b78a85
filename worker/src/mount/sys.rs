//! The kernel's mount calls, wrapped: a file system context that reports what the kernel logged, a guard for
//! what is mounted, and a deadline around calls that may wait for the network.
//!
//! The calls are those of Linux 5.2 (`fsopen(2)` and its kin). They take each option by itself, so a comma,
//! colon or space in a path needs no quoting.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
};

use super::{MountError, mounts};

/// The most bytes of an option's value that `fsconfig(2)` takes.
const LONGEST_VALUE: usize = 255;

/// A file system being configured, before it is mounted.
pub(crate) struct Context {
    fd: OwnedFd,
    fs: &'static str,
    at: PathBuf,
}

impl Context {
    /// Starts a mount of type `fs` that is to appear at `at`.
    pub(crate) fn open(fs: &'static str, at: &Path) -> Result<Self, MountError> {
        let fd = rustix::mount::fsopen(fs, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| {
            let detail =
                if errno == Errno::NODEV { " (the kernel does not have this file system)" } else { "" };
            MountError::Mount { fs, at: at.to_owned(), detail: detail.to_owned(), source: errno.into() }
        })?;
        Ok(Self { fd, fs, at: at.to_owned() })
    }

    /// Sets `key=value`.
    pub(crate) fn set(&self, key: &str, value: &Path) -> Result<(), MountError> {
        let length = value.as_os_str().len();
        if length > LONGEST_VALUE {
            // The kernel would only say that something is invalid.
            let detail = format!(
                " ({key} is a path of {length} bytes, and the kernel takes {LONGEST_VALUE}: \
                 choose a state directory with a shorter path)"
            );
            return Err(self.failed_because(detail, Errno::NAMETOOLONG));
        }
        rustix::mount::fsconfig_set_string(&self.fd, key, value).map_err(|errno| self.failed(errno))
    }

    /// Sets an option without a value.
    pub(crate) fn flag(&self, key: &str) -> Result<(), MountError> {
        rustix::mount::fsconfig_set_flag(&self.fd, key).map_err(|errno| self.failed(errno))
    }

    /// Creates the file system and puts it in its place.
    pub(super) fn mount(self, attributes: MountAttrFlags) -> Result<Mounted, MountError> {
        let tree = self.create(attributes)?;
        attach(&tree, &self.at).map_err(|errno| self.failed(errno))?;
        Ok(Mounted::at(&self.at))
    }

    /// Creates the file system, mounted nowhere yet; [`attach`] puts it in its place.
    pub(crate) fn create(&self, attributes: MountAttrFlags) -> Result<OwnedFd, MountError> {
        rustix::mount::fsconfig_create(&self.fd)
            .and_then(|()| rustix::mount::fsmount(&self.fd, FsMountFlags::FSMOUNT_CLOEXEC, attributes))
            .map_err(|errno| self.failed(errno))
    }

    fn failed(&self, errno: Errno) -> MountError {
        self.failed_because(self.messages(), errno)
    }

    fn failed_because(&self, detail: String, errno: Errno) -> MountError {
        MountError::Mount { fs: self.fs, at: self.at.clone(), detail, source: errno.into() }
    }

    /// What the kernel has to say about the failure: a line at each read, until there are no more.
    fn messages(&self) -> String {
        const MOST_LINES: usize = 8;
        let mut buffer = [0u8; 512];
        let lines: Vec<String> = std::iter::from_fn(|| {
            let length = rustix::io::read(&self.fd, &mut buffer).ok().filter(|length| *length > 0)?;
            Some(String::from_utf8_lossy(buffer.get(..length)?).trim().to_owned())
        })
        .take(MOST_LINES)
        .collect();
        if lines.is_empty() { String::new() } else { format!(" ({})", lines.join("; ")) }
    }
}

/// Puts a detached mount at `at`, where it stays.
pub(crate) fn attach(tree: &OwnedFd, at: &Path) -> Result<(), Errno> {
    rustix::mount::move_mount(tree.as_fd(), "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Something mounted, taken away when dropped.
#[derive(Debug)]
pub(super) struct Mounted(Option<PathBuf>);

impl Mounted {
    /// Takes charge of what is mounted at `path`.
    pub(super) fn at(path: &Path) -> Self {
        Self(Some(path.to_owned()))
    }

    /// Where it is mounted.
    pub(super) fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    /// Takes it away now: out of sight at once, and freed once nobody uses it any more.
    pub(super) fn unmount(mut self) -> Result<(), MountError> {
        match self.0.take() {
            Some(path) => detach(&path, UnmountFlags::empty()),
            None => Ok(()),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(path) = self.0.take()
            && let Err(error) = detach(&path, UnmountFlags::empty())
        {
            tracing::warn!(%error, "a mount is left behind");
        }
    }
}

/// Unmounts lazily, so that users in other mount namespaces do not keep it in place.
pub(super) fn detach(path: &Path, more: UnmountFlags) -> Result<(), MountError> {
    rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW | more)
        .map_err(MountError::sys("unmount", path))
}

/// Makes `dir` a mount whose mounts propagate to mount namespaces copied from this one, both when they come and
/// when they go: otherwise a container started earlier would keep alive what is unmounted here. To be called
/// before anything is mounted in `dir`, for instance after [`clean_below`](super::clean_below) of its parent.
///
/// # Errors
/// When the kernel refuses, for instance without root.
pub fn share(dir: &Path) -> Result<(), MountError> {
    let dir = dir.canonicalize().map_err(MountError::io("resolve", dir))?;
    match mounts()?.iter().rfind(|entry| entry.at == dir) {
        Some(entry) if entry.shared => return Ok(()),
        Some(_) => {}
        None => rustix::mount::mount_bind(&dir, &dir).map_err(MountError::sys("bind-mount", &dir))?,
    }
    rustix::mount::mount_change(&dir, MountPropagationFlags::SHARED)
        .map_err(MountError::sys("share the mounts of", &dir))
}

/// Runs `work` on a blocking thread. When it takes longer than `deadline`, its result is dropped as soon as it is
/// there, which unmounts what was mounted.
pub(super) async fn with_deadline<T: Send + 'static>(
    at: &Path,
    deadline: Duration,
    work: impl FnOnce() -> Result<T, MountError> + Send + 'static,
) -> Result<T, MountError> {
    match tokio::time::timeout(deadline, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(MountError::Interrupted(at.to_owned())),
        Err(_) => Err(MountError::Deadline { at: at.to_owned(), after: deadline }),
    }
}
