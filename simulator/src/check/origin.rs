//! The origin is read once for each block, in the ordinary course by roots alone.
//!
//! Three bounds for every VM:
//! 1. Who is no root, in a tree of three or more, reads a block only with a reason: no session to the block's
//!    parent is up, or it failed and was not up again when the block was last here, or the parent was asked for
//!    something before (what it pushes costs nothing; that it had to be asked is a sign), or another peer has
//!    refused or failed to deliver the block.
//! 2. All that it reads then is within its share of the tree's budget (`Limits::origin_budget_rate`, burst and
//!    floor): burst + rate × time.
//! 3. Nobody reads a block again in one life unless the answer failed, was wrong, or is late, or its disk lost
//!    the block.
//!
//! So all reads together are at most: each block once for each VM that was a root of its stripe, what was lost,
//! and the budget.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ft_core::relay::{Edges, Input, Limits, Output, Source, TokenBucket};
use ft_core::{BlockIndex, Instant, VmId};

use super::requests::SOONEST;
use super::{Check, Verdict, ensure};
use crate::image::Image;
use crate::seen::Seen;

/// A block, in the unit of the budget: shares are fractions of a block.
const BLOCK: u64 = 1_000;

struct Vm {
    budget: TokenBucket,
    edges: Option<Edges>,
    up: BTreeSet<VmId>,
    /// Peers to which a session has failed, and when it was up again.
    lost: BTreeMap<VmId, Option<Instant>>,
    /// When a block that was here was lost.
    dropped_at: BTreeMap<BlockIndex, Instant>,
    /// Peers that were asked for anything.
    asked: BTreeSet<VmId>,
    /// Blocks that a peer has refused or failed to deliver, or asked for itself.
    failed: BTreeSet<BlockIndex>,
    /// Blocks read from the origin, and when.
    read: BTreeMap<BlockIndex, Instant>,
}

pub(super) struct OriginBudget {
    image: Rc<Image>,
    limits: Limits,
    vms: BTreeMap<VmId, Vm>,
}

/// The rate and burst of each of so many VMs.
fn share(limits: &Limits, vms: u32) -> (u64, u64) {
    let of = |blocks: u32| u64::from(blocks) * BLOCK / u64::from(vms.max(1));
    let rate = of(limits.origin_budget_rate).max(limits.origin_budget_floor.into()).max(1);
    (rate, of(limits.origin_budget_burst).max(BLOCK))
}

impl Vm {
    fn new(limits: &Limits) -> Self {
        let (rate, burst) = share(limits, 1);
        Self {
            budget: TokenBucket::new(rate, burst),
            edges: None,
            up: BTreeSet::new(),
            lost: BTreeMap::new(),
            dropped_at: BTreeMap::new(),
            asked: BTreeSet::new(),
            failed: BTreeSet::new(),
            read: BTreeMap::new(),
        }
    }

    /// The parent in `block`'s stripe; `None` if this VM reads the origin in the ordinary course.
    fn parent(&self, vm: VmId, block: BlockIndex) -> Option<VmId> {
        let edges = self.edges.as_ref().filter(|edges| edges.vms == 0 || edges.vms > 2)?;
        let of = u8::try_from(edges.stripes.len()).unwrap_or(1);
        edges.stripes.get(block.stripe(of).index())?.parent.filter(|parent| *parent != vm)
    }

    fn has_reason(&self, vm: VmId, block: BlockIndex) -> bool {
        let Some(parent) = self.parent(vm, block) else { return true };
        let wanted_at = self.dropped_at.get(&block).copied().unwrap_or_default();
        !self.up.contains(&parent)
            || self.lost.get(&parent).is_some_and(|up_again| up_again.is_none_or(|up| up >= wanted_at))
            || self.asked.contains(&parent)
            || self.failed.contains(&block)
    }

    fn lose(&mut self, peer: VmId) {
        self.up.remove(&peer);
        self.lost.insert(peer, None);
    }

    fn see_input(&mut self, at: Instant, input: &Input, image: &Image, limits: &Limits) {
        match input {
            Input::Edges(edges) if self.edges.as_ref().is_none_or(|known| edges.epoch > known.epoch) => {
                self.edges = Some(edges.clone());
                let (rate, burst) = share(limits, edges.vms);
                self.budget.set_rate(at, rate);
                self.budget.set_burst(at, burst);
            }
            Input::PeerUp(peer) => {
                self.up.insert(*peer);
                if let Some(up_again) = self.lost.get_mut(peer) {
                    *up_again = Some(at);
                }
            }
            Input::PeerDown(peer) => self.lose(*peer),
            Input::Stored { block, from } => {
                if *from != Source::Origin {
                    self.read.remove(block);
                }
                self.failed.remove(block);
            }
            Input::Rejected { block, from: Source::Peer(_), .. } | Input::Asked { block, .. } => {
                self.failed.insert(image.canonical(*block));
            }
            Input::Rejected { block, from: Source::Origin, .. } => {
                self.read.remove(block);
            }
            Input::Dropped { block } => {
                self.read.remove(block);
                self.dropped_at.insert(*block, at);
            }
            _ => {}
        }
    }
}

impl OriginBudget {
    pub(super) fn new(image: Rc<Image>, limits: Limits) -> Self {
        Self { image, limits, vms: BTreeMap::new() }
    }

    fn vm(&mut self, vm: VmId) -> &mut Vm {
        self.vms.entry(vm).or_insert_with(|| Vm::new(&self.limits))
    }

    fn judge(&mut self, at: Instant, vm: VmId, block: BlockIndex) -> Verdict {
        ensure(self.image.truth(block).is_some(), || format!("{vm} asks the origin for block {block}"))?;
        let state = self.vm(vm);
        if state.parent(vm, block).is_some() {
            let within = state.budget.take(at, BLOCK).is_ok();
            ensure(within, || {
                format!("{vm} is no root, and reads more than its share of the origin's budget")
            })?;
        }
        ensure(state.has_reason(vm, block), || {
            format!("{vm} is no root, and reads block {block} from the origin without a reason")
        })?;
        let before = state.read.insert(block, at);
        let late = before.is_none_or(|before| at >= before + SOONEST);
        ensure(late, || format!("{vm} reads block {block} from the origin twice"))
    }
}

impl Check for OriginBudget {
    fn name(&self) -> &'static str {
        "origin"
    }

    fn see(&mut self, at: Instant, seen: &Seen<'_>) -> Verdict {
        match *seen {
            Seen::Started { vm, .. } | Seen::Stopped { vm } => {
                self.vms.insert(vm, Vm::new(&self.limits));
            }
            Seen::Told { vm, input } => {
                let state = self.vms.entry(vm).or_insert_with(|| Vm::new(&self.limits));
                state.see_input(at, input, &self.image, &self.limits);
            }
            Seen::Does { vm, output: Output::Disconnect(peer) } => {
                self.vm(vm).lose(*peer);
            }
            Seen::Does { vm, output: Output::Fetch { from: Source::Peer(peer), .. } } => {
                self.vm(vm).asked.insert(*peer);
            }
            Seen::Does { vm, output: Output::Fetch { from: Source::Origin, blocks, .. } } => {
                for &block in blocks {
                    self.judge(at, vm, block).map_err(|broken| broken.of(vm, Some(block)))?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}
