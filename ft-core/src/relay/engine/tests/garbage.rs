//! Whatever is said to the engine in whatever order, it keeps its word.

use alloc::collections::BTreeMap;
use alloc::vec;

use proptest::prelude::*;

use super::rig::Rig;
use crate::block::BlockIndex;
use crate::clock::Duration;
use crate::epoch::Epoch;
use crate::relay::timer::Timer;
use crate::relay::{
    Ask, BlockSet, Class, Edges, Input, Limits, Mode, Output, Rejection, Source, StripeEdges, StripeSet,
    Subscription,
};
use crate::vm::VmId;

fn vm() -> impl Strategy<Value = VmId> {
    (0u64..6).prop_map(VmId)
}

/// Mostly of the image (20 blocks), at times past its end.
fn block() -> impl Strategy<Value = BlockIndex> {
    (0u32..22).prop_map(BlockIndex)
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![Just(Source::Origin), vm().prop_map(Source::Peer)]
}

fn class() -> impl Strategy<Value = Class> {
    prop_oneof![Just(Class::Demand), Just(Class::Metadata), Just(Class::Profile), Just(Class::Rest)]
}

fn edges() -> impl Strategy<Value = Input> {
    let stripe = (proptest::option::of(vm()), proptest::option::of(vm()));
    let stripes = proptest::collection::vec(stripe, 0..4);
    (0u64..50, 0u32..9, stripes).prop_map(|(counter, vms, stripes)| {
        let stripes = stripes.into_iter();
        let stripes =
            stripes.map(|(parent, grandparent)| StripeEdges { parent, grandparent, ..Default::default() });
        Input::Edges(Edges { epoch: Epoch { term: 1, counter }, vms, stripes: stripes.collect() })
    })
}

fn subscribed() -> impl Strategy<Value = Input> {
    (vm(), 0u8..8, 0u8..4, proptest::collection::vec(block(), 0..20)).prop_map(
        |(child, stripes, of, have)| {
            let mut set = BlockSet::new(20);
            for block in have {
                set.insert(block);
            }
            Input::Subscribed {
                child,
                subscription: Subscription { stripes: StripeSet(stripes), of, have: set },
            }
        },
    )
}

fn rejection() -> impl Strategy<Value = Rejection> {
    prop_oneof![
        Just(Rejection::NotHere),
        Just(Rejection::Corrupt),
        Just(Rejection::Failed),
        Just(Rejection::Late)
    ]
}

fn input() -> impl Strategy<Value = Input> {
    let ask = (class(), any::<bool>(), any::<bool>());
    let ask = ask.prop_map(|(class, may_fetch, again)| Ask { class, may_fetch, again });
    prop_oneof![
        1 => edges(),
        2 => vm().prop_map(Input::PeerUp),
        1 => vm().prop_map(Input::PeerDown),
        1 => vm().prop_map(Input::ChildDown),
        1 => subscribed(),
        1 => vm().prop_map(|child| Input::Unsubscribed { child }),
        6 => (vm(), block(), ask).prop_map(|(child, block, ask)| Input::Asked { child, block, ask }),
        1 => (vm(), block()).prop_map(|(child, block)| Input::Has { child, block }),
        4 => block().prop_map(|block| Input::Demand { block }),
        6 => (block(), source()).prop_map(|(block, from)| Input::Stored { block, from }),
        4 => (block(), source(), rejection())
            .prop_map(|(block, from, why)| Input::Rejected { block, from, why }),
        1 => proptest::collection::vec(block(), 0..8).prop_map(|blocks| Input::Expect { blocks }),
        1 => proptest::collection::vec(block(), 0..12).prop_map(|blocks| Input::Profile { blocks }),
        2 => block().prop_map(|block| Input::Dropped { block }),
        4 => (vm(), block()).prop_map(|(child, block)| Input::Sent { child, block }),
        2 => Just(Input::Timeout),
    ]
}

/// Checks what must hold whenever the engine has been polled.
fn check(rig: &Rig) {
    let engine = &rig.engine;
    for block in (0..20).map(BlockIndex) {
        let Some(job) = engine.jobs.get(block) else { continue };
        assert!(!engine.shelf.contains(block), "{block} is here and being got");
        assert!(!job.legs().is_empty(), "{block} has no source");
        let racing = job.legs().len() == 2;
        assert!(job.legs().len() <= 2 && (!racing || job.class() == Class::Demand), "{block} is raced");
        let queued = job.leg(Source::Origin).is_some_and(|leg| !leg.in_flight);
        let woken = engine.timers.is_set(Timer::Budget) || engine.jobs.in_flight(Source::Origin) > 0;
        assert!(!queued || woken, "{block} waits for the origin for ever");
        let timed = engine.timers.is_set(Timer::Fetch(block));
        assert!(timed || !job.is_in_flight(), "{block}: a timer runs while it is in flight");
        for waiter in &job.waiters {
            let waits = engine.children.get(waiter).is_some_and(|child| child.waiting().any(|w| w == block));
            assert!(waits, "{waiter} does not know that it waits for {block}");
        }
        let wanted = job.is_awaited() || engine.wants.wants(block);
        assert!(wanted || job.is_in_flight(), "nobody wants {block}");
    }
    let limits = &engine.config.limits;
    let share = u64::from(limits.origin_budget_rate) * rig.now.as_nanos() / 1_000_000_000;
    let budget = u64::from(limits.origin_budget_burst) + share;
    assert!(engine.stats().budgeted <= budget, "more than the origin's budget");
    for (vm, child) in &engine.children {
        for block in child.waiting() {
            let known = engine.jobs.get(block).is_some_and(|job| job.waiters.contains(vm));
            assert!(known, "{vm} waits for {block} in vain");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn the_engine_keeps_its_word(
        full in any::<bool>(),
        steps in proptest::collection::vec((input(), 0u64..900), 1..200),
    ) {
        let mode = if full { Mode::Full } else { Mode::Lazy };
        let limits = Limits { push_window: 2, demand_window: 2, requests_per_source: 3, asks_per_child: 5, origin_budget_rate: 2, origin_budget_burst: 3, ..Limits::default() };
        let mut rig = Rig::with(mode, limits, &[]);
        let mut in_hand: BTreeMap<(VmId, BlockIndex), u32> = BTreeMap::new();
        for (input, pause) in steps {
            rig.now += Duration::from_millis(pause);
            match input {
                Input::Sent { child, block } => {
                    // By any of its indices.
                    let block = rig.engine.catalog.canonical(block).unwrap_or(block);
                    in_hand.remove(&(child, block));
                }
                Input::ChildDown(child) => in_hand.retain(|(to, _), _| *to != child),
                // A block that is dropped and back may be in hand twice.
                Input::Dropped { .. } => in_hand.clear(),
                _ => {}
            }
            rig.engine.handle(rig.now, input);
            while let Some(output) = rig.engine.poll() {
                match output {
                    Output::Send { child, block, .. } => {
                        assert!(rig.engine.stored().contains(block), "sends {block}, which is not here");
                        let twice = in_hand.insert((child, block), 1);
                        assert_eq!(twice, None, "sends {block} to {child} twice");
                    }
                    Output::Fetch { from, blocks, .. } => {
                        assert!(!blocks.is_empty() && (from != Source::Origin || blocks.is_sorted()));
                        assert!(blocks.iter().all(|block| !rig.engine.stored().contains(*block)));
                    }
                    _ => {}
                }
            }
            check(&rig);
            assert!(rig.engine.deadline().is_none_or(|at| at > rig.now), "a deadline in the past");
        }
    }
}
