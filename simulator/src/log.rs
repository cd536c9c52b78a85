//! The event log: its hash, which tells whether two runs were the same, and its text.

use ft_core::relay::{Input, Output, Source};
use ft_core::{BlockIndex, Instant, VmId};

use crate::seen::Seen;

/// A number that two logs share only if the same things happened in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogHash(u64);

impl LogHash {
    pub(crate) fn new() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }

    pub(crate) fn get(self) -> u64 {
        self.0
    }

    pub(crate) fn add(&mut self, at: Instant, seen: &Seen<'_>) {
        self.word(at.as_nanos());
        for word in words(seen) {
            self.word(word);
        }
    }

    fn word(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 29);
    }
}

fn source(from: Source) -> u64 {
    match from {
        Source::Origin => u64::MAX,
        Source::Peer(vm) => vm.0,
    }
}

fn all(blocks: &[BlockIndex]) -> u64 {
    blocks
        .iter()
        .fold(blocks.len() as u64, |sum, block| sum.wrapping_mul(0x0100_0000_01B3) ^ u64::from(block.0))
}

/// What tells an entry from others.
fn words(seen: &Seen<'_>) -> [u64; 4] {
    let about = |kind: u64, vm: VmId, block: BlockIndex, more: u64| [kind, vm.0, u64::from(block.0), more];
    match *seen {
        Seen::Started { vm, here, .. } => [1, vm.0, u64::from(here.count()), 0],
        Seen::Stopped { vm } => [2, vm.0, 0, 0],
        Seen::Told { vm, input } => input_words(vm, input),
        Seen::Does { vm, output } => output_words(vm, output),
        Seen::Kept { vm, block, content, .. } => about(3, vm, block, content),
        Seen::Relayed { vm, child, block, content } => about(4, vm, block, content ^ child.0),
        Seen::ReaderWaits { vm, block } => about(5, vm, block, 0),
        Seen::ReaderGot { vm, block, content } => about(6, vm, block, content),
        Seen::ReaderTold { vm, block } => about(7, vm, block, 0),
        Seen::Tree { tree, members } => [8, tree.epoch().term, tree.epoch().counter, members.len() as u64],
        Seen::Fault { what, vm } => [9, what.len() as u64, vm.map_or(u64::MAX, |vm| vm.0), 0],
        Seen::Calm => [10, 0, 0, 0],
    }
}

fn input_words(vm: VmId, input: &Input) -> [u64; 4] {
    let of = |kind, a: u64, b: u64| [kind, vm.0, a, b];
    match input {
        Input::Edges(edges) => of(20, edges.epoch.term, edges.epoch.counter),
        Input::PeerUp(peer) => of(21, peer.0, 0),
        Input::PeerDown(peer) => of(22, peer.0, 0),
        Input::ChildDown(child) => of(23, child.0, 0),
        Input::Subscribed { child, subscription } => of(24, child.0, u64::from(subscription.have.count())),
        Input::Unsubscribed { child } => of(25, child.0, 0),
        Input::Asked { child, block, ask } => {
            of(26, child.0, u64::from(block.0) << 8 | ask.class as u64 | u64::from(ask.again) << 4)
        }
        Input::Has { child, block } => of(27, child.0, u64::from(block.0)),
        Input::Demand { block } => of(28, u64::from(block.0), 0),
        Input::Expect { blocks } => of(29, all(blocks), 0),
        Input::Profile { blocks } => of(30, all(blocks), 0),
        Input::Stored { block, from } => of(31, u64::from(block.0), source(*from)),
        Input::Rejected { block, from, why } => of(32, u64::from(block.0) << 8 | *why as u64, source(*from)),
        Input::Dropped { block } => of(33, u64::from(block.0), 0),
        Input::Sent { child, block } => of(34, child.0, u64::from(block.0)),
        Input::Timeout => of(35, 0, 0),
    }
}

fn output_words(vm: VmId, output: &Output) -> [u64; 4] {
    let of = |kind, a: u64, b: u64| [kind, vm.0, a, b];
    match output {
        Output::Connect(peer) => of(50, peer.0, 0),
        Output::Disconnect(peer) => of(51, peer.0, 0),
        Output::Subscribe { parent, subscription } => of(52, parent.0, u64::from(subscription.have.count())),
        Output::Unsubscribe { parent } => of(53, parent.0, 0),
        Output::Fetch { from, blocks, ask } => of(54 + ask.class as u64, source(*from), all(blocks)),
        Output::Have { to, block } => of(60, to.0, u64::from(block.0)),
        Output::Send { child, block, class } => of(61 + *class as u64, child.0, u64::from(block.0)),
        Output::Refuse { child, block } => of(66, child.0, u64::from(block.0)),
        Output::Failed { block, tried } => of(67, u64::from(block.0), tried.len() as u64),
        Output::Stuck { child } => of(68, child.0, 0),
        Output::Complete => of(69, 0, 0),
    }
}
