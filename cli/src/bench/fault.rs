//! What goes wrong on purpose during a run.

use std::collections::BTreeMap;

use ft_proto::v1;
use ft_testbed::{Rate, Testbed};

use super::cluster::Cluster;
use crate::failure::{Failure, Kind};

/// A fault, and when it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// When the median VM has half of the image, this many workers are killed: a root, interior ones, then others.
    Kill(u32),
    /// When the median VM has half of the image, an interior worker is killed and started again.
    Restart,
    /// From the beginning, the link of an interior VM has half of the rate.
    Slow,
    /// From the beginning, the link of a VM without children has a hundredth of the rate.
    ThrottleChild,
    /// From the beginning, the link of a root has a hundredth of the rate.
    ThrottleParent,
}

impl Fault {
    /// Strikes if it is time, and says whom: `tree` is complete, and the median VM has `percent` of the image.
    pub(super) async fn strike(
        self,
        cluster: &mut Cluster<'_>,
        bed: &Testbed,
        rate: Rate,
        tree: &v1::Tree,
        percent: u64,
    ) -> Result<Vec<String>, Failure> {
        if percent < self.due_percent() {
            return Ok(Vec::new());
        }
        let places = Places::of(tree);
        let vms = match self {
            Self::Kill(count) => places.by_importance().into_iter().take(count as usize).collect(),
            Self::Restart | Self::Slow => vec![places.interior()?],
            Self::ThrottleChild => places.by_importance().pop().into_iter().collect(),
            Self::ThrottleParent => places.by_importance().into_iter().take(1).collect(),
        };
        for vm in &vms {
            match self {
                Self::Kill(_) => cluster.kill(vm).await,
                Self::Restart => cluster.restart(vm).await?,
                Self::Slow | Self::ThrottleChild | Self::ThrottleParent => {
                    let host = cluster
                        .host_of(vm)
                        .ok_or_else(|| Failure::message(Kind::Failed, format!("{vm} is on no host")))?;
                    bed.set_rate(host, self.link_rate(rate)).map_err(anyhow::Error::from)?;
                }
            }
        }
        Ok(vms)
    }

    /// What the link of a host that it strikes carries instead of `rate`; none if it is no fault of links.
    pub(super) fn link_rate(self, rate: Rate) -> Option<Rate> {
        match self {
            Self::Kill(_) | Self::Restart => None,
            Self::Slow => Some(Rate::from_bits(rate.bits() / 2)),
            Self::ThrottleChild | Self::ThrottleParent => Some(Rate::from_bits(rate.bits() / 100)),
        }
    }

    /// How much of the image the median VM has when it strikes.
    fn due_percent(self) -> u64 {
        match self {
            Self::Kill(_) | Self::Restart => 50,
            Self::Slow | Self::ThrottleChild | Self::ThrottleParent => 0,
        }
    }

    /// Whether the run waits for the VMs that it strikes. T never counts them.
    pub(super) fn waits_for_struck(self) -> bool {
        match self {
            Self::Restart | Self::Slow => true,
            Self::Kill(_) | Self::ThrottleChild | Self::ThrottleParent => false,
        }
    }

    /// Whether the containers of the VMs that it strikes fail, and are to be placed there again.
    pub(super) fn fails_containers(self) -> bool {
        self == Self::Restart
    }
}

/// Who is where in a tree.
struct Places<'a> {
    roots: Vec<&'a str>,
    /// Children by parent, over all stripes.
    children: BTreeMap<&'a str, usize>,
    /// Every VM with its least depth.
    vms: Vec<(&'a str, u32)>,
}

impl<'a> Places<'a> {
    fn of(tree: &'a v1::Tree) -> Self {
        let mut children = BTreeMap::new();
        for edge in tree.stripes.iter().flat_map(|stripe| &stripe.edges) {
            *children.entry(edge.parent.as_str()).or_default() += 1;
        }
        let mut vms: Vec<_> = tree
            .vms
            .iter()
            .map(|vm| (vm.vm.as_str(), vm.depths.iter().min().copied().unwrap_or(0)))
            .collect();
        vms.sort_by_key(|(vm, depth)| (*depth, vm.len(), *vm));
        Self { roots: tree.stripes.iter().map(|stripe| stripe.root.as_str()).collect(), children, vms }
    }

    /// A root, then the interior VMs that are no roots, then the other root, then the leaves.
    fn by_importance(&self) -> Vec<String> {
        let rank = |vm: &str| match self.roots.iter().position(|root| *root == vm) {
            Some(0) => 0,
            Some(_) => 2,
            None if self.children.contains_key(vm) => 1,
            None => 3,
        };
        let mut vms = self.vms.clone();
        vms.sort_by_key(|(vm, _)| rank(vm));
        vms.into_iter().map(|(vm, _)| vm.to_owned()).collect()
    }

    /// The highest VM with a parent and children.
    fn interior(&self) -> Result<String, Failure> {
        let mut found = self.vms.iter().map(|(vm, _)| *vm).filter(|vm| !self.roots.contains(vm));
        let found = found.find(|vm| self.children.contains_key(vm));
        found.map(str::to_owned).ok_or_else(|| {
            Failure::message(Kind::Usage, "no VM of this tree has both a parent and children")
                .next("use more --vms")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> v1::Tree {
        let edge =
            |(parent, child): (&str, &str)| v1::TreeEdge { parent: parent.into(), child: child.into() };
        let stripe = |root: &str, edges: &[(&str, &str)]| v1::TreeStripe {
            root: root.into(),
            height: 2,
            edges: edges.iter().copied().map(edge).collect(),
        };
        let vm = |(vm, depths): (&str, [u32; 2])| v1::TreeVm {
            vm: vm.into(),
            depths: depths.to_vec(),
            ..Default::default()
        };
        v1::Tree {
            stripes: vec![
                stripe("a", &[("a", "b"), ("b", "c"), ("b", "d")]),
                stripe("c", &[("c", "a"), ("c", "b"), ("a", "d")]),
            ],
            vms: [("a", [0, 1]), ("b", [1, 1]), ("c", [2, 0]), ("d", [2, 2])].map(vm).to_vec(),
            ..Default::default()
        }
    }

    #[test]
    fn those_on_whom_most_depends_are_struck_first() {
        let tree = tree();
        let places = Places::of(&tree);
        assert_eq!(places.by_importance(), ["a", "b", "c", "d"]);
        assert_eq!(places.interior().unwrap(), "b");
        assert!(Places::of(&v1::Tree::default()).interior().is_err());
    }
}
