//! Readers of an image's data: what they wait for, what they will want next, what a start reads.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ft_core::BlockIndex;
use futures_util::future::try_join_all;
use tokio::time::timeout;

use super::{Image, ImageError};
use crate::mount::{DataSource, ReadError, ReadFuture};

impl Image {
    async fn read_data(&self, offset: u64, len: u32) -> Result<Bytes, ImageError> {
        let blocks = self.blocks_of(offset, len);
        self.recorder.note(blocks.iter().filter_map(|block| Some(self.layout.block(*block)?.canonical)));
        // In this order: what the reader waits for is demanded before more is expected.
        let ready = try_join_all(blocks.iter().map(|block| self.make_ready(*block)));
        let (ready, ()) = tokio::join!(ready, self.read_ahead(&blocks));
        ready?;
        self.touch(&blocks);
        let cache = Arc::clone(&self.cache);
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; len as usize];
            cache.read_data(offset, &mut bytes).map(|()| Bytes::from(bytes))
        });
        let died =
            |error: tokio::task::JoinError| ImageError::Died { image: self.digest, cause: error.to_string() };
        Ok(read.await.map_err(died)??)
    }

    /// Has the blocks fetched that readers will want after these. The kernel keeps 1 to 4 reads in flight, too
    /// few to fill a link. What nobody reads in the end does not count as touched.
    async fn read_ahead(&self, blocks: &[BlockIndex]) {
        let expected: Vec<_> = {
            let mut readahead = self.lock_readahead();
            let missing = |block| !self.relay.is_stored(block);
            blocks.iter().flat_map(|block| readahead.observe(*block, missing)).collect()
        };
        if !expected.is_empty() {
            self.relay.expect(expected).await;
        }
    }

    /// The blocks that hold any of the data device's bytes `[offset, offset + len)`.
    fn blocks_of(&self, offset: u64, len: u32) -> Vec<BlockIndex> {
        let end = offset.saturating_add(u64::from(len));
        let block = u64::from(ft_core::BLOCK_SIZE);
        // Blocks start on block boundaries of the device.
        let starts = (offset / block..end.div_ceil(block)).map(|nth| nth * block);
        starts.filter_map(|start| self.layout.data_block_at(start)).collect()
    }
}

impl DataSource for Image {
    fn len(&self) -> u64 {
        self.cache.data_len()
    }

    fn read(&self, offset: u64, len: u32) -> ReadFuture<'_> {
        Box::pin(async move {
            let end = offset.saturating_add(u64::from(len));
            let late = ImageError::Late { image: self.digest, offset, end, after: self.read_deadline };
            let read = timeout(self.read_deadline, self.read_data(offset, len)).await;
            read.unwrap_or(Err(late)).map_err(|error| {
                let cause = error.to_string();
                self.note_unread(Instant::now(), cause.clone());
                ReadError::new(cause)
            })
        })
    }
}
