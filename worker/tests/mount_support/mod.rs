//! What the mount tests share: a directory that cleans up its mounts, data sources and EROFS images.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;

use bytes::Bytes;
use ft_worker::mount::{DataSource, FuseHost, FuseOptions, ReadError, ReadFuture, clean_below};
use tokio::runtime::Handle;

/// A temporary directory; whatever is mounted in it goes first, also when the test panics.
pub(crate) struct Area(tempfile::TempDir);

impl Area {
    pub(crate) fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "mount tests need root: run them with sudo, or as root"
        );
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes a directory and returns its path.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let dir = self.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Starts the FUSE file system in this directory.
    pub(crate) fn fuse(&self, options: FuseOptions) -> FuseHost {
        FuseHost::start(&self.dir("fuse"), Handle::current(), options).unwrap()
    }

    /// Where something is mounted in this directory.
    pub(crate) fn mounted(&self) -> Vec<PathBuf> {
        let dir = self.path().canonicalize().unwrap();
        let entries = ft_worker::mount::mounts().unwrap();
        entries.into_iter().map(|entry| entry.at).filter(|at| at.starts_with(&dir)).collect()
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        let cleaned = clean_below(self.path());
        if !std::thread::panicking() {
            cleaned.unwrap();
        }
    }
}

/// A child process that is killed at the end, however the test ends.
pub(crate) struct Killed(pub(crate) Child);

impl Killed {
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _already_dead = self.0.kill();
        let _status = self.0.wait();
    }
}

/// A source over bytes in memory.
pub(crate) struct Memory(pub(crate) Vec<u8>);

impl DataSource for Memory {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, offset: u64, len: u32) -> ReadFuture<'_> {
        let start = usize::try_from(offset).unwrap();
        let bytes = self.0.get(start..start + len as usize).map(Bytes::copy_from_slice);
        Box::pin(async { bytes.ok_or_else(|| ReadError::new("out of bounds")) })
    }
}

/// A source over a local file.
pub(crate) fn file_source(path: &Path) -> Arc<dyn DataSource> {
    Arc::new(Memory(fs::read(path).unwrap()))
}

/// An EROFS image whose data is on an extra device.
pub(crate) struct Image {
    pub(crate) meta: PathBuf,
    pub(crate) data: PathBuf,
}

/// Makes an image of `tree`, with mkfs.erofs, in `dir`.
pub(crate) fn image_of(tree: &Path, dir: &Path) -> Image {
    let (meta, data) = (dir.join("meta.img"), dir.join("data.img"));
    let made = Command::new("mkfs.erofs")
        .args(["--quiet", "--chunksize=4096"])
        .arg(format!("--blobdev={}", data.display()))
        .args([&meta, tree])
        .output()
        .expect("mkfs.erofs is missing: `cargo xtask test` installs it (Debian: erofs-utils)");
    assert!(made.status.success(), "mkfs.erofs: {}", String::from_utf8_lossy(&made.stderr));
    // Whole blocks, as a loop device and direct reads need them.
    for path in [&meta, &data] {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len().next_multiple_of(4096)).unwrap();
    }
    Image { meta, data }
}

/// A small tree with files of several sizes, a nested directory, a link and an odd mode.
pub(crate) fn small_tree(dir: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let tree = dir.join("tree");
    fs::create_dir_all(tree.join("a/b")).unwrap();
    for (name, len) in [("empty", 0), ("small", 10), ("a/page", 4096), ("a/b/large", 3_000_001)] {
        fs::write(tree.join(name), pattern(len)).unwrap();
    }
    std::os::unix::fs::symlink("a/page", tree.join("link")).unwrap();
    fs::set_permissions(tree.join("small"), fs::Permissions::from_mode(0o4711)).unwrap();
    tree
}

/// `len` bytes in which no 4 KiB are like any others.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0u32..).flat_map(u32::to_le_bytes).take(len).collect()
}

/// Asserts that two trees have the same names, modes, links and contents.
pub(crate) fn assert_same_tree(left: &Path, right: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let names = |dir: &Path| {
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(left), names(right), "entries of {}", left.display());
    for name in names(left) {
        let (left, right) = (left.join(&name), right.join(&name));
        let (a, b) = (left.symlink_metadata().unwrap(), right.symlink_metadata().unwrap());
        assert_eq!(a.file_type(), b.file_type(), "type of {}", left.display());
        assert_eq!(a.permissions().mode(), b.permissions().mode(), "mode of {}", left.display());
        if a.is_dir() {
            assert_same_tree(&left, &right);
        } else if a.is_symlink() {
            assert_eq!(fs::read_link(&left).unwrap(), fs::read_link(&right).unwrap());
        } else {
            assert!(fs::read(&left).unwrap() == fs::read(&right).unwrap(), "content of {}", left.display());
        }
    }
}

/// Runs blocking work off the runtime's threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}
