//! Deadlines, races, slow peers, the origin's budget, and trees of one or two.

use alloc::vec::Vec;

use super::rig::{DEMAND, Rig, peer};
use crate::block::BlockIndex;
use crate::clock::Duration;
use crate::relay::{Input, Limits, Mode, Rejection, Source};
use crate::vm::VmId;

const ROOT: &[(Option<u64>, Option<u64>)] = &[(None, None)];
const SINGLE: &[(Option<u64>, Option<u64>)] = &[(Some(1), Some(2))];
const ORPHANED: &[(Option<u64>, Option<u64>)] = &[(Some(1), None)];

/// A reader's block, of which the parent is asked, comes from it after `millis`.
fn comes_in_time(rig: &mut Rig, block: u32, millis: u64) {
    rig.demand(block);
    assert!(rig.wait(millis).is_empty(), "block {block} is late");
    rig.stored(block, peer(1));
}

/// Lets time pass until the engine asks for something; how long that took.
fn until_asked(rig: &mut Rig) -> (u64, Vec<alloc::string::String>) {
    for millis in 1..20_000 {
        let said = rig.wait(1);
        if said.iter().any(|said| said.starts_with("fetch") || said.starts_with("connect")) {
            return (millis, said);
        }
    }
    (u64::MAX, Vec::new())
}

#[test]
fn the_deadline_follows_what_the_source_has_shown() {
    let mut rig = Rig::new(Mode::Lazy).placed(ORPHANED).with_metadata();
    rig.demand(2);
    assert_eq!(until_asked(&mut rig).0, 1_000, "of a stranger, a second");
    rig.stored(2, peer(1));
    let mut rig = Rig::new(Mode::Lazy).placed(ORPHANED).with_metadata();
    for block in 3..11 {
        comes_in_time(&mut rig, block, 20);
    }
    rig.demand(11);
    let (fast, said) = until_asked(&mut rig);
    assert_eq!(
        (fast, &said[..]),
        (250, &["fetch 11 from origin as Demand".into()][..]),
        "not less than that"
    );
    let mut rig = Rig::new(Mode::Lazy).placed(ORPHANED).with_metadata();
    for block in 3..11 {
        comes_in_time(&mut rig, block, 500);
    }
    rig.demand(11);
    let (slow, _) = until_asked(&mut rig);
    assert!((600..700).contains(&slow), "{slow}");
}

#[test]
fn sixteen_demands_in_a_row_over_a_slow_link_are_no_race() {
    let mut rig = Rig::new(Mode::Lazy).placed(SINGLE).with_metadata();
    for block in 2..18 {
        rig.demand(block);
    }
    for block in 2..18 {
        assert!(rig.wait(400).is_empty(), "block {block}");
        rig.stored(block, peer(1));
    }
    assert_eq!((rig.engine.stats().hedges, rig.engine.stats().late), (0, 0));
}

#[test]
fn the_first_to_deliver_wins_and_the_other_is_told() {
    for (winner, loser) in [(1, 2), (2, 1)] {
        let mut rig = Rig::new(Mode::Lazy).placed(SINGLE).with_metadata();
        rig.demand(4);
        assert_eq!(rig.wait(1_000), ["connect vm-2"]);
        assert_eq!(rig.input(Input::PeerUp(VmId(2))), ["fetch 4 from vm-2 as Demand"]);
        assert_eq!(rig.engine.stats().hedges, 1);
        assert_eq!(rig.stored(4, peer(winner)).last(), Some(&alloc::format!("tell vm-{loser} of 4")));
        assert!(rig.stored(4, peer(loser)).is_empty());
        assert_eq!(rig.engine.stats().duplicate.blocks, 1, "came twice");
    }
}

#[test]
fn when_the_second_one_is_late_too_the_first_is_given_up_and_the_origin_comes_last() {
    let mut rig = Rig::new(Mode::Lazy).placed(SINGLE).with_metadata();
    rig.demand(4);
    rig.wait(1_000);
    rig.input(Input::PeerUp(VmId(2)));
    assert_eq!(rig.wait(1_000), ["fetch 4 from origin as Demand"]);
    assert_eq!(rig.engine.stats().late, 1);
    assert_eq!(rig.engine.stats().hedges, 2);
    assert!(rig.wait(6_999).is_empty(), "there is nobody else");
    assert!(rig.wait(1).is_empty(), "vm-2 has had its time");
    let failed = ["failed 4: vm-1 Late, vm-2 Late, origin Late"];
    assert_eq!(rig.wait(3_000), failed);
}

#[test]
fn a_second_source_that_does_not_have_it_makes_room_for_the_third() {
    let mut rig = Rig::new(Mode::Lazy).placed(SINGLE).with_metadata();
    rig.demand(4);
    rig.wait(1_000);
    rig.input(Input::PeerUp(VmId(2)));
    assert_eq!(rig.rejected(4, peer(2), Rejection::NotHere), ["fetch 4 from origin as Demand"]);
    assert!(rig.rejected(4, Source::Origin, Rejection::Failed).is_empty(), "the parent may still have it");
    assert_eq!(rig.rejected(4, peer(1), Rejection::Failed).len(), 1);
}

#[test]
fn what_nobody_waits_for_is_not_raced_and_a_race_ends_with_its_last_waiter() {
    let mut rig = Rig::new(Mode::Lazy).placed(SINGLE).with_metadata();
    rig.asked(9, 4, DEMAND);
    assert_eq!(rig.wait(1_000), ["connect vm-2"]);
    rig.input(Input::ChildDown(VmId(9)));
    assert!(rig.input(Input::PeerUp(VmId(2))).is_empty());
    assert!(rig.wait(20_000).is_empty());
    assert_eq!(rig.engine.stats().hedges, 0);
}

/// What a reader waits for in all who reads block by block: the parent delivers each of them after `crawls`, the
/// grandparent after 30 ms.
fn reading(rig: &mut Rig, crawls: u64) -> u64 {
    let mut waited = 0;
    for block in 3..19 {
        let mut asked = rig.demand(block);
        for millis in 0.. {
            let grandparent = asked.iter().any(|said| said.contains("from vm-2"));
            if grandparent || millis == crawls {
                let after = if grandparent { 30 } else { 0 };
                rig.wait(after);
                rig.stored(block, peer(if grandparent { 2 } else { 1 }));
                waited += millis + after;
                break;
            }
            asked = rig.wait(1);
        }
    }
    waited
}

#[test]
fn a_parent_that_crawls_does_not_hold_a_reader() {
    let mut rig = Rig::new(Mode::Lazy).placed(SINGLE).with_metadata();
    rig.demand(19);
    rig.wait(1_000);
    rig.input(Input::PeerUp(VmId(2)));
    rig.wait(30);
    rig.stored(19, peer(2));
    // The next wait is bounded by what the grandparent took; then the parent is asked last.
    let waited = reading(&mut rig, 2_000);
    assert!(waited <= 16 * 30 + 2 * 250, "waited {waited} ms for 16 blocks");
    assert_eq!(rig.engine.stats().slow_peers, 1);
}

#[test]
fn a_slow_peer_is_tried_again_and_forgotten_with_its_session() {
    let mut rig = Rig::new(Mode::Lazy).placed(SINGLE).with_metadata();
    rig.input(Input::Demand { block: BlockIndex(4) });
    rig.wait(1_000);
    rig.input(Input::PeerUp(VmId(2)));
    rig.stored(4, peer(2));
    for block in [5, 6] {
        rig.demand(block);
        until_asked(&mut rig);
        rig.wait(30);
        rig.stored(block, peer(2));
    }
    assert_eq!(rig.demand(7), ["fetch 7 from vm-2 as Demand"], "the parent lost three times");
    rig.stored(7, peer(2));
    rig.now += Limits::default().slow_min;
    assert_eq!(rig.demand(8), ["fetch 8 from vm-1 as Demand"], "it may have recovered");
    rig.stored(8, peer(1));
}

#[test]
fn a_parent_that_is_busy_with_other_blocks_loses_no_race() {
    let mut rig = Rig::new(Mode::Lazy).placed(SINGLE).with_metadata();
    rig.demand(4);
    rig.wait(1_000);
    rig.input(Input::PeerUp(VmId(2)));
    rig.stored(4, peer(2));
    for block in (5..17).step_by(2) {
        rig.demand(block);
        until_asked(&mut rig);
        rig.stored(block + 1, peer(1));
        rig.wait(30);
        rig.stored(block, peer(2));
    }
    assert!(rig.engine.stats().hedges >= 5);
    assert_eq!(rig.engine.stats().slow_peers, 0);
}

#[test]
fn small_trees_demand_from_the_origin_first() {
    for (vms, first) in [(1, "origin"), (2, "origin"), (3, "vm-1")] {
        let mut rig = Rig::new(Mode::Lazy).of(vms).placed(ORPHANED).with_metadata();
        assert_eq!(rig.demand(4), [alloc::format!("fetch 4 from {first} as Demand")], "{vms} VMs");
    }
    let mut rig = Rig::new(Mode::Lazy).of(2).placed(ORPHANED).with_metadata();
    rig.demand(4);
    assert_eq!(rig.rejected(4, Source::Origin, Rejection::Failed), ["fetch 4 from vm-1 as Demand, again"]);
    // Pushes go on, and what is not waited for comes from the parent.
    rig.asked(9, 6, crate::relay::Ask { class: crate::relay::Class::Rest, ..DEMAND });
    assert_eq!(rig.demand(6), ["fetch 6 from vm-1 as Demand", "fetch 6 from origin as Demand"]);
}

/// Without anybody to turn to, in a tree of a hundred: a block at once, then one in 200 ms.
fn orphan() -> Rig {
    let limits = Limits { origin_budget_rate: 500, origin_budget_burst: 10, ..Limits::default() };
    let mut rig = Rig::with(Mode::Lazy, limits, &[0, 1]).of(100).placed(ORPHANED);
    rig.input(Input::PeerDown(VmId(1)));
    rig
}

#[test]
fn the_last_resort_waits_for_its_share_of_the_budget_and_does_not_fail_for_it() {
    let mut rig = orphan();
    assert_eq!(rig.demand(4), ["fetch 4 from origin as Demand"]);
    assert!(rig.demand(5).is_empty() && rig.demand(6).is_empty());
    assert!(rig.wait(199).is_empty());
    assert_eq!(rig.wait(1), ["fetch 5 from origin as Demand"]);
    let fetches = rig.wait(250).into_iter().filter(|said| said.starts_with("fetch"));
    assert_eq!(fetches.collect::<Vec<_>>(), ["fetch 6 from origin as Demand"]);
    assert_eq!(rig.engine.stats().budgeted, 3);
}

#[test]
fn roots_read_without_a_budget_and_a_new_root_at_once() {
    let mut rig = orphan();
    for block in 4..10 {
        rig.demand(block);
    }
    let said = rig.edges(ROOT);
    assert_eq!(said.iter().filter(|said| said.starts_with("fetch")).count(), 2, "{said:?}");
    assert_eq!(rig.demand(10), ["fetch 10 from origin as Demand"]);
    assert_eq!(rig.engine.stats().budgeted, 1);
}

#[test]
fn a_deadline_never_lies_in_the_past() {
    let limits = Limits { deadline_min: Duration::ZERO, deadline_start: Duration::ZERO, ..Limits::default() };
    let mut rig = Rig::with(Mode::Lazy, limits, &[0, 1]).placed(SINGLE);
    rig.demand(4);
    let mut steps = 0;
    while rig.engine.deadline() == Some(rig.now) {
        rig.input(Input::Timeout);
        steps += 1;
        assert!(steps < 10, "time stands still");
    }
}
