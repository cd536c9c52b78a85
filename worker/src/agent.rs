//! The worker's side of the control plane: joins, keeps a session with the manager, carries out its commands.
//!
//! **Invariant:** losing the manager stops nothing that runs: sessions between peers, mounts and containers go
//! on, reports wait in the [outbox](crate::outbox), and the session is made again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ft_blockstore::{BlockStore, OriginContext};
use ft_core::VmId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::images::Images;
use crate::lifecycle::Containers;
use crate::outbox::Outbox;
use crate::relay::{BlockMemory, HostLink, PeerTrouble};
use crate::transport::Transport;

mod backoff;
mod commands;
mod edges;
mod join;
mod news;
mod renewal;
mod session;
mod troubles;

pub(crate) use join::Membership;

/// Commands that may wait while one is carried out. When more come, heartbeats wait as well, so there is room.
const COMMAND_QUEUE: usize = 4096;

/// What the agent works with.
pub(crate) struct Agent {
    pub(crate) vm: VmId,
    pub(crate) name: String,
    /// Where peers reach this worker.
    pub(crate) peer_address: SocketAddr,
    pub(crate) heartbeat: Duration,
    pub(crate) read_deadline: Duration,
    pub(crate) membership: Arc<Membership>,
    pub(crate) images: Arc<Images>,
    pub(crate) containers: Arc<Containers>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) store: Arc<BlockStore>,
    pub(crate) memory: Arc<BlockMemory>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) origins: OriginContext,
    /// Whether images are received whole, whatever the tree's mode is.
    pub(crate) everything: bool,
    pub(crate) link: Arc<HostLink>,
    pub(crate) troubles: mpsc::Sender<PeerTrouble>,
    /// Cancelled when the worker is to end.
    pub(crate) shutdown: CancellationToken,
}

impl Agent {
    /// Serves the manager until the worker is to end.
    pub(crate) async fn run(self: Arc<Self>, troubles: mpsc::Receiver<PeerTrouble>) {
        let (commands, queue) = mpsc::channel(COMMAND_QUEUE);
        let agent = Arc::clone(&self);
        let work = async {
            tokio::join!(
                Arc::clone(&agent).obey(queue),
                agent.report_troubles(troubles),
                agent.keep_identity()
            )
        };
        // The session ends by itself, after it has told the manager.
        tokio::join!(self.keep_session(commands), self.shutdown.run_until_cancelled(work));
    }
}
