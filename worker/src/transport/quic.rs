//! The transport over QUIC: one endpoint and UDP socket per worker, one connection per edge of a tree.
//!
//! The child connects to the parent. A session is a bidirectional stream that the child opens (control), and
//! unidirectional streams from the parent, one per lane. Control and demand streams have a higher priority
//! than push streams: a demanded block overtakes megabytes of pushed ones on the same connection.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use ft_core::{Digest, VmId};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::links::{Links, open_in_time};
use super::tls::{PeerTls, SERVER_NAME};
use super::{
    OFFER_QUEUE, Offer, PeerAddress, Transport, TransportError, TransportKind, TransportStats, Upstream,
};
use crate::wire::CloseCode;

mod config;
mod downstream;
mod gathering;
mod socket;
#[cfg(test)]
mod tests;
mod upstream;
mod window;

use upstream::ParentLink;

/// How long telling the peers at the end may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// [`Transport`] over QUIC.
#[derive(Debug)]
pub struct QuicTransport {
    pub(super) endpoint: quinn::Endpoint,
    local: SocketAddr,
    tls: PeerTls,
    config: Arc<quinn::TransportConfig>,
    parents: Links<ParentLink>,
    offers: AsyncMutex<mpsc::Receiver<Offer>>,
    shared: Shared,
}

/// What every task of the transport has a part in.
#[derive(Clone, Debug)]
struct Shared {
    stats: Arc<TransportStats>,
    closed: CancellationToken,
    tasks: TaskTracker,
}

impl QuicTransport {
    /// Listens at `address` (UDP).
    ///
    /// # Errors
    /// [`TransportError::Bind`], [`TransportError::Tls`].
    pub fn bind(address: SocketAddr, tls: PeerTls) -> Result<Self, TransportError> {
        let socket = Self::socket(address)?;
        Self::start(socket, tls, Arc::default())
    }

    /// A socket for [`start`](Self::start).
    pub(super) fn socket(address: SocketAddr) -> Result<UdpSocket, TransportError> {
        let kind = TransportKind::Quic;
        config::socket(address).map_err(|source| TransportError::Bind { kind, address, source })
    }

    /// Serves over a socket of [`socket`](Self::socket).
    pub(super) fn start(
        socket: UdpSocket,
        tls: PeerTls,
        stats: Arc<TransportStats>,
    ) -> Result<Self, TransportError> {
        let unspecified = SocketAddr::from(([0; 4], 0));
        let local = socket.local_addr();
        let address = *local.as_ref().unwrap_or(&unspecified);
        let bind = |source| TransportError::Bind { kind: TransportKind::Quic, address, source };
        let local = local.map_err(bind)?;
        let endpoint = quinn::Endpoint::new(
            quinn::EndpointConfig::default(),
            Some(config::server(&tls)?),
            socket,
            Arc::new(socket::GatheringRuntime),
        )
        .map_err(bind)?;
        let (offer_tx, offers) = mpsc::channel(OFFER_QUEUE);
        let shared = Shared { stats, closed: CancellationToken::new(), tasks: TaskTracker::new() };
        shared.tasks.spawn(downstream::serve(endpoint.clone(), offer_tx, shared.clone()));
        Ok(Self {
            endpoint,
            local,
            tls,
            config: config::to_parents(),
            parents: Links::default(),
            offers: AsyncMutex::new(offers),
            shared,
        })
    }

    async fn open(&self, peer: VmId, address: SocketAddr, image: Digest) -> Result<Upstream, TransportError> {
        let link = self.link(peer, address).await?;
        link.open_session(image).await
    }

    /// The connection to `peer`: the one there is, or a new one.
    async fn link(&self, peer: VmId, address: SocketAddr) -> Result<Arc<ParentLink>, TransportError> {
        let connect = async {
            let config = config::client(&self.tls, peer, Arc::clone(&self.config))?;
            let refused =
                |source| TransportError::Connect { kind: TransportKind::Quic, peer, address, source };
            let connecting = self
                .endpoint
                .connect_with(config, address, SERVER_NAME)
                .map_err(|source| refused(Box::new(source)))?;
            let connection = connecting.await.map_err(|source| refused(Box::new(source)))?;
            Ok(ParentLink::start(peer, connection, self.shared.clone()))
        };
        self.parents.get(peer, |link| link.is_open_to(address), connect).await
    }
}

impl Transport for QuicTransport {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn kinds(&self) -> Vec<TransportKind> {
        vec![TransportKind::Quic]
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
            self.endpoint.close(code(CloseCode::Shutdown), b"shutting down");
            self.shared.tasks.close();
            let told = async { tokio::join!(self.endpoint.wait_idle(), self.shared.tasks.wait()) };
            if timeout(CLOSE_DEADLINE, told).await.is_err() {
                tracing::debug!("some peers did not hear of the shutdown in time");
            }
        }
        .boxed()
    }
}

/// A close code as QUIC carries it.
fn code(code: CloseCode) -> quinn::VarInt {
    quinn::VarInt::from_u32(code as u32)
}

/// The priorities of a connection's streams: higher goes first.
mod priority {
    pub(super) const CONTROL: i32 = 2;
    pub(super) const DEMAND: i32 = 1;
    pub(super) const PUSH: i32 = 0;
}

impl Shared {
    /// Ends a connection because of `error`, if that is the peer's fault, and counts it.
    fn punish(&self, connection: &quinn::Connection, error: &TransportError) {
        if let TransportError::Protocol { peer, source } = error {
            self.stats.count_protocol_error();
            tracing::warn!(%peer, %source, "disconnecting a peer that broke the protocol");
            connection.close(code(CloseCode::Protocol), source.to_string().as_bytes());
        }
    }
}
