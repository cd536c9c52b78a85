//! One function tree, and the containers that need it: what should be, and what workers last said.
//!
//! A [`ManagedTree`] does no IO. Every operation returns [`Effects`]: whose worker has something to be told.
//! What exactly, is worked out when the command is sent ([`ManagedTree::image_command`],
//! [`ManagedTree::container_command`]), so that a worker which was away or slow hears only the latest.
//!
//! **Invariant:** a VM is in the tree exactly while a placed container of it has not ended (except while the
//! manager, restarted, still waits for the other workers to report).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use ft_core::tree::{self, FunctionTree, Shape};
use ft_core::{Epoch, VmId};
use ft_proto::v1;
use tokio::sync::mpsc;

use crate::functions::Function;
use crate::ids::{ContainerId, TreeKey};
use crate::slow::SlowVms;
use crate::state::record::{ContainerRecord, ContainerSpec, Distribution};
use crate::time::Now;

mod commands;
mod container;
mod edges;
mod effects;
pub(crate) mod registry;
mod replace;
mod reports;
mod show;
#[cfg(test)]
mod tests;

pub(crate) use commands::{ContainerCommand, ImageCommand};
pub(crate) use container::{Container, Stage, state_name};
use edges::Members;
pub(crate) use effects::Effects;
pub(crate) use registry::{TreeCell, Trees};
pub(crate) use replace::{Placer, Replacement};
pub(crate) use reports::Observed;

/// How many ended containers each tree remembers, for people to look at.
const ENDED_KEPT: usize = 1000;

/// A function tree with its containers.
#[derive(Debug)]
pub(crate) struct ManagedTree {
    key: TreeKey,
    origin: String,
    distribution: Distribution,
    tree: Box<dyn FunctionTree + Send>,
    members: Members,
    slow: Arc<SlowVms>,
    /// The tree's size when everyone in it was last told.
    told_size: usize,
    containers: BTreeMap<ContainerId, Container>,
    /// Containers that have not ended, by VM.
    live: BTreeMap<VmId, BTreeSet<ContainerId>>,
    /// Ended containers, the oldest first.
    ended: VecDeque<ContainerId>,
    /// After a restart: VMs that have containers and have not reported yet. The tree is built when none is
    /// left, so that workers keep their old edges until they can have all of the new ones.
    awaited: BTreeSet<VmId>,
    /// The registry has forgotten this tree: nothing may be placed in it.
    retired: bool,
}

impl ManagedTree {
    /// An empty tree whose epochs come after `epoch`.
    pub(crate) fn new(
        key: TreeKey,
        origin: String,
        distribution: Distribution,
        epoch: Epoch,
        slow: Arc<SlowVms>,
    ) -> Self {
        Self {
            key,
            origin,
            distribution,
            tree: tree::new(shape(distribution), epoch),
            members: Members::default(),
            slow,
            told_size: 0,
            containers: BTreeMap::new(),
            live: BTreeMap::new(),
            ended: VecDeque::new(),
            awaited: BTreeSet::new(),
            retired: false,
        }
    }

    /// Whether the registry has forgotten this tree. Look the key up again then.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.tree.epoch()
    }

    /// Whether no container is placed.
    pub(crate) fn is_idle(&self) -> bool {
        self.live.is_empty()
    }

    /// How many containers each VM has that have not ended.
    pub(crate) fn load(&self) -> BTreeMap<VmId, u32> {
        let count = |set: &BTreeSet<_>| u32::try_from(set.len()).unwrap_or(u32::MAX);
        self.live.iter().map(|(vm, set)| (*vm, count(set))).collect()
    }

    /// How the image is distributed. The first containers decide, until the tree is empty again.
    pub(crate) fn distribute(&mut self, wanted: Distribution, origin: &str) {
        if self.is_idle() {
            if shape(wanted) != self.tree.shape() {
                self.tree = tree::new(shape(wanted), self.tree.epoch());
            }
            self.distribution = wanted;
            origin.clone_into(&mut self.origin);
        }
    }

    /// What of these containers must not be forgotten.
    pub(crate) fn records(&self, ids: &[ContainerId]) -> Vec<(ContainerId, ContainerRecord)> {
        let known = ids.iter().filter_map(|id| self.containers.get(id));
        known.map(|container| (container.id, container.record(self.distribution))).collect()
    }

    /// Takes up containers that are not durable yet: nobody hears of them before [`begin`](Self::begin).
    pub(crate) fn reserve(
        &mut self,
        placed: &[(ContainerId, VmId)],
        function: &Arc<Function>,
        spec: &Arc<ContainerSpec>,
        idempotency_key: &str,
        now: Now,
    ) {
        let key: Arc<str> = idempotency_key.into();
        for (id, vm) in placed {
            let (function, spec, key) = (Arc::clone(function), Arc::clone(spec), Arc::clone(&key));
            self.take_in(Container::new(*id, function, *vm, spec, key, now));
        }
    }

    fn take_in(&mut self, container: Container) {
        self.live.entry(container.vm).or_default().insert(container.id);
        self.containers.insert(container.id, container);
    }

    /// Containers are durable: they are PLACED, their VMs join the tree, their start is under way.
    pub(crate) fn begin(&mut self, ids: &[ContainerId], now: Now) -> Effects {
        let mut effects = Effects::default();
        let mut joining = BTreeSet::new();
        for id in ids {
            let Some(container) = self.containers.get_mut(id).filter(|container| !container.has_ended())
            else {
                continue;
            };
            container.reach(Stage::placed(), now);
            joining.insert(container.vm);
            if self.members.has_joined(container.vm) {
                container.reach(Stage::joined(), now);
            }
            effects.containers.insert((container.vm, *id));
        }
        self.join(joining, &mut effects);
        effects
    }

    /// Containers could not be made durable.
    pub(crate) fn abandon(&mut self, ids: &[ContainerId], cause: &str, now: Now) -> Effects {
        let mut effects = Effects::default();
        for id in ids {
            self.end(*id, Stage::failed(cause), now, &mut effects);
        }
        effects
    }

    /// A container from before the manager's restart. Its VM is awaited.
    pub(crate) fn restore(
        &mut self,
        id: ContainerId,
        record: &ContainerRecord,
        function: &Arc<Function>,
        now: Now,
    ) {
        self.take_in(Container::restored(id, record, Arc::clone(function), now));
        self.awaited.insert(record.vm());
    }

    /// The containers that should stop. Those that never started end at once.
    pub(crate) fn reclaim(&mut self, ids: &[ContainerId], cause: &str, now: Now) -> Effects {
        let mut effects = Effects::default();
        for id in ids {
            let Some(container) = self.containers.get_mut(id).filter(|container| !container.has_ended())
            else {
                continue;
            };
            container.wanted = false;
            if container.is_untold() {
                self.end(*id, Stage::stopped(cause), now, &mut effects);
            } else {
                effects.containers.insert((container.vm, *id));
            }
        }
        effects
    }

    /// A VM is lost: its containers have failed and are placed again elsewhere, and it leaves the tree.
    pub(crate) fn lose(&mut self, vm: VmId, cause: &str, placer: &dyn Placer, now: Now) -> Effects {
        let mut effects = Effects::default();
        let gone: Vec<_> = self.on_vm(vm).into_iter().map(|id| (id, cause.to_owned())).collect();
        self.displace(&gone, placer, now, &mut effects);
        if self.awaited.remove(&vm) {
            self.build_when_complete(&mut effects);
        }
        effects
    }

    /// The containers of a function that are wanted, or those named; the newest first.
    pub(crate) fn wanted(&self, function: &str) -> impl Iterator<Item = ContainerId> + '_ {
        let function = function.to_owned();
        self.containers
            .values()
            .rev()
            .filter(move |container| container.wanted && !container.has_ended())
            .filter(move |container| container.function.label == function)
            .map(|container| container.id)
    }

    /// Everyone in the tree may have something to hear.
    pub(crate) fn everyone(&self) -> Effects {
        Effects { images: self.tree.vms().collect(), ..Effects::default() }
    }

    /// The containers on a VM that have not ended.
    pub(crate) fn on_vm(&self, vm: VmId) -> Vec<ContainerId> {
        self.live.get(&vm).into_iter().flatten().copied().collect()
    }

    pub(crate) fn container(&self, id: ContainerId) -> Option<&Container> {
        self.containers.get(&id)
    }

    /// All containers that are remembered, in the order in which they were placed.
    pub(crate) fn containers(&self) -> impl Iterator<Item = &Container> {
        self.containers.values()
    }

    /// Sends the past and future events of a container, and of those that take its place, to a watcher, who stops
    /// by dropping the receiver. Unbounded, but a container has only a handful of states to reach.
    pub(crate) fn watch(&mut self, id: ContainerId, watcher: &mpsc::UnboundedSender<v1::ContainerEvent>) {
        for id in self.with_replacements(&[id]) {
            if let Some(container) = self.containers.get_mut(&id) {
                container.watch(watcher.clone());
            }
        }
    }

    /// Ends a container and, if it was its VM's last, takes the VM out of the tree.
    fn end(&mut self, id: ContainerId, stage: Stage, now: Now, effects: &mut Effects) {
        let Some(container) = self.containers.get_mut(&id).filter(|container| !container.has_ended()) else {
            return;
        };
        let vm = container.vm;
        container.reach(stage, now);
        container.function.end_use(1);
        effects.ended.push((vm, id));
        effects.containers.remove(&(vm, id));
        if let Some(set) = self.live.get_mut(&vm) {
            set.remove(&id);
            if set.is_empty() {
                self.live.remove(&vm);
                self.leave(vm, effects);
            }
        }
        self.ended.push_back(id);
        if self.ended.len() > ENDED_KEPT
            && let Some(oldest) = self.ended.pop_front()
        {
            self.containers.remove(&oldest);
            effects.forgotten.push(oldest);
        }
    }
}

/// The shape that a number of the wire format means; unspecified: paired.
pub(crate) fn shape(distribution: Distribution) -> Shape {
    match v1::TreeShape::try_from(distribution.shape) {
        Ok(v1::TreeShape::Avl) => Shape::Avl,
        Ok(v1::TreeShape::Chain) => Shape::Chain,
        _ => Shape::Paired,
    }
}
