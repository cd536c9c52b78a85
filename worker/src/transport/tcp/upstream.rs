//! The child's side: a connection to a parent, and the sessions over it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use ft_core::{Digest, VmId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::assembler::Arrived;
use super::connection::{Connection, MAX_SESSIONS};
use super::inbox::{End, Inbox, Origin};
use super::stream::Stream;
use super::{Shared, Side};
use crate::transport::{EVENT_QUEUE, FromParent, MESSAGE_QUEUE, TransportError, Upstream};
use crate::wire::{CloseCode, Hello, MuxLane, ToChild, ToParent, WireError};

/// A connection to a parent. It is closed when its last session ends.
#[derive(Debug)]
pub(super) struct ParentLink {
    connection: Arc<Connection>,
    places: Arc<Semaphore>,
}

impl ParentLink {
    pub(super) fn start(peer: VmId, address: SocketAddr, stream: Stream, shared: Shared) -> Arc<Self> {
        let tasks = shared.tasks.clone();
        let closed = shared.closed.clone();
        let connection = Arc::new(Connection::new(peer, Side::Child, address, shared));
        let running = Arc::clone(&connection);
        tasks.spawn(async move {
            let run = Arc::clone(&running).run(stream, None);
            tokio::pin!(run);
            tokio::select! {
                () = &mut run => {}
                () = closed.cancelled() => {
                    running.close(CloseCode::Shutdown, "shutting down");
                    run.await;
                }
            }
        });
        Arc::new(Self { connection, places: Arc::new(Semaphore::new(MAX_SESSIONS)) })
    }

    /// Whether a new session can use this connection.
    pub(super) fn is_open_to(&self, address: SocketAddr) -> bool {
        self.connection.is_open() && self.connection.remote == address
    }

    pub(super) async fn open_session(self: Arc<Self>, image: Digest) -> Result<Upstream, TransportError> {
        let peer = self.connection.peer;
        // Never closed, so this only waits for a place.
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| TransportError::Closed)?;
        let (number, inbox) = self.connection.open_next()?;
        let session = Session { number, inbox, link: self, end: CancellationToken::new(), _place: place };
        let hello = ToParent::Hello(Hello { session: number, image });
        session.tell(hello.encode()).await?;
        match session.next().await.map_err(|end| end.error(peer))? {
            (Arrived::Reply(ToChild::Welcome), origin) => session.taken(origin),
            (Arrived::Reply(ToChild::Decline(why)), _) => {
                return Err(TransportError::Declined { peer, why });
            }
            _ => return Err(session.punish("anything but an answer to a hello").error(peer)),
        }
        Ok(session.run())
    }
}

impl Drop for ParentLink {
    fn drop(&mut self) {
        self.connection.close(CloseCode::Done, "");
    }
}

/// One session over the link.
struct Session {
    number: u32,
    inbox: Arc<Inbox>,
    link: Arc<ParentLink>,
    end: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Session {
    /// Starts the session's tasks, and gives the driver its end.
    fn run(self) -> Upstream {
        let peer = self.link.connection.peer;
        let (requests, request_rx) = mpsc::channel(MESSAGE_QUEUE);
        let (event_tx, events) = mpsc::channel(EVENT_QUEUE);
        let _end = self.end.clone().drop_guard();
        let session = Arc::new(self);
        let tasks = &session.link.connection.shared.tasks;
        tasks.spawn(Arc::clone(&session).write_requests(request_rx));
        tasks.spawn(Arc::clone(&session).deliver(event_tx));
        Upstream { peer, requests, events, _end }
    }

    /// Writes the child's messages until its end of the session is dropped.
    async fn write_requests(self: Arc<Self>, mut requests: mpsc::Receiver<ToParent>) {
        let write = async {
            while let Some(request) = requests.recv().await {
                let mut bytes = request.encode();
                while let Ok(request) = requests.try_recv() {
                    bytes.extend_from_slice(&request.encode());
                }
                // What ended the session is told by its events.
                if self.tell(bytes).await.is_err() {
                    return;
                }
            }
        };
        self.end.run_until_cancelled(write).await;
    }

    /// Hands what comes to the driver, as fast as it takes it; what it does not take stays with the parent.
    async fn deliver(self: Arc<Self>, events: mpsc::Sender<Result<FromParent, TransportError>>) {
        let deliver = async {
            loop {
                let (event, origin) = match self.next().await {
                    Ok((Arrived::Block(frame), origin)) => (Ok(FromParent::Block(frame)), Some(origin)),
                    Ok((Arrived::Reply(ToChild::Refuse { block }), origin)) => {
                        (Ok(FromParent::Refused(block)), Some(origin))
                    }
                    Ok(_) => (Err(self.punish("a second answer to a hello")), None),
                    Err(end) => (Err(end), None),
                };
                let event = event.map_err(|end| end.error(self.link.connection.peer));
                if events.send(event).await.is_err() {
                    return;
                }
                let Some(origin) = origin else { return };
                self.taken(origin);
            }
        };
        self.end.run_until_cancelled(deliver).await;
        self.end.cancel();
    }

    async fn next(&self) -> Result<(Arrived, Origin), End> {
        self.inbox.next().await
    }

    fn taken(&self, origin: Origin) {
        self.link.connection.taken(self.number, &self.inbox, origin);
    }

    async fn tell(&self, bytes: Vec<u8>) -> Result<(), TransportError> {
        self.link.connection.send(self.number, MuxLane::Control, Bytes::new(), bytes.into()).await
    }

    fn punish(&self, what: &'static str) -> End {
        let error = WireError::Unexpected { what };
        self.link.connection.punish(error);
        End::Protocol(error)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.link.connection.end_session(self.number);
    }
}
