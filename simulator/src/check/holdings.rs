//! Which blocks each VM has been told are stored there.

use std::collections::BTreeMap;

use ft_core::relay::{BlockSet, Input};
use ft_core::{BlockIndex, VmId};

use crate::seen::Seen;

/// By VM; what a VM that has stopped had counts until it starts anew.
#[derive(Default)]
pub(super) struct Holdings {
    stored: BTreeMap<VmId, BlockSet>,
}

impl Holdings {
    /// Notes what comes and goes.
    pub(super) fn see(&mut self, seen: &Seen<'_>) {
        match *seen {
            Seen::Started { vm, here, .. } => {
                self.stored.insert(vm, here.clone());
            }
            Seen::Told { vm, input: Input::Stored { block, .. } } => {
                if let Some(stored) = self.stored.get_mut(&vm) {
                    stored.insert(*block);
                }
            }
            Seen::Told { vm, input: Input::Dropped { block } } => {
                if let Some(stored) = self.stored.get_mut(&vm) {
                    stored.remove(*block);
                }
            }
            _ => {}
        }
    }

    /// Whether `vm` has `block`.
    pub(super) fn has(&self, vm: VmId, block: BlockIndex) -> bool {
        self.stored.get(&vm).is_some_and(|stored| stored.contains(block))
    }
}
