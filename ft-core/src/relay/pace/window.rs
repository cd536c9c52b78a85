//! Rates over some slots in a row.

use alloc::collections::BTreeMap;

use super::{Rate, Rates, SLOT, Slot};
use crate::clock::Duration;
use crate::vm::VmId;

/// What is shown is shown by so many slots, since what buffers take at once counts little in them.
const SHOWN: usize = 20;
/// While every child had something in hand, so many slots are enough.
const SATURATED: usize = 10;
/// So many bytes make a rate.
const ENOUGH: u64 = 1024 * 1024;
/// For so many slots after everybody got something in hand, it is buffers that take it.
const FILLING: usize = 2;
/// The windows that ended within so many slots say how fast the link is now.
const FRESH: usize = 30;
/// With something in hand for everybody for less than this part of a slot, in percent, a stretch of them ends.
const STRETCH_PERCENT: u64 = 50;
/// In a saturated window, everybody has something in hand for this part of the time, in percent.
const SATURATED_PERCENT: u64 = 65;

/// The rates that these slots show. Only of the first `settled` ones are all bytes known.
pub(super) fn rates(slots: &[&Slot], settled: usize) -> Rates {
    let (mut saturated, mut best_saturated, mut best) = (None, None, None);
    // Since so many slots everybody has had something in hand.
    let mut stretch = 0_usize;
    for (nth, slot) in slots.iter().enumerate() {
        let known = slots.get(..=nth).unwrap_or_default();
        better(&mut best, Window::ending(known, SHOWN));
        stretch = if percent(slot.busy, 1) >= STRETCH_PERCENT { stretch + 1 } else { 0 };
        let full = known.get(known.len() - stretch.saturating_sub(FILLING).min(known.len())..);
        let window = Window::ending(full.unwrap_or_default(), SATURATED);
        if let Some(window) = window.filter(|window| percent(window.busy, window.slots) >= SATURATED_PERCENT)
        {
            better(&mut best_saturated, Some(window));
            if (settled.saturating_sub(FRESH)..settled).contains(&nth) {
                better(&mut saturated, Some(window));
            }
        }
    }
    let rate = |window: Option<Window<'_>>| window.map(|window| window.rate());
    // While buffers fill, more seems to go out than the link carries. Where that is known, it is what counts.
    Rates { shown: rate(best_saturated.or(best)), saturated: rate(saturated) }
}

/// What part of so many slots this is, in percent.
fn percent(busy: Duration, slots: usize) -> u64 {
    busy.as_nanos().saturating_mul(100) / SLOT.as_nanos().saturating_mul(slots.max(1) as u64)
}

fn better<'a>(best: &mut Option<Window<'a>>, window: Option<Window<'a>>) {
    if window.map(|window| window.bytes_per_s()) > best.map(|best| best.bytes_per_s()) {
        *best = window;
    }
}

/// Slots in a row.
#[derive(Clone, Copy, Debug)]
struct Window<'a> {
    within: &'a [&'a Slot],
    slots: usize,
    bytes: u64,
    busy: Duration,
}

impl<'a> Window<'a> {
    /// The shortest one at the end of these slots that has so many slots or more, and enough bytes.
    fn ending(within: &'a [&'a Slot], slots: usize) -> Option<Self> {
        let mut window = Self { within, slots: 0, bytes: 0, busy: Duration::ZERO };
        for slot in within.iter().rev() {
            if window.slots >= slots && window.bytes >= ENOUGH {
                break;
            }
            window.slots += 1;
            window.busy = window.busy + slot.busy;
            window.bytes = slot.bytes.values().fold(window.bytes, |sum, bytes| sum.saturating_add(*bytes));
        }
        (window.slots >= slots && window.bytes >= ENOUGH).then_some(window)
    }

    fn bytes_per_s(&self) -> u64 {
        let nanos = u128::from(SLOT.as_nanos()) * self.slots.max(1) as u128;
        u64::try_from(u128::from(self.bytes) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
    }

    fn rate(&self) -> Rate {
        Rate { bytes_per_s: self.bytes_per_s(), children: self.children() }
    }

    /// How many children took at least half of the mean.
    fn children(&self) -> u32 {
        let mut shares = BTreeMap::<VmId, u128>::new();
        for slot in self.within.iter().rev().take(self.slots) {
            for (child, bytes) in &slot.bytes {
                *shares.entry(*child).or_default() += u128::from(*bytes);
            }
        }
        let (sum, count) = (shares.values().sum::<u128>(), shares.len() as u128);
        let fair = shares.values().filter(|share| **share * count * 2 >= sum).count();
        u32::try_from(fair).unwrap_or(u32::MAX)
    }
}
