//! The decompressed files that the mounts of one image are served from.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ft_core::manifest::{BlockPlace, Layout};
use ft_core::{BLOCK_SIZE, BlockIndex, Codec, Digest};

use crate::codec::decompress_block;
use crate::store::{BlockStore, StoreError, blocking};

mod error;
#[cfg(test)]
mod tests;

pub use error::ImageError;

/// Device images are whole numbers of EROFS blocks.
const EROFS_BLOCK: u64 = 4096;

/// The decompressed files of one image: `meta.img` and the sparse `data.img`, filled block by block.
///
/// The files count in the store's quota as they fill. They are deleted when this is dropped, and by the next
/// start after a crash; what is mounted from them straight keeps working until it is unmounted.
///
/// `fill` and `read_data` block the thread while they use the disk; all methods may be called from many
/// threads.
#[derive(Debug)]
pub struct ImageCache {
    store: Arc<BlockStore>,
    layout: Arc<Layout>,
    image: Digest,
    dir: PathBuf,
    meta: File,
    data: File,
    /// Whether each block is there, by index. Set after its bytes were written.
    filled: Vec<AtomicBool>,
    /// The further places of blocks that occur more than once, by their first.
    repeats: BTreeMap<BlockIndex, Vec<BlockIndex>>,
    /// The blocks that a thread is filling in at the moment, by their first index.
    filling: Mutex<Vec<BlockIndex>>,
    filling_changed: Condvar,
    left_in_metadata: AtomicU64,
    left_in_data: AtomicU64,
    reserved: AtomicU64,
}

impl ImageCache {
    /// Makes the empty files for an image, whose manifest has the digest `image`, below the store's directory.
    ///
    /// # Errors
    /// [`ImageError::InUse`] if the image has a cache already, [`StoreError::File`] if the disk refuses.
    pub fn create(
        store: &Arc<BlockStore>,
        image: &Digest,
        layout: Arc<Layout>,
    ) -> Result<Arc<Self>, ImageError> {
        let dir = store.image_dir(image);
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(ImageError::InUse { image: *image });
            }
            created => created.map_err(StoreError::file(&dir, "create the directory"))?,
        }
        let files = create_file(&dir.join("meta.img"), layout.metadata_len())
            .and_then(|meta| Ok((meta, create_file(&dir.join("data.img"), layout.data_len())?)));
        let (meta, data) = match files {
            Ok(files) => files,
            Err(error) => {
                // The directory is of no use, and would look like a cache.
                let _ = fs::remove_dir_all(&dir);
                return Err(error.into());
            }
        };
        let mut repeats: BTreeMap<BlockIndex, Vec<BlockIndex>> = BTreeMap::new();
        for (index, place) in (0..).map(BlockIndex).zip(layout.blocks()) {
            if place.canonical != index {
                repeats.entry(place.canonical).or_default().push(index);
            }
        }
        Ok(Arc::new(Self {
            store: Arc::clone(store),
            image: *image,
            dir,
            meta,
            data,
            filled: layout.blocks().iter().map(|_| AtomicBool::new(false)).collect(),
            repeats,
            filling: Mutex::default(),
            filling_changed: Condvar::new(),
            left_in_metadata: AtomicU64::new(u64::from(layout.metadata_blocks())),
            left_in_data: AtomicU64::new(u64::from(layout.len() - layout.metadata_blocks())),
            reserved: AtomicU64::new(0),
            layout,
        }))
    }

    /// The EROFS primary device.
    pub fn metadata_path(&self) -> PathBuf {
        self.dir.join("meta.img")
    }

    /// The EROFS extra device: a sparse file of [`ImageCache::data_len`] bytes.
    pub fn data_path(&self) -> PathBuf {
        self.dir.join("data.img")
    }

    /// Bytes of the data device, a multiple of 4096; 0 if the image has no file data.
    pub fn data_len(&self) -> u64 {
        self.layout.data_len().next_multiple_of(EROFS_BLOCK)
    }

    /// Whether every block of the metadata is there: the image can be mounted.
    pub fn metadata_complete(&self) -> bool {
        self.left_in_metadata.load(Ordering::Acquire) == 0
    }

    /// Whether every block of the data is there: it can be mounted straight from the file.
    pub fn data_complete(&self) -> bool {
        self.left_in_data.load(Ordering::Acquire) == 0
    }

    /// Whether the block is there.
    pub fn is_filled(&self, index: BlockIndex) -> bool {
        self.filled.get(index.0 as usize).is_some_and(|filled| filled.load(Ordering::Acquire))
    }

    /// Whether the store's quota has room for all that is not filled in yet, as things are.
    ///
    /// # Errors
    /// [`StoreError::QuotaExceeded`] if it has not.
    pub fn check_room(&self) -> Result<(), StoreError> {
        let left = self.layout.blocks().iter().zip(&self.filled);
        let left = left.filter(|(_, filled)| !filled.load(Ordering::Acquire));
        self.store.check_room(left.map(|(place, _)| u64::from(place.raw_len)).sum())
    }

    /// Decompresses a block, whose *verified* stored bytes these are, to all the places where the image has
    /// it. Done once, however many threads ask: the others wait for the first, and try themselves if it fails.
    ///
    /// # Errors
    /// [`ImageError`]; the block is then not there.
    pub fn fill(&self, index: BlockIndex, stored: &[u8]) -> Result<(), ImageError> {
        let place = self.layout.block(index).ok_or(ImageError::NoBlock { image: self.image, index })?;
        let first = place.canonical;
        let Some(_turn) = self.take_turn(first) else { return Ok(()) };
        for index in std::iter::once(&first).chain(self.repeats.get(&first).into_iter().flatten()) {
            if !self.is_filled(*index) {
                self.fill_place(*index, stored)?;
            }
        }
        Ok(())
    }

    /// [`ImageCache::fill`] on tokio's pool for blocking work.
    ///
    /// # Errors
    /// Those of [`ImageCache::fill`].
    pub async fn fill_async(self: &Arc<Self>, index: BlockIndex, stored: Bytes) -> Result<(), ImageError> {
        let cache = Arc::clone(self);
        blocking(self.dir.clone(), move || cache.fill(index, &stored)).await
    }

    /// Reads from the data device. Gaps between segments read as zeros.
    ///
    /// # Errors
    /// [`ImageError::NotFilled`] names the first block that is not there, [`ImageError::OutOfRange`].
    pub fn read_data(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ImageError> {
        let len = buffer.len();
        let outside = ImageError::OutOfRange { image: self.image, offset, len };
        let end = offset.checked_add(len as u64).filter(|end| *end <= self.data_len()).ok_or(outside)?;
        // Segments start on block boundaries, so every block lies within one of these windows; where a window
        // is in a gap at its start, it is in the gap to its end.
        let block = u64::from(BLOCK_SIZE);
        for nth in offset / block..end.div_ceil(block) {
            let index = self.layout.data_block_at(offset.max(nth * block));
            if let Some(index) = index.filter(|index| !self.is_filled(*index)) {
                return Err(ImageError::NotFilled { image: self.image, index });
            }
        }
        let path = self.data_path();
        self.data.read_exact_at(buffer, offset).map_err(StoreError::file(&path, "read"))?;
        Ok(())
    }

    fn fill_place(&self, index: BlockIndex, stored: &[u8]) -> Result<(), ImageError> {
        let Some(place) = self.layout.block(index) else { return Ok(()) };
        let raw_len = u64::from(place.raw_len);
        self.store.reserve(raw_len)?;
        if let Err(error) = self.write(index, place, stored) {
            self.store.release(raw_len);
            return Err(error);
        }
        self.reserved.fetch_add(raw_len, Ordering::Relaxed);
        self.filled[index.0 as usize].store(true, Ordering::Release);
        let left = if self.is_metadata(index) { &self.left_in_metadata } else { &self.left_in_data };
        left.fetch_sub(1, Ordering::Release);
        Ok(())
    }

    fn write(&self, index: BlockIndex, place: &BlockPlace, stored: &[u8]) -> Result<(), ImageError> {
        let (file, path) = match self.is_metadata(index) {
            true => (&self.meta, self.metadata_path()),
            false => (&self.data, self.data_path()),
        };
        let decoded;
        let raw = if place.codec == Codec::Raw && stored.len() == place.raw_len as usize {
            stored
        } else {
            let failed = |cause| ImageError::Codec { image: self.image, index, cause };
            decoded = decompress_block(place.codec, stored, place.raw_len).map_err(failed)?;
            &decoded
        };
        let written = file.write_all_at(raw, place.device_offset);
        written.map_err(|error| self.store.disk_error(&path, raw.len() as u64, error).into())
    }

    fn is_metadata(&self, index: BlockIndex) -> bool {
        index.0 < self.layout.metadata_blocks()
    }

    /// Waits while another thread fills the block in; `None` if it has done so.
    fn take_turn(&self, first: BlockIndex) -> Option<Turn<'_>> {
        let mut filling = self.filling();
        while filling.contains(&first) {
            filling = self.filling_changed.wait(filling).unwrap_or_else(PoisonError::into_inner);
        }
        let repeats = self.repeats.get(&first).into_iter().flatten();
        if std::iter::once(&first).chain(repeats).all(|index| self.is_filled(*index)) {
            return None;
        }
        filling.push(first);
        Some(Turn { cache: self, first })
    }

    fn filling(&self) -> MutexGuard<'_, Vec<BlockIndex>> {
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to fill a block in, which ends also if that fails or panics.
struct Turn<'a> {
    cache: &'a ImageCache,
    first: BlockIndex,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.cache.filling().retain(|index| *index != self.first);
        self.cache.filling_changed.notify_all();
    }
}

impl Drop for ImageCache {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), %error, "cannot remove the cache of an image");
        }
        self.store.release(*self.reserved.get_mut());
    }
}

fn create_file(path: &Path, len: u64) -> Result<File, StoreError> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
    let sized = file.and_then(|file| file.set_len(len.next_multiple_of(EROFS_BLOCK)).map(|()| file));
    sized.map_err(StoreError::file(path, "create"))
}
