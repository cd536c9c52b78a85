//! What follows from a change of a tree.

use std::collections::BTreeSet;

use ft_core::VmId;

use super::Replacement;
use crate::ids::ContainerId;

/// What an operation leaves to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    /// VMs that should follow other edges, or leave the tree.
    pub(crate) images: BTreeSet<VmId>,
    /// Containers that should be started or stopped.
    pub(crate) containers: BTreeSet<(VmId, ContainerId)>,
    /// Containers that a worker runs although they have ended or are not its own.
    pub(crate) strays: BTreeSet<(VmId, ContainerId)>,
    /// Containers that have ended now.
    pub(crate) ended: Vec<(VmId, ContainerId)>,
    /// Containers that take the places of ended ones.
    pub(crate) replaced: Vec<Replacement>,
    /// Containers that ended long ago and are not remembered any more.
    pub(crate) forgotten: Vec<ContainerId>,
}

impl Effects {
    pub(super) fn merge(&mut self, other: Self) {
        self.images.extend(other.images);
        self.containers.extend(other.containers);
        self.strays.extend(other.strays);
        self.ended.extend(other.ended);
        self.replaced.extend(other.replaced);
        self.forgotten.extend(other.forgotten);
    }
}
