//! From a seed to a scenario. Every run has a random subset of the kinds of faults (swarm testing: Groce et
//! al., ISSTA 2012), so that one kind does not hide what another would show.

use std::collections::BTreeSet;

use ft_core::block::BLOCK_SIZE;
use ft_core::relay::Mode;
use ft_core::tree::Shape;
use ft_core::{BlockIndex, Duration, Instant};

use super::Scenario;
use crate::image::{BlockPlan, ImagePlan};
use crate::rng::Rng;
use crate::world::fault::{Fault, Lie, Odds, Outage};
use crate::world::reader::ReaderPlan;

const LIES: [Lie; 3] = [Lie::WrongBytes, Lie::Silence, Lie::Garbage];
const OUTAGES: [Outage; 2] = [Outage::Errors, Outage::Silence];

/// Draws a scenario.
pub(super) fn scenario(seed: u64) -> Scenario {
    let mut rng = Rng::new(seed, 100);
    let large = rng.one_in(50);
    let vms = if large { rng.small(20, 60) } else { rng.small(1, 5) * rng.small(1, 6) };
    let image = image(&mut rng, large);
    let indices: u32 = image.iter().map(|segment| u32::try_from(segment.len()).unwrap_or(0)).sum();
    let storm = Duration::from_millis(rng.between(500, 6_000));
    let rate = [2_500_000, 12_500_000, 125_000_000][rng.small(0, 2) as usize];
    let uneven = rng.one_in(3);
    let rates = (0..vms).map(|_| if uneven { rate / rng.between(1, 8) } else { rate }).collect();
    Scenario {
        seed,
        shape: rng.pick(&Shape::ALL).unwrap_or(Shape::Paired),
        mode: if rng.one_in(2) { Mode::Lazy } else { Mode::Full },
        rates,
        origin_rate: if rng.one_in(3) { 0 } else { rate * rng.between(1, 8) },
        latency: Duration::from_micros(rng.pick(&[50, 200, 2_000, 20_000]).unwrap_or(200)),
        jitter: Duration::from_micros(rng.pick(&[0, 100, 5_000]).unwrap_or(0)),
        profile: profile(&mut rng, indices),
        readers: readers(&mut Rng::new(seed, 101), vms, indices),
        odds: odds(&mut Rng::new(seed, 102)),
        faults: faults(&mut Rng::new(seed, 103), vms as usize, storm),
        storm,
        image,
    }
}

/// One or more segments, blocks of all lengths, some of them repeated.
fn image(rng: &mut Rng, large: bool) -> ImagePlan {
    let most = if large { 120 } else { rng.small(1, 24) };
    let longest = rng.pick(&[4_096, 65_536, BLOCK_SIZE]).unwrap_or(BLOCK_SIZE);
    let repeats = rng.pick(&[0, 0, 3]).unwrap_or(0);
    let mut next = 0;
    (0..rng.small(1, 4))
        .map(|nth| {
            let len = if nth == 0 { rng.small(1, 3) } else { rng.small(1, most) };
            let block = |_| {
                let old = next > 0 && rng.one_in(repeats);
                let content = if old { rng.between(0, next - 1) } else { next };
                next += u64::from(!old);
                // The same content has the same length.
                let stored_len =
                    1 + u32::try_from(content.wrapping_mul(0x9E37_79B9)).unwrap_or(longest) % longest;
                BlockPlan { content, stored_len }
            };
            (0..len).map(block).collect()
        })
        .collect()
}

fn profile(rng: &mut Rng, indices: u32) -> Vec<BlockIndex> {
    if rng.one_in(2) {
        return Vec::new();
    }
    let len = rng.small(0, indices);
    let blocks: BTreeSet<u32> = (0..len).map(|_| rng.small(0, indices - 1)).collect();
    blocks.into_iter().map(BlockIndex).collect()
}

/// Containers that start: mostly in order, with jumps, as start-ups read.
fn readers(rng: &mut Rng, vms: u32, indices: u32) -> Vec<ReaderPlan> {
    let share = rng.pick(&[0, 1, 1, 2, 4]).unwrap_or(1);
    let (thinks, spread) = (Duration::from_micros(rng.between(1, 20_000)), rng.between(1, 2_000));
    let mut plans = Vec::new();
    for vm in (0..vms as usize).filter(|_| share > 0) {
        for _ in 0..rng.small(0, 2) / share.max(1) + u32::from(rng.one_in(share)) {
            let mut at = rng.small(0, indices - 1);
            let blocks = (0..rng.small(1, 12)).map(|_| {
                at = if rng.one_in(4) { rng.small(0, indices - 1) } else { (at + 1) % indices };
                BlockIndex(at)
            });
            let blocks = blocks.collect();
            let starts = Duration::from_millis(rng.between(0, spread));
            plans.push(ReaderPlan { vm, starts, blocks, thinks, ahead: rng.one_in(2) });
        }
    }
    plans
}

fn odds(rng: &mut Rng) -> Odds {
    let mut some = |low, high| if rng.one_in(3) { rng.small(low, high) } else { 0 };
    Odds {
        origin_error: some(2, 20),
        origin_stall: some(4, 20),
        origin_lie: some(2, 20),
        silent_dial: some(3, 12),
        late_edges: some(1, 6),
        stale_edges: some(1, 6),
    }
}

/// The kinds of faults that are enabled, each at random moments of the storm.
fn faults(rng: &mut Rng, vms: usize, storm: Duration) -> Vec<(Instant, Fault)> {
    let mut faults = Vec::new();
    for kind in 0..10 {
        if !rng.one_in(3) {
            continue;
        }
        for _ in 0..rng.small(1, 5) {
            let at = Instant::from_nanos(rng.between(1, storm.as_nanos()));
            faults.push((at, fault(rng, kind, vms)));
        }
    }
    faults.sort_by_key(|(at, _)| *at);
    // A VM joins once.
    let mut joined = BTreeSet::new();
    faults.retain(|(_, fault)| !matches!(fault, Fault::Join { vm } if !joined.insert(*vm)));
    faults
}

fn fault(rng: &mut Rng, kind: u32, vms: usize) -> Fault {
    let span = |rng: &mut Rng| Duration::from_millis(rng.between(1, 8_000));
    let one = |rng: &mut Rng| rng.small(0, u32::try_from(vms - 1).unwrap_or(0)) as usize;
    let vm = one(rng);
    let nth = rng.small(0, 1 << 16) as usize;
    let lasts = span(rng);
    match kind {
        0 => Fault::Crash { vm, away: lasts, keeps: !rng.one_in(3), silent: rng.one_in(2) },
        1 => Fault::Leave { vm, away: lasts },
        2 => Fault::Join { vm },
        3 => Fault::Break { nth, silent: rng.one_in(2) },
        4 => {
            let vms = (0..rng.small(1, 4)).map(|_| one(rng)).collect();
            Fault::Partition { vms, lasts, origin: rng.one_in(2), manager: rng.one_in(2) }
        }
        5 => {
            let factor = rng.pick(&[2, 10, 100]).unwrap_or(2);
            Fault::Slow { vm, factor, up_only: rng.one_in(2), noticed: rng.one_in(2), lasts }
        }
        6 => Fault::Damage { vm, nth, found: rng.one_in(2) },
        7 => Fault::Lie { vm, lie: rng.pick(&LIES).unwrap_or(LIES[0]), lasts },
        8 => Fault::ManagerLoss { lasts, restarts: rng.one_in(2) },
        _ => Fault::Origin { outage: rng.pick(&OUTAGES).unwrap_or(OUTAGES[0]), lasts },
    }
}
