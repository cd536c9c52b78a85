//! One VM of the pool.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ft_core::{Digest, VmId};
use ft_proto::v1;

use crate::ids::TreeKey;
use crate::session::Session;
use crate::state::record::VmRecord;
use crate::time::Now;

/// The most images that a VM may report on; what is beyond is not shown.
const MAX_IMAGES: usize = 1024;
/// The most transports that a VM may offer; what is beyond is not passed on.
const MAX_TRANSPORTS: usize = 8;

/// How a VM's worker is reached by its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// As its worker names them; other workers know what they mean.
    transports: Vec<i32>,
}

impl Endpoint {
    /// What a worker registered, as far as it is of use to others.
    pub(crate) fn new(address: SocketAddr, registration: &v1::Registration) -> Self {
        Self { address, transports: registration.transports.iter().copied().take(MAX_TRANSPORTS).collect() }
    }

    /// What another worker is told of it.
    pub(crate) fn describe(self, vm: VmId) -> v1::Peer {
        v1::Peer { vm: vm.to_string(), address: self.address.to_string(), transports: self.transports }
    }
}

/// How the manager and a VM's worker are connected.
#[derive(Debug)]
pub(super) enum Link {
    Connected(Arc<Session>),
    /// The command stream broke; the lease still runs.
    Suspect,
    /// The lease has ended.
    Lost,
}

/// A VM that has joined.
#[derive(Debug)]
pub(super) struct Vm {
    pub(super) record: VmRecord,
    pub(super) link: Link,
    /// Where its worker listens for peers.
    pub(super) endpoint: Option<Endpoint>,
    pub(super) cpus: u32,
    pub(super) memory_bytes: u64,
    /// Of its traffic, as its worker has them.
    pub(super) limits: v1::VmLimits,
    /// The best that its worker has measured lately; 0: not known.
    pub(super) upload_bytes_per_s: u64,
    pub(super) heard: Now,
    pub(super) lease_ends: Instant,
    /// What its worker last said about images.
    pub(super) images: BTreeMap<Digest, v1::ImageStatus>,
    /// How many containers of each tree are placed here and have not ended.
    pub(super) trees: BTreeMap<TreeKey, u32>,
}

impl Vm {
    pub(super) fn new(record: VmRecord, link: Link, now: Now, lease_ends: Instant) -> Self {
        Self {
            record,
            link,
            endpoint: None,
            cpus: 0,
            memory_bytes: 0,
            limits: v1::VmLimits::default(),
            upload_bytes_per_s: 0,
            heard: now,
            lease_ends,
            images: BTreeMap::new(),
            trees: BTreeMap::new(),
        }
    }

    pub(super) fn session(&self) -> Option<&Arc<Session>> {
        match &self.link {
            Link::Connected(session) => Some(session),
            Link::Suspect | Link::Lost => None,
        }
    }

    pub(super) fn is_connected_by(&self, session: &Session) -> bool {
        self.session().is_some_and(|own| std::ptr::eq(Arc::as_ptr(own), session))
    }

    pub(super) fn hear(&mut self, now: Now, lease: Duration) {
        self.heard = now;
        self.lease_ends = now.instant + lease;
    }

    pub(super) fn note_images(&mut self, images: &[v1::ImageStatus]) {
        self.images = images
            .iter()
            .take(MAX_IMAGES)
            .filter_map(|status| Some((status.image.parse().ok()?, status.clone())))
            .collect();
    }

    /// How many containers are placed here.
    pub(super) fn load(&self) -> u32 {
        self.trees.values().sum()
    }

    /// The tenant whose containers run here. A VM serves one tenant at a time.
    pub(super) fn tenant(&self) -> Option<&str> {
        self.trees.keys().next().map(|key| &*key.tenant)
    }

    pub(super) fn add(&mut self, key: &TreeKey) {
        *self.trees.entry(key.clone()).or_default() += 1;
    }

    pub(super) fn remove(&mut self, key: &TreeKey) {
        if let Some(count) = self.trees.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.trees.remove(key);
            }
        }
    }

    pub(super) fn state(&self) -> v1::VmState {
        match self.link {
            Link::Lost => v1::VmState::Lost,
            _ if self.record.draining => v1::VmState::Draining,
            Link::Suspect => v1::VmState::Suspect,
            Link::Connected(_) if self.trees.is_empty() => v1::VmState::Free,
            Link::Connected(_) => v1::VmState::Active,
        }
    }

    pub(super) fn describe(&self, id: VmId) -> v1::Vm {
        v1::Vm {
            vm: id.to_string(),
            name: self.record.name.clone(),
            state: self.state().into(),
            peer_address: self
                .endpoint
                .as_ref()
                .map(|endpoint| endpoint.address.to_string())
                .unwrap_or_default(),
            containers: self.load(),
            last_heard_unix_us: self.heard.unix_us,
            images: self.images.values().cloned().collect(),
            cpus: self.cpus,
            memory_bytes: self.memory_bytes,
            limits: Some(self.limits),
            upload_bytes_per_s: self.upload_bytes_per_s,
            // The caller knows.
            slow: false,
            slow_cause: String::new(),
        }
    }
}
