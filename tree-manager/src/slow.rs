//! VMs that hold others up, and what is done about them: a slow VM has no children in any tree, as far as the
//! places allow, for as long as it is slow. Nothing else is taken from it: not its containers, nor its place.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use ft_core::{Digest, VmId};
use ft_proto::v1;

use crate::core::Core;
use crate::time::Now;
use crate::trees::TreeCell;

mod speed;
mod witness;

use speed::{Rate, Speeds};
use witness::{What, Witnesses};

/// The VMs that are slow, and why. Trees look here when a VM joins them.
#[derive(Debug, Default)]
pub(crate) struct SlowVms(RwLock<BTreeMap<VmId, String>>);

impl SlowVms {
    /// Why the VM is slow, if it is.
    pub(crate) fn why(&self, vm: VmId) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&vm).cloned()
    }

    pub(crate) fn contains(&self, vm: VmId) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains_key(&vm)
    }

    /// From now on these are slow. Who has become so or is so no more, and why.
    fn set(&self, slow: BTreeMap<VmId, String>) -> Vec<(VmId, Option<String>)> {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let gone = known.keys().filter(|vm| !slow.contains_key(vm)).map(|vm| (*vm, None));
        let new = slow.iter().filter(|(vm, _)| !known.contains_key(vm));
        let changes = gone.chain(new.map(|(vm, why)| (*vm, Some(why.clone())))).collect();
        *known = slow;
        changes
    }
}

/// What is known of how fast VMs are.
#[derive(Debug, Default)]
pub(crate) struct Judge(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    speeds: Speeds,
    witnesses: Witnesses,
}

impl Judge {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// How fast a worker has sent lately.
    pub(crate) fn note_upload(&self, vm: VmId, beat: &v1::Heartbeat, now: Now) {
        let shown = beat.upload_shown.and_then(Rate::reported);
        let saturated = beat.upload_saturated.and_then(Rate::reported);
        self.judge.lock().speeds.measured(vm, shown, saturated, now.instant);
    }

    /// The limits of a VM's traffic are these now.
    pub(crate) fn note_limits(&self, vm: VmId, limits: v1::VmLimits) {
        self.pool.set_limits(vm, limits);
        self.judge.lock().speeds.limited(vm, limits);
    }

    /// A VM is lost: what is known of it is no measure for others any more.
    pub(crate) fn forget_speed(&self, vm: VmId) {
        let mut judge = self.judge.lock();
        judge.speeds.forget(vm);
        judge.witnesses.forget(vm);
    }

    /// A worker has lost another of the same tree.
    pub(crate) fn peer_lost(&self, by: VmId, image: &str, vm: &str, now: Now) {
        let Some((cell, of)) = self.parse_peer(by, image, vm) else { return };
        let known = cell.lock().has_both(by, of);
        if known {
            self.hear_witness(What::Lost, of, by, now);
        }
    }

    /// A worker has a child that takes nothing.
    pub(crate) fn peer_stuck(&self, by: VmId, image: &str, vm: &str, now: Now) {
        let Some((cell, of)) = self.parse_peer(by, image, vm) else { return };
        let known = cell.lock().is_parent(by, of);
        if known {
            self.hear_witness(What::Stuck, of, by, now);
        }
    }

    fn hear_witness(&self, what: What, of: VmId, by: VmId, now: Now) {
        let connected = self.pool.is_connected(of);
        self.judge.lock().witnesses.hear(what, of, by, connected, now.instant);
        self.judge_speeds(now);
    }

    /// The tree that the reporting VM is in, and the VM that it reports on.
    fn parse_peer(&self, by: VmId, image: &str, vm: &str) -> Option<(Arc<TreeCell>, VmId)> {
        let (image, vm): (Digest, VmId) = (image.parse().ok()?, vm.parse().ok()?);
        let key = self.pool.trees(by).into_iter().find(|key| key.image == image)?;
        Some((self.trees.get(&key)?, vm))
    }

    /// Moves those who have become slow, and those who are so no more, in all their trees.
    pub(crate) fn judge_speeds(&self, now: Now) {
        // Held until the trees have heard, so that they hear changes in their order.
        let mut judge = self.judge.lock();
        let mut slow = judge.speeds.judge(now.instant);
        slow.extend(judge.witnesses.judge(now.instant));
        for (vm, why) in self.slow.set(slow) {
            match &why {
                Some(why) => tracing::warn!(%vm, why, "a VM is slow, and gets no children"),
                None => tracing::info!(%vm, "a VM is not slow any more"),
            }
            for cell in self.pool.trees(vm).iter().filter_map(|key| self.trees.get(key)) {
                self.change(&cell, |tree| tree.set_slow(vm, why.is_some()));
            }
        }
    }

    /// All VMs as clients see them.
    pub(crate) fn describe_vms(&self) -> Vec<v1::Vm> {
        let mut vms = self.pool.describe();
        for vm in &mut vms {
            if let Some(why) = vm.vm.parse().ok().and_then(|id| self.slow.why(id)) {
                vm.slow = true;
                vm.slow_cause = why;
            }
        }
        vms
    }
}
