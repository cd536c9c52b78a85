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

#[test]
fn a_failure_shrinks_to_a_smaller_one_that_fails_alike_and_its_log_leads_to_it() {
    let mutation = Some(Mutation::DropQueue);
    let run = |scenario: &Scenario, keep, line: &mut dyn FnMut(&str)| scenario.run(mutation, keep, line);
    let mut scenarios = (0..40).map(Scenario::draw);
    let failing = scenarios.find(|scenario| run(scenario, Keep::Hash, &mut |_| {}).violation.is_some());
    let failing = failing.expect("one of forty runs notices it");
    let before = run(&failing, Keep::Hash, &mut |_| {});
    let smallest = shrink(&failing, mutation, 500);
    let after = run(&smallest, Keep::Hash, &mut |_| {});
    let [first, last] = [&before, &after].map(|report| report.violation.as_ref().expect("both fail"));
    println!("{failing}\nbecame\n{smallest}");
    assert_eq!(first.checker, last.checker);
    assert!(after.events < before.events, "{} events, then {}", before.events, after.events);
    let count = |keep| {
        let mut lines = 0;
        run(&smallest, keep, &mut |_| lines += 1);
        lines
    };
    let (about, all) = (count(Keep::About(last.vm, last.block)), count(Keep::All));
    assert!(0 < about && about < all, "{about} lines of {all} are about it");
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
