//! What a worker is to be told, worked out at the moment when it can be sent.

use std::collections::BTreeMap;

use ft_core::VmId;
use ft_proto::v1;

use super::container::Told;
use super::{ManagedTree, edges::StripeView};
use crate::ids::ContainerId;
use crate::pool::Endpoint;
use crate::profiles::Profile;
use crate::wire;

/// What to tell a worker about an image.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ImageCommand {
    /// Follow these edges.
    Follow(v1::FollowImage),
    /// The VM is not in the tree: leave it.
    Leave(v1::LeaveImage),
    /// It knows already.
    Nothing,
}

/// What to tell a worker about a container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ContainerCommand {
    Start(v1::StartContainer),
    Stop(v1::StopContainer),
    Nothing,
}

impl ManagedTree {
    /// What to tell a VM's worker about the image; it counts as told then. `endpoint` knows the VMs that are
    /// connected or were: a neighbour without one is left out of the peers, and of no use to dial.
    pub(crate) fn image_command(
        &mut self,
        vm: VmId,
        profile: Option<&Profile>,
        endpoint: impl Fn(VmId) -> Option<Endpoint>,
    ) -> ImageCommand {
        let image = self.key.image.to_string();
        if self.awaited.contains(&vm) || (!self.tree.contains(vm) && self.live.contains_key(&vm)) {
            // Not built yet after a restart: what the worker follows is as good as any.
            return ImageCommand::Nothing;
        }
        let vms = u32::try_from(self.tree.len()).unwrap_or(u32::MAX);
        let Some(member) = self.members.get_mut(vm) else {
            return ImageCommand::Leave(v1::LeaveImage { image });
        };
        let profile = profile.filter(|profile| profile.version > member.told_profile);
        if member.told == Some(member.epoch) && profile.is_none() {
            return ImageCommand::Nothing;
        }
        member.told = Some(member.epoch);
        if let Some(profile) = profile {
            member.told_profile = profile.version;
        }
        let mut peers = BTreeMap::new();
        for other in member.view.iter().flat_map(StripeView::vms) {
            if let Some(endpoint) = endpoint(other) {
                peers.insert(other, endpoint);
            }
        }
        ImageCommand::Follow(v1::FollowImage {
            image,
            origin: self.origin.clone(),
            mode: self.distribution.mode,
            epoch: Some(wire::epoch(member.epoch)),
            stripes: member.view.iter().map(StripeView::describe).collect(),
            peers: peers.into_iter().map(|(vm, endpoint)| endpoint.describe(vm)).collect(),
            vms,
            profile: profile.map(|profile| profile.blocks.clone()).unwrap_or_default(),
        })
    }

    /// What to tell the worker about a container; it counts as told then.
    pub(crate) fn container_command(&mut self, id: ContainerId) -> ContainerCommand {
        let (image, distribution) = (self.key.image, self.distribution);
        let Some(container) = self.containers.get_mut(&id).filter(|container| !container.has_ended()) else {
            return ContainerCommand::Nothing;
        };
        if !container.wanted {
            return ContainerCommand::Stop(v1::StopContainer { container: id.to_string() });
        }
        if container.told != Told::Nothing {
            return ContainerCommand::Nothing;
        }
        container.told = Told::Sent;
        ContainerCommand::Start(v1::StartContainer {
            container: id.to_string(),
            function: container.function.label.clone(),
            image: image.to_string(),
            env: container.spec.env.clone(),
            args: container.spec.args.clone(),
            memory_bytes: container.spec.memory_bytes,
            mode: distribution.mode,
            shape: distribution.shape,
        })
    }
}

impl StripeView {
    fn vms(&self) -> impl Iterator<Item = VmId> + '_ {
        self.parent.into_iter().chain(self.grandparent).chain(self.children.iter().copied())
    }

    fn describe(&self) -> v1::StripeEdges {
        let name = |vm: Option<VmId>| vm.map(|vm| vm.to_string()).unwrap_or_default();
        v1::StripeEdges {
            parent: name(self.parent),
            grandparent: name(self.grandparent),
            children: self.children.iter().map(ToString::to_string).collect(),
        }
    }
}
