//! The file system inside a function image: EROFS, as the Linux kernel mounts it.
//!
//! The primary device holds metadata only; file data lies on one extra device, in chunks. The profile of
//! EROFS that is written and read here is in `docs/formats.md`.

mod chunks;
mod crc32c;
mod device;
mod dirents;
mod disk;
mod plan;
mod reader;
mod superblock;
#[cfg(test)]
mod tests;
mod write;
mod xattr;

pub(crate) use chunks::ChunkPlan;
pub(crate) use disk::{BLOCK, encode_device};
pub(crate) use plan::Image;
pub(crate) use xattr::split_name as split_xattr_name;

pub use device::{FileDevice, ReadAt};
pub use reader::{DirEntry, Extent, Extents, Inode, Kind, ReadDir, ReadError, Reader, Visitor, Xattr, walk};
pub use superblock::SuperblockError;
