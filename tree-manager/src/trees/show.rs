//! The tree as clients see it.

use ft_core::tree::FunctionTree;
use ft_core::{Stripe, VmId};
use ft_proto::v1;

use super::ManagedTree;
use crate::wire;

impl ManagedTree {
    /// Shape, edges and depths; the caller adds names and what VMs last said about the image.
    pub(crate) fn describe(&self, function: &str) -> v1::Tree {
        let tree = self.tree.as_ref();
        v1::Tree {
            function: function.to_owned(),
            shape: wire::shape(tree.shape()).into(),
            epoch: Some(wire::epoch(tree.epoch())),
            stripes: (0..tree.stripes()).map(|stripe| describe_stripe(tree, Stripe(stripe))).collect(),
            vms: tree.vms().map(|vm| describe_vm(tree, vm)).collect(),
            mode: self.distribution.mode,
            ..v1::Tree::default()
        }
    }
}

fn describe_stripe(tree: &dyn FunctionTree, stripe: Stripe) -> v1::TreeStripe {
    let edge = |child: VmId| {
        let parent = tree.parent_of(child, stripe)?;
        Some(v1::TreeEdge { parent: parent.to_string(), child: child.to_string() })
    };
    v1::TreeStripe {
        root: tree.root(stripe).map(|vm| vm.to_string()).unwrap_or_default(),
        height: tree.height(stripe),
        edges: tree.vms().filter_map(edge).collect(),
    }
}

fn describe_vm(tree: &dyn FunctionTree, vm: VmId) -> v1::TreeVm {
    let depth = |stripe| tree.depth_of(vm, Stripe(stripe)).unwrap_or_default();
    v1::TreeVm {
        vm: vm.to_string(),
        name: String::new(),
        depths: (0..tree.stripes()).map(depth).collect(),
        image: None,
        slow: tree.is_slow(vm),
    }
}
