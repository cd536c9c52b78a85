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
    /// So few missing blocks of a stripe are left to the parent that pushes it.
    pub few: u32,
    /// Blocks that a root has asked of the origin beside the demands.
    pub origin_window: u32,
    /// The same for a VM that is no root and has lost every peer it could turn to.
    pub origin_window_below: u32,
    /// Most blocks of one request to the origin; so much of its window is free before a root asks for more.
    pub origin_batch: u32,
    /// When a demanded block is late at a source of which nothing is known yet.
    pub deadline_start: Duration,
    /// A demanded block is not late before this, however fast its source has been: as long as a busy host may
    /// keep a task waiting, or a transport takes to mend a loss.
    pub deadline_min: Duration,
    /// A demanded block is late at a peer after this, however slow the peer has been. A request that nobody
    /// else could answer is given up then.
    pub deadline_max: Duration,
    /// A peer is waited for at most so many times as long as another source would take.
    pub race_factor: u32,
    /// A peer that delivers nothing at all for this long is not given up yet by a request that nobody waits
    /// for; longer if it is known to be slow, up to `deadline_max`.
    pub background_deadline: Duration,
    /// When a request to the origin is given up; one that nobody waits for, when the origin has delivered nothing at all for
    /// so long, or after four times as long.
    pub origin_deadline: Duration,
    /// For how long a peer that is far slower than others is asked last at first; doubles up to `slow_max`.
    pub slow_min: Duration,
    /// The longest such time.
    pub slow_max: Duration,
    /// Blocks per second that the VMs of a tree which are no roots may read from the origin, all together.
    /// Every VM has its share of it.
    pub origin_budget_rate: u32,
    /// Blocks that they may read at once.
    pub origin_budget_burst: u32,
    /// The least share of a VM, in thousandths of a block per second. Its burst is at least one block.
    pub origin_budget_floor: u32,
    /// When an attempt to make a session is given up.
    pub connect_deadline: Duration,
    /// For how long a parent may push nothing that is wanted before it is asked.
    pub patience: Duration,
    /// A parent that pushes a wanted block at least so often, on average, is not asked whether it has more.
    pub trial_pace: Duration,
    /// Nor is one that pushes about as often as the other stripe's blocks come, unless that is less often than this.
    pub crawl_pace: Duration,
    /// For how long its pace is watched at least, each time that it is compared with another source.
    pub trial_watch: Duration,
    /// After how long without such a push, or with rare ones, it is asked whether it has the next block: if it has
    /// and keeps it back, it is compared with another source. Doubles up to `patience` while it has nothing.
    pub trial_pause: Duration,
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
            few: 8,
            origin_window: 8,
            origin_window_below: 2,
            origin_batch: 4,
            deadline_start: Duration::from_secs(1),
            deadline_min: Duration::from_millis(250),
            deadline_max: Duration::from_secs(8),
            race_factor: 4,
            background_deadline: Duration::from_secs(2),
            origin_deadline: Duration::from_secs(10),
            slow_min: Duration::from_secs(2),
            slow_max: Duration::from_secs(64),
            // An origin's link of 1 Gbit/s: a VM of a small tree whose parent crawls can read about as fast as its
            // own link lets it, and of a thousand VMs that lose everybody at once each reads a block in four
            // seconds. A large tree that loses a tenth of its VMs spends less than a fifth of an image on it.
            origin_budget_rate: 256,
            origin_budget_burst: 64,
            origin_budget_floor: 250,
            connect_deadline: Duration::from_secs(3),
            patience: Duration::from_secs(2),
            trial_pace: Duration::from_millis(60),
            crawl_pace: Duration::from_millis(500),
            trial_watch: Duration::from_millis(500),
            trial_pause: Duration::from_millis(250),
            grace: Duration::from_millis(500),
            stuck: Duration::from_secs(30),
            retry_min: Duration::from_millis(250),
            retry_max: Duration::from_secs(8),
        }
    }
}
