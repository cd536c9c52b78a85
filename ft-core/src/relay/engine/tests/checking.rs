//! Parents that push rarely, compared with other sources.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::rig::{DEMAND, Rig, peer};
use crate::clock::Duration;
use crate::relay::{Ask, Class, Limits, Mode, Rejection, Source};
use crate::vm::VmId;

/// In full mode, in a tree of three, below the root. Block 19 is block 2 again.
fn rig() -> Rig {
    let limits = Limits { patience: Duration::from_secs(60), ..Limits::default() };
    Rig::with(Mode::Full, limits, &[]).of(3).placed(&[(Some(1), None)]).with_metadata()
}

/// The feeder, which was asked for `trial` if it has it, keeps it back and gives nothing while it is watched; the origin
/// gives `probe` after `millis`. What the engine says then, the block of which it tells the feeder left out.
fn loses_a_comparison(rig: &mut Rig, probe: u32, millis: u64) -> Vec<String> {
    assert!(rig.wait(499).is_empty());
    assert_eq!(rig.wait(1), [format!("fetch {probe} from origin as Rest")], "what it will not push soon");
    rig.wait(millis);
    let mut said = rig.stored(probe, Source::Origin);
    assert_eq!(said.remove(0), format!("tell vm-1 of {probe}"));
    said
}

#[test]
fn a_feeder_that_keeps_blocks_back_is_waited_for_no_longer() {
    let mut rig = rig();
    assert_eq!(rig.wait(250), ["fetch 3 from vm-1 as Rest, if there"]);
    assert_eq!(loses_a_comparison(&mut rig, 18, 30), ["fetch 4 from vm-1 as Rest, if there"]);
    assert_eq!(loses_a_comparison(&mut rig, 17, 30), ["fetch 5 from vm-1 as Rest, if there"]);
    assert_eq!(rig.engine.stats().slow_peers, 0);
    let said = loses_a_comparison(&mut rig, 16, 30);
    assert_eq!(said, ["fetch 3 4 from origin as Rest"], "nor is that waited for");
    assert_eq!(rig.engine.stats().slow_peers, 1);
}

/// A root that receives slowly itself, over the same slow link, keeps nothing back.
#[test]
fn a_root_that_has_nothing_is_compared_with_the_origin() {
    let mut rig = rig();
    assert_eq!(rig.wait(250), ["fetch 3 from vm-1 as Rest, if there"]);
    for (lacking, next) in [(3, Some(4)), (4, Some(5)), (5, None)] {
        assert!(rig.rejected(lacking, peer(1), Rejection::NotHere).is_empty());
        assert!(rig.wait(499).is_empty());
        assert_eq!(rig.wait(1), [format!("fetch {lacking} from origin as Rest")]);
        rig.wait(30);
        let said = rig.stored(lacking, Source::Origin);
        if let Some(next) = next {
            assert!(said.contains(&format!("fetch {next} from vm-1 as Rest, if there")), "{said:?}");
        }
    }
    assert_eq!(rig.engine.stats().slow_peers, 1);
}

#[test]
fn a_parent_that_has_nothing_is_compared_with_its_own_parent_after_a_while_and_never_with_the_origin() {
    let limits = Limits { patience: Duration::from_secs(60), ..Limits::default() };
    let mut rig = Rig::with(Mode::Full, limits, &[]).of(15).placed(&[(Some(1), Some(2))]).with_metadata();
    let mut asked = Vec::new();
    for _ in 0..60 {
        for said in rig.wait(100) {
            if said.contains("fetch 3 from vm-1 as Rest, if there") {
                assert!(rig.rejected(3, peer(1), Rejection::NotHere).is_empty());
            }
            asked.push(said);
        }
    }
    assert!(asked.iter().all(|said| !said.contains("origin")), "{asked:?}");
    assert!(asked.iter().any(|said| said == "connect vm-2"), "{asked:?}");
}

/// A feeder that has lost three comparisons with the origin, which takes 30 ms for a block.
fn slow() -> Rig {
    let mut rig = rig();
    rig.wait(250);
    for probe in [18, 17, 16] {
        loses_a_comparison(&mut rig, probe, 30);
    }
    assert!(rig.engine.is_slow(peer(1)));
    rig
}

#[test]
fn a_feeder_that_stalls_once_is_not_slow() {
    let mut rig = rig();
    rig.wait(250);
    assert_eq!(loses_a_comparison(&mut rig, 18, 30), ["fetch 4 from vm-1 as Rest, if there"]);
    for block in 3..14 {
        let mut said = rig.wait(50);
        said.extend(rig.wait(30));
        rig.stored(block, peer(1));
        if said.iter().any(|said| said == "fetch 17 from origin as Rest") {
            rig.wait(30);
            rig.stored(17, Source::Origin);
        }
    }
    assert_eq!((rig.engine.stats().probes, rig.engine.stats().slow_peers), (2, 0));
}

#[test]
fn a_slow_feeder_that_gives_half_as_much_as_others_is_forgiven() {
    let mut rig = slow();
    for pushed in [8, 9, 10] {
        rig.wait(80);
        rig.stored(pushed, peer(1));
        assert!(rig.engine.is_slow(peer(1)));
    }
    rig.wait(80);
    rig.stored(11, peer(1));
    rig.stored(4, Source::Origin);
    assert!(!rig.engine.is_slow(peer(1)), "four blocks, one in 80 ms; one in 30 ms from the origin");
}

#[test]
fn one_that_was_slow_to_the_end_is_compared_once_and_slow_for_longer() {
    let mut rig = slow();
    let slow_min = Limits::default().slow_min;
    assert_eq!(rig.engine.services.standing(VmId(1)).slow_until(rig.now), Some(rig.now + slow_min));
    let mut asked = 0;
    while rig.engine.stats().slow_peers == 1 {
        let said = rig.wait(10);
        // The origin gives what it is asked for last; nobody else gives anything.
        let from_origin =
            |said: &String| said.contains("from origin").then(|| said.split(' ').nth(1)?.parse().ok())?;
        if let Some(block) = said.iter().rev().find_map(from_origin) {
            asked += 1;
            rig.stored(block, Source::Origin);
        }
        assert!(asked < 20);
    }
    let until = rig.engine.services.standing(VmId(1)).slow_until(rig.now);
    assert_eq!(until, Some(rig.now + slow_min + slow_min));
}

#[test]
fn where_all_links_are_slow_nobody_is() {
    let mut rig = rig();
    rig.wait(600);
    rig.stored(2, peer(1));
    assert_eq!(rig.wait(150), ["fetch 18 from origin as Rest"], "it had 3, and took long");
    rig.wait(450);
    rig.stored(3, peer(1));
    rig.wait(150);
    rig.stored(18, Source::Origin);
    // The origin is no faster: the parent is left in peace.
    for block in 4..12 {
        assert!(rig.wait(600).is_empty(), "before block {block}");
        rig.stored(block, peer(1));
    }
    assert_eq!(rig.engine.stats().slow_peers, 0);
}

#[test]
fn a_feeder_that_gives_about_as_much_as_comes_of_the_other_stripe_is_not_asked() {
    for (other_lacks, tried) in [(true, false), (false, true)] {
        let other: &[u32] = if other_lacks { &[] } else { &[3, 5, 7, 9, 11, 13, 15, 17] };
        let mut rig = Rig::with(Mode::Full, Limits::default(), other);
        rig = rig.of(3).placed(&[(Some(1), None), (Some(3), None)]).with_metadata();
        let mut said = Vec::new();
        for nth in 0..7 {
            said.extend(rig.wait(100));
            said.extend(rig.stored(3 + 2 * nth, peer(3)));
            if nth % 2 == 1 {
                said.extend(rig.stored(1 + nth, peer(1)));
            }
        }
        let asked = said.iter().any(|said| said.contains("if there"));
        assert_eq!(asked, tried, "a block in 200 ms, and in 100 ms of the other stripe: {other_lacks}");
    }
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
