//! Reading function images without the kernel, from whatever holds the two devices.
//!
//! Nothing in an image is trusted: every offset is checked against the devices' lengths, every size before
//! something is allocated for it, and names against what a directory may hold.

use std::io;

use super::device::ReadAt;
use super::disk::{BLOCK, DataLayout, DiskInode, INODE_BYTES, SLOT, TYPE_MASK};
use super::superblock::{Superblock, SuperblockError};

mod directory;
mod file;
mod inode;
mod walk;
mod xattrs;

pub use directory::{DirEntry, ReadDir};
pub use file::{Extent, Extents};
pub use inode::{Inode, Kind};
pub use walk::{Visitor, walk};
pub use xattrs::Xattr;

/// The longest symbolic link that is read.
const MAX_SYMLINK: u64 = 4096;

/// Why an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The metadata's first block is not what it should be.
    #[error("the metadata is not that of a function image: {0}")]
    Superblock(#[from] SuperblockError),
    /// A part of the image contradicts the format.
    #[error("the image is damaged: {what}, at inode {node}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
        /// The inode where it was found.
        node: u64,
    },
    /// A device cannot be read.
    #[error("reading the {device} at byte {offset}: {cause}")]
    Device {
        /// `metadata` or `file data`.
        device: &'static str,
        /// Where.
        offset: u64,
        /// The system's answer.
        cause: io::Error,
    },
}

/// An image's reader.
#[derive(Debug)]
pub struct Reader<M, D> {
    metadata: M,
    data: D,
    superblock: Superblock,
}

impl<M: ReadAt, D: ReadAt> Reader<M, D> {
    /// A reader of the image with these devices; `data` may be empty for an image without file data.
    ///
    /// # Errors
    /// The metadata does not start with a superblock, or the devices are shorter than it says.
    pub fn open(metadata: M, data: D) -> Result<Self, ReadError> {
        let mut block = [0; BLOCK as usize];
        read_metadata(&metadata, &mut block, 0)?;
        let superblock = Superblock::decode(&block)?;
        let reader = Self { metadata, data, superblock };
        let short = |what| ReadError::Damaged { what, node: 0 };
        if u64::from(reader.superblock.metadata_blocks) * u64::from(BLOCK) > reader.metadata.len() {
            return Err(short("the metadata is shorter than its superblock says"));
        }
        if u64::from(reader.superblock.data_blocks) * u64::from(BLOCK) > reader.data.len() {
            return Err(short("the file data is shorter than the superblock says"));
        }
        Ok(reader)
    }

    /// How many inodes the superblock announces.
    pub fn inodes(&self) -> u64 {
        self.superblock.inodes
    }

    /// The root directory.
    ///
    /// # Errors
    /// The root is damaged.
    pub fn root(&self) -> Result<Inode, ReadError> {
        let root = self.inode(self.superblock.root)?;
        if root.kind() == Kind::Directory { Ok(root) } else { Err(root.damaged("the root is no directory")) }
    }

    /// The inode with this number.
    ///
    /// # Errors
    /// There is no valid inode with this number.
    pub fn inode(&self, node: u64) -> Result<Inode, ReadError> {
        let damaged = |what| ReadError::Damaged { what, node };
        let in_range = node < self.metadata_len() / u64::from(SLOT);
        if !in_range {
            return Err(damaged("its number is beyond the metadata"));
        }
        let mut bytes = [0; INODE_BYTES as usize];
        self.read_metadata(&mut bytes, node * u64::from(SLOT)).map_err(|_| damaged("it is cut off"))?;
        let disk = DiskInode::decode(&bytes).ok_or(damaged("it is not an inode"))?;
        let layout_fits = matches!(
            (disk.mode & TYPE_MASK, disk.layout),
            (0o040_000 | 0o120_000, DataLayout::Plain { .. } | DataLayout::Inline { .. })
                | (0o020_000 | 0o060_000, DataLayout::Device { .. })
                | (0o100_000, DataLayout::Plain { .. } | DataLayout::Chunks { .. })
                | (0o010_000 | 0o140_000, DataLayout::Plain { .. })
        );
        if !layout_fits {
            return Err(damaged("its type is unknown or does not fit its data"));
        }
        Ok(Inode { node, disk })
    }

    /// Follows `path` (names separated by `/`) from the root; symbolic links are not followed.
    ///
    /// # Errors
    /// A directory on the way is damaged.
    pub fn resolve(&self, path: &[u8]) -> Result<Option<Inode>, ReadError> {
        let mut inode = self.root()?;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            if inode.kind() != Kind::Directory {
                return Ok(None);
            }
            match self.lookup(&inode, name)? {
                Some(node) => inode = self.inode(node)?,
                None => return Ok(None),
            }
        }
        Ok(Some(inode))
    }

    /// A symbolic link's target.
    ///
    /// # Errors
    /// It is no symbolic link, or damaged.
    pub fn read_link(&self, inode: &Inode) -> Result<Vec<u8>, ReadError> {
        if inode.kind() != Kind::Symlink {
            return Err(inode.damaged("it is no symbolic link"));
        }
        let len = usize::try_from(inode.size()).ok().filter(|_| (1..=MAX_SYMLINK).contains(&inode.size()));
        let mut target = vec![0; len.ok_or(inode.damaged("its target's length is impossible"))?];
        self.read_flat(inode, &mut target, 0)?;
        if target.contains(&0) {
            return Err(inode.damaged("its target has a NUL byte in it"));
        }
        Ok(target)
    }

    /// Reads from a directory's or symbolic link's content; `offset` and `buffer` lie within its size.
    fn read_flat(&self, inode: &Inode, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
        let block = u64::from(BLOCK);
        let (first, tail_start) = match inode.disk.layout {
            DataLayout::Plain { block: first } => (first, u64::MAX),
            DataLayout::Inline { block: first } => (first, inode.size() / block * block),
            _ => return Err(inode.damaged("it has no content")),
        };
        let whole =
            usize::try_from(tail_start.saturating_sub(offset)).unwrap_or(usize::MAX).min(buffer.len());
        let (in_blocks, in_tail) = buffer.split_at_mut(whole);
        if !in_blocks.is_empty() {
            self.read_metadata(in_blocks, u64::from(first) * block + offset)?;
        }
        if !in_tail.is_empty() {
            let start = inode.tail() + (offset + whole as u64 - tail_start);
            self.read_metadata(in_tail, start)?;
        }
        Ok(())
    }

    fn metadata_len(&self) -> u64 {
        u64::from(self.superblock.metadata_blocks) * u64::from(BLOCK)
    }

    fn data_len(&self) -> u64 {
        u64::from(self.superblock.data_blocks) * u64::from(BLOCK)
    }

    fn read_metadata(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
        match offset.checked_add(buffer.len() as u64) {
            Some(end) if end <= self.metadata_len() => read_metadata(&self.metadata, buffer, offset),
            _ => Err(ReadError::Device {
                device: "metadata",
                offset,
                cause: io::ErrorKind::UnexpectedEof.into(),
            }),
        }
    }

    fn read_data(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
        let failed = |cause| ReadError::Device { device: "file data", offset, cause };
        self.data.read_exact_at(buffer, offset).map_err(failed)
    }
}

fn read_metadata(metadata: &impl ReadAt, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
    let failed = |cause| ReadError::Device { device: "metadata", offset, cause };
    metadata.read_exact_at(buffer, offset).map_err(failed)
}
