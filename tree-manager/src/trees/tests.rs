//! Random histories of one tree against simulated workers, which believe what they are told.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ft_core::{Digest, Epoch, VmId};
use ft_proto::v1::{self, ContainerState};
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::*;
use crate::functions::Functions;
use crate::pool::Endpoint;
use crate::refusal::Refusal;
use crate::state::record::{FunctionKey, FunctionRecord};
use crate::wire;

fn function() -> Arc<Function> {
    let key = FunctionKey { tenant: "default".into(), name: "py".into(), version: 1 };
    let record = FunctionRecord {
        image: Digest::of(b""),
        packs: Vec::new(),
        origin: String::new(),
        source: String::new(),
        image_bytes: 0,
        stored_bytes: 0,
        blocks: 0,
        created_unix_us: 0,
    };
    Functions::restore(Vec::new(), Vec::new()).insert(key, record)
}

fn id(number: u64) -> ContainerId {
    ContainerId { term: 1, number }
}

fn report(state: ContainerState) -> Stage {
    Stage::reported(v1::ContainerReport { state: state.into(), ..v1::ContainerReport::default() })
}

/// Places everything on one VM, or nothing.
struct Onto {
    vm: Option<VmId>,
    next: Cell<u64>,
}

impl Placer for Onto {
    fn place(
        &self,
        container: &Container,
        _own: &BTreeMap<VmId, u32>,
    ) -> Result<(ContainerId, VmId), Refusal> {
        let vm = self.vm.ok_or_else(|| Refusal::NoCapacity("none".into()))?;
        container.function.begin_use(1)?;
        Ok((id(self.next.replace(self.next.get() + 1)), vm))
    }
}

fn nowhere() -> Onto {
    Onto { vm: None, next: Cell::new(0) }
}

/// A tree and the workers of its VMs.
struct World {
    tree: ManagedTree,
    function: Arc<Function>,
    /// What each worker follows.
    follows: BTreeMap<VmId, v1::FollowImage>,
    /// What each worker runs.
    runs: BTreeMap<VmId, BTreeSet<ContainerId>>,
    next: u64,
}

impl World {
    fn new(shape: v1::TreeShape) -> Self {
        let key = TreeKey { tenant: "default".into(), image: Digest::of(b"") };
        let distribution = Distribution { mode: 1, shape: shape.into() };
        Self {
            tree: ManagedTree::new(key, String::new(), distribution, Epoch::first(1), Arc::default()),
            function: function(),
            follows: BTreeMap::new(),
            runs: BTreeMap::new(),
            next: 1,
        }
    }

    fn place(&mut self, vms: &[VmId]) -> Vec<ContainerId> {
        let places: Vec<_> = vms.iter().zip(self.next..).map(|(vm, number)| (id(number), *vm)).collect();
        self.next += vms.len() as u64;
        self.function.begin_use(u32::try_from(vms.len()).unwrap()).unwrap();
        self.tree.reserve(&places, &self.function, &Arc::default(), "", Now::read());
        let ids: Vec<_> = places.iter().map(|(id, _)| *id).collect();
        let effects = self.tree.begin(&ids, Now::read());
        self.deliver(effects);
        ids
    }

    /// Workers hear what they are to be told, and do it at once; until nothing is left.
    fn deliver(&mut self, mut effects: Effects) {
        for vm in std::mem::take(&mut effects.images) {
            match self.tree.image_command(vm, None, |_| {
                Some(Endpoint::new(([127, 0, 0, 1], 1).into(), &v1::Registration::default()))
            }) {
                ImageCommand::Follow(follow) => {
                    let before = self.follows.insert(vm, follow.clone());
                    if let Some(before) = before {
                        assert!(
                            wire::parse_epoch(follow.epoch.unwrap())
                                > wire::parse_epoch(before.epoch.unwrap())
                        );
                        let what = |follow: &v1::FollowImage| (follow.stripes.clone(), follow.vms);
                        assert_ne!(what(&before), what(&follow), "{vm} was told what it knew");
                    }
                    self.tree.followed(vm, Now::read());
                }
                ImageCommand::Leave(_) => drop(self.follows.remove(&vm)),
                ImageCommand::Nothing => {}
            }
        }
        for (vm, container) in std::mem::take(&mut effects.containers) {
            match self.tree.container_command(container) {
                ContainerCommand::Start(_) => {
                    self.runs.entry(vm).or_default().insert(container);
                    let effects =
                        self.tree.reported(vm, container, report(ContainerState::Ready), Now::read());
                    self.deliver(effects);
                }
                ContainerCommand::Stop(_) => {
                    self.runs.entry(vm).or_default().remove(&container);
                    assert_eq!(self.tree.stop_answered(vm, container, "", Now::read()), Effects::default());
                    let effects =
                        self.tree.reported(vm, container, report(ContainerState::Stopped), Now::read());
                    self.deliver(effects);
                }
                ContainerCommand::Nothing => {}
            }
        }
    }

    fn live(&self) -> Vec<(VmId, ContainerId)> {
        self.tree.live.iter().flat_map(|(vm, set)| set.iter().map(|id| (*vm, *id))).collect()
    }

    /// The VM is lost; its containers are placed again on another one.
    fn lose(&mut self, vm: VmId, onto: VmId) {
        self.follows.remove(&vm);
        self.runs.remove(&vm);
        let onto = Onto { vm: (onto != vm).then_some(onto), next: Cell::new(self.next) };
        let effects = self.tree.lose(vm, "lost", &onto, Now::read());
        self.replaced(&onto, effects);
    }

    /// The worker comes back with nothing; its containers are placed again there.
    fn restart(&mut self, vm: VmId) {
        self.follows.remove(&vm);
        self.runs.remove(&vm);
        let onto = Onto { vm: Some(vm), next: Cell::new(self.next) };
        let effects = self.tree.registered(vm, &Observed::default(), &onto, Now::read());
        self.replaced(&onto, effects);
    }

    fn replaced(&mut self, onto: &Onto, mut effects: Effects) {
        self.next = onto.next.get();
        let replaced: Vec<_> = std::mem::take(&mut effects.replaced).iter().map(|new| new.id).collect();
        self.deliver(effects);
        let effects = self.tree.begin(&replaced, Now::read());
        self.deliver(effects);
    }

    fn reconnect(&mut self, vm: VmId, moved: bool) {
        let observed = Observed {
            containers: self
                .runs
                .get(&vm)
                .into_iter()
                .flatten()
                .map(|id| (*id, ContainerState::Ready))
                .collect(),
            follows: self.follows.get(&vm).and_then(|follow| follow.epoch).map(wire::parse_epoch),
            moved,
        };
        if moved {
            // Its neighbours hear the same edges again, with another address.
            self.follows.clear();
        }
        let effects = self.tree.registered(vm, &observed, &nowhere(), Now::read());
        self.deliver(effects);
    }

    /// Every worker follows the edges that the tree has, nobody else follows any, and a VM is in the tree
    /// exactly while it has a container.
    fn check(&self) {
        let members: BTreeSet<VmId> = self.tree.tree.vms().collect();
        assert_eq!(members, self.tree.live.keys().copied().collect());
        for vm in &members {
            let Some(follow) = self.follows.get(vm) else { continue };
            let name = |vm: Option<VmId>| vm.map(|vm| vm.to_string()).unwrap_or_default();
            for (view, told) in edges::view_of(self.tree.tree.as_ref(), *vm).iter().zip(&follow.stripes) {
                assert_eq!(told.parent, name(view.parent), "{vm}");
                assert_eq!(told.grandparent, name(view.grandparent), "{vm}");
                assert_eq!(told.children, view.children.iter().map(ToString::to_string).collect::<Vec<_>>());
            }
        }
        assert!(self.follows.keys().all(|vm| members.contains(vm)));
        let running: BTreeSet<_> =
            self.runs.iter().flat_map(|(vm, set)| set.iter().map(|id| (*vm, *id))).collect();
        assert_eq!(running, self.live().into_iter().collect());
    }
}

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
