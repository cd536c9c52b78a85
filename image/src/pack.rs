//! Packing a segment: raw bytes in, blocks of 512 KiB compressed, identified, and written back to back.
//!
//! Compression runs on threads of its own. Block `n` goes to lane `n % lanes` and is collected from it in
//! the same order, so the bytes written do not depend on the number of lanes or on their speed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use ft_blockstore::codec::compress_block;
use ft_core::manifest::{BlockEntry, Segment, SegmentKind};
use ft_core::{BLOCK_SIZE, BlockId, Digest};
use sha2::Digest as _;

/// Blocks that may wait in front of and behind each lane.
const LANE_DEPTH: usize = 2;

/// A packed segment. Its file has no name: nothing is left of it, however the process ends.
#[derive(Debug)]
pub struct Pack {
    /// The pack's SHA-256.
    pub digest: Digest,
    /// Bytes of the pack.
    pub len: u64,
    /// Its bytes.
    pub file: Arc<File>,
}

/// Receives one segment's raw bytes.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    file: Arc<File>,
    lanes: Vec<SyncSender<Vec<u8>>>,
    compressors: Vec<JoinHandle<()>>,
    collector: JoinHandle<io::Result<Collected>>,
    block: Vec<u8>,
    filled: usize,
    submitted: usize,
}

/// One block as it is stored.
#[derive(Debug)]
struct Packed {
    entry: BlockEntry,
    stored: Bytes,
}

/// What the collector has written.
#[derive(Debug)]
struct Collected {
    digest: Digest,
    blocks: Vec<BlockEntry>,
}

impl SegmentWriter {
    /// Starts a pack in a new temporary file below `dir`, compressing on `threads` threads (at least 1).
    pub(crate) fn new(dir: &Path, threads: usize) -> io::Result<Self> {
        let file = Arc::new(tempfile::tempfile_in(dir)?);
        let mut lanes = Vec::new();
        let mut results = Vec::new();
        let mut compressors = Vec::new();
        for _ in 0..threads.max(1) {
            let (lane, jobs) = sync_channel(LANE_DEPTH);
            let (packed, result) = sync_channel(LANE_DEPTH);
            lanes.push(lane);
            results.push(result);
            compressors.push(spawn("ft-compress", move || compress(&jobs, &packed))?);
        }
        let handle = Arc::clone(&file);
        let collector = spawn("ft-pack", move || collect(&handle, &results))?;
        Ok(Self { file, lanes, compressors, collector, block: new_block(), filled: 0, submitted: 0 })
    }

    /// Raw bytes so far.
    pub(crate) fn len(&self) -> u64 {
        self.submitted as u64 * u64::from(BLOCK_SIZE) + self.filled as u64
    }

    /// Appends `len` bytes of `data`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if `data` ends before; whatever `data` or the pack's file reports.
    pub(crate) fn copy(&mut self, data: &mut dyn Read, mut len: u64) -> Result<(), CopyError> {
        while len > 0 {
            let room = &mut self.block[self.filled..];
            let wanted = usize::try_from(len).unwrap_or(usize::MAX).min(room.len());
            let count = match data.read(&mut room[..wanted]) {
                Ok(0) => return Err(CopyError::Read(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => count.min(wanted),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(CopyError::Read(error)),
            };
            self.filled += count;
            len -= count as u64;
            self.submit_if_full()?;
        }
        Ok(())
    }

    /// Appends `len` zeros.
    pub(crate) fn zeros(&mut self, len: u64) -> Result<(), CopyError> {
        self.copy(&mut io::repeat(0), len)
    }

    fn submit_if_full(&mut self) -> Result<(), CopyError> {
        if self.filled < self.block.len() {
            return Ok(());
        }
        let block = std::mem::replace(&mut self.block, new_block());
        self.filled = 0;
        self.submit(block)
    }

    fn submit(&mut self, block: Vec<u8>) -> Result<(), CopyError> {
        let lane = self.submitted % self.lanes.len();
        self.submitted += 1;
        // A lane is closed only if the collector failed; finish() has its error.
        self.lanes[lane].send(block).map_err(|_| CopyError::Stopped)
    }

    /// Packs what is left, and returns the segment and its pack once everything is written.
    pub(crate) fn finish(mut self, kind: SegmentKind) -> io::Result<(Segment, Pack)> {
        let raw_len = self.len();
        if self.filled > 0 {
            let mut block = std::mem::take(&mut self.block);
            block.truncate(self.filled);
            // If this fails, so does the collector, whose error says why.
            let _ = self.submit(block);
        }
        drop(self.lanes);
        let collected = join(self.collector)?;
        for compressor in self.compressors {
            join(compressor);
        }
        let segment = Segment { kind, raw_len, pack: collected.digest, blocks: collected.blocks };
        let pack = Pack { digest: collected.digest, len: segment.pack_len(), file: self.file };
        Ok((segment, pack))
    }

    /// The error that stopped the pack, after a [`CopyError::Stopped`].
    pub(crate) fn into_error(self) -> io::Error {
        match self.finish(SegmentKind::Data) {
            Err(error) => error,
            Ok(_) => io::Error::other("the pack was closed early"),
        }
    }
}

/// Every error stands for [`CopyError::Stopped`]: [`SegmentWriter::into_error`] says why.
impl Write for SegmentWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stopped = |_| io::Error::other("the pack cannot be written");
        self.copy(&mut &bytes[..], bytes.len() as u64).map_err(stopped)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why bytes could not be appended.
#[derive(Debug)]
pub(crate) enum CopyError {
    /// Their source failed or ended.
    Read(io::Error),
    /// The pack cannot be written; [`SegmentWriter::into_error`] says why.
    Stopped,
}

fn new_block() -> Vec<u8> {
    vec![0; BLOCK_SIZE as usize]
}

fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

fn join<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn compress(jobs: &Receiver<Vec<u8>>, packed: &SyncSender<Packed>) {
    for raw in jobs {
        let (codec, stored) = compress_block(&raw);
        let id = BlockId::of(&stored);
        // A block is at most 512 KiB and never stored longer than it is.
        let stored_len = u32::try_from(stored.len()).unwrap_or(BLOCK_SIZE);
        if packed.send(Packed { entry: BlockEntry { id, stored_len, codec }, stored }).is_err() {
            return;
        }
    }
}

/// Takes blocks from the lanes in turn until the next in turn has ended.
fn collect(mut file: &File, lanes: &[Receiver<Packed>]) -> io::Result<Collected> {
    let mut hasher = sha2::Sha256::new();
    let mut blocks = Vec::new();
    while let Ok(packed) = lanes[blocks.len() % lanes.len()].recv() {
        hasher.update(&packed.stored);
        file.write_all(&packed.stored)?;
        blocks.push(packed.entry);
    }
    Ok(Collected { digest: Digest::from_bytes(hasher.finalize().into()), blocks })
}
