//! What this VM wants although nobody waits for it.

use alloc::collections::BTreeSet;

use super::catalog::Catalog;
use super::event::Mode;
use super::place::MAX_STRIPES;
use super::shelf::Shelf;
use crate::block::{BlockIndex, Stripe};

/// The wanted blocks that are not here (all in full mode, else the metadata), in image order, which puts
/// the metadata first; and those that could be had from nowhere and rest until the pause is over.
#[derive(Debug)]
pub(super) struct Wants {
    /// Blocks from here on are not wanted.
    end: u32,
    of: u8,
    /// By stripe: no block before it is wanted, absent, and neither on its way nor parked.
    cursors: [u32; MAX_STRIPES],
    /// By stripe: wanted blocks that are not here.
    missing: [u32; MAX_STRIPES],
    parked: BTreeSet<BlockIndex>,
    /// Pauses in a row.
    pauses: u32,
}

impl Wants {
    pub(super) fn new(mode: Mode, catalog: &Catalog, shelf: &Shelf) -> Self {
        let end = match mode {
            Mode::Lazy => catalog.metadata(),
            Mode::Full => catalog.len(),
        };
        let cursors = [0; MAX_STRIPES];
        let mut wants =
            Self { end, of: 1, cursors, missing: [0; MAX_STRIPES], parked: BTreeSet::new(), pauses: 0 };
        wants.split(catalog, shelf, 1);
        wants
    }

    /// Counts anew for a tree of `of` stripes.
    pub(super) fn split(&mut self, catalog: &Catalog, shelf: &Shelf, of: u8) {
        self.of = of;
        self.cursors = [0; MAX_STRIPES];
        self.missing = [0; MAX_STRIPES];
        for block in (0..self.end).map(BlockIndex) {
            if catalog.is_canonical(block) && !shelf.contains(block) {
                self.missing[block.stripe(of).index()] += 1;
            }
        }
    }

    /// Whether `block` is wanted though nobody may wait for it.
    pub(super) fn wants(&self, block: BlockIndex) -> bool {
        block.0 < self.end
    }

    /// Whether the stripe lacks a wanted block.
    pub(super) fn lacks(&self, stripe: Stripe) -> bool {
        self.missing[stripe.index()] > 0
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

    /// `block` is neither here nor on its way any more.
    pub(super) fn revisit(&mut self, block: BlockIndex) {
        let cursor = &mut self.cursors[block.stripe(self.of).index()];
        *cursor = block.0.min(*cursor);
    }

    /// The stripe's first wanted block that is not here, not parked and not `under_way`.
    pub(super) fn next(
        &mut self,
        catalog: &Catalog,
        shelf: &Shelf,
        stripe: Stripe,
        under_way: impl Fn(BlockIndex) -> bool,
    ) -> Option<BlockIndex> {
        if !self.lacks(stripe) {
            return None;
        }
        let cursor = &mut self.cursors[stripe.index()];
        while *cursor < self.end {
            let block = BlockIndex(*cursor);
            if block.stripe(self.of) == stripe
                && catalog.is_canonical(block)
                && !shelf.contains(block)
                && !under_way(block)
                && !self.parked.contains(&block)
            {
                return Some(block);
            }
            *cursor += 1;
        }
        None
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
