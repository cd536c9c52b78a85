//! Every state of a block against everything that can happen to it: one table, kept beside this file.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::rig::{DEMAND, Rig, peer, source, without_trials};
use crate::block::BlockIndex;
use crate::epoch::Epoch;
use crate::relay::{
    Ask, BlockSet, Class, Edges, Input, Limits, Mode, Rejection, Source, StripeEdges, StripeSet, Subscription,
};
use crate::vm::VmId;

/// The block in question: even, so of stripe 0, and data, so that in lazy mode it comes only if asked for.
const BLOCK: u32 = 4;
const CHILD: u64 = 9;

/// Stripe 0: parent 1, grandparent 2; stripe 1: parent 3, grandparent 4. VM 9 is subscribed.
fn rig() -> Rig {
    let mut rig = Rig::new(Mode::Lazy).placed(&[(Some(1), Some(2)), (Some(3), Some(4))]).with_metadata();
    rig.subscribed(CHILD, &[0, 1]);
    rig
}

fn in_flight() -> Rig {
    let mut rig = rig();
    rig.demand(BLOCK);
    rig
}

fn states() -> Vec<(&'static str, Rig)> {
    let mut queued = Rig::new(Mode::Lazy).placed(&[(None, None)]).with_metadata();
    queued.subscribed(CHILD, &[0, 1]);
    queued.edges(&[(Some(1), Some(2)), (Some(3), Some(4))]);
    queued.input(Input::PeerUp(VmId(3)));
    queued.demand(BLOCK);
    let mut for_child = rig();
    for_child.asked(CHILD, BLOCK, DEMAND);
    let mut stored = rig();
    stored.stored(BLOCK, peer(1));
    stored.sent(CHILD, BLOCK);
    let mut parked = in_flight();
    for from in [peer(1), peer(3)] {
        parked.rejected(BLOCK, from, Rejection::NotHere);
    }
    parked.input(Input::PeerDown(VmId(2)));
    parked.rejected(BLOCK, Source::Origin, Rejection::Failed);
    let mut expected = rig();
    expected.input(Input::Expect { blocks: Vec::from([BlockIndex(BLOCK)]) });
    let mut left = rig();
    left.asked(CHILD, BLOCK, DEMAND);
    left.input(Input::ChildDown(VmId(CHILD)));
    let mut race = in_flight();
    race.wait(1_000);
    let mut race_queued = in_flight();
    race_queued.wait(1_000);
    race_queued.rejected(BLOCK, peer(3), Rejection::NotHere);
    let mut last = in_flight();
    last.wait(1_000);
    last.rejected(BLOCK, peer(3), Rejection::NotHere);
    last.input(Input::PeerDown(VmId(2)));
    Vec::from([
        ("absent", rig()),
        ("queued for a reader", queued),
        ("waiting for the origin's budget", waiting_for_budget()),
        ("in flight for a reader", in_flight()),
        ("in flight for a child", for_child),
        ("in flight, expected", expected),
        ("in flight, and nobody wants it any more", left),
        ("in flight, to see if the feeder has it", on_trial()),
        ("in flight, to compare with the feeder", in_a_probe()),
        ("in flight, as nobody pushes it", pulled()),
        ("in flight from who has nothing else to give", in_help()),
        ("in a race", race),
        ("in a race, the second source not asked yet", race_queued),
        ("in a race with the last source", last),
        ("stored", stored),
        ("parked", parked),
    ])
}

/// In full mode, the parent has pushed nothing of stripe 0 for a moment.
fn on_trial() -> Rig {
    let mut rig = Rig::new(Mode::Full).placed(&[(Some(1), Some(2)), (Some(3), Some(4))]).with_metadata();
    rig.wait(750);
    rig.subscribed(CHILD, &[0, 1]);
    rig
}

/// The feeder, which is the root, has nothing.
fn in_a_probe() -> Rig {
    let mut rig = Rig::new(Mode::Full).placed(&[(Some(1), None), (Some(3), None)]).with_metadata();
    rig.subscribed(CHILD, &[0, 1]);
    rig.wait(750);
    rig.rejected(BLOCK, peer(1), Rejection::NotHere);
    rig.wait(500);
    rig
}

/// In full mode, no parent has pushed anything for long.
fn pulled() -> Rig {
    let mut rig =
        Rig::with(Mode::Full, without_trials(), &[]).placed(&[(Some(1), Some(2)), (Some(3), Some(4))]);
    rig = rig.with_metadata();
    rig.subscribed(CHILD, &[0, 1]);
    rig.wait(2_000);
    rig
}

/// In full mode, the tree above has changed, and everything of the other stripe is here.
fn in_help() -> Rig {
    let limits = Limits { few: 2, ..without_trials() };
    let mut rig = Rig::with(Mode::Full, limits, &[0, 1]).placed(&[(Some(1), Some(5)), (Some(3), Some(4))]);
    rig.edges(&[(Some(1), Some(2)), (Some(3), Some(4))]);
    rig.subscribed(CHILD, &[0, 1]);
    for block in (3..19).step_by(2) {
        rig.stored(block, peer(3));
    }
    rig
}

/// Everybody is lost, and the budget has been spent on other blocks.
fn waiting_for_budget() -> Rig {
    let limits = Limits { origin_budget_burst: 2, origin_budget_rate: 1, ..Limits::default() };
    let mut rig = Rig::with(Mode::Lazy, limits, &[0, 1]);
    rig.subscribed(CHILD, &[0, 1]);
    let mut rig = rig.placed(&[(Some(1), None), (Some(3), None)]);
    for parent in [1, 3] {
        rig.input(Input::PeerDown(VmId(parent)));
    }
    for block in [6, 8, BLOCK] {
        rig.demand(block);
    }
    rig
}

fn events() -> Vec<(&'static str, Input)> {
    let block = BlockIndex(BLOCK);
    let child = VmId(CHILD);
    let rejected = |from, why| Input::Rejected { block, from, why };
    let asked = |ask| Input::Asked { child, block, ask };
    let root = StripeEdges::default();
    let edges = |stripes| Input::Edges(Edges { epoch: Epoch::first(9), vms: 0, stripes: Vec::from(stripes) });
    let below = |parent| StripeEdges { parent: Some(VmId(parent)), ..StripeEdges::default() };
    let subscription = Subscription { have: BlockSet::new(20), stripes: StripeSet(0b11), of: 2 };
    Vec::from([
        ("a reader demands it", Input::Demand { block }),
        ("readers are expected", Input::Expect { blocks: Vec::from([block]) }),
        ("the profile names it", Input::Profile { blocks: Vec::from([block]) }),
        ("a child asks", asked(DEMAND)),
        ("a child asks, less urgently", asked(Ask { class: Class::Rest, ..DEMAND })),
        ("a child asks if it is there", asked(Ask { may_fetch: false, ..DEMAND })),
        ("a child asks again", asked(Ask { again: true, ..DEMAND })),
        ("the parent asks", Input::Asked { child: VmId(1), block, ask: DEMAND }),
        ("a child has it", Input::Has { child, block }),
        ("it comes from the parent", Input::Stored { block, from: peer(1) }),
        ("it comes from elsewhere", Input::Stored { block, from: peer(3) }),
        ("the parent does not have it", rejected(peer(1), Rejection::NotHere)),
        ("it comes damaged", rejected(peer(1), Rejection::Corrupt)),
        ("the parent fails", rejected(peer(1), Rejection::Failed)),
        ("another does not have it", rejected(peer(3), Rejection::NotHere)),
        ("the origin gives it", Input::Stored { block, from: Source::Origin }),
        ("the origin fails", rejected(Source::Origin, Rejection::Failed)),
        ("it is dropped", Input::Dropped { block }),
        ("it is sent", Input::Sent { child, block }),
        ("the parent is lost", Input::PeerDown(VmId(1))),
        ("the parent is up", Input::PeerUp(VmId(1))),
        ("another is lost", Input::PeerDown(VmId(3))),
        ("the grandparent is up", Input::PeerUp(VmId(2))),
        ("the child is lost", Input::ChildDown(child)),
        ("the child wants no pushes", Input::Unsubscribed { child }),
        ("it is late at the parent", rejected(peer(1), Rejection::Late)),
        ("it comes damaged from another", rejected(peer(3), Rejection::Corrupt)),
        ("another fails", rejected(peer(3), Rejection::Failed)),
        ("the child subscribes anew", Input::Subscribed { child, subscription }),
        ("this VM becomes the root", edges([root.clone(), root])),
        ("it gets another parent", edges([below(7), below(3)])),
    ])
}

/// The kinds of inputs, and of rejections: this is the last one that is not the passing of time. A new one has to have its number.
const LAST_KIND: usize = 17;

fn kind(input: &Input) -> usize {
    match input {
        Input::Edges(_) => 0,
        Input::PeerUp(_) => 1,
        Input::PeerDown(_) => 2,
        Input::ChildDown(_) => 3,
        Input::Subscribed { .. } => 4,
        Input::Unsubscribed { .. } => 5,
        Input::Asked { .. } => 6,
        Input::Has { .. } => 7,
        Input::Demand { .. } => 8,
        Input::Expect { .. } => 9,
        Input::Profile { .. } => 10,
        Input::Stored { .. } => 11,
        Input::Rejected { why: Rejection::NotHere, .. } => 12,
        Input::Rejected { why: Rejection::Corrupt, .. } => 13,
        Input::Rejected { why: Rejection::Failed, .. } => 14,
        Input::Rejected { why: Rejection::Late, .. } => 15,
        Input::Dropped { .. } => 16,
        Input::Sent { .. } => 17,
        // Time passes in the table.
        Input::Timeout => 18,
    }
}

#[test]
fn no_kind_of_event_is_left_out() {
    let mut kinds: Vec<usize> = events().iter().map(|(_, input)| kind(input)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, (0..=LAST_KIND).collect::<Vec<_>>());
}

enum Event {
    Input(Input),
    /// So many milliseconds, with a timeout at every deadline.
    Passes(u64),
}

fn state(rig: &Rig) -> String {
    let block = BlockIndex(BLOCK);
    let engine = &rig.engine;
    match engine.jobs.get(block) {
        _ if engine.shelf.contains(block) => "stored".into(),
        Some(job) => {
            let legs = job.legs().iter().map(|leg| {
                let how = if leg.in_flight { "in flight from" } else { "queued at" };
                format!("{how} {}", source(leg.source))
            });
            legs.collect::<Vec<_>>().join(", ")
        }
        None if engine.wants.is_parked(block) => "parked".into(),
        None => "absent".into(),
    }
}

#[test]
fn every_state_of_a_block_against_every_event() {
    let mut table = String::new();
    for nth in 0..states().len() {
        let passes = [("a second passes", 1_000), ("ten seconds pass", 10_000)];
        let passes = passes.map(|(name, millis)| (name, Event::Passes(millis)));
        let inputs = events().into_iter().map(|(name, input)| (name, Event::Input(input)));
        for (event, input) in inputs.chain(passes) {
            let (name, mut rig) = states().swap_remove(nth);
            if event == "a reader demands it" {
                table += &format!("\n{name} ({})\n", state(&rig));
            }
            let said = match input {
                Event::Input(input) => rig.input(input),
                Event::Passes(millis) => rig.wait(millis),
            };
            let said = if said.is_empty() { String::new() } else { format!("; {}", said.join("; ")) };
            table += &format!("  {event}: {}{said}\n", state(&rig));
        }
    }
    let expected = include_str!("block_states.txt");
    for (found, expected) in table.lines().zip(expected.lines()) {
        assert_eq!(found, expected, "\nthe whole table is now:\n{table}");
    }
    assert_eq!(table.lines().count(), expected.lines().count(), "\nthe whole table is now:\n{table}");
}
