//! The swarm tester: from one seed a cluster, an image, readers and faults; first safety while things go wrong,
//! then nothing goes wrong any more and everything must converge.

use std::fmt;
use std::rc::Rc;

use ft_core::relay::{Limits, Mode};
use ft_core::tree::Shape;
use ft_core::{BlockIndex, Duration, Instant, VmId};

use crate::image::{Image, ImagePlan};
use crate::saboteur::{Mutation, Saboteur};
use crate::seen::Seen;
use crate::world::fault::{Fault, Odds};
use crate::world::reader::ReaderPlan;
use crate::world::{Setup, World};
use recorder::Recorder;

mod draw;
mod recorder;
mod shrink;

pub use shrink::shrink;

/// The options of a run, all drawn from its seed (or left over from those, when a failure is made smaller).
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where it comes from.
    pub(crate) seed: u64,
    /// The tree's shape.
    pub(crate) shape: Shape,
    /// How much every VM receives.
    pub(crate) mode: Mode,
    /// Every VM's link, in bytes per second each way.
    pub(crate) rates: Vec<u64>,
    /// The origin's uplink, in bytes per second; 0: no limit.
    pub(crate) origin_rate: u64,
    /// One way between any two hosts.
    pub(crate) latency: Duration,
    /// Messages may take so much longer.
    pub(crate) jitter: Duration,
    /// The image.
    pub(crate) image: ImagePlan,
    /// The start-up profile.
    pub(crate) profile: Vec<BlockIndex>,
    /// Containers that read.
    pub(crate) readers: Vec<ReaderPlan>,
    /// How often small things go wrong.
    pub(crate) odds: Odds,
    /// What goes wrong when.
    pub(crate) faults: Vec<(Instant, Fault)>,
    /// For how long things go wrong.
    pub(crate) storm: Duration,
}

/// A property was violated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The checker that saw it.
    pub checker: &'static str,
    /// What it saw.
    pub why: String,
    /// When, in virtual time.
    pub at: Instant,
    /// The VM that it is about.
    pub vm: Option<VmId>,
    /// The block that it is about.
    pub block: Option<BlockIndex>,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Two runs with the same hash saw the same things in the same order.
    pub log_hash: u64,
    /// Events that the simulation handled.
    pub events: u64,
    /// The first violation.
    pub violation: Option<Violation>,
}

/// Which part of the log to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing but the hash.
    Hash,
    /// All of it.
    All,
    /// What concerns a VM, and a block if one is given.
    About(Option<VmId>, Option<BlockIndex>),
}

impl Keep {
    fn keeps(self, seen: &Seen<'_>) -> bool {
        match self {
            Self::Hash => false,
            Self::All => true,
            Self::About(vm, block) => {
                (vm.is_none() || seen.vm().is_none() || seen.vm() == vm)
                    && block.is_none_or(|block| seen.is_about(block))
            }
        }
    }
}

impl Scenario {
    /// The scenario of a seed.
    pub fn draw(seed: u64) -> Self {
        draw::scenario(seed)
    }

    /// The seed that it comes from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Runs it; hands lines of the log to `line`.
    pub fn run(&self, mutation: Option<Mutation>, keep: Keep, line: &mut dyn FnMut(&str)) -> Report {
        let setup = self.setup();
        let recorder = Recorder::new(&Rc::new(setup.image.clone()), &setup, keep, line);
        let horizon = setup.calm_at + self.patience();
        let mut world = World::new(setup, recorder, mutation.map(Saboteur::new));
        let drained = world.run(horizon);
        let events = world.events();
        world.watch.end(drained, horizon);
        let (log_hash, violation) = world.watch.finish();
        Report { log_hash, events, violation }
    }

    /// By when everything has come to rest after the storm: pauses double up to 8 s, a source may be waited
    /// for 10 s, and every VM may need the image over the slowest link.
    fn patience(&self) -> Duration {
        let bytes: u64 = self.image.iter().flatten().map(|block| u64::from(block.stored_len)).sum();
        let slowest = self.rates.iter().copied().filter(|rate| *rate > 0).min().unwrap_or(1);
        let slowest = if self.origin_rate > 0 { slowest.min(self.origin_rate) } else { slowest };
        let once = Duration::from_millis(1 + bytes * 1_000 / slowest.max(1));
        let reads = self.readers.iter().map(|reader| reader.blocks.len() as u64).max().unwrap_or(0);
        Duration::from_secs(180 + reads) + once.saturating_mul(4 + self.rates.len() as u64)
    }

    fn setup(&self) -> Setup {
        Setup {
            image: Image::new(&self.image),
            shape: self.shape,
            mode: self.mode,
            limits: Limits::default(),
            rates: self.rates.clone(),
            origin_rate: self.origin_rate,
            latency: self.latency,
            jitter: self.jitter,
            profile: self.profile.clone(),
            readers: self.readers.clone(),
            odds: self.odds,
            script: self.faults.clone(),
            calm_at: Instant::ZERO + self.storm,
            seed: self.seed,
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |span: Duration| span.as_nanos() as f64 / 1e6;
        let blocks: Vec<usize> = self.image.iter().map(Vec::len).collect();
        writeln!(
            f,
            "{} VMs in {} trees, {:?}; image of {blocks:?} blocks",
            self.rates.len(),
            self.shape,
            self.mode
        )?;
        writeln!(f, "links {:?} B/s, origin {} B/s", self.rates, self.origin_rate)?;
        writeln!(f, "latency {} ms, jitter {} ms", millis(self.latency), millis(self.jitter))?;
        if !self.profile.is_empty() {
            writeln!(f, "profile {:?}", self.profile.iter().map(|block| block.0).collect::<Vec<_>>())?;
        }
        for reader in &self.readers {
            let blocks: Vec<u32> = reader.blocks.iter().map(|block| block.0).collect();
            let (starts, thinks) = (millis(reader.starts), millis(reader.thinks));
            let ahead = if reader.ahead { ", read-ahead" } else { "" };
            writeln!(
                f,
                "reader on vm-{} after {starts} ms, thinks {thinks} ms{ahead}: {blocks:?}",
                reader.vm
            )?;
        }
        if self.odds != Odds::default() {
            writeln!(f, "once in: {:?}", self.odds)?;
        }
        for (at, fault) in &self.faults {
            writeln!(f, "at {:.3} ms: {fault:?}", at.as_nanos() as f64 / 1e6)?;
        }
        write!(f, "calm from {} ms on", millis(self.storm))
    }
}

#[cfg(test)]
mod tests;
