//! The start-up profile and read-ahead.

use alloc::vec::Vec;

use super::rig::{DEMAND, Rig, peer, without_trials};
use crate::block::BlockIndex;
use crate::relay::{Ask, BlockSet, Class, Input, Limits, Mode, Rejection, Source, StripeSet, Subscription};
use crate::vm::VmId;

const ROOT: &[(Option<u64>, Option<u64>)] = &[(None, None)];
const BELOW: &[(Option<u64>, Option<u64>)] = &[(Some(1), Some(2)), (Some(3), Some(4))];

fn indices(blocks: &[u32]) -> Vec<BlockIndex> {
    blocks.iter().copied().map(BlockIndex).collect()
}

fn profile(rig: &mut Rig, blocks: &[u32]) -> Vec<alloc::string::String> {
    rig.input(Input::Profile { blocks: indices(blocks) })
}

fn expect(rig: &mut Rig, blocks: &[u32]) -> Vec<alloc::string::String> {
    rig.input(Input::Expect { blocks: indices(blocks) })
}

/// `child` subscribes to all blocks, and has the metadata.
fn subscribed(rig: &mut Rig, child: u64) -> Vec<alloc::string::String> {
    let mut have = BlockSet::new(20);
    have.insert(BlockIndex(0));
    have.insert(BlockIndex(1));
    let subscription = Subscription { stripes: StripeSet(1), of: 1, have };
    rig.input(Input::Subscribed { child: VmId(child), subscription })
}

#[test]
fn a_lazy_root_reads_the_metadata_then_the_profile_in_its_order() {
    let mut rig = Rig::new(Mode::Lazy);
    assert!(profile(&mut rig, &[15, 4, 5, 3, 12, 11, 7]).is_empty(), "it does not know its place yet");
    assert_eq!(
        rig.edges(ROOT),
        [
            "fetch 0 1 from origin as Metadata",
            "fetch 3 4 5 15 from origin as Profile",
            "fetch 11 12 from origin as Profile"
        ],
        "in requests of four, adjacent blocks together"
    );
    for block in [0, 1, 3] {
        assert!(rig.stored(block, Source::Origin).is_empty());
    }
    assert_eq!(rig.stored(4, Source::Origin), ["fetch 7 from origin as Profile"]);
    for block in [5, 7, 11, 12, 15] {
        assert!(rig.stored(block, Source::Origin).is_empty(), "the rest is not wanted");
    }
    assert_eq!(rig.engine.deadline(), None);
}

#[test]
fn both_stripes_of_a_profile_are_read_in_its_order() {
    let limits = Limits { origin_window: 2, origin_batch: 1, ..Limits::default() };
    let mut rig = Rig::with(Mode::Lazy, limits, &[0, 1]).placed(&[(None, None), (None, None)]);
    assert_eq!(
        profile(&mut rig, &[15, 13, 4, 6]),
        ["fetch 15 from origin as Profile", "fetch 13 from origin as Profile"]
    );
    assert_eq!(rig.stored(13, Source::Origin), ["fetch 4 from origin as Profile"]);
}

#[test]
fn a_full_root_reads_metadata_profile_rest() {
    let mut rig = Rig::new(Mode::Full);
    profile(&mut rig, &[9, 2]);
    assert_eq!(
        rig.edges(ROOT),
        [
            "fetch 0 1 from origin as Metadata",
            "fetch 2 9 from origin as Profile",
            "fetch 3 4 5 6 from origin as Rest"
        ]
    );
}

#[test]
fn below_the_root_a_vm_waits_for_the_profile_and_asks_for_it_when_it_is_not_pushed() {
    let mut rig = Rig::with(Mode::Lazy, without_trials(), &[]).placed(BELOW).with_metadata();
    assert_eq!(rig.engine.deadline(), None);
    assert!(profile(&mut rig, &[15, 6, 4, 9, 3]).is_empty());
    assert_eq!(
        rig.wait(2_000),
        [
            "subscribe vm-1 to 01 of 2",
            "subscribe vm-3 to 10 of 2",
            "fetch 6 4 from vm-1 as Profile",
            "fetch 15 9 3 from vm-3 as Profile"
        ],
        "in the profile's order"
    );
    for (block, from) in [(6, 1), (4, 1), (15, 3), (9, 3), (3, 3)] {
        assert!(rig.stored(block, peer(from)).is_empty());
    }
    assert_eq!(rig.engine.deadline(), None, "there is nothing left to wait for");
}

#[test]
fn what_makes_no_sense_in_a_profile_is_left_out() {
    let mut rig = Rig::with(Mode::Lazy, Limits::default(), &[0, 1]).placed(ROOT);
    let before = rig.engine.stats().ignored;
    // 19 is 2 again; 1 is metadata.
    assert_eq!(profile(&mut rig, &[19, 20, 2, 1, 7, 19, u32::MAX]), ["fetch 2 7 from origin as Profile"]);
    assert_eq!(rig.engine.stats().ignored - before, 2);
    rig.stored(7, Source::Origin);
    rig.stored(2, Source::Origin);
    assert!(profile(&mut rig, &[2, 7]).is_empty(), "the same as before");
}

#[test]
fn a_profile_orders_what_is_here_already() {
    let limits = Limits { push_window: 1, ..Limits::default() };
    let mut rig = Rig::with(Mode::Lazy, limits, &[0, 1, 3, 4, 5, 6, 7, 8]).placed(ROOT);
    assert_eq!(subscribed(&mut rig, 9), ["send 3 to vm-9 as Rest"]);
    assert!(profile(&mut rig, &[7, 3, 5]).is_empty());
    assert_eq!(rig.sent(9, 3), ["send 7 to vm-9 as Profile"]);
    assert!(profile(&mut rig, &[5, 8]).is_empty());
    let mut sent = 7;
    for (block, class) in [(5, "Profile"), (8, "Profile"), (4, "Rest"), (6, "Rest")] {
        assert_eq!(rig.sent(9, sent), [alloc::format!("send {block} to vm-9 as {class}")]);
        sent = block;
    }
    assert!(rig.sent(9, 6).is_empty(), "nothing goes twice");
}

#[test]
fn what_a_new_profile_does_not_name_is_not_wanted_any_more() {
    let mut rig = Rig::with(Mode::Lazy, without_trials(), &[0, 1]);
    profile(&mut rig, &[6, 8]);
    rig.edges(&[(Some(1), None)]);
    rig.input(Input::PeerUp(VmId(1)));
    assert_eq!(rig.wait(2_000), ["subscribe vm-1 to 01 of 1", "fetch 6 8 from vm-1 as Profile"]);
    // Until the new parent's session is up, what is asked of it is queued.
    rig.edges(&[(Some(5), None)]);
    rig.input(Input::PeerDown(VmId(1)));
    assert!(profile(&mut rig, &[8, 10]).is_empty());
    assert_eq!(
        rig.input(Input::PeerUp(VmId(5))),
        ["subscribe vm-5 to 01 of 1", "fetch 8 from vm-5 as Profile"]
    );
}

#[test]
fn what_a_reader_waited_for_is_pushed_before_the_rest() {
    let limits = Limits { push_window: 1, ..Limits::default() };
    let mut rig = Rig::with(Mode::Full, limits, &[0, 1, 3, 4, 5]).placed(ROOT);
    subscribed(&mut rig, 9);
    rig.demand(12);
    assert!(rig.stored(12, Source::Origin).iter().all(|said| !said.contains("send")), "the window is full");
    assert_eq!(rig.sent(9, 3), ["send 12 to vm-9 as Profile"]);
    assert_eq!(rig.sent(9, 12), ["send 4 to vm-9 as Rest"]);
}

#[test]
fn expected_blocks_are_fetched_in_order_behind_demands() {
    let limits = Limits { requests_per_source: 2, ..Limits::default() };
    let mut rig = Rig::with(Mode::Lazy, limits, &[0, 1]).placed(&[(Some(1), None)]);
    assert_eq!(expect(&mut rig, &[9, 5, 7]), ["fetch 9 5 from vm-1 as Profile"]);
    rig.demand(12);
    assert_eq!(rig.stored(9, peer(1)), ["fetch 12 from vm-1 as Demand"]);
    assert_eq!(rig.stored(12, peer(1)), ["fetch 7 from vm-1 as Profile"]);
    assert!(expect(&mut rig, &[9, 7, 20]).is_empty(), "here, on its way, past the end");
}

#[test]
fn while_the_profile_comes_nothing_else_is_expected() {
    let mut rig = Rig::new(Mode::Lazy).placed(BELOW).with_metadata();
    profile(&mut rig, &[6, 8]);
    assert!(expect(&mut rig, &[12]).is_empty(), "a worse guess");
    assert_eq!(expect(&mut rig, &[8, 12]), ["fetch 8 from vm-1 as Profile"]);
    rig.stored(6, peer(1));
    rig.stored(8, peer(1));
    assert_eq!(expect(&mut rig, &[12]), ["fetch 12 from vm-1 as Profile"]);
}

#[test]
fn a_demand_raises_what_is_expected() {
    let mut rig = Rig::new(Mode::Lazy).placed(BELOW).with_metadata();
    assert_eq!(expect(&mut rig, &[4]), ["fetch 4 from vm-1 as Profile"]);
    assert_eq!(rig.demand(4), ["fetch 4 from vm-1 as Demand"]);
    assert!(expect(&mut rig, &[4]).is_empty());
    assert!(rig.stored(4, peer(1)).is_empty());
}

#[test]
fn nobody_is_told_that_an_expected_block_is_not_to_be_had() {
    let mut rig = Rig::with(Mode::Lazy, Limits::default(), &[0, 1]).placed(ROOT);
    assert_eq!(expect(&mut rig, &[4]), ["fetch 4 from origin as Profile"]);
    assert!(rig.rejected(4, Source::Origin, Rejection::Failed).is_empty());
    assert!(expect(&mut rig, &[4]).is_empty(), "it rests");
    assert!(rig.wait(10_000).is_empty(), "nor is it tried again unless somebody wants it");
    assert_eq!(rig.demand(4), ["fetch 4 from origin as Demand"]);
    assert_eq!(rig.rejected(4, Source::Origin, Rejection::Failed), ["failed 4: origin Failed"]);
}

#[test]
fn what_a_child_expects_travels_up_and_is_raised_on_its_way() {
    let mut rig = Rig::new(Mode::Lazy).placed(BELOW).with_metadata();
    let ask = Ask { class: Class::Profile, ..DEMAND };
    assert_eq!(rig.asked(9, 4, Ask { class: Class::Rest, ..DEMAND }), ["fetch 4 from vm-1 as Rest"]);
    assert_eq!(rig.asked(9, 4, ask), ["fetch 4 from vm-1 as Profile"]);
    assert_eq!(rig.asked(9, 4, DEMAND), ["fetch 4 from vm-1 as Demand"]);
    assert_eq!(rig.stored(4, peer(1)), ["send 4 to vm-9 as Demand"]);
}
