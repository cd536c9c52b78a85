//! The parent's side: children connect, and open sessions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::assembler::Arrived;
use super::connection::Connection;
use super::inbox::{End, Inbox};
use super::outbox::Outbox;
use super::piece::{Parcel, parts};
use super::stream::{self, Stream};
use super::{CLOSE_DEADLINE, MAX_CHILDREN, Shared, Side};
use crate::transport::{
    Downstream, Frame, LaneOpener, LaneSender, MESSAGE_QUEUE, Offer, TransportError, tls,
};
use crate::wire::{CloseCode, FrameHeader, Lane, MuxLane, ToChild, ToParent, WireError};

/// How long a handshake may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// How long a child may take to say hello in a session that it opened.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// Requests of one session that may wait for the driver; more stay with the child.
const REQUEST_QUEUE: usize = 64;
/// How long accepting rests after the operating system refused (say, no file descriptor is left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes connections until the transport is closed.
pub(super) async fn serve(
    listener: TcpListener,
    server: Arc<ServerConfig>,
    offers: mpsc::Sender<Offer>,
    shared: Shared,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.closed.cancelled() => return,
            () = shared.frozen() => std::future::pending().await,
            accepted = listener.accept() => accepted,
        };
        let (tcp, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a peer's connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&shared.room).try_acquire_owned() else {
            tracing::warn!(%address, "refusing a peer: {MAX_CHILDREN} are connected");
            continue;
        };
        let (server, offers, in_task) = (Arc::clone(&server), offers.clone(), shared.clone());
        shared.tasks.spawn(async move {
            if let Err(error) = serve_child(tcp, address, &server, offers, in_task).await {
                tracing::debug!(%error, "a child was not served");
            }
            drop(place);
        });
    }
}

async fn serve_child(
    tcp: TcpStream,
    address: SocketAddr,
    server: &Arc<ServerConfig>,
    offers: mpsc::Sender<Offer>,
    shared: Shared,
) -> Result<(), TransportError> {
    let stranger = |source| TransportError::NoWorker { address, source };
    let handshake = timeout(HANDSHAKE_DEADLINE, stream::accept(tcp, server));
    let handshake = shared.closed.run_until_cancelled(handshake).await.ok_or(TransportError::Closed)?;
    let stream = handshake.map_err(|late| stranger(late.into()))?.map_err(stranger)?;
    let peer = match tls::peer_of(stream.peer_certificates()) {
        Ok(peer) => peer,
        Err(source) => {
            refuse(stream).await;
            return Err(stranger(source));
        }
    };
    let connection = Arc::new(Connection::new(peer, Side::Parent, address, shared.clone()));
    let run = Arc::clone(&connection).run(stream, Some(offers));
    tokio::pin!(run);
    tokio::select! {
        () = &mut run => {}
        () = shared.closed.cancelled() => {
            connection.close(CloseCode::Shutdown, "shutting down");
            run.await;
        }
    }
    tracing::debug!(%peer, error = %connection.error(), "a child's connection ended");
    Ok(())
}

/// Tells a member of the trust domain that is no worker.
async fn refuse(stream: Stream) {
    let (mut read, mut write) = stream.split();
    let outbox = Outbox::default();
    outbox.close(CloseCode::NotAllowed, "not a worker");
    let mut batch = Vec::new();
    outbox.next(&mut batch).await;
    // It need not listen.
    let _ = timeout(CLOSE_DEADLINE, write.write_all(parts(&batch))).await;
    stream::part(&mut read, &mut write).await;
}

/// Serves a session that a child opens: reads its hello, and offers the session.
pub(super) fn greet(
    connection: Arc<Connection>,
    number: u32,
    inbox: Arc<Inbox>,
    offers: mpsc::Sender<Offer>,
) {
    let tasks = connection.shared.tasks.clone();
    let session = Session { connection, number, inbox };
    tasks.spawn(session.serve(offers));
}

struct Session {
    connection: Arc<Connection>,
    number: u32,
    inbox: Arc<Inbox>,
}

impl Session {
    async fn serve(self, offers: mpsc::Sender<Offer>) {
        let image = match timeout(HELLO_DEADLINE, self.next()).await {
            Ok(Ok(ToParent::Hello(hello))) if hello.session == self.number => hello.image,
            Ok(Ok(_)) => {
                let what = "anything but the hello of this session";
                return self.connection.punish(WireError::Unexpected { what });
            }
            Ok(Err(_)) => return,
            Err(_) => return self.connection.end_session(self.number),
        };
        let peer = self.connection.peer;
        let (request_tx, requests) = mpsc::channel(REQUEST_QUEUE);
        let (replies, reply_rx) = mpsc::channel(MESSAGE_QUEUE);
        let lanes = TcpLanes { connection: Arc::clone(&self.connection), session: self.number };
        let offer = Offer { session: Downstream { peer, image, requests, replies, lanes: Arc::new(lanes) } };
        let write = write_replies(Arc::clone(&self.connection), self.number, reply_rx);
        self.connection.shared.tasks.spawn(write);
        // A full queue means that the driver is busy; the child's deadline bounds the wait.
        if offers.send(offer).await.is_ok() {
            self.read_requests(request_tx).await;
        }
    }

    /// The next request. Its bytes may come again at once: the queue to the driver is short.
    async fn next(&self) -> Result<ToParent, End> {
        let (arrived, origin) = self.inbox.next().await?;
        self.connection.taken(self.number, &self.inbox, origin);
        match arrived {
            Arrived::Request(request) => Ok(request),
            // The reader and the decoder let nothing else through.
            Arrived::Reply(_) | Arrived::Block(_) => Err(End::Session),
        }
    }

    /// Passes the child's requests on until either side ends the session.
    async fn read_requests(self, requests: mpsc::Sender<Result<ToParent, TransportError>>) {
        loop {
            let next = tokio::select! {
                next = self.next() => next,
                () = requests.closed() => return,
            };
            let end = match next {
                Ok(ToParent::Hello(_)) => {
                    let error = WireError::Unexpected { what: "a second hello" };
                    self.connection.punish(error);
                    End::Protocol(error)
                }
                Ok(request) => match requests.send(Ok(request)).await {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                Err(end) => end,
            };
            // A driver that is gone needs no cause.
            let _ = requests.send(Err(end.error(self.connection.peer))).await;
            return;
        }
    }
}

/// Writes the parent's messages until its end of the session is dropped; then the session ends.
async fn write_replies(connection: Arc<Connection>, number: u32, mut replies: mpsc::Receiver<ToChild>) {
    while let Some(Some(reply)) = connection.gone.run_until_cancelled(replies.recv()).await {
        let mut bytes = reply.encode();
        while let Ok(reply) = replies.try_recv() {
            bytes.extend_from_slice(&reply.encode());
        }
        if connection.send(number, MuxLane::Control, Bytes::new(), bytes.into()).await.is_err() {
            return;
        }
    }
    connection.end_session(number);
}

#[derive(Debug)]
struct TcpLanes {
    connection: Arc<Connection>,
    session: u32,
}

impl LaneOpener for TcpLanes {
    fn open(&self, lane: Lane) -> BoxFuture<'_, Result<Box<dyn LaneSender>, TransportError>> {
        let connection = Arc::clone(&self.connection);
        let lane = TcpLane { connection, session: self.session, lane: MuxLane::Blocks(lane) };
        let lane: Box<dyn LaneSender> = Box::new(lane);
        async { Ok(lane) }.boxed()
    }
}

struct TcpLane {
    connection: Arc<Connection>,
    session: u32,
    lane: MuxLane,
}

impl LaneSender for TcpLane {
    fn send(&mut self, frame: Frame) -> BoxFuture<'_, Result<(), TransportError>> {
        let Frame { block, class, stored } = frame;
        // Frames hold one block, so their lengths fit.
        let stored_len = u32::try_from(stored.len()).unwrap_or(u32::MAX);
        let header = FrameHeader { block, class, stored_len }.encode();
        self.connection.send(self.session, self.lane, Bytes::copy_from_slice(&header), stored).boxed()
    }
}

impl Connection {
    /// Sends bytes on a lane; waits until the kernel has them.
    pub(super) async fn send(
        &self,
        session: u32,
        lane: MuxLane,
        head: Bytes,
        body: Bytes,
    ) -> Result<(), TransportError> {
        let (done, sent) = oneshot::channel();
        if !self.outbox.push(session, lane, Parcel { head, body, done: Some(done) }) {
            return Err(self.error());
        }
        sent.await.map_err(|_| self.error())
    }
}
