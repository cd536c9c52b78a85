//! Where containers go.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use ft_core::VmId;
use ft_proto::v1::VmState;

use super::vm::Vm;
use crate::ids::TreeKey;
use crate::refusal::Refusal;

/// Containers that need a place.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) key: &'a TreeKey,
    pub(crate) count: u32,
    /// How many of the tree's containers each VM has.
    pub(crate) own: &'a BTreeMap<VmId, u32>,
    /// Only these VMs; empty: any.
    pub(crate) only: &'a BTreeSet<VmId>,
    /// If there is no other, also VMs whose command stream is broken at the moment.
    pub(crate) suspects: bool,
}

/// Spreads the containers: each goes to the VM that has fewest of this tree's, then fewest at all, then the
/// lowest number. So VMs without one come first, and equal pools give equal places.
///
/// Free and active VMs of the tenant are considered; a VM serves one tenant at a time.
pub(super) fn choose(vms: &BTreeMap<VmId, Vm>, wanted: &Wanted<'_>) -> Result<Vec<VmId>, Refusal> {
    if let Some(unknown) = wanted.only.iter().find(|id| !vms.contains_key(id)) {
        return Err(Refusal::NoVm(*unknown));
    }
    let mut candidates: BinaryHeap<Reverse<(bool, u32, u32, VmId)>> = vms
        .iter()
        .filter(|(id, vm)| considered(wanted, **id) && can_take(vm, wanted))
        .map(|(id, vm)| {
            let own = wanted.own.get(id).copied().unwrap_or(0);
            Reverse((vm.state() == VmState::Suspect, own, vm.load(), *id))
        })
        .collect();
    let mut chosen = Vec::new();
    for _ in 0..wanted.count {
        let Some(Reverse((suspect, own, load, id))) = candidates.pop() else {
            return Err(Refusal::NoCapacity(why_none(vms, wanted)));
        };
        chosen.push(id);
        candidates.push(Reverse((suspect, own + 1, load + 1, id)));
    }
    Ok(chosen)
}

fn considered(wanted: &Wanted<'_>, id: VmId) -> bool {
    wanted.only.is_empty() || wanted.only.contains(&id)
}

fn can_take(vm: &Vm, wanted: &Wanted<'_>) -> bool {
    let usable = match vm.state() {
        VmState::Free | VmState::Active => true,
        VmState::Suspect => wanted.suspects,
        VmState::Unspecified | VmState::Draining | VmState::Lost => false,
    };
    usable && vm.tenant().is_none_or(|other| other == &*wanted.key.tenant)
}

fn why_none(vms: &BTreeMap<VmId, Vm>, wanted: &Wanted<'_>) -> String {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for (_, vm) in vms.iter().filter(|(id, _)| considered(wanted, **id)) {
        *counts
            .entry(match vm.state() {
                VmState::Suspect => "suspect",
                VmState::Draining => "draining",
                VmState::Lost => "lost",
                _ => "serving another tenant",
            })
            .or_default() += 1;
    }
    if counts.is_empty() {
        return "none has joined; start some with `ft worker`".to_owned();
    }
    let counts: Vec<String> = counts.into_iter().map(|(what, count)| format!("{count} {what}")).collect();
    format!("{}; `ft vm ls` shows them, `ft worker` starts another", counts.join(", "))
}
