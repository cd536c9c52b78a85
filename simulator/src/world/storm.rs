//! Things go wrong, and are put right again.

use ft_core::{BlockIndex, Duration};

use super::fault::{Fault, Undo};
use super::manager::Act;
use super::session::SessionId;
use super::{Event, Life, World, id};
use crate::seen::{Seen, Watch};

impl<W: Watch> World<W> {
    /// The nth entry of the script happens.
    pub(super) fn act_out(&mut self, nth: usize) {
        let fault = self.setup.script[nth].1.clone();
        let vm = fault.vms().first().map(|vm| id(*vm));
        self.see(&Seen::Fault { what: fault.name(), vm });
        match fault {
            Fault::Crash { vm, away, keeps, silent } => {
                self.stop_host(vm, silent);
                if !keeps {
                    self.hosts[vm].disk.fill(None);
                }
                self.miss(vm);
                self.undo_after(away, vm, Undo::Restart);
            }
            Fault::Leave { vm, away } => {
                self.stop_host(vm, false);
                if self.manager.away == 0 {
                    self.leave_tree(vm);
                } else {
                    self.miss(vm);
                }
                self.undo_after(away, vm, Undo::Restart);
            }
            Fault::Join { vm } => self.undo(self.life(vm), Undo::Restart),
            Fault::Break { nth, silent } => self.break_one(nth, silent),
            Fault::Partition { vms, lasts, origin, manager } => self.part(vms, lasts, origin, manager),
            Fault::Slow { vm, factor, up_only, noticed, lasts } => {
                self.hosts[vm].up.slow_down(factor);
                if !up_only {
                    self.hosts[vm].down.slow_down(factor);
                }
                if noticed {
                    self.mark_slow(vm, true);
                }
                self.undo_after(lasts, vm, Undo::Speed);
            }
            Fault::Stall { vm, lasts } => {
                let until = self.now + lasts;
                self.hosts[vm].stalled_until = self.hosts[vm].stalled_until.max(until);
            }
            Fault::Damage { vm, nth, found } => self.damage(vm, nth, found),
            Fault::Lie { vm, lie, lasts } => {
                self.hosts[vm].lie = Some(lie);
                self.undo_after(lasts, vm, Undo::Honesty);
            }
            Fault::ManagerLoss { lasts, restarts } => {
                self.manager.away += 1;
                self.after(lasts, Event::Manager(Act::Resume { restarted: restarts }));
            }
            Fault::Origin { outage, lasts } => {
                self.origin.outage = Some(outage);
                self.undo_after(lasts, 0, Undo::Origin);
            }
        }
    }

    fn undo_after(&mut self, lasts: Duration, vm: usize, undo: Undo) {
        let of = self.life(vm);
        self.after(lasts, Event::Undo(of, undo));
    }

    pub(super) fn undo(&mut self, of: Life, undo: Undo) {
        let vm = of.vm;
        match undo {
            Undo::Restart => {
                if self.hosts[vm].engine.is_none() {
                    self.see(&Seen::Fault { what: "starts again", vm: Some(id(vm)) });
                    self.start_host(vm);
                    self.ask_to_join(vm);
                }
            }
            Undo::Heal { island } => self.heal(island),
            Undo::Speed => {
                self.hosts[vm].up.slow_down(1);
                self.hosts[vm].down.slow_down(1);
                self.mark_slow(vm, false);
            }
            Undo::Honesty => self.hosts[vm].lie = None,
            Undo::Origin => self.origin.outage = None,
        }
    }

    /// Nothing goes wrong any more; everybody is back.
    pub(super) fn calm_down(&mut self) {
        self.calm = true;
        self.see(&Seen::Calm);
        self.origin.outage = None;
        for island in 0..self.islands.len() {
            self.heal(island);
        }
        for vm in 0..self.hosts.len() {
            let of = self.life(vm);
            for undo in [Undo::Speed, Undo::Honesty, Undo::Restart] {
                self.undo(of, undo);
            }
        }
        while self.manager.away > 0 {
            self.manage(Act::Resume { restarted: false });
        }
    }

    pub(super) fn live_sessions(&self) -> Vec<SessionId> {
        let alive = self.hosts.iter().flat_map(|host| host.made.values().copied());
        alive.filter(|session| self.sessions[session.0].alive).collect()
    }

    fn break_one(&mut self, nth: usize, silent: bool) {
        let live = self.live_sessions();
        if let Some(&session) = nth.checked_rem(live.len()).and_then(|nth| live.get(nth)) {
            self.break_session(session, silent);
        }
    }

    /// A block on the disk rots; that comes to light when it is read.
    fn damage(&mut self, vm: usize, nth: usize, found: bool) {
        let stored: Vec<BlockIndex> = self.hosts[vm].stored().iter().collect();
        let Some(&block) = nth.checked_rem(stored.len()).and_then(|nth| stored.get(nth)) else { return };
        if let Some(Some(content)) = self.hosts[vm].on_disk(block) {
            *content = !*content;
        }
        if found {
            let _gone = self.read_disk(vm, block);
        }
    }
}
