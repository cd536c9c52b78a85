//! Edges, sessions and feeds.

use super::rig::{Rig, peer};
use crate::block::BlockIndex;
use crate::epoch::Epoch;
use crate::relay::{Edges, Input, Limits, Mode, Source, StripeEdges};
use crate::vm::VmId;

const PAIRED: &[(Option<u64>, Option<u64>)] = &[(Some(1), Some(2)), (Some(3), Some(4))];

fn down(rig: &mut Rig, peer: u64) -> alloc::vec::Vec<alloc::string::String> {
    rig.input(Input::PeerDown(VmId(peer)))
}

fn up(rig: &mut Rig, peer: u64) -> alloc::vec::Vec<alloc::string::String> {
    rig.input(Input::PeerUp(VmId(peer)))
}

#[test]
fn a_lost_parent_is_replaced_by_the_other_one_until_the_new_one_is_up() {
    let mut rig = Rig::new(Mode::Lazy).placed(PAIRED).with_metadata();
    rig.demand(4);
    assert_eq!(
        down(&mut rig, 1),
        ["subscribe vm-3 to 11 of 2", "fetch 4 from vm-3 as Demand, if there"],
        "at once"
    );
    assert_eq!(rig.edges(&[(Some(5), Some(6)), (Some(3), Some(4))]), ["connect vm-5"], "4 stays in flight");
    assert_eq!(up(&mut rig, 5), ["subscribe vm-3 to 10 of 2", "subscribe vm-5 to 01 of 2"]);
    assert_eq!(rig.stored(4, peer(3)), ["tell vm-5 of 4"]);
}

#[test]
fn in_a_single_tree_the_grandparent_stands_in() {
    let mut rig = Rig::new(Mode::Lazy).placed(&[(Some(1), Some(2))]);
    assert_eq!(down(&mut rig, 1), ["connect vm-2"]);
    assert_eq!(up(&mut rig, 2), ["subscribe vm-2 to 01 of 1"]);
    assert_eq!(rig.wait(250), ["connect vm-1"]);
    assert_eq!(up(&mut rig, 1), ["unsubscribe vm-2", "subscribe vm-1 to 01 of 1"], "back to the parent");
}

#[test]
fn who_has_lost_everybody_reads_the_origin() {
    let mut rig = Rig::new(Mode::Full).placed(&[(Some(1), None)]);
    assert!(down(&mut rig, 1).is_empty(), "new edges may come");
    assert_eq!(rig.demand(9), ["fetch 9 from origin as Demand"], "a reader does not wait for them");
    rig.stored(9, Source::Origin);
    let said = rig.wait(500);
    assert_eq!(
        said,
        ["connect vm-1", "fetch 0 1 from origin as Metadata"],
        "little at a time: it is no root"
    );
    rig.stored(0, Source::Origin);
    assert_eq!(up(&mut rig, 1), ["subscribe vm-1 to 01 of 1"]);
    assert_eq!(rig.stored(1, Source::Origin), ["tell vm-1 of 1", "fetch 2 from origin as Rest"][..1]);
}

#[test]
fn new_edges_refetch_nothing_and_keep_the_old_parent_until_the_new_one_is_up() {
    let mut rig = Rig::new(Mode::Full).placed(&[(Some(1), Some(2))]);
    rig.demand(4);
    assert_eq!(rig.edges(&[(Some(5), Some(1))]), ["connect vm-5"]);
    assert!(rig.stored(0, peer(1)).is_empty(), "pushes still come");
    assert_eq!(up(&mut rig, 5), ["unsubscribe vm-1", "subscribe vm-5 to 01 of 1"]);
    assert_eq!(rig.stored(4, peer(1)), ["tell vm-5 of 4"]);
    assert_eq!(rig.edges(&[(Some(5), Some(6))]), ["disconnect vm-1"]);
}

#[test]
fn what_the_old_parent_owes_does_not_make_the_new_one_slow() {
    let stored: alloc::vec::Vec<u32> = (0..4).chain(6..19).collect();
    let limits = Limits { push_window: 1, ..Limits::default() };
    let mut rig = Rig::with(Mode::Full, limits, &stored).placed(&[(Some(1), Some(2))]);
    assert_eq!(rig.wait(250), ["fetch 5 from vm-1 as Rest, if there"]);
    rig.edges(&[(Some(5), Some(6))]);
    up(&mut rig, 5);
    // The request at vm-1 is late now; vm-5 was asked for nothing.
    let said = rig.wait(1_100);
    assert!(!said.iter().any(|said| said.contains("origin") || said.contains("vm-6")), "{said:?}");
    assert_eq!(rig.engine.stats().slow_peers, 0);
}

#[test]
fn what_is_only_queued_turns_to_the_new_parent() {
    let mut rig = Rig::new(Mode::Lazy).with_metadata();
    rig.edges(&[(Some(1), Some(2))]);
    rig.demand(4);
    assert_eq!(rig.edges(&[(Some(5), None)]), ["connect vm-5", "disconnect vm-1"]);
    assert_eq!(up(&mut rig, 5), ["subscribe vm-5 to 01 of 1", "fetch 4 from vm-5 as Demand"]);
}

#[test]
fn edges_that_are_not_newer_are_ignored() {
    let mut rig = Rig::new(Mode::Lazy);
    let edges = |counter, parent| {
        let root = StripeEdges { parent, ..StripeEdges::default() };
        Input::Edges(Edges { epoch: Epoch { term: 1, counter }, vms: 0, stripes: [root].into() })
    };
    assert_eq!(rig.input(edges(5, Some(VmId(1)))), ["connect vm-1"]);
    assert!(rig.input(edges(4, Some(VmId(2)))).is_empty());
    assert!(rig.input(edges(5, Some(VmId(1)))).is_empty());
    assert_eq!(rig.engine.stats().stale_edges, 2);
    assert_eq!(rig.engine.epoch(), Some(Epoch { term: 1, counter: 5 }));
}

#[test]
fn two_vms_may_be_each_others_parents() {
    let mut rig = Rig::new(Mode::Lazy).placed(&[(Some(1), None), (None, None)]).with_metadata();
    rig.subscribed(1, &[0, 1]);
    down(&mut rig, 1);
    rig.demand(5);
    assert_eq!(rig.stored(5, Source::Origin), ["send 5 to vm-1 as Profile"], "it is still a child");
    rig.wait(250);
    up(&mut rig, 1);
    rig.input(Input::ChildDown(VmId(1)));
    assert_eq!(rig.demand(4), ["fetch 4 from vm-1 as Demand"], "it is still a parent");
    assert!(rig.stored(4, peer(1)).is_empty());
}

#[test]
fn a_session_that_takes_too_long_is_given_up_and_tried_again_after_growing_pauses() {
    let mut rig = Rig::new(Mode::Lazy).with_metadata();
    rig.edges(&[(Some(1), None)]);
    rig.demand(4);
    assert!(rig.wait(999).is_empty());
    assert_eq!(rig.wait(1), ["fetch 4 from origin as Demand"], "a reader does not wait for a session");
    assert!(rig.wait(1_999).is_empty());
    assert_eq!(rig.wait(1), ["disconnect vm-1"]);
    rig.stored(4, Source::Origin);
    for pause in [250, 500, 1_000, 2_000, 4_000, 8_000, 8_000] {
        assert!(rig.wait(pause - 1).is_empty());
        assert_eq!(rig.wait(1), ["connect vm-1"]);
        assert!(down(&mut rig, 1).is_empty());
    }
}

#[test]
fn a_late_peer_is_told_when_the_block_came_from_elsewhere() {
    let mut rig = Rig::new(Mode::Lazy).placed(PAIRED).with_metadata();
    rig.demand(4);
    rig.wait(1_000);
    assert_eq!(rig.stored(4, peer(3)), ["tell vm-1 of 4"]);
    assert!(rig.stored(4, peer(1)).is_empty());
    assert_eq!(rig.engine.stats().duplicate.blocks, 1);
    assert_eq!(rig.engine.stats().hedges, 1);
    assert!(rig.engine.stored().contains(BlockIndex(4)));
}
