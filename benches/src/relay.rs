//! A relay engine in the middle of a tree, whose driver does nothing.

use ft_core::manifest::{Layout, Manifest};
use ft_core::relay::{
    BlockSet, Edges, Engine, EngineConfig, Input, Mode, Output, Source, StripeEdges, StripeSet, Subscription,
};
use ft_core::{BlockIndex, Epoch, Instant, VmId};

use crate::manifest_of;

/// Whom the engine's blocks come from.
const PARENT: VmId = VmId(1);
/// To whom they go.
const CHILDREN: [VmId; 2] = [VmId(2), VmId(3)];

/// An engine between one parent and two children that want everything.
pub struct Relay {
    engine: Engine,
    blocks: u32,
    /// Inputs so far.
    pub inputs: u64,
    /// Blocks that went to children.
    pub sent: u64,
}

impl Relay {
    /// For an image of one metadata block and `blocks` data blocks, none of them here.
    pub fn new(blocks: u32) -> Self {
        let manifest: Manifest = manifest_of(blocks);
        let layout = Layout::new(&manifest);
        let config = EngineConfig::new(VmId(0), Mode::Full);
        let engine = Engine::new(config, &layout, BlockSet::new(layout.len()));
        let mut relay = Self { engine, blocks: layout.len(), inputs: 0, sent: 0 };
        let stripe = StripeEdges { parent: Some(PARENT), grandparent: None, children: CHILDREN.to_vec() };
        relay.input(Input::Edges(Edges { epoch: Epoch::first(1), vms: 4, stripes: vec![stripe] }));
        relay.input(Input::PeerUp(PARENT));
        for child in CHILDREN {
            let stripes = StripeSet::default().with(ft_core::Stripe(0));
            let subscription = Subscription { stripes, of: 1, have: BlockSet::new(layout.len()) };
            relay.input(Input::Subscribed { child, subscription });
        }
        relay
    }

    /// Every block comes from the parent and goes to both children.
    pub fn relay_all(&mut self) {
        for block in (0..self.blocks).map(BlockIndex) {
            self.input(Input::Stored { block, from: Source::Peer(PARENT) });
        }
    }

    /// Hands an input in, and does at once what comes out.
    fn input(&mut self, input: Input) {
        self.inputs += 1;
        self.engine.handle(Instant::ZERO, input);
        while let Some(output) = self.engine.poll() {
            if let Output::Send { child, block, .. } = output {
                self.inputs += 1;
                self.sent += 1;
                self.engine.handle(Instant::ZERO, Input::Sent { child, block });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_goes_to_both_children() {
        let mut relay = Relay::new(100);
        relay.relay_all();
        assert_eq!(relay.sent, 2 * 101);
    }
}
