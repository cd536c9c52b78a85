//! What the engine has counted.

/// Blocks, and their stored bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Blocks.
    pub blocks: u64,
    /// Their stored bytes.
    pub bytes: u64,
}

impl Traffic {
    pub(super) fn add(&mut self, bytes: u32) {
        self.blocks += 1;
        self.bytes += u64::from(bytes);
    }
}

/// Counters since the engine was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Blocks stored that came from the origin.
    pub from_origin: Traffic,
    /// Blocks stored that came from peers.
    pub from_peers: Traffic,
    /// Blocks that came although they were stored already.
    pub duplicate: Traffic,
    /// Blocks handed to the driver for children.
    pub sent: Traffic,
    /// Blocks that local readers had to wait for.
    pub demands: u64,
    /// Blocks that peers asked for.
    pub asked: u64,
    /// Answers to peers that a block is not to be had here.
    pub refused: u64,
    /// Blocks that failed verification on arrival.
    pub corrupt: u64,
    /// Requests that were not answered in time.
    pub late: u64,
    /// Times that a second source was asked for a demanded block while it was in flight.
    pub hedges: u64,
    /// Blocks that this VM asked of the origin on its share of the budget.
    pub budgeted: u64,
    /// Blocks asked of another source to compare a parent that keeps blocks back with it.
    pub probes: u64,
    /// Times that a peer turned out far slower than others.
    pub slow_peers: u64,
    /// Requests that a source answered with a failure, and those lost with their session.
    pub lost: u64,
    /// Times that a child took nothing for too long.
    pub stuck: u64,
    /// Times that a block could be had from nowhere.
    pub failed: u64,
    /// Edges ignored because they are not newer than those known.
    pub stale_edges: u64,
    /// Inputs ignored because they make no sense: a block past the end, a set of the wrong size, edges
    /// with no or too many stripes.
    pub ignored: u64,
}
