//! The transport over TLS 1.3 on TCP: one connection per edge of a tree.
//!
//! The child connects to the parent. Sessions share the connection by frames of at most 64 KiB
//! ([`MuxHeader`](crate::wire::MuxHeader)), which one task writes in order of urgency; little waits in the kernel
//! behind it, so a demanded block overtakes megabytes of pushed ones. Each lane of a session has a window.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ft_core::{Digest, VmId};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::{Mutex as AsyncMutex, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::links::{Links, open_in_time};
use super::tls::PeerTls;
use super::{
    OFFER_QUEUE, Offer, PeerAddress, Transport, TransportError, TransportKind, TransportStats, Upstream,
};

mod assembler;
mod connection;
mod downstream;
mod inbox;
mod outbox;
mod piece;
mod reader;
mod send_buffer;
mod socket;
mod stream;
#[cfg(test)]
mod tests;
mod upstream;
mod window;

use upstream::ParentLink;

/// Children's connections at a time. A tree gives a VM two per function.
pub(super) const MAX_CHILDREN: usize = 1024;
/// How long telling a peer at the end may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// [`Transport`] over TLS on TCP.
#[derive(Debug)]
pub struct TcpTransport {
    local: SocketAddr,
    tls: PeerTls,
    parents: Links<ParentLink>,
    offers: AsyncMutex<mpsc::Receiver<Offer>>,
    pub(super) shared: Shared,
}

/// What every task of the transport has a part in.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    stats: Arc<TransportStats>,
    closed: CancellationToken,
    tasks: TaskTracker,
    /// For children's connections.
    pub(super) room: Arc<Semaphore>,
    /// Cancelled when the transport is to fall silent.
    #[cfg(test)]
    pub(super) frozen: CancellationToken,
}

/// This side's part in a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Parent,
    Child,
}

impl TcpTransport {
    /// Listens at `address` (TCP). Needs a tokio runtime.
    ///
    /// # Errors
    /// [`TransportError::Bind`], [`TransportError::Tls`].
    pub fn bind(address: SocketAddr, tls: PeerTls) -> Result<Self, TransportError> {
        Self::start(Self::listen(address)?, tls, Arc::default())
    }

    /// A listener for [`start`](Self::start).
    pub(super) fn listen(address: SocketAddr) -> Result<TcpListener, TransportError> {
        let kind = TransportKind::Tcp;
        socket::listen(address).map_err(|source| TransportError::Bind { kind, address, source })
    }

    /// Serves at a listener of [`listen`](Self::listen).
    pub(super) fn start(
        listener: TcpListener,
        tls: PeerTls,
        stats: Arc<TransportStats>,
    ) -> Result<Self, TransportError> {
        let unspecified = SocketAddr::from(([0; 4], 0));
        let bind = |source| TransportError::Bind { kind: TransportKind::Tcp, address: unspecified, source };
        let local = listener.local_addr().map_err(bind)?;
        let server = stream::server(&tls)?;
        let (offer_tx, offers) = mpsc::channel(OFFER_QUEUE);
        let shared = Shared::new(stats);
        shared.tasks.spawn(downstream::serve(listener, server, offer_tx, shared.clone()));
        Ok(Self { local, tls, parents: Links::default(), offers: AsyncMutex::new(offers), shared })
    }

    async fn open(&self, peer: VmId, address: SocketAddr, image: Digest) -> Result<Upstream, TransportError> {
        let link = self.link(peer, address).await?;
        link.open_session(image).await
    }

    /// The connection to `peer`: the one there is, or a new one.
    async fn link(&self, peer: VmId, address: SocketAddr) -> Result<Arc<ParentLink>, TransportError> {
        let connect = async {
            let refused =
                |source| TransportError::Connect { kind: TransportKind::Tcp, peer, address, source };
            let tcp = socket::connect(address).await.map_err(|source| refused(Box::new(source)))?;
            let stream = stream::connect(tcp, &self.tls, peer).await.map_err(refused)?;
            Ok(ParentLink::start(peer, address, stream, self.shared.clone()))
        };
        self.parents.get(peer, |link| link.is_open_to(address), connect).await
    }
}

impl Transport for TcpTransport {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn kinds(&self) -> Vec<TransportKind> {
        vec![TransportKind::Tcp]
    }

    fn connect(
        &self,
        peer: VmId,
        at: &PeerAddress,
        image: Digest,
    ) -> BoxFuture<'_, Result<Upstream, TransportError>> {
        open_in_time(&self.shared.closed, peer, self.open(peer, at.address, image)).boxed()
    }

    fn accept(&self) -> BoxFuture<'_, Option<Offer>> {
        async { self.offers.lock().await.recv().await }.boxed()
    }

    fn stats(&self) -> Arc<TransportStats> {
        Arc::clone(&self.shared.stats)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {
            self.shared.closed.cancel();
            self.shared.tasks.close();
            if timeout(CLOSE_DEADLINE, self.shared.tasks.wait()).await.is_err() {
                tracing::debug!("some peers did not hear of the shutdown in time");
            }
        }
        .boxed()
    }
}

impl Shared {
    fn new(stats: Arc<TransportStats>) -> Self {
        Self {
            stats,
            closed: CancellationToken::new(),
            tasks: TaskTracker::new(),
            room: Arc::new(Semaphore::new(MAX_CHILDREN)),
            #[cfg(test)]
            frozen: CancellationToken::new(),
        }
    }

    /// Waits until the transport is to fall silent, which only tests want.
    async fn frozen(&self) {
        #[cfg(test)]
        self.frozen.cancelled().await;
        #[cfg(not(test))]
        std::future::pending::<()>().await;
    }
}
