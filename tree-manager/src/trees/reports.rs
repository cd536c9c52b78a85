//! What workers say, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};

use ft_core::{Epoch, VmId};
use ft_proto::v1::{self, ContainerState};

use super::container::{Stage, Told};
use super::{Effects, ManagedTree, Placer};
use crate::ids::ContainerId;
use crate::time::Now;

/// What a worker that connects has, of one tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    /// The containers that it runs.
    pub(crate) containers: BTreeMap<ContainerId, ContainerState>,
    /// The epoch of the edges that it follows, if it follows the image.
    pub(crate) follows: Option<Epoch>,
    /// It is at another address than before.
    pub(crate) moved: bool,
}

impl ManagedTree {
    /// A worker follows the image: its containers have JOINED.
    pub(crate) fn followed(&mut self, vm: VmId, now: Now) -> Effects {
        if let Some(member) = self.members.get_mut(vm) {
            member.joined = true;
        }
        for id in self.live.get(&vm).into_iter().flatten() {
            if let Some(container) = self.containers.get_mut(id)
                && container.state() == ContainerState::Placed
            {
                container.reach(Stage::joined(), now);
            }
        }
        Effects::default()
    }

    /// A worker cannot do what it was told about the image: its containers fail, and it leaves the tree.
    pub(crate) fn refused(&mut self, vm: VmId, error: &str, now: Now) -> Effects {
        let cause = format!("{vm} cannot follow the image: {error}");
        let mut effects = Effects::default();
        for id in self.on_vm(vm) {
            let wanted = self.containers.get(&id).is_some_and(|container| container.wanted);
            let stage = if wanted { Stage::failed(&cause) } else { Stage::stopped(&cause) };
            self.end(id, stage, now, &mut effects);
        }
        effects
    }

    /// A worker has received the command to start a container, or cannot start it.
    pub(crate) fn start_answered(&mut self, id: ContainerId, error: &str, now: Now) -> Effects {
        let mut effects = Effects::default();
        if error.is_empty() {
            if let Some(container) = self.containers.get_mut(&id) {
                container.told = Told::Known;
            }
        } else {
            self.end(id, Stage::failed(error), now, &mut effects);
        }
        effects
    }

    /// A worker is stopping a container, and will report its end; or it cannot stop it.
    pub(crate) fn stop_answered(&mut self, vm: VmId, id: ContainerId, error: &str, now: Now) -> Effects {
        if error.is_empty() {
            return Effects::default();
        }
        let report = v1::ContainerReport {
            state: ContainerState::Failed.into(),
            cause: format!("it cannot be stopped: {error}"),
            ..v1::ContainerReport::default()
        };
        self.reported(vm, id, Stage::reported(report), now)
    }

    /// A container on `vm` has reached a state. If it has ended for us, or belongs elsewhere, it is to stop.
    pub(crate) fn reported(&mut self, vm: VmId, id: ContainerId, stage: Stage, now: Now) -> Effects {
        let mut effects = Effects::default();
        let own =
            self.containers.get_mut(&id).filter(|container| container.vm == vm && !container.has_ended());
        let Some(container) = own else {
            if !stage.is_end() {
                effects.strays.insert((vm, id));
            }
            return effects;
        };
        container.told = Told::Known;
        if stage.is_end() {
            self.end(id, stage, now, &mut effects);
        } else {
            if stage.is_past_joining() {
                // Whoever has mounted the image is in the tree, even if the answer has not arrived yet.
                container.reach(Stage::joined(), now);
            }
            container.reach(stage, now);
        }
        effects
    }

    /// A worker has connected and says what it has. The difference to what it should have is to be told;
    /// what it had and has lost, has failed and is placed again.
    pub(crate) fn registered(
        &mut self,
        vm: VmId,
        observed: &Observed,
        placer: &dyn Placer,
        now: Now,
    ) -> Effects {
        let mut effects = Effects::default();
        let missing = self.on_vm(vm).into_iter().filter(|id| !observed.containers.contains_key(id));
        let gone: Vec<_> =
            missing.collect::<Vec<_>>().into_iter().filter_map(|id| self.miss(id, &mut effects)).collect();
        self.displace(&gone, placer, now, &mut effects);
        for (id, state) in &observed.containers {
            self.take_up(vm, *id, *state, now, &mut effects);
        }
        if observed.follows.is_some() {
            effects.merge(self.followed(vm, now));
        }
        if let Some(member) = self.members.get_mut(vm) {
            member.told = observed.follows.filter(|epoch| *epoch == member.epoch);
            // What it was told of the profile may not have arrived.
            member.told_profile = 0;
            member.joined = observed.follows.is_some();
            effects.images.insert(vm);
        }
        if observed.moved {
            self.rejoin(vm, &mut effects);
        }
        if self.awaited.remove(&vm) {
            self.build_when_complete(&mut effects);
        }
        effects
    }

    /// A worker says what the start of one of its containers read. How many blocks the image has, if the start
    /// counts: once for each container, and only of the first one on its VM, since what is mounted already is not read
    /// again.
    pub(crate) fn count_start(&mut self, vm: VmId, id: ContainerId) -> Result<u32, &'static str> {
        let first = self.live.get(&vm).and_then(BTreeSet::first).is_none_or(|first| *first >= id);
        let own = self.containers.get_mut(&id).filter(|container| container.vm == vm);
        let container = own.ok_or("it is not on this VM")?;
        if std::mem::replace(&mut container.start_counted, true) {
            return Err("its start was reported already");
        }
        if container.state() <= ContainerState::Joined || container.state() == ContainerState::Failed {
            return Err("it has not started");
        }
        if !first {
            return Err("it was not the first of its image there");
        }
        Ok(container.function.record.blocks)
    }

    /// The worker runs this container, or did.
    fn take_up(&mut self, vm: VmId, id: ContainerId, state: ContainerState, now: Now, effects: &mut Effects) {
        let report = v1::ContainerReport { state: state.into(), ..v1::ContainerReport::default() };
        let reported = self.reported(vm, id, Stage::reported(report), now);
        effects.merge(reported);
        if self.containers.get(&id).is_some_and(|container| !container.wanted && !container.has_ended()) {
            effects.containers.insert((vm, id));
        }
    }

    /// The worker does not run this container. If it is gone, that and why.
    fn miss(&mut self, id: ContainerId, effects: &mut Effects) -> Option<(ContainerId, String)> {
        let container = self.containers.get_mut(&id)?;
        let vm = container.vm;
        match (container.wanted, container.told) {
            (false, _) => Some((id, "gone with its worker".to_owned())),
            (true, Told::Known) => {
                Some((id, format!("the worker of {vm} restarted, and its containers ended with it")))
            }
            (true, Told::Unclear) => {
                Some((id, format!("the worker of {vm} does not run it any more since the manager restarted")))
            }
            (true, Told::Nothing | Told::Sent) => {
                container.told = Told::Nothing;
                if container.state() != ContainerState::Unspecified {
                    effects.containers.insert((vm, id));
                }
                None
            }
        }
    }
}
