//! The store's directory: its parts, and what a start finds there.

use std::fs::{self, DirEntry, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ft_core::{BLOCK_SIZE, BlockId};
use rustix::fs::{FlockOperation, flock};

use super::StoreError;

/// Stored blocks, in 256 folders by the first two digits of their ids.
const BLOCKS: &str = "blocks";
/// Files that are not whole yet.
pub(super) const TEMPORARY: &str = "tmp";
/// Caches of images.
pub(super) const IMAGES: &str = "images";

/// The file of a block.
pub(super) fn block_path(dir: &Path, id: &BlockId) -> PathBuf {
    let hex = id.to_string();
    let (folder, file) = hex.split_at(2);
    dir.join(BLOCKS).join(folder).join(file)
}

/// Takes the directory, tidies it up, and lists its blocks with their lengths, the oldest first.
pub(super) fn open_dir(dir: &Path) -> Result<(File, Vec<(BlockId, u32)>), StoreError> {
    let blocks = dir.join(BLOCKS);
    fs::create_dir_all(&blocks).map_err(StoreError::file(&blocks, "create the directory"))?;
    let lock = lock(dir)?;
    for folder in [TEMPORARY, IMAGES] {
        let path = dir.join(folder);
        empty(&path).map_err(StoreError::file(&path, "empty the directory"))?;
    }
    let mut found = Vec::new();
    for folder in list(&blocks)? {
        if is_hex(&folder, 2) && folder.file_type().is_ok_and(|kind| kind.is_dir()) {
            for file in list(&folder.path())? {
                found.extend(examine(&folder, &file)?);
            }
        }
    }
    found.sort_unstable();
    Ok((lock, found.into_iter().map(|(_, id, len)| (id, len)).collect()))
}

/// The kernel gives the lock back when the process ends, however it does.
fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(StoreError::file(&path, "open the lock"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(error) if error == rustix::io::Errno::WOULDBLOCK => {
            Err(StoreError::InUse { dir: dir.to_owned() })
        }
        Err(error) => Err(StoreError::file(&path, "lock")(error.into())),
    }
}

fn empty(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir(path)
}

fn list(folder: &Path) -> Result<Vec<DirEntry>, StoreError> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect);
    entries.map_err(StoreError::file(folder, "list the directory"))
}

/// What a file is: `None` if it is none of ours, or was one that cannot be a block (then it is removed).
fn examine(folder: &DirEntry, file: &DirEntry) -> Result<Option<(SystemTime, BlockId, u32)>, StoreError> {
    let path = file.path();
    let metadata = file.metadata().map_err(StoreError::file(&path, "examine the block"))?;
    if !is_hex(file, 62) || !metadata.is_file() {
        tracing::debug!(path = %path.display(), "left alone: not a block's file");
        return Ok(None);
    }
    let (folder, file) = (folder.file_name(), file.file_name());
    let hex = format!("{}{}", folder.to_string_lossy(), file.to_string_lossy());
    let Ok(id) = hex.parse() else { return Ok(None) };
    match u32::try_from(metadata.len()) {
        Ok(len @ 1..=BLOCK_SIZE) => {
            let modified = metadata.modified().map_err(StoreError::file(&path, "examine the block"))?;
            Ok(Some((modified, id, len)))
        }
        _ => {
            tracing::warn!(block = %id, bytes = metadata.len(), "removed: no block has this length");
            fs::remove_file(&path).map_err(StoreError::file(&path, "remove what is no block"))?;
            Ok(None)
        }
    }
}

/// Whether a name is `len` lower-case hexadecimal digits.
fn is_hex(entry: &DirEntry, len: usize) -> bool {
    let name = entry.file_name();
    let name = name.as_encoded_bytes();
    name.len() == len && name.iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}
