//! Every state of a block against everything that can happen to it: one table, kept beside this file.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::rig::{DEMAND, Rig, peer, source};
use crate::block::BlockIndex;
use crate::epoch::Epoch;
use crate::relay::{Ask, Class, Edges, Input, Limits, Mode, Rejection, Source, StripeEdges};
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
    let edges = Edges { epoch: Epoch::first(9), vms: 0, stripes: Vec::from([root.clone(), root]) };
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
        ("this VM becomes the root", Input::Edges(edges)),
    ])
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
