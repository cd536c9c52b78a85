//! The files of an OCI image layout, and how they change: blocking, and safe against a crash at any point.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use ft_core::Digest;
use rustix::fs::{FlockOperation, flock};
use tempfile::NamedTempFile;
use tokio::sync::mpsc;

use super::index::Index;
use crate::name::RefName;
use crate::origin::{ImageObjects, Object, OriginError};
use crate::verify::Hasher;

/// How long to wait for other processes that change the same origin.
const LOCK_DEADLINE: Duration = Duration::from_secs(30);
const LOCK_POLL: Duration = Duration::from_millis(5);

/// An OCI image layout.
#[derive(Clone, Debug)]
pub(super) struct LayoutDir {
    root: Arc<Path>,
}

/// What a process may do while it holds the lock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    /// Add objects: several processes at once.
    Shared,
    /// Change the index or remove objects: one process alone.
    Exclusive,
}

impl LayoutDir {
    pub(super) fn open(root: &Path) -> Result<Self, OriginError> {
        let layout = Self { root: root.into() };
        let blobs = layout.blobs();
        fs::create_dir_all(&blobs).map_err(OriginError::file(&blobs, "create the directory"))?;
        let temporary = layout.temporary();
        fs::create_dir_all(&temporary).map_err(OriginError::file(&temporary, "create the directory"))?;
        let _lock = layout.lock(Lock::Exclusive)?;
        let marker = layout.root.join("oci-layout");
        if !marker.exists() {
            layout.replace(&marker, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        if !layout.index_path().exists() {
            layout.replace(&layout.index_path(), &Index::default().encode())?;
        }
        Ok(layout)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub(super) fn blob(&self, object: &Digest) -> PathBuf {
        self.blobs().join(object.hex().to_string())
    }

    /// Where files are before they are whole.
    pub(super) fn temporary(&self) -> PathBuf {
        self.root.join(".ft/tmp")
    }

    fn index_path(&self) -> PathBuf {
        self.root.join("index.json")
    }

    /// Takes the lock; it is given back when the file is dropped, and by the kernel when the process dies.
    pub(super) fn lock(&self, kind: Lock) -> Result<File, OriginError> {
        let path = self.root.join(".ft/lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(OriginError::file(&path, "open the lock"))?;
        let operation = match kind {
            Lock::Shared => FlockOperation::NonBlockingLockShared,
            Lock::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        let started = Instant::now();
        loop {
            match flock(&file, operation) {
                Ok(()) => return Ok(file),
                Err(error) if error == rustix::io::Errno::WOULDBLOCK || error == rustix::io::Errno::INTR => {}
                Err(error) => return Err(OriginError::file(&path, "lock")(error.into())),
            }
            if started.elapsed() > LOCK_DEADLINE {
                let path = self.root.to_path_buf();
                return Err(OriginError::Locked { path, seconds: LOCK_DEADLINE.as_secs() });
            }
            std::thread::sleep(LOCK_POLL);
        }
    }

    /// An object whose bytes hash to something else.
    pub(super) fn corrupt(&self, object: &Digest, actual: Digest) -> OriginError {
        OriginError::WrongDigest { origin: self.describe(), object: *object, actual }
    }

    /// The origin as the user would write it.
    pub(super) fn describe(&self) -> String {
        format!("dir:{}", self.root.display())
    }

    pub(super) fn blob_size(&self, object: &Digest) -> Result<Option<u64>, OriginError> {
        let path = self.blob(object);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(OriginError::file(&path, "examine the object")(error)),
        }
    }

    /// Whether the object is there with `len` bytes, undamaged; if so, it counts as just stored, so that no
    /// garbage collection takes it away before its image is published. A damaged one is as good as missing:
    /// storing it again puts the right bytes in its place.
    pub(super) fn keep_blob(&self, object: &Digest, len: u64) -> Result<bool, OriginError> {
        // Before the lock, because it may take seconds.
        if self.blob_size(object)? != Some(len) || !self.is_sound(object)? {
            return Ok(false);
        }
        let _lock = self.lock(Lock::Shared)?;
        // Meanwhile it may have become garbage, and been collected.
        if self.blob_size(object)? != Some(len) {
            return Ok(false);
        }
        let path = self.blob(object);
        let file = File::open(&path).map_err(OriginError::file(&path, "open the object"))?;
        file.set_modified(SystemTime::now()).map_err(OriginError::file(&path, "touch the object"))?;
        Ok(true)
    }

    /// Whether an object's file has the bytes that its name says.
    fn is_sound(&self, object: &Digest) -> Result<bool, OriginError> {
        let path = self.blob(object);
        let mut hasher = Hasher::default();
        let hashed = File::open(&path).and_then(|mut file| io::copy(&mut file, &mut hasher));
        match hashed {
            Ok(_) => Ok(hasher.finish() == *object),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(OriginError::file(&path, "read the object")(error)),
        }
    }

    /// Writes an object from the chunks that come, until the sender is gone. Temporary file, hash, fsync,
    /// rename, fsync of the directory: it is there whole, or not at all.
    pub(super) fn write_blob(
        &self,
        object: &Digest,
        mut chunks: mpsc::Receiver<Bytes>,
    ) -> Result<(), OriginError> {
        let temporary = self.temporary();
        let failed = |error| OriginError::file(&temporary, "write an object")(error);
        let mut file = NamedTempFile::new_in(&temporary).map_err(failed)?;
        let mut hasher = Hasher::default();
        while let Some(chunk) = chunks.blocking_recv() {
            hasher.update(&chunk);
            file.write_all(&chunk).map_err(failed)?;
        }
        let actual = hasher.finish();
        if actual != *object {
            let reason = format!("they hash to {actual}");
            return Err(OriginError::NotStored { object: *object, reason });
        }
        // Before the lock, because it may take seconds.
        readable_by_all(file.as_file()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        let _lock = self.lock(Lock::Shared)?;
        self.settle(file, &self.blob(object))
    }

    /// Moves a synced temporary file to its place, for good.
    fn settle(&self, file: NamedTempFile, path: &Path) -> Result<(), OriginError> {
        let failed = |error| OriginError::file(path, "put the file in place")(error);
        file.persist(path).map_err(|error| failed(error.error))?;
        let folder = path.parent().unwrap_or(&self.root);
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }

    /// Replaces a small file atomically. The caller holds the lock.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), OriginError> {
        let failed = |error| OriginError::file(path, "write")(error);
        let mut file = NamedTempFile::new_in(self.temporary()).map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        readable_by_all(file.as_file()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        self.settle(file, path)
    }

    pub(super) fn read_index_bytes(&self) -> Result<Bytes, OriginError> {
        let path = self.index_path();
        fs::read(&path).map(Bytes::from).map_err(OriginError::file(&path, "read"))
    }

    pub(super) fn read_index(&self) -> Result<Index, OriginError> {
        Index::decode(&self.read_index_bytes()?).map_err(|reason| OriginError::File {
            path: self.index_path(),
            action: "understand the index",
            reason,
        })
    }

    /// The OCI manifest that a name stands for.
    pub(super) fn lookup(&self, name: &RefName) -> Result<Option<Digest>, OriginError> {
        Ok(self.read_index()?.get(name))
    }

    /// Gives an image a name: the last step of publishing it. All its objects have to be there.
    pub(super) fn list(
        &self,
        name: &RefName,
        artifact: &Object,
        image: &ImageObjects,
    ) -> Result<(), OriginError> {
        let _lock = self.lock(Lock::Exclusive)?;
        for object in image.iter().chain([artifact]) {
            if self.blob_size(&object.digest)? != Some(object.size) {
                return Err(OriginError::NoObject { origin: self.describe(), object: object.digest });
            }
        }
        let mut index = self.read_index()?;
        index.set(name, artifact);
        self.replace_index(&index)
    }

    /// Writes the index. The caller holds the lock.
    pub(super) fn replace_index(&self, index: &Index) -> Result<(), OriginError> {
        self.replace(&self.index_path(), &index.encode())
    }

    /// Takes a name away.
    pub(super) fn unlist(&self, name: &RefName) -> Result<bool, OriginError> {
        let _lock = self.lock(Lock::Exclusive)?;
        let mut index = self.read_index()?;
        let had = index.remove(name);
        if had {
            self.replace_index(&index)?;
        }
        Ok(had)
    }
}

/// Temporary files are private; an origin may well be served by another user's process.
fn readable_by_all(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}
