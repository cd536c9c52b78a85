//! What waits to be written on one connection, and in which order: what keeps the connection going, then
//! control messages, then demanded blocks, then pushed ones; within a rank, lanes take turns frame by frame.
//!
//! **Invariant:** a lane never has more on its way than its receiver has granted, so nobody waits for a lane whose
//! receiver takes nothing, and what a peer has to keep is bounded.
//!
//! **Invariant:** what waits here is bounded though the peer may read nothing: a ping, a credit for each lane and an
//! end for each session, and bytes for which somebody waits. A peer that uses credit which has not left this side
//! yet, or opens sessions in the place of those, has broken the protocol.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::piece::{Parcel, Piece};
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
    /// Bytes to grant the peer.
    credits: BTreeMap<(u32, MuxLane), u32>,
    /// Sessions of which the peer is to hear that they are over.
    ends: BTreeSet<u32>,
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

    /// Grants the peer `more` bytes of a lane. For a session that is over, that means nothing.
    pub(super) fn grant(&self, session: u32, lane: MuxLane, more: u32) -> Result<(), WireError> {
        let mut state = self.lock();
        if !state.sessions.contains_key(&session) {
            return Ok(());
        }
        let waiting = state.credits.entry((session, lane)).or_default();
        // Who has sent a window more than it was told of has not waited to be told.
        let all = u64::from(*waiting) + u64::from(more);
        let all = u32::try_from(all).ok().filter(|all| *all <= window::of(lane));
        *waiting = all.ok_or(WireError::Unexpected { what: "bytes beyond the credit that was sent" })?;
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// Ends a session and tells the peer. What its lanes still had is dropped.
    pub(super) fn end(&self, session: u32) {
        let mut state = self.lock();
        if state.sessions.contains_key(&session) {
            state.forget(session);
            state.ends.insert(session);
        }
        drop(state);
        self.ready.notify_one();
    }

    /// Ends a session that the peer has ended.
    pub(super) fn forget(&self, session: u32) {
        self.lock().forget(session);
    }

    /// Sessions that are over without the peer having been told.
    pub(super) fn untold_ends(&self) -> usize {
        self.lock().ends.len()
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

    /// Credits, ends and turns that wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        let state = self.lock();
        state.credits.len() + state.ends.len() + state.turns.iter().map(VecDeque::len).sum::<usize>()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Drops everything of a session.
    fn forget(&mut self, session: u32) {
        self.ends.remove(&session);
        if self.sessions.remove(&session).is_some() {
            self.credits.retain(|(of, _), _| *of != session);
            self.turns.iter_mut().for_each(|turns| turns.retain(|(of, _)| *of != session));
        }
    }

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
        if let Some(((session, lane), more)) = self.credits.pop_first() {
            let more = Bytes::copy_from_slice(&more.to_le_bytes());
            return Some(Piece::small(MuxHeader::Credit { session, lane }, more));
        }
        if let Some(session) = self.ends.pop_first() {
            return Some(Piece::small(MuxHeader::End { session }, Bytes::new()));
        }
        self.take_turn()
    }

    fn take_turn(&mut self) -> Option<Piece> {
        loop {
            let (session, lane) = self.turns.iter_mut().find_map(VecDeque::pop_front)?;
            let out = self.sessions.get_mut(&session).and_then(|lanes| lanes.get_mut(&lane));
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
