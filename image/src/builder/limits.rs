//! How large an image may be.

use crate::entry::MAX_PATH;

/// Bounds on what a source may claim, so that a hostile one costs neither memory nor disk without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageLimits {
    /// Entries of all layers together, and likewise objects with the directories that only paths mention. One
    /// costs about 200 bytes of memory.
    pub entries: u64,
    /// Names in one directory.
    pub directory_entries: u64,
    /// Bytes of file data of all layers together, each file rounded up to 4 KiB. A manifest's blocks suffice
    /// for 512 GiB.
    pub data_bytes: u64,
    /// Zeros stored in the place of holes that chunks are too large for, of all layers together, over and above
    /// as many bytes as there was data: a map of a few kilobytes can scatter single bytes over terabytes.
    pub padding_bytes: u64,
    /// Length of one file, holes included.
    pub file_bytes: u64,
    /// Chunk indices (8 bytes of metadata each) of all files together.
    pub chunks: u64,
    /// Names and values of one entry's xattrs.
    pub xattr_bytes: u64,
    /// Names and values of all different sets of xattrs together.
    pub total_xattr_bytes: u64,
    /// Length of a symbolic link's target.
    pub symlink_bytes: u64,
}

impl Default for ImageLimits {
    fn default() -> Self {
        Self {
            entries: 2_000_000,
            directory_entries: 500_000,
            data_bytes: 448 << 30,
            padding_bytes: 1 << 30,
            file_bytes: 16 << 40,
            chunks: 8 << 20,
            xattr_bytes: 64 << 10,
            total_xattr_bytes: 64 << 20,
            symlink_bytes: MAX_PATH as u64 - 1,
        }
    }
}
