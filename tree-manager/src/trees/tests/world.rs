//! A tree and simulated workers, which believe what they are told.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ft_core::{Digest, Epoch, VmId};
use ft_proto::v1::{self, ContainerState};

use super::super::*;
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

pub(super) fn id(number: u64) -> ContainerId {
    ContainerId { term: 1, number }
}

pub(super) fn report(state: ContainerState) -> Stage {
    Stage::reported(v1::ContainerReport { state: state.into(), ..v1::ContainerReport::default() })
}

/// Places everything on one VM, or nothing.
pub(super) struct Onto {
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

pub(super) fn nowhere() -> Onto {
    Onto { vm: None, next: Cell::new(0) }
}

/// A tree and the workers of its VMs.
pub(super) struct World {
    pub(super) tree: ManagedTree,
    pub(super) function: Arc<Function>,
    /// What each worker follows.
    pub(super) follows: BTreeMap<VmId, v1::FollowImage>,
    /// What each worker runs.
    pub(super) runs: BTreeMap<VmId, BTreeSet<ContainerId>>,
    next: u64,
}

impl World {
    pub(super) fn new(shape: v1::TreeShape) -> Self {
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

    pub(super) fn place(&mut self, vms: &[VmId]) -> Vec<ContainerId> {
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
    pub(super) fn deliver(&mut self, mut effects: Effects) {
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

    pub(super) fn live(&self) -> Vec<(VmId, ContainerId)> {
        self.tree.live.iter().flat_map(|(vm, set)| set.iter().map(|id| (*vm, *id))).collect()
    }

    /// The VM is lost; its containers are placed again on another one.
    pub(super) fn lose(&mut self, vm: VmId, onto: VmId) {
        self.follows.remove(&vm);
        self.runs.remove(&vm);
        let onto = Onto { vm: (onto != vm).then_some(onto), next: Cell::new(self.next) };
        let effects = self.tree.lose(vm, "lost", &onto, Now::read());
        self.replaced(&onto, effects);
    }

    /// The worker comes back with nothing; its containers are placed again there.
    pub(super) fn restart(&mut self, vm: VmId) {
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

    pub(super) fn reconnect(&mut self, vm: VmId, moved: bool) {
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
    pub(super) fn check(&self) {
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
