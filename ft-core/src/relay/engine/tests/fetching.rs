//! How blocks come.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::rig::{DEMAND, Rig, peer, without_trials};
use crate::block::BlockIndex;
use crate::relay::{Ask, Class, Input, Limits, Mode, Rejection, Source};
use crate::vm::VmId;

const ROOT: &[(Option<u64>, Option<u64>)] = &[(None, None)];
const BELOW: &[(Option<u64>, Option<u64>)] = &[(Some(1), Some(2)), (Some(3), Some(4))];

#[test]
fn a_root_keeps_its_window_at_the_origin_full_in_image_order_with_demands_first() {
    let mut rig = Rig::new(Mode::Full);
    let said = rig.edges(ROOT);
    assert_eq!(
        said,
        [
            "fetch 0 1 from origin as Metadata",
            "fetch 2 3 4 5 from origin as Rest",
            "fetch 6 7 from origin as Rest"
        ]
    );
    assert_eq!(rig.demand(15), ["fetch 15 from origin as Demand"]);
    // Requests stay large: the window is filled again once a whole batch is free.
    for block in [15, 0, 1, 2] {
        assert!(rig.stored(block, Source::Origin).is_empty());
    }
    assert_eq!(rig.stored(3, Source::Origin), ["fetch 8 9 10 11 from origin as Rest"]);
}

#[test]
fn a_root_of_one_stripe_of_two_reads_every_other_block() {
    let mut rig = Rig::new(Mode::Full);
    let said = rig.edges(&[(None, None), (Some(3), Some(4))]);
    assert_eq!(
        said,
        [
            "connect vm-3",
            "fetch 0 from origin as Metadata",
            "fetch 2 4 6 8 from origin as Rest",
            "fetch 10 12 14 from origin as Rest"
        ]
    );
}

#[test]
fn a_block_at_two_indices_is_one_block() {
    let mut rig = Rig::new(Mode::Lazy).placed(BELOW).with_metadata();
    assert_eq!(rig.demand(19), ["fetch 2 from vm-1 as Demand"]);
    assert!(rig.demand(2).is_empty());
    rig.stored(19, peer(1));
    assert!(rig.engine.stored().contains(BlockIndex(2)) && rig.engine.stored().contains(BlockIndex(19)));
}

#[test]
fn complete_is_told_once_and_again_after_a_loss() {
    let all: vec::Vec<u32> = (0..19).collect();
    let mut rig = Rig::with(Mode::Full, Limits::default(), &all);
    assert_eq!(rig.drain(), ["complete"]);
    rig.edges(ROOT);
    assert!(rig.engine.is_complete() && rig.engine.stored().is_full());
    assert_eq!(rig.dropped(19), ["fetch 2 from origin as Rest"]);
    assert!(!rig.engine.is_complete());
    assert_eq!(rig.stored(2, Source::Origin), ["complete"]);
    assert_eq!(rig.engine.deadline(), None);
}

#[test]
fn sources_are_tried_in_order_and_the_reader_is_told_which() {
    let mut rig = Rig::new(Mode::Lazy).placed(BELOW).with_metadata();
    assert_eq!(rig.demand(5), ["fetch 5 from vm-3 as Demand"]);
    assert_eq!(
        rig.rejected(5, peer(3), Rejection::Corrupt),
        ["fetch 5 from vm-1 as Demand, if there, again"]
    );
    assert_eq!(rig.rejected(5, peer(1), Rejection::NotHere), ["connect vm-4"]);
    assert_eq!(rig.input(Input::PeerUp(VmId(4))), ["fetch 5 from vm-4 as Demand, again"]);
    assert_eq!(rig.wait(1_000), ["fetch 5 from origin as Demand"], "vm-4 stays in the race");
    assert!(rig.wait(6_999).is_empty());
    assert!(rig.wait(1).is_empty(), "vm-4 has had its time");
    assert_eq!(
        rig.rejected(5, Source::Origin, Rejection::Failed),
        ["failed 5: vm-3 Corrupt, vm-1 NotHere, vm-4 Late, origin Failed"]
    );
    assert_eq!(rig.demand(5), ["fetch 5 from vm-3 as Demand, again"], "the next demand tries anew");
}

#[test]
fn a_root_whose_origin_fails_asks_the_other_parent_for_what_it_has() {
    let mut rig = Rig::new(Mode::Lazy).placed(&[(None, None), (Some(3), None)]).with_metadata();
    assert_eq!(rig.demand(4), ["fetch 4 from origin as Demand"]);
    assert_eq!(
        rig.rejected(4, Source::Origin, Rejection::Corrupt),
        ["fetch 4 from vm-3 as Demand, if there, again"]
    );
}

#[test]
fn what_could_be_had_from_nowhere_is_tried_again_after_a_growing_pause() {
    let mut rig = Rig::new(Mode::Lazy);
    rig.edges(ROOT);
    rig.rejected(0, Source::Origin, Rejection::Failed);
    rig.rejected(1, Source::Origin, Rejection::Failed);
    for pause in [250, 500, 1_000] {
        assert!(rig.wait(pause - 1).is_empty());
        assert_eq!(rig.wait(1), ["fetch 0 1 from origin as Metadata"]);
        rig.rejected(0, Source::Origin, Rejection::Failed);
        rig.rejected(1, Source::Origin, Rejection::Failed);
    }
    rig.wait(2_000);
    rig.stored(0, Source::Origin);
    rig.rejected(1, Source::Origin, Rejection::Failed);
    assert_eq!(rig.wait(250), ["fetch 1 from origin as Metadata"], "a short pause again after a success");
}

#[test]
fn a_peer_that_asks_for_what_just_failed_is_refused_a_reader_is_not() {
    let mut rig = Rig::new(Mode::Lazy).placed(ROOT).with_metadata();
    rig.demand(4);
    rig.rejected(4, Source::Origin, Rejection::Failed);
    assert_eq!(rig.asked(9, 4, DEMAND), ["refuse vm-9 4"]);
    assert_eq!(rig.demand(4), ["fetch 4 from origin as Demand"]);
}

#[test]
fn a_demand_for_a_block_that_is_asked_for_less_urgently_moves_it_up() {
    let mut rig = Rig::new(Mode::Lazy).placed(BELOW).with_metadata();
    assert_eq!(rig.asked(9, 4, Ask { class: Class::Rest, ..DEMAND }), ["fetch 4 from vm-1 as Rest"]);
    assert_eq!(rig.demand(4), ["fetch 4 from vm-1 as Demand"]);
    assert!(rig.asked(9, 4, DEMAND).is_empty(), "it is in flight as a demand already");
}

#[test]
fn more_than_the_window_waits_its_turn() {
    let limits = Limits { requests_per_source: 2, ..Limits::default() };
    let mut rig = Rig::with(Mode::Lazy, limits, &[0, 1]).placed(&[(Some(1), None)]);
    for block in [9, 8] {
        rig.demand(block);
    }
    assert!(rig.demand(7).is_empty() && rig.demand(6).is_empty());
    assert_eq!(rig.stored(8, peer(1)), ["fetch 7 from vm-1 as Demand"], "in the order of the demands");
}

#[test]
fn an_impatient_vm_asks_in_order_until_pushes_come_again() {
    let mut rig = Rig::with(Mode::Full, without_trials(), &[]);
    rig.edges(&[(Some(1), None)]);
    assert_eq!(rig.input(Input::PeerUp(VmId(1))), ["subscribe vm-1 to 01 of 1"]);
    rig.wait(1_000);
    rig.stored(0, peer(1));
    assert!(rig.wait(1_999).is_empty(), "patience begins anew with every push");
    assert_eq!(
        rig.wait(1),
        ["subscribe vm-1 to 01 of 1", "fetch 1 from vm-1 as Metadata", "fetch 2 3 4 from vm-1 as Rest"]
    );
    assert_eq!(rig.stored(2, peer(1)), ["fetch 5 from vm-1 as Rest"], "an answer: go on asking");
    assert!(rig.stored(9, peer(1)).is_empty(), "a push: leave it to the parent");
    assert!(rig.stored(3, peer(1)).is_empty());
}

#[test]
fn a_peer_that_nobody_waits_for_is_late_when_it_delivers_nothing_or_takes_very_long() {
    let mut rig = Rig::new(Mode::Lazy).placed(BELOW).with_metadata();
    rig.asked(9, 4, Ask { class: Class::Rest, ..DEMAND });
    let mut pushed = 6;
    for _ in 0..5 {
        assert!(rig.wait(1_500).is_empty(), "it is busy");
        rig.stored(pushed, peer(1));
        pushed += 2;
    }
    assert_eq!(rig.wait(500), ["fetch 4 from vm-3 as Rest, if there, again"], "eight seconds are enough");
    assert!(rig.wait(3_999).is_empty());
    assert_eq!(rig.wait(1), ["connect vm-2"], "this one delivers nothing");
    assert_eq!(rig.engine.stats().hedges, 0);
    assert_eq!(rig.engine.stats().late, 2);
}

#[test]
fn what_arrives_damaged_is_fetched_from_elsewhere_if_it_is_wanted() {
    let mut rig = Rig::new(Mode::Full).placed(BELOW);
    assert_eq!(rig.rejected(4, peer(1), Rejection::Corrupt), ["fetch 4 from vm-3 as Rest, if there, again"]);
    let mut rig = Rig::new(Mode::Lazy).placed(BELOW);
    assert!(rig.rejected(4, peer(1), Rejection::Corrupt).is_empty());
    assert_eq!(rig.demand(4), ["fetch 4 from vm-1 as Demand, again"]);
    assert_eq!(rig.engine.stats().corrupt, 1);
}

#[test]
fn a_wanted_block_that_is_dropped_is_asked_for_again_at_once() {
    let mut rig = Rig::with(Mode::Full, Limits::default(), &[4, 5]).placed(BELOW);
    assert_eq!(
        rig.dropped(4),
        ["fetch 4 from vm-1 as Rest, again"],
        "the parent may believe to have sent it"
    );
    let mut rig = Rig::with(Mode::Lazy, Limits::default(), &[4, 5]).placed(BELOW);
    assert!(rig.dropped(4).is_empty(), "in lazy mode when somebody reads it");
}

#[test]
fn a_demand_before_any_edges_goes_to_the_origin() {
    let mut rig = Rig::new(Mode::Full);
    assert!(rig.drain().is_empty(), "nothing is pulled yet");
    assert_eq!(rig.demand(7), ["fetch 7 from origin as Demand"]);
}

/// What it swallowed of its pushes while it was so, it believes to have sent.
#[test]
fn who_answered_nothing_for_too_long_is_asked_to_send_again() {
    let mut rig = Rig::with(Mode::Full, without_trials(), &[0, 1]).placed(&[(Some(1), None)]);
    let again = |said: &[String]| {
        let asked = said.iter().filter(|said| said.contains("from vm-1"));
        asked.map(|said| said.ends_with("again")).collect::<Vec<_>>()
    };
    assert_eq!(again(&rig.wait(2_000)), [false]);
    let said = rig.wait(4_000);
    assert_eq!(again(&said), [false], "four seconds may happen: {said:?}");
    rig.wait(4_000);
    let said: Vec<String> = (2..6).flat_map(|block| rig.stored(block, Source::Origin)).collect();
    assert_eq!(again(&said), [true], "{said:?}");
    let said = rig.stored(7, peer(1));
    assert_eq!(again(&said), [true], "for the rest of the session: {said:?}");
    rig.input(Input::PeerDown(VmId(1)));
    rig.wait(250);
    rig.input(Input::PeerUp(VmId(1)));
    assert_eq!(rig.demand(18), ["fetch 18 from vm-1 as Demand"], "not in the next one");
}
