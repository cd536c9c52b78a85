//! Where everything goes in the metadata: decided completely before the first byte is written, so that the
//! bytes can be written from front to back.
//!
//! Block 0 is the superblock. Then come the inodes, each directory's children together, small directories and
//! symbolic links inside their inodes; then the whole blocks of large directories and links; then the xattrs
//! that several inodes share.

use std::collections::HashMap;

use ft_core::BLOCK_SIZE;

use super::disk::{BLOCK, CHUNK_INDEX_BYTES, INODE_BYTES, SLOT, XATTR_HEADER_BYTES};
use super::{dirents, xattr};
use crate::Error;
use crate::builder::inode::{Body, FileData};
use crate::builder::tree::{InodeId, Tree};
use crate::builder::xattrs::XattrTable;

/// The most metadata that is written: an image with a thousandth of it is large.
const MAX_METADATA_BYTES: u64 = 8 << 30;
/// The data device's blocks have 32-bit numbers, of which the last means a hole.
const MAX_DATA_BLOCKS: u64 = u32::MAX as u64 - 1;

/// An image's metadata, ready to be written.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    pub(super) tree: &'a Tree,
    pub(super) xattrs: Xattrs,
    /// The inodes in the order in which they are written.
    pub(super) placed: Vec<Placed>,
    /// By [`InodeId`]: the number on disk of an inode that is in the image.
    pub(super) nodes: Vec<u32>,
    /// By [`InodeId`]: the link count.
    pub(super) links: Vec<u32>,
    /// First block behind the inodes.
    pub(super) blocks_start: u32,
    /// First block of the shared xattrs.
    pub(super) xattr_start: u32,
    /// Blocks of the metadata.
    pub(super) end: u32,
    /// By layer, from 1: the block of the data device at which its segment starts.
    pub(super) segment_starts: Vec<u32>,
    /// Blocks of the data device.
    pub(super) data_blocks: u32,
}

/// One inode's place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub(super) id: InodeId,
    /// The directory in which it was met first; the root is its own.
    pub(super) parent: InodeId,
    /// Its number on disk.
    pub(super) node: u32,
    /// The first of its whole blocks, counted from the first block behind the inodes.
    pub(super) block: u32,
    pub(super) data: Data,
}

/// Where an inode's data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// Nowhere, or in whole blocks only.
    Plain,
    /// Its last part is behind the inode.
    Inline,
    /// Behind the inode are chunk indices.
    Chunks,
}

/// How the image's xattrs are stored.
#[derive(Debug)]
pub(super) struct Xattrs {
    /// By number of the set: what follows an inode with it.
    pub(super) bodies: Vec<Vec<u8>>,
    /// The shared area.
    pub(super) shared: Vec<u8>,
}

impl<'a> Image<'a> {
    /// Places everything. `segment_lengths` are the raw bytes of each layer's segment, 0 where there is none.
    ///
    /// # Errors
    /// The image is too large for the format.
    pub(crate) fn plan(tree: &'a Tree, xattrs: &XattrTable, segment_lengths: &[u64]) -> Result<Self, Error> {
        let (segment_starts, data_blocks) = place_segments(segment_lengths)?;
        let (order, links) = order(tree);
        let mut image = Image {
            tree,
            xattrs: Xattrs::new(tree, xattrs, &order),
            placed: Vec::with_capacity(order.len()),
            nodes: vec![0; tree.inode_count()],
            links,
            blocks_start: 0,
            xattr_start: 0,
            end: 0,
            segment_starts,
            data_blocks,
        };
        let mut at = u64::from(BLOCK);
        let mut blocks = 0;
        for (id, parent) in order {
            let shape = image.shape(id, parent);
            if shape.data == Data::Inline && crosses_block(at, shape.bytes) {
                at = at.next_multiple_of(BLOCK.into());
            }
            let node = narrow(at / u64::from(SLOT))?;
            image.nodes[id.index()] = node;
            image.placed.push(Placed { id, parent, node, block: narrow(blocks)?, data: shape.data });
            at = (at + shape.bytes).next_multiple_of(SLOT.into());
            blocks += shape.blocks;
        }
        let blocks_start = at.div_ceil(BLOCK.into());
        let xattr_start = blocks_start + blocks;
        let end = xattr_start + (image.xattrs.shared.len() as u64).div_ceil(BLOCK.into());
        if end * u64::from(BLOCK) > MAX_METADATA_BYTES {
            return Err(too_large("metadata", end * u64::from(BLOCK), MAX_METADATA_BYTES));
        }
        image.blocks_start = narrow(blocks_start)?;
        image.xattr_start = narrow(xattr_start)?;
        image.end = narrow(end)?;
        Ok(image)
    }

    /// How many inodes the image has.
    pub(crate) fn inodes(&self) -> u64 {
        self.placed.len() as u64
    }

    /// What follows an inode: its xattrs, header included.
    pub(super) fn xattr_body(&self, id: InodeId) -> &[u8] {
        &self.xattrs.bodies[self.tree.inode(id).attributes.xattrs as usize]
    }

    /// How much room an inode takes.
    fn shape(&self, id: InodeId, parent: InodeId) -> Shape {
        let header = u64::from(INODE_BYTES) + self.xattr_body(id).len() as u64;
        match &self.tree.inode(id).body {
            Body::Directory(_) => {
                let names = dirents::with_dots(self.tree.children(id), id, parent);
                Shape::with_tail(header, dirents::size(names.map(|(name, _)| name)))
            }
            Body::Symlink(target) => Shape::with_tail(header, target.len() as u64),
            Body::File(file) if file.size > 0 => {
                let indices = chunk_count(file) * CHUNK_INDEX_BYTES as u64;
                let bytes = header.next_multiple_of(CHUNK_INDEX_BYTES as u64) + indices;
                Shape { bytes, blocks: 0, data: Data::Chunks }
            }
            Body::File(_) | Body::CharDevice(_) | Body::BlockDevice(_) | Body::Fifo | Body::Socket => {
                Shape { bytes: header, blocks: 0, data: Data::Plain }
            }
        }
    }
}

/// The room that an inode takes.
struct Shape {
    /// Among the inodes.
    bytes: u64,
    /// Whole blocks behind the inodes.
    blocks: u64,
    data: Data,
}

impl Shape {
    /// For `size` bytes, the last incomplete block of which follows the inode if both fit into one block.
    fn with_tail(header: u64, size: u64) -> Self {
        let tail = size % u64::from(BLOCK);
        if tail > 0 && header + tail <= u64::from(BLOCK) {
            Self { bytes: header + tail, blocks: size / u64::from(BLOCK), data: Data::Inline }
        } else {
            Self { bytes: header, blocks: size.div_ceil(BLOCK.into()), data: Data::Plain }
        }
    }
}

/// The number of a file's chunks, holes included.
pub(super) fn chunk_count(file: &FileData) -> u64 {
    file.size.div_ceil(1 << file.chunk_bits)
}

fn crosses_block(at: u64, bytes: u64) -> bool {
    at % u64::from(BLOCK) + bytes > u64::from(BLOCK)
}

/// The inodes that the root leads to, with the directory where each was met first, and all link counts by
/// [`InodeId`]. A directory's children follow each other; its subdirectories' children come later.
fn order(tree: &Tree) -> (Vec<(InodeId, InodeId)>, Vec<u32>) {
    let mut links = vec![0; tree.inode_count()];
    let mut order = vec![(InodeId::ROOT, InodeId::ROOT)];
    let mut pending = vec![InodeId::ROOT];
    while let Some(directory) = pending.pop() {
        let first_child = order.len();
        let mut subdirectories = 0;
        for (_, child) in tree.children(directory) {
            links[child.index()] += 1;
            if links[child.index()] == 1 {
                order.push((child, directory));
            }
            subdirectories += u32::from(matches!(tree.inode(child).body, Body::Directory(_)));
        }
        // Two for its own name and its dot; this comes after its parent counted it.
        links[directory.index()] = 2 + subdirectories;
        let children = order[first_child..].iter().rev().map(|(child, _)| *child);
        pending.extend(children.filter(|child| matches!(tree.inode(*child).body, Body::Directory(_))));
    }
    (order, links)
}

/// Where each layer's segment starts on the data device, and the device's size, in blocks; the same as
/// [`ft_core::manifest::Layout`] says in bytes.
fn place_segments(lengths: &[u64]) -> Result<(Vec<u32>, u32), Error> {
    let mut end = 0u64;
    let mut starts = Vec::new();
    for length in lengths {
        let start = end.next_multiple_of(BLOCK_SIZE.into());
        starts.push(narrow(start / u64::from(BLOCK))?);
        if *length > 0 {
            end = start + length;
        }
    }
    let blocks = end / u64::from(BLOCK);
    if blocks > MAX_DATA_BLOCKS {
        return Err(too_large("file data", end, MAX_DATA_BLOCKS * u64::from(BLOCK)));
    }
    Ok((starts, narrow(blocks)?))
}

impl Xattrs {
    /// Shares each pair of name and value that several of the image's inodes have.
    fn new(tree: &Tree, table: &XattrTable, order: &[(InodeId, InodeId)]) -> Self {
        let mut users = vec![0u32; table.len()];
        for (id, _) in order {
            users[tree.inode(*id).attributes.xattrs as usize] += 1;
        }
        let used = || (0u32..).zip(&users).filter(|(_, users)| **users > 0);
        let mut uses: HashMap<(&[u8], &[u8]), u32> = HashMap::new();
        for (number, users) in used() {
            for (name, value) in table.set(number) {
                *uses.entry((name, value)).or_default() += users;
            }
        }
        let mut shared = Vec::new();
        let mut places: HashMap<(&[u8], &[u8]), u32> = HashMap::new();
        let mut bodies = vec![Vec::new(); table.len()];
        for (number, _) in used() {
            let mut references = Vec::new();
            let mut own = Vec::new();
            for (name, value) in table.set(number) {
                let pair = (&name[..], &value[..]);
                if uses[&pair] > 1 && references.len() < xattr::MAX_SHARED {
                    let place = *places.entry(pair).or_insert_with(|| {
                        // Sets are limited to far below 2^32 bytes together.
                        let place = u32::try_from(shared.len() / 4).unwrap_or(u32::MAX);
                        xattr::put_entry(&mut shared, name, value);
                        place
                    });
                    references.push(place);
                } else {
                    xattr::put_entry(&mut own, name, value);
                }
            }
            if number != 0 {
                let body = &mut bodies[number as usize];
                body.reserve_exact(XATTR_HEADER_BYTES + 4 * references.len() + own.len());
                xattr::put_header(body, &references);
                body.append(&mut own);
            }
        }
        Self { bodies, shared }
    }
}

fn narrow(value: u64) -> Result<u32, Error> {
    u32::try_from(value)
        .map_err(|_| too_large("metadata or file data, in blocks or inode slots,", value, u32::MAX.into()))
}

fn too_large(what: &str, size: u64, limit: u64) -> Error {
    let reason = format!("its {what} would have the size {size}, beyond the format's limit of {limit}");
    Error::Malformed { document: "the function image".to_owned(), reason }
}
