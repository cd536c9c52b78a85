//! What the manager knows, and how a change reaches everyone concerned.
//!
//! Locks, in the order in which they may be taken: idempotency keys, who is slow, one tree, the pool. None is held
//! across an await.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ft_core::{Digest, Epoch, VmId};
use ft_identity::CertificateAuthority;
use ft_proto::v1::{self, ContainerState};
use tokio_util::sync::CancellationToken;

use crate::functions::Functions;
use crate::ids::{ContainerId, TreeKey};
use crate::pool::{Endpoint, Lost, Pool};
use crate::profiles::Profiles;
use crate::provision::Keys;
use crate::refusal::{Refusal, argument};
use crate::replace::{Places, Replacements};
use crate::session::{Session, Work};
use crate::slow::{Judge, SlowVms};
use crate::state::{Loaded, Store, Write};
use crate::time::Now;
use crate::tokens::Tokens;
use crate::trees::{Effects, ManagedTree, Observed, TreeCell, Trees};
use crate::wire;

/// Commands of one term: more than a million a second for a week.
const COMMAND_BITS: u32 = 40;

/// What operators set.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) origin_url: String,
    pub(crate) lease: Duration,
    pub(crate) restart_grace: Duration,
    pub(crate) command_timeout: Duration,
    pub(crate) certificate_lifetime: Duration,
}

/// Everything that the services share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) settings: Settings,
    pub(crate) authority: CertificateAuthority,
    pub(crate) store: Store,
    pub(crate) functions: Functions,
    pub(crate) trees: Trees,
    pub(crate) pool: Pool,
    pub(crate) keys: Keys,
    pub(crate) profiles: Profiles,
    pub(crate) replacements: Replacements,
    pub(crate) slow: Arc<SlowVms>,
    pub(crate) judge: Judge,
    pub(crate) tokens: Tokens,
    pub(crate) next_vm: std::sync::Mutex<u64>,
    /// The next command's id. No two commands share one, whatever their session or the manager's term, so
    /// that a late answer is never taken for another command's.
    pub(crate) next_command: AtomicU64,
    pub(crate) shutdown: CancellationToken,
}

impl Core {
    /// The manager's knowledge after a start: what is on disk; the rest, workers will tell.
    pub(crate) fn restore(
        settings: Settings,
        authority: CertificateAuthority,
        store: Store,
        loaded: Loaded,
        shutdown: CancellationToken,
    ) -> Self {
        let now = Now::read();
        let slow = Arc::<SlowVms>::default();
        let core = Self {
            authority,
            store,
            functions: Functions::restore(loaded.functions, loaded.versions),
            trees: Trees::new(loaded.term, Arc::clone(&slow)),
            pool: Pool::restore(loaded.vms, settings.lease, settings.restart_grace, now),
            keys: Keys::default(),
            profiles: Profiles::default(),
            replacements: Replacements::default(),
            slow,
            judge: Judge::default(),
            tokens: Tokens::restore(loaded.tokens),
            next_vm: std::sync::Mutex::new(loaded.next_vm),
            next_command: AtomicU64::new(loaded.term << COMMAND_BITS),
            shutdown,
            settings,
        };
        for (key, starts) in loaded.starts {
            match core.functions.with_image(&key) {
                Some(function) => core.profiles.restore(key, function.record.blocks, starts),
                None => core.store.write_later(vec![Write::ForgetStarts(key)]),
            }
        }
        for (id, record) in loaded.containers {
            let Some(function) = core.functions.get(&record.function) else {
                tracing::warn!(container = %id, function = %record.function, "a container without its function");
                continue;
            };
            if core.pool.record(record.vm()).is_none() || function.begin_use(1).is_err() {
                tracing::warn!(container = %id, vm = %record.vm(), "a container without its VM");
                core.store.write_later(vec![Write::ForgetContainer(id)]);
                continue;
            }
            let key =
                TreeKey { tenant: record.function.tenant.as_str().into(), image: function.record.image };
            let cell = core.trees.get_or_create(&key, &function.record.origin, record.distribution);
            core.trees.enroll(&cell, &[id]);
            core.pool.restore_load(record.vm(), &key);
            cell.lock().restore(id, &record, &function, now);
            core.keys.restore(&record, &cell, id);
        }
        core
    }

    /// Changes a tree, and hands what follows from it to everyone concerned.
    pub(crate) fn change(&self, cell: &Arc<TreeCell>, operation: impl FnOnce(&mut ManagedTree) -> Effects) {
        // Under the tree's lock, so that the pool sees a tree's changes in their order.
        let mut tree = cell.lock();
        let effects = operation(&mut tree);
        self.pool.apply(&cell.key, &effects);
        self.trees.dismiss(&effects.forgotten);
        // A container that is replaced goes from the disk when its replacement comes.
        let replaced: BTreeSet<_> = effects.replaced.iter().map(|new| new.replaces).collect();
        let ended = effects.ended.iter().map(|(_, id)| *id).filter(|id| !replaced.contains(id));
        let ended: Vec<_> = ended.map(Write::ForgetContainer).collect();
        if !ended.is_empty() {
            self.store.write_later(ended);
        }
        self.replacements.push(cell, effects.replaced);
    }

    /// A worker has connected and says what it has.
    pub(crate) fn register(
        &self,
        session: &Arc<Session>,
        vm: VmId,
        registration: &v1::Registration,
    ) -> Result<(), Refusal> {
        let address: SocketAddr = argument("peer_address", &registration.peer_address)?;
        if address.ip().is_unspecified() || address.port() == 0 {
            return Err(Refusal::Invalid(format!(
                "peer_address {address}: other VMs cannot connect to that"
            )));
        }
        let now = Now::read();
        let (mut observed, strays) = self.observed_containers(registration)?;
        let endpoint = Endpoint::new(address, registration);
        let connected = self.pool.connect(vm, registration, endpoint, session, now)?;
        self.note_limits(vm, registration.limits.unwrap_or_default());
        for key in connected.trees {
            observed.entry(key).or_default();
        }
        let mut follows = followed_images(registration);
        for (key, observed) in &mut observed {
            observed.moved = connected.moved;
            observed.follows = follows.remove(&key.image);
        }
        for (key, observed) in &observed {
            if let Some(cell) = self.trees.get(key) {
                let places = Places::new(self, &cell);
                self.change(&cell, |tree| tree.registered(vm, observed, &places, now));
            }
        }
        strays.into_iter().for_each(|id| session.push(Work::Stray(id)));
        follows.into_keys().for_each(|image| session.push(Work::StrayImage(image)));
        Ok(())
    }

    /// The containers that a worker says it runs, by tree, and those that nobody knows.
    fn observed_containers(
        &self,
        registration: &v1::Registration,
    ) -> Result<(BTreeMap<TreeKey, Observed>, BTreeSet<ContainerId>), Refusal> {
        let (mut observed, mut strays) = (BTreeMap::<TreeKey, Observed>::new(), BTreeSet::new());
        for running in &registration.containers {
            let id: ContainerId = argument("container", &running.container)?;
            let ended = matches!(running.state(), ContainerState::Failed | ContainerState::Stopped);
            match self.trees.of_container(id) {
                Some(cell) => {
                    let observed = observed.entry(cell.key.clone()).or_default();
                    observed.containers.insert(id, running.state());
                }
                None if !ended => drop(strays.insert(id)),
                None => {}
            }
        }
        Ok((observed, strays))
    }

    /// VMs whose lease has ended leave their trees; their containers have failed and are placed again.
    pub(crate) fn expire_leases(&self, now: Now) {
        for lost in self.pool.expire(now.instant) {
            let vm = lost.vm;
            tracing::warn!(%vm, name = lost.name, silent = ?lost.silent, containers = lost.trees.len(), "a VM is lost");
            let cause = format!(
                "{vm} ({}) has been silent for {:.1} s: its worker or its network is gone",
                lost.name,
                lost.silent.as_secs_f64()
            );
            self.lose(&lost, &cause, now);
        }
    }

    /// A worker ends: its VM leaves its trees at once.
    pub(crate) fn leave(&self, vm: VmId, session: &Session, now: Now) {
        let Some(lost) = self.pool.leave(vm, session) else { return };
        tracing::info!(vm = %lost.vm, name = lost.name, containers = lost.trees.len(), "a worker has ended");
        let cause = format!("the worker of {} ({}) has ended", lost.vm, lost.name);
        self.lose(&lost, &cause, now);
    }

    /// What ran on a lost VM has failed and is placed again.
    fn lose(&self, lost: &Lost, cause: &str, now: Now) {
        let vm = lost.vm;
        self.forget_speed(vm);
        for cell in lost.trees.iter().filter_map(|key| self.trees.get(key)) {
            let places = Places::new(self, &cell);
            self.change(&cell, |tree| {
                // It may have come back in this moment; then its registration is what counts.
                if self.pool.is_lost(vm) { tree.lose(vm, cause, &places, now) } else { Effects::default() }
            });
        }
    }
}

/// The images whose tree a worker says it follows.
fn followed_images(registration: &v1::Registration) -> BTreeMap<Digest, Epoch> {
    let follows =
        |status: &v1::ImageStatus| Some((status.image.parse().ok()?, wire::parse_epoch(status.epoch?)));
    registration.images.iter().filter_map(follows).collect()
}
