//! Why the files of an image cannot be filled or read.

use ft_core::{BlockIndex, Digest};

use crate::codec::CodecError;
use crate::store::StoreError;

/// Why a block cannot be filled in, or data not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The image has no such block.
    #[error("image {image} has no block {index}")]
    NoBlock {
        /// The image's manifest.
        image: Digest,
        /// The index.
        index: BlockIndex,
    },
    /// The stored bytes do not decode as the manifest says.
    #[error("image {image}, block {index}: {cause}")]
    Codec {
        /// The image's manifest.
        image: Digest,
        /// The index.
        index: BlockIndex,
        /// What is wrong with them.
        cause: CodecError,
    },
    /// The bytes are not there yet.
    #[error("image {image}: block {index} is not filled in yet")]
    NotFilled {
        /// The image's manifest.
        image: Digest,
        /// The index.
        index: BlockIndex,
    },
    /// The range is not on the device.
    #[error("image {image}: {len} bytes at {offset} are not on the data device")]
    OutOfRange {
        /// The image's manifest.
        image: Digest,
        /// The first byte.
        offset: u64,
        /// How many.
        len: usize,
    },
    /// The image is in use already.
    #[error("image {image} has a cache already; share that one")]
    InUse {
        /// The image's manifest.
        image: Digest,
    },
    /// There is no room, or the disk refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
}
