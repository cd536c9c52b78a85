//! What an image says about one object.

use super::super::disk::{self, DataLayout, DiskInode, INODE_BYTES, SLOT, TYPE_MASK};
use super::ReadError;

/// One inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    pub(super) node: u64,
    pub(super) disk: DiskInode,
}

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
}

impl Inode {
    /// Its number in the image, which is its identity: two names with the same number are hard links.
    pub fn node(&self) -> u64 {
        self.node
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        let device = match self.disk.layout {
            DataLayout::Device { number } => disk::decode_device(number),
            _ => (0, 0),
        };
        let (major, minor) = device;
        match self.disk.mode & TYPE_MASK {
            0o040_000 => Kind::Directory,
            0o120_000 => Kind::Symlink,
            0o020_000 => Kind::CharDevice { major, minor },
            0o060_000 => Kind::BlockDevice { major, minor },
            0o010_000 => Kind::Fifo,
            0o140_000 => Kind::Socket,
            _ => Kind::File,
        }
    }

    /// Permission, set-id and sticky bits.
    pub fn mode(&self) -> u16 {
        self.disk.mode & !TYPE_MASK
    }

    /// Owner.
    pub fn uid(&self) -> u32 {
        self.disk.uid
    }

    /// Group.
    pub fn gid(&self) -> u32 {
        self.disk.gid
    }

    /// Modification time: seconds since 1970 (rounded towards minus infinity) and nanoseconds.
    pub fn mtime(&self) -> (i64, u32) {
        (self.disk.mtime_secs, self.disk.mtime_nanos)
    }

    /// How many names it has; for a directory, two more than it has subdirectories.
    pub fn links(&self) -> u32 {
        self.disk.links
    }

    /// Bytes: of a file with its holes, of a symbolic link's target, of a directory's entries.
    pub fn size(&self) -> u64 {
        self.disk.size
    }

    pub(super) fn offset(&self) -> u64 {
        self.node * u64::from(SLOT)
    }

    /// Where what follows the inode and its xattrs starts.
    pub(super) fn tail(&self) -> u64 {
        self.offset() + u64::from(INODE_BYTES) + u64::from(self.disk.xattr_bytes)
    }

    pub(super) fn damaged(&self, what: &'static str) -> ReadError {
        ReadError::Damaged { what, node: self.node }
    }
}
