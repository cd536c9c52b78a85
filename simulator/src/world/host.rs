//! A VM: its engine, its disk, its links, and what its worker keeps beside the engine.

use std::collections::{BTreeMap, BTreeSet};

use ft_core::relay::{BlockSet, Class, Engine, Readahead, ReadaheadLimits};
use ft_core::{BlockIndex, Instant, VmId};

use super::link::Lane;
use super::reader::Reader;
use super::session::SessionId;
use crate::image::{Content, Image};

/// A block on its way out. The order is the order of service: demands, then first come, first served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Outgoing {
    pub(super) pushed: bool,
    pub(super) number: u64,
    pub(super) session: SessionId,
    pub(super) block: BlockIndex,
    pub(super) class: Class,
}

/// How a lying peer lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// What it sends is something else.
    WrongBytes,
    /// What it is asked for, it never sends, nor refuses.
    Silence,
    /// It says what makes no sense.
    Garbage,
}

pub(super) struct Host {
    pub(super) engine: Option<Engine>,
    /// Grows with every start; events for an earlier life are void.
    pub(super) life: u32,
    pub(super) up: Lane,
    pub(super) down: Lane,
    /// By canonical index.
    pub(super) disk: Vec<Option<Content>>,
    /// The earliest [`Wake`](super::Event::Wake) that is scheduled.
    pub(super) wake: Option<Instant>,
    /// Sessions that this VM made, or is making, by parent.
    pub(super) made: BTreeMap<VmId, SessionId>,
    /// Sessions that children made, by child.
    pub(super) accepted: BTreeMap<VmId, SessionId>,
    pub(super) uplink: BTreeSet<Outgoing>,
    /// What the uplink is busy with, and what it carries.
    pub(super) sending: Option<(Outgoing, Content)>,
    pub(super) lie: Option<Lie>,
    pub(super) readers: Vec<Reader>,
    /// The blocks for which readers wait.
    pub(super) waiting: BTreeSet<BlockIndex>,
    pub(super) readahead: Readahead,
    /// When the manager's last message arrives.
    pub(super) told_at: Instant,
    pub(super) complete_at: Option<Instant>,
    /// Until then it does nothing.
    pub(super) stalled_until: Instant,
}

impl Host {
    pub(super) fn new(_vm: usize, rate: u64, image: &Image) -> Self {
        Self {
            engine: None,
            life: 0,
            up: Lane::new(rate),
            down: Lane::new(rate),
            disk: vec![None; image.layout.len() as usize],
            wake: None,
            made: BTreeMap::new(),
            accepted: BTreeMap::new(),
            uplink: BTreeSet::new(),
            sending: None,
            lie: None,
            readers: Vec::new(),
            waiting: BTreeSet::new(),
            readahead: readahead(image),
            told_at: Instant::ZERO,
            complete_at: None,
            stalled_until: Instant::ZERO,
        }
    }

    /// Forgets all that a process forgets when it dies.
    pub(super) fn forget(&mut self, image: &Image) {
        self.engine = None;
        self.life += 1;
        self.wake = None;
        self.made.clear();
        self.accepted.clear();
        self.uplink.clear();
        self.sending = None;
        self.readers.clear();
        self.waiting.clear();
        self.readahead = readahead(image);
    }

    /// The blocks on the disk, whatever is in them.
    pub(super) fn stored(&self) -> BlockSet {
        let mut stored = BlockSet::new(u32::try_from(self.disk.len()).unwrap_or(u32::MAX));
        for (index, cell) in (0..).map(BlockIndex).zip(&self.disk) {
            if cell.is_some() {
                stored.insert(index);
            }
        }
        stored
    }

    pub(super) fn on_disk(&mut self, block: BlockIndex) -> Option<&mut Option<Content>> {
        self.disk.get_mut(block.0 as usize)
    }
}

fn readahead(image: &Image) -> Readahead {
    let first = BlockIndex(image.layout.metadata_blocks());
    Readahead::new(ReadaheadLimits::default(), first, BlockIndex(image.layout.len()))
}
