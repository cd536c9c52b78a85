//! The worker's FUSE file system: starting it, adding and removing files, ending it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use rustix::mount::UnmountFlags;
use tokio::runtime::Handle;

use super::fuse_fs::{Files, ImageFiles};
use super::sys::detach;
use super::{DataSource, MountError};

/// The longest file name (`NAME_MAX`).
const LONGEST_NAME: usize = 255;

/// How the FUSE file system behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FuseOptions {
    /// A read that has no answer by then fails with an input/output error. Without it, a reader would wait, and
    /// not even SIGKILL would free it.
    pub read_deadline: Duration,
    /// How many bytes the kernel may read ahead of a sequential reader. It reads what a container may never
    /// want, so no more than the kernel's usual figure.
    pub max_readahead: u32,
    /// How many asynchronous reads (direct and ahead) the kernel keeps in flight.
    pub max_background: u16,
}

impl Default for FuseOptions {
    fn default() -> Self {
        Self { read_deadline: Duration::from_secs(60), max_readahead: 128 * 1024, max_background: 256 }
    }
}

/// A mounted FUSE file system with one directory of read-only files.
///
/// One thread takes requests from the kernel; each read becomes a task of the runtime, so that a slow one holds
/// up no other.
#[derive(Debug)]
pub struct FuseHost {
    files: Arc<Files>,
    mountpoint: PathBuf,
    session: Option<BackgroundSession>,
}

impl FuseHost {
    /// Mounts the file system at `mountpoint`, an existing directory. Reads are answered by tasks of `runtime`,
    /// which must have threads of its own (not a current-thread runtime) and timers. Blocking, but brief; needs
    /// root.
    ///
    /// # Errors
    /// When `/dev/fuse` cannot be used or the kernel refuses the mount.
    pub fn start(mountpoint: &Path, runtime: Handle, options: FuseOptions) -> Result<Self, MountError> {
        let mountpoint = mountpoint.canonicalize().map_err(MountError::io("resolve", mountpoint))?;
        let files = Arc::new(Files::default());
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("function-trees".to_owned()),
            MountOption::Subtype("ft".to_owned()),
            MountOption::RO,
            MountOption::NoExec,
            MountOption::NoAtime,
            MountOption::DefaultPermissions,
        ];
        // The kernel reads on behalf of whoever runs in the container; the files' own modes keep others out.
        config.acl = SessionACL::All;
        let fs = ImageFiles::new(Arc::clone(&files), runtime, options);
        let session = Session::new(fs, &mountpoint, &config).and_then(Session::spawn).map_err(|source| {
            let detail = " (needs root and /dev/fuse; `modprobe fuse` may help)".to_owned();
            MountError::Mount { fs: "fuse", at: mountpoint.clone(), detail, source }
        })?;
        Ok(Self { files, mountpoint, session: Some(session) })
    }

    /// Serves `source` as the file `name` and returns its path.
    ///
    /// The path is for the kernel ([`ImageMount`](super::ImageMount)). A task that reads it blocks a thread of
    /// the very runtime that must answer.
    ///
    /// # Errors
    /// When the name is taken or cannot be a file name.
    pub fn add(&self, name: &str, source: Arc<dyn DataSource>) -> Result<PathBuf, MountError> {
        let bad = name.is_empty()
            || name.len() > LONGEST_NAME
            || matches!(name, "." | "..")
            || name.contains(['/', '\0']);
        if bad {
            return Err(MountError::BadName(name.to_owned()));
        }
        if !self.files.add(name, source) {
            return Err(MountError::Duplicate(name.to_owned()));
        }
        Ok(self.mountpoint.join(name))
    }

    /// Stops serving `name`: reads in flight and later ones, also through files opened before, get an
    /// input/output error. Returns whether there was such a file.
    pub fn remove(&self, name: &str) -> bool {
        self.files.remove(name)
    }

    /// Where the file system is mounted.
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// Ends the file system: everything that still reads gets an error, the mount goes, the thread ends.
    /// Dropping does the same. Never waits for a reader or for a data source.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(session) = self.session.take() else { return };
        self.files.clear();
        // By force, which ends the connection: an EROFS mounted over a file of ours, perhaps in another mount
        // namespace, would otherwise keep the file system and its thread alive.
        if let Err(error) = detach(&self.mountpoint, UnmountFlags::FORCE) {
            tracing::warn!(%error, "the FUSE file system was unmounted by somebody else");
        }
        match session.umount_and_join() {
            // It was unmounted above, which the library may not have noticed yet. The thread ends by itself.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {}
            Err(error) => tracing::warn!(%error, "the FUSE file system ended with an error"),
            Ok(()) => {}
        }
    }
}

impl Drop for FuseHost {
    fn drop(&mut self) {
        self.end();
    }
}
