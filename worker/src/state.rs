//! The worker's directory: who may use it, what lies where, and what a crashed worker left in it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::error::WorkerError;
use crate::mount;

/// The worker's directory, held as long as this value lives.
///
/// | path | holds |
/// |---|---|
/// | `lock` | the lock: one worker per directory |
/// | `identity.pem`, `join.json` | who this worker is, and what it learnt when it joined |
/// | `blocks/` | the block store |
/// | `mnt/` | mounts: `data` (FUSE), `images/`, `roots/` |
/// | `containers/ID/` | a container's writable layer or files, and its output |
/// | `runtime/` | the container runtime's own state |
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Takes the directory, and makes it if it is not there. Blocking.
    pub(crate) fn take(path: &Path) -> Result<Self, WorkerError> {
        create(path)?;
        // Mounts need absolute paths.
        let path = path.canonicalize().map_err(|source| state_error("resolve", path, source))?;
        let lock_path = path.join("lock");
        let options = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = options.map_err(|source| state_error("open", &lock_path, source))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(WorkerError::InUse { path }),
            Err(errno) => return Err(state_error("lock", &lock_path, errno.into())),
        }
        Ok(Self { path, _lock: lock })
    }

    /// Takes away what a crashed worker left: its mounts, and its containers' files. Blocking.
    pub(crate) fn clean(&self) -> Result<(), WorkerError> {
        let gone = mount::clean_below(&self.path)?;
        if gone > 0 {
            tracing::info!(gone, "took away the mounts of an earlier worker");
        }
        for dir in [self.mounts(), self.containers()] {
            remove_all(&dir).map_err(|source| state_error("remove", &dir, source))?;
            create(&dir)?;
        }
        Ok(())
    }

    pub(crate) fn identity(&self) -> PathBuf {
        self.path.join("identity.pem")
    }

    pub(crate) fn join(&self) -> PathBuf {
        self.path.join("join.json")
    }

    pub(crate) fn blocks(&self) -> PathBuf {
        self.path.join("blocks")
    }

    pub(crate) fn mounts(&self) -> PathBuf {
        self.path.join("mnt")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.path.join("containers")
    }

    pub(crate) fn runtime(&self) -> PathBuf {
        self.path.join("runtime")
    }
}

/// Makes a directory that only this user may enter.
pub(crate) fn create(path: &Path) -> Result<(), WorkerError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| state_error("create", path, source))
}

/// Like `remove_dir_all`, also where an image's directories are read-only.
pub(crate) fn remove_all(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => return other,
    }
    make_writable(dir)?;
    fs::remove_dir_all(dir)
}

fn make_writable(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}

fn state_error(action: &'static str, path: &Path, source: io::Error) -> WorkerError {
    WorkerError::State { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_only_directories_are_removed_too() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("root");
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::write(dir.join("a/b/file"), "x").unwrap();
        fs::set_permissions(dir.join("a/b"), fs::Permissions::from_mode(0o500)).unwrap();
        fs::set_permissions(dir.join("a"), fs::Permissions::from_mode(0o500)).unwrap();
        make_writable(&dir).unwrap();
        remove_all(&dir).unwrap();
        assert!(!dir.exists());
        remove_all(&dir).unwrap();
    }

    #[test]
    fn a_directory_serves_one_worker_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDir::take(dir.path()).unwrap();
        assert!(matches!(StateDir::take(dir.path()), Err(WorkerError::InUse { .. })));
        drop(first);
        StateDir::take(dir.path()).unwrap();
    }

    #[test]
    fn what_a_crashed_worker_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::take(dir.path()).unwrap();
        fs::create_dir_all(state.containers().join("c-1/upper")).unwrap();
        fs::create_dir_all(state.blocks()).unwrap();
        state.clean().unwrap();
        assert_eq!(fs::read_dir(state.containers()).unwrap().count(), 0);
        assert!(state.blocks().exists(), "blocks are kept");
    }
}
