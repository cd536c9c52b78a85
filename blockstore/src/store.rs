//! The local store of compressed blocks.
//!
//! Crash-safe without an fsync per block; `docs/design.md`, "Crash story", says why. In short: the name of a
//! file is a claim, and the BLAKE3 of its content, checked at every read, is the proof.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ft_core::{BLOCK_SIZE, BlockId};
use tempfile::NamedTempFile;

mod error;
mod index;
mod pin;
mod scan;
#[cfg(test)]
mod tests;

use crate::buffer::BlockBuffer;
pub use error::StoreError;
use index::Index;
pub use pin::PinGuard;

/// Where a store is and how large it may become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// The store's directory; created if need be. It belongs to one process at a time.
    pub dir: PathBuf,
    /// The most bytes of stored blocks and of image caches together. What the file system adds to them
    /// (directories, the last page of each file) is not counted.
    pub quota_bytes: u64,
}

/// The local store of compressed blocks, by id.
///
/// Its methods block the thread while they use the disk, and may be called from many threads; those that end
/// in `_async` do the same on tokio's pool for blocking work.
#[derive(Debug)]
pub struct BlockStore {
    dir: PathBuf,
    quota: u64,
    index: Mutex<Index>,
    /// Holds the lock on the directory for as long as the store lives.
    _lock: File,
}

impl BlockStore {
    /// Opens the store, or makes one. Lists the files, but reads none; removes what only the last run could
    /// use; evicts if the quota has become smaller.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has the store, [`StoreError::File`] if the disk refuses.
    pub fn open(options: StoreOptions) -> Result<Arc<Self>, StoreError> {
        let StoreOptions { dir, quota_bytes: quota } = options;
        let (lock, found) = scan::open_dir(&dir)?;
        let mut index = Index::default();
        for (id, len) in found {
            index.insert(id, len);
        }
        let store = Self { dir, quota, index: Mutex::new(index), _lock: lock };
        store.make_room(&mut store.index(), 0)?;
        Ok(Arc::new(store))
    }

    /// Whether the block is here. One whose file turns out to be damaged when it is read was here too.
    pub fn contains(&self, id: &BlockId) -> bool {
        self.index().contains(id)
    }

    /// Bytes of stored blocks and of image caches.
    pub fn used_bytes(&self) -> u64 {
        self.index().used()
    }

    /// The most that [`BlockStore::used_bytes`] may become.
    pub fn quota_bytes(&self) -> u64 {
        self.quota
    }

    /// Blocks in the store.
    pub fn block_count(&self) -> usize {
        self.index().len()
    }

    /// Stores a block; nothing is done if it is here already.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the bytes are not the block's, [`StoreError::QuotaExceeded`] and
    /// [`StoreError::NoSpace`] if there is no room. The store is then as before, but for evicted blocks.
    pub fn put(&self, id: &BlockId, stored: impl AsRef<[u8]>) -> Result<(), StoreError> {
        let stored = stored.as_ref();
        let len = match u32::try_from(stored.len()) {
            Ok(len) if (1..=BLOCK_SIZE).contains(&len) => len,
            _ => return Err(StoreError::Length { id: *id, len: stored.len() }),
        };
        if BlockId::of(stored) != *id {
            return Err(StoreError::Corrupt { id: *id });
        }
        {
            let mut index = self.index();
            if index.touch(id) {
                return Ok(());
            }
            self.make_room(&mut index, u64::from(len))?;
            index.reserve(u64::from(len));
        }
        let written = self.write(stored);
        let mut index = self.index();
        index.release(u64::from(len));
        let file = written?;
        // Another thread may have stored it meanwhile; the files are the same then.
        if !index.touch(id) {
            self.settle(file, &self.path(id))?;
            index.insert(*id, len);
        }
        Ok(())
    }

    /// The block's stored bytes, verified, or `None` if it is not here.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the file does not hold the block: it has been removed, and the block is
    /// absent from now on. [`StoreError::File`] if the disk refuses.
    pub fn get(&self, id: &BlockId) -> Result<Option<Bytes>, StoreError> {
        if !self.index().touch(id) {
            return Ok(None);
        }
        let path = self.path(id);
        match read(&path) {
            Ok(stored) if BlockId::of(&stored) == *id => Ok(Some(stored.freeze())),
            Ok(_) => Err(self.discard(id, path)),
            // Evicted between the look and the read, or removed by someone else.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.forget_if_missing(id, &path);
                Ok(None)
            }
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                Err(self.discard(id, path))
            }
            Err(error) => Err(StoreError::file(&path, "read the block")(error)),
        }
    }

    /// [`BlockStore::put`] on tokio's pool for blocking work.
    ///
    /// # Errors
    /// Those of [`BlockStore::put`].
    pub async fn put_async(self: &Arc<Self>, id: BlockId, stored: Bytes) -> Result<(), StoreError> {
        let store = Arc::clone(self);
        blocking(self.dir.clone(), move || store.put(&id, stored)).await
    }

    /// [`BlockStore::get`] on tokio's pool for blocking work.
    ///
    /// # Errors
    /// Those of [`BlockStore::get`].
    pub async fn get_async(self: &Arc<Self>, id: BlockId) -> Result<Option<Bytes>, StoreError> {
        let store = Arc::clone(self);
        blocking(self.dir.clone(), move || store.get(&id)).await
    }

    /// An error if there is no room for `needed` bytes, even without the blocks that can be evicted.
    pub(crate) fn check_room(&self, needed: u64) -> Result<(), StoreError> {
        self.room_beside_held(&self.index(), needed)
    }

    /// Takes `bytes` of the quota for something else than blocks; [`BlockStore::release`] gives them back.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<(), StoreError> {
        let mut index = self.index();
        self.make_room(&mut index, bytes)?;
        index.reserve(bytes);
        Ok(())
    }

    pub(crate) fn release(&self, bytes: u64) {
        self.index().release(bytes);
    }

    /// Where the cache of an image goes.
    pub(crate) fn image_dir(&self, image: &ft_core::Digest) -> PathBuf {
        self.dir.join(scan::IMAGES).join(image.hex().to_string())
    }

    /// Evicts the blocks that were used least recently until `needed` more bytes fit; none if they never will.
    fn make_room(&self, index: &mut Index, needed: u64) -> Result<(), StoreError> {
        self.room_beside_held(index, needed)?;
        while index.used().saturating_add(needed) > self.quota {
            let Some(victim) = index.least_recently_used() else { break };
            let path = self.path(&victim);
            remove_file(&path).map_err(StoreError::file(&path, "evict the block"))?;
            index.remove(&victim);
            tracing::debug!(block = %victim, "evicted");
        }
        Ok(())
    }

    fn room_beside_held(&self, index: &Index, needed: u64) -> Result<(), StoreError> {
        let (quota, held) = (self.quota, index.held());
        if held.saturating_add(needed) > quota {
            return Err(StoreError::QuotaExceeded { needed, quota, held });
        }
        Ok(())
    }

    fn write(&self, stored: &[u8]) -> Result<NamedTempFile, StoreError> {
        let temporary = self.dir.join(scan::TEMPORARY);
        let written = NamedTempFile::new_in(&temporary).and_then(|mut file| {
            io::Write::write_all(&mut file, stored)?;
            Ok(file)
        });
        written.map_err(|error| self.disk_error(&temporary, stored.len() as u64, error))
    }

    /// Renames a whole file to its place.
    fn settle(&self, file: NamedTempFile, path: &Path) -> Result<(), StoreError> {
        let len = file.as_file().metadata().map_or(0, |metadata| metadata.len());
        let file = match file.persist(path) {
            Ok(_) => return Ok(()),
            Err(error) if error.error.kind() == ErrorKind::NotFound => error.file,
            Err(error) => return Err(self.disk_error(path, len, error.error)),
        };
        // The first block whose id begins like this.
        let folder = path.parent().unwrap_or(&self.dir);
        fs::create_dir_all(folder).map_err(|error| self.disk_error(folder, len, error))?;
        file.persist(path).map(drop).map_err(|error| self.disk_error(path, len, error.error))
    }

    pub(crate) fn disk_error(&self, path: &Path, needed: u64, error: io::Error) -> StoreError {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                StoreError::NoSpace { dir: self.dir.clone(), needed }
            }
            _ => StoreError::file(path, "write")(error),
        }
    }

    /// Removes a file that does not hold its block.
    fn discard(&self, id: &BlockId, path: PathBuf) -> StoreError {
        let mut index = self.index();
        if let Err(error) = remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "cannot remove a damaged block");
        }
        index.remove(id);
        StoreError::Damaged { id: *id, path }
    }

    /// Under the lock, so that the file has not been evicted and stored again.
    fn forget_if_missing(&self, id: &BlockId, path: &Path) {
        let mut index = self.index();
        if !path.exists() {
            index.remove(id);
        }
    }

    fn path(&self, id: &BlockId) -> PathBuf {
        scan::block_path(&self.dir, id)
    }

    /// The index is consistent at every point where a thread could panic.
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// At most one byte more than a block has, which is enough to see that it is none.
fn read(path: &Path) -> io::Result<BlockBuffer> {
    let file = File::open(path)?;
    let len = usize::try_from(file.metadata()?.len().min(u64::from(BLOCK_SIZE) + 1)).unwrap_or_default();
    let mut stored = BlockBuffer::with_capacity(len);
    file.take(u64::from(BLOCK_SIZE) + 1).read_to_end(&mut stored)?;
    Ok(stored)
}

/// Removes a file, if it is there.
fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Runs blocking work on tokio's pool.
pub(crate) async fn blocking<T, E>(
    dir: PathBuf,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => {
            let reason = error.to_string();
            Err(StoreError::File { path: dir, action: "finish", reason }.into())
        }
    }
}
