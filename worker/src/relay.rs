//! The relay driver: carries out what `ft_core::relay::Engine` decides, for one image.
//!
//! One task ([`driver`]) owns the engine, feeds it and executes its outputs; it never waits for the network or
//! the disk. Everything that does wait runs in tasks of its own and reports back by [`Event`]s: a session with
//! a parent ([`parents`]), a lane to a child ([`children`]), a read from the origin, a block on its way into the
//! store ([`Env`]).
//!
//! **Invariant:** a block is verified once, when it arrives, before it is stored, relayed or readable.
//! **Invariant:** memory is bounded: what a peer sends waits in the peer once [`Env`]'s permits are taken; what
//! goes to a child is a list of block numbers, as long as the engine's windows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use ft_blockstore::{BlockStore, Origin};
use ft_core::manifest::Layout;
use ft_core::relay::{BlockSet, Edges, Engine, EngineConfig, Input, Mode};
use ft_core::{BlockIndex, Digest, Epoch, VmId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::transport::{Offer, PeerAddress, Transport, TransportError};
use crate::wire::ToParent;

mod arrivals;
mod children;
mod clock;
mod counters;
mod driver;
mod env;
mod host_link;
mod memory;
mod parents;
#[cfg(test)]
mod tests;
mod throttle;
mod waits;

pub use arrivals::{Holding, Unavailable};
pub use counters::Traffic;
pub use host_link::{HostLink, LinkLimits};
pub use memory::BlockMemory;

use arrivals::Presence;
use driver::Driver;
use env::Env;

/// Events that may wait for the driver; who has more waits.
const EVENT_QUEUE: usize = 1024;

/// What relaying an image takes.
pub struct RelayOptions {
    /// The VM that this is.
    pub me: VmId,
    /// The image, by its manifest's digest.
    pub image: Digest,
    /// Its blocks.
    pub layout: Arc<Layout>,
    /// How much of it to receive.
    pub mode: Mode,
    /// Where blocks are kept. The caller keeps the image's blocks pinned there.
    pub store: Arc<BlockStore>,
    /// Where blocks come from in the end.
    pub origin: Arc<dyn Origin>,
    /// How peers are reached.
    pub transport: Arc<dyn Transport>,
    /// The memory that blocks of every image share.
    pub memory: Arc<BlockMemory>,
    /// What the blocks of every image go through.
    pub link: Arc<HostLink>,
    /// Told of every peer with which something is wrong. Full: not told.
    pub troubles: mpsc::Sender<PeerTrouble>,
}

/// Something is wrong with a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTrouble {
    /// The image that it is about.
    pub image: Digest,
    /// The peer.
    pub peer: VmId,
    /// What is wrong.
    pub what: Trouble,
}

/// What is wrong with a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A parent that could not be reached, or whose session broke, and why.
    Lost(String),
    /// A child that takes nothing of what is there for it.
    Stuck,
}

/// How peers are reached.
pub type Addresses = BTreeMap<VmId, PeerAddress>;

/// What the driver is told.
enum Event {
    /// For the engine as it is.
    Input(Input),
    /// Edges from the manager, and where the peers in them are.
    Follow(Edges, Addresses),
    /// A child wants a session.
    Offer(Offer),
    /// Session `number` with a parent is open.
    ParentUp { peer: VmId, number: u64, requests: mpsc::Sender<ToParent> },
    /// Session `number` with a parent is over, or was never to be.
    ParentDown { peer: VmId, number: u64, cause: TransportError },
    /// A child's request in its session `number`.
    FromChild { child: VmId, number: u64, request: ToParent },
    /// A block was handed to the transport, or given up.
    Sent { child: VmId, number: u64, block: BlockIndex },
    /// Session `number` with a child is over.
    ChildDown { child: VmId, number: u64, cause: TransportError },
}

/// One image being relayed. Dropping it ends it; [`Relay::stop`] also waits for the end.
pub struct Relay {
    env: Arc<Env>,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

impl Relay {
    /// Starts relaying with the blocks in `stored` (any index of a block counts) in the store.
    pub fn start(options: RelayOptions, stored: &BlockSet) -> Self {
        let config = EngineConfig::new(options.me, options.mode);
        let engine = Engine::new(config, &options.layout, stored.clone());
        let (events_tx, events) = mpsc::channel(EVENT_QUEUE);
        let tasks = TaskTracker::new();
        let cancel = CancellationToken::new();
        let env = Arc::new(Env::new(options, stored, events_tx, tasks.clone()));
        let driver = Driver::new(engine, Arc::clone(&env));
        tasks.spawn(driver.run(events, cancel.clone()));
        tasks.close();
        Self { env, cancel, tasks }
    }

    /// Takes the manager's edges, unless they are older than those known.
    pub async fn follow(&self, edges: Edges, addresses: Addresses) {
        self.env.post(Event::Follow(edges, addresses)).await;
    }

    /// Takes a session that a child opens.
    pub async fn offer(&self, offer: Offer) {
        self.env.post(Event::Offer(offer)).await;
    }

    /// Takes the function's start-up profile, which replaces an earlier one.
    pub async fn profile(&self, blocks: Vec<BlockIndex>) {
        self.env.post(Event::Input(Input::Profile { blocks })).await;
    }

    /// Has blocks fetched that readers will probably want soon, in this order.
    pub async fn expect(&self, blocks: Vec<BlockIndex>) {
        self.env.post(Event::Input(Input::Expect { blocks })).await;
    }

    /// Whether a block is stored. `index` may be any index of it.
    pub fn is_stored(&self, index: BlockIndex) -> bool {
        self.env.is_here(index)
    }

    /// Waits until a block is stored. `index` may be any index of it.
    ///
    /// # Errors
    /// [`Unavailable`] once it could be had from nowhere; a later call tries anew.
    pub async fn require(&self, index: BlockIndex) -> Result<(), Unavailable> {
        let block = self.env.canonical(index);
        match self.env.arrivals.presence(block) {
            Presence::Here => Ok(()),
            Presence::Awaited(arrival) => {
                let _wait = self.env.waits.begin();
                self.env.post(Event::Input(Input::Demand { block })).await;
                arrival.await.unwrap_or(Err(Unavailable::stopped()))
            }
        }
    }

    /// The verified stored bytes of a block, or `None` if it is not here; one that turns out to be damaged is
    /// given up, and can be required anew.
    pub async fn bytes(&self, index: BlockIndex) -> Option<Bytes> {
        self.env.stored_bytes(index).await
    }

    /// The indices of blocks that are stored; of a block that occurs several times, the first one.
    pub fn stored(&self) -> BlockSet {
        self.env.arrivals.stored()
    }

    /// How much is stored.
    pub fn holding(&self) -> Holding {
        self.env.arrivals.holding()
    }

    /// Waits until every block is stored; for ever if the relay is gone before.
    pub fn completion(&self) -> impl Future<Output = ()> + Send + use<> {
        self.env.arrivals.completion()
    }

    /// Waits until every block is stored, or a block could be had from nowhere.
    pub async fn settled(&self) {
        self.env.arrivals.settled().await;
    }

    /// Since when every block is stored, if that is so.
    pub fn complete_since(&self) -> Option<SystemTime> {
        self.env.arrivals.complete_since()
    }

    /// What has been received and sent.
    pub fn traffic(&self) -> Traffic {
        self.env.counters.read()
    }

    /// How long readers waited for blocks that were not stored, as `ImageStatus.demand_waits` counts it.
    pub fn demand_waits(&self) -> Vec<u64> {
        self.env.waits.read()
    }

    /// The epoch of the newest edges.
    pub fn epoch(&self) -> Epoch {
        self.env.epoch()
    }

    /// Ends all sessions and waits for every task to be over.
    pub async fn stop(&self) {
        self.cancel.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
