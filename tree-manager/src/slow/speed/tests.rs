use ft_proto::v1;
use proptest::prelude::*;

use super::*;

const VM: VmId = VmId(1);
/// Long enough after the first figures.
const NOTICED: Duration = NOTICE.saturating_mul(2);

fn rate(kilobytes_per_s: u64, children: u32) -> Option<Rate> {
    Rate::reported(v1::UploadRate { bytes_per_s: kilobytes_per_s * 1000, children })
}

/// It measures this now.
fn measured(speeds: &mut Speeds, vm: VmId, shown: Option<Rate>, saturated: Option<Rate>) {
    speeds.measured(vm, shown, saturated, Instant::now());
}

/// The VM has sent so many kilobytes per second to two children who could have taken more; 0: nothing.
fn saturated(speeds: &mut Speeds, vm: VmId, kilobytes_per_s: u64) {
    let rate = rate(kilobytes_per_s, 2);
    measured(speeds, vm, rate, rate);
}

/// VM 1 with this figure among four with 100.
fn among_equals(figure: u64) -> Speeds {
    let mut speeds = Speeds::default();
    (2..=5).for_each(|vm| saturated(&mut speeds, VmId(vm), 100));
    saturated(&mut speeds, VM, figure);
    speeds
}

/// Every VM's heartbeat says again what the last one said.
fn repeat(speeds: &mut Speeds, now: Instant) {
    let said: Vec<_> = speeds.0.iter().map(|(vm, speed)| (*vm, speed.figures)).collect();
    said.into_iter().for_each(|(vm, figures)| speeds.measured(vm, figures.shown, figures.saturated, now));
}

fn is_slow(speeds: &mut Speeds, now: Instant) -> bool {
    repeat(speeds, now);
    let slow = speeds.judge(now);
    assert!(slow.keys().all(|vm| *vm == VM));
    slow.contains_key(&VM)
}

#[test]
fn a_slow_vm_is_noticed_soon_and_trusted_again_late() {
    let begin = Instant::now();
    let mut speeds = among_equals(69);
    assert!(!is_slow(&mut speeds, begin), "one moment is not enough");
    assert!(is_slow(&mut speeds, begin + NOTICED));
    saturated(&mut speeds, VM, 85);
    assert!(is_slow(&mut speeds, begin + NOTICED + 9 * STEADY), "between the two it stays what it is");
    saturated(&mut speeds, VM, 86);
    let fine = begin + NOTICED + 10 * STEADY;
    assert!(is_slow(&mut speeds, fine));
    saturated(&mut speeds, VM, 60);
    assert!(is_slow(&mut speeds, fine + STEADY / 2));
    saturated(&mut speeds, VM, 100);
    assert!(is_slow(&mut speeds, fine + STEADY), "it counts from anew");
    assert!(!is_slow(&mut speeds, fine + 2 * STEADY));
}

#[test]
fn limits_count_both_ways_until_they_are_lifted() {
    let begin = Instant::now();
    for limits in [
        VmLimits { upload_bytes_per_s: 50_000, download_bytes_per_s: 0 },
        VmLimits { upload_bytes_per_s: 1_000_000, download_bytes_per_s: 50_000 },
    ] {
        let mut speeds = among_equals(100);
        speeds.limited(VM, limits);
        is_slow(&mut speeds, begin);
        assert!(is_slow(&mut speeds, begin + NOTICED));
        speeds.limited(VM, VmLimits::default());
        is_slow(&mut speeds, begin + NOTICED);
        assert!(!is_slow(&mut speeds, begin + NOTICED + STEADY));
    }
}

#[test]
fn a_limit_that_nobody_has_measured_proves_nothing() {
    for limit in [1_000, 100, 75] {
        let mut speeds = among_equals(10);
        let limits = VmLimits { upload_bytes_per_s: limit * 1_000, download_bytes_per_s: 0 };
        speeds.limited(VM, limits);
        let mut now = Instant::now();
        is_slow(&mut speeds, now);
        now += NOTICED;
        assert!(is_slow(&mut speeds, now));
        // Without children it measures nothing any more.
        measured(&mut speeds, VM, None, None);
        is_slow(&mut speeds, now);
        assert!(is_slow(&mut speeds, now + TRIAL / 2), "a limit of {limit} kB/s makes no link fast");
        assert!(!is_slow(&mut speeds, now + TRIAL), "nor does it keep it from another trial");
    }
    let mut speeds = Speeds::default();
    for vm in 2..=5 {
        speeds.limited(VmId(vm), VmLimits { upload_bytes_per_s: 10_000, download_bytes_per_s: 0 });
    }
    speeds.limited(VM, VmLimits { upload_bytes_per_s: 6_000, download_bytes_per_s: 0 });
    let begin = Instant::now();
    is_slow(&mut speeds, begin);
    assert!(!is_slow(&mut speeds, begin + NOTICED), "there is nothing to compare it with");
}

#[test]
fn without_a_figure_it_gets_another_trial_later_and_later() {
    let mut now = Instant::now();
    let mut speeds = among_equals(0);
    for doubled in [0, 1, 2, 3, 4, 5, 5] {
        saturated(&mut speeds, VM, 10);
        is_slow(&mut speeds, now);
        now += NOTICED;
        assert!(is_slow(&mut speeds, now));
        saturated(&mut speeds, VM, 0);
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
    saturated(&mut speeds, VM, 1);
    saturated(&mut speeds, VmId(2), 1000);
    saturated(&mut speeds, VmId(3), 0);
    for seconds in 0..10 {
        assert!(!is_slow(&mut speeds, begin + Duration::from_secs(seconds)));
    }
    saturated(&mut speeds, VmId(3), 1000);
    is_slow(&mut speeds, begin);
    assert!(is_slow(&mut speeds, begin + NOTICED));
    speeds.forget(VM);
    assert!(!is_slow(&mut speeds, begin + NOTICED));
}

/// Equal links of 200 Mbit/s, as they were measured once: buffers make those with little to send look faster.
#[test]
fn a_busy_vm_is_not_slow_beside_idle_ones_with_inflated_figures() {
    let mut speeds = Speeds::default();
    measured(&mut speeds, VM, rate(25_000, 2), rate(25_000, 2));
    for vm in 2..=3 {
        measured(&mut speeds, VmId(vm), rate(25_400, 2), rate(24_100, 2));
    }
    for vm in 4..=7 {
        measured(&mut speeds, VmId(vm), rate(33_000, 2), None);
    }
    assert!(!ever_slow(&mut speeds));
}

#[test]
fn an_idle_vm_is_never_slow_by_what_it_sent() {
    let mut speeds = among_equals(0);
    measured(&mut speeds, VM, rate(1, 1), None);
    assert!(!ever_slow(&mut speeds));
}

/// Its only child gets the other half from its other parent.
#[test]
fn half_a_link_for_a_single_child_and_a_third_for_each_of_three_are_fair() {
    for (own, children) in [(50, 1), (100, 3), (69, 1), (75, 3)] {
        let mut speeds = among_equals(0);
        measured(&mut speeds, VM, rate(own, children), rate(own, children));
        assert!(!ever_slow(&mut speeds), "{own} to {children}");
    }
    for (own, children) in [(50, 2), (50, 3), (34, 1)] {
        let mut speeds = among_equals(0);
        measured(&mut speeds, VM, rate(own, children), rate(own, children));
        assert!(ever_slow(&mut speeds), "{own} to {children}");
    }
}

#[test]
fn half_a_link_for_two_children_is_found_by_two_heartbeats_even_if_others_were_silent_until_then() {
    let begin = Instant::now();
    let half = rate(50, 2);
    let mut speeds = among_equals(0);
    speeds.measured(VM, half, half, begin);
    for at in [Duration::ZERO, NOTICE, 10 * NOTICE] {
        assert!(speeds.judge(begin + at).is_empty(), "one heartbeat is not enough");
    }
    speeds.measured(VM, half, half, begin + NOTICE / 2);
    assert!(speeds.judge(begin + NOTICE).is_empty(), "nor are two at once");
    speeds.measured(VM, half, half, begin + NOTICE);
    assert!(speeds.judge(begin + NOTICE).contains_key(&VM));

    let mut speeds = among_equals(0);
    (0..=100).for_each(|nth| speeds.measured(VM, half, half, begin + NOTICE * nth / 50));
    assert!(speeds.judge(begin + 2 * NOTICE).contains_key(&VM), "however often they come");

    let mut speeds = Speeds::default();
    speeds.measured(VM, half, half, begin);
    speeds.measured(VM, half, half, begin + NOTICE);
    assert!(speeds.judge(begin + NOTICE).is_empty(), "there is nothing to compare it with");
    (2..=5).for_each(|vm| saturated(&mut speeds, VmId(vm), 100));
    assert!(speeds.judge(begin + NOTICE).contains_key(&VM));

    let mut speeds = among_equals(0);
    for (nth, figure) in (0..).zip([50, 100, 50, 100, 50]) {
        speeds.measured(VM, rate(figure, 2), rate(figure, 2), begin + NOTICE * nth);
        assert!(speeds.judge(begin + NOTICE * nth).is_empty(), "not twice in a row");
    }
}

/// Whether the VM is slow at any time within a minute.
fn ever_slow(speeds: &mut Speeds) -> bool {
    let begin = Instant::now();
    (0..60).any(|second| is_slow(speeds, begin + Duration::from_secs(second)))
}

/// What was shown before a link became slow does not make it fine again.
#[test]
fn what_was_shown_before_is_no_proof_of_recovery() {
    let mut now = Instant::now();
    let mut speeds = among_equals(0);
    measured(&mut speeds, VM, rate(100, 2), rate(50, 2));
    is_slow(&mut speeds, now);
    now += NOTICED;
    assert!(is_slow(&mut speeds, now));
    measured(&mut speeds, VM, rate(100, 2), None);
    for _ in 0..2 {
        assert!(is_slow(&mut speeds, now));
        now += 2 * STEADY;
    }
    measured(&mut speeds, VM, rate(50, 2), None);
    assert!(is_slow(&mut speeds, now));
    measured(&mut speeds, VM, rate(100, 2), None);
    assert!(is_slow(&mut speeds, now));
    assert!(!is_slow(&mut speeds, now + STEADY), "this was shown since");
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
                saturated(&mut speeds, VmId(vm), *figure);
            }
            speeds.judge(begin + NOTICED * nth * 100);
        }
        // The last figures hold for long.
        let end = begin + NOTICED * 100_000;
        speeds.judge(end);
        repeat(&mut speeds, end);
        repeat(&mut speeds, end + NOTICED);
        let slow = speeds.judge(end + TRIAL * 100);
        let figures: Vec<Figures> = speeds.0.values().map(|speed| speed.figures).collect();
        let all = All::of(&figures);
        for (vm, speed) in &speeds.0 {
            match speed.figures.say(all.but(&speed.figures)) {
                Says::Slow => prop_assert!(slow.contains_key(vm)),
                Says::Fine | Says::Nothing => prop_assert!(!slow.contains_key(vm)),
                Says::Between => {}
            }
        }
        prop_assert!(slow.len() * 2 <= speeds.0.len());
    }

    /// A figure that wavers between the two borders changes nothing.
    #[test]
    fn between_the_borders_nothing_changes(slow: bool, figures in proptest::collection::vec(70..=85u64, 1..50)) {
        let begin = Instant::now();
        let mut speeds = among_equals(if slow { 10 } else { 100 });
        is_slow(&mut speeds, begin);
        let mut now = begin + NOTICED;
        prop_assert_eq!(is_slow(&mut speeds, now), slow);
        for figure in figures {
            now += TRIAL;
            saturated(&mut speeds, VM, figure);
            prop_assert_eq!(is_slow(&mut speeds, now), slow);
        }
    }
}
