//! What the merged tree knows of one object.

use super::tree::{Directory, LayerNumber};

/// What all kinds of inodes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// Permission, set-id and sticky bits.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime_secs: i64,
    pub(crate) mtime_nanos: u32,
    /// A set of xattrs in the builder's table.
    pub(crate) xattrs: u32,
}

impl Attributes {
    /// Of directories that no layer has an entry for.
    pub(super) const IMPLICIT: Self =
        Self { mode: 0o755, uid: 0, gid: 0, mtime_secs: 0, mtime_nanos: 0, xattrs: 0 };
}

/// One object of the tree.
#[derive(Clone, Debug)]
pub(crate) struct Inode {
    pub(crate) attributes: Attributes,
    pub(crate) body: Body,
}

/// What an inode is.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Directory(Directory),
    File(FileData),
    Symlink(Box<[u8]>),
    /// Device numbers as EROFS stores them.
    CharDevice(u32),
    BlockDevice(u32),
    Fifo,
    Socket,
}

/// Where a regular file's bytes are.
#[derive(Clone, Debug)]
pub(crate) struct FileData {
    pub(crate) size: u64,
    /// The layer in whose segment the extents lie.
    pub(crate) layer: LayerNumber,
    /// The chunk size as a power of two.
    pub(crate) chunk_bits: u8,
    pub(crate) extents: Extents,
}

/// The stored parts of a file. Nearly every file has none or one, starting at its first byte.
#[derive(Clone, Debug)]
pub(crate) enum Extents {
    None,
    /// The whole file, from this block of the segment on.
    Whole(u32),
    Some(Box<[Extent]>),
}

/// A stored part of a sparse file, in blocks of 4 KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Where it starts in the file.
    pub(crate) file_block: u64,
    pub(crate) blocks: u64,
    /// Where it starts in the segment.
    pub(crate) segment_block: u32,
}
