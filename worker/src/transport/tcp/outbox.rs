//! What waits to be written on one connection, and in which order: what keeps the connection going, then
//! control messages, then demanded blocks, then pushed ones; within a rank, lanes take turns frame by frame.
//!
//! **Invariant:** a lane never has more on its way than its receiver has granted, so nobody waits for a lane whose
//! receiver takes nothing, and what a peer has to keep is bounded.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use super::window;
use crate::wire::{CloseCode, Lane, MAX_CLOSE_REASON, MAX_MUX_DATA, MuxHeader, MuxLane, WireError};

/// Bytes after which no more frames are taken for one write: what is more urgent has not long to wait.
const BATCH: usize = 64 << 10;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct State {
    sessions: BTreeMap<u32, BTreeMap<MuxLane, OutLane>>,
    ping: bool,
    /// Credits and ends. As many as lanes and sessions: a lane's next credit comes after the peer has used this one.
    urgent: VecDeque<Piece>,
    /// The lanes that could send at once, by rank.
    turns: [VecDeque<(u32, MuxLane)>; 3],
    /// The last frame.
    close: Option<Piece>,
    closed: bool,
}

#[derive(Debug)]
struct OutLane {
    parcels: VecDeque<Parcel>,
    /// Bytes that the receiver has room for.
    credit: u32,
    /// Whether it is among the turns.
    queued: bool,
}

/// Bytes that a lane is to carry.
#[derive(Debug, Default)]
pub(super) struct Parcel {
    pub(super) head: Bytes,
    pub(super) body: Bytes,
    /// Told once the kernel has every byte; dropped if that will never be.
    pub(super) done: Option<oneshot::Sender<()>>,
}

/// A frame to be written.
#[derive(Debug)]
pub(super) struct Piece {
    header: [u8; MuxHeader::BYTES],
    head: Bytes,
    body: Bytes,
    pub(super) done: Option<oneshot::Sender<()>>,
}

impl Piece {
    fn small(header: MuxHeader, body: Bytes) -> Self {
        Self { header: header.encode(), head: Bytes::new(), body, done: None }
    }

    pub(super) fn len(&self) -> usize {
        self.header.len() + self.head.len() + self.body.len()
    }

    fn parts(&self) -> [&[u8]; 3] {
        [&self.header, &self.head, &self.body]
    }
}

/// What to write, in order.
pub(super) fn parts(pieces: &[Piece]) -> impl Iterator<Item = &[u8]> {
    pieces.iter().flat_map(Piece::parts)
}

impl Parcel {
    fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Takes the first `len` bytes off.
    fn cut(&mut self, header: MuxHeader, len: usize) -> Piece {
        let head = self.head.split_to(len.min(self.head.len()));
        let body = self.body.split_to(len - head.len());
        let done = if self.len() == 0 { self.done.take() } else { None };
        Piece { header: header.encode(), head, body, done }
    }
}

impl OutLane {
    fn new(lane: MuxLane) -> Self {
        Self { parcels: VecDeque::new(), credit: window::of(lane), queued: false }
    }

    /// How long its next frame is. Not shorter than it could be with more credit: credit comes in time.
    fn next_len(&self) -> Option<u16> {
        let waiting = self.parcels.front()?.len();
        let len = u16::try_from(waiting).unwrap_or(u16::MAX).min(MAX_MUX_DATA);
        (self.credit >= u32::from(len)).then_some(len)
    }
}

fn rank(lane: MuxLane) -> usize {
    match lane {
        MuxLane::Control => 0,
        MuxLane::Blocks(Lane::Demand) => 1,
        MuxLane::Blocks(Lane::Push(_)) => 2,
    }
}

impl Outbox {
    /// A session begins.
    pub(super) fn open(&self, session: u32) {
        self.lock().sessions.insert(session, BTreeMap::new());
    }

    /// Queues bytes on a lane; `false` if there is no such session (any more).
    pub(super) fn push(&self, session: u32, lane: MuxLane, parcel: Parcel) -> bool {
        let mut state = self.lock();
        let Some(lanes) = state.sessions.get_mut(&session) else { return false };
        if parcel.len() > 0 {
            lanes.entry(lane).or_insert_with(|| OutLane::new(lane)).parcels.push_back(parcel);
            state.enqueue(session, lane);
            drop(state);
            self.ready.notify_one();
        }
        true
    }

    /// The peer takes `more` bytes of a lane. For a session that is over, that means nothing.
    pub(super) fn credited(&self, session: u32, lane: MuxLane, more: u32) -> Result<(), WireError> {
        let mut state = self.lock();
        let Some(lanes) = state.sessions.get_mut(&session) else { return Ok(()) };
        let out = lanes.entry(lane).or_insert_with(|| OutLane::new(lane));
        let credit = out.credit.checked_add(more).filter(|credit| more > 0 && *credit <= window::of(lane));
        out.credit = credit.ok_or(WireError::Invalid { field: "credit", value: u64::from(more) })?;
        state.enqueue(session, lane);
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// Grants the peer `more` bytes of a lane.
    pub(super) fn grant(&self, session: u32, lane: MuxLane, more: u32) {
        let more = Bytes::copy_from_slice(&more.to_le_bytes());
        self.urge(session, Piece::small(MuxHeader::Credit { session, lane }, more));
    }

    /// Ends a session and tells the peer. What its lanes still had is dropped.
    pub(super) fn end(&self, session: u32) {
        self.urge(session, Piece::small(MuxHeader::End { session }, Bytes::new()));
        self.forget(session);
    }

    /// Ends a session that the peer has ended.
    pub(super) fn forget(&self, session: u32) {
        self.lock().sessions.remove(&session);
    }

    /// Shows the peer that this side lives.
    pub(super) fn ping(&self) {
        self.lock().ping = true;
        self.ready.notify_one();
    }

    /// Ends everything, and tells the peer why.
    pub(super) fn close(&self, code: CloseCode, reason: &str) {
        let reason = &reason[..reason.floor_char_boundary(MAX_CLOSE_REASON)];
        let mut body = (code as u32).to_le_bytes().to_vec();
        body.extend_from_slice(reason.as_bytes());
        let len = u16::try_from(body.len()).unwrap_or(u16::MAX);
        let last = Piece::small(MuxHeader::Close { len }, body.into());
        self.shut(Some(last));
    }

    /// Ends everything without a word.
    pub(super) fn abandon(&self) {
        self.shut(None);
    }

    fn shut(&self, last: Option<Piece>) {
        let mut state = self.lock();
        if !state.closed {
            *state = State { close: last, closed: true, ..State::default() };
        }
        drop(state);
        self.ready.notify_one();
    }

    /// Waits for something to write; fills `batch`. `false`: that was the last.
    pub(super) async fn next(&self, batch: &mut Vec<Piece>) -> bool {
        loop {
            if !self.lock().fill(batch) {
                return false;
            }
            if !batch.is_empty() {
                return true;
            }
            self.ready.notified().await;
        }
    }

    fn urge(&self, session: u32, piece: Piece) {
        let mut state = self.lock();
        if state.sessions.contains_key(&session) {
            state.urgent.push_back(piece);
        }
        drop(state);
        self.ready.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives a lane its turn, if it can send.
    fn enqueue(&mut self, session: u32, lane: MuxLane) {
        let Some(out) = self.sessions.get_mut(&session).and_then(|lanes| lanes.get_mut(&lane)) else {
            return;
        };
        if !out.queued && out.next_len().is_some() {
            out.queued = true;
            self.turns[rank(lane)].push_back((session, lane));
        }
    }

    /// Takes what is next; `false` if nothing comes any more.
    fn fill(&mut self, batch: &mut Vec<Piece>) -> bool {
        let mut len = 0;
        while len < BATCH
            && let Some(piece) = self.pick()
        {
            len += piece.len();
            batch.push(piece);
        }
        !(self.closed && batch.is_empty())
    }

    fn pick(&mut self) -> Option<Piece> {
        if self.closed {
            return self.close.take();
        }
        if std::mem::take(&mut self.ping) {
            return Some(Piece::small(MuxHeader::Ping, Bytes::new()));
        }
        self.urgent.pop_front().or_else(|| self.take_turn())
    }

    fn take_turn(&mut self) -> Option<Piece> {
        loop {
            let (session, lane) = self.turns.iter_mut().find_map(VecDeque::pop_front)?;
            let out = self.sessions.get_mut(&session).and_then(|lanes| lanes.get_mut(&lane));
            // The lanes of a session that is over keep their places until here.
            let Some(out) = out else { continue };
            out.queued = false;
            let Some(len) = out.next_len() else { continue };
            let Some(parcel) = out.parcels.front_mut() else { continue };
            let piece = parcel.cut(MuxHeader::Data { session, lane, len }, usize::from(len));
            out.credit -= u32::from(len);
            if parcel.len() == 0 {
                out.parcels.pop_front();
            }
            self.enqueue(session, lane);
            return Some(piece);
        }
    }
}
