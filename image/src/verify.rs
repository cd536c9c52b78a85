//! Checking a published function image completely: every object, every block, and the file system in it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};

use bytes::BytesMut;
use ft_blockstore::codec::{CodecError, decompress_block};
use ft_blockstore::{ImageObjects, Origin, OriginError, read_object};
use ft_core::manifest::{
    BlockEntry, DecodeError, Layout, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, Manifest, Segment, SegmentKind,
};
use ft_core::{BlockId, BlockIndex, Digest};
use futures_util::TryStreamExt;
use sha2::Digest as _;

use crate::erofs::{FileDevice, Inode, Kind, ReadAt, ReadError, Reader, Visitor, walk};
use crate::progress::{Progress, ProgressEvent};

/// What was found to be right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Blocks of the image.
    pub blocks: u32,
    /// Bytes of all packs.
    pub stored_bytes: u64,
    /// Bytes of all segments, decompressed.
    pub image_bytes: u64,
    /// Names in the file system, the root not counted.
    pub names: u64,
}

/// What is wrong with an image.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The origin cannot give an object, or gives another than was asked for.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// The manifest's bytes are no manifest.
    #[error("manifest {digest}: {cause}")]
    Manifest {
        /// The manifest.
        digest: Digest,
        /// What is wrong.
        cause: DecodeError,
    },
    /// The image lists other objects than its manifest.
    #[error("the image's list of objects does not fit its manifest {digest}: {what} differs")]
    Objects {
        /// The manifest.
        digest: Digest,
        /// Which part.
        what: &'static str,
    },
    /// One block is not what the manifest says.
    #[error("block {index} (bytes {start} to {end} of pack {pack}): {problem}")]
    Block {
        /// Which block.
        index: BlockIndex,
        /// Its pack.
        pack: Digest,
        /// Its first byte in the pack.
        start: u64,
        /// One past its last byte.
        end: u64,
        /// What is wrong.
        problem: BlockProblem,
    },
    /// All blocks of a pack are right, but not the pack: only its digest in the manifest can be wrong.
    #[error("pack {pack}: all its blocks are right, but together they hash to {actual}")]
    Pack {
        /// The pack.
        pack: Digest,
        /// What its bytes hash to.
        actual: Digest,
    },
    /// The file system in the image is damaged.
    #[error("the file system in the image: {0}")]
    FileSystem(#[from] ReadError),
    /// A file for the decompressed metadata cannot be made.
    #[error("keeping the metadata in a temporary file: {0}")]
    Temporary(io::Error),
}

/// What is wrong with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockProblem {
    /// The stored bytes are others.
    #[error("its bytes have the id {actual}, the manifest says {expected}")]
    Id {
        /// The manifest's id.
        expected: BlockId,
        /// The id of the bytes.
        actual: BlockId,
    },
    /// The stored bytes do not decode.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// Reads all of an image from its origin and checks the manifest's digest, every block's BLAKE3, every
/// pack's SHA-256, that every block decodes, and that the file system is sound: types, names, link counts,
/// places of data.
///
/// # Errors
/// The first thing found wrong.
///
/// # Panics
/// Outside a tokio runtime.
pub async fn verify(
    origin: &dyn Origin,
    objects: &ImageObjects,
    progress: &dyn Progress,
) -> Result<Verified, VerifyError> {
    let digest = objects.manifest.digest;
    let bytes = read_object(origin, &digest, MAX_MANIFEST_BYTES as u64).await?;
    let manifest = Manifest::decode(&bytes).map_err(|cause| VerifyError::Manifest { digest, cause })?;
    let listed = ImageObjects::new(&manifest, &bytes);
    for (what, differs) in [
        ("the run configuration", listed.config != objects.config),
        ("the packs", listed.packs != objects.packs),
    ] {
        if differs {
            return Err(VerifyError::Objects { digest, what });
        }
    }
    read_object(origin, &objects.config.digest, MAX_CONFIG_BYTES as u64).await?;
    let layout = Layout::new(&manifest);
    let mut metadata = tempfile::tempfile().map_err(VerifyError::Temporary)?;
    let mut first = 0;
    for segment in &manifest.segments {
        let out = (segment.kind == SegmentKind::Metadata).then_some(&mut metadata);
        verify_segment(origin, segment, first, out, progress).await?;
        first += u32::try_from(segment.blocks.len()).unwrap_or(u32::MAX);
    }
    let data_len = layout.data_len();
    let names = match tokio::task::spawn_blocking(move || verify_file_system(metadata, data_len)).await {
        Ok(names) => names?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    Ok(Verified {
        blocks: layout.len(),
        stored_bytes: manifest.stored_bytes(),
        image_bytes: manifest.image_bytes(),
        names,
    })
}

/// Checks one segment's pack, whose first block is the image's block `first`, and writes the decompressed
/// bytes to `out`.
async fn verify_segment(
    origin: &dyn Origin,
    segment: &Segment,
    first: u32,
    mut out: Option<&mut File>,
    progress: &dyn Progress,
) -> Result<(), VerifyError> {
    let mut stream = origin.stream(&segment.pack, 0..segment.pack_len());
    let mut hasher = sha2::Sha256::new();
    let mut arrived = BytesMut::new();
    let mut start = 0;
    for (nth, block) in segment.blocks.iter().enumerate() {
        let len = block.stored_len as usize;
        while arrived.len() < len {
            // The origin gives the whole range or an error; should it end early, the id will be wrong.
            let Some(more) = stream.try_next().await? else { break };
            arrived.extend_from_slice(&more);
        }
        let stored = arrived.split_to(len.min(arrived.len()));
        hasher.update(&stored);
        let end = start + u64::from(block.stored_len);
        let raw = verify_block(block, segment.block_raw_len(nth), &stored).map_err(|problem| {
            let index = BlockIndex(first + u32::try_from(nth).unwrap_or(u32::MAX));
            VerifyError::Block { index, pack: segment.pack, start, end, problem }
        })?;
        if let Some(out) = &mut out {
            out.write_all(&raw).map_err(VerifyError::Temporary)?;
        }
        progress.report(ProgressEvent::Verified { bytes: block.stored_len.into() });
        start = end;
    }
    match Digest::from_bytes(hasher.finalize().into()) {
        actual if actual == segment.pack => Ok(()),
        actual => Err(VerifyError::Pack { pack: segment.pack, actual }),
    }
}

/// Returns the raw bytes.
fn verify_block(block: &BlockEntry, raw_len: u32, stored: &[u8]) -> Result<Vec<u8>, BlockProblem> {
    let actual = BlockId::of(stored);
    if actual != block.id {
        return Err(BlockProblem::Id { expected: block.id, actual });
    }
    Ok(decompress_block(block.codec, stored, raw_len)?)
}

/// Checks the file system that `metadata` describes over `data_len` bytes of data; returns how many names it
/// has.
fn verify_file_system(metadata: File, data_len: u64) -> Result<u64, VerifyError> {
    let metadata = FileDevice::new(metadata).map_err(VerifyError::Temporary)?;
    let reader = Reader::open(metadata, Unread { len: data_len })?;
    let mut check = Check { reader: &reader, names: 0, links: HashMap::new(), subdirectories: Vec::new() };
    walk(&reader, &mut check)?;
    check.finish()?;
    Ok(check.names)
}

/// A data device whose bytes nobody needs: only its length counts.
#[derive(Debug)]
struct Unread {
    len: u64,
}

impl ReadAt for Unread {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Reads everything in the metadata and counts links.
struct Check<'r, M, D> {
    reader: &'r Reader<M, D>,
    names: u64,
    /// By inode: how many names it should have, and how many were met.
    links: HashMap<u64, (u32, u32)>,
    /// Of each directory on the way to where the walk is.
    subdirectories: Vec<u32>,
}

impl<M: ReadAt, D: ReadAt> Check<'_, M, D> {
    fn finish(&self) -> Result<(), ReadError> {
        let mut wrong: Vec<u64> =
            self.links.iter().filter(|(_, (links, met))| links != met).map(|(node, _)| *node).collect();
        wrong.sort_unstable();
        match wrong.first() {
            None => Ok(()),
            Some(node) => {
                Err(ReadError::Damaged { what: "its link count is not that of its names", node: *node })
            }
        }
    }
}

impl<M: ReadAt, D: ReadAt> Visitor for Check<'_, M, D> {
    type Error = ReadError;

    fn enter(&mut self, name: &[u8], directory: &Inode) -> Result<(), ReadError> {
        self.names += u64::from(!name.is_empty());
        if let Some(count) = self.subdirectories.last_mut() {
            *count += 1;
        }
        self.subdirectories.push(0);
        self.reader.xattrs(directory).map(drop)
    }

    fn leaf(&mut self, _: &[u8], inode: &Inode) -> Result<(), ReadError> {
        self.names += 1;
        let (_, met) = self.links.entry(inode.node()).or_insert((inode.links(), 0));
        *met += 1;
        if *met > 1 {
            return Ok(());
        }
        self.reader.xattrs(inode)?;
        match inode.kind() {
            Kind::Symlink => self.reader.read_link(inode).map(drop),
            Kind::File => self.reader.extents(inode)?.try_for_each(|extent| extent.map(drop)),
            _ => Ok(()),
        }
    }

    fn leave(&mut self, directory: &Inode) -> Result<(), ReadError> {
        match self.subdirectories.pop() {
            Some(count) if directory.links() == count + 2 => Ok(()),
            _ => Err(ReadError::Damaged {
                what: "its link count is not that of its subdirectories",
                node: directory.node(),
            }),
        }
    }
}
