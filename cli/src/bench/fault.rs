//! What goes wrong on purpose during a run.

use std::collections::BTreeMap;

use ft_proto::v1;
use ft_testbed::{Rate, Testbed};

use super::cluster::Cluster;
use crate::failure::{Failure, Kind};

/// A fault, and when it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// When the median VM has half of the image, this many workers are killed.
    Kill(u32),
    /// From the beginning, an interior VM has half of the rate.
    Slow,
}

/// The VMs that a fault has struck.
#[derive(Debug, Default)]
pub(super) struct Struck {
    /// Their ids in the pool.
    pub(super) vms: Vec<String>,
}

impl Fault {
    /// Strikes if it is time: `tree` is complete, and the median VM has `percent` of the image.
    pub(super) async fn strike(
        self,
        cluster: &mut Cluster<'_>,
        bed: &Testbed,
        rate: Rate,
        tree: &v1::Tree,
        percent: u64,
    ) -> Result<Option<Struck>, Failure> {
        let places = Places::of(tree);
        match self {
            Self::Kill(count) if percent >= 50 => {
                let vms: Vec<_> = places.by_importance().into_iter().take(count as usize).collect();
                for vm in &vms {
                    cluster.kill(vm).await;
                }
                Ok(Some(Struck { vms }))
            }
            Self::Kill(_) => Ok(None),
            Self::Slow => {
                let vm = places.interior()?;
                set_rate(cluster, bed, &vm, Rate::from_bits(rate.bits() / 2))?;
                Ok(Some(Struck { vms: vec![vm] }))
            }
        }
    }

    /// Whether T counts the VMs that it strikes.
    pub(super) fn spares_victims(self) -> bool {
        match self {
            Self::Kill(_) | Self::Slow => false,
        }
    }

    /// Whether the run waits for the VMs that it strikes.
    pub(super) fn waits_for_victims(self) -> bool {
        match self {
            Self::Kill(_) => false,
            Self::Slow => true,
        }
    }
}

fn set_rate(cluster: &Cluster<'_>, bed: &Testbed, vm: &str, rate: Rate) -> Result<(), Failure> {
    let host = cluster.workers().iter().find(|worker| worker.vm == vm).map(|worker| worker.host);
    let host = host.ok_or_else(|| Failure::message(Kind::Failed, format!("{vm} is on no host")))?;
    bed.set_rate(host, Some(rate)).map_err(|error| Failure::new(Kind::Failed, error))
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
