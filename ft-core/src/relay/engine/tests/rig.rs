//! One engine in a test's hands, and short words for what goes in and comes out.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::block::BlockIndex;
use crate::clock::{Duration, Instant};
use crate::epoch::Epoch;
use crate::relay::Engine;
use crate::relay::testing::layout;
use crate::relay::{
    Ask, BlockSet, Class, Edges, EngineConfig, Input, Limits, Mode, Output, Rejection, Source, StripeEdges,
    StripeSet, Subscription,
};
use crate::vm::VmId;

/// The VM whose engine it is.
pub(super) const ME: VmId = VmId(0);
/// Asks that the asked VM see to it that the block comes, since a reader waits.
pub(super) const DEMAND: Ask = Ask { class: Class::Demand, may_fetch: true, again: false };

pub(super) struct Rig {
    pub(super) engine: Engine,
    pub(super) now: Instant,
    epoch: Epoch,
    /// How many VMs the edges say that there are.
    pub(super) vms: u32,
}

/// Limits under which a parent that pushes nothing is not asked whether it has anything.
pub(super) fn without_trials() -> Limits {
    Limits { trial_pause: Duration::from_secs(3_600), ..Limits::default() }
}

impl Rig {
    /// An image of 2 metadata blocks and 18 data blocks, of which the last (19) is the first (2) again.
    pub(super) fn new(mode: Mode) -> Self {
        Self::with(mode, Limits::default(), &[])
    }

    pub(super) fn with(mode: Mode, limits: Limits, stored: &[u32]) -> Self {
        let layout = layout(2, (2..19).chain([2]));
        let mut set = BlockSet::new(layout.len());
        for &block in stored {
            assert!(set.insert(BlockIndex(block)));
        }
        let engine = Engine::new(EngineConfig { me: ME, mode, limits }, &layout, set);
        Self { engine, now: Instant::ZERO, epoch: Epoch::first(1), vms: 0 }
    }

    /// In a tree with these (parent, grandparent) by stripe, every parent's session up, and all that this
    /// brings about done.
    pub(super) fn placed(mut self, stripes: &[(Option<u64>, Option<u64>)]) -> Self {
        self.edges(stripes);
        for parent in stripes.iter().filter_map(|(parent, _)| *parent) {
            self.input(Input::PeerUp(VmId(parent)));
        }
        self
    }

    /// Whose later edges say that there are so many VMs.
    pub(super) fn of(mut self, vms: u32) -> Self {
        self.vms = vms;
        self
    }

    /// With every metadata block stored, as pushed by whoever.
    pub(super) fn with_metadata(mut self) -> Self {
        self.stored(0, Source::Peer(VmId(77)));
        self.stored(1, Source::Peer(VmId(77)));
        self
    }

    /// New edges; what comes out.
    pub(super) fn edges(&mut self, stripes: &[(Option<u64>, Option<u64>)]) -> Vec<String> {
        self.epoch = self.epoch.next();
        let stripes = stripes.iter().map(|(parent, grandparent)| StripeEdges {
            parent: parent.map(VmId),
            grandparent: grandparent.map(VmId),
            children: Vec::new(),
        });
        let edges = Edges { epoch: self.epoch, vms: self.vms, stripes: stripes.collect() };
        self.input(Input::Edges(edges))
    }

    /// Hands `input` in; what comes out.
    pub(super) fn input(&mut self, input: Input) -> Vec<String> {
        self.tell(input);
        self.drain()
    }

    /// Hands `input` in, and asks for nothing yet.
    pub(super) fn tell(&mut self, input: Input) {
        self.engine.handle(self.now, input);
    }

    /// Lets `millis` pass without a timeout.
    pub(super) fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    pub(super) fn drain(&mut self) -> Vec<String> {
        core::iter::from_fn(|| self.engine.poll()).map(|output| say(&output)).collect()
    }

    /// Lets `millis` pass, with a timeout at every deadline; what comes out.
    pub(super) fn wait(&mut self, millis: u64) -> Vec<String> {
        let end = self.now + Duration::from_millis(millis);
        let mut said = Vec::new();
        while let Some(at) = self.engine.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            said.extend(self.input(Input::Timeout));
        }
        self.now = end;
        said
    }

    pub(super) fn demand(&mut self, block: u32) -> Vec<String> {
        self.input(Input::Demand { block: BlockIndex(block) })
    }

    pub(super) fn stored(&mut self, block: u32, from: Source) -> Vec<String> {
        self.input(Input::Stored { block: BlockIndex(block), from })
    }

    pub(super) fn rejected(&mut self, block: u32, from: Source, why: Rejection) -> Vec<String> {
        self.input(Input::Rejected { block: BlockIndex(block), from, why })
    }

    pub(super) fn asked(&mut self, child: u64, block: u32, ask: Ask) -> Vec<String> {
        self.input(Input::Asked { child: VmId(child), block: BlockIndex(block), ask })
    }

    pub(super) fn sent(&mut self, child: u64, block: u32) -> Vec<String> {
        self.input(Input::Sent { child: VmId(child), block: BlockIndex(block) })
    }

    pub(super) fn dropped(&mut self, block: u32) -> Vec<String> {
        self.input(Input::Dropped { block: BlockIndex(block) })
    }

    /// `child` subscribes to both stripes of two, and has `have`.
    pub(super) fn subscribed(&mut self, child: u64, have: &[u32]) -> Vec<String> {
        let mut set = BlockSet::new(20);
        for &block in have {
            set.insert(BlockIndex(block));
        }
        let subscription = Subscription { stripes: StripeSet(0b11), of: 2, have: set };
        self.input(Input::Subscribed { child: VmId(child), subscription })
    }
}

pub(super) fn peer(vm: u64) -> Source {
    Source::Peer(VmId(vm))
}

/// A source in a word.
pub(super) fn source(source: Source) -> String {
    match source {
        Source::Peer(vm) => format!("{vm}"),
        Source::Origin => "origin".into(),
    }
}

fn blocks(blocks: &[BlockIndex]) -> String {
    let words: Vec<String> = blocks.iter().map(|block| format!("{block}")).collect();
    words.join(" ")
}

/// An output in a line.
pub(super) fn say(output: &Output) -> String {
    match output {
        Output::Connect(peer) => format!("connect {peer}"),
        Output::Disconnect(peer) => format!("disconnect {peer}"),
        Output::Subscribe { parent, subscription } => {
            format!("subscribe {parent} to {:02b} of {}", subscription.stripes.0, subscription.of)
        }
        Output::Unsubscribe { parent } => format!("unsubscribe {parent}"),
        Output::Fetch { from, blocks: asked, ask } => {
            let how = match (ask.may_fetch, ask.again) {
                (true, false) => "",
                (true, true) => ", again",
                (false, false) => ", if there",
                (false, true) => ", if there, again",
            };
            // The origin has everything.
            let how = if *from == Source::Origin { "" } else { how };
            format!("fetch {} from {} as {:?}{how}", blocks(asked), source(*from), ask.class)
        }
        Output::Have { to, block } => format!("tell {to} of {block}"),
        Output::Send { child, block, class } => format!("send {block} to {child} as {class:?}"),
        Output::Refuse { child, block } => format!("refuse {child} {block}"),
        Output::Failed { block, tried } => {
            let tried: Vec<String> =
                tried.iter().map(|(from, why)| format!("{} {why:?}", source(*from))).collect();
            format!("failed {block}: {}", tried.join(", "))
        }
        Output::Stuck { child } => format!("stuck {child}"),
        Output::Complete => "complete".into(),
    }
}
