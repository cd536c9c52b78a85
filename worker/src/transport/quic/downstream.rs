//! The parent's side: children connect, and open sessions.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ft_core::VmId;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use quinn::{Connection, Incoming, RecvStream, SendStream};
use rustls::pki_types::CertificateDer;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::{Shared, code, priority};
use crate::transport::framing::PeerReader;
use crate::transport::tls;
use crate::transport::{Downstream, Frame, LaneOpener, LaneSender, MESSAGE_QUEUE, Offer, TransportError};
use crate::wire::{CloseCode, FrameHeader, Lane, StreamHeader, ToChild, ToParent, WireError};

/// How long a handshake may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// How long a child may take to say hello on a stream that it opened.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// Children's connections at a time. A tree gives a VM two per function.
const MAX_CHILDREN: usize = 1024;
/// Requests of one session that may wait for the driver; more stay with the child.
const REQUEST_QUEUE: usize = 64;

/// Takes connections until the endpoint is closed.
pub(super) async fn serve(endpoint: quinn::Endpoint, offers: mpsc::Sender<Offer>, shared: Shared) {
    let room = Arc::new(Semaphore::new(MAX_CHILDREN));
    while let Some(Some(incoming)) = shared.closed.run_until_cancelled(endpoint.accept()).await {
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            tracing::warn!(address = %incoming.remote_address(), "refusing a peer: {MAX_CHILDREN} are connected");
            incoming.refuse();
            continue;
        };
        let offers = offers.clone();
        let shared_in_task = shared.clone();
        shared.tasks.spawn(async move {
            if let Err(error) = serve_child(incoming, offers, &shared_in_task).await {
                tracing::debug!(%error, "a child's connection ended");
            }
            drop(place);
        });
    }
}

async fn serve_child(
    incoming: Incoming,
    offers: mpsc::Sender<Offer>,
    shared: &Shared,
) -> Result<(), TransportError> {
    let address = incoming.remote_address();
    let stranger = |source| TransportError::NoWorker { address, source };
    let handshake = timeout(HANDSHAKE_DEADLINE, incoming.into_future()).await;
    let connection =
        handshake.map_err(|late| stranger(Box::new(late)))?.map_err(|source| stranger(Box::new(source)))?;
    let peer = match peer_of(&connection) {
        Ok(peer) => peer,
        Err(source) => {
            connection.close(code(CloseCode::NotAllowed), b"not a worker");
            return Err(stranger(source));
        }
    };
    loop {
        let (send, receive) = connection
            .accept_bi()
            .await
            .map_err(|source| TransportError::Lost { peer, source: Box::new(source) })?;
        let child = Child { peer, connection: connection.clone(), shared: shared.clone() };
        shared.tasks.spawn(child.greet(send, receive, offers.clone()));
    }
}

/// Who the child is, by its verified certificate.
fn peer_of(connection: &Connection) -> Result<VmId, Box<dyn std::error::Error + Send + Sync>> {
    let chain = connection.peer_identity().ok_or("no certificate")?;
    let chain = chain.downcast::<Vec<CertificateDer<'static>>>().map_err(|_| "no certificate")?;
    tls::peer_of(&chain)
}

/// A child's connection, as one of its sessions knows it.
struct Child {
    peer: VmId,
    connection: Connection,
    shared: Shared,
}

impl Child {
    /// Reads a new session's hello and offers the session.
    async fn greet(self, send: SendStream, receive: RecvStream, offers: mpsc::Sender<Offer>) {
        let peer = self.peer;
        let mut control = PeerReader { peer, stream: receive };
        let late = TransportError::Deadline { peer, what: "say hello" };
        let hello = timeout(HELLO_DEADLINE, control.message(ToParent::decode)).await.unwrap_or(Err(late));
        let hello = match hello {
            Ok(Some(ToParent::Hello(hello))) => hello,
            Ok(Some(_)) => return self.complain(&self.unexpected("a message before the hello")),
            Ok(None) => return,
            Err(error) => return self.complain(&error),
        };
        let (request_tx, requests) = mpsc::channel(REQUEST_QUEUE);
        let (replies, reply_rx) = mpsc::channel(MESSAGE_QUEUE);
        let lanes = QuicLanes { peer, connection: self.connection.clone(), session: hello.session };
        let session = Downstream { peer, image: hello.image, requests, replies, lanes: Arc::new(lanes) };
        self.shared.tasks.spawn(write_replies(peer, send, reply_rx));
        // A full queue means that the driver is busy; the child's deadline bounds the wait.
        if offers.send(Offer { session }).await.is_ok() {
            self.read_requests(control, request_tx).await;
        }
    }

    /// Passes the child's requests on until either side ends the session.
    async fn read_requests(
        self,
        mut control: PeerReader<RecvStream>,
        requests: mpsc::Sender<Result<ToParent, TransportError>>,
    ) {
        let peer = self.peer;
        loop {
            let message = tokio::select! {
                message = control.message(ToParent::decode) => message,
                () = requests.closed() => return,
            };
            let request = match message {
                Ok(Some(ToParent::Hello(_))) => Err(self.unexpected("a second hello")),
                Ok(Some(request)) => Ok(request),
                Ok(None) => Err(TransportError::Ended { peer }),
                Err(error) => Err(error),
            };
            let last = request.is_err();
            if let Err(error) = &request {
                self.shared.punish(&self.connection, error);
            }
            if requests.send(request).await.is_err() || last {
                return;
            }
        }
    }

    fn unexpected(&self, what: &'static str) -> TransportError {
        TransportError::Protocol { peer: self.peer, source: WireError::Unexpected { what } }
    }

    fn complain(&self, error: &TransportError) {
        tracing::debug!(peer = %self.peer, %error, "a session was not opened");
        self.shared.punish(&self.connection, error);
    }
}

/// Writes the parent's messages until its end of the session is dropped; then the stream ends.
async fn write_replies(peer: VmId, mut send: SendStream, mut replies: mpsc::Receiver<ToChild>) {
    // Only fails once the stream is closed, and then the writes below say so.
    let _ = send.set_priority(priority::CONTROL);
    while let Some(reply) = replies.recv().await {
        if let Err(error) = send.write_all(&reply.encode()).await {
            tracing::debug!(%peer, %error, "a reply did not reach its child");
            return;
        }
    }
}

#[derive(Debug)]
struct QuicLanes {
    peer: VmId,
    connection: Connection,
    session: u32,
}

impl LaneOpener for QuicLanes {
    fn open(&self, lane: Lane) -> BoxFuture<'_, Result<Box<dyn LaneSender>, TransportError>> {
        let peer = self.peer;
        async move {
            let lost = |source| TransportError::Lost { peer, source };
            let mut stream = self.connection.open_uni().await.map_err(|source| lost(Box::new(source)))?;
            let priority = if lane == Lane::Demand { priority::DEMAND } else { priority::PUSH };
            stream.set_priority(priority).map_err(|source| lost(Box::new(source)))?;
            let header = StreamHeader { session: self.session, lane };
            stream.write_all(&header.encode()).await.map_err(|source| lost(Box::new(source)))?;
            let lane: Box<dyn LaneSender> = Box::new(QuicLane { peer, stream });
            Ok(lane)
        }
        .boxed()
    }
}

struct QuicLane {
    peer: VmId,
    stream: SendStream,
}

impl LaneSender for QuicLane {
    fn send(&mut self, frame: Frame) -> BoxFuture<'_, Result<(), TransportError>> {
        let Frame { block, class, stored } = frame;
        // Frames hold one block, so their lengths fit.
        let stored_len = u32::try_from(stored.len()).unwrap_or(u32::MAX);
        let header = FrameHeader { block, class, stored_len }.encode();
        async move {
            let written = self.stream.write_all_chunks(&mut [Bytes::copy_from_slice(&header), stored]).await;
            written.map_err(|source| TransportError::Lost { peer: self.peer, source: Box::new(source) })
        }
        .boxed()
    }
}
