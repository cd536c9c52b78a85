//! Parents that push rarely, compared with other sources.

use super::rig::{DEMAND, Rig, peer};
use crate::relay::{Ask, Class, Mode, Rejection, Source};

/// In full mode, in a tree of three, below the root. Block 19 is block 2 again.
fn rig() -> Rig {
    Rig::new(Mode::Full).of(3).placed(&[(Some(1), None)]).with_metadata()
}

#[test]
fn a_feeder_that_has_nothing_is_waited_for_and_one_that_keeps_blocks_back_is_not() {
    let mut rig = rig();
    assert_eq!(rig.wait(250), ["fetch 3 from vm-1 as Rest, if there"]);
    assert!(rig.rejected(3, peer(1), Rejection::NotHere).is_empty());
    assert!(rig.wait(499).is_empty(), "less and less often");
    assert_eq!(rig.wait(1), ["fetch 3 from vm-1 as Rest, if there"]);
    assert!(rig.wait(999).is_empty());
    assert_eq!(rig.wait(1), ["fetch 18 from origin as Rest"], "what it will not push soon");
    rig.wait(30);
    let said = rig.stored(18, Source::Origin);
    assert_eq!(said, ["tell vm-1 of 18", "fetch 3 from origin as Rest"], "nor is that waited for");
    assert_eq!(rig.engine.stats().slow_peers, 1);
}

#[test]
fn where_all_links_are_slow_nobody_is() {
    let mut rig = rig();
    rig.wait(600);
    rig.stored(2, peer(1));
    rig.wait(600);
    assert_eq!(rig.stored(3, peer(1)), ["fetch 18 from origin as Rest"], "it had it, and took long");
    rig.wait(600);
    // The origin is no faster: the parent is left in peace.
    rig.stored(18, Source::Origin);
    for block in 4..12 {
        assert!(rig.wait(600).is_empty(), "before block {block}");
        rig.stored(block, peer(1));
    }
    assert_eq!(rig.engine.stats().slow_peers, 0);
}

#[test]
fn a_feeder_that_pushes_in_step_with_the_trials_is_compared_too() {
    let mut rig = rig();
    let asked = (2..12).find(|block| {
        let waited = rig.wait(100);
        let said = rig.stored(*block, peer(1));
        waited.iter().chain(&said).any(|said| said == "fetch 18 from origin as Rest")
    });
    assert!(asked.is_some(), "a block in 100 ms, and nobody asked the origin");
    rig.wait(20);
    rig.stored(18, Source::Origin);
    assert_eq!(rig.engine.stats().slow_peers, 1);
}

#[test]
fn a_block_that_reached_the_feeder_a_moment_ago_says_nothing_about_it() {
    let mut rig = rig();
    assert_eq!(rig.wait(250), ["fetch 3 from vm-1 as Rest, if there"]);
    rig.wait(4);
    assert!(rig.stored(2, peer(1)).is_empty());
    assert!(rig.rejected(3, peer(1), Rejection::NotHere).is_empty());
    assert_eq!((rig.engine.stats().probes, rig.engine.stats().slow_peers), (0, 0));
}

#[test]
fn a_refusal_that_crossed_a_more_urgent_request_does_not_answer_that() {
    let mut rig = rig();
    assert_eq!(rig.wait(250), ["fetch 3 from vm-1 as Rest, if there"]);
    let ask = Ask { class: Class::Rest, ..DEMAND };
    assert_eq!(rig.asked(9, 3, ask), ["fetch 3 from vm-1 as Rest"]);
    assert!(rig.rejected(3, peer(1), Rejection::NotHere).is_empty(), "of the first request");
    let said = rig.rejected(3, peer(1), Rejection::NotHere);
    assert_eq!(said, ["fetch 3 from origin as Rest"], "of the second");
}

#[test]
fn in_a_tree_so_large_that_its_share_is_worth_no_more_nobody_turns_to_the_origin() {
    let mut rig = Rig::new(Mode::Full).of(1_000).placed(&[(Some(1), None)]).with_metadata();
    // A share is a block in 4 s.
    for block in 2..18 {
        let said = rig.wait(600);
        assert!(!said.iter().any(|said| said.contains("origin")), "{said:?}");
        rig.stored(block, peer(1));
    }
}
