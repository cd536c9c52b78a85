//! Half a link that has become free.

use alloc::string::String;
use alloc::vec::Vec;

use super::rig::{Rig, peer, without_trials};
use crate::relay::{Limits, Mode, Rejection};

/// Parents in the stripes of the even and the odd blocks.
const EVEN: u64 = 1;
const ODD: u64 = 2;

/// All even blocks are here, and eight odd ones (3, 5, ... 17) are not; what the last even one brings about.
fn half_complete(limits: Limits) -> (Rig, Vec<String>) {
    half_complete_below(limits, 5)
}

/// The same; in the end, this is the grandparent in the stripe of the odd ones, where vm-4 was at first.
fn half_complete_below(limits: Limits, grandparent: u64) -> (Rig, Vec<String>) {
    let stripes = |above| [(Some(EVEN), Some(3)), (Some(ODD), Some(above))];
    let mut rig = Rig::with(Mode::Full, limits, &[0, 1]).placed(&stripes(4));
    rig.edges(&stripes(grandparent));
    let mut said = Vec::new();
    for block in (2..19).step_by(2) {
        assert_eq!(fetches(&said), "", "before all of a stripe is here");
        said = rig.stored(block, peer(EVEN));
    }
    (rig, said)
}

fn fetches(said: &[String]) -> String {
    let fetches: Vec<&str> =
        said.iter().filter(|line| line.starts_with("fetch")).map(String::as_str).collect();
    fetches.join("; ")
}

/// The blocks of the only fetch, from the parent that pushed the even ones.
fn asked(said: &[String]) -> Vec<u32> {
    let fetch = fetches(said);
    let blocks =
        fetch.strip_prefix("fetch ").and_then(|rest| rest.strip_suffix(" from vm-1 as Rest, if there"));
    let blocks = blocks.unwrap_or_else(|| panic!("not from the helper: {said:?}"));
    blocks.split(' ').map(|block| block.parse().unwrap()).collect()
}

#[test]
fn the_parent_of_a_complete_stripe_is_asked_for_what_it_has_of_the_other() {
    let (mut rig, said) = half_complete(Limits { few: 2, ..without_trials() });
    let blocks = asked(&said);
    assert_eq!(blocks.len(), 4, "as many as its window takes");
    assert!(blocks.iter().all(|block| block % 2 == 1));
    let said = rig.stored(blocks[0], peer(EVEN));
    assert!(
        said.contains(&alloc::format!("tell vm-2 of {}", blocks[0])),
        "the feeder need not send it: {said:?}"
    );
    let next = asked(&said);
    assert!(next.len() == 1 && !blocks.contains(&next[0]));
}

#[test]
fn as_long_as_nobody_was_moved_everything_comes_from_those_who_push_it() {
    let (mut rig, said) = half_complete_below(Limits { few: 2, ..without_trials() }, 4);
    assert_eq!(fetches(&said), "");
    assert_eq!(fetches(&rig.wait(1_000)), "");
}

#[test]
fn the_last_blocks_are_left_to_the_feeder() {
    let (_, said) = half_complete(Limits { few: 8, ..without_trials() });
    assert_eq!(fetches(&said), "");
    let (_, said) = half_complete(Limits { few: 7, ..without_trials() });
    assert_eq!(asked(&said).len(), 1);
}

#[test]
fn one_that_does_not_have_it_is_asked_again_after_a_pause_and_nobody_else() {
    let (mut rig, said) = half_complete(Limits { few: 5, ..without_trials() });
    let blocks = asked(&said);
    assert_eq!(blocks.len(), 3);
    for block in blocks {
        assert_eq!(fetches(&rig.rejected(block, peer(EVEN), Rejection::NotHere)), "");
    }
    assert_eq!(fetches(&rig.wait(49)), "");
    assert_eq!(fetches(&rig.stored(3, peer(ODD))), "");
    rig.wait(1);
    assert_eq!(asked(&rig.stored(5, peer(ODD))).len(), 1, "of six that are missing");
}

#[test]
fn what_a_reader_waits_for_goes_on_to_other_sources() {
    let (mut rig, said) = half_complete(Limits { few: 7, ..without_trials() });
    let block = asked(&said)[0];
    rig.demand(block);
    let said = rig.rejected(block, peer(EVEN), Rejection::NotHere);
    assert_eq!(fetches(&said), alloc::format!("fetch {block} from vm-2 as Demand"));
}
