//! How long each source takes, learnt from what it delivers.
//!
//! A source is a queue with a way to it: a demanded block that is asked for alone takes the way and its own
//! transfer (`alone`), one behind others of them only its own transfer more (`behind`). Both are smoothed as
//! round-trip times are in RFC 6298: a mean, and a mean deviation of which four are added. So sixteen demands in
//! a row on a slow link are not late, and do not set off sixteen hedges.

use alloc::collections::BTreeMap;

use super::config::Limits;
use super::event::Source;
use super::rhythm::Rhythm;
use super::standing::Standing;
use crate::clock::{Duration, Instant};
use crate::vm::VmId;

/// A smoothed time and its mean deviation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Estimate {
    mean: Duration,
    deviation: Duration,
}

impl Estimate {
    /// RFC 6298, 2.2 and 2.3.
    fn learn(estimate: &mut Option<Self>, sample: Duration) {
        let sample = sample.as_nanos();
        *estimate = Some(match estimate {
            None => Self { mean: Duration::from_nanos(sample), deviation: Duration::from_nanos(sample / 2) },
            Some(Self { mean, deviation }) => {
                let (mean, deviation) = (mean.as_nanos(), deviation.as_nanos());
                Self {
                    mean: Duration::from_nanos(mean - mean / 8 + sample / 8),
                    deviation: Duration::from_nanos(deviation - deviation / 4 + mean.abs_diff(sample) / 4),
                }
            }
        });
    }

    fn at_most(&self) -> Duration {
        self.mean + self.deviation.saturating_mul(4)
    }
}

/// What is known of one source.
#[derive(Debug, Default)]
struct Service {
    /// A demanded block with none before it.
    alone: Option<Estimate>,
    /// From one demanded block to the next.
    behind: Option<Estimate>,
    /// Its pushes, while blocks are lacking.
    pushes: Rhythm,
    demand_came: Instant,
    /// How often in a row it was late: the deadline is doubled as often.
    doublings: u32,
    doubled: Instant,
    standing: Standing,
}

/// The deadline is not doubled more often than this.
const MAX_DOUBLINGS: u32 = 3;

/// A block that is in flight, for what it says about its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) at: Instant,
    /// Demanded blocks in flight from the source when this one was asked for.
    pub(super) ahead: u32,
}

/// What is known of the sources. Of a peer it is forgotten with its session.
#[derive(Debug, Default)]
pub(super) struct Services {
    by_source: BTreeMap<Source, Service>,
}

impl Services {
    /// A demanded block came from `source`, which was asked as `asked` says.
    pub(super) fn delivered(&mut self, source: Source, asked: Asked, now: Instant) {
        let service = self.by_source.entry(source).or_default();
        if asked.ahead == 0 {
            Estimate::learn(&mut service.alone, now - asked.at);
        } else {
            Estimate::learn(&mut service.behind, now - asked.at.max(service.demand_came));
        }
        service.demand_came = now;
        service.doublings = 0;
        service.standing.delivered();
    }

    /// `peer` pushed a block of a stripe that lacked some.
    pub(super) fn pushed(&mut self, peer: VmId, now: Instant) {
        let service = self.by_source.entry(Source::Peer(peer)).or_default();
        service.pushes.beat(now);
        service.standing.sent();
    }

    /// `peer` is to push, since blocks are lacking.
    pub(super) fn awaited(&mut self, peer: VmId, now: Instant) {
        self.by_source.entry(Source::Peer(peer)).or_default().pushes.await_one(now);
    }

    /// `peer` has nothing to push: the time until the next push says nothing.
    pub(super) fn rested(&mut self, peer: VmId) {
        if let Some(service) = self.by_source.get_mut(&Source::Peer(peer)) {
            service.pushes.rest();
        }
    }

    /// `source` was late with a block asked of it at `asked`. Blocks that were asked for before it was last
    /// late say nothing new.
    pub(super) fn late(&mut self, source: Source, asked: Instant, now: Instant) {
        let service = self.by_source.entry(source).or_default();
        if asked >= service.doubled {
            service.doublings = (service.doublings + 1).min(MAX_DOUBLINGS);
            service.doubled = now;
        }
    }

    /// How `peer` stands.
    pub(super) fn standing(&self, peer: VmId) -> Standing {
        self.by_source.get(&Source::Peer(peer)).map(|service| service.standing).unwrap_or_default()
    }

    /// The same, to be changed.
    pub(super) fn standing_mut(&mut self, peer: VmId) -> &mut Standing {
        &mut self.by_source.entry(Source::Peer(peer)).or_default().standing
    }

    /// The time from one push of `peer` to the next; `None` if none is awaited.
    pub(super) fn push_interval(&self, peer: VmId, now: Instant) -> Option<Duration> {
        self.by_source.get(&Source::Peer(peer))?.pushes.interval(now)
    }

    /// What a demanded block behind `ahead` others takes on average; `None` before any has come.
    pub(super) fn expected(&self, source: Source, ahead: u32) -> Option<Duration> {
        let service = self.by_source.get(&source)?;
        let (alone, behind) = (service.alone.or(service.behind)?, service.behind.or(service.alone)?);
        Some(alone.mean + behind.mean.saturating_mul(ahead.into()))
    }

    /// Whether `source` has delivered a demanded block, or been late with one.
    pub(super) fn is_known(&self, source: Source) -> bool {
        let service = self.by_source.get(&source);
        service.is_some_and(|known| known.alone.is_some() || known.behind.is_some() || known.doublings > 0)
    }

    /// When a demanded block behind `ahead` others is late, by what `source` itself has shown.
    pub(super) fn deadline(&self, source: Source, ahead: u32, limits: &Limits) -> Duration {
        let service = self.by_source.get(&source);
        let alone = service.and_then(|service| service.alone.or(service.behind));
        let behind = service.and_then(|service| service.behind.or(service.alone));
        let start = limits.deadline_start;
        let alone = alone.map_or(start, |estimate| estimate.at_most());
        let behind = behind.map_or(Duration::from_nanos(start.as_nanos() / 8), |known| known.at_most());
        let doublings = service.map_or(0, |service| service.doublings);
        (alone + behind.saturating_mul(ahead.into())).saturating_mul(1 << doublings)
    }

    /// The session with `peer` is over.
    pub(super) fn forget(&mut self, peer: VmId) {
        self.by_source.remove(&Source::Peer(peer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: VmId = VmId(1);
    const SOURCE: Source = Source::Peer(PEER);

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn deadline(services: &Services, ahead: u32) -> u64 {
        services.deadline(SOURCE, ahead, &Limits::default()).as_millis()
    }

    #[test]
    fn a_steady_source_gets_a_tight_deadline_and_an_unknown_one_the_start() {
        let mut services = Services::default();
        assert_eq!(deadline(&services, 0), Limits::default().deadline_start.as_millis());
        assert_eq!(services.expected(SOURCE, 0), None);
        for nth in 0..30 {
            services.delivered(SOURCE, Asked { at: at(nth * 100), ahead: 0 }, at(nth * 100 + 40));
        }
        assert!((40..=45).contains(&deadline(&services, 0)), "{}", deadline(&services, 0));
    }

    #[test]
    fn blocks_behind_others_have_longer_and_teach_the_pace_alone() {
        let mut services = Services::default();
        // Sixteen at once over a link that takes 50 ms for each, 100 ms away; again and again.
        for burst in 0..20u64 {
            let asked = burst * 2_000;
            for nth in 0..16 {
                let came = asked + 100 + (u64::from(nth) + 1) * 50;
                services.delivered(SOURCE, Asked { at: at(asked), ahead: nth }, at(came));
            }
        }
        let (first, last) = (deadline(&services, 0), deadline(&services, 15));
        assert!((150..=180).contains(&first), "{first}");
        assert!((900..=1_100).contains(&last), "{last}");
    }

    #[test]
    fn lateness_doubles_the_deadline_once_for_what_was_asked_together() {
        let mut services = Services::default();
        services.delivered(SOURCE, Asked { at: at(0), ahead: 0 }, at(100));
        assert_eq!(deadline(&services, 0), 300);
        services.late(SOURCE, at(100), at(400));
        services.late(SOURCE, at(100), at(400));
        assert_eq!(deadline(&services, 0), 600);
        for nth in 1..9 {
            services.late(SOURCE, at(nth * 1_000), at(nth * 1_000));
        }
        assert_eq!(deadline(&services, 0), 2_400, "eight times at most");
        services.delivered(SOURCE, Asked { at: at(9_000), ahead: 0 }, at(9_100));
        assert!(deadline(&services, 0) < 300);
        services.forget(PEER);
        assert_eq!(deadline(&services, 0), Limits::default().deadline_start.as_millis());
    }
}
