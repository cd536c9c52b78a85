use alloc::vec;

use proptest::prelude::*;

use super::*;

const BLOCK: u64 = 512 * 1024;
const MIB: u64 = 1024 * 1024;
const MILLISECOND: Duration = Duration::from_millis(1);

/// A link that carries its children's bytes by turns, behind a buffer for each child that takes all it has room for
/// at once.
struct Link {
    pace: Pace,
    now: Instant,
    bytes_per_s: u64,
    buffer: u64,
    children: Vec<Taker>,
}

#[derive(Clone, Default)]
struct Taker {
    /// Takes nothing out of its buffer.
    stuck: bool,
    /// Blocks for it, beside the one in hand.
    waiting: u64,
    /// With the bytes that are not in the buffer yet.
    in_hand: Option<(InHand, u64)>,
    buffered: u64,
}

impl Link {
    fn new(bytes_per_s: u64, buffer: u64, children: usize) -> Self {
        let children = vec![Taker::default(); children];
        Self { pace: Pace::default(), now: Instant::ZERO, bytes_per_s, buffer, children }
    }

    /// So much for each of them.
    fn backlog(&mut self, blocks: u64) {
        self.children.iter_mut().for_each(|child| child.waiting += blocks);
    }

    /// Lets time pass.
    fn run(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.fill();
            self.now += MILLISECOND;
            self.drain(self.bytes_per_s / 1000);
            self.fill();
        }
    }

    /// The buffers take what they have room for.
    fn fill(&mut self) {
        for (nth, child) in self.children.iter_mut().enumerate() {
            loop {
                if child.in_hand.is_none() && child.waiting > 0 {
                    child.waiting -= 1;
                    child.in_hand = Some((self.pace.take(self.now, VmId(nth as u64)), BLOCK));
                }
                let Some((block, left)) = &mut child.in_hand else { break };
                let taken = (*left).min(self.buffer - child.buffered);
                *left -= taken;
                child.buffered += taken;
                if *left > 0 {
                    break;
                }
                self.pace.release(self.now, *block, BLOCK);
                child.in_hand = None;
            }
        }
    }

    /// The link carries so many bytes, as much of each child's as of the others'.
    fn drain(&mut self, mut bytes: u64) {
        loop {
            let takers = |child: &&mut Taker| !child.stuck && child.buffered > 0;
            let count = self.children.iter_mut().filter(takers).count() as u64;
            let Some(share) = bytes.checked_div(count).filter(|share| *share > 0) else { break };
            for child in self.children.iter_mut().filter(takers) {
                let carried = share.min(child.buffered);
                child.buffered -= carried;
                bytes -= carried;
            }
        }
    }

    fn rates(&mut self) -> Rates {
        self.pace.rates(self.now)
    }
}

/// Within so many percent.
fn is_about(rate: Option<Rate>, bytes_per_s: u64, children: u32, percent: u64) -> bool {
    rate.is_some_and(|rate| {
        rate.bytes_per_s.abs_diff(bytes_per_s) * 100 <= bytes_per_s * percent && rate.children == children
    })
}

#[test]
fn a_backlog_shows_the_link_soon() {
    let mut link = Link::new(12 * MIB, MIB, 2);
    assert_eq!(link.rates(), Rates::default());
    link.backlog(1000);
    link.run(1_000);
    assert_eq!(link.rates().saturated, None, "not in the first moment");
    link.run(400);
    let rates = link.rates();
    assert!(is_about(rates.saturated, 12 * MIB, 2, 5), "{rates:?}");
    assert_eq!(rates.shown, rates.saturated, "what the buffers took is left out");
}

#[test]
fn a_link_that_becomes_slow_is_noticed_within_seconds() {
    let mut link = Link::new(24 * MIB, MIB, 2);
    link.backlog(10_000);
    link.run(5_000);
    link.bytes_per_s = 12 * MIB;
    link.run(4_200);
    let rates = link.rates();
    assert!(is_about(rates.saturated, 12 * MIB, 2, 5), "{rates:?}");
    assert!(is_about(rates.shown, 24 * MIB, 2, 5), "{rates:?}");
}

/// 1 Mbit/s: a block takes 4 s by itself.
#[test]
fn a_very_slow_link_is_measured_over_a_longer_time() {
    let mut link = Link::new(MIB / 4, MIB / 8, 2);
    link.backlog(100);
    link.run(30_000);
    for _ in 0..30 {
        link.run(1_000);
        let rates = link.rates();
        assert!(is_about(rates.saturated, MIB / 4, 2, 25), "{rates:?}");
    }
}

#[test]
fn old_figures_are_forgotten() {
    let mut link = Link::new(12 * MIB, MIB, 2);
    link.backlog(50);
    link.run(5_000);
    assert!(link.rates().saturated.is_some());
    link.run(3_000);
    let rates = link.rates();
    assert!(rates.saturated.is_none() && rates.shown.is_some(), "{rates:?}");
    link.run(10_000);
    assert_eq!(link.rates(), Rates::default());
    link.now += Duration::from_secs(1_000_000);
    assert_eq!(link.rates(), Rates::default());
}

/// Its parent has little to send to the other child, so it is not known whose link it is.
#[test]
fn a_child_with_a_slow_link_saturates_nobody_while_there_are_others() {
    let mut link = Link::new(12 * MIB, MIB, 2);
    link.children[0].stuck = true;
    link.children[0].waiting = 10;
    for _ in 0..100 {
        link.children[1].waiting += 1;
        link.run(100);
        assert_eq!(link.rates().saturated, None);
    }
    link.children[1].waiting = 1000;
    link.run(5_000);
    let rates = link.rates();
    assert!(is_about(rates.saturated, 12 * MIB, 1, 5), "the stuck one takes no part: {rates:?}");
}

#[test]
fn a_child_that_needs_nothing_any_more_does_not_count() {
    let mut link = Link::new(12 * MIB, MIB, 2);
    link.children[0].waiting = 10;
    link.children[1].waiting = 1000;
    link.run(1_000);
    assert_eq!(link.rates().saturated, None);
    link.run(4_000);
    let rates = link.rates();
    assert!(is_about(rates.saturated, 12 * MIB, 1, 5), "{rates:?}");
}

#[test]
fn a_buffer_that_takes_all_at_once_is_no_division_by_zero() {
    let mut pace = Pace::default();
    let at = |seconds: u64| Instant::ZERO + Duration::from_secs(seconds);
    let block = pace.take(at(5), VmId(1));
    pace.release(at(5), block, u64::MAX);
    let block = pace.take(at(4), VmId(1));
    pace.release(at(3), block, u64::MAX);
    assert_eq!(pace.rates(at(6)).shown, Some(Rate { bytes_per_s: u64::MAX / 2, children: 1 }));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 100, ..ProptestConfig::default() })]

    /// Whatever there is to send: no more is shown than the link carries, but for the buffers, and who is called
    /// saturated is.
    #[test]
    fn figures_are_those_of_the_link(
        mib in 4..40u64,
        buffer in BLOCK / 8..=MIB,
        arrivals in proptest::collection::vec(proptest::collection::vec(0..40u64, 1..=4), 1..60),
        stuck: bool,
    ) {
        let mut link = Link::new(mib * MIB, buffer, 4);
        link.children[3].stuck = stuck;
        for blocks in arrivals {
            for (child, blocks) in link.children.iter_mut().zip(blocks) {
                child.waiting = (child.waiting + blocks / 4).min(100);
            }
            link.run(300);
            let Rates { shown, saturated } = link.rates();
            let most = mib * MIB * 105 / 100 + 4 * (buffer + BLOCK) / 2;
            prop_assert!(shown.is_none_or(|rate| rate.bytes_per_s <= most), "{shown:?} of {mib} MiB/s");
            if let Some(rate) = saturated {
                // It may rest for 15% of the time, a block that is in hand may have gone unevenly, and buffers of
                // children that come later fill meanwhile.
                let least = (mib * MIB * 85 / 100).saturating_sub(BLOCK);
                let about = least..=mib * MIB * 115 / 100 + 3 * buffer;
                prop_assert!(about.contains(&rate.bytes_per_s), "{rate:?} of {mib} MiB/s");
                prop_assert!((1..=4).contains(&rate.children));
            }
        }
    }

    /// However long there is too little to send, the link's rate is not known.
    #[test]
    fn who_has_too_little_to_send_is_not_saturated(
        mib in 4..40u64,
        buffer in BLOCK / 8..=MIB,
        children in 1..4usize,
        percent in 1..70u64,
    ) {
        let mut link = Link::new(mib * MIB, buffer, children);
        let period = BLOCK * children as u64 * 100_000 / (mib * MIB * percent);
        for _ in 0..10_000 / period.max(1) {
            link.backlog(1);
            link.run(period);
            prop_assert_eq!(link.rates().saturated, None);
        }
    }

    /// However long it runs, it keeps little.
    #[test]
    fn it_keeps_little(steps in proptest::collection::vec((0..50u64, 0..3_000u64, 0..4 * MIB), 1..400)) {
        let mut pace = Pace::default();
        let mut now = Instant::ZERO;
        let mut in_hand = VecDeque::new();
        for (child, pause, bytes) in steps {
            now += Duration::from_millis(pause);
            in_hand.push_back(pace.take(now, VmId(child)));
            if in_hand.len() > 10 && let Some(block) = in_hand.pop_front() {
                pace.release(now, block, bytes);
            }
            pace.rates(now);
            prop_assert!(pace.slots.len() <= SLOTS + 1);
            prop_assert_eq!(pace.in_hand.values().sum::<u32>() as usize, in_hand.len());
            let quiet = pace.children.values().filter(|child| child.blocks == 0);
            prop_assert!(quiet.into_iter().all(|child| now - child.quiet_since <= LATELY + Duration::from_millis(3_000)));
        }
    }
}
