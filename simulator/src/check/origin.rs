//! The origin is read once for each block, in the ordinary course by roots alone.
//!
//! Three bounds. (1) A VM that is no root, in a tree of three or more, reads a block only with a reason: no
//! session to the block's parent is up, or it broke since the block was last here, or the parent was asked for
//! it and has refused, failed, or not delivered for a while, or it has been slow before. (2) No VM reads a block again in one life unless the answer failed, was wrong, or is
//! late, or its disk lost the block. (3) So all reads together are at most: one for each block and VM that was
//! a root of its stripe, and one for each reason above.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ft_core::relay::{Edges, Input, Limits, Output, Source};
use ft_core::{BlockIndex, Instant, VmId};

use super::requests::SOONEST;
use super::{Check, Verdict, ensure};
use crate::image::Image;
use crate::seen::Seen;

#[derive(Default)]
struct Vm {
    edges: Option<Edges>,
    up: BTreeSet<VmId>,
    /// When a session broke, or could not be made.
    lost_at: BTreeMap<VmId, Instant>,
    /// When a block last came.
    came_at: BTreeMap<BlockIndex, Instant>,
    /// When a peer was asked for a block.
    asked: BTreeMap<(BlockIndex, VmId), Instant>,
    /// Peers that have let a request wait.
    slow: BTreeSet<VmId>,
    /// Which peers have refused or failed to deliver a block, or asked for it themselves.
    failed: BTreeSet<(BlockIndex, VmId)>,
    /// Blocks read from the origin, and when.
    read: BTreeMap<BlockIndex, Instant>,
}

pub(super) struct OriginBudget {
    image: Rc<Image>,
    limits: Limits,
    vms: BTreeMap<VmId, Vm>,
}

impl Vm {
    /// The parent in `block`'s stripe; `None` if this VM reads the origin in the ordinary course.
    fn parent(&self, vm: VmId, block: BlockIndex) -> Option<VmId> {
        let edges = self.edges.as_ref().filter(|edges| edges.vms == 0 || edges.vms > 2)?;
        let of = u8::try_from(edges.stripes.len()).unwrap_or(1);
        edges.stripes.get(block.stripe(of).index())?.parent.filter(|parent| *parent != vm)
    }

    fn has_reason(&self, at: Instant, vm: VmId, block: BlockIndex) -> bool {
        let Some(parent) = self.parent(vm, block) else { return true };
        let lost = self.lost_at.get(&parent).copied();
        !self.up.contains(&parent)
            || lost.is_some_and(|lost| self.came_at.get(&block).is_none_or(|came| *came <= lost))
            || self.failed.contains(&(block, parent))
            || self.slow.contains(&parent)
            || self.asked.get(&(block, parent)).is_some_and(|since| at >= *since + SOONEST)
    }

    fn lose(&mut self, at: Instant, peer: VmId) {
        self.up.remove(&peer);
        self.lost_at.insert(peer, at);
    }

    fn see_input(&mut self, at: Instant, input: &Input, image: &Image) {
        match input {
            Input::Edges(edges) if self.edges.as_ref().is_none_or(|known| edges.epoch > known.epoch) => {
                self.edges = Some(edges.clone());
            }
            Input::PeerUp(peer) => {
                self.up.insert(*peer);
            }
            Input::PeerDown(peer) => self.lose(at, *peer),
            Input::Stored { block, from } => {
                if *from != Source::Origin {
                    self.read.remove(block);
                }
                self.came_at.insert(*block, at);
                let waited =
                    self.asked.iter().filter(|((of, _), since)| of == block && at >= **since + SOONEST);
                self.slow.extend(waited.map(|((_, peer), _)| *peer));
                self.asked.retain(|(of, _), _| of != block);
                self.failed.retain(|(of, _)| of != block);
            }
            Input::Rejected { block, from: Source::Peer(peer), .. } => {
                self.failed.insert((image.canonical(*block), *peer));
            }
            Input::Asked { child, block, .. } => {
                self.failed.insert((image.canonical(*block), *child));
            }
            Input::Rejected { block, from: Source::Origin, .. } | Input::Dropped { block } => {
                self.read.remove(block);
            }
            _ => {}
        }
    }
}

impl OriginBudget {
    pub(super) fn new(image: Rc<Image>, limits: Limits) -> Self {
        Self { image, limits, vms: BTreeMap::new() }
    }

    fn judge(&mut self, at: Instant, vm: VmId, block: BlockIndex) -> Verdict {
        let state = self.vms.entry(vm).or_default();
        ensure(self.image.truth(block).is_some(), || format!("{vm} asks the origin for block {block}"))?;
        ensure(state.has_reason(at, vm, block), || {
            format!("{vm} is no root, and reads block {block} from the origin without a reason")
        })?;
        let before = state.read.insert(block, at);
        let late = before.is_none_or(|before| at >= before + self.limits.origin_deadline);
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
                self.vms.insert(vm, Vm::default());
            }
            Seen::Told { vm, input } => {
                self.vms.entry(vm).or_default().see_input(at, input, &self.image);
            }
            Seen::Does { vm, output: Output::Disconnect(peer) } => {
                self.vms.entry(vm).or_default().lose(at, *peer);
            }
            Seen::Does { vm, output: Output::Fetch { from: Source::Peer(peer), blocks, .. } } => {
                let state = self.vms.entry(vm).or_default();
                for &block in blocks {
                    state.asked.entry((block, *peer)).or_insert(at);
                }
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
