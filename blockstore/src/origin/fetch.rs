//! Reading blocks: adjacent ones in one range, each handed on as soon as it is there.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use ft_core::BlockIndex;
use ft_core::manifest::{ByteRange, Layout};
use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};

use super::{ByteStream, Origin, OriginError};
use crate::buffer::BlockBuffer;
use crate::transfer::TransferError;

/// The most bytes that are asked for in one range. Longer runs are split, so that they come in parallel and a
/// broken one costs little.
pub const MAX_RANGE_BYTES: u64 = 16 << 20;

/// How many ranges are read at once.
const PARALLEL: usize = 4;

/// Reads blocks, in any order and as many as fit in memory one at a time. The blocks of a range come in
/// order, as soon as they are complete; ranges come in parallel. Each block comes exactly once, or an error for it.
///
/// Only lengths are checked here: whoever takes a block verifies its id.
pub fn fetch_blocks(
    origin: &dyn Origin,
    layout: &Layout,
    blocks: &[BlockIndex],
) -> impl Stream<Item = (BlockIndex, Result<Bytes, OriginError>)> + Send + Unpin + use<> {
    let mut blocks = blocks.to_vec();
    blocks.sort_unstable();
    blocks.dedup();
    let ranges = layout.ranges(&blocks).into_iter().flat_map(|range| split(layout, &range));
    let runs: Vec<Run> = ranges.map(|range| Run::new(origin, layout, &range)).collect();
    stream::iter(runs).map(Run::blocks).flatten_unordered(PARALLEL)
}

/// Cuts a range into pieces of at most [`MAX_RANGE_BYTES`].
fn split(layout: &Layout, range: &ByteRange) -> Vec<ByteRange> {
    let mut pieces: Vec<ByteRange> = Vec::new();
    for nth in 0..range.count {
        let index = BlockIndex(range.first.0 + nth);
        let Some(place) = layout.block(index) else { continue };
        let (start, end) = (place.pack_offset, place.pack_offset + u64::from(place.stored_len));
        match pieces.last_mut() {
            Some(last) if end - last.start <= MAX_RANGE_BYTES => {
                last.end = end;
                last.count += 1;
            }
            _ => pieces.push(ByteRange { pack: range.pack, start, end, first: index, count: 1 }),
        }
    }
    pieces
}

/// One range on its way.
struct Run {
    origin: String,
    range: ByteRange,
    bytes: ByteStream,
    /// What has come and belongs to no block yet.
    arrived: Bytes,
    /// The blocks still to come, with their lengths.
    left: VecDeque<(BlockIndex, usize)>,
    /// Why no more will come.
    failed: Option<OriginError>,
}

impl Run {
    fn new(origin: &dyn Origin, layout: &Layout, range: &ByteRange) -> Self {
        let blocks = (range.first.0..range.first.0 + range.count).map(BlockIndex);
        let left = blocks.filter_map(|index| Some((index, layout.block(index)?.stored_len as usize)));
        Self {
            origin: origin.describe().to_owned(),
            range: *range,
            bytes: origin.stream(&range.pack, range.start..range.end),
            arrived: Bytes::new(),
            left: left.collect(),
            failed: None,
        }
    }

    fn blocks(self) -> stream::BoxStream<'static, (BlockIndex, Result<Bytes, OriginError>)> {
        stream::unfold(self, |mut run| async move {
            let (index, len) = run.left.pop_front()?;
            let block = run.block(len).await;
            Some(((index, block), run))
        })
        .boxed()
    }

    async fn block(&mut self, len: usize) -> Result<Bytes, OriginError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut block = BlockBuffer::with_capacity(len);
        loop {
            let taken = self.arrived.len().min(len - block.len());
            block.extend_from_slice(&self.arrived[..taken]);
            self.arrived.advance(taken);
            if block.len() == len {
                return Ok(block.freeze());
            }
            match self.bytes.try_next().await {
                Ok(Some(chunk)) => self.arrived = chunk,
                Ok(None) => return Err(self.fail(self.ended_early(block.len()))),
                Err(error) => return Err(self.fail(error)),
            }
        }
    }

    /// No back end of this crate ends a stream early without an error; others might.
    fn ended_early(&self, received: usize) -> OriginError {
        let ByteRange { pack, start, end, .. } = self.range;
        let cause = TransferError::Truncated { expected: end - start, received: received as u64 };
        OriginError::Read { origin: self.origin.clone(), object: pack, start, end, cause }
    }

    fn fail(&mut self, error: OriginError) -> OriginError {
        self.failed.insert(error).clone()
    }
}
