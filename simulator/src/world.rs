//! The world: hosts, links, an origin and a manager in virtual time, around the engines and trees that ship.
//!
//! One queue of events. What happens to whom and when is scripted ([`fault`]), drawn from seeds, or follows
//! from the models:
//!
//! | module | models |
//! |---|---|
//! | `host` | a VM: its engine, disk, links, and what its worker keeps beside the engine |
//! | `driver` | what a worker does: tells its engine what happens and carries out what it says |
//! | `session` | connections and what is said over them |
//! | `link`, `transfer` | links: blocks wait for an uplink, demands first, and pass through the receiver's downlink |
//! | `origin` | the origin and its link |
//! | `manager` | the tree, who is told of it and when, leases |
//! | `reader` | containers that read blocks in a start-up-like order |
//! | `fault` | what can go wrong |
//! | `storm` | it goes wrong, and is put right again |
//! | `partition` | who reaches whom |
//! | `garbage` | what peers say that speak garbage |

use std::collections::VecDeque;

use ft_core::relay::{Engine, Input, Limits, Mode, Stats};
use ft_core::tree::Shape;
use ft_core::{BlockIndex, Duration, Instant, VmId};

use crate::image::Image;
use crate::queue::Queue;
use crate::rng::Rng;
use crate::saboteur::Saboteur;
use crate::seen::{Seen, Watch};
use fault::{Fault, Odds};
use host::Host;
use manager::Manager;
use origin::Origin;
use reader::ReaderPlan;
use session::{Message, Session, SessionId};

mod driver;
pub(crate) mod fault;
mod garbage;
mod host;
mod link;
mod manager;
mod origin;
mod partition;
pub(crate) mod reader;
mod session;
mod storm;
mod transfer;

/// Whom an event is for: a VM's number, and which of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    vm: usize,
    life: u32,
}

#[derive(Debug)]
enum Event {
    /// An engine's deadline.
    Wake(usize),
    Input(Life, Input),
    /// An attempt to make a session arrives at the parent.
    Dial(SessionId),
    /// The answer arrives at the child.
    Up(SessionId),
    Deliver(SessionId, Message),
    /// An uplink is done with a block.
    Uplinked(Life),
    /// One end of a broken session notices.
    Notice {
        session: SessionId,
        at_child: bool,
    },
    /// A block has left the origin.
    OriginSent(Life, BlockIndex, origin::Answer),
    OriginAnswer(Life, BlockIndex, origin::Answer),
    /// A reader goes on.
    Read {
        of: Life,
        reader: usize,
    },
    /// The nth entry of the script.
    Script(usize),
    Undo(Life, fault::Undo),
    Manager(manager::Act),
    Calm,
}

/// What a world is made of.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) image: Image,
    pub(crate) shape: Shape,
    pub(crate) mode: Mode,
    pub(crate) limits: Limits,
    /// Every VM's link, in bytes per second each way.
    pub(crate) rates: Vec<u64>,
    /// The origin's uplink; 0: no limit.
    pub(crate) origin_rate: u64,
    /// One way between any two hosts.
    pub(crate) latency: Duration,
    /// Messages may take so much longer, at random.
    pub(crate) jitter: Duration,
    /// The start-up profile that VMs are told of.
    pub(crate) profile: Vec<BlockIndex>,
    pub(crate) readers: Vec<ReaderPlan>,
    pub(crate) odds: Odds,
    pub(crate) script: Vec<(Instant, Fault)>,
    /// When the script is over and nothing goes wrong any more.
    pub(crate) calm_at: Instant,
    pub(crate) seed: u64,
}

/// The streams of randomness.
#[derive(Debug)]
struct Dice {
    delays: Rng,
    origin: Rng,
    dials: Rng,
    edges: Rng,
    lies: Rng,
}

pub(crate) struct World<W> {
    setup: Setup,
    pub(crate) watch: W,
    hosts: Vec<Host>,
    sessions: Vec<Session>,
    origin: Origin,
    manager: Manager,
    islands: Vec<partition::Island>,
    dice: Dice,
    queue: Queue<Event>,
    /// What carrying out outputs gave rise to.
    backlog: VecDeque<(Life, Input)>,
    saboteur: Option<Saboteur>,
    now: Instant,
    events: u64,
    /// Blocks that have been queued at uplinks.
    queued: u64,
    calm: bool,
}

impl<W: Watch> World<W> {
    /// A world whose VMs join at time zero.
    pub(crate) fn new(setup: Setup, watch: W, saboteur: Option<Saboteur>) -> Self {
        let seed = setup.seed;
        let stream = |purpose| Rng::new(seed, purpose);
        let dice = Dice {
            delays: stream(1),
            origin: stream(2),
            dials: stream(3),
            edges: stream(4),
            lies: stream(5),
        };
        let mut world = Self {
            hosts: (0..setup.rates.len()).map(|vm| Host::new(vm, setup.rates[vm], &setup.image)).collect(),
            sessions: Vec::new(),
            origin: Origin::new(setup.origin_rate),
            manager: Manager::new(setup.shape),
            islands: Vec::new(),
            dice,
            queue: Queue::new(),
            backlog: VecDeque::new(),
            saboteur,
            now: Instant::ZERO,
            events: 0,
            queued: 0,
            calm: false,
            setup,
            watch,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let joining: Vec<usize> = (0..self.hosts.len())
            .filter(|vm| !self.setup.script.iter().any(|(_, fault)| fault.joins(*vm)))
            .collect();
        for &vm in &joining {
            self.start_host(vm);
        }
        self.join_all(&joining);
        for nth in 0..self.setup.script.len() {
            let at = self.setup.script[nth].0;
            self.queue.push(at, Event::Script(nth));
        }
        self.queue.push(self.setup.calm_at, Event::Calm);
    }

    /// Runs until nothing is left to happen, or until `horizon`; whether nothing was left.
    pub(crate) fn run(&mut self, horizon: Instant) -> bool {
        while !self.watch.is_done() {
            let Some((at, event)) = self.queue.pop() else { return true };
            if at > horizon {
                return false;
            }
            self.now = at;
            self.events += 1;
            if let Some(vm) = self.stalled(&event) {
                self.put_off(vm, event);
                continue;
            }
            self.happen(event);
            while let Some((of, input)) = self.backlog.pop_front() {
                self.input(of, input);
            }
        }
        false
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wake(vm) => self.wake(vm),
            Event::Input(of, input) => self.input(of, input),
            Event::Dial(session) => self.dialled(session),
            Event::Up(session) => self.up(session),
            Event::Deliver(session, message) => self.deliver(session, message),
            Event::Uplinked(of) => self.uplinked(of),
            Event::Notice { session, at_child } => self.notice(session, at_child),
            Event::OriginSent(of, block, answer) => self.origin_sent(of, block, answer),
            Event::OriginAnswer(of, block, answer) => self.origin_answer(of, block, answer),
            Event::Read { of, reader } => self.read_on(of, reader),
            Event::Script(nth) => self.act_out(nth),
            Event::Undo(of, undo) => self.undo(of, undo),
            Event::Manager(act) => self.manage(act),
            Event::Calm => self.calm_down(),
        }
    }

    /// The VM that is to see to `event` and cannot now.
    fn stalled(&self, event: &Event) -> Option<usize> {
        let vm = match event {
            Event::Wake(vm) => *vm,
            Event::Input(of, _)
            | Event::Uplinked(of)
            | Event::OriginAnswer(of, ..)
            | Event::Read { of, .. } => of.vm,
            Event::Up(session) => self.sessions[session.0].child.vm,
            Event::Dial(session) => self.sessions[session.0].parent.vm,
            Event::Deliver(session, message) => self.sessions[session.0].receiver(message).vm,
            Event::Notice { session, at_child: true } => self.sessions[session.0].child.vm,
            Event::Notice { session, at_child: false } => self.sessions[session.0].parent.vm,
            Event::OriginSent(..) | Event::Script(_) | Event::Undo(..) | Event::Manager(_) | Event::Calm => {
                return None;
            }
        };
        (self.hosts[vm].stalled_until > self.now).then_some(vm)
    }

    /// `event` happens when `vm` goes on; what is put off keeps its order.
    fn put_off(&mut self, vm: usize, event: Event) {
        let host = &mut self.hosts[vm];
        if matches!(event, Event::Wake(_)) {
            if host.wake != Some(self.now) {
                return;
            }
            host.wake = Some(host.stalled_until);
        }
        self.queue.push(host.stalled_until, event);
    }

    /// Events handled so far.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn image(&self) -> &Image {
        &self.setup.image
    }

    /// When each VM was complete, if it is.
    pub(crate) fn completions(&self) -> Vec<Option<Instant>> {
        self.hosts.iter().map(|host| host.complete_at).collect()
    }

    /// What the engines that run have counted.
    pub(crate) fn stats(&self) -> impl Iterator<Item = &Stats> {
        self.hosts.iter().filter_map(|host| host.engine.as_ref()).map(Engine::stats)
    }

    fn see(&mut self, seen: &Seen<'_>) {
        self.watch.see(self.now, seen);
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.queue.push(self.now + delay, event);
    }

    /// What a message takes between two hosts.
    fn delay(&mut self) -> Duration {
        let jitter = self.setup.jitter.as_nanos();
        let more = if jitter == 0 { 0 } else { self.dice.delays.between(0, jitter) };
        self.setup.latency + Duration::from_nanos(more)
    }

    fn life(&self, vm: usize) -> Life {
        Life { vm, life: self.hosts[vm].life }
    }

    fn is_current(&self, of: Life) -> bool {
        self.hosts[of.vm].life == of.life && self.hosts[of.vm].engine.is_some()
    }

    /// The number of a VM; `None` if there is no such VM.
    fn number(&self, vm: VmId) -> Option<usize> {
        usize::try_from(vm.0).ok().filter(|vm| *vm < self.hosts.len())
    }
}

/// The VM with this number.
fn id(vm: usize) -> VmId {
    VmId(vm as u64)
}
