//! Placing containers again: places for replacements, and their way to the disk and on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ft_core::VmId;
use tokio::sync::Notify;

use crate::core::Core;
use crate::ids::{ContainerId, TreeKey};
use crate::pool::Wanted;
use crate::refusal::Refusal;
use crate::state::Write;
use crate::time::Now;
use crate::trees::{Container, Placer, Replacement, TreeCell};

/// Finds places for a tree's replacements in the pool.
pub(crate) struct Places<'a> {
    core: &'a Core,
    cell: &'a Arc<TreeCell>,
}

impl<'a> Places<'a> {
    pub(crate) fn new(core: &'a Core, cell: &'a Arc<TreeCell>) -> Self {
        Self { core, cell }
    }
}

impl Placer for Places<'_> {
    fn place(
        &self,
        container: &Container,
        own: &BTreeMap<VmId, u32>,
    ) -> Result<(ContainerId, VmId), Refusal> {
        let only = container.spec.vms.iter().copied().map(VmId).collect();
        // A VM whose stream broke a moment ago is better than none: it mostly comes back.
        let wanted = Wanted { key: &self.cell.key, count: 1, own, only: &only, suspects: true };
        container.function.begin_use(1)?;
        let vms = self.core.pool.reserve(&wanted).inspect_err(|_| container.function.end_use(1))?;
        let ids = self.core.trees.name_containers(self.cell, 1);
        ids.first().copied().zip(vms.first().copied()).ok_or(Refusal::NoContainer(container.id))
    }
}

/// Replacements that are reserved and not durable yet.
#[derive(Debug, Default)]
pub(crate) struct Replacements {
    waiting: Mutex<Vec<(Arc<TreeCell>, Replacement)>>,
    wake: Notify,
}

impl Replacements {
    pub(crate) fn push(&self, cell: &Arc<TreeCell>, replacements: Vec<Replacement>) {
        if replacements.is_empty() {
            return;
        }
        for replacement in &replacements {
            let Replacement { id, replaces, record } = replacement;
            tracing::warn!(container = %replaces, replacement = %id, vm = %record.vm(), "a container is placed again");
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend(replacements.into_iter().map(|replacement| (Arc::clone(cell), replacement)));
        self.wake.notify_one();
    }

    fn take(&self) -> Vec<(Arc<TreeCell>, Replacement)> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Makes replacements durable and begins with them, until the shutdown. What is not durable by then, the next
/// manager replaces: the containers that they replace are still on disk.
pub(crate) async fn run(core: Arc<Core>) {
    loop {
        tokio::select! {
            () = core.replacements.wake.notified() => core.begin_replacements().await,
            () = core.shutdown.cancelled() => return,
        }
    }
}

impl Core {
    async fn begin_replacements(&self) {
        let mut writes = Vec::new();
        let mut cells: BTreeMap<TreeKey, (Arc<TreeCell>, Vec<ContainerId>)> = BTreeMap::new();
        for (cell, Replacement { id, replaces, record }) in self.replacements.take() {
            self.keys.replace(&record, replaces, id);
            writes.extend([Write::ForgetContainer(replaces), Write::Container(id, record)]);
            cells.entry(cell.key.clone()).or_insert_with(|| (cell, Vec::new())).1.push(id);
        }
        let written = self.store.write(writes).await;
        for (cell, ids) in cells.values() {
            match &written {
                Ok(()) => {
                    self.change(cell, |tree| tree.begin(ids, Now::read()));
                    self.forget_ended(cell, ids);
                }
                Err(error) => {
                    let cause = error.to_string();
                    self.change(cell, |tree| tree.abandon(ids, &cause, Now::read()));
                }
            }
        }
    }
}
