//! Which VMs' links are so slow that whoever receives from them is held up.
//!
//! A VM's figure is the least of its limits and of what its worker measured. It is slow when its figure has been
//! clearly below the others' for a moment, and not before it has been near theirs for longer is it so no more. A VM without
//! children measures nothing: after a while it gets another trial, after each relapse a later one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ft_core::VmId;
use ft_proto::v1::VmLimits;

/// Below this part of the median, in percent, a figure is slow.
const SLOW_PERCENT: u128 = 70;
/// Above this part of the median, in percent, it is fine.
const FINE_PERCENT: u128 = 85;
/// So many figures make a median.
const ENOUGH: usize = 3;
/// A VM is slow when its figure has been for so long.
const NOTICE: Duration = Duration::from_secs(1);
/// A slow VM is fine when its figure has been for so long.
const STEADY: Duration = Duration::from_secs(5);
/// A slow VM of which nothing is known gets another trial after so long, doubled for each relapse.
const TRIAL: Duration = Duration::from_secs(30);
/// It is doubled so often at most: 16 min.
const MAX_DOUBLED: u32 = 5;

const _: () = assert!(SLOW_PERCENT < FINE_PERCENT && FINE_PERCENT <= 100);

/// All VMs' figures, and which VMs are slow by them.
#[derive(Debug, Default)]
pub(super) struct Speeds(BTreeMap<VmId, Speed>);

#[derive(Debug, Default)]
struct Speed {
    /// In bytes per second.
    measured: Option<u64>,
    limit: Option<u64>,
    /// Why it is slow, if it is.
    slow: Option<String>,
    /// What its figure says, and since when.
    says: Option<(Says, Instant)>,
    /// How often it became slow since it was last fine.
    relapses: u32,
}

/// What a figure says beside the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Nothing,
    Slow,
    Between,
    Fine,
}

impl Speeds {
    /// What a worker measured lately; 0: nothing.
    pub(super) fn measured(&mut self, vm: VmId, bytes_per_s: u64) {
        self.0.entry(vm).or_default().measured = known(bytes_per_s);
    }

    /// The limits of a VM's traffic. What it cannot receive, it cannot pass on.
    pub(super) fn limited(&mut self, vm: VmId, limits: VmLimits) {
        let limits = [known(limits.upload_bytes_per_s), known(limits.download_bytes_per_s)];
        self.0.entry(vm).or_default().limit = limits.into_iter().flatten().min();
    }

    /// The VM is gone.
    pub(super) fn forget(&mut self, vm: VmId) {
        self.0.remove(&vm);
    }

    /// The VMs that are slow now, and why.
    pub(super) fn judge(&mut self, now: Instant) -> BTreeMap<VmId, String> {
        let median = self.median();
        for speed in self.0.values_mut() {
            speed.judge(median, now);
        }
        self.0.iter().filter_map(|(vm, speed)| Some((*vm, speed.slow.clone()?))).collect()
    }

    /// The median figure, the upper one of two; none if too few are known.
    fn median(&self) -> Option<u64> {
        let mut figures: Vec<u64> = self.0.values().filter_map(Speed::figure).collect();
        figures.sort_unstable();
        (figures.len() >= ENOUGH).then(|| figures.get(figures.len() / 2).copied()).flatten()
    }
}

impl Speed {
    fn figure(&self) -> Option<u64> {
        self.measured.into_iter().chain(self.limit).min()
    }

    fn judge(&mut self, median: Option<u64>, now: Instant) {
        let says = match self.figure().zip(median) {
            None => Says::Nothing,
            Some((figure, median)) => compare(figure, median),
        };
        let since = match self.says {
            Some((before, since)) if before == says => since,
            _ => now,
        };
        self.says = Some((says, since));
        let span = now.saturating_duration_since(since);
        let trial = TRIAL * 2u32.pow(self.relapses.saturating_sub(1).min(MAX_DOUBLED));
        match (says, self.slow.is_some()) {
            (Says::Slow, false) if span >= NOTICE => {
                let mbit = |bytes: Option<u64>| bytes.unwrap_or(0) / 125_000;
                let (own, others) = (mbit(self.figure()), mbit(median));
                self.slow = Some(format!("its link carries {own} Mbit/s, others' {others} Mbit/s"));
                self.relapses = self.relapses.saturating_add(1);
            }
            (Says::Fine, true) if span >= STEADY => {
                self.slow = None;
                self.relapses = 0;
            }
            (Says::Nothing, true) if span >= trial => self.slow = None,
            _ => {}
        }
    }
}

fn known(bytes_per_s: u64) -> Option<u64> {
    (bytes_per_s > 0).then_some(bytes_per_s)
}

fn compare(figure: u64, median: u64) -> Says {
    let (figure, median) = (u128::from(figure) * 100, u128::from(median));
    if figure < median * SLOW_PERCENT {
        Says::Slow
    } else if figure > median * FINE_PERCENT {
        Says::Fine
    } else {
        Says::Between
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VM: VmId = VmId(1);

    /// VM 1 with this figure among four with 100.
    fn among_equals(figure: u64) -> Speeds {
        let mut speeds = Speeds::default();
        (2..=5).for_each(|vm| speeds.measured(VmId(vm), 100));
        speeds.measured(VM, figure);
        speeds
    }

    fn is_slow(speeds: &mut Speeds, now: Instant) -> bool {
        let slow = speeds.judge(now);
        assert!(slow.keys().all(|vm| *vm == VM));
        slow.contains_key(&VM)
    }

    #[test]
    fn a_slow_vm_is_noticed_soon_and_trusted_again_late() {
        let begin = Instant::now();
        let mut speeds = among_equals(69);
        assert!(!is_slow(&mut speeds, begin), "one moment is not enough");
        assert!(is_slow(&mut speeds, begin + NOTICE));
        speeds.measured(VM, 85);
        assert!(is_slow(&mut speeds, begin + NOTICE + 9 * STEADY), "between the two it stays what it is");
        speeds.measured(VM, 86);
        let fine = begin + NOTICE + 10 * STEADY;
        assert!(is_slow(&mut speeds, fine));
        speeds.measured(VM, 60);
        assert!(is_slow(&mut speeds, fine + STEADY / 2));
        speeds.measured(VM, 100);
        assert!(is_slow(&mut speeds, fine + STEADY), "it counts from anew");
        assert!(!is_slow(&mut speeds, fine + 2 * STEADY));
    }

    #[test]
    fn limits_count_both_ways_until_they_are_lifted() {
        let begin = Instant::now();
        for limits in [
            VmLimits { upload_bytes_per_s: 50, download_bytes_per_s: 0 },
            VmLimits { upload_bytes_per_s: 1000, download_bytes_per_s: 50 },
        ] {
            let mut speeds = among_equals(100);
            speeds.limited(VM, limits);
            is_slow(&mut speeds, begin);
            assert!(is_slow(&mut speeds, begin + NOTICE));
            speeds.limited(VM, VmLimits::default());
            is_slow(&mut speeds, begin + NOTICE);
            assert!(!is_slow(&mut speeds, begin + NOTICE + STEADY));
        }
    }

    #[test]
    fn without_a_figure_it_gets_another_trial_later_and_later() {
        let mut now = Instant::now();
        let mut speeds = among_equals(0);
        for doubled in [0, 1, 2, 3, 4, 5, 5] {
            speeds.measured(VM, 10);
            is_slow(&mut speeds, now);
            now += NOTICE;
            assert!(is_slow(&mut speeds, now));
            speeds.measured(VM, 0);
            assert!(is_slow(&mut speeds, now));
            let trial = TRIAL * 2u32.pow(doubled);
            assert!(is_slow(&mut speeds, now + trial / 2));
            now += trial;
            assert!(!is_slow(&mut speeds, now), "after {trial:?}");
        }
    }

    #[test]
    fn too_few_figures_say_nothing() {
        let begin = Instant::now();
        let mut speeds = Speeds::default();
        speeds.measured(VM, 1);
        speeds.measured(VmId(2), 1000);
        speeds.measured(VmId(3), 0);
        for seconds in 0..10 {
            assert!(!is_slow(&mut speeds, begin + Duration::from_secs(seconds)));
        }
        speeds.measured(VmId(3), 1000);
        is_slow(&mut speeds, begin);
        assert!(is_slow(&mut speeds, begin + NOTICE));
        speeds.forget(VM);
        assert!(!is_slow(&mut speeds, begin + NOTICE));
    }

    proptest! {
        /// Whatever the figures, whoever is near the median is not slow, and never more than half are.
        #[test]
        fn only_those_below_the_others_are_slow(
            rounds in proptest::collection::vec(proptest::collection::vec(0..1000u64, 1..20), 1..20),
        ) {
            let begin = Instant::now();
            let mut speeds = Speeds::default();
            for (nth, figures) in (0u32..).zip(&rounds) {
                for (vm, figure) in (1..).zip(figures) {
                    speeds.measured(VmId(vm), *figure);
                }
                speeds.judge(begin + NOTICE * nth * 100);
            }
            // The last figures hold for long.
            let end = begin + NOTICE * 100_000;
            speeds.judge(end);
            let slow = speeds.judge(end + TRIAL * 100);
            let median = speeds.median();
            for (vm, speed) in &speeds.0 {
                match speed.figure().zip(median).map(|(figure, median)| compare(figure, median)) {
                    Some(Says::Slow) => prop_assert!(slow.contains_key(vm)),
                    Some(Says::Fine) | None => prop_assert!(!slow.contains_key(vm)),
                    Some(Says::Between | Says::Nothing) => {}
                }
            }
        }

        /// A figure that wavers between the two borders changes nothing.
        #[test]
        fn between_the_borders_nothing_changes(slow: bool, figures in proptest::collection::vec(70..=85u64, 1..50)) {
            let begin = Instant::now();
            let mut speeds = among_equals(if slow { 10 } else { 100 });
            is_slow(&mut speeds, begin);
            let mut now = begin + NOTICE;
            prop_assert_eq!(is_slow(&mut speeds, now), slow);
            for figure in figures {
                now += TRIAL;
                speeds.measured(VM, figure);
                prop_assert_eq!(is_slow(&mut speeds, now), slow);
            }
        }
    }
}
