//! What a run consists of, drawn from its seed.

use ft_core::manifest::{BlockEntry, Layout, Manifest, Segment, SegmentKind};
use ft_core::relay::{Limits, Mode};
use ft_core::tree::Shape;
use ft_core::{BLOCK_SIZE, BlockId, Codec, Digest, Duration, VmId};

use crate::rng::Rng;

/// The options of a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) vms: u64,
    pub(crate) shape: Shape,
    pub(crate) mode: Mode,
    pub(crate) metadata_blocks: u64,
    pub(crate) data_blocks: u64,
    /// How many data blocks repeat an earlier one.
    pub(crate) repeats: u64,
    /// How many reads start, at random VMs and times.
    pub(crate) demands: u64,
    /// Whether readers expect to go on with the blocks after the one that they read.
    pub(crate) readahead: bool,
    /// Blocks of the start-up profile.
    pub(crate) profile: u64,
    pub(crate) faults: Faults,
    /// A VM whose uplink takes so many times as long as others' for a block.
    pub(crate) crawls: Option<(VmId, u64)>,
    pub(crate) limits: Limits,
}

/// How often things go wrong: once in so many times; 0 is never.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) corrupt: u64,
    pub(crate) origin_error: u64,
    /// A request to the origin that is never answered.
    pub(crate) origin_stall: u64,
    /// A subscription that gets lost.
    pub(crate) lost_subscription: u64,
    /// A session that is asked for and never comes, nor fails.
    pub(crate) silent_connect: u64,
    /// Things that happen so many times within the first ten seconds.
    pub(crate) kills: u64,
    pub(crate) breaks: u64,
    pub(crate) drops: u64,
    /// VMs that join or leave the tree, alive.
    pub(crate) moves: u64,
    /// New start-up profiles.
    pub(crate) profiles: u64,
}

impl Plan {
    /// A run in which nothing goes wrong.
    pub(crate) fn calm(rng: &mut Rng) -> Self {
        let data_blocks = rng.between(1, 24);
        Self {
            vms: rng.between(1, 31),
            shape: if rng.one_in(2) { Shape::Avl } else { Shape::Paired },
            mode: if rng.one_in(2) { Mode::Lazy } else { Mode::Full },
            metadata_blocks: rng.between(1, 3),
            data_blocks,
            repeats: rng.between(0, data_blocks - 1) / 4,
            demands: rng.between(0, 60),
            readahead: rng.one_in(2),
            profile: rng.between(0, data_blocks),
            faults: Faults::default(),
            crawls: None,
            // Parents are not compared with other sources: one that answers many demands may well be the slower one.
            limits: Limits { trial_pause: Duration::from_secs(3_600), ..Limits::default() },
        }
    }

    /// A run with a random selection of faults.
    pub(crate) fn stormy(rng: &mut Rng) -> Self {
        let mut some = |low, high| if rng.one_in(2) { rng.between(low, high) } else { 0 };
        let faults = Faults {
            corrupt: some(5, 100),
            origin_error: some(2, 40),
            origin_stall: some(5, 40),
            lost_subscription: some(2, 10),
            silent_connect: some(4, 20),
            kills: some(1, 6),
            breaks: some(1, 12),
            drops: some(1, 20),
            moves: some(1, 10),
            profiles: some(1, 4),
        };
        let budget = u32::try_from(rng.between(1, 64)).unwrap();
        // So small at times that it holds VMs back.
        let limits = Limits { origin_budget_rate: budget, origin_budget_burst: budget, ..Limits::default() };
        Self { faults, limits, ..Self::calm(rng) }
    }

    pub(crate) fn layout(&self) -> Layout {
        let entry = |nth: u64| BlockEntry {
            id: BlockId::of(&nth.to_le_bytes()),
            stored_len: BLOCK_SIZE,
            codec: Codec::Raw,
        };
        let segment = |kind, ids: Vec<u64>| Segment {
            kind,
            raw_len: ids.len() as u64 * u64::from(BLOCK_SIZE),
            pack: Digest::of(&[kind as u8]),
            blocks: ids.into_iter().map(entry).collect(),
        };
        let first = self.metadata_blocks;
        // The last blocks repeat the first ones of the data.
        let data = (0..self.data_blocks).map(|nth| first + nth % (self.data_blocks - self.repeats));
        Layout::new(&Manifest {
            config: Vec::new(),
            segments: vec![
                segment(SegmentKind::Metadata, (0..first).collect()),
                segment(SegmentKind::Data, data.collect()),
            ],
        })
    }
}
