//! A static function tree whose VMs receive a whole image.

use ft_core::block::BLOCK_SIZE;
use ft_core::relay::{Limits, Mode, Stats};
use ft_core::tree::Shape;
use ft_core::{Duration, Instant};

use crate::image::{BlockPlan, Image};
use crate::rng::Rng;
use crate::seen::{Seen, Watch};
use crate::world::fault::{Fault, Odds};
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
    /// How the VMs stall, if they do.
    pub stalls: Option<Stalls>,
    /// A VM whose link is slower than the others'.
    pub throttled: Option<Throttled>,
    /// From which stalls are drawn.
    pub seed: u64,
}

impl Plan {
    /// Links of 1 Gbit/s, each VM's alike, 0.1 ms between hosts, an origin without limit; nothing stalls.
    pub fn new(vms: u32, shape: Shape, blocks: u32) -> Self {
        let latency = Duration::from_micros(100);
        let (stalls, throttled) = (None, None);
        Self { vms, shape, blocks, rate: 125_000_000, origin_rate: 0, latency, stalls, throttled, seed: 0 }
    }
}

/// VMs that share a busy machine's cores: every now and then one of them does nothing.
#[derive(Clone, Copy, Debug)]
pub struct Stalls {
    /// From one stall of a VM to the next, on average.
    pub every: Duration,
    /// The shortest one.
    pub shortest: Duration,
    /// The longest one.
    pub longest: Duration,
}

/// A VM with a slower link than the others.
#[derive(Clone, Copy, Debug)]
pub struct Throttled {
    /// Its number.
    pub vm: u32,
    /// How many times slower its link is.
    pub times: u32,
    /// Only what it sends is slower.
    pub up_only: bool,
    /// When the manager notices and moves it to the leaves, if it does.
    pub noticed: Option<Duration>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The last VM's completion ÷ (S/B).
    pub last_over_bound: f64,
    /// The same of those that are not throttled.
    pub others_over_bound: f64,
    /// The median VM's completion ÷ (S/B).
    pub median_over_bound: f64,
    /// Blocks read from the origin, all VMs together.
    pub origin_blocks: u64,
    /// [`Stats::slow_peers`](ft_core::relay::Stats::slow_peers) of all VMs together.
    pub slow_peers: u64,
    /// [`Stats::probes`](ft_core::relay::Stats::probes) of all VMs together.
    pub probes: u64,
    /// [`Stats::hedges`](ft_core::relay::Stats::hedges) of all VMs together.
    pub hedges: u64,
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
    let done = world.completions();
    let mut done: Vec<Instant> = done.into_iter().map(|at| at.expect("every VM completes")).collect();
    let throttled = plan.throttled.map(|throttled| throttled.vm as usize);
    let others = (0..done.len()).filter(|vm| Some(*vm) != throttled);
    let others = others.map(|vm| done[vm]).max().unwrap_or_default();
    done.sort();
    let layout = &world.image().layout;
    let bytes = layout.blocks().iter().map(|block| u64::from(block.stored_len)).sum::<u64>();
    let bound = bytes as f64 / plan.rate as f64 * 1e9;
    let over = |at: Instant| at.as_nanos() as f64 / bound;
    let count = |of: fn(&Stats) -> u64| world.stats().map(of).sum();
    Outcome {
        last_over_bound: over(done[done.len() - 1]),
        others_over_bound: over(others),
        median_over_bound: over(done[done.len() / 2]),
        origin_blocks: world.watch.origin_blocks,
        slow_peers: count(|stats| stats.slow_peers),
        probes: count(|stats| stats.probes),
        hedges: count(|stats| stats.hedges),
        events: world.events(),
    }
}

/// By when every VM of a reasonable plan has the image: until then VMs may stall.
const STALLS_END: Duration = Duration::from_secs(600);

/// What goes wrong, in the order of time.
fn script(plan: &Plan) -> Vec<(Instant, Fault)> {
    let mut script = Vec::new();
    if let Some(Throttled { vm, times, up_only, noticed }) = plan.throttled {
        let slow =
            |noticed| Fault::Slow { vm: vm as usize, factor: times, up_only, noticed, lasts: STALLS_END };
        script.push((Instant::ZERO, slow(false)));
        script.extend(noticed.map(|after| (Instant::ZERO + after, slow(true))));
    }
    for vm in (0..plan.vms).filter(|_| plan.stalls.is_some()) {
        script.extend(plan.stalls.iter().flat_map(|stalls| stalls_of(vm, stalls, plan.seed)));
    }
    script.sort_by_key(|(at, _)| *at);
    script
}

fn stalls_of(vm: u32, stalls: &Stalls, seed: u64) -> Vec<(Instant, Fault)> {
    let mut rng = Rng::new(seed, 1_000 + u64::from(vm));
    let mut at = Instant::ZERO;
    let mut script = Vec::new();
    loop {
        at += Duration::from_nanos(rng.between(1, 2 * stalls.every.as_nanos()));
        if at > Instant::ZERO + STALLS_END {
            return script;
        }
        let lasts = Duration::from_nanos(rng.between(stalls.shortest.as_nanos(), stalls.longest.as_nanos()));
        script.push((at, Fault::Stall { vm: vm as usize, lasts }));
    }
}

/// A world in which nothing goes wrong beside what the plan says.
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
        script: script(plan),
        calm_at: Instant::ZERO + STALLS_END,
        seed: plan.seed,
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
        Plan::new(vms, shape, 400)
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

    /// Links of so many Mbit/s, an origin whose link is so many times as fast, and a stall every so many milliseconds.
    fn busy(vms: u32, mbits: u64, of_origin: u64, every: u64) -> Plan {
        let rate = mbits * 125_000;
        let [every, shortest, longest] = [every, 50, 500].map(Duration::from_millis);
        let stalls = Some(Stalls { every, shortest, longest });
        Plan { rate, origin_rate: rate * of_origin, stalls, ..plan(vms, Shape::Paired) }
    }

    #[test]
    fn on_a_busy_machine_good_parents_are_hardly_ever_taken_for_slow() {
        for (vms, mbits) in [(7, 50), (7, 100), (7, 200), (15, 50), (15, 100), (15, 200)] {
            for (of_origin, every) in [(1, 2_000), (10, 2_000), (1, 700), (10, 700)] {
                for seed in 0..2 {
                    let outcome = run(&Plan { seed, ..busy(vms, mbits, of_origin, every) });
                    let run =
                        format!("{vms} VMs, {mbits} Mbit/s, origin × {of_origin}, {every} ms, seed {seed}");
                    println!("{run}: {outcome:?}");
                    assert!(outcome.origin_blocks * 100 <= 401 * 105, "{run}: {outcome:?}");
                }
            }
        }
    }

    /// Eight blocks that are asked for at once come one after the other, two seconds each: none is late.
    #[test]
    fn over_a_slow_link_nothing_is_read_twice() {
        let rate = 250_000;
        let outcome = run(&Plan { rate, origin_rate: rate, ..Plan::new(1, Shape::Paired, 128) });
        println!("{outcome:?}");
        assert_eq!(outcome.origin_blocks, 129, "{outcome:?}");
        assert!(outcome.last_over_bound < 1.01, "{outcome:?}");
    }

    #[test]
    fn a_crawling_parent_of_three_costs_no_more_than_the_origin() {
        for (mbits, (vm, times)) in [(50, (0, 100)), (50, (1, 20)), (200, (0, 20)), (200, (1, 100))] {
            for up_only in [true, false] {
                let throttled = Some(Throttled { vm, times, up_only, noticed: None });
                let mut plan = Plan { throttled, ..busy(3, mbits, 1, 2_000) };
                for stalls in [None, plan.stalls] {
                    plan.stalls = stalls;
                    let outcome = run(&plan);
                    println!("{plan:?}: {outcome:?}");
                    // Three pull the image over the origin's link; and two seconds.
                    let two_seconds = 2.0 * plan.rate as f64 / (400.0 * f64::from(BLOCK_SIZE));
                    assert!(outcome.others_over_bound <= 3.0 + two_seconds, "{plan:?}: {outcome:?}");
                }
            }
        }
    }

    /// Its children lack what did not come in the meantime; when the rest of the tree is done, they get that twice as fast.
    #[test]
    fn a_vm_at_half_speed_costs_the_others_less_than_half_of_the_time_until_it_is_moved() {
        let undisturbed =
            Plan { rate: 25_000_000, origin_rate: 25_000_000, ..Plan::new(15, Shape::Paired, 512) };
        let without = run(&undisturbed).last_over_bound;
        let bound = 512.0 * f64::from(BLOCK_SIZE) / undisturbed.rate as f64;
        for (seconds, up_only) in [(2, false), (2, true), (4, false), (4, true)] {
            let noticed = Some(Duration::from_secs(seconds));
            let throttled = Some(Throttled { vm: 2, times: 2, up_only, noticed });
            let outcome = run(&Plan { throttled, ..undisturbed });
            let cost = (outcome.others_over_bound - without) * bound;
            println!("noticed after {seconds} s: {cost:.2} s, {outcome:?}");
            assert!(cost < 0.42 * seconds as f64, "{throttled:?}: {cost} s, {outcome:?}");
        }
    }
}
