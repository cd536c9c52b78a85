//! One connection, with its sessions: one task reads, writes, and watches whether the peer lives.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ft_core::VmId;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use super::inbox::{End, Inbox, Origin};
use super::outbox::Outbox;
use super::piece::parts;
use super::send_buffer::SendBuffer;
use super::stream::{Stream, WriteStream, part};
use super::{CLOSE_DEADLINE, Shared, Side};
use crate::transport::{Offer, TransportError};
use crate::wire::{CloseCode, WireError};

/// Who has written nothing for so long, shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_millis(500);
/// Keep-alive periods without a byte from the peer after which it is dead: 2 s.
const SILENT_PERIODS: u32 = 4;
/// Sessions that one child may have open: one per image.
pub(super) const MAX_SESSIONS: usize = 128;

/// See the module.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: VmId,
    pub(super) side: Side,
    pub(super) remote: SocketAddr,
    pub(super) outbox: Outbox,
    pub(super) shared: Shared,
    sessions: Mutex<Sessions>,
    /// Cancelled once the connection is over.
    pub(super) gone: CancellationToken,
    /// How often something was read, and written.
    read: AtomicU64,
    written: AtomicU64,
}

#[derive(Debug, Default)]
struct Sessions {
    open: BTreeMap<u32, Arc<Inbox>>,
    /// The lowest number that no session has had.
    next: u32,
    /// Why the connection is over.
    end: Option<End>,
}

/// Where a frame of a session belongs.
pub(super) enum Found {
    Open(Arc<Inbox>),
    /// The session is over here; its last frames are on their way still.
    Over,
    /// No session has had this number.
    Unknown,
}

impl Connection {
    pub(super) fn new(peer: VmId, side: Side, remote: SocketAddr, shared: Shared) -> Self {
        Self {
            peer,
            side,
            remote,
            outbox: Outbox::default(),
            shared,
            sessions: Mutex::default(),
            gone: CancellationToken::new(),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
        }
    }

    /// Begins a session with the next number.
    pub(super) fn open_next(&self) -> Result<(u32, Arc<Inbox>), TransportError> {
        let mut sessions = self.sessions();
        let number = sessions.next;
        let inbox = self.open_in(&mut sessions, number).map_err(|end| end.error(self.peer))?;
        Ok((number, inbox))
    }

    /// Begins a session with the child's number.
    pub(super) fn open(&self, number: u32) -> Result<Arc<Inbox>, WireError> {
        let mut sessions = self.sessions();
        // The child counts a session until it has heard of its end.
        if sessions.open.len() + self.outbox.untold_ends() >= MAX_SESSIONS {
            return Err(WireError::Unexpected { what: "one session more" });
        }
        self.open_in(&mut sessions, number).map_err(|_| WireError::Unexpected { what: "a session" })
    }

    fn open_in(&self, sessions: &mut Sessions, number: u32) -> Result<Arc<Inbox>, End> {
        if let Some(end) = &sessions.end {
            return Err(end.clone());
        }
        sessions.next = number.checked_add(1).ok_or(End::Closed)?;
        let inbox = Arc::new(Inbox::new(self.side));
        sessions.open.insert(number, Arc::clone(&inbox));
        self.outbox.open(number);
        Ok(inbox)
    }

    pub(super) fn find(&self, number: u32) -> Found {
        let sessions = self.sessions();
        match sessions.open.get(&number) {
            Some(inbox) => Found::Open(Arc::clone(inbox)),
            None if number < sessions.next => Found::Over,
            None => Found::Unknown,
        }
    }

    /// Ends a session from this side.
    pub(super) fn end_session(&self, number: u32) {
        if self.sessions().open.remove(&number).is_some() {
            self.outbox.end(number);
        }
    }

    /// The peer has ended a session.
    pub(super) fn session_ended(&self, number: u32) {
        let inbox = self.sessions().open.remove(&number);
        self.outbox.forget(number);
        if let Some(inbox) = inbox {
            inbox.end(&End::Session);
        }
    }

    /// The driver has taken something of a session.
    pub(super) fn taken(&self, number: u32, inbox: &Inbox, origin: Origin) {
        let granted = inbox.taken(origin).map(|more| self.outbox.grant(number, origin.lane, more));
        if let Some(Err(error)) = granted {
            self.punish(error);
        }
    }

    /// Why a session that is over is over.
    pub(super) fn error(&self) -> TransportError {
        self.sessions().end.as_ref().unwrap_or(&End::Session).error(self.peer)
    }

    pub(super) fn is_open(&self) -> bool {
        self.sessions().end.is_none()
    }

    /// Ends the connection because the peer broke the protocol, and counts it.
    pub(super) fn punish(&self, error: WireError) {
        if self.finish(&End::Protocol(error)) {
            self.shared.stats.count_protocol_error();
            tracing::warn!(peer = %self.peer, source = %error, "disconnecting a peer that broke the protocol");
            self.outbox.close(CloseCode::Protocol, &error.to_string());
        }
    }

    /// Ends the connection in an orderly way.
    pub(super) fn close(&self, code: CloseCode, reason: &str) {
        self.finish(&End::Closed);
        self.outbox.close(code, reason);
    }

    /// Ends every session; `false` if the connection was over already.
    fn finish(&self, end: &End) -> bool {
        let mut sessions = self.sessions();
        let first = sessions.end.is_none();
        let end = sessions.end.get_or_insert_with(|| end.clone()).clone();
        for inbox in std::mem::take(&mut sessions.open).into_values() {
            inbox.end(&end);
        }
        drop(sessions);
        self.gone.cancel();
        first
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something came from the peer.
    pub(super) fn heard(&self) {
        self.read.fetch_add(1, Ordering::Relaxed);
    }

    /// Runs the connection to its end. Children that open sessions are offered to `offers`.
    pub(super) async fn run(self: Arc<Self>, stream: Stream, offers: Option<mpsc::Sender<Offer>>) {
        let buffer = send_buffer(&stream);
        let (mut read, mut write) = stream.split();
        {
            let writing = self.write(&mut write, buffer);
            let reading = self.read_all(&mut read, offers.as_ref());
            tokio::pin!(writing, reading);
            tokio::select! {
                biased;
                () = self.shared.frozen() => std::future::pending().await,
                written = &mut writing => if let Err(error) = written {
                    // The peer may have said why before it went, and the kernel has that still.
                    match timeout(CLOSE_DEADLINE, reading).await {
                        Ok(said) => self.heed(said),
                        Err(_) => self.lose(&error),
                    }
                },
                said = &mut reading => {
                    self.heed(said);
                    self.outbox.abandon();
                    self.last_words(writing).await;
                }
                () = self.watch() => self.lose(&"nothing was heard from it for 2 s"),
            }
        }
        self.outbox.abandon();
        part(&mut read, &mut write).await;
    }

    /// Ends everything as the peer's last word, or its breach of the protocol, has it.
    fn heed(&self, said: Result<End, WireError>) {
        match said {
            Ok(end) => drop(self.finish(&end)),
            Err(error) => self.punish(error),
        }
    }

    fn lose(&self, cause: &dyn std::fmt::Display) {
        self.finish(&End::lost(cause));
    }

    async fn last_words(&self, writing: impl Future<Output = std::io::Result<()>>) {
        if timeout(CLOSE_DEADLINE, writing).await.is_err() {
            tracing::debug!(peer = %self.peer, "did not hear why its connection was closed");
        }
    }

    /// Writes until the outbox is closed.
    async fn write(&self, stream: &mut WriteStream, mut buffer: Option<SendBuffer>) -> std::io::Result<()> {
        let mut batch = Vec::new();
        while self.outbox.next(&mut batch).await {
            stream.write_all(parts(&batch)).await?;
            if let Some(buffer) = &mut buffer {
                buffer.adjust();
            }
            self.written.fetch_add(1, Ordering::Relaxed);
            for done in batch.drain(..).filter_map(|piece| piece.done) {
                // Who asked may be gone.
                let _ = done.send(());
            }
        }
        Ok(())
    }

    /// Shows the peer that this side lives; returns when the peer does not any more.
    async fn watch(&self) {
        let mut tick = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        // A host that stood still blames nobody for it.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent = 0;
        let (mut read_before, mut written_before) = (0, 0);
        while silent < SILENT_PERIODS {
            tick.tick().await;
            let (read, written) = (self.read.load(Ordering::Relaxed), self.written.load(Ordering::Relaxed));
            if written == written_before {
                self.outbox.ping();
            }
            silent = if read == read_before { silent + 1 } else { 0 };
            (read_before, written_before) = (read, written);
        }
    }
}

/// None if there is no descriptor for it: then the kernel's default holds.
fn send_buffer(stream: &Stream) -> Option<SendBuffer> {
    let socket = stream.socket().try_clone_to_owned();
    socket
        .inspect_err(|error| tracing::debug!(%error, "the send buffer keeps its size"))
        .ok()
        .map(SendBuffer::of)
}
