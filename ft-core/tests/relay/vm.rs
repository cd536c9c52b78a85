//! One VM: its engine, and what a driver keeps beside it. Checks the engine's every output.

use std::collections::{BTreeMap, BTreeSet};

use ft_core::manifest::Layout;
use ft_core::relay::{Ask, BlockSet, Class, Engine, EngineConfig, Input, Limits, Mode, Source};
use ft_core::{BlockIndex, Duration, Instant, VmId};

use crate::session::SessionId;

pub(crate) struct Vm {
    pub(crate) id: VmId,
    pub(crate) engine: Engine,
    pub(crate) alive: bool,
    /// Grows with every restart; events for an earlier life are void.
    pub(crate) life: u64,
    /// Sessions that this VM made, by parent.
    pub(crate) made: BTreeMap<VmId, SessionId>,
    /// Sessions that children made, by child.
    pub(crate) accepted: BTreeMap<VmId, SessionId>,
    /// Blocks on their way out, demands first.
    pub(crate) uplink: BTreeSet<(bool, u64, SessionId, BlockIndex, Class)>,
    pub(crate) sending: bool,
    /// Since when readers wait.
    pub(crate) reads: BTreeMap<BlockIndex, Instant>,
    /// How long the readers of a block waited.
    pub(crate) served_reads: BTreeMap<BlockIndex, Duration>,
    pub(crate) failed_reads: u64,
    pub(crate) completed_at: Option<Instant>,
    /// Blocks in the order in which they came.
    pub(crate) arrived: Vec<BlockIndex>,
    /// What the engine asked for and has not been answered.
    asked: BTreeMap<BlockIndex, (Source, Instant, Ask)>,
    /// What went to whom, in this life and session.
    sent: BTreeSet<(SessionId, BlockIndex)>,
    pub(crate) sent_twice: u64,
    limits: Limits,
}

impl Vm {
    pub(crate) fn new(id: VmId, mode: Mode, layout: &Layout) -> Self {
        let config = EngineConfig::new(id, mode);
        Self {
            id,
            limits: config.limits.clone(),
            engine: Engine::new(config, layout, BlockSet::new(layout.len())),
            alive: true,
            life: 0,
            made: BTreeMap::new(),
            accepted: BTreeMap::new(),
            uplink: BTreeSet::new(),
            sending: false,
            reads: BTreeMap::new(),
            served_reads: BTreeMap::new(),
            failed_reads: 0,
            completed_at: None,
            arrived: Vec::new(),
            asked: BTreeMap::new(),
            sent: BTreeSet::new(),
            sent_twice: 0,
        }
    }

    /// Starts anew after a crash, with the blocks in `stored`.
    pub(crate) fn restart(&mut self, mode: Mode, layout: &Layout, stored: BlockSet) {
        let (id, life) = (self.id, self.life + 1);
        *self = Self::new(id, mode, layout);
        self.life = life;
        self.engine = Engine::new(EngineConfig::new(id, mode), layout, stored);
    }

    /// Notes what answers a request, before the engine hears of it.
    pub(crate) fn note_input(&mut self, input: &Input) {
        match input {
            Input::Stored { block, .. } => {
                self.asked.remove(block);
                if !self.engine.stored().contains(*block) {
                    self.arrived.push(*block);
                }
            }
            Input::Rejected { block, from, .. }
                if self.asked.get(block).is_some_and(|(asked, ..)| asked == from) =>
            {
                self.asked.remove(block);
            }
            Input::PeerDown(peer) => self.asked.retain(|_, (from, ..)| *from != Source::Peer(*peer)),
            _ => {}
        }
    }

    /// The engine asks `from` for `block`: not for one that is here, and not while another request for it
    /// is neither answered nor late.
    pub(crate) fn check_fetch(&mut self, now: Instant, block: BlockIndex, from: Source, ask: Ask) {
        assert!(!self.engine.stored().contains(block), "{} fetches block {block}, which is here", self.id);
        if let Some((earlier, at, asked)) = self.asked.get(&block) {
            let deadline = match earlier {
                Source::Peer(_) => self.limits.peer_deadline,
                Source::Origin => self.limits.origin_deadline,
            };
            let raised = *earlier == from && ask.class < asked.class;
            let late = now >= *at + deadline;
            assert!(
                raised || late,
                "{} fetches block {block} from {from:?} and {earlier:?} at once",
                self.id
            );
            let since = if raised { *at } else { now };
            self.asked.insert(block, (from, since, ask));
            return;
        }
        self.asked.insert(block, (from, now, ask));
    }

    /// The engine sends `block` in `session`: only what is here.
    pub(crate) fn check_send(&mut self, session: SessionId, block: BlockIndex) {
        assert!(self.engine.stored().contains(block), "{} sends block {block}, which is not here", self.id);
        if !self.sent.insert((session, block)) {
            self.sent_twice += 1;
        }
    }

    /// A reader of `block` is told.
    pub(crate) fn end_read(&mut self, now: Instant, block: BlockIndex, failed: bool) {
        match self.reads.remove(&block) {
            Some(_) if failed => self.failed_reads += 1,
            Some(since) => {
                self.served_reads.insert(block, now - since);
            }
            None => {}
        }
    }
}
