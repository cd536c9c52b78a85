//! What the engine is told when it is made.

use super::event::Mode;
use crate::clock::Duration;
use crate::vm::VmId;

/// Who the engine works for, how, and within which limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// The VM that the engine runs on.
    pub me: VmId,
    /// How much of the image is to be received.
    pub mode: Mode,
    /// Windows and deadlines.
    pub limits: Limits,
}

impl EngineConfig {
    /// The configuration with the default limits.
    pub fn new(me: VmId, mode: Mode) -> Self {
        Self { me, mode, limits: Limits::default() }
    }
}

/// Windows, in blocks, and deadlines. A window of 0 is taken as 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Pushes handed to the driver for one child and not yet `Sent`. Few: a demand waits for them.
    pub push_window: u32,
    /// Demanded blocks handed to the driver for one child and not yet `Sent`.
    pub demand_window: u32,
    /// Blocks that one child may wait for at a time; beyond that it is refused.
    pub asks_per_child: u32,
    /// Blocks asked of one source and not yet answered, demands included.
    pub requests_per_source: u32,
    /// Blocks asked of one peer beside the demands, when its pushes do not come.
    pub peer_window: u32,
    /// Blocks that a root has asked of the origin beside the demands.
    pub origin_window: u32,
    /// The same for a VM that is no root and has lost every peer it could turn to.
    pub origin_window_below: u32,
    /// Most blocks of one request to the origin; so much of its window is free before a root asks for more.
    pub origin_batch: u32,
    /// For how long a peer may deliver nothing at all before a request to it is given up.
    pub peer_deadline: Duration,
    /// For how long a request waits at most for a peer that keeps delivering other blocks: it is busy, and
    /// to turn elsewhere would make somebody else busy too.
    pub busy_peer_deadline: Duration,
    /// For how long a request waits for the origin.
    pub origin_deadline: Duration,
    /// When an attempt to make a session is given up.
    pub connect_deadline: Duration,
    /// For how long a parent may push nothing that is wanted before it is asked.
    pub patience: Duration,
    /// How long a VM that is no root and has lost every peer it could turn to waits for new edges before it
    /// pulls from the origin. (What a reader waits for, it fetches at once.)
    pub grace: Duration,
    /// For how long a child may take nothing of what the driver has in hand for it before the manager is told.
    /// A slow one takes a block now and then: with the default, from 0.15 Mbit/s on.
    pub stuck: Duration,
    /// The first pause before what failed is tried again; doubles up to `retry_max`.
    pub retry_min: Duration,
    /// The longest such pause.
    pub retry_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            push_window: 4,
            demand_window: 16,
            asks_per_child: 4096,
            requests_per_source: 64,
            peer_window: 4,
            origin_window: 8,
            origin_window_below: 2,
            origin_batch: 4,
            peer_deadline: Duration::from_secs(2),
            busy_peer_deadline: Duration::from_secs(8),
            origin_deadline: Duration::from_secs(10),
            connect_deadline: Duration::from_secs(3),
            patience: Duration::from_secs(2),
            grace: Duration::from_millis(500),
            stuck: Duration::from_secs(30),
            retry_min: Duration::from_millis(250),
            retry_max: Duration::from_secs(8),
        }
    }
}
