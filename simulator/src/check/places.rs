//! Nobody turns to a VM that the newest edges it was told do not name: stale epochs are ignored.

use std::collections::{BTreeMap, BTreeSet};

use ft_core::relay::{Edges, Input, Output};
use ft_core::{Instant, VmId};

use super::{Check, Verdict, ensure};
use crate::seen::Seen;

#[derive(Default)]
pub(super) struct Places {
    newest: BTreeMap<VmId, Edges>,
}

impl Places {
    fn named(&self, vm: VmId) -> BTreeSet<VmId> {
        let edges = self.newest.get(&vm).into_iter().flat_map(|edges| &edges.stripes);
        edges.flat_map(|edges| [edges.parent, edges.grandparent]).flatten().collect()
    }
}

impl Check for Places {
    fn name(&self) -> &'static str {
        "places"
    }

    fn see(&mut self, _at: Instant, seen: &Seen<'_>) -> Verdict {
        match *seen {
            Seen::Started { vm, .. } | Seen::Stopped { vm } => {
                self.newest.remove(&vm);
            }
            Seen::Told { vm, input: Input::Edges(edges) }
                if self.newest.get(&vm).is_none_or(|known| edges.epoch > known.epoch) =>
            {
                self.newest.insert(vm, edges.clone());
            }
            Seen::Does { vm, output: Output::Connect(peer) } => {
                let named = self.named(vm);
                return ensure(named.contains(peer), || {
                    format!("{vm} turns to {peer}, but its newest edges name {named:?}")
                });
            }
            _ => {}
        }
        Ok(())
    }
}
