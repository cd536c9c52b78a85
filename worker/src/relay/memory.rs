//! The memory that blocks take, of every image together.
//!
//! | what | most |
//! |---|---|
//! | on their way into the store | [`INGESTS`] blocks |
//! | recent blocks | [`WorkerLimits::recent_bytes`](crate::WorkerLimits) |
//! | on their way into the files that mounts are served from | [`FILLS`] blocks, stored and decompressed |
//!
//! What a transport has in hand for each session comes on top; `docs/design.md` has the sum.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use ft_core::BlockId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Blocks that may be on their way into the store at a time (≤ 512 KiB each): enough for two threads that hash
/// and write, with as many again at the door.
const INGESTS: usize = 8;
/// Blocks that may be decompressed at a time.
const FILLS: usize = 4;

/// The memory that blocks take, of every image together.
#[derive(Debug)]
pub struct BlockMemory {
    recent: RecentBlocks,
    ingests: Arc<Semaphore>,
    fills: Semaphore,
}

impl BlockMemory {
    /// Keeps at most `recent_bytes` of blocks that came a moment ago.
    pub fn new(recent_bytes: usize) -> Self {
        Self {
            recent: RecentBlocks { limit: recent_bytes, state: Mutex::default() },
            ingests: Arc::new(Semaphore::new(INGESTS)),
            fills: Semaphore::new(FILLS),
        }
    }

    /// Blocks that came a moment ago.
    pub(super) fn recent(&self) -> &RecentBlocks {
        &self.recent
    }

    /// Room for a block on its way into the store.
    pub(super) async fn room_to_ingest(&self) -> Option<OwnedSemaphorePermit> {
        // Never closed, so there always is some in the end.
        Arc::clone(&self.ingests).acquire_owned().await.ok()
    }

    /// Does work that holds a block both as it is stored and decompressed.
    pub(crate) async fn fill<T>(&self, work: impl Future<Output = T>) -> T {
        let _room = self.fills.acquire().await;
        work.await
    }
}

/// Blocks that came a moment ago: they are most often sent on at once, without a look at the disk. The oldest go
/// first.
#[derive(Debug)]
pub(super) struct RecentBlocks {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    blocks: BTreeMap<BlockId, Bytes>,
    /// Oldest first.
    order: VecDeque<BlockId>,
    bytes: usize,
}

impl RecentBlocks {
    pub(super) fn insert(&self, id: BlockId, stored: Bytes) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if stored.len() > self.limit || state.blocks.contains_key(&id) {
            return;
        }
        state.bytes += stored.len();
        state.blocks.insert(id, stored);
        state.order.push_back(id);
        while state.bytes > self.limit {
            let Some(oldest) = state.order.pop_front() else { return };
            let gone = state.blocks.remove(&oldest);
            state.bytes -= gone.map_or(0, |stored| stored.len());
        }
    }

    pub(super) fn get(&self, id: &BlockId) -> Option<Bytes> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).blocks.get(id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_blocks_make_room() {
        let memory = BlockMemory::new(10);
        let recent = memory.recent();
        let block = |fill: u8| (BlockId::of(&[fill]), Bytes::from(vec![fill; 4]));
        for fill in [1, 2, 1, 3] {
            let (id, stored) = block(fill);
            recent.insert(id, stored);
        }
        assert_eq!(recent.get(&block(1).0), None);
        assert_eq!(recent.get(&block(2).0), Some(block(2).1));
        assert_eq!(recent.get(&block(3).0), Some(block(3).1));
        recent.insert(block(4).0, Bytes::from(vec![4; 11]));
        assert_eq!(recent.get(&block(4).0), None, "larger than the limit");
    }
}
