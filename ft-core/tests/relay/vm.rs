//! One VM: its engine, and what a driver keeps beside it. Checks the engine's every output.

use std::collections::{BTreeMap, BTreeSet};

use ft_core::manifest::Layout;
use ft_core::relay::{Ask, BlockSet, Class, Engine, EngineConfig, Input, Limits, Source};
use ft_core::{BlockIndex, Duration, Instant, VmId};

use crate::allowance::Allowance;
use crate::plan::Plan;
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
    asked: BTreeMap<BlockIndex, Vec<(Source, Instant, Ask)>>,
    /// Blocks asked of a second source while they were in flight, and those whose first one was given up.
    hedges: u64,
    given_up: u64,
    pub(crate) allowance: Allowance,
    /// What went to whom, in this life and session.
    sent: BTreeSet<(SessionId, BlockIndex)>,
    pub(crate) sent_twice: u64,
    limits: Limits,
}

impl Vm {
    pub(crate) fn new(id: VmId, plan: &Plan, layout: &Layout, stored: BlockSet) -> Self {
        let limits = plan.limits.clone();
        let config = EngineConfig { me: id, mode: plan.mode, limits: limits.clone() };
        Self {
            id,
            engine: Engine::new(config, layout, stored),
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
            hedges: 0,
            given_up: 0,
            allowance: Allowance::new(limits.clone()),
            sent: BTreeSet::new(),
            sent_twice: 0,
            limits,
        }
    }

    /// Starts anew after a crash, with the blocks in `stored`.
    pub(crate) fn restart(&mut self, plan: &Plan, layout: &Layout, stored: BlockSet) {
        let life = self.life + 1;
        *self = Self { life, ..Self::new(self.id, plan, layout, stored) };
    }

    /// Notes what answers a request, before the engine hears of it.
    pub(crate) fn note_input(&mut self, now: Instant, input: &Input) {
        match input {
            Input::Edges(edges) => self.allowance.hear(now, edges),
            Input::Stored { block, .. } => {
                self.asked.remove(block);
                if !self.engine.stored().contains(*block) {
                    self.arrived.push(*block);
                }
            }
            Input::Rejected { block, from, .. } => {
                self.asked.entry(*block).or_default().retain(|(asked, ..)| asked != from);
            }
            Input::PeerDown(peer) => {
                for asked in self.asked.values_mut() {
                    asked.retain(|(from, ..)| *from != Source::Peer(*peer));
                }
            }
            _ => {}
        }
    }

    /// The engine asks `from` for `block`: not for one that is here, not beyond its share of the origin's
    /// budget, and of a second source only if the first is late or answered.
    pub(crate) fn check_fetch(&mut self, now: Instant, block: BlockIndex, from: Source, ask: Ask) {
        assert!(!self.engine.stored().contains(block), "{} fetches block {block}, which is here", self.id);
        if from == Source::Origin {
            self.allowance.read(now, self.id, block);
        }
        let asked = self.asked.entry(block).or_default();
        let limits = &self.limits;
        if let Some((_, at, earlier)) = asked.iter_mut().find(|(asked, ..)| *asked == from) {
            let raised = ask.class < earlier.class || (ask.may_fetch && !earlier.may_fetch);
            let late = now >= *at + limits.deadline_min;
            assert!(raised || late, "{} asks {from:?} twice for block {block}", self.id);
            (*at, *earlier) = (if raised { *at } else { now }, ask);
            return;
        }
        asked.retain(|(source, at, earlier)| {
            let late = match source {
                Source::Peer(_) if earlier.class == Class::Demand => limits.deadline_max,
                // It was only to see if the peer has it.
                Source::Peer(_) if !earlier.may_fetch => limits.deadline_min,
                Source::Peer(_) => limits.background_deadline,
                Source::Origin => limits.origin_deadline,
            };
            now < *at + late
        });
        if !asked.is_empty() {
            let stats = self.engine.stats();
            if self.hedges < stats.hedges {
                self.hedges += 1;
                // Of two in a race, the older one has been given up.
                asked.drain(..asked.len() - 1);
            } else {
                // Late, by what the engine knows: it does not count in later races either.
                self.given_up += 1;
                assert!(
                    self.given_up <= stats.late,
                    "{} fetches block {block} from {from:?} and {asked:?} at once",
                    self.id
                );
                asked.clear();
            }
        }
        asked.push((from, now, ask));
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
