//! What this VM wants although nobody waits for it.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::catalog::Catalog;
use super::event::Mode;
use super::place::MAX_STRIPES;
use super::set::BlockSet;
use super::shelf::Shelf;
use crate::block::{BlockIndex, Stripe};

/// Positions that are looked at from a chosen one on.
const SEARCH: usize = 4096;

/// The wanted blocks: the metadata, the start-up profile in its order, and in full mode the rest; and the
/// blocks that could be had from nowhere and rest until the pause is over.
#[derive(Debug)]
pub(super) struct Wants {
    mode: Mode,
    /// The wanted blocks, here or not.
    wanted: BlockSet,
    /// Those that come before the others, in the order in which they are wanted. Positions in the order of all
    /// go on with the indices from `rest` on, some of which are in `first` or not wanted.
    first: Vec<BlockIndex>,
    rest: u32,
    of: u8,
    /// By stripe, a position: no block before it is absent, and neither on its way nor parked.
    cursors: [usize; MAX_STRIPES],
    /// By stripe: wanted blocks that are not here.
    missing: [u32; MAX_STRIPES],
    parked: BTreeSet<BlockIndex>,
    /// Pauses in a row.
    pauses: u32,
}

impl Wants {
    pub(super) fn new(mode: Mode, catalog: &Catalog, shelf: &Shelf) -> Self {
        let mut wants = Self {
            mode,
            wanted: BlockSet::new(catalog.len()),
            first: Vec::new(),
            rest: catalog.metadata(),
            of: 1,
            cursors: [0; MAX_STRIPES],
            missing: [0; MAX_STRIPES],
            parked: BTreeSet::new(),
            pauses: 0,
        };
        wants.arrange(catalog, shelf);
        wants
    }

    /// Works out anew what is wanted: the catalog's profile has changed.
    pub(super) fn arrange(&mut self, catalog: &Catalog, shelf: &Shelf) {
        let end = match self.mode {
            Mode::Lazy => catalog.metadata(),
            Mode::Full => catalog.len(),
        };
        let metadata = (0..catalog.metadata()).map(BlockIndex).filter(|block| catalog.is_canonical(*block));
        self.first = metadata.chain(catalog.profile().iter().copied()).collect();
        let rest = (catalog.metadata()..end).map(BlockIndex).filter(|block| catalog.is_canonical(*block));
        self.wanted = BlockSet::new(catalog.len());
        for block in self.first.iter().copied().chain(rest) {
            self.wanted.insert(block);
        }
        self.split(shelf, self.of);
    }

    /// Counts anew for a tree of `of` stripes.
    pub(super) fn split(&mut self, shelf: &Shelf, of: u8) {
        self.of = of;
        self.cursors = [0; MAX_STRIPES];
        self.missing = [0; MAX_STRIPES];
        for block in self.wanted.iter().filter(|block| !shelf.contains(*block)) {
            self.missing[block.stripe(of).index()] += 1;
        }
    }

    /// Whether `block` is wanted though nobody may wait for it.
    pub(super) fn wants(&self, block: BlockIndex) -> bool {
        self.wanted.contains(block)
    }

    /// Whether the stripe lacks a wanted block.
    pub(super) fn lacks(&self, stripe: Stripe) -> bool {
        self.missing(stripe) > 0
    }

    /// Wanted blocks of the stripe that are not here.
    pub(super) fn missing(&self, stripe: Stripe) -> u32 {
        self.missing[stripe.index()]
    }

    /// `block` is here now.
    pub(super) fn stored(&mut self, block: BlockIndex) {
        if self.wants(block) {
            self.missing[block.stripe(self.of).index()] -= 1;
        }
        self.parked.remove(&block);
        self.pauses = 0;
    }

    /// `block` is here no more.
    pub(super) fn dropped(&mut self, block: BlockIndex) {
        if self.wants(block) {
            self.missing[block.stripe(self.of).index()] += 1;
            self.revisit(block);
        }
    }

    /// `block` is neither here nor on its way any more. That is rare, so the search for the next one just starts
    /// over.
    pub(super) fn revisit(&mut self, block: BlockIndex) {
        self.cursors[block.stripe(self.of).index()] = 0;
    }

    /// The stripe's first wanted block that is not here, not parked and not `under_way`, after its position in
    /// the order of all that is wanted.
    pub(super) fn next(
        &mut self,
        shelf: &Shelf,
        stripe: Stripe,
        under_way: impl Fn(BlockIndex) -> bool,
    ) -> Option<(usize, BlockIndex)> {
        if !self.lacks(stripe) {
            return None;
        }
        let cursor = &mut self.cursors[stripe.index()];
        while let Some(block) = at(&self.first, self.rest, self.wanted.capacity(), *cursor) {
            if block.stripe(self.of) == stripe
                && self.wanted.contains(block)
                && !shelf.contains(block)
                && !under_way(block)
                && !self.parked.contains(&block)
            {
                return Some((*cursor, block));
            }
            *cursor += 1;
        }
        None
    }

    /// The stripe's last wanted block that is not here, not parked and not `under_way`.
    pub(super) fn last(
        &self,
        shelf: &Shelf,
        stripe: Stripe,
        under_way: impl Fn(BlockIndex) -> bool,
    ) -> Option<BlockIndex> {
        let rest = (self.rest..self.wanted.capacity()).map(BlockIndex);
        let mut last_first = rest.rev().chain(self.first.iter().rev().copied());
        last_first.find(|block| self.is_open(shelf, stripe, *block) && !under_way(*block))
    }

    /// A wanted block of the stripe that is not here, not parked and not `under_way`: `seed` says which.
    pub(super) fn some(
        &mut self,
        shelf: &Shelf,
        stripe: Stripe,
        seed: u64,
        under_way: impl Fn(BlockIndex) -> bool,
    ) -> Option<BlockIndex> {
        let (front, first) = self.next(shelf, stripe, &under_way)?;
        let (rest, end) = (self.rest, self.wanted.capacity());
        let positions = (self.first.len() + (end - rest) as usize - front).max(1);
        let start = front + usize::try_from(seed % positions as u64).unwrap_or(0);
        let from_start =
            (start..start.saturating_add(SEARCH)).map_while(|position| at(&self.first, rest, end, position));
        let mut open = from_start.filter(|block| self.is_open(shelf, stripe, *block) && !under_way(*block));
        Some(open.next().unwrap_or(first))
    }

    /// Whether `block` is one of the stripe's, wanted, not here and not parked.
    fn is_open(&self, shelf: &Shelf, stripe: Stripe, block: BlockIndex) -> bool {
        block.stripe(self.of) == stripe
            && self.wanted.contains(block)
            && !shelf.contains(block)
            && !self.parked.contains(&block)
    }

    /// `block` could be had from nowhere.
    pub(super) fn park(&mut self, block: BlockIndex) {
        self.parked.insert(block);
    }

    /// Whether `block` could be had from nowhere a moment ago.
    pub(super) fn is_parked(&self, block: BlockIndex) -> bool {
        self.parked.contains(&block)
    }

    pub(super) fn unpark(&mut self, block: BlockIndex) {
        if self.parked.remove(&block) {
            self.revisit(block);
        }
    }

    /// Pauses in a row so far without a block stored in between.
    pub(super) fn pauses(&self) -> u32 {
        self.pauses
    }

    /// The pause is over: parked blocks may be tried again.
    pub(super) fn resume(&mut self) {
        self.pauses = self.pauses.saturating_add(1);
        while let Some(block) = self.parked.pop_first() {
            self.revisit(block);
        }
    }
}

/// The block at `position` of the order that begins with `first` and goes on with the indices `rest..end`.
fn at(first: &[BlockIndex], rest: u32, end: u32, position: usize) -> Option<BlockIndex> {
    let Some(beyond) = position.checked_sub(first.len()) else { return first.get(position).copied() };
    let index = u32::try_from(beyond).ok()?.checked_add(rest)?;
    (index < end).then_some(BlockIndex(index))
}

#[cfg(test)]
mod tests;
