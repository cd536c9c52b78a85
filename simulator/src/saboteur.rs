//! Engines with a rule broken on purpose, to show that a checker notices.
//!
//! A saboteur sits between an engine and the world, and makes the two together behave like an engine with
//! that fault. Checkers see what the world says and what comes out, not what the saboteur makes of it.

use std::collections::BTreeMap;

use ft_core::relay::{Class, Input, Output, Rejection, Source};
use ft_core::{BlockIndex, Epoch, VmId};

/// A rule of the relay engine (or of its driver), broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutation {
    /// Blocks that fail verification, on arrival or on disk, are taken for good.
    SkipVerification,
    /// Every other demand of a local reader is forgotten, and readers are not told of failures.
    ForgetWaiter,
    /// Edges are taken in the order in which they come.
    IgnoreEpochs,
    /// What is due to every other child is forgotten instead of sent.
    DropQueue,
    /// What is asked of a peer is asked of the origin at the same time.
    DoubleFetch,
    /// What would be asked of a peer is asked of the origin.
    UnboundedOrigin,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::SkipVerification,
        Self::ForgetWaiter,
        Self::IgnoreEpochs,
        Self::DropQueue,
        Self::DoubleFetch,
        Self::UnboundedOrigin,
    ];
}

/// Breaks one rule on every VM.
#[derive(Debug)]
pub(crate) struct Saboteur {
    mutation: Mutation,
    epochs: BTreeMap<VmId, Epoch>,
    demands: u64,
    /// What the engine believes to have asked of a peer.
    diverted: BTreeMap<(VmId, BlockIndex), Source>,
}

/// What becomes of an output.
#[derive(Debug, Default)]
pub(crate) struct Sabotaged {
    pub(crate) outputs: Vec<Output>,
    /// What the engine is told of what was swallowed.
    pub(crate) answers: Vec<Input>,
}

impl Saboteur {
    pub(crate) fn new(mutation: Mutation) -> Self {
        Self { mutation, epochs: BTreeMap::new(), demands: 0, diverted: BTreeMap::new() }
    }

    /// A worker of this VM has ended.
    pub(crate) fn forget(&mut self, vm: VmId) {
        self.epochs.remove(&vm);
        self.diverted.retain(|(of, _), _| *of != vm);
    }

    /// Whether the worker keeps what gave rise to `input`.
    pub(crate) fn keeps(&self, input: &Input) -> bool {
        match input {
            Input::Stored { .. } => true,
            Input::Rejected { why: Rejection::Corrupt, .. } => self.trusts_disks(),
            _ => false,
        }
    }

    /// Whether the worker believes what its disk says.
    pub(crate) fn trusts_disks(&self) -> bool {
        self.mutation == Mutation::SkipVerification
    }

    /// What the engine hears.
    pub(crate) fn input(&mut self, vm: VmId, input: Input) -> Option<Input> {
        Some(match (self.mutation, input) {
            (Mutation::SkipVerification, Input::Rejected { block, from, why: Rejection::Corrupt }) => {
                Input::Stored { block, from }
            }
            (Mutation::ForgetWaiter, Input::Demand { block }) => {
                self.demands += 1;
                if self.demands.is_multiple_of(2) {
                    return None;
                }
                Input::Demand { block }
            }
            (Mutation::IgnoreEpochs, Input::Edges(mut edges)) => {
                let newest = self.epochs.entry(vm).or_insert(edges.epoch);
                *newest = edges.epoch.max(newest.next());
                edges.epoch = *newest;
                Input::Edges(edges)
            }
            (Mutation::UnboundedOrigin, Input::Stored { block, from: Source::Origin }) => {
                let from = self.diverted.remove(&(vm, block)).unwrap_or(Source::Origin);
                Input::Stored { block, from }
            }
            (Mutation::UnboundedOrigin, Input::Rejected { block, from: Source::Origin, why }) => {
                let from = self.diverted.remove(&(vm, block)).unwrap_or(Source::Origin);
                Input::Rejected { block, from, why }
            }
            (_, input) => input,
        })
    }

    /// What the world is told to do.
    pub(crate) fn output(&mut self, vm: VmId, output: Output) -> Sabotaged {
        let mut sabotaged = Sabotaged::default();
        match (self.mutation, output) {
            (Mutation::ForgetWaiter, Output::Failed { .. }) => {}
            (Mutation::DropQueue, Output::Send { child, block, class })
                if class != Class::Demand && child.0.is_multiple_of(2) =>
            {
                sabotaged.answers.push(Input::Sent { child, block });
            }
            (Mutation::DoubleFetch, Output::Fetch { from: from @ Source::Peer(_), blocks, ask }) => {
                sabotaged.outputs.push(Output::Fetch { from, blocks: blocks.clone(), ask });
                sabotaged.outputs.push(Output::Fetch { from: Source::Origin, blocks, ask });
            }
            (Mutation::UnboundedOrigin, Output::Fetch { from: from @ Source::Peer(_), blocks, ask }) => {
                self.diverted.extend(blocks.iter().map(|block| ((vm, *block), from)));
                sabotaged.outputs.push(Output::Fetch { from: Source::Origin, blocks, ask });
            }
            (_, output) => sabotaged.outputs.push(output),
        }
        sabotaged
    }
}
