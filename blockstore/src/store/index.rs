//! What is in the store, how much of the quota it takes, and what to evict next. No IO.

use std::collections::{BTreeMap, HashMap};

use ft_core::BlockId;

/// The store's content, in memory.
#[derive(Debug, Default)]
pub(super) struct Index {
    blocks: HashMap<BlockId, Entry>,
    /// The blocks that may be evicted, by their last use.
    evictable: BTreeMap<u64, BlockId>,
    /// Bytes of those.
    evictable_bytes: u64,
    /// How often each block is pinned, whether it is here or not.
    pins: HashMap<BlockId, u32>,
    /// Counts uses.
    clock: u64,
    /// Bytes of blocks.
    stored: u64,
    /// Bytes of other things.
    reserved: u64,
}

#[derive(Debug)]
struct Entry {
    len: u32,
    last_use: u64,
}

impl Index {
    pub(super) fn contains(&self, id: &BlockId) -> bool {
        self.blocks.contains_key(id)
    }

    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    pub(super) fn used(&self) -> u64 {
        self.stored + self.reserved
    }

    /// What remains used when everything that may be evicted is.
    pub(super) fn held(&self) -> u64 {
        self.used() - self.evictable_bytes
    }

    pub(super) fn reserve(&mut self, bytes: u64) {
        self.reserved += bytes;
    }

    pub(super) fn release(&mut self, bytes: u64) {
        self.reserved = self.reserved.saturating_sub(bytes);
    }

    /// Adds a block that is not here yet.
    pub(super) fn insert(&mut self, id: BlockId, len: u32) {
        self.remove(&id);
        self.clock += 1;
        self.stored += u64::from(len);
        self.blocks.insert(id, Entry { len, last_use: self.clock });
        if !self.pins.contains_key(&id) {
            self.evictable.insert(self.clock, id);
            self.evictable_bytes += u64::from(len);
        }
    }

    /// Notes that a block is used; whether it is here.
    pub(super) fn touch(&mut self, id: &BlockId) -> bool {
        let Some(entry) = self.blocks.get_mut(id) else { return false };
        self.clock += 1;
        if self.evictable.remove(&entry.last_use).is_some() {
            self.evictable.insert(self.clock, *id);
        }
        entry.last_use = self.clock;
        true
    }

    pub(super) fn remove(&mut self, id: &BlockId) {
        if let Some(entry) = self.blocks.remove(id) {
            self.stored -= u64::from(entry.len);
            if self.evictable.remove(&entry.last_use).is_some() {
                self.evictable_bytes -= u64::from(entry.len);
            }
        }
    }

    /// The next block to evict: none that is pinned.
    pub(super) fn least_recently_used(&self) -> Option<BlockId> {
        self.evictable.first_key_value().map(|(_, id)| *id)
    }

    pub(super) fn pin(&mut self, id: BlockId) {
        *self.pins.entry(id).or_default() += 1;
        if let Some(entry) = self.blocks.get(&id)
            && self.evictable.remove(&entry.last_use).is_some()
        {
            self.evictable_bytes -= u64::from(entry.len);
        }
    }

    pub(super) fn unpin(&mut self, id: &BlockId) {
        let Some(count) = self.pins.get_mut(id) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.pins.remove(id);
        if let Some(entry) = self.blocks.get(id) {
            self.evictable.insert(entry.last_use, *id);
            self.evictable_bytes += u64::from(entry.len);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(seed: u8) -> BlockId {
        BlockId::from_bytes([seed; 32])
    }

    #[test]
    fn the_least_recently_used_goes_first_and_a_pinned_one_never() {
        let mut index = Index::default();
        (1..=3).for_each(|seed| index.insert(id(seed), 10));
        assert!(index.touch(&id(1)));
        assert_eq!(index.least_recently_used(), Some(id(2)));
        index.pin(id(2));
        assert_eq!(index.least_recently_used(), Some(id(3)));
        index.remove(&id(3));
        index.pin(id(1));
        assert_eq!(index.least_recently_used(), None);
        index.unpin(&id(1));
        index.unpin(&id(2));
        // As before the pins: 2 was used before 1.
        assert_eq!(index.least_recently_used(), Some(id(2)));
    }

    #[test]
    fn a_block_can_be_pinned_before_it_comes_and_more_than_once() {
        let mut index = Index::default();
        index.pin(id(1));
        index.pin(id(1));
        index.insert(id(1), 10);
        assert_eq!(index.least_recently_used(), None);
        index.unpin(&id(1));
        assert_eq!(index.least_recently_used(), None);
        index.unpin(&id(1));
        assert_eq!(index.least_recently_used(), Some(id(1)));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u8, u32),
        Touch(u8),
        Remove(u8),
        Pin(u8),
        Unpin(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        let seed = 0u8..6;
        prop_oneof![
            (seed.clone(), 1u32..100).prop_map(|(seed, len)| Step::Insert(seed, len)),
            seed.clone().prop_map(Step::Touch),
            seed.clone().prop_map(Step::Remove),
            seed.clone().prop_map(Step::Pin),
            seed.prop_map(Step::Unpin),
        ]
    }

    proptest! {
        /// Against a model: a list of blocks in the order of their use.
        #[test]
        fn it_behaves_like_a_plain_list(steps in prop::collection::vec(step(), 0..200)) {
            let mut index = Index::default();
            let mut model: Vec<(u8, u32)> = Vec::new();
            let mut pins = [0u32; 6];
            for step in steps {
                match step {
                    Step::Insert(seed, len) => {
                        index.insert(id(seed), len);
                        model.retain(|(other, _)| *other != seed);
                        model.push((seed, len));
                    }
                    Step::Touch(seed) => {
                        let at = model.iter().position(|(other, _)| *other == seed);
                        prop_assert_eq!(index.touch(&id(seed)), at.is_some());
                        if let Some(at) = at {
                            let entry = model.remove(at);
                            model.push(entry);
                        }
                    }
                    Step::Remove(seed) => {
                        index.remove(&id(seed));
                        model.retain(|(other, _)| *other != seed);
                    }
                    Step::Pin(seed) => {
                        index.pin(id(seed));
                        pins[usize::from(seed)] += 1;
                    }
                    Step::Unpin(seed) => {
                        index.unpin(&id(seed));
                        pins[usize::from(seed)] = pins[usize::from(seed)].saturating_sub(1);
                    }
                }
                prop_assert_eq!(index.used(), model.iter().map(|(_, len)| u64::from(*len)).sum::<u64>());
                let held = model.iter().filter(|(seed, _)| pins[usize::from(*seed)] > 0);
                prop_assert_eq!(index.held(), held.map(|(_, len)| u64::from(*len)).sum::<u64>());
                let victim = model.iter().find(|(seed, _)| pins[usize::from(*seed)] == 0);
                prop_assert_eq!(index.least_recently_used(), victim.map(|(seed, _)| id(*seed)));
            }
        }
    }
}
