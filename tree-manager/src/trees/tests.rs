//! Random histories of one tree.

use std::sync::Arc;

use ft_core::VmId;
use ft_proto::v1::{self, ContainerState};
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::*;

mod world;

use world::{World, id, nowhere, report};

#[derive(Clone, Debug)]
enum Step {
    Place(Vec<u64>),
    Reclaim(usize),
    End(usize),
    Lose(u64, u64),
    Restart(u64),
    Slow(u64, bool),
    Reconnect(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let vm = 1..20u64;
    prop_oneof![
        3 => proptest::collection::vec(vm.clone(), 1..8).prop_map(Step::Place),
        2 => any::<usize>().prop_map(Step::Reclaim),
        1 => any::<usize>().prop_map(Step::End),
        1 => (vm.clone(), vm.clone()).prop_map(|(vm, onto)| Step::Lose(vm, onto)),
        1 => vm.clone().prop_map(Step::Restart),
        2 => (vm.clone(), any::<bool>()).prop_map(|(vm, slow)| Step::Slow(vm, slow)),
        1 => vm.prop_map(Step::Reconnect),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn workers_always_know_their_edges(avl: bool, steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new(if avl { v1::TreeShape::Avl } else { v1::TreeShape::Paired });
        for step in steps {
            let live = world.live();
            match step {
                Step::Place(vms) => drop(world.place(&vms.into_iter().map(VmId).collect::<Vec<_>>())),
                Step::Reclaim(nth) if !live.is_empty() => {
                    let effects = world.tree.reclaim(&[live[nth % live.len()].1], "reclaimed", Now::read());
                    world.deliver(effects);
                }
                Step::End(nth) if !live.is_empty() => {
                    let (vm, container) = live[nth % live.len()];
                    world.runs.entry(vm).or_default().remove(&container);
                    let effects = world.tree.reported(vm, container, report(ContainerState::Failed), Now::read());
                    world.deliver(effects);
                }
                Step::Reclaim(_) | Step::End(_) => {}
                Step::Lose(vm, onto) => world.lose(VmId(vm), VmId(onto)),
                Step::Restart(vm) => world.restart(VmId(vm)),
                Step::Slow(vm, slow) => {
                    let effects = world.tree.set_slow(VmId(vm), slow);
                    world.deliver(effects);
                }
                Step::Reconnect(vm) => world.reconnect(VmId(vm), false),
            }
            world.check();
        }
        prop_assert_eq!(world.function.describe().containers as usize, world.live().len());
    }
}

#[test]
fn a_moved_vm_changes_its_neighbours_edges() {
    let mut world = World::new(v1::TreeShape::Paired);
    world.place(&[VmId(1), VmId(2), VmId(3)]);
    let before = world.tree.epoch();
    world.reconnect(VmId(2), true);
    assert!(world.tree.epoch() > before);
    assert_eq!(world.follows.len(), 3, "all three see edges with VM 2");
    world.check();
}

#[test]
fn after_a_restart_the_tree_waits_for_everyone() {
    let mut world = World::new(v1::TreeShape::Paired);
    let record = |vm| ContainerRecord {
        function: world.function.key.clone(),
        vm,
        spec: ContainerSpec::default(),
        distribution: Distribution { mode: 1, shape: 2 },
        idempotency_key: String::new(),
        replaces: None,
        attempt: 0,
        placed_unix_us: 0,
    };
    for vm in 1..=3 {
        world.tree.restore(id(vm), &record(vm), &world.function, Now::read());
    }
    let observed =
        |vm| Observed { containers: [(id(vm), ContainerState::Ready)].into(), ..Observed::default() };
    for vm in 1..=2 {
        let effects = world.tree.registered(VmId(vm), &observed(vm), &nowhere(), Now::read());
        assert_eq!(effects, Effects::default(), "vm-{vm} keeps its edges");
    }
    let effects = world.tree.lose(VmId(3), "gone", &nowhere(), Now::read());
    assert_eq!(effects.images, [VmId(1), VmId(2)].into(), "those who are left get a tree without it");
    assert_eq!(world.tree.tree.len(), 2);
}

#[test]
fn states_only_go_forward_and_end_once() {
    let mut world = World::new(v1::TreeShape::Avl);
    let (watcher, mut events) = mpsc::unbounded_channel();
    let container = world.place(&[VmId(1)])[0];
    world.tree.watch(container, &watcher);
    drop(watcher);
    for state in
        [ContainerState::Started, ContainerState::Stopped, ContainerState::Failed, ContainerState::Ready]
    {
        world.tree.reported(VmId(1), container, report(state), Now::read());
    }
    let mut seen = Vec::new();
    while let Ok(event) = events.try_recv() {
        seen.push(event.state());
    }
    let expected =
        [ContainerState::Placed, ContainerState::Joined, ContainerState::Ready, ContainerState::Stopped];
    assert_eq!(seen, expected, "started comes too late, and after the end nothing comes");
    assert!(events.is_closed(), "nobody holds a watcher of a container that has ended");
}

#[test]
fn a_container_whose_vm_is_lost_before_it_is_durable_never_begins() {
    let mut world = World::new(v1::TreeShape::Avl);
    world.function.begin_use(1).unwrap();
    world.tree.reserve(&[(id(1), VmId(1))], &world.function, &Arc::default(), "", Now::read());
    let effects = world.tree.lose(VmId(1), "lost", &nowhere(), Now::read());
    assert_eq!(effects.ended, [(VmId(1), id(1))]);
    assert_eq!(world.tree.begin(&[id(1)], Now::read()), Effects::default());
    assert_eq!(world.tree.container(id(1)).unwrap().state(), ContainerState::Failed);
    world.check();
}

#[test]
fn a_worker_cannot_speak_for_anothers_container() {
    let mut world = World::new(v1::TreeShape::Avl);
    let container = world.place(&[VmId(1)])[0];
    let effects = world.tree.reported(VmId(2), container, report(ContainerState::Started), Now::read());
    assert_eq!(effects.strays, [(VmId(2), container)].into());
    let effects = world.tree.reported(VmId(2), container, report(ContainerState::Failed), Now::read());
    assert_eq!(effects, Effects::default());
    assert_eq!(world.tree.container(container).unwrap().state(), ContainerState::Ready);
}

#[test]
fn only_so_many_ended_containers_are_remembered() {
    let mut world = World::new(v1::TreeShape::Avl);
    let mut forgotten = Vec::new();
    for _ in 0..=ENDED_KEPT {
        let container = world.place(&[VmId(1)])[0];
        let effects = world.tree.reported(VmId(1), container, report(ContainerState::Stopped), Now::read());
        forgotten.extend(effects.forgotten.clone());
        world.deliver(effects);
    }
    assert_eq!(forgotten, [id(1)]);
    assert_eq!(world.tree.containers().count(), ENDED_KEPT);
}
