//! What can go wrong, and how it is put right.

use std::collections::BTreeSet;

use ft_core::relay::{Ask, BlockSet, Class, StripeSet, Subscription};
use ft_core::{BlockIndex, Duration, Instant};

use super::manager::Act;
use super::session::{Message, SessionId};
use super::{Event, Life, World, id};
use crate::seen::{Seen, Watch};

pub(crate) use super::host::Lie;
pub(crate) use super::origin::Outage;

/// A connection outlives a gap that is shorter than this.
const OUTLIVED: Duration = Duration::from_secs(2);

/// Something that goes wrong at a moment. VMs are named by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A worker dies and starts again later, with its disk as it was or empty.
    Crash {
        /// Which.
        vm: usize,
        /// For how long it is away.
        away: Duration,
        /// Whether its blocks are still there.
        keeps: bool,
        /// Whether its connections end without a word.
        silent: bool,
    },
    /// A VM stops following the image and comes back later.
    Leave {
        /// Which.
        vm: usize,
        /// For how long.
        away: Duration,
    },
    /// A VM that was not there from the start joins.
    Join {
        /// Which.
        vm: usize,
    },
    /// A session breaks, the nth of those that there are.
    Break {
        /// Which.
        nth: usize,
        /// Without a word.
        silent: bool,
    },
    /// VMs reach each other but nobody else.
    Partition {
        /// Who is cut off.
        vms: BTreeSet<usize>,
        /// For how long.
        lasts: Duration,
        /// Whether they still reach the origin.
        origin: bool,
        /// Whether they still reach the manager.
        manager: bool,
    },
    /// A VM's link is so many times slower.
    Slow {
        /// Whose.
        vm: usize,
        /// How many times.
        factor: u32,
        /// Sending, or both ways.
        up_only: bool,
        /// Whether the manager notices, and moves it to the leaves.
        noticed: bool,
        /// For how long.
        lasts: Duration,
    },
    /// A block on a VM's disk is damaged, the nth of those that are there.
    Damage {
        /// Whose disk.
        vm: usize,
        /// Which block.
        nth: usize,
        /// Whether something reads it at once.
        found: bool,
    },
    /// A VM lies.
    Lie {
        /// Which.
        vm: usize,
        /// How.
        lie: Lie,
        /// For how long.
        lasts: Duration,
    },
    /// The manager is away.
    ManagerLoss {
        /// For how long.
        lasts: Duration,
        /// Whether it comes back as a new one.
        restarts: bool,
    },
    /// The origin is out of order.
    Origin {
        /// How.
        outage: Outage,
        /// For how long.
        lasts: Duration,
    },
}

/// How often small things go wrong: once in so many times; 0 is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Odds {
    /// A request to the origin fails.
    pub(crate) origin_error: u32,
    /// A request to the origin is never answered.
    pub(crate) origin_stall: u32,
    /// The origin sends something else.
    pub(crate) origin_lie: u32,
    /// An attempt to make a session is never answered.
    pub(crate) silent_dial: u32,
    /// Edges are late, and overtaken by newer ones.
    pub(crate) late_edges: u32,
    /// Edges that were told before are told again.
    pub(crate) stale_edges: u32,
}

/// What ends by itself.
#[derive(Clone, Debug)]
pub(super) enum Undo {
    Restart,
    Heal { island: usize },
    Speed,
    Honesty,
    Origin,
}

/// VMs that reach each other but nobody else.
#[derive(Clone, Debug)]
pub(super) struct Island {
    vms: BTreeSet<usize>,
    origin: bool,
    manager: bool,
    healed: bool,
}

impl Fault {
    /// Whether it lets `vm` join, so that it is not there before.
    pub(super) fn joins(&self, vm: usize) -> bool {
        *self == Self::Join { vm }
    }

    /// The VMs that it is about.
    pub(crate) fn vms(&self) -> Vec<usize> {
        match self {
            Self::Crash { vm, .. }
            | Self::Leave { vm, .. }
            | Self::Join { vm }
            | Self::Slow { vm, .. }
            | Self::Damage { vm, .. }
            | Self::Lie { vm, .. } => vec![*vm],
            Self::Partition { vms, .. } => vms.iter().copied().collect(),
            Self::Break { .. } | Self::ManagerLoss { .. } | Self::Origin { .. } => Vec::new(),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Crash { .. } => "crash",
            Self::Leave { .. } => "leave",
            Self::Join { .. } => "join",
            Self::Break { .. } => "a session breaks",
            Self::Partition { .. } => "partition",
            Self::Slow { .. } => "slow",
            Self::Damage { .. } => "a block on the disk is damaged",
            Self::Lie { .. } => "lies",
            Self::ManagerLoss { .. } => "the manager is away",
            Self::Origin { .. } => "the origin is out of order",
        }
    }
}

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

    fn part(&mut self, vms: BTreeSet<usize>, lasts: Duration, origin: bool, manager: bool) {
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

    fn heal(&mut self, island: usize) {
        if std::mem::replace(&mut self.islands[island].healed, true) {
            return;
        }
        let vms: Vec<usize> = self.islands[island].vms.iter().copied().collect();
        for vm in vms {
            self.ask_to_join(vm);
        }
    }

    fn live_sessions(&self) -> Vec<SessionId> {
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

    /// A session with a peer that speaks garbage, at either end.
    pub(super) fn speak_garbage(&mut self, session: SessionId) {
        let (child, parent) = (self.sessions[session.0].child.vm, self.sessions[session.0].parent.vm);
        let end = self.setup.image.layout.len();
        let any = |dice: &mut crate::rng::Rng| BlockIndex(dice.small(0, end + 2));
        if self.hosts[parent].lie == Some(Lie::Garbage) {
            for _ in 0..4 {
                let (block, at) = (any(&mut self.dice.lies), self.now + self.delay());
                if self.dice.lies.one_in(2) {
                    self.say(session, at, Message::Refuse(block));
                } else {
                    self.sessions[session.0].on_the_wire += 1;
                    self.say(session, at, Message::Block(block, 0xBAD, Class::Rest));
                }
            }
        }
        if self.hosts[child].lie == Some(Lie::Garbage) {
            let of = self.dice.lies.small(0, 3);
            let subscription = Subscription {
                stripes: StripeSet(0xff),
                of: u8::try_from(of).unwrap_or(0),
                have: BlockSet::new(self.dice.lies.small(0, end + 9)),
            };
            let at: Instant = self.now + self.delay();
            self.say(session, at, Message::Subscribe(subscription));
            for again in [false, true] {
                let ask = Ask { class: Class::Demand, may_fetch: true, again };
                let block = any(&mut self.dice.lies);
                self.say(session, at, Message::Ask(block, ask));
                let other = any(&mut self.dice.lies);
                self.say(session, at, Message::Have(other));
            }
        }
    }
}
