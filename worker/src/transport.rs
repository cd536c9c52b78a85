//! Sessions between workers: how the relay driver reaches its peers.
//!
//! A *session* is what a child and its parent say to each other about one image. The driver sees only
//! [`Transport`] and the two ends of a session, [`Upstream`] (the child's) and [`Downstream`] (the parent's).
//! Two back ends carry sessions: [`QuicTransport`] and [`TcpTransport`] (TLS 1.3). [`PeerTransport`] is both, or one
//! of them, as the worker was told; a child takes the first of its own that the parent offers too.
//!
//! **Invariant:** nothing here looks into blocks; bytes that arrive are not verified yet.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use ft_core::relay::Class;
use ft_core::{BlockIndex, Digest, VmId};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

use crate::wire::{Decline, Lane, ToChild, ToParent};

mod any;
mod error;
mod framing;
mod in_flight;
mod links;
mod peer;
mod quic;
mod tcp;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tls;

pub use any::PeerTransport;
pub use error::TransportError;
pub use peer::{PeerAddress, TransportChoice, TransportKind};
pub use quic::QuicTransport;
pub use tcp::TcpTransport;
pub use tls::PeerTls;

/// Messages that may wait to be written to a peer; a peer that lets more pile up is disconnected.
pub(crate) const MESSAGE_QUEUE: usize = 4096;
/// Events of one session that may wait for the driver: blocks (≤ 512 KiB each) and small messages.
const EVENT_QUEUE: usize = 2;
/// Sessions that children opened and that nobody has looked at yet.
const OFFER_QUEUE: usize = 64;

/// What the relay driver needs from a network.
pub trait Transport: Send + Sync + 'static {
    /// Where other workers reach this one.
    fn local_addr(&self) -> SocketAddr;

    /// What other workers can use there, the preferred one first.
    fn kinds(&self) -> Vec<TransportKind>;

    /// Opens a session for `image` with the VM `peer`, which listens `at` an address. Sessions with one peer
    /// share a connection. Fails within a deadline.
    fn connect(
        &self,
        peer: VmId,
        at: &PeerAddress,
        image: Digest,
    ) -> BoxFuture<'_, Result<Upstream, TransportError>>;

    /// The next session that a child opens; `None` once the transport is closed.
    fn accept(&self) -> BoxFuture<'_, Option<Offer>>;

    /// What happened so far.
    fn stats(&self) -> Arc<TransportStats>;

    /// Ends every session, tells the peers, and waits for that to reach them (a second at most).
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Counters of a transport.
#[derive(Debug, Default)]
pub struct TransportStats {
    protocol_errors: AtomicU64,
}

impl TransportStats {
    /// Peers that were disconnected because they broke the protocol.
    pub fn protocol_errors(&self) -> u64 {
        self.protocol_errors.load(Ordering::Relaxed)
    }

    fn count_protocol_error(&self) {
        self.protocol_errors.fetch_add(1, Ordering::Relaxed);
    }
}

/// A child's end of a session. Dropping it ends the session.
#[derive(Debug)]
pub struct Upstream {
    /// The parent.
    pub peer: VmId,
    /// Messages to the parent.
    pub requests: mpsc::Sender<ToParent>,
    /// What comes from the parent. An error is the last event.
    pub events: mpsc::Receiver<Result<FromParent, TransportError>>,
    pub(crate) _end: DropGuard,
}

/// What a child hears from its parent.
#[derive(Debug)]
pub enum FromParent {
    /// A block, not yet verified.
    Block(Frame),
    /// A block that was asked for is not to be had there.
    Refused(BlockIndex),
}

/// A block on its way.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Which block.
    pub block: BlockIndex,
    /// How urgent.
    pub class: Class,
    /// The stored bytes, 1 to 512 KiB.
    pub stored: Bytes,
}

/// A session that a child wants to open.
#[derive(Debug)]
pub struct Offer {
    session: Downstream,
}

impl Offer {
    /// The child.
    pub fn peer(&self) -> VmId {
        self.session.peer
    }

    /// The image that it wants.
    pub fn image(&self) -> Digest {
        self.session.image
    }

    /// Opens the session.
    pub fn accept(self) -> Downstream {
        // A new session's queue is empty; if the session is gone, its `requests` say so.
        let _ = self.session.replies.try_send(ToChild::Welcome);
        self.session
    }

    /// Tells the child why not.
    pub fn decline(self, why: Decline) {
        let _ = self.session.replies.try_send(ToChild::Decline(why));
    }
}

/// A parent's end of a session. Dropping it ends the session.
#[derive(Debug)]
pub struct Downstream {
    /// The child.
    pub peer: VmId,
    /// The image.
    pub image: Digest,
    /// What the child wants. An error is the last one.
    pub requests: mpsc::Receiver<Result<ToParent, TransportError>>,
    /// Messages to the child.
    pub replies: mpsc::Sender<ToChild>,
    /// Opens the session's block lanes.
    pub lanes: Arc<dyn LaneOpener>,
}

/// Opens the block lanes of one session.
pub trait LaneOpener: Send + Sync + std::fmt::Debug {
    /// Opens a lane; each at most once per session.
    fn open(&self, lane: Lane) -> BoxFuture<'_, Result<Box<dyn LaneSender>, TransportError>>;
}

/// One block lane of a session.
pub trait LaneSender: Send {
    /// Hands a block to the network; waits while the network takes no more.
    fn send(&mut self, frame: Frame) -> BoxFuture<'_, Result<(), TransportError>>;
}
