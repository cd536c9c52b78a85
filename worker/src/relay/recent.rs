//! Blocks that came a moment ago: they are most often sent on at once, without a look at the disk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use ft_core::BlockId;

/// The stored bytes of recent blocks, up to a limit; the oldest go first.
#[derive(Debug)]
pub struct RecentBlocks {
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
    /// Keeps at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default() }
    }

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
        let recent = RecentBlocks::new(10);
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
