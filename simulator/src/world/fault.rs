//! What can go wrong.

use std::collections::BTreeSet;

use ft_core::Duration;

pub(crate) use super::host::Lie;
pub(crate) use super::origin::Outage;

/// Something that goes wrong at a moment. VMs are named by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A worker dies and starts again later, with its disk as it was or empty.
    Crash {
        /// Which.
        vm: usize,
        /// For how long it is away.
        away: Duration,
        /// Whether its blocks are still there.
        keeps: bool,
        /// Whether its connections end without a word.
        silent: bool,
    },
    /// A VM stops following the image and comes back later.
    Leave {
        /// Which.
        vm: usize,
        /// For how long.
        away: Duration,
    },
    /// A VM that was not there from the start joins.
    Join {
        /// Which.
        vm: usize,
    },
    /// A session breaks, the nth of those that there are.
    Break {
        /// Which.
        nth: usize,
        /// Without a word.
        silent: bool,
    },
    /// VMs reach each other but nobody else.
    Partition {
        /// Who is cut off.
        vms: BTreeSet<usize>,
        /// For how long.
        lasts: Duration,
        /// Whether they still reach the origin.
        origin: bool,
        /// Whether they still reach the manager.
        manager: bool,
    },
    /// A VM's link is so many times slower.
    Slow {
        /// Whose.
        vm: usize,
        /// How many times.
        factor: u32,
        /// Sending, or both ways.
        up_only: bool,
        /// Whether the manager notices, and moves it to the leaves.
        noticed: bool,
        /// For how long.
        lasts: Duration,
    },
    /// A VM's processes stop for a moment, as on a machine whose cores others use; what reaches it meanwhile, it
    /// finds then.
    Stall {
        /// Which.
        vm: usize,
        /// For how long.
        lasts: Duration,
    },
    /// A block on a VM's disk is damaged, the nth of those that are there.
    Damage {
        /// Whose disk.
        vm: usize,
        /// Which block.
        nth: usize,
        /// Whether something reads it at once.
        found: bool,
    },
    /// A VM lies.
    Lie {
        /// Which.
        vm: usize,
        /// How.
        lie: Lie,
        /// For how long.
        lasts: Duration,
    },
    /// The manager is away.
    ManagerLoss {
        /// For how long.
        lasts: Duration,
        /// Whether it comes back as a new one.
        restarts: bool,
    },
    /// The origin is out of order.
    Origin {
        /// How.
        outage: Outage,
        /// For how long.
        lasts: Duration,
    },
}

/// How often small things go wrong: once in so many times; 0 is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Odds {
    /// A request to the origin fails.
    pub(crate) origin_error: u32,
    /// A request to the origin is never answered.
    pub(crate) origin_stall: u32,
    /// The origin sends something else.
    pub(crate) origin_lie: u32,
    /// An attempt to make a session is never answered.
    pub(crate) silent_dial: u32,
    /// Edges are late, and overtaken by newer ones.
    pub(crate) late_edges: u32,
    /// Edges that were told before are told again.
    pub(crate) stale_edges: u32,
}

/// What ends by itself.
#[derive(Clone, Debug)]
pub(super) enum Undo {
    Restart,
    Heal { island: usize },
    Speed,
    Honesty,
    Origin,
}

impl Fault {
    /// Whether it lets `vm` join, so that it is not there before.
    pub(super) fn joins(&self, vm: usize) -> bool {
        *self == Self::Join { vm }
    }

    /// The VMs that it is about.
    pub(crate) fn vms(&self) -> Vec<usize> {
        match self {
            Self::Crash { vm, .. }
            | Self::Leave { vm, .. }
            | Self::Join { vm }
            | Self::Slow { vm, .. }
            | Self::Stall { vm, .. }
            | Self::Damage { vm, .. }
            | Self::Lie { vm, .. } => vec![*vm],
            Self::Partition { vms, .. } => vms.iter().copied().collect(),
            Self::Break { .. } | Self::ManagerLoss { .. } | Self::Origin { .. } => Vec::new(),
        }
    }

    /// What a log calls it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Crash { .. } => "crash",
            Self::Leave { .. } => "leave",
            Self::Join { .. } => "join",
            Self::Break { .. } => "a session breaks",
            Self::Partition { .. } => "partition",
            Self::Slow { .. } => "slow",
            Self::Stall { .. } => "stalls",
            Self::Damage { .. } => "a block on the disk is damaged",
            Self::Lie { .. } => "lies",
            Self::ManagerLoss { .. } => "the manager is away",
            Self::Origin { .. } => "the origin is out of order",
        }
    }
}
