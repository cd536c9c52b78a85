//! Why the local store did not do what was asked.

use std::io;
use std::path::{Path, PathBuf};

use ft_core::{BLOCK_SIZE, BlockId};

/// Why the local store did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process has the store.
    #[error("{}: another process uses this block store; give each worker a directory of its own", dir.display())]
    InUse {
        /// The store's directory.
        dir: PathBuf,
    },
    /// The bytes to be stored are not the block's. Nothing was stored.
    #[error("block {id}: the bytes are not this block's, so they were not stored")]
    Corrupt {
        /// The block.
        id: BlockId,
    },
    /// The bytes to be stored are too many, or none. Nothing was stored.
    #[error("block {id}: a block has 1 to {BLOCK_SIZE} stored bytes, not {len}")]
    Length {
        /// The block.
        id: BlockId,
        /// Bytes given.
        len: usize,
    },
    /// The file does not hold the block. It has been removed; fetch the block again.
    #[error("block {id} is damaged on disk ({}); it was removed and has to be fetched again", path.display())]
    Damaged {
        /// The block.
        id: BlockId,
        /// Where it was.
        path: PathBuf,
    },
    /// Everything that is left in the store is pinned. Nothing was stored.
    #[error("no room for {needed} bytes: mounts and transfers hold {held} of the quota of {quota}; raise it")]
    QuotaExceeded {
        /// Bytes to be stored.
        needed: u64,
        /// The quota.
        quota: u64,
        /// Bytes that cannot be evicted.
        held: u64,
    },
    /// The file system is full. Nothing was stored, and nothing lost.
    #[error("{}: the file system is full ({needed} bytes were needed); free some space or lower the quota", dir.display())]
    NoSpace {
        /// The store's directory.
        dir: PathBuf,
        /// Bytes to be stored.
        needed: u64,
    },
    /// The operating system refused.
    #[error("{}: cannot {action}: {reason}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What was to be done.
        action: &'static str,
        /// What the system said.
        reason: String,
    },
}

impl StoreError {
    /// An operation on a file failed.
    pub(crate) fn file(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::File { path, action, reason: error.to_string() }
    }
}
