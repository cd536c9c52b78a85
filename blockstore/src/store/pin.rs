//! Blocks that are not to be evicted.

use std::sync::Arc;

use ft_core::BlockId;

use super::BlockStore;

/// Blocks that are not evicted while this lives.
#[derive(Debug)]
pub struct PinGuard {
    store: Arc<BlockStore>,
    ids: Vec<BlockId>,
}

impl BlockStore {
    /// Keeps blocks from being evicted for as long as the guard lives, whether they are here yet or not.
    /// Pins add up.
    pub fn pin(self: &Arc<Self>, ids: impl IntoIterator<Item = BlockId>) -> PinGuard {
        let ids: Vec<BlockId> = ids.into_iter().collect();
        let mut index = self.index();
        ids.iter().for_each(|id| index.pin(*id));
        drop(index);
        PinGuard { store: Arc::clone(self), ids }
    }
}

impl Drop for PinGuard {
    fn drop(&mut self) {
        let mut index = self.store.index();
        self.ids.iter().for_each(|id| index.unpin(id));
    }
}
