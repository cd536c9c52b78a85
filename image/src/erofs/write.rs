//! Writing the metadata from front to back.

use std::io::{self, Write};

use super::dirents::{self, NewEntry};
use super::disk::{
    BLOCK, CHUNK_INDEX_BYTES, DataLayout, DiskInode, NULL_BLOCK, SLOT, dirent_type, encode_chunk_index,
};
use super::plan::{Data, Image, Placed, chunk_count};
use super::superblock::Superblock;
use crate::builder::inode::{Body, Extents, FileData};
use crate::builder::tree::InodeId;

impl Image<'_> {
    /// Writes the metadata; a multiple of 4 KiB.
    ///
    /// # Errors
    /// What `out` reports.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut content = Hashing(blake3::Hasher::new());
        self.write_with_uuid([0; 16], &mut content)?;
        self.write_with_uuid(uuid(&content.0.finalize()), out)
    }

    fn write_with_uuid(&self, uuid: [u8; 16], out: &mut impl Write) -> io::Result<()> {
        let superblock = Superblock {
            root: self.nodes[InodeId::ROOT.index()].into(),
            inodes: self.inodes(),
            metadata_blocks: self.end,
            xattr_block: self.xattr_start,
            data_blocks: self.data_blocks,
            uuid,
        };
        let mut out = Positioned { out, at: 0 };
        out.write(&superblock.encode())?;
        for (placed, serial) in self.placed.iter().zip(1..) {
            out.pad_to(u64::from(placed.node) * u64::from(SLOT))?;
            self.write_inode(placed, serial, &mut out)?;
        }
        for placed in &self.placed {
            let content = self.content(placed);
            let whole = whole_blocks(placed, &content);
            if !whole.is_empty() {
                out.pad_to(u64::from(self.blocks_start + placed.block) * u64::from(BLOCK))?;
                out.write(whole)?;
            }
        }
        out.pad_to(u64::from(self.xattr_start) * u64::from(BLOCK))?;
        out.write(&self.xattrs.shared)?;
        out.pad_to(u64::from(self.end) * u64::from(BLOCK))
    }

    fn write_inode(
        &self,
        placed: &Placed,
        serial: u32,
        out: &mut Positioned<'_, impl Write>,
    ) -> io::Result<()> {
        let inode = self.tree.inode(placed.id);
        let xattrs = self.xattr_body(placed.id);
        let content = self.content(placed);
        let block = self.blocks_start + placed.block;
        let (kind, size, layout) = match &inode.body {
            Body::Directory(_) => (0o040_000, content.len() as u64, block_layout(placed, block)),
            Body::Symlink(_) => (0o120_000, content.len() as u64, block_layout(placed, block)),
            Body::File(file) if placed.data == Data::Chunks => {
                (0o100_000, file.size, DataLayout::Chunks { bits: file.chunk_bits })
            }
            Body::File(_) => (0o100_000, 0, DataLayout::Plain { block: 0 }),
            Body::CharDevice(number) => (0o020_000, 0, DataLayout::Device { number: *number }),
            Body::BlockDevice(number) => (0o060_000, 0, DataLayout::Device { number: *number }),
            Body::Fifo => (0o010_000, 0, DataLayout::Plain { block: 0 }),
            Body::Socket => (0o140_000, 0, DataLayout::Plain { block: 0 }),
        };
        let disk = DiskInode {
            layout,
            // Limited to 64 KiB of names and values, so it fits.
            xattr_bytes: u32::try_from(xattrs.len()).unwrap_or(u32::MAX),
            mode: kind | inode.attributes.mode,
            size,
            serial,
            uid: inode.attributes.uid,
            gid: inode.attributes.gid,
            mtime_secs: inode.attributes.mtime_secs,
            mtime_nanos: inode.attributes.mtime_nanos,
            links: self.links[placed.id.index()],
        };
        out.write(&disk.encode())?;
        out.write(xattrs)?;
        match &inode.body {
            Body::File(file) if placed.data == Data::Chunks => self.write_chunks(file, out),
            _ if placed.data == Data::Inline => {
                let whole = whole_blocks(placed, &content).len();
                out.write(&content[whole..])
            }
            _ => Ok(()),
        }
    }

    fn write_chunks(&self, file: &FileData, out: &mut Positioned<'_, impl Write>) -> io::Result<()> {
        out.pad_to(out.at.next_multiple_of(CHUNK_INDEX_BYTES as u64))?;
        let start = self.segment_starts[usize::from(file.layer) - 1];
        let chunk_blocks = 1u64 << file.chunk_bits >> BLOCK.trailing_zeros();
        let chunks = (0..chunk_count(file)).map(|chunk| chunk * chunk_blocks);
        match &file.extents {
            Extents::None => chunks.into_iter().try_for_each(|_| out.write(&encode_chunk_index(NULL_BLOCK))),
            Extents::Whole(first) => {
                let first = u64::from(start) + u64::from(*first);
                chunks.into_iter().try_for_each(|chunk| out.write(&chunk_index(first + chunk)))
            }
            Extents::Some(extents) => {
                let mut extents = extents.iter().peekable();
                for chunk in chunks {
                    while extents.next_if(|extent| extent.file_block + extent.blocks <= chunk).is_some() {}
                    let block = extents.peek().filter(|extent| extent.file_block <= chunk).map(|extent| {
                        u64::from(start) + u64::from(extent.segment_block) + (chunk - extent.file_block)
                    });
                    out.write(&block.map_or(encode_chunk_index(NULL_BLOCK), chunk_index))?;
                }
                Ok(())
            }
        }
    }

    /// The bytes of a directory or a symbolic link; nothing for others.
    fn content(&self, placed: &Placed) -> Vec<u8> {
        match &self.tree.inode(placed.id).body {
            Body::Directory(_) => {
                let names = dirents::with_dots(self.tree.children(placed.id), placed.id, placed.parent);
                dirents::encode(names.map(|(name, id)| NewEntry {
                    name,
                    node: self.nodes[id.index()].into(),
                    kind: dirent_type(file_type(&self.tree.inode(id).body)),
                }))
            }
            Body::Symlink(target) => target.to_vec(),
            _ => Vec::new(),
        }
    }
}

fn file_type(body: &Body) -> u16 {
    match body {
        Body::Directory(_) => 0o040_000,
        Body::Symlink(_) => 0o120_000,
        Body::File(_) => 0o100_000,
        Body::CharDevice(_) => 0o020_000,
        Body::BlockDevice(_) => 0o060_000,
        Body::Fifo => 0o010_000,
        Body::Socket => 0o140_000,
    }
}

fn block_layout(placed: &Placed, block: u32) -> DataLayout {
    match placed.data {
        Data::Inline => DataLayout::Inline { block },
        Data::Plain | Data::Chunks => DataLayout::Plain { block },
    }
}

/// The part of an inode's content that lies in whole blocks.
fn whole_blocks<'c>(placed: &Placed, content: &'c [u8]) -> &'c [u8] {
    match placed.data {
        Data::Inline => &content[..content.len() / BLOCK as usize * BLOCK as usize],
        Data::Plain | Data::Chunks => content,
    }
}

/// The data device's blocks were checked to have 32-bit numbers.
fn chunk_index(block: u64) -> [u8; CHUNK_INDEX_BYTES] {
    encode_chunk_index(u32::try_from(block).unwrap_or(NULL_BLOCK))
}

/// A UUID of version 8 (RFC 9562: contents of one's own) from the hash of everything else in the metadata.
fn uuid(hash: &blake3::Hash) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&hash.as_bytes()[..16]);
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

/// Hashes what is written.
struct Hashing(blake3::Hasher);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A writer that knows where it is.
struct Positioned<'a, W> {
    out: &'a mut W,
    at: u64,
}

impl<W: Write> Positioned<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Writes zeros up to `target`, which is less than a block away.
    fn pad_to(&mut self, target: u64) -> io::Result<()> {
        const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
        while self.at < target {
            let count = (target - self.at).min(ZEROS.len() as u64);
            // At most a block, so it fits.
            self.write(&ZEROS[..usize::try_from(count).unwrap_or(ZEROS.len())])?;
        }
        Ok(())
    }
}
