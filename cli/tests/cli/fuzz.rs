//! `ft fuzz`: the same seeds give the same logs in another process.

use crate::run::{Run, ft};

#[test]
fn the_same_seeds_give_the_same_logs_in_another_process() {
    let fuzz = |args: &[&str]| Run::of(&mut ft(&[&["fuzz"], args].concat())).ok();
    let many = |jobs| fuzz(&["--seeds", "0..60", "--jobs", jobs, "-o", "json"]).json();
    let (one, other) = (many("1"), many("3"));
    assert_eq!(one["log_hash"], other["log_hash"]);
    assert_eq!(one["events"], other["events"]);
    assert_ne!(one["events"], 0);
    assert_eq!(one["seeds"], 60);

    let trace = || fuzz(&["--seed", "7", "--trace"]).stdout;
    let (one, other) = (trace(), trace());
    assert!(one.lines().count() > 20, "{one}");
    assert_eq!(one, other);
}

#[test]
fn seeds_that_make_no_sense_are_refused() {
    Run::of(&mut ft(&["fuzz", "--seeds", "7..3"])).fails(2, "no seeds");
    Run::of(&mut ft(&["fuzz", "--trace"])).fails(2, "--seed");
}

#[test]
fn the_last_seeds_that_there_are_come_to_an_end() {
    let last = format!("{}..{}", u64::MAX - 5, u64::MAX);
    let run = Run::of(&mut ft(&["fuzz", "--seeds", &last, "--jobs", "2", "-o", "json"])).ok().json();
    assert_eq!(run["seeds"], 5);
}
