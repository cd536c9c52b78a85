//! Every state of a session with a source against everything that can happen to it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::rig::{Rig, peer};
use crate::block::BlockIndex;
use crate::clock::Duration;
use crate::relay::links::State;
use crate::relay::{Input, Limits, Mode, Rejection};
use crate::vm::VmId;

/// The peer in question: the parent, except where a state says otherwise.
const PEER: VmId = VmId(1);
const STAYS: &[(Option<u64>, Option<u64>)] = &[(Some(1), Some(2))];
const MOVES: &[(Option<u64>, Option<u64>)] = &[(Some(5), Some(6))];

fn connecting() -> Rig {
    let mut rig = Rig::new(Mode::Lazy);
    rig.edges(STAYS);
    rig
}

fn up() -> Rig {
    Rig::new(Mode::Lazy).placed(STAYS).with_metadata()
}

fn race_with_the_grandparent() -> Rig {
    let mut rig = up();
    rig.demand(4);
    rig.wait(1_000);
    rig.input(Input::PeerUp(VmId(2)));
    rig
}

/// In full mode, it has pushed nothing for a moment.
fn on_trial() -> Rig {
    let stored: Vec<u32> = [0, 1, 3].into_iter().chain(5..19).collect();
    let limits = Limits { push_window: 1, ..Limits::default() };
    let mut rig = Rig::with(Mode::Full, limits, &stored).placed(STAYS);
    rig.wait(250);
    rig
}

/// It has not answered, and has lost all comparisons.
fn slow() -> Rig {
    let mut rig = on_trial();
    rig.wait(1_000);
    rig.input(Input::PeerUp(VmId(2)));
    rig.stored(2, peer(2));
    let (took, limits) = (Duration::from_millis(20), Limits::default());
    while !rig.engine.services.standing_mut(PEER).lost_comparison(took, &limits, rig.now) {}
    rig.engine.note_slow(PEER);
    rig.input(Input::Timeout);
    rig
}

fn states() -> Vec<(&'static str, Rig)> {
    let mut down = up();
    down.input(Input::PeerDown(PEER));
    let mut again = up();
    again.input(Input::PeerDown(PEER));
    again.wait(250);
    let mut asked = up();
    asked.demand(4);
    let mut old = up();
    old.edges(MOVES);
    let mut old_asked = up();
    old_asked.demand(4);
    old_asked.edges(MOVES);
    old_asked.input(Input::PeerUp(VmId(5)));
    let mut race = up();
    race.demand(4);
    race.wait(1_000);
    let mut second = race_with_the_grandparent();
    second.input(Input::PeerDown(VmId(1)));
    Vec::from([
        ("none", Rig::new(Mode::Lazy)),
        ("connecting", connecting()),
        ("up", up()),
        ("up, a block in flight", asked),
        ("up, overdue with a block, the grandparent's session being made", race),
        ("up, a block in a race with the grandparent", race_with_the_grandparent()),
        ("up, asked whether it has a block", on_trial()),
        ("up, slow", slow()),
        ("up, the tree names another parent that is not up", old),
        ("up, the tree names another parent, a block in flight", old_asked),
        ("down, a block in flight from the grandparent", second),
        ("down", down),
        ("connecting again", again),
    ])
}

enum Event {
    Edges(&'static [(Option<u64>, Option<u64>)]),
    Input(Input),
    Passes(u64),
}

fn events() -> Vec<(&'static str, Event)> {
    let stored = Input::Stored { block: BlockIndex(4), from: peer(1) };
    let rejected = |why| Event::Input(Input::Rejected { block: BlockIndex(4), from: peer(1), why });
    Vec::from([
        ("the tree names it", Event::Edges(STAYS)),
        ("the tree names another", Event::Edges(MOVES)),
        ("it is up", Event::Input(Input::PeerUp(PEER))),
        ("it is down", Event::Input(Input::PeerDown(PEER))),
        ("the new parent is up", Event::Input(Input::PeerUp(VmId(5)))),
        ("it delivers the block", Event::Input(stored)),
        ("it does not have the block", rejected(Rejection::NotHere)),
        ("the block comes damaged", rejected(Rejection::Corrupt)),
        ("it fails to deliver the block", rejected(Rejection::Failed)),
        ("the block comes too late", rejected(Rejection::Late)),
        ("a reader demands another block", Event::Input(Input::Demand { block: BlockIndex(6) })),
        ("250 ms pass", Event::Passes(250)),
        ("1 s passes", Event::Passes(1_000)),
        ("3 s pass", Event::Passes(3_000)),
        ("10 s pass", Event::Passes(10_000)),
    ])
}

fn state(rig: &Rig) -> &'static str {
    match (rig.engine.links.state(PEER), rig.engine.links.is_lost(PEER)) {
        (None, _) => "none",
        (Some(State::Connecting), false) => "connecting",
        (Some(State::Connecting), true) => "connecting again",
        (Some(State::Up), _) if rig.engine.is_slow(peer(PEER.0)) => "up, slow",
        (Some(State::Up), _) => "up",
        (Some(State::Down), _) => "down",
    }
}

#[test]
fn every_state_of_a_session_against_every_event() {
    let mut table = String::new();
    for nth in 0..states().len() {
        table += &format!("\n{}\n", states()[nth].0);
        for (name, event) in events() {
            let (_, mut rig) = states().swap_remove(nth);
            let said = match event {
                Event::Edges(stripes) => rig.edges(stripes),
                Event::Input(input) => rig.input(input),
                Event::Passes(millis) => rig.wait(millis),
            };
            let said = if said.is_empty() { String::new() } else { format!("; {}", said.join("; ")) };
            table += &format!("  {name}: {}{said}\n", state(&rig));
        }
    }
    let expected = include_str!("session_states.txt");
    for (found, expected) in table.lines().zip(expected.lines()) {
        assert_eq!(found, expected, "\nthe whole table is now:\n{table}");
    }
    assert_eq!(table.lines().count(), expected.lines().count(), "\nthe whole table is now:\n{table}");
}
