//! A static function tree whose VMs receive a whole image.

use ft_core::block::BLOCK_SIZE;
use ft_core::relay::{Limits, Mode};
use ft_core::tree::Shape;
use ft_core::{Duration, Instant};

use crate::image::{BlockPlan, Image};
use crate::seen::{Seen, Watch};
use crate::world::fault::Odds;
use crate::world::{Setup, World};

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
    let mut world = World::new(setup(plan), Tally::default(), None);
    world.run(Instant::from_nanos(u64::MAX));
    let mut done = world.completions();
    assert_eq!(done.len(), plan.vms as usize, "every VM completes");
    done.sort();
    let layout = &world.image().layout;
    let bytes = layout.blocks().iter().map(|block| u64::from(block.stored_len)).sum::<u64>();
    let bound = bytes as f64 / plan.rate as f64 * 1e9;
    let over = |at: Instant| at.as_nanos() as f64 / bound;
    Outcome {
        last_over_bound: over(done[done.len() - 1]),
        median_over_bound: over(done[done.len() / 2]),
        origin_blocks: world.watch.origin_blocks,
        events: world.events(),
    }
}

/// A world in which nothing goes wrong.
fn setup(plan: &Plan) -> Setup {
    let block = |content, stored_len| BlockPlan { content, stored_len };
    let data = (1..=u64::from(plan.blocks)).map(|nth| block(nth, BLOCK_SIZE)).collect();
    Setup {
        image: Image::new(&vec![vec![block(0, 4096)], data]),
        shape: plan.shape,
        mode: Mode::Full,
        limits: Limits::default(),
        rates: vec![plan.rate; plan.vms as usize],
        origin_rate: plan.origin_rate,
        latency: plan.latency,
        jitter: Duration::ZERO,
        profile: Vec::new(),
        readers: Vec::new(),
        odds: Odds::default(),
        script: Vec::new(),
        calm_at: Instant::ZERO,
        seed: 0,
    }
}

#[derive(Default)]
struct Tally {
    origin_blocks: u64,
}

impl Watch for Tally {
    fn see(&mut self, _at: Instant, seen: &Seen<'_>) {
        use ft_core::relay::{Output, Source};
        if let Seen::Does { output: Output::Fetch { from: Source::Origin, blocks, .. }, .. } = seen {
            self.origin_blocks += blocks.len() as u64;
        }
    }
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
