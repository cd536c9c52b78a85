//! All function trees, each behind a lock of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use ft_core::Epoch;

use super::ManagedTree;
use crate::ids::{ContainerId, TreeKey};
use crate::slow::SlowVms;
use crate::state::record::Distribution;

/// One tree and its lock, which is held for moments only, never across an await.
#[derive(Debug)]
pub(crate) struct TreeCell {
    pub(crate) key: TreeKey,
    tree: Mutex<ManagedTree>,
}

impl TreeCell {
    pub(crate) fn lock(&self) -> MutexGuard<'_, ManagedTree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All trees, by tenant and image, and which tree a container belongs to.
#[derive(Debug)]
pub(crate) struct Trees {
    cells: RwLock<BTreeMap<TreeKey, Arc<TreeCell>>>,
    containers: RwLock<BTreeMap<ContainerId, Arc<TreeCell>>>,
    term: u64,
    slow: Arc<SlowVms>,
    next_container: AtomicU64,
    /// No tree of this term had an epoch with a greater counter when it was forgotten, so that a tree that
    /// is made again has newer epochs.
    counter_floor: AtomicU64,
}

impl Trees {
    pub(crate) fn new(term: u64, slow: Arc<SlowVms>) -> Self {
        Self {
            slow,
            cells: RwLock::default(),
            containers: RwLock::default(),
            term,
            next_container: AtomicU64::new(1),
            counter_floor: AtomicU64::new(0),
        }
    }

    /// The tree with this key, if there is one.
    pub(crate) fn get(&self, key: &TreeKey) -> Option<Arc<TreeCell>> {
        self.cells.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// The tree with this key; an empty one if there is none.
    pub(crate) fn get_or_create(
        &self,
        key: &TreeKey,
        origin: &str,
        distribution: Distribution,
    ) -> Arc<TreeCell> {
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        let cell = cells.entry(key.clone()).or_insert_with(|| {
            let counter = self.counter_floor.load(Ordering::Relaxed);
            let epoch = Epoch { term: self.term, counter };
            let tree =
                ManagedTree::new(key.clone(), origin.to_owned(), distribution, epoch, Arc::clone(&self.slow));
            Arc::new(TreeCell { key: key.clone(), tree: Mutex::new(tree) })
        });
        Arc::clone(cell)
    }

    /// All trees.
    pub(crate) fn all(&self) -> Vec<Arc<TreeCell>> {
        self.cells.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Forgets a tree whose functions are deleted, with its ended containers; kept while one is placed.
    pub(crate) fn forget(&self, key: &TreeKey) {
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        let Some(cell) = cells.get(key) else { return };
        let mut tree = cell.lock();
        if !tree.is_idle() {
            return;
        }
        tree.retired = true;
        self.counter_floor.fetch_max(tree.epoch().counter, Ordering::Relaxed);
        let mut containers = self.containers.write().unwrap_or_else(PoisonError::into_inner);
        for container in tree.containers() {
            containers.remove(&container.id);
        }
        drop((containers, tree));
        cells.remove(key);
    }

    /// New names for `count` containers of a tree, ascending.
    pub(crate) fn name_containers(&self, cell: &Arc<TreeCell>, count: u32) -> Vec<ContainerId> {
        let first = self.next_container.fetch_add(u64::from(count), Ordering::Relaxed);
        let ids: Vec<_> =
            (first..first + u64::from(count)).map(|number| ContainerId { term: self.term, number }).collect();
        self.enroll(cell, &ids);
        ids
    }

    /// Notes that these containers belong to a tree.
    pub(crate) fn enroll(&self, cell: &Arc<TreeCell>, ids: &[ContainerId]) {
        let mut containers = self.containers.write().unwrap_or_else(PoisonError::into_inner);
        containers.extend(ids.iter().map(|id| (*id, Arc::clone(cell))));
    }

    /// Forgets which tree these containers belong to.
    pub(crate) fn dismiss(&self, ids: &[ContainerId]) {
        let mut containers = self.containers.write().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            containers.remove(id);
        }
    }

    /// The tree that a container belongs to.
    pub(crate) fn of_container(&self, id: ContainerId) -> Option<Arc<TreeCell>> {
        self.containers.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }
}
