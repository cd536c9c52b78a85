//! Partitions: who reaches whom.

use std::collections::BTreeSet;

use ft_core::Duration;

use super::fault::Undo;
use super::session::SessionId;
use super::{Event, World};
use crate::seen::Watch;

/// A connection outlives a gap that is shorter than this.
const OUTLIVED: Duration = Duration::from_secs(2);

/// VMs that reach each other but nobody else.
#[derive(Clone, Debug)]
pub(super) struct Island {
    vms: BTreeSet<usize>,
    origin: bool,
    manager: bool,
    healed: bool,
}

impl<W: Watch> World<W> {
    pub(super) fn is_reachable(&self, one: usize, other: usize) -> bool {
        let apart =
            |island: &&Island| !island.healed && island.vms.contains(&one) != island.vms.contains(&other);
        self.islands.iter().find(apart).is_none()
    }

    pub(super) fn reaches_origin(&self, vm: usize) -> bool {
        self.islands.iter().all(|island| island.healed || island.origin || !island.vms.contains(&vm))
    }

    pub(super) fn reaches_manager(&self, vm: usize) -> bool {
        self.islands.iter().all(|island| island.healed || island.manager || !island.vms.contains(&vm))
    }

    pub(super) fn part(&mut self, vms: BTreeSet<usize>, lasts: Duration, origin: bool, manager: bool) {
        let across = |session: &&SessionId| {
            let session = &self.sessions[session.0];
            vms.contains(&session.child.vm) != vms.contains(&session.parent.vm)
        };
        let live = self.live_sessions();
        let cut: Vec<SessionId> = live.iter().filter(across).copied().collect();
        for session in cut {
            if lasts < OUTLIVED {
                self.sessions[session.0].frozen = self.now + lasts;
            } else {
                self.break_session(session, true);
            }
        }
        if !manager {
            for &vm in &vms {
                self.miss(vm);
            }
        }
        let of = self.life(vms.first().copied().unwrap_or(0));
        let island = self.islands.len();
        self.islands.push(Island { vms, origin, manager, healed: false });
        self.after(lasts, Event::Undo(of, Undo::Heal { island }));
    }

    pub(super) fn heal(&mut self, island: usize) {
        if std::mem::replace(&mut self.islands[island].healed, true) {
            return;
        }
        let vms: Vec<usize> = self.islands[island].vms.iter().copied().collect();
        for vm in vms {
            self.ask_to_join(vm);
        }
    }
}
