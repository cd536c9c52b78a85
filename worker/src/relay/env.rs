//! What the tasks of one image share: where blocks go to and come from.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use ft_blockstore::{BlockStore, Origin, StoreError, fetch_blocks};
use ft_core::manifest::{BlockPlace, Layout};
use ft_core::relay::{BlockSet, Input, Rejection, Source};
use ft_core::{BlockIndex, Digest, Epoch};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::arrivals::{Arrivals, Unavailable};
use super::counters::Counters;
use super::waits::Waits;
use super::{BlockMemory, Event, HostLink, PeerTrouble, RelayOptions, Trouble};
use crate::transport::{Transport, TransportError};

/// Shared by the driver and its tasks.
pub(super) struct Env {
    pub(super) image: Digest,
    pub(super) layout: Arc<Layout>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) arrivals: Arrivals,
    pub(super) counters: Counters,
    pub(super) waits: Waits,
    pub(super) link: Arc<HostLink>,
    store: Arc<BlockStore>,
    origin: Arc<dyn Origin>,
    memory: Arc<BlockMemory>,
    events: mpsc::Sender<Event>,
    peer_troubles: mpsc::Sender<PeerTrouble>,
    tasks: TaskTracker,
    epoch: Mutex<Epoch>,
    /// What went wrong last with each source, for people.
    troubles: Mutex<BTreeMap<Source, String>>,
}

impl Env {
    pub(super) fn new(
        options: RelayOptions,
        stored: &BlockSet,
        events: mpsc::Sender<Event>,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            image: options.image,
            arrivals: Arrivals::new(Arc::clone(&options.layout), stored),
            layout: options.layout,
            transport: options.transport,
            counters: Counters::default(),
            waits: Waits::default(),
            link: options.link,
            store: options.store,
            origin: options.origin,
            memory: options.memory,
            events,
            peer_troubles: options.troubles,
            tasks,
            epoch: Mutex::default(),
            troubles: Mutex::default(),
        }
    }

    /// The first index of a block, under which it is known.
    pub(super) fn canonical(&self, index: BlockIndex) -> BlockIndex {
        self.layout.block(index).map_or(index, |place| place.canonical)
    }

    /// Tells the driver. After its end, nobody listens, and that is all right.
    pub(super) async fn post(&self, event: Event) {
        let _ = self.events.send(event).await;
    }

    /// Runs a task of this image; it ends with the handle.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(self.tasks.spawn(task))
    }

    pub(super) fn epoch(&self) -> Epoch {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_epoch(&self, epoch: Epoch) {
        let mut known = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        *known = epoch.max(*known);
    }

    /// Takes a block that arrived: verifies, stores, and tells the driver, on a blocking thread (the hash
    /// takes 0.15 ms, but a disk may stall). Waits while too many are on their way.
    pub(super) async fn ingest(self: &Arc<Self>, block: BlockIndex, stored: Bytes, from: Source) {
        let Some(room) = self.memory.room_to_ingest().await else { return };
        self.counters.received(from, stored.len());
        let env = Arc::clone(self);
        self.tasks.spawn_blocking(move || {
            let input = match env.keep(block, stored, from) {
                Ok(()) => Input::Stored { block, from },
                Err(why) => Input::Rejected { block, from, why },
            };
            drop(room);
            let _ = env.events.blocking_send(Event::Input(input));
        });
    }

    fn keep(&self, block: BlockIndex, stored: Bytes, from: Source) -> Result<(), Rejection> {
        let place = self.layout.block(block).filter(|place| place.stored_len as usize == stored.len());
        let kept = match place {
            Some(place) => self.store.put(&place.id, &stored).map(|()| place),
            None => return Err(self.corrupt(block, from)),
        };
        match kept {
            Ok(place) => {
                self.memory.recent().insert(place.id, stored);
                self.arrivals.came(place.canonical);
                Ok(())
            }
            Err(StoreError::Corrupt { .. }) => Err(self.corrupt(block, from)),
            Err(error) => {
                tracing::warn!(%block, image = %self.image, %error, "a block could not be stored");
                self.note(from, format!("gave it, but this VM cannot store it: {error}"));
                Err(Rejection::Failed)
            }
        }
    }

    /// A wrong block goes no further.
    fn corrupt(&self, block: BlockIndex, from: Source) -> Rejection {
        self.counters.corrupt();
        tracing::warn!(%block, image = %self.image, from = %Named(from), "dropped a block that is not what the manifest says");
        Rejection::Corrupt
    }

    /// The verified stored bytes of a block that is here; `None` (and the driver knows) if they are gone.
    pub(super) async fn stored_bytes(&self, block: BlockIndex) -> Option<Bytes> {
        let place = self.layout.block(block)?;
        if let Some(stored) = self.memory.recent().get(&place.id) {
            return Some(stored);
        }
        match self.store.get_async(place.id).await {
            Ok(Some(stored)) => {
                // Another child most often wants it next.
                self.memory.recent().insert(place.id, stored.clone());
                return Some(stored);
            }
            Ok(None) => tracing::warn!(%block, image = %self.image, "a stored block is gone"),
            Err(error) => {
                if matches!(error, StoreError::Damaged { .. }) {
                    self.counters.corrupt();
                }
                tracing::warn!(%block, image = %self.image, %error, "a stored block is no good");
            }
        }
        self.lost_block(place.canonical).await;
        None
    }

    /// A stored block turned out to be damaged or gone.
    async fn lost_block(&self, block: BlockIndex) {
        self.arrivals.went(block);
        self.post(Event::Input(Input::Dropped { block })).await;
    }

    /// Reads blocks from the origin; each is answered, but for those that have come from elsewhere before the
    /// read began: of them, the engine hears anyway.
    pub(super) async fn fetch_from_origin(self: Arc<Self>, mut blocks: Vec<BlockIndex>, demanded: bool) {
        if !self.link.limits_download() {
            blocks.retain(|block| !self.is_here(*block));
            return self.read_origin(&blocks).await;
        }
        for block in blocks {
            let len = self.layout.block(block).map_or(0, |place| place.stored_len as usize);
            self.link.receive(demanded, len).await;
            if !self.is_here(block) {
                self.read_origin(&[block]).await;
            }
        }
    }

    /// Whether a block is stored. `index` may be any index of it.
    pub(super) fn is_here(&self, index: BlockIndex) -> bool {
        self.arrivals.is_here(self.canonical(index))
    }

    async fn read_origin(self: &Arc<Self>, blocks: &[BlockIndex]) {
        let mut fetched = fetch_blocks(&*self.origin, &self.layout, blocks);
        while let Some((block, result)) = fetched.next().await {
            match result {
                Ok(stored) => self.ingest(block, stored, Source::Origin).await,
                Err(error) => {
                    tracing::warn!(%block, image = %self.image, %error, "the origin did not give a block");
                    self.note(Source::Origin, format!("failed: {error}"));
                    let why = Rejection::Failed;
                    self.post(Event::Input(Input::Rejected { block, from: Source::Origin, why })).await;
                }
            }
        }
    }

    /// Nobody has the block: tells who waits for it, and what was tried.
    pub(super) fn give_up(&self, block: BlockIndex, tried: &[(Source, Rejection)]) {
        let tried: Vec<_> = tried.iter().map(|(source, why)| self.explain(*source, *why)).collect();
        let id = self.layout.block(block).map(|place: &BlockPlace| place.id.to_string()).unwrap_or_default();
        let tried = if tried.is_empty() { "nowhere to turn to".to_owned() } else { tried.join("; ") };
        let cause = format!("block {block} ({id}) of image {} cannot be had: {tried}", self.image);
        tracing::warn!("{cause}");
        self.arrivals.failed(block, &Unavailable::new(cause));
    }

    fn explain(&self, source: Source, why: Rejection) -> String {
        let why = match why {
            Rejection::NotHere => "does not have it".to_owned(),
            Rejection::Corrupt => "gave wrong bytes".to_owned(),
            Rejection::Late => "did not give it in time".to_owned(),
            Rejection::Failed => {
                let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
                troubles.get(&source).cloned().unwrap_or_else(|| "failed".to_owned())
            }
        };
        format!("{} {why}", Named(source))
    }

    fn note(&self, source: Source, trouble: String) {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).insert(source, trouble);
    }

    pub(super) fn report_lost(&self, peer: ft_core::VmId, cause: &TransportError) {
        tracing::info!(%peer, image = %self.image, %cause, "lost a parent");
        self.note(Source::Peer(peer), format!("failed: {cause}"));
        self.report(peer, Trouble::Lost(cause.to_string()));
    }

    pub(super) fn report_stuck(&self, child: ft_core::VmId) {
        tracing::warn!(%child, image = %self.image, "a child takes nothing");
        self.report(child, Trouble::Stuck);
    }

    fn report(&self, peer: ft_core::VmId, what: Trouble) {
        // A full queue means that the manager is away; it will find out by itself.
        let _ = self.peer_troubles.try_send(PeerTrouble { image: self.image, peer, what });
    }
}

/// A source's name, for people.
struct Named(Source);

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Source::Peer(vm) => vm.fmt(f),
            Source::Origin => f.write_str("the origin"),
        }
    }
}
