use proptest::prelude::*;

use super::*;

const BLOCK: u64 = 512 * 1024;
const MIB: u64 = 1024 * 1024;

const fn millis(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

/// Sends `blocks` blocks from `start` on, one after the other at `bytes_per_s`, to so many children, with a
/// pause before each; returns when that was done.
fn send(
    pace: &mut Pace,
    start: Instant,
    blocks: u64,
    bytes_per_s: u64,
    children: usize,
    pause: u64,
) -> Instant {
    let mut now = start;
    for _ in 0..blocks {
        now += Duration::from_millis(pause);
        pace.busy(now, children);
        now += Duration::from_nanos(BLOCK * 1_000_000_000 / bytes_per_s);
        pace.sent(now, BLOCK);
        if pause > 0 {
            pace.idle(now);
        }
    }
    now
}

/// Within a hundredth.
fn is_about(rate: Option<u64>, expected: u64) -> bool {
    rate.is_some_and(|rate| rate.abs_diff(expected) * 100 <= expected)
}

#[test]
fn it_says_nothing_before_it_has_seen_enough() {
    let mut pace = Pace::default();
    let now = send(&mut pace, Instant::ZERO, 3, MIB, 1, 0);
    assert_eq!(pace.rate(now), None);
    let now = send(&mut pace, now, 1, MIB, 1, 0);
    assert!(is_about(pace.rate(now), MIB));
}

#[test]
fn a_slow_link_is_told_from_slow_arrivals() {
    let (mut slow, mut starved) = (Pace::default(), Pace::default());
    let end = send(&mut slow, Instant::ZERO, 50, 6 * MIB, 2, 0);
    assert!(is_about(slow.rate(end), 6 * MIB), "{:?}", slow.rate(end));
    let end = send(&mut starved, Instant::ZERO, 50, 12 * MIB, 2, 120);
    assert!(is_about(starved.rate(end), 12 * MIB), "{:?}", starved.rate(end));
}

#[test]
fn a_child_with_a_slow_link_does_not_make_its_parent_slow() {
    let mut pace = Pace::default();
    let mut now = Instant::ZERO;
    // One child takes a block every two seconds; the other takes 12 MiB/s, as blocks arrive for it.
    for _ in 0..10 {
        for _ in 0..8 {
            pace.busy(now, 1);
            now += Duration::from_millis(200);
            now = send(&mut pace, now, 1, 12 * MIB, 2, 0);
        }
        pace.busy(now, 1);
        now += Duration::from_millis(67);
        pace.sent(now, BLOCK);
    }
    assert!(is_about(pace.rate(now), 12 * MIB), "{:?}", pace.rate(now));
}

#[test]
fn a_link_that_becomes_slow_is_noticed_within_seconds_and_a_very_slow_one_too() {
    let mut pace = Pace::default();
    let now = send(&mut pace, Instant::ZERO, 200, 12 * MIB, 2, 0);
    let now = send(&mut pace, now, 60, 6 * MIB, 2, 0);
    assert!(is_about(pace.rate(now), 6 * MIB), "{:?}", pace.rate(now));
    let now = send(&mut pace, now, 8, MIB / 8, 2, 0);
    assert!(is_about(pace.rate(now), MIB / 8), "{:?}", pace.rate(now));
}

#[test]
fn old_rates_are_forgotten() {
    let mut pace = Pace::default();
    let end = send(&mut pace, Instant::ZERO, 50, 12 * MIB, 2, 0);
    pace.idle(end);
    assert!(pace.rate(end + Duration::from_secs(60)).is_some());
    assert_eq!(pace.rate(end + Duration::from_secs(61)), None);
}

#[test]
fn a_buffer_that_takes_all_at_once_is_no_division_by_zero() {
    let mut pace = Pace::default();
    pace.busy(millis(5), 1);
    pace.sent(millis(5), u64::MAX);
    pace.sent(millis(4), 1);
    assert_eq!(pace.rate(millis(5)), Some(u64::MAX));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// However long it runs, it keeps few samples, and no sum is off.
    #[test]
    fn it_keeps_little(
        steps in proptest::collection::vec((0usize..4, 0u64..3_000, 0u64..4 * MIB), 1..400),
    ) {
        let mut pace = Pace::default();
        let mut now = Instant::ZERO;
        for (children, pause, bytes) in steps {
            now += Duration::from_millis(pause);
            pace.sent(now, bytes);
            pace.busy(now, children);
            for meter in [&pace.one, &pace.several] {
                prop_assert!(meter.samples.len() <= 130);
                prop_assert_eq!(meter.bytes, meter.samples.iter().map(|sample| sample.bytes).sum::<u64>());
                let busy: u64 = meter.samples.iter().map(|sample| sample.busy.as_nanos()).sum();
                prop_assert_eq!(meter.busy, busy);
            }
        }
    }
}
