//! The relay engines of a whole function tree, joined by a small deterministic network.
//!
//! Virtual time, one queue of events, everything random drawn from a seed. A failure prints the seed and the
//! options drawn from it; `FT_RELAY_SEED=<seed>` runs that seed alone and prints its trace,
//! `FT_RELAY_SEEDS=<count>` runs more of them.

#![allow(clippy::unwrap_used, reason = "a test")]

mod allowance;
mod checks;
mod net;
mod origin;
mod plan;
mod rng;
mod session;
mod vm;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use ft_core::relay::{Limits, Mode};
use ft_core::tree::Shape;
use ft_core::{BlockIndex, Duration, Instant, VmId};

use crate::net::{BLOCK_TIME, Net, Watch};
use crate::plan::Plan;
use crate::rng::Rng;

/// Runs `run` for every seed, or for the one in the environment.
fn for_seeds(seeds: u64, draw: fn(&mut Rng) -> Plan, run: fn(Net)) {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let only = number("FT_RELAY_SEED");
    let range = only.map_or(0..number("FT_RELAY_SEEDS").unwrap_or(seeds), |seed| seed..seed + 1);
    for seed in range {
        let mut rng = Rng::new(seed);
        let plan = draw(&mut rng);
        let watch = if only.is_some() { Watch::Print } else { Watch::Nothing };
        let net = Net::new(plan.clone(), rng, watch);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(net))) {
            eprintln!("seed {seed}: {plan:?}");
            resume_unwind(panic);
        }
    }
}

#[test]
fn without_faults_every_block_is_read_once_and_sent_once() {
    for_seeds(200, Plan::calm, |mut net| {
        net.run();
        checks::everybody_is_served(&net);
        checks::nothing_failed(&net);
        checks::origin_was_read_once(&net);
        checks::nothing_came_twice(&net);
        checks::no_work_is_left(&net);
    });
}

#[test]
fn whatever_goes_wrong_everybody_is_served_once_it_stops() {
    for_seeds(200, Plan::stormy, |mut net| {
        net.run();
        checks::everybody_is_served(&net);
        checks::no_work_is_left(&net);
    });
}

/// A calm cluster in which every VM wants all of an image of so many blocks.
fn full(vms: u64, shape: Shape, blocks: u64) -> Net {
    let mut rng = Rng::new(1);
    let plan = Plan {
        vms,
        shape,
        mode: Mode::Full,
        metadata_blocks: 1,
        data_blocks: blocks - 1,
        repeats: 0,
        demands: 0,
        profile: 0,
        limits: Limits::default(),
        ..Plan::calm(&mut rng)
    };
    Net::new(plan, rng, Watch::Nothing)
}

/// How long the whole image took, in hundredths of what one link needs for it.
fn percent_of_bound(vms: u64, shape: Shape) -> u64 {
    let blocks = 200;
    let mut net = full(vms, shape, blocks);
    net.run();
    net.completed_at().as_nanos() * 100 / BLOCK_TIME.saturating_mul(blocks).as_nanos()
}

#[test]
fn a_pair_moves_the_image_in_the_time_of_one_link_a_single_tree_in_twice_that() {
    let (pair, single) = (percent_of_bound(31, Shape::Paired), percent_of_bound(31, Shape::Avl));
    assert!((100..110).contains(&pair), "the pair takes {pair}%");
    assert!((195..210).contains(&single), "the single tree takes {single}%");
}

#[test]
fn a_demand_overtakes_all_pushes_at_every_hop() {
    for shape in [Shape::Avl, Shape::Paired] {
        let mut net = full(31, shape, 200);
        let (leaf, block) = (VmId(30), BlockIndex(199));
        net.read_at(Instant::from_nanos(500_000_000), leaf, block);
        net.run();
        let waited = net.vms[&leaf].served_reads[&block];
        // At each of five links it waits for the block that is being sent, then for itself; at the origin
        // for the window. The pushes before it would take two seconds or more.
        let most = BLOCK_TIME.saturating_mul(5 * 2 + 8) + Duration::from_millis(50);
        assert!(waited <= most, "{shape:?}: it took {} ms", waited.as_millis());
    }
}

/// How long the whole image took with a VM that takes so many times as long to send, in hundredths of what the
/// origin's link needs to give it to two VMs.
fn percent_of_origin(vms: u64, shape: Shape, crawls: VmId, times: u64) -> u64 {
    let blocks = 200;
    let mut net = full(vms, shape, blocks);
    net.plan.crawls = Some((crawls, times));
    net.run();
    checks::everybody_is_served(&net);
    net.completed_at().as_nanos() * 100 / BLOCK_TIME.saturating_mul(2 * blocks).as_nanos()
}

#[test]
fn a_throttled_parent_costs_no_more_than_the_origin() {
    for shape in [Shape::Avl, Shape::Paired] {
        // In a larger tree each VM's share of the origin's budget is smaller.
        for (vms, most) in [(2, 260), (3, 310), (7, 320), (15, 320)] {
            for crawls in [0, 1, 2].into_iter().filter(|vm| *vm < vms).map(VmId) {
                for times in [2, 5, 10, 20, 100] {
                    let percent = percent_of_origin(vms, shape, crawls, times);
                    let run = format!("{shape:?}, {vms} VMs, {crawls} at 1/{times}: {percent}%");
                    println!("{run}");
                    assert!(percent <= most, "{run}");
                }
            }
        }
    }
}

#[test]
fn a_tenth_of_the_vms_may_die_and_the_origin_hardly_notices() {
    for shape in [Shape::Avl, Shape::Paired] {
        for vms in [31, 101] {
            let blocks = 500;
            let mut net = full(vms, shape, blocks);
            // Most of those that joined first are interior, among them the roots.
            for victim in 0..vms / 10 {
                net.kill_at(Instant::from_nanos(3_000_000_000), VmId(victim));
            }
            net.run();
            checks::everybody_is_served(&net);
            let reads: u64 = net.origin.reads.values().sum();
            println!("{shape:?}, {vms} VMs: {reads} blocks read of {blocks}");
            assert!(reads * 10 <= blocks * 12, "{shape:?}, {vms} VMs: {reads} blocks read of {blocks}");
        }
    }
}

#[test]
fn a_demand_overtakes_what_the_same_reader_expects() {
    for shape in [Shape::Avl, Shape::Paired] {
        let mut net = full(31, shape, 200);
        let leaf = VmId(30);
        let at = |millis: u64| Instant::from_nanos(millis * 1_000_000);
        net.expect_at(at(500), leaf, (120..200).map(BlockIndex).collect());
        net.read_at(at(700), leaf, BlockIndex(199));
        net.run();
        let waited = net.vms[&leaf].served_reads[&BlockIndex(199)];
        let most = BLOCK_TIME.saturating_mul(5 * 2 + 8) + Duration::from_millis(50);
        assert!(waited <= most, "{shape:?}: it took {} ms", waited.as_millis());
    }
}

/// A calm cluster in lazy mode, in which readers start only where a test says so.
fn lazy(shape: Shape, profile: u64) -> Net {
    let mut rng = Rng::new(1);
    let plan = Plan {
        vms: 15,
        shape,
        mode: Mode::Lazy,
        metadata_blocks: 2,
        data_blocks: 100,
        repeats: 0,
        demands: 0,
        readahead: false,
        profile,
        ..Plan::calm(&mut rng)
    };
    Net::new(plan, rng, Watch::Nothing)
}

fn nobody_asked(net: &Net) {
    for vm in net.vms.values() {
        assert_eq!(vm.engine.stats().asked, 0, "{} was asked", vm.id);
    }
}

#[test]
fn the_profile_comes_to_everybody_in_its_order_and_nobody_asks() {
    for shape in [Shape::Avl, Shape::Paired] {
        let mut net = lazy(shape, 60);
        net.run();
        checks::everybody_is_served(&net);
        checks::origin_was_read_once(&net);
        nobody_asked(&net);
        for vm in net.vms.values() {
            assert_eq!(vm.arrived.len(), 62);
            let came = |block| vm.arrived.iter().position(|arrived| *arrived == block).unwrap();
            assert!((0..2).all(|block| came(BlockIndex(block)) < 8), "the metadata first");
            for (place, block) in net.profile.iter().enumerate() {
                // Answers of the origin overtake each other within its window; stripes run side by side.
                assert!(came(*block).abs_diff(place + 2) <= 16, "{shape:?}: {} at {}", vm.id, came(*block));
            }
        }
    }
}

#[test]
fn what_a_reader_at_the_root_demands_comes_to_everybody_and_nobody_asks() {
    for (shape, stripes) in [(Shape::Avl, 1), (Shape::Paired, 2)] {
        let mut net = lazy(shape, 0);
        let read = [BlockIndex(90), BlockIndex(41), BlockIndex(42), BlockIndex(7)];
        for (nth, block) in (1u64..).zip(read) {
            let root = net.root(block.stripe(stripes));
            net.read_at(Instant::from_nanos(nth * 300_000_000), root, block);
        }
        net.run();
        nobody_asked(&net);
        checks::origin_was_read_once(&net);
        for vm in net.vms.values() {
            assert_eq!(vm.arrived[2..], read, "{shape:?}: {}", vm.id);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let trace = || {
        let mut rng = Rng::new(7);
        let plan = Plan { mode: Mode::Full, vms: 12, demands: 30, ..Plan::stormy(&mut rng) };
        let mut net = Net::new(plan, rng, Watch::Digest);
        net.run();
        net.digest()
    };
    let first = trace();
    assert_ne!(first, 0, "nothing was noted");
    assert_eq!(first, trace());
}
