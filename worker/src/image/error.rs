//! Why bytes of an image cannot be read.

use std::time::Duration;

use ft_blockstore::ImageError as CacheError;
use ft_core::{BlockIndex, Digest};

use crate::relay::Unavailable;

/// Why bytes of an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A block could be had from nowhere.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// A block is damaged each time it is read from this VM's disk.
    #[error("block {block} of image {image} is damaged on this VM's disk again and again")]
    Damaged {
        /// The image.
        image: Digest,
        /// The block.
        block: BlockIndex,
    },
    /// The files that the image is mounted from cannot be made, filled or read.
    #[error("cannot use the image's files: {0}")]
    Cache(#[from] CacheError),
    /// A task that did blocking work died.
    #[error("reading image {image} failed: {cause}")]
    Died {
        /// The image.
        image: Digest,
        /// Why.
        cause: String,
    },
    /// The bytes did not come in time.
    #[error("bytes {offset} to {end} of image {image} did not come within {after:?}")]
    Late {
        /// The image.
        image: Digest,
        /// The first byte, on the data device.
        offset: u64,
        /// One past the last byte.
        end: u64,
        /// The deadline.
        after: Duration,
    },
}
