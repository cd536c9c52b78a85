//! Provisioning: from the call to a stream of the states that the containers reach.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ft_core::{Digest, VmId};
use ft_proto::v1;
use prost::Message as _;
use tokio::sync::mpsc;

use crate::core::Core;
use crate::functions::Function;
use crate::ids::{ContainerId, TreeKey};
use crate::pool::Wanted;
use crate::refusal::{Refusal, argument};
use crate::state::Write;
use crate::state::record::{ContainerRecord, ContainerSpec, Distribution};
use crate::time::Now;
use crate::trees::{Container, ManagedTree, TreeCell};
use crate::wire;

/// The most containers of one call.
const MAX_COUNT: u32 = 100_000;
/// The most bytes of one container's arguments and environment together.
const MAX_SPEC_BYTES: usize = 256 << 10;
/// The longest idempotency key.
const MAX_KEY_BYTES: usize = 256;
/// The most idempotency keys that are remembered.
const MAX_KEYS: usize = 10_000;
const DEFAULT_DEADLINE: Duration = Duration::from_secs(300);

/// Containers under way, and what becomes of them.
#[derive(Debug)]
pub(crate) struct Provisioning {
    pub(crate) containers: usize,
    pub(crate) events: mpsc::UnboundedReceiver<v1::ContainerEvent>,
    pub(crate) deadline: Duration,
}

/// A checked request.
struct Order {
    function: Arc<Function>,
    distribution: Distribution,
    count: u32,
    spec: Arc<ContainerSpec>,
    only: BTreeSet<VmId>,
    /// Tenant and key; none if the caller gave no key.
    key: Option<(String, String)>,
    /// Of the request, to tell a repeated call from another one with the same key.
    fingerprint: Digest,
}

impl Order {
    fn idempotency_key(&self) -> &str {
        self.key.as_ref().map_or("", |(_, key)| key)
    }
}

impl Core {
    /// Places containers, makes that durable, and sets their start going.
    pub(crate) async fn provision(
        &self,
        tenant: &str,
        request: v1::ProvisionRequest,
    ) -> Result<Provisioning, Refusal> {
        let deadline = match request.deadline_ms {
            0 => DEFAULT_DEADLINE,
            ms => Duration::from_millis(ms.into()),
        };
        let order = self.check(tenant, request)?;
        let (watcher, events) = mpsc::unbounded_channel();
        let placed = match self.place(&order, &watcher)? {
            Placed::Before(containers) => return Ok(Provisioning { containers, events, deadline }),
            Placed::Now(placed) => placed,
        };
        let containers = placed.ids.len();
        self.start(&order, placed).await?;
        Ok(Provisioning { containers, events, deadline })
    }

    fn check(&self, tenant: &str, request: v1::ProvisionRequest) -> Result<Order, Refusal> {
        let function = self.functions.find(tenant, &request.function.parse()?)?;
        if !(1..=MAX_COUNT).contains(&request.count) {
            return Err(Refusal::Invalid(format!("count {}: expected 1 to {MAX_COUNT}", request.count)));
        }
        let distribution = wire::distribution(request.mode, request.shape)
            .ok_or_else(|| Refusal::Invalid("an unknown mode or tree shape".to_owned()))?;
        let bytes: usize = request.env.iter().chain(&request.args).map(String::len).sum();
        if bytes > MAX_SPEC_BYTES {
            let text =
                format!("{bytes} bytes of arguments and environment; at most {MAX_SPEC_BYTES} are accepted");
            return Err(Refusal::Invalid(text));
        }
        if let Some(bad) = request.env.iter().find(|entry| !entry.contains('=') || entry.starts_with('=')) {
            return Err(Refusal::Invalid(format!(
                "environment {:?}: expected KEY=VALUE",
                crate::ids::shorten(bad)
            )));
        }
        if request.idempotency_key.len() > MAX_KEY_BYTES {
            return Err(Refusal::Invalid(format!("the idempotency key has more than {MAX_KEY_BYTES} bytes")));
        }
        let only: BTreeSet<VmId> =
            request.vms.iter().map(|vm| argument("VM", vm)).collect::<Result<_, _>>()?;
        let fingerprint = v1::ProvisionRequest { deadline_ms: 0, ..request.clone() };
        let vms = only.iter().map(|vm: &VmId| vm.0).collect();
        let v1::ProvisionRequest { env, args, memory_bytes, count, idempotency_key, .. } = request;
        let key = (!idempotency_key.is_empty()).then(|| (tenant.to_owned(), idempotency_key));
        Ok(Order {
            function,
            distribution,
            count,
            spec: Arc::new(ContainerSpec { env, args, memory_bytes, vms }),
            only,
            key,
            fingerprint: Digest::of(&fingerprint.encode_to_vec()),
        })
    }

    /// Chooses VMs, or finds what an earlier call with the same key placed.
    fn place(
        &self,
        order: &Order,
        watcher: &mpsc::UnboundedSender<v1::ContainerEvent>,
    ) -> Result<Placed, Refusal> {
        let Some(key) = &order.key else {
            return self.reserve(order, watcher).map(Placed::Now);
        };
        // Held until the new containers are in the map: of two equal calls at once, one places.
        let mut keys = self.keys.lock();
        if let Some(before) = keys.by_key.get(key) {
            if before.fingerprint.is_some_and(|fingerprint| fingerprint != order.fingerprint) {
                return Err(Refusal::KeyReused(key.1.clone()));
            }
            let mut tree = before.cell.lock();
            before.ids.iter().for_each(|id| tree.watch(*id, watcher));
            let known = before.ids.iter().filter(|id| tree.container(**id).is_some()).count();
            return Ok(Placed::Before(known));
        }
        let placed = self.reserve(order, watcher)?;
        let ids = placed.ids.clone();
        keys.insert(
            key.clone(),
            Before { fingerprint: Some(order.fingerprint), cell: Arc::clone(&placed.cell), ids },
        );
        Ok(Placed::Now(placed))
    }

    fn reserve(
        &self,
        order: &Order,
        watcher: &mpsc::UnboundedSender<v1::ContainerEvent>,
    ) -> Result<New, Refusal> {
        order.function.begin_use(order.count)?;
        let placed = self.reserve_in_tree(order, watcher);
        if placed.is_err() {
            order.function.end_use(order.count);
        }
        placed
    }

    fn reserve_in_tree(
        &self,
        order: &Order,
        watcher: &mpsc::UnboundedSender<v1::ContainerEvent>,
    ) -> Result<New, Refusal> {
        let function = &order.function;
        let key = TreeKey { tenant: function.key.tenant.as_str().into(), image: function.record.image };
        let origin = function.record.origin.as_str();
        loop {
            let cell = self.trees.get_or_create(&key, origin, order.distribution);
            let mut tree = cell.lock();
            if tree.is_retired() {
                continue;
            }
            let wanted = Wanted {
                key: &key,
                count: order.count,
                own: &tree.load(),
                only: &order.only,
                suspects: false,
            };
            let vms = self.pool.reserve(&wanted)?;
            tree.distribute(order.distribution, origin);
            let ids = self.trees.name_containers(&cell, order.count);
            let places: Vec<_> = ids.iter().copied().zip(vms).collect();
            tree.reserve(&places, function, &order.spec, order.idempotency_key(), Now::read());
            ids.iter().for_each(|id| tree.watch(*id, watcher));
            drop(tree);
            return Ok(New { cell, ids });
        }
    }

    /// Makes the reserved containers durable and begins with them.
    async fn start(&self, order: &Order, placed: New) -> Result<(), Refusal> {
        let ids = placed.ids;
        let writes = placed.cell.lock().records(&ids);
        let writes = writes.into_iter().map(|(id, record)| Write::Container(id, record)).collect();
        let written = self.store.write(writes).await;
        match &written {
            Ok(()) => {
                self.change(&placed.cell, |tree| tree.begin(&ids, Now::read()));
                self.forget_ended(&placed.cell, &ids);
            }
            Err(error) => {
                let cause = error.to_string();
                self.change(&placed.cell, |tree: &mut ManagedTree| tree.abandon(&ids, &cause, Now::read()));
                if let Some(key) = &order.key {
                    self.keys.lock().remove(key);
                }
            }
        }
        Ok(written?)
    }

    /// Containers that ended while they were made durable (their VM was lost, say) are taken off the disk.
    pub(crate) fn forget_ended(&self, cell: &TreeCell, ids: &[ContainerId]) {
        let tree = cell.lock();
        let has_ended = |id: &ContainerId| tree.container(*id).is_none_or(Container::has_ended);
        let ended: Vec<_> =
            ids.iter().filter(|id| has_ended(id)).map(|id| Write::ForgetContainer(*id)).collect();
        if !ended.is_empty() {
            self.store.write_later(ended);
        }
    }
}

enum Placed {
    /// An earlier call placed so many containers, which are watched now.
    Before(usize),
    /// Reserved, but not durable.
    Now(New),
}

struct New {
    cell: Arc<TreeCell>,
    ids: Vec<ContainerId>,
}

/// What calls with an idempotency key have placed.
#[derive(Debug, Default)]
pub(crate) struct Keys(Mutex<KeyMap>);

#[derive(Debug, Default)]
struct KeyMap {
    by_key: BTreeMap<(String, String), Before>,
    /// The oldest first.
    order: VecDeque<(String, String)>,
}

#[derive(Debug)]
struct Before {
    /// Unknown after a restart of the manager.
    fingerprint: Option<Digest>,
    cell: Arc<TreeCell>,
    ids: Vec<ContainerId>,
}

impl Keys {
    /// A container from before the manager's restart.
    pub(crate) fn restore(&self, record: &ContainerRecord, cell: &Arc<TreeCell>, id: ContainerId) {
        if record.idempotency_key.is_empty() {
            return;
        }
        let key = (record.function.tenant.clone(), record.idempotency_key.clone());
        let mut keys = self.lock();
        match keys.by_key.get_mut(&key) {
            Some(before) => before.ids.push(id),
            None => keys.insert(key, Before { fingerprint: None, cell: Arc::clone(cell), ids: vec![id] }),
        }
    }

    /// From now on a repeated call means the container that took another's place.
    pub(crate) fn replace(&self, record: &ContainerRecord, old: ContainerId, new: ContainerId) {
        let key = (record.function.tenant.clone(), record.idempotency_key.clone());
        let mut keys = self.lock();
        let ids = keys.by_key.get_mut(&key).into_iter().flat_map(|before| &mut before.ids);
        ids.filter(|id| **id == old).for_each(|id| *id = new);
    }

    fn lock(&self) -> MutexGuard<'_, KeyMap> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyMap {
    fn remove(&mut self, key: &(String, String)) {
        self.by_key.remove(key);
        self.order.retain(|other| other != key);
    }

    fn insert(&mut self, key: (String, String), before: Before) {
        self.by_key.insert(key.clone(), before);
        self.order.push_back(key);
        if self.order.len() > MAX_KEYS
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_key.remove(&oldest);
        }
    }
}
