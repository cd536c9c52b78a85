//! The VM pool: who is there, how much each runs, and who still holds its lease.
//!
//! One lock, held for moments and never across an await. Trees are locked before the pool, never after.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ft_core::{Digest, VmId};
use ft_proto::v1;

use crate::ids::TreeKey;
use crate::refusal::Refusal;
use crate::session::{Session, Work};
use crate::state::record::VmRecord;
use crate::time::Now;
use crate::trees::Effects;

mod placement;
#[cfg(test)]
mod tests;
mod vm;

pub(crate) use placement::Wanted;
pub(crate) use vm::Endpoint;
use vm::{Link, Vm};

/// All VMs that have joined.
#[derive(Debug)]
pub(crate) struct Pool {
    vms: Mutex<BTreeMap<VmId, Vm>>,
    lease: Duration,
}

/// A VM whose lease has ended, or whose worker has.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) vm: VmId,
    pub(crate) name: String,
    /// How long it has been silent.
    pub(crate) silent: Duration,
    /// The trees with containers on it.
    pub(crate) trees: Vec<TreeKey>,
}

impl Lost {
    fn new(id: VmId, vm: &mut Vm, silent: Duration) -> Self {
        vm.images.clear();
        let (name, trees) = (vm.record.name.clone(), vm.trees.keys().cloned().collect());
        Self { vm: id, name, silent, trees }
    }
}

/// What a connecting worker's VM was before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Connected {
    /// The worker is reached in another way than before.
    pub(crate) moved: bool,
    /// The trees with containers on it, as the manager knows.
    pub(crate) trees: Vec<TreeKey>,
}

impl Pool {
    /// The VMs from before the manager's restart. They have until `grace` is over to connect.
    pub(crate) fn restore(records: Vec<(u64, VmRecord)>, lease: Duration, grace: Duration, now: Now) -> Self {
        let vm = |record| Vm::new(record, Link::Suspect, now, now.instant + grace);
        let vms = records.into_iter().map(|(number, record)| (VmId(number), vm(record))).collect();
        Self { vms: Mutex::new(vms), lease }
    }

    /// How long a silent VM stays in its trees.
    pub(crate) fn lease(&self) -> Duration {
        self.lease
    }

    /// A VM joins, joins again with the same name, or has a new key.
    pub(crate) fn put(&self, id: VmId, record: VmRecord, now: Now) {
        let mut vms = self.lock();
        match vms.get_mut(&id) {
            Some(vm) => vm.record = record,
            None => drop(vms.insert(id, Vm::new(record, Link::Lost, now, now.instant))),
        }
    }

    /// The record of a VM.
    pub(crate) fn record(&self, id: VmId) -> Option<VmRecord> {
        self.lock().get(&id).map(|vm| vm.record.clone())
    }

    /// The VM whose certificate is for this key.
    pub(crate) fn by_key(&self, public_key_sha256: &[u8; 32]) -> Option<VmId> {
        let vms = self.lock();
        vms.iter().find(|(_, vm)| vm.record.public_key_sha256 == *public_key_sha256).map(|(id, _)| *id)
    }

    /// A VM's worker has connected; a former session of it is ended.
    pub(crate) fn connect(
        &self,
        id: VmId,
        registration: &v1::Registration,
        endpoint: Endpoint,
        session: &Arc<Session>,
        now: Now,
    ) -> Result<Connected, Refusal> {
        let mut vms = self.lock();
        let vm = vms.get_mut(&id).ok_or(Refusal::NoVm(id))?;
        if let Link::Connected(former) = std::mem::replace(&mut vm.link, Link::Connected(Arc::clone(session)))
        {
            former.end();
        }
        let moved = vm.endpoint.as_ref().is_some_and(|before| *before != endpoint);
        vm.endpoint = Some(endpoint);
        vm.cpus = registration.cpus;
        vm.memory_bytes = registration.memory_bytes;
        vm.note_images(&registration.images);
        vm.hear(now, self.lease);
        Ok(Connected { moved, trees: vm.trees.keys().cloned().collect() })
    }

    /// A worker's session has spoken, and may have said what it has of images.
    pub(crate) fn hear(&self, id: VmId, session: &Session, beat: Option<&v1::Heartbeat>, now: Now) {
        let mut vms = self.lock();
        let Some(vm) = vms.get_mut(&id).filter(|vm| vm.is_connected_by(session)) else { return };
        vm.hear(now, self.lease);
        if let Some(beat) = beat {
            vm.note_images(&beat.images);
            let rates = beat.upload_shown.iter().chain(&beat.upload_saturated);
            vm.upload_bytes_per_s = rates.map(|rate| rate.bytes_per_s).max().unwrap_or(0);
        }
    }

    /// A worker's session has ended: unless another took over, its VM is suspect.
    pub(crate) fn disconnect(&self, id: VmId, session: &Session) {
        let mut vms = self.lock();
        if let Some(vm) = vms.get_mut(&id).filter(|vm| vm.is_connected_by(session)) {
            vm.link = Link::Suspect;
        }
    }

    /// The VMs whose lease has ended since the last call. Their sessions, if any, are ended.
    pub(crate) fn expire(&self, now: Instant) -> Vec<Lost> {
        let mut lost = Vec::new();
        for (id, vm) in self.lock().iter_mut() {
            if matches!(vm.link, Link::Lost) || vm.lease_ends > now {
                continue;
            }
            if let Link::Connected(session) = std::mem::replace(&mut vm.link, Link::Lost) {
                session.end();
            }
            let silent = now.saturating_duration_since(vm.heard.instant);
            lost.push(Lost::new(*id, vm, silent));
        }
        lost
    }

    /// A VM's worker ends: the VM is lost, unless another session took over.
    pub(crate) fn leave(&self, id: VmId, session: &Session) -> Option<Lost> {
        let mut vms = self.lock();
        let vm = vms.get_mut(&id).filter(|vm| vm.is_connected_by(session))?;
        vm.link = Link::Lost;
        Some(Lost::new(id, vm, Duration::ZERO))
    }

    /// Gives everyone who has not lost it a whole lease from now on.
    pub(crate) fn extend_leases(&self, now: Instant) {
        for vm in self.lock().values_mut() {
            vm.lease_ends = vm.lease_ends.max(now + self.lease);
        }
    }

    /// Forgets VMs that have been lost for longer than `span` and run nothing: their certificates have
    /// expired, and if they come back, they join as new ones.
    pub(crate) fn forget_lost(&self, span: Duration, now: Instant) -> BTreeSet<VmId> {
        let mut vms = self.lock();
        let gone = |vm: &Vm| {
            matches!(vm.link, Link::Lost)
                && vm.trees.is_empty()
                && now.saturating_duration_since(vm.lease_ends) > span
        };
        let forgotten: BTreeSet<VmId> = vms.iter().filter(|(_, vm)| gone(vm)).map(|(id, _)| *id).collect();
        vms.retain(|id, _| !forgotten.contains(id));
        forgotten
    }

    /// Chooses VMs for `count` containers of a tree and counts the containers there.
    pub(crate) fn reserve(&self, wanted: &Wanted<'_>) -> Result<Vec<VmId>, Refusal> {
        let mut vms = self.lock();
        let chosen = placement::choose(&vms, wanted)?;
        for id in &chosen {
            if let Some(vm) = vms.get_mut(id) {
                vm.add(wanted.key);
            }
        }
        Ok(chosen)
    }

    /// Counts containers from before the manager's restart.
    pub(crate) fn restore_load(&self, id: VmId, key: &TreeKey) {
        if let Some(vm) = self.lock().get_mut(&id) {
            vm.add(key);
        }
    }

    /// Hands a tree's effects to the workers concerned, and counts ended containers out.
    pub(crate) fn apply(&self, key: &TreeKey, effects: &Effects) {
        let mut vms = self.lock();
        for (id, _) in &effects.ended {
            if let Some(vm) = vms.get_mut(id) {
                vm.remove(key);
            }
        }
        // Images first: a worker hears of a tree before it hears of the containers that need it.
        let images = effects.images.iter().map(|vm| (vm, Work::Image(key.clone())));
        let containers = effects.containers.iter().map(|(vm, id)| (vm, Work::Container(key.clone(), *id)));
        let strays = effects.strays.iter().map(|(vm, id)| (vm, Work::Stray(*id)));
        for (id, work) in images.chain(containers).chain(strays) {
            if let Some(session) = vms.get(id).and_then(Vm::session) {
                session.push(work);
            }
        }
    }

    /// How a VM's worker is reached, if it has ever connected.
    pub(crate) fn endpoint(&self, id: VmId) -> Option<Endpoint> {
        self.lock().get(&id).and_then(|vm| vm.endpoint.clone())
    }

    /// Whether the VM's lease has ended.
    pub(crate) fn is_lost(&self, id: VmId) -> bool {
        self.lock().get(&id).is_none_or(|vm| matches!(vm.link, Link::Lost))
    }

    /// A connected VM's session.
    pub(crate) fn session(&self, id: VmId) -> Option<Arc<Session>> {
        self.lock().get(&id).and_then(Vm::session).cloned()
    }

    /// A VM's label; empty if it is unknown.
    pub(crate) fn name(&self, id: VmId) -> String {
        self.lock().get(&id).map(|vm| vm.record.name.clone()).unwrap_or_default()
    }

    /// What a VM last said about an image.
    pub(crate) fn image(&self, id: VmId, image: Digest) -> Option<v1::ImageStatus> {
        self.lock().get(&id).and_then(|vm| vm.images.get(&image).cloned())
    }

    /// Whether a container on the VM needs the image.
    pub(crate) fn needs(&self, id: VmId, image: Digest) -> bool {
        self.lock().get(&id).is_some_and(|vm| vm.trees.keys().any(|key| key.image == image))
    }

    /// Nothing is placed on the VM any more. The trees with containers on it are returned.
    pub(crate) fn drain(&self, id: VmId) -> Result<Vec<TreeKey>, Refusal> {
        let mut vms = self.lock();
        let vm = vms.get_mut(&id).ok_or(Refusal::NoVm(id))?;
        vm.record.draining = true;
        Ok(vm.trees.keys().cloned().collect())
    }

    /// The trees with containers on the VM.
    pub(crate) fn trees(&self, id: VmId) -> Vec<TreeKey> {
        self.lock().get(&id).map(|vm| vm.trees.keys().cloned().collect()).unwrap_or_default()
    }

    /// Whether the VM's worker has a session.
    pub(crate) fn is_connected(&self, id: VmId) -> bool {
        self.lock().get(&id).is_some_and(|vm| vm.session().is_some())
    }

    /// The limits of the VM's traffic are these now.
    pub(crate) fn set_limits(&self, id: VmId, limits: v1::VmLimits) {
        if let Some(vm) = self.lock().get_mut(&id) {
            vm.limits = limits;
        }
    }

    /// All VMs as clients see them.
    pub(crate) fn describe(&self) -> Vec<v1::Vm> {
        self.lock().iter().map(|(id, vm)| vm.describe(*id)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<VmId, Vm>> {
        self.vms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
