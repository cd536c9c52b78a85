//! `FT_SIM_SEEDS=A..B` runs other seeds; `FT_SIM_SEED=N` runs one, and prints its log.

use std::collections::BTreeMap;
use std::ops::Range;

use super::*;

/// Seeds that every test run tries.
const SEEDS: Range<u64> = 0..300;
/// Seeds that have shown a fault once: of the engine, or of a checker.
const ONCE_FAILED: [u64; 12] =
    [512, 2_722, 7_592, 8_992, 9_884, 15_957, 31_856, 58_322, 126_419, 126_654, 165_824, 183_769];

fn report(seed: u64) -> Report {
    Scenario::draw(seed).run(None, Keep::Hash, &mut |_| {})
}

fn seeds() -> Range<u64> {
    let range = |text: String| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    };
    std::env::var("FT_SIM_SEEDS").ok().and_then(range).unwrap_or(SEEDS)
}

#[test]
fn whatever_goes_wrong_nothing_breaks_and_everything_converges() {
    if let Some(seed) = std::env::var("FT_SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        let scenario = shrink(&Scenario::draw(seed), None, 500);
        let report = scenario.run(None, Keep::All, &mut |line| println!("{line}"));
        assert_eq!(report.violation, None, "seed {seed}:\n{scenario}");
    }
    let mut failed = Vec::new();
    for seed in seeds().chain(ONCE_FAILED) {
        if let Some(violation) = report(seed).violation {
            println!("seed {seed}: {}: {}", violation.checker, violation.why);
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "seeds {failed:?} fail");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        assert_eq!(report(seed), report(seed), "seed {seed}");
    }
    assert_ne!(report(1).log_hash, report(2).log_hash);
}

/// The checkers that notice a broken rule, and in how many of so many runs.
fn caught(mutation: Mutation, runs: u64) -> BTreeMap<&'static str, u32> {
    let mut checkers = BTreeMap::new();
    for seed in 0..runs {
        let report = Scenario::draw(seed).run(Some(mutation), Keep::Hash, &mut |_| {});
        if let Some(violation) = report.violation {
            *checkers.entry(violation.checker).or_default() += 1;
        }
    }
    checkers
}

/// The checkers that must notice a broken rule within 40 seeds, whichever others do too.
fn must_notice(mutation: Mutation) -> &'static [&'static str] {
    match mutation {
        Mutation::SkipVerification => &["integrity"],
        Mutation::ForgetWaiter => &["readers"],
        Mutation::IgnoreEpochs => &["places"],
        Mutation::DropQueue => &["due"],
        Mutation::DoubleFetch => &["flights", "origin"],
        Mutation::UnboundedOrigin => &["origin"],
    }
}

#[test]
fn every_broken_rule_is_noticed_by_the_checker_of_that_rule() {
    for mutation in Mutation::ALL {
        let checkers = caught(mutation, 40);
        println!("{mutation:?}: {checkers:?}");
        for checker in must_notice(mutation) {
            assert!(checkers.contains_key(checker), "{mutation:?}: {checker} is silent, but {checkers:?}");
        }
    }
}
