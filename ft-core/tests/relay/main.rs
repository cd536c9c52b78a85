//! The relay engines of a whole function tree, joined by a small deterministic network.
//!
//! Virtual time, one queue of events, everything random drawn from a seed. A failure prints the seed and the
//! options drawn from it; `FT_RELAY_SEED=<seed>` runs that seed alone and prints its trace,
//! `FT_RELAY_SEEDS=<count>` runs more of them.

#![allow(clippy::unwrap_used, reason = "a test")]

mod checks;
mod net;
mod origin;
mod plan;
mod rng;
mod session;
mod vm;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use ft_core::relay::Mode;

use crate::net::Net;
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
        let net = Net::new(plan.clone(), rng, only.is_some());
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
    for_seeds(300, Plan::stormy, |mut net| {
        net.run();
        checks::everybody_is_served(&net);
        checks::no_work_is_left(&net);
    });
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let trace = || {
        let mut rng = Rng::new(7);
        let plan = Plan { mode: Mode::Full, vms: 12, demands: 30, ..Plan::stormy(&mut rng) };
        let mut net = Net::new(plan, rng, false);
        net.run();
        net.digest()
    };
    assert_eq!(trace(), trace());
}
