//! The blocks that are here, in the order in which they came.

use alloc::vec::Vec;

use super::catalog::Catalog;
use super::event::Class;
use super::set::BlockSet;
use crate::block::BlockIndex;

/// The classes of pushes, the most urgent first.
pub(super) const PUSH_CLASSES: [Class; 3] = [Class::Metadata, Class::Profile, Class::Rest];

/// Per class of pushes, a position in the shelf's log.
pub(super) type Cursors = [usize; PUSH_CLASSES.len()];

/// Where a class's log and cursor are.
pub(super) const fn slot(class: Class) -> usize {
    match class {
        Class::Demand | Class::Metadata => 0,
        Class::Profile => 1,
        Class::Rest => 2,
    }
}

/// The stored blocks. A child's pushes are a position in a log that all children share, so a slow child
/// costs no memory, and one that comes late gets what was demanded first, first.
///
/// What somebody waited for is in the profile's log too: where one reader was, others soon will be.
#[derive(Debug)]
pub(super) struct Shelf {
    /// Every index of every block that is here.
    stored: BlockSet,
    /// Stored blocks, each counted once.
    distinct: u32,
    /// Stored blocks by the class that they are pushed with, in the order in which they came.
    logs: [Vec<BlockIndex>; PUSH_CLASSES.len()],
}

impl Shelf {
    /// The shelf with the blocks of which any index is in `stored`.
    pub(super) fn new(catalog: &Catalog, stored: &BlockSet) -> Self {
        let logs = core::array::from_fn(|_| Vec::new());
        let mut shelf = Self { stored: BlockSet::new(catalog.len()), distinct: 0, logs };
        for block in stored.iter().filter_map(|index| catalog.canonical(index)) {
            shelf.insert(catalog, block, catalog.class(block));
        }
        shelf
    }

    pub(super) fn stored(&self) -> &BlockSet {
        &self.stored
    }

    pub(super) fn contains(&self, block: BlockIndex) -> bool {
        self.stored.contains(block)
    }

    pub(super) fn distinct(&self) -> u32 {
        self.distinct
    }

    /// The blocks that are pushed with one class, in the order in which they came.
    pub(super) fn log(&self, class: Class) -> &[BlockIndex] {
        &self.logs[slot(class)]
    }

    /// Adds a block that came because it was wanted with `class`; `false` if it was here.
    pub(super) fn insert(&mut self, catalog: &Catalog, block: BlockIndex, class: Class) -> bool {
        if self.stored.contains(block) {
            return false;
        }
        for index in catalog.indices(block) {
            self.stored.insert(index);
        }
        self.distinct += 1;
        let class = match catalog.class(block) {
            Class::Rest if class < Class::Rest => Class::Profile,
            class => class,
        };
        self.logs[slot(class)].push(block);
        true
    }

    /// Removes a block; says where it was, so that cursors can follow. `None` if it was not here.
    pub(super) fn remove(&mut self, catalog: &Catalog, block: BlockIndex) -> Option<(Class, usize)> {
        if !self.stored.contains(block) {
            return None;
        }
        for index in catalog.indices(block) {
            self.stored.remove(index);
        }
        self.distinct -= 1;
        PUSH_CLASSES.into_iter().find_map(|class| {
            let log = &mut self.logs[slot(class)];
            let position = log.iter().position(|logged| *logged == block)?;
            log.remove(position);
            Some((class, position))
        })
    }

    /// Logs what is here anew after the catalog's profile has changed: the blocks of the profile in its order,
    /// the others as before. No position in the logs of these two classes holds any more.
    pub(super) fn arrange(&mut self, catalog: &Catalog) {
        let (profile, rest) = (slot(Class::Profile), slot(Class::Rest));
        let earlier = core::mem::take(&mut self.logs[profile]);
        let others = earlier.into_iter().chain(core::mem::take(&mut self.logs[rest]));
        self.logs[rest] = others.filter(|block| catalog.class(*block) == Class::Rest).collect();
        let here = catalog.profile().iter().copied().filter(|block| self.stored.contains(*block));
        self.logs[profile] = here.collect();
    }
}
