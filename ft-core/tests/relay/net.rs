//! The network: one queue of events over all VMs, the manager and the origin.

use std::collections::{BTreeMap, BTreeSet};

use ft_core::manifest::Layout;
use ft_core::relay::{BlockSet, Edges, Input, Output, Rejection, Source, StripeEdges};
use ft_core::tree::{self, FunctionTree};
use ft_core::{BlockIndex, Duration, Epoch, Instant, Stripe, VmId};

use crate::origin::Origin;
use crate::plan::{Faults, Plan};
use crate::rng::Rng;
use crate::session::{Lane, Message, Session, SessionId};
use crate::vm::Vm;

/// What a block takes on any link.
pub(crate) const BLOCK_TIME: Duration = Duration::from_millis(20);
/// Faults happen before this moment.
pub(crate) const STORM_ENDS: Instant = Instant::from_nanos(10_000_000_000);
/// By then everything must have come to rest.
const HORIZON: Instant = Instant::from_nanos(180_000_000_000);

#[derive(Debug)]
enum Event {
    /// For one life of one VM's engine.
    Input {
        vm: VmId,
        life: u64,
        input: Input,
    },
    Deliver {
        session: SessionId,
        message: Message,
    },
    /// A VM's uplink has finished a block.
    Uplinked {
        vm: VmId,
        life: u64,
    },
    /// An attempt to make a session arrives.
    Connect {
        child: VmId,
        life: u64,
        parent: VmId,
    },
    /// One end of a broken session notices.
    Notice {
        session: SessionId,
        at_child: bool,
    },
    Read {
        vm: VmId,
        block: BlockIndex,
    },
    /// The manager has a new start-up profile.
    Profile,
    Kill {
        vm: Option<VmId>,
    },
    Restart {
        vm: VmId,
        keep: bool,
    },
    Break,
    Drop,
    Leave {
        vm: Option<VmId>,
    },
    Join {
        vm: VmId,
    },
}

/// What is kept of what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    Nothing,
    Digest,
    Print,
}

pub(crate) struct Net {
    pub(crate) plan: Plan,
    pub(crate) layout: Layout,
    pub(crate) vms: BTreeMap<VmId, Vm>,
    pub(crate) origin: Origin,
    /// The newest start-up profile.
    pub(crate) profile: Vec<BlockIndex>,
    rng: Rng,
    tree: Box<dyn FunctionTree + Send>,
    sessions: Vec<Session>,
    queue: BTreeMap<(Instant, u64), Event>,
    events: u64,
    now: Instant,
    watch: Watch,
    hash: u64,
}

impl Net {
    pub(crate) fn new(plan: Plan, rng: Rng, watch: Watch) -> Self {
        let layout = plan.layout();
        let vm = |id| Vm::new(id, &plan, &layout, BlockSet::new(layout.len()));
        let mut net = Self {
            tree: tree::new(plan.shape, Epoch::first(1)),
            vms: (0..plan.vms).map(VmId).map(|id| (id, vm(id))).collect(),
            layout,
            plan,
            origin: Origin::default(),
            profile: Vec::new(),
            rng,
            sessions: Vec::new(),
            queue: BTreeMap::new(),
            events: 0,
            now: Instant::ZERO,
            watch,
            hash: 0,
        };
        net.schedule_plan();
        net
    }

    /// Runs until nothing is left to happen.
    pub(crate) fn run(&mut self) {
        loop {
            let timeout = self.vms.values().filter(|vm| vm.alive).filter_map(|vm| vm.engine.deadline()).min();
            let event = self.queue.first_key_value().map(|(key, _)| key.0);
            let Some(next) = timeout.into_iter().chain(event).min() else { return };
            assert!(next < HORIZON, "no rest after {} s", HORIZON.as_nanos() / 1_000_000_000);
            self.now = self.now.max(next);
            if event.is_some_and(|at| at <= self.now)
                && let Some((_, event)) = self.queue.pop_first()
            {
                self.note(&event);
                self.happen(event);
            } else {
                self.time_out();
            }
        }
    }

    /// When the last VM had every block.
    pub(crate) fn completed_at(&self) -> Instant {
        self.vms.values().filter_map(|vm| vm.completed_at).max().unwrap()
    }

    /// A number that two runs share only if the same things happened in the same order.
    pub(crate) fn digest(&self) -> u64 {
        self.hash
    }

    fn note(&mut self, what: &impl std::fmt::Debug) {
        if self.watch == Watch::Nothing {
            return;
        }
        let line = format!("{:>9} us {what:?}", self.now.as_nanos() / 1000);
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        if self.watch == Watch::Print {
            eprintln!("{line}");
        }
    }

    fn schedule_plan(&mut self) {
        let ids: Vec<VmId> = self.vms.keys().copied().collect();
        for &vm in &ids {
            self.tree.insert(vm).unwrap();
        }
        self.send_edges();
        self.change_profile();
        let faults = self.plan.faults.clone();
        let storm = STORM_ENDS.as_nanos();
        for _ in 0..self.plan.demands {
            let vm = *self.rng.pick(&ids).unwrap();
            let block = BlockIndex(u32::try_from(self.rng.next() % u64::from(self.layout.len())).unwrap());
            // In a calm run readers start when everybody knows its edges.
            let (from, to) = if self.is_calm() { (2_000_000, 1_000_000_000) } else { (0, storm) };
            let at = self.rng.between(from, to);
            self.read_at(Instant::from_nanos(at), vm, block);
        }
        let mut times = |count, make: fn() -> Event| {
            for _ in 0..count {
                let at = Instant::from_nanos(self.rng.between(0, storm));
                self.schedule(at, make());
            }
        };
        times(faults.profiles, || Event::Profile);
        times(faults.kills, || Event::Kill { vm: None });
        times(faults.breaks, || Event::Break);
        times(faults.drops, || Event::Drop);
        times(faults.moves, || Event::Leave { vm: None });
    }

    fn is_calm(&self) -> bool {
        self.plan.faults == Faults::default()
    }

    fn storm(&self) -> bool {
        self.now < STORM_ENDS
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.events += 1;
        self.queue.insert((at.max(self.now), self.events), event);
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.schedule(self.now + delay, event);
    }

    /// A delay of `low..=high` microseconds.
    fn delay(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_micros(self.rng.between(low, high))
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input { vm, life, input } => {
                if self.vms[&vm].life == life {
                    self.input(vm, input);
                }
            }
            Event::Deliver { session, message } => self.deliver(session, message),
            Event::Uplinked { vm, life } => {
                if self.vms[&vm].life == life {
                    self.uplinked(vm);
                }
            }
            Event::Connect { child, life, parent } => self.connect(child, life, parent),
            Event::Notice { session, at_child } => self.notice(session, at_child),
            Event::Read { vm, block } => self.read(vm, block),
            Event::Profile => self.change_profile(),
            Event::Kill { vm } => self.kill(vm),
            Event::Restart { vm, keep } => self.restart(vm, keep),
            Event::Break => self.break_session(),
            Event::Drop => self.drop_block(),
            Event::Leave { vm } => self.leave(vm),
            Event::Join { vm } => {
                // It may be in still: then everybody hears the same edges again.
                let _in_already = self.tree.insert(vm).is_err();
                self.send_edges();
            }
        }
    }

    fn time_out(&mut self) {
        let due = |vm: &&Vm| vm.alive && vm.engine.deadline().is_some_and(|at| at <= self.now);
        let due: Vec<VmId> = self.vms.values().filter(due).map(|vm| vm.id).collect();
        for vm in due {
            self.input(vm, Input::Timeout);
        }
    }

    /// Tells a VM's engine what happened, and does what it says.
    fn input(&mut self, id: VmId, input: Input) {
        let Some(vm) = self.vms.get_mut(&id).filter(|vm| vm.alive) else { return };
        vm.note_input(self.now, &input);
        if let Input::Stored { block, .. } = input {
            vm.end_read(self.now, block, false);
        }
        vm.engine.handle(self.now, input);
        while let Some(output) = self.vms.get_mut(&id).and_then(|vm| vm.engine.poll()) {
            self.note(&(id, &output));
            self.act(id, output);
        }
    }

    fn act(&mut self, id: VmId, output: Output) {
        match output {
            Output::Connect(parent) => {
                let delay = self.delay(100, 30_000);
                let life = self.vms[&id].life;
                if !self.storm() || !self.rng.one_in(self.plan.faults.silent_connect) {
                    self.after(delay, Event::Connect { child: id, life, parent });
                }
            }
            Output::Disconnect(parent) => self.disconnect(id, parent),
            Output::Subscribe { parent, subscription } => {
                if !self.storm() || !self.rng.one_in(self.plan.faults.lost_subscription) {
                    self.say_to_parent(id, parent, Message::Subscribe(subscription));
                }
            }
            Output::Unsubscribe { parent } => self.say_to_parent(id, parent, Message::Unsubscribe),
            Output::Have { to, block } => self.say_to_parent(id, to, Message::Have(block)),
            Output::Fetch { from, blocks, ask } => {
                for block in blocks {
                    let now = self.now;
                    self.vms.get_mut(&id).unwrap().check_fetch(now, block, from, ask);
                    match from {
                        Source::Peer(parent) => self.say_to_parent(id, parent, Message::Ask { block, ask }),
                        Source::Origin => self.read_origin(id, block),
                    }
                }
            }
            Output::Send { child, block, class } => {
                let key = self.events;
                self.events += 1;
                let vm = self.vms.get_mut(&id).unwrap();
                if let Some(&session) = vm.accepted.get(&child) {
                    vm.check_send(session, block);
                    vm.uplink.insert((Lane::of(class) != Lane::Demand, key, session, block, class));
                    self.start_uplink(id);
                }
            }
            Output::Refuse { child, block } => {
                if let Some(&session) = self.vms[&id].accepted.get(&child) {
                    let arrives = self.now + self.delay(100, 2_000);
                    self.say(session, Lane::Push, arrives, Message::Refuse(block));
                }
            }
            Output::Failed { block, .. } => {
                let now = self.now;
                self.vms.get_mut(&id).unwrap().end_read(now, block, true);
            }
            Output::Stuck { .. } => {}
            Output::Complete => {
                let vm = self.vms.get_mut(&id).unwrap();
                assert!(vm.engine.stored().is_full());
                vm.completed_at = Some(self.now);
            }
        }
    }

    fn read_origin(&mut self, vm: VmId, block: BlockIndex) {
        let faults = self.plan.faults.clone();
        let storm = self.storm();
        let mut goes_wrong = |once_in| storm && self.rng.one_in(once_in);
        let (stalls, fails) = (goes_wrong(faults.origin_stall), goes_wrong(faults.origin_error));
        let corrupt = goes_wrong(faults.corrupt);
        let from = Source::Origin;
        let input = match (fails, corrupt) {
            (true, _) => Input::Rejected { block, from, why: Rejection::Failed },
            (_, true) => Input::Rejected { block, from, why: Rejection::Corrupt },
            _ => Input::Stored { block, from },
        };
        let left = self.origin.read(self.now, block, BLOCK_TIME);
        let at = left + self.delay(1_000, 20_000);
        if !stalls {
            let life = self.vms[&vm].life;
            self.schedule(at, Event::Input { vm, life, input });
        }
    }

    fn say_to_parent(&mut self, child: VmId, parent: VmId, message: Message) {
        let arrives = self.now + self.delay(100, 5_000);
        // The engine may speak to a peer whose session has just ended.
        if let Some(&session) = self.vms[&child].made.get(&parent) {
            self.say(session, Lane::Up, arrives, message);
        }
    }

    fn say(&mut self, id: SessionId, lane: Lane, arrives: Instant, message: Message) {
        let session = self.session(id);
        let last = &mut session.lanes[lane as usize];
        *last = arrives.max(*last);
        let arrives = *last;
        if session.alive {
            self.schedule(arrives, Event::Deliver { session: id, message });
        }
    }

    fn session(&mut self, id: SessionId) -> &mut Session {
        &mut self.sessions[usize::try_from(id.0).unwrap()]
    }

    fn deliver(&mut self, id: SessionId, message: Message) {
        let session = self.session(id);
        if session.alive {
            let (to, input) = message.into_input(session.child, session.parent);
            self.input(to, input);
        }
    }

    fn start_uplink(&mut self, id: VmId) {
        let vm = self.vms.get_mut(&id).unwrap();
        if !vm.sending && !vm.uplink.is_empty() {
            vm.sending = true;
            let life = vm.life;
            let times = self.plan.crawls.filter(|(vm, _)| *vm == id).map_or(1, |(_, times)| times);
            self.after(BLOCK_TIME.saturating_mul(times), Event::Uplinked { vm: id, life });
        }
    }

    /// The block at the head of the uplink has left.
    fn uplinked(&mut self, id: VmId) {
        let vm = self.vms.get_mut(&id).unwrap();
        vm.sending = false;
        let Some((_, _, session, block, class)) = vm.uplink.pop_first() else { return };
        let corrupt = self.storm() && self.rng.one_in(self.plan.faults.corrupt);
        let arrives = self.now + self.delay(100, 2_000);
        self.say(session, Lane::of(class), arrives, Message::Block { block, corrupt });
        let child = self.session(session).child;
        // Of a session that ended, the driver says no more.
        if self.vms[&id].accepted.get(&child) == Some(&session) {
            self.input(id, Input::Sent { child, block });
        }
        self.start_uplink(id);
    }

    fn connect(&mut self, child: VmId, life: u64, parent: VmId) {
        if self.vms[&child].life != life || !self.vms[&child].alive {
            return;
        }
        if !self.vms.get(&parent).is_some_and(|vm| vm.alive) {
            self.input(child, Input::PeerDown(parent));
            return;
        }
        if let Some(&old) = self.vms[&parent].accepted.get(&child) {
            self.session(old).alive = false;
            self.input(parent, Input::ChildDown(child));
        }
        let id = SessionId(self.sessions.len() as u64);
        self.sessions.push(Session { child, parent, alive: true, lanes: [self.now; 3] });
        self.vms.get_mut(&parent).unwrap().accepted.insert(child, id);
        self.vms.get_mut(&child).unwrap().made.insert(parent, id);
        self.input(child, Input::PeerUp(parent));
    }

    fn disconnect(&mut self, child: VmId, parent: VmId) {
        if let Some(id) = self.vms.get_mut(&child).unwrap().made.remove(&parent) {
            self.session(id).alive = false;
            let delay = self.delay(100, 5_000);
            self.after(delay, Event::Notice { session: id, at_child: false });
        }
    }

    fn end_session(&mut self, id: SessionId) {
        if std::mem::replace(&mut self.session(id).alive, false) {
            for at_child in [false, true] {
                let delay = self.delay(100, 2_000_000);
                self.after(delay, Event::Notice { session: id, at_child });
            }
        }
    }

    fn notice(&mut self, id: SessionId, at_child: bool) {
        let (child, parent) = (self.session(id).child, self.session(id).parent);
        let (vm, peer) = if at_child { (child, parent) } else { (parent, child) };
        let ends = self.vms.get_mut(&vm).unwrap();
        let sessions = if at_child { &mut ends.made } else { &mut ends.accepted };
        if sessions.get(&peer) == Some(&id) {
            sessions.remove(&peer);
            let input = if at_child { Input::PeerDown(peer) } else { Input::ChildDown(peer) };
            self.input(vm, input);
        }
    }

    /// Readers on `vm` will probably want `blocks`: it is told at `at`.
    pub(crate) fn expect_at(&mut self, at: Instant, vm: VmId, blocks: Vec<BlockIndex>) {
        self.schedule(at, Event::Input { vm, life: 0, input: Input::Expect { blocks } });
    }

    /// A reader on `vm` wants `block` at `at`.
    pub(crate) fn read_at(&mut self, at: Instant, vm: VmId, block: BlockIndex) {
        self.schedule(at, Event::Read { vm, block });
    }

    fn read(&mut self, id: VmId, index: BlockIndex) {
        let block = self.layout.block(index).unwrap().canonical;
        let now = self.now;
        let vm = self.vms.get_mut(&id).unwrap();
        if vm.alive && !vm.engine.stored().contains(block) {
            vm.reads.entry(block).or_insert(now);
            self.input(id, Input::Demand { block: index });
            if self.plan.readahead {
                let blocks = (1..=4).map(|ahead| BlockIndex(index.0 + ahead));
                let blocks = blocks.filter(|block| block.0 < self.layout.len()).collect();
                self.input(id, Input::Expect { blocks });
            }
        }
    }

    /// The manager tells everybody a new start-up profile.
    fn change_profile(&mut self) {
        let (first, len) = (self.layout.metadata_blocks(), self.layout.len());
        let mut blocks: Vec<BlockIndex> = (first..len).map(BlockIndex).collect();
        for nth in (1..blocks.len()).rev() {
            blocks.swap(nth, usize::try_from(self.rng.between(0, nth as u64)).unwrap());
        }
        blocks.truncate(usize::try_from(self.plan.profile).unwrap());
        self.profile = blocks;
        let ids: Vec<VmId> = self.vms.keys().copied().collect();
        for vm in ids {
            self.tell_profile(vm);
        }
    }

    fn tell_profile(&mut self, vm: VmId) {
        let (life, blocks) = (self.vms[&vm].life, self.profile.clone());
        self.after(Duration::from_millis(1), Event::Input { vm, life, input: Input::Profile { blocks } });
    }

    /// The root of a stripe.
    pub(crate) fn root(&self, stripe: Stripe) -> VmId {
        self.tree.root(stripe).unwrap()
    }

    /// `vm` dies at `at`.
    pub(crate) fn kill_at(&mut self, at: Instant, vm: VmId) {
        self.schedule(at, Event::Kill { vm: Some(vm) });
    }

    fn kill(&mut self, vm: Option<VmId>) {
        let alive: Vec<VmId> = self.vms.values().filter(|vm| vm.alive).map(|vm| vm.id).collect();
        let Some(id) = vm.or_else(|| self.rng.pick(&alive).copied()) else { return };
        let vm = self.vms.get_mut(&id).unwrap();
        vm.alive = false;
        vm.life += 1;
        vm.reads.clear();
        let sessions: BTreeSet<SessionId> = vm.made.values().chain(vm.accepted.values()).copied().collect();
        for session in sessions {
            self.end_session(session);
        }
        let (lease, down, keep) = (self.delay(0, 3_000_000), self.delay(1, 6_000_000), self.rng.one_in(2));
        self.after(lease, Event::Leave { vm: Some(id) });
        self.after(lease + down, Event::Restart { vm: id, keep });
    }

    fn restart(&mut self, id: VmId, keep: bool) {
        let Self { vms, layout, plan, .. } = self;
        let vm = vms.get_mut(&id).unwrap();
        let stored = if keep { vm.engine.stored().clone() } else { BlockSet::new(layout.len()) };
        vm.restart(plan, layout, stored);
        self.tell_profile(id);
        self.after(Duration::ZERO, Event::Join { vm: id });
    }

    fn break_session(&mut self) {
        let ids = (0..).map(SessionId).zip(&self.sessions);
        let alive: Vec<SessionId> = ids.filter(|(_, session)| session.alive).map(|(id, _)| id).collect();
        if let Some(&id) = self.rng.pick(&alive) {
            self.end_session(id);
        }
    }

    fn drop_block(&mut self) {
        let alive: Vec<VmId> = self.vms.values().filter(|vm| vm.alive).map(|vm| vm.id).collect();
        let Some(&id) = self.rng.pick(&alive) else { return };
        let stored: Vec<BlockIndex> = self.vms[&id].engine.stored().iter().collect();
        if let Some(&block) = self.rng.pick(&stored) {
            let block = self.layout.block(block).unwrap().canonical;
            // What is in hand of it cannot be sent.
            let uplink = &mut self.vms.get_mut(&id).unwrap().uplink;
            let given_up: Vec<_> = uplink.iter().filter(|entry| entry.3 == block).copied().collect();
            uplink.retain(|entry| entry.3 != block);
            self.input(id, Input::Dropped { block });
            for (_, _, session, block, _) in given_up {
                let child = self.session(session).child;
                self.input(id, Input::Sent { child, block });
            }
        }
    }

    /// Takes a VM out of the tree; one that is alive joins again.
    fn leave(&mut self, vm: Option<VmId>) {
        let members: Vec<VmId> = self.tree.vms().collect();
        let Some(id) = vm.or_else(|| self.rng.pick(&members).copied()) else { return };
        if self.tree.len() > 1 && self.tree.remove(id).is_ok() {
            self.send_edges();
        }
        if vm.is_none() {
            let delay = self.delay(0, 1_000_000);
            self.after(delay, Event::Join { vm: id });
        }
    }

    /// The manager tells everybody in the tree its edges; what it says may overtake itself.
    fn send_edges(&mut self) {
        let members: Vec<VmId> = self.tree.vms().collect();
        for vm in members {
            let edges = self.edges_of(vm);
            let delay = self.delay(100, if self.is_calm() { 1_000 } else { 300_000 });
            let life = self.vms[&vm].life;
            self.after(delay, Event::Input { vm, life, input: Input::Edges(edges) });
        }
    }

    fn edges_of(&self, vm: VmId) -> Edges {
        let stripes = (0..self.tree.stripes()).map(Stripe).map(|stripe| {
            let parent = self.tree.parent_of(vm, stripe);
            StripeEdges {
                parent,
                grandparent: parent.and_then(|parent| self.tree.parent_of(parent, stripe)),
                children: self.tree.children_of(vm, stripe).into_iter().flatten().collect(),
            }
        });
        Edges {
            epoch: self.tree.epoch(),
            vms: u32::try_from(self.tree.len()).unwrap_or(u32::MAX),
            stripes: stripes.collect(),
        }
    }
}
