//! What has arrived of one session and waits for the driver. The reader never waits for the driver: windows bound
//! what is here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ft_core::VmId;
use tokio::sync::Notify;

use super::Side;
use super::assembler::{Arrived, Assembler};
use super::window::Window;
use crate::transport::TransportError;
use crate::wire::{Lane, MuxLane, WireError};

/// Why a session, or a whole connection, is over.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// The peer ended the session.
    Session,
    /// The peer broke the protocol.
    Protocol(WireError),
    /// The connection is gone.
    Lost(Arc<str>),
    /// This side closed the connection.
    Closed,
}

impl End {
    pub(super) fn lost(cause: &dyn std::fmt::Display) -> Self {
        Self::Lost(cause.to_string().into())
    }

    pub(super) fn error(&self, peer: VmId) -> TransportError {
        match self {
            Self::Session => TransportError::Ended { peer },
            Self::Protocol(source) => TransportError::Protocol { peer, source: *source },
            Self::Lost(cause) => TransportError::Lost { peer, source: cause.to_string().into() },
            Self::Closed => TransportError::Closed,
        }
    }
}

/// Where something came from, and how long it was there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) lane: MuxLane,
    pub(super) len: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Inbox {
    side: Side,
    state: Mutex<State>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct State {
    lanes: BTreeMap<MuxLane, InLane>,
    control: VecDeque<(Arrived, Origin)>,
    demanded: VecDeque<(Arrived, Origin)>,
    pushed: VecDeque<(Arrived, Origin)>,
    end: Option<End>,
}

#[derive(Debug)]
struct InLane {
    window: Window,
    /// Away while the reader uses it.
    assembler: Option<Assembler>,
}

impl Inbox {
    pub(super) fn new(side: Side) -> Self {
        Self { side, state: Mutex::default(), ready: Notify::new() }
    }

    /// Takes up a lane to read `len` bytes of it.
    pub(super) fn begin(&self, lane: MuxLane, len: u16) -> Result<Assembler, WireError> {
        let mut state = self.lock();
        let new = || InLane { window: Window::new(lane), assembler: None };
        let known = state.lanes.entry(lane).or_insert_with(new);
        let len = u32::from(len);
        let excess = WireError::Invalid { field: "length beyond the lane's window", value: u64::from(len) };
        known.window.arrive(len).ok_or(excess)?;
        Ok(known.assembler.take().unwrap_or_else(|| Assembler::new(self.side, lane)))
    }

    /// Leaves a lane until more of it comes.
    pub(super) fn leave(&self, lane: MuxLane, assembler: Assembler) {
        if let Some(lane) = self.lock().lanes.get_mut(&lane) {
            lane.assembler = Some(assembler);
        }
    }

    /// Something is whole.
    pub(super) fn put(&self, arrived: Arrived, origin: Origin) {
        let mut state = self.lock();
        let queue = match origin.lane {
            MuxLane::Control => &mut state.control,
            MuxLane::Blocks(Lane::Demand) => &mut state.demanded,
            MuxLane::Blocks(Lane::Push(_)) => &mut state.pushed,
        };
        queue.push_back((arrived, origin));
        drop(state);
        self.ready.notify_one();
    }

    /// Nothing more comes.
    pub(super) fn end(&self, end: &End) {
        self.lock().end.get_or_insert_with(|| end.clone());
        self.ready.notify_one();
    }

    /// Waits for the next thing: the most urgent one that is here. For one reader.
    pub(super) async fn next(&self) -> Result<(Arrived, Origin), End> {
        loop {
            if let Some(next) = self.lock().next() {
                return next;
            }
            self.ready.notified().await;
        }
    }

    /// The driver has taken something; says how many bytes to grant the peer, if any.
    pub(super) fn taken(&self, origin: Origin) -> Option<u32> {
        self.lock().lanes.get_mut(&origin.lane)?.window.take(origin.len)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&mut self) -> Option<Result<(Arrived, Origin), End>> {
        let queues = [&mut self.control, &mut self.demanded, &mut self.pushed];
        let next = queues.into_iter().find_map(VecDeque::pop_front);
        next.map(Ok).or_else(|| self.end.clone().map(Err))
    }
}
