//! The child's side: a connection to a parent, and the sessions over it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ft_core::{Digest, VmId};
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Shared, code, priority};
use crate::transport::framing::PeerReader;
use crate::transport::{EVENT_QUEUE, FromParent, MESSAGE_QUEUE, TransportError, Upstream};
use crate::wire::{CloseCode, Hello, Lane, ToChild, ToParent, WireError};

/// How long a parent may take to say what a stream that it opened is for.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);

/// A connection to a parent. It is closed when its last session ends.
#[derive(Debug)]
pub(super) struct ParentLink {
    peer: VmId,
    connection: Connection,
    next_session: AtomicU32,
    /// Where the block streams of each session go.
    sessions: Arc<Sessions>,
    shared: Shared,
}

type Sessions = Mutex<BTreeMap<u32, mpsc::Sender<(Lane, RecvStream)>>>;
type Events = mpsc::Sender<Result<FromParent, TransportError>>;

impl ParentLink {
    pub(super) fn start(peer: VmId, connection: Connection, shared: Shared) -> Arc<Self> {
        let sessions = Arc::<Sessions>::default();
        let dispatch = dispatch(peer, connection.clone(), Arc::clone(&sessions), shared.clone());
        shared.tasks.spawn(dispatch);
        Arc::new(Self { peer, connection, next_session: AtomicU32::new(0), sessions, shared })
    }

    /// Whether a new session can use this connection.
    pub(super) fn is_open_to(&self, address: SocketAddr) -> bool {
        self.connection.close_reason().is_none() && self.connection.remote_address() == address
    }

    pub(super) async fn open_session(self: Arc<Self>, image: Digest) -> Result<Upstream, TransportError> {
        let peer = self.peer;
        let lost = |source: quinn::ConnectionError| TransportError::Lost { peer, source: Box::new(source) };
        let number = self.next_session.fetch_add(1, Ordering::Relaxed);
        let (mut send, receive) = self.connection.open_bi().await.map_err(lost)?;
        // Only fails once the stream is closed, and then the write below says so.
        let _ = send.set_priority(priority::CONTROL);
        let (lane_tx, lanes) = mpsc::channel(Lane::ALL.len());
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(number, lane_tx);
        let session = Session { number, link: self, end: CancellationToken::new() };
        let hello = ToParent::Hello(Hello { session: number, image }).encode();
        send.write_all(&hello).await.map_err(|source| session.lost(source))?;
        let mut control = PeerReader { peer, stream: receive };
        match session.judge(control.message(ToChild::decode).await)? {
            Some(ToChild::Welcome) => {}
            Some(ToChild::Decline(why)) => return Err(TransportError::Declined { peer, why }),
            Some(ToChild::Refuse { .. }) => return Err(session.unexpected("a refusal before the welcome")),
            None => return Err(TransportError::Ended { peer }),
        }
        Ok(session.run(send, control, lanes))
    }
}

impl Drop for ParentLink {
    fn drop(&mut self) {
        self.connection.close(code(CloseCode::Done), b"");
    }
}

/// Hands the parent's block streams to their sessions, until the connection ends.
async fn dispatch(peer: VmId, connection: Connection, sessions: Arc<Sessions>, shared: Shared) {
    while let Ok(stream) = connection.accept_uni().await {
        let connection = connection.clone();
        let sessions = Arc::clone(&sessions);
        let shared_in_task = shared.clone();
        shared.tasks.spawn(async move {
            let mut reader = PeerReader { peer, stream };
            match timeout(HEADER_DEADLINE, reader.stream_header()).await {
                // A session that has ended meanwhile: dropping the stream stops it.
                Ok(Ok(header)) => {
                    let session =
                        sessions.lock().unwrap_or_else(PoisonError::into_inner).get(&header.session).cloned();
                    if let Some(session) = session {
                        let _ = session.try_send((header.lane, reader.stream));
                    }
                }
                Ok(Err(error)) => shared_in_task.punish(&connection, &error),
                Err(_) => tracing::debug!(%peer, "a block stream without a header"),
            }
        });
    }
}

/// One session over the link.
struct Session {
    number: u32,
    link: Arc<ParentLink>,
    end: CancellationToken,
}

impl Session {
    /// Starts the session's tasks, and gives the driver its end.
    fn run(
        self,
        send: SendStream,
        control: PeerReader<RecvStream>,
        lanes: mpsc::Receiver<(Lane, RecvStream)>,
    ) -> Upstream {
        let peer = self.link.peer;
        let (requests, request_rx) = mpsc::channel(MESSAGE_QUEUE);
        let (event_tx, events) = mpsc::channel(EVENT_QUEUE);
        let _end = self.end.clone().drop_guard();
        let session = Arc::new(self);
        session.spawn(&event_tx, write_requests(peer, send, request_rx));
        session.spawn(&event_tx, read_control(control, event_tx.clone()));
        session.spawn(&event_tx, Arc::clone(&session).take_lanes(lanes, event_tx.clone()));
        Upstream { peer, requests, events, _end }
    }

    /// Reads each lane that the parent opens.
    async fn take_lanes(
        self: Arc<Self>,
        mut lanes: mpsc::Receiver<(Lane, RecvStream)>,
        events: Events,
    ) -> Result<(), TransportError> {
        let peer = self.link.peer;
        let mut seen = Vec::new();
        while let Some((lane, stream)) = lanes.recv().await {
            if seen.contains(&lane) {
                let source = WireError::Unexpected { what: "a second stream of a lane" };
                return Err(TransportError::Protocol { peer, source });
            }
            seen.push(lane);
            self.spawn(&events, read_lane(PeerReader { peer, stream }, events.clone()));
        }
        Ok(())
    }

    fn spawn(
        self: &Arc<Self>,
        events: &Events,
        work: impl Future<Output = Result<(), TransportError>> + Send + 'static,
    ) {
        let session = Arc::clone(self);
        let events = events.clone();
        self.link.shared.tasks.spawn(async move { session.supervise(work, events).await });
    }

    /// Runs a part of the session until it is done, it fails, or the session ends. A failure ends the session.
    async fn supervise(&self, work: impl Future<Output = Result<(), TransportError>>, events: Events) {
        let Some(Err(error)) = self.end.run_until_cancelled(work).await else { return };
        self.link.shared.punish(&self.link.connection, &error);
        // Waits for the driver to take what came before; ends when the driver drops its end.
        self.end.run_until_cancelled(events.send(Err(error))).await;
        self.end.cancel();
    }

    fn judge<T>(&self, result: Result<T, TransportError>) -> Result<T, TransportError> {
        result.inspect_err(|error| self.link.shared.punish(&self.link.connection, error))
    }

    fn unexpected(&self, what: &'static str) -> TransportError {
        let error = TransportError::Protocol { peer: self.link.peer, source: WireError::Unexpected { what } };
        self.link.shared.punish(&self.link.connection, &error);
        error
    }

    fn lost(&self, source: quinn::WriteError) -> TransportError {
        TransportError::Lost { peer: self.link.peer, source: Box::new(source) }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.link.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

/// Writes the child's messages until its end of the session is dropped.
async fn write_requests(
    peer: VmId,
    mut send: SendStream,
    mut requests: mpsc::Receiver<ToParent>,
) -> Result<(), TransportError> {
    while let Some(request) = requests.recv().await {
        let written = send.write_all(&request.encode()).await;
        written.map_err(|source| TransportError::Lost { peer, source: Box::new(source) })?;
    }
    Ok(())
}

async fn read_control(mut control: PeerReader<RecvStream>, events: Events) -> Result<(), TransportError> {
    let peer = control.peer;
    while let Some(message) = control.message(ToChild::decode).await? {
        let ToChild::Refuse { block } = message else {
            let what = "a second answer to a hello";
            return Err(TransportError::Protocol { peer, source: WireError::Unexpected { what } });
        };
        if events.send(Ok(FromParent::Refused(block))).await.is_err() {
            return Ok(());
        }
    }
    Err(TransportError::Ended { peer })
}

/// Reads blocks as fast as the driver takes them; what it does not take stays with the parent.
async fn read_lane(mut lane: PeerReader<RecvStream>, events: Events) -> Result<(), TransportError> {
    while let Some(frame) = lane.frame().await? {
        if events.send(Ok(FromParent::Block(frame))).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
