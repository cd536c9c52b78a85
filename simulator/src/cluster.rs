//! A static function tree whose VMs receive a whole image.

use ft_core::block::{BLOCK_SIZE, BlockId, BlockIndex, Codec, Stripe};
use ft_core::manifest::{BlockEntry, Layout, Manifest, Segment, SegmentKind};
use ft_core::relay::{
    Ask, BlockSet, Edges, Engine, EngineConfig, Input, Mode, Output, Rejection, Source, StripeEdges,
};
use ft_core::tree::{self, FunctionTree, Shape};
use ft_core::{Digest, Duration, Epoch, Instant, VmId};

use crate::link::{Lane, transfer};
use crate::queue::Queue;

/// What to simulate.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// VMs in the tree.
    pub vms: u32,
    /// The tree's shape.
    pub shape: Shape,
    /// Data blocks of the image, each of [`BLOCK_SIZE`] stored bytes; one block of metadata comes on top.
    pub blocks: u32,
    /// Every VM's link, in bytes per second each way.
    pub rate: u64,
    /// The origin's uplink, in bytes per second; 0: no limit.
    pub origin_rate: u64,
    /// One way between any two hosts.
    pub latency: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The last VM's completion ÷ (S/B).
    pub last_over_bound: f64,
    /// The median VM's completion ÷ (S/B).
    pub median_over_bound: f64,
    /// Blocks read from the origin, all VMs together.
    pub origin_blocks: u64,
    /// Events that the simulation handled.
    pub events: u64,
}

/// Simulates a plan to its end: until no event is left.
///
/// # Panics
/// If a VM never has the whole image, which would be a bug in the engine.
pub fn run(plan: &Plan) -> Outcome {
    let mut cluster = Cluster::new(plan);
    cluster.join();
    let mut events = 0;
    while let Some((now, (vm, input))) = cluster.queue.pop() {
        // A deadline that has moved on since.
        let overtaken = input == Input::Timeout && cluster.vms[vm].wake != Some(now);
        if !overtaken {
            events += 1;
            cluster.step(now, vm, input);
        }
    }
    let mut done: Vec<_> = cluster.vms.iter().map(|vm| vm.complete.expect("every VM completes")).collect();
    done.sort();
    let bytes = cluster.layout.blocks().iter().map(|block| u64::from(block.stored_len)).sum::<u64>();
    let bound = bytes as f64 / plan.rate as f64 * 1e9;
    let over = |at: Instant| at.as_nanos() as f64 / bound;
    Outcome {
        last_over_bound: over(done[done.len() - 1]),
        median_over_bound: over(done[done.len() / 2]),
        origin_blocks: cluster.origin_blocks,
        events,
    }
}

struct Cluster {
    latency: Duration,
    layout: Layout,
    tree: Box<dyn FunctionTree + Send>,
    vms: Vec<Vm>,
    origin: Lane,
    origin_blocks: u64,
    queue: Queue<(usize, Input)>,
}

struct Vm {
    engine: Engine,
    up: Lane,
    down: Lane,
    wake: Option<Instant>,
    complete: Option<Instant>,
}

impl Cluster {
    fn new(plan: &Plan) -> Self {
        let layout = Layout::new(&image(plan.blocks));
        let mut tree = tree::new(plan.shape, Epoch::first(1));
        let vms = (0..u64::from(plan.vms)).map(VmId).map(|id| {
            tree.insert(id).expect("every VM joins once");
            let config = EngineConfig::new(id, Mode::Full);
            let engine = Engine::new(config, &layout, BlockSet::new(layout.len()));
            Vm { engine, up: Lane::new(plan.rate), down: Lane::new(plan.rate), wake: None, complete: None }
        });
        let vms = vms.collect();
        let (origin, queue) = (Lane::new(plan.origin_rate), Queue::new());
        Self { latency: plan.latency, layout, tree, vms, origin, origin_blocks: 0, queue }
    }

    /// Tells every VM its place.
    fn join(&mut self) {
        for (nth, id) in (0u64..).map(VmId).enumerate().take(self.vms.len()) {
            let stripes = (0..self.tree.stripes()).map(Stripe).map(|stripe| {
                let parent = self.tree.parent_of(id, stripe);
                StripeEdges {
                    parent,
                    grandparent: parent.and_then(|parent| self.tree.parent_of(parent, stripe)),
                    children: self.tree.children_of(id, stripe).into_iter().flatten().collect(),
                }
            });
            let edges = Edges {
                epoch: self.tree.epoch(),
                vms: u32::try_from(self.tree.len()).unwrap_or(u32::MAX),
                stripes: stripes.collect(),
            };
            self.queue.push(Instant::ZERO, (nth, Input::Edges(edges)));
        }
    }

    fn step(&mut self, now: Instant, vm: usize, input: Input) {
        self.vms[vm].engine.handle(now, input);
        while let Some(output) = self.vms[vm].engine.poll() {
            self.act(now, vm, output);
        }
        let deadline = self.vms[vm].engine.deadline();
        if deadline != self.vms[vm].wake {
            self.vms[vm].wake = deadline;
            if let Some(at) = deadline {
                self.queue.push(at.max(now), (vm, Input::Timeout));
                self.vms[vm].wake = Some(at.max(now));
            }
        }
    }

    fn act(&mut self, now: Instant, vm: usize, output: Output) {
        let me = VmId(vm as u64);
        match output {
            Output::Connect(peer) => {
                self.queue.push(now + self.latency + self.latency, (vm, Input::PeerUp(peer)));
            }
            Output::Disconnect(peer) => self.tell(now, peer, Input::ChildDown(me)),
            Output::Subscribe { parent, subscription } => {
                self.tell(now, parent, Input::Subscribed { child: me, subscription });
            }
            Output::Unsubscribe { parent } => self.tell(now, parent, Input::Unsubscribed { child: me }),
            Output::Fetch { from, blocks, ask } => self.fetch(now, vm, from, &blocks, ask),
            Output::Have { to, block } => self.tell(now, to, Input::Has { child: me, block }),
            Output::Send { child, block, .. } => self.send(now, vm, child, block),
            Output::Refuse { child, block } => {
                let (from, why) = (Source::Peer(me), Rejection::NotHere);
                self.tell(now, child, Input::Rejected { block, from, why });
            }
            // Nobody reads here, so nobody is told.
            Output::Failed { .. } | Output::Stuck { .. } => {}
            Output::Complete => self.vms[vm].complete = Some(now),
        }
    }

    /// A small message: it takes the latency and no bandwidth.
    fn tell(&mut self, now: Instant, to: VmId, input: Input) {
        if let Ok(vm) = usize::try_from(to.0) {
            self.queue.push(now + self.latency, (vm, input));
        }
    }

    fn fetch(&mut self, now: Instant, vm: usize, from: Source, blocks: &[BlockIndex], ask: Ask) {
        for &block in blocks {
            match from {
                Source::Peer(peer) => {
                    self.tell(now, peer, Input::Asked { child: VmId(vm as u64), block, ask });
                }
                Source::Origin => {
                    let bytes = self.stored_len(block);
                    let asked = now + self.latency;
                    let (_, received) = transfer(asked, &mut self.origin, &mut self.vms[vm].down, bytes);
                    self.origin_blocks += 1;
                    self.queue.push(received + self.latency, (vm, Input::Stored { block, from }));
                }
            }
        }
    }

    fn send(&mut self, now: Instant, vm: usize, child: VmId, block: BlockIndex) {
        let Ok(to) = usize::try_from(child.0) else { return };
        let bytes = self.stored_len(block);
        let mut up = self.vms[vm].up;
        let (sent, received) = transfer(now, &mut up, &mut self.vms[to].down, bytes);
        self.vms[vm].up = up;
        self.queue.push(sent, (vm, Input::Sent { child, block }));
        let from = Source::Peer(VmId(vm as u64));
        self.queue.push(received + self.latency, (to, Input::Stored { block, from }));
    }

    fn stored_len(&self, block: BlockIndex) -> u32 {
        self.layout.block(block).map_or(0, |place| place.stored_len)
    }
}

/// An image of one metadata block and `blocks` data blocks, all different.
fn image(blocks: u32) -> Manifest {
    let block = |nth: u32, stored_len| BlockEntry {
        id: BlockId::of(&nth.to_le_bytes()),
        stored_len,
        codec: Codec::Raw,
    };
    let segment = |kind, blocks: Vec<BlockEntry>| {
        let raw_len = blocks.iter().map(|block| u64::from(block.stored_len)).sum();
        Segment { kind, raw_len, pack: Digest::of(&[kind as u8]), blocks }
    };
    let data = (1..=blocks).map(|nth| block(nth, BLOCK_SIZE)).collect();
    let segments =
        vec![segment(SegmentKind::Metadata, vec![block(0, 4096)]), segment(SegmentKind::Data, data)];
    Manifest { config: b"{}".to_vec(), segments }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(vms: u32, shape: Shape) -> Plan {
        let latency = Duration::from_micros(100);
        Plan { vms, shape, blocks: 400, rate: 125_000_000, origin_rate: 0, latency }
    }

    #[test]
    fn a_pair_reaches_the_bound_and_a_single_tree_takes_twice_as_long() {
        for vms in [7, 31, 63] {
            let paired = run(&plan(vms, Shape::Paired));
            let avl = run(&plan(vms, Shape::Avl));
            println!("{vms}: paired {paired:?}, avl {avl:?}");
            assert!((1.0..1.05).contains(&paired.last_over_bound), "{vms}: {paired:?}");
            assert!((1.9..2.1).contains(&avl.last_over_bound), "{vms}: {avl:?}");
        }
    }

    #[test]
    fn the_origin_is_read_once() {
        for shape in [Shape::Avl, Shape::Paired] {
            assert_eq!(run(&plan(31, shape)).origin_blocks, 401, "{shape}");
        }
    }

    #[test]
    fn the_same_plan_gives_the_same_outcome() {
        let plan = plan(31, Shape::Paired);
        assert_eq!(run(&plan), run(&plan));
    }
}
