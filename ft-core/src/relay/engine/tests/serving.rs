//! How blocks go.

use super::rig::{DEMAND, Rig, peer};
use crate::block::BlockIndex;
use crate::relay::{Ask, BlockSet, Class, Input, Limits, Mode, Rejection, Source, StripeSet, Subscription};
use crate::vm::VmId;

const ROOT: &[(Option<u64>, Option<u64>)] = &[(None, None)];
const BELOW: &[(Option<u64>, Option<u64>)] = &[(Some(1), Some(2)), (Some(3), Some(4))];
const PULL: Ask = Ask { class: Class::Rest, ..DEMAND };

/// A root in lazy mode that has these blocks.
fn with(stored: &[u32]) -> Rig {
    Rig::with(Mode::Lazy, Limits::default(), stored).placed(ROOT)
}

#[test]
fn a_block_goes_on_the_moment_it_is_here() {
    let mut rig = with(&[0, 1]);
    rig.subscribed(8, &[0, 1]);
    rig.subscribed(9, &[0, 1, 6]);
    assert_eq!(rig.stored(7, Source::Origin), ["send 7 to vm-8 as Rest", "send 7 to vm-9 as Rest"]);
    assert_eq!(rig.stored(6, Source::Origin), ["send 6 to vm-8 as Rest"], "vm-9 has it");
}

#[test]
fn only_blocks_of_subscribed_stripes_go() {
    let mut rig = with(&[0, 1]);
    let subscription = Subscription { stripes: StripeSet(0b10), of: 2, have: BlockSet::new(20) };
    assert_eq!(rig.input(Input::Subscribed { child: VmId(9), subscription }), ["send 1 to vm-9 as Metadata"]);
    assert!(rig.stored(6, Source::Origin).is_empty());
    assert_eq!(rig.stored(7, Source::Origin), ["send 7 to vm-9 as Rest"]);
}

#[test]
fn who_subscribes_late_gets_the_metadata_then_what_came_first() {
    let mut rig = with(&[]);
    for block in [12, 5, 1, 9, 0] {
        rig.stored(block, Source::Origin);
    }
    assert_eq!(
        rig.subscribed(9, &[5]),
        [
            "send 1 to vm-9 as Metadata",
            "send 0 to vm-9 as Metadata",
            "send 12 to vm-9 as Rest",
            "send 9 to vm-9 as Rest"
        ]
    );
}

#[test]
fn a_demand_overtakes_the_pushes_and_nothing_is_sent_twice() {
    let mut rig = with(&[0, 1, 2, 3, 4, 5, 6, 7, 8]);
    let said = rig.subscribed(9, &[0, 1]);
    assert_eq!(said.len(), 4, "the window: {said:?}");
    assert_eq!(rig.asked(9, 8, DEMAND), ["send 8 to vm-9 as Demand"], "a queued push, moved up");
    assert!(rig.asked(9, 2, DEMAND).is_empty(), "it is in the driver's hands");
    assert!(rig.sent(9, 8).is_empty(), "a demand does not count as a push");
    assert_eq!(rig.sent(9, 2), ["send 6 to vm-9 as Rest"]);
    assert_eq!(rig.sent(9, 3), ["send 7 to vm-9 as Rest"]);
    assert!(rig.sent(9, 4).is_empty(), "8 has been sent");
}

#[test]
fn beyond_the_demand_window_the_most_urgent_goes_first() {
    let limits = Limits { demand_window: 1, push_window: 1, ..Limits::default() };
    let mut rig = Rig::with(Mode::Lazy, limits, &[0, 1, 4, 5, 6, 7]).placed(ROOT);
    assert_eq!(rig.asked(9, 4, PULL), ["send 4 to vm-9 as Rest"]);
    assert!(rig.asked(9, 5, PULL).is_empty() && rig.asked(9, 6, PULL).is_empty());
    assert_eq!(rig.asked(9, 7, DEMAND), ["send 7 to vm-9 as Demand"]);
    assert!(rig.asked(9, 6, DEMAND).is_empty(), "moved up, but the window is closed");
    assert_eq!(rig.sent(9, 7), ["send 6 to vm-9 as Demand"]);
    assert_eq!(rig.sent(9, 4), ["send 5 to vm-9 as Rest"]);
}

#[test]
fn a_slow_child_does_not_slow_its_sibling() {
    let mut rig = with(&[0, 1]);
    rig.subscribed(8, &[0, 1]);
    rig.subscribed(9, &[0, 1]);
    for block in 2..12 {
        let said = rig.stored(block, Source::Origin);
        assert_eq!(said.iter().filter(|said| said.contains("to vm-9")).count(), 1);
        rig.sent(9, block);
    }
    assert_eq!(rig.sent(8, 2), ["send 6 to vm-8 as Rest"], "the slow one goes on where it was");
}

#[test]
fn a_request_for_what_is_not_here_is_passed_on_and_answered_when_it_comes() {
    let mut rig = Rig::new(Mode::Lazy).placed(BELOW).with_metadata();
    assert_eq!(rig.asked(8, 4, DEMAND), ["fetch 4 from vm-1 as Demand"]);
    assert!(rig.asked(9, 4, PULL).is_empty(), "one fetch for both");
    assert_eq!(rig.stored(4, peer(1)), ["send 4 to vm-8 as Demand", "send 4 to vm-9 as Rest"]);
}

#[test]
fn who_asks_is_refused_when_nobody_has_it() {
    let mut rig = with(&[0, 1]);
    rig.asked(8, 4, DEMAND);
    assert_eq!(rig.rejected(4, Source::Origin, Rejection::Failed), ["refuse vm-8 4"]);
    assert!(rig.stored(4, Source::Origin).is_empty(), "it waits no more");
}

#[test]
fn a_block_that_was_lost_is_sent_again_if_the_child_says_so() {
    let mut rig = with(&[0, 1, 4]);
    rig.asked(9, 4, DEMAND);
    assert!(rig.asked(9, 4, Ask { again: true, ..DEMAND }).is_empty(), "it is in the driver's hands");
    rig.sent(9, 4);
    assert!(rig.asked(9, 4, DEMAND).is_empty(), "it is on its way");
    assert_eq!(rig.asked(9, 4, Ask { again: true, ..DEMAND }), ["send 4 to vm-9 as Demand"]);
}

#[test]
fn a_child_that_has_a_block_from_elsewhere_neither_waits_nor_gets_it() {
    let mut rig = with(&[0, 1]);
    rig.subscribed(9, &[0, 1]);
    rig.asked(9, 4, DEMAND);
    rig.input(Input::Has { child: VmId(9), block: BlockIndex(4) });
    assert!(rig.stored(4, Source::Origin).is_empty());
}

#[test]
fn what_only_a_child_wanted_is_not_fetched_once_it_is_gone() {
    let mut rig = Rig::new(Mode::Lazy);
    rig.edges(BELOW);
    rig.asked(9, 4, DEMAND);
    rig.asked(9, 5, DEMAND);
    rig.demand(5);
    rig.input(Input::ChildDown(VmId(9)));
    assert_eq!(rig.input(Input::PeerUp(VmId(1))), ["subscribe vm-1 to 01 of 2"]);
    assert_eq!(
        rig.input(Input::PeerUp(VmId(3))),
        ["subscribe vm-3 to 10 of 2", "fetch 5 from vm-3 as Demand"]
    );
}

#[test]
fn a_dropped_block_is_refused_to_who_waits_for_it_and_pushed_when_it_is_back() {
    let mut rig = with(&[0, 1, 4]);
    assert_eq!(rig.subscribed(8, &[0, 1]), ["send 4 to vm-8 as Rest"]);
    assert_eq!(rig.asked(9, 4, DEMAND), ["send 4 to vm-9 as Demand"]);
    assert_eq!(rig.dropped(4), ["refuse vm-9 4"]);
    assert!(rig.sent(8, 4).is_empty() && rig.sent(9, 4).is_empty());
    assert_eq!(rig.demand(4), ["fetch 4 from origin as Demand"]);
    assert_eq!(rig.stored(4, Source::Origin), ["send 4 to vm-8 as Profile"]);
}

#[test]
fn a_block_that_is_dropped_twice_while_the_driver_has_it_is_not_answered_with() {
    let limits = Limits { push_window: 1, ..Limits::default() };
    let mut rig = Rig::with(Mode::Lazy, limits, &[0, 1, 4, 5]).placed(ROOT);
    assert_eq!(rig.subscribed(9, &[0, 1]), ["send 4 to vm-9 as Rest"]);
    assert!(rig.dropped(4).is_empty());
    assert!(rig.stored(4, Source::Origin).is_empty());
    assert!(rig.asked(9, 4, PULL).is_empty(), "the window is closed");
    assert_eq!(rig.dropped(4), ["refuse vm-9 4"]);
    assert_eq!(rig.sent(9, 4), ["send 5 to vm-9 as Rest"]);
}

#[test]
fn pushes_go_on_in_order_after_a_drop() {
    let limits = Limits { push_window: 1, ..Limits::default() };
    let mut rig = Rig::with(Mode::Lazy, limits, &[0, 1, 4, 5, 6, 7]).placed(ROOT);
    rig.subscribed(9, &[0, 1]);
    rig.sent(9, 4);
    rig.dropped(4);
    assert_eq!(rig.sent(9, 5), ["send 6 to vm-9 as Rest"]);
    assert_eq!(rig.sent(9, 6), ["send 7 to vm-9 as Rest"]);
    rig.sent(9, 7);
    rig.dropped(7);
    assert_eq!(
        rig.stored(8, Source::Origin),
        ["send 8 to vm-9 as Rest"],
        "the place of the last one is taken"
    );
}

#[test]
fn a_child_that_asks_for_too_much_is_refused() {
    let limits = Limits { asks_per_child: 2, ..Limits::default() };
    let mut rig = Rig::with(Mode::Lazy, limits, &[0, 1]).placed(ROOT);
    rig.asked(9, 4, DEMAND);
    rig.asked(9, 5, DEMAND);
    assert!(rig.asked(9, 4, DEMAND).is_empty(), "it waits for that one already");
    assert_eq!(rig.asked(9, 6, DEMAND), ["refuse vm-9 6"]);
    assert_eq!(rig.asked(8, 6, DEMAND), ["fetch 6 from origin as Demand"], "others are served");
    let limits = Limits { asks_per_child: 2, demand_window: 1, ..Limits::default() };
    let mut rig = Rig::with(Mode::Lazy, limits, &[0, 1, 4, 5, 6, 7]).placed(ROOT);
    assert_eq!(rig.asked(9, 4, DEMAND), ["send 4 to vm-9 as Demand"]);
    assert!(rig.asked(9, 5, DEMAND).is_empty() && rig.asked(9, 6, DEMAND).is_empty(), "they are queued");
    assert_eq!(rig.asked(9, 7, DEMAND), ["refuse vm-9 7"], "though it is here");
    assert!(rig.asked(9, 4, DEMAND).is_empty(), "that one is on its way");
}

#[test]
fn nonsense_is_counted_and_ignored() {
    let mut rig = with(&[0, 1]);
    let before = rig.engine.stats().ignored;
    assert!(rig.asked(9, 20, DEMAND).is_empty());
    assert!(rig.stored(u32::MAX, peer(1)).is_empty());
    let wrong_size = Subscription { stripes: StripeSet(1), of: 1, have: BlockSet::new(19) };
    let wrong_stripes = Subscription { stripes: StripeSet(1), of: 3, have: BlockSet::new(20) };
    for subscription in [wrong_size, wrong_stripes] {
        assert!(rig.input(Input::Subscribed { child: VmId(9), subscription }).is_empty());
    }
    assert!(rig.edges(&[]).is_empty());
    assert_eq!(rig.engine.stats().ignored - before, 5);
}
