//! Makes a failing scenario smaller, for as long as the same checker fails.

use ft_core::BlockIndex;

use super::{Keep, Scenario};
use crate::saboteur::Mutation;
use crate::world::fault::{Fault, Odds};

/// The smallest scenario found, within `tries` runs, that fails the same checker: without kinds of faults, then
/// VMs, then blocks, then readers, then single faults.
pub fn shrink(scenario: &Scenario, mutation: Option<Mutation>, tries: u32) -> Scenario {
    let fails = |candidate: &Scenario| {
        let report = candidate.run(mutation, Keep::Hash, &mut |_| {});
        report.violation.map(|violation| violation.checker)
    };
    let mut smallest = scenario.clone();
    let Some(checker) = fails(scenario) else { return smallest };
    let mut left = tries;
    loop {
        let Some(smaller) = candidates(&smallest).find(|candidate| {
            left = left.saturating_sub(1);
            left > 0 && fails(candidate) == Some(checker)
        }) else {
            return smallest;
        };
        smallest = smaller;
    }
}

/// Scenarios that are a step smaller, the largest steps first.
fn candidates(from: &Scenario) -> impl Iterator<Item = Scenario> + '_ {
    let kinds = from.faults.iter().map(|(_, fault)| std::mem::discriminant(fault));
    let kinds = kinds.collect::<std::collections::HashSet<_>>().len();
    without_kinds(from)
        .chain(without_odds(from))
        .chain(with_fewer_vms(from))
        .chain(with_fewer_blocks(from))
        .chain(without_readers(from))
        .chain(without_faults(from).filter(move |_| kinds > 0))
}

fn without_kinds(from: &Scenario) -> impl Iterator<Item = Scenario> + '_ {
    let kind = |fault: &Fault| std::mem::discriminant(fault);
    let firsts = from.faults.iter().enumerate().filter(move |(nth, (_, fault))| {
        let before = &from.faults[..*nth];
        !before.iter().any(|(_, earlier)| kind(earlier) == kind(fault))
    });
    firsts.map(move |(_, (_, fault))| {
        let mut to = from.clone();
        to.faults.retain(|(_, other)| kind(other) != kind(fault));
        to
    })
}

fn without_odds(from: &Scenario) -> impl Iterator<Item = Scenario> + '_ {
    let fields: [fn(&mut Odds) -> &mut u32; 6] = [
        |odds| &mut odds.origin_error,
        |odds| &mut odds.origin_stall,
        |odds| &mut odds.origin_lie,
        |odds| &mut odds.silent_dial,
        |odds| &mut odds.late_edges,
        |odds| &mut odds.stale_edges,
    ];
    fields.into_iter().filter_map(move |field| {
        let mut to = from.clone();
        (std::mem::take(field(&mut to.odds)) > 0).then_some(to)
    })
}

fn with_fewer_vms(from: &Scenario) -> impl Iterator<Item = Scenario> + '_ {
    let vms = from.rates.len();
    [vms / 2, vms - vms / 4, vms.saturating_sub(1)]
        .into_iter()
        .filter(move |left| (1..vms).contains(left))
        .map(move |left| {
            let mut to = from.clone();
            to.rates.truncate(left);
            to.readers.retain(|reader| reader.vm < left);
            to.faults.retain(|(_, fault)| fault.vms().iter().all(|vm| *vm < left));
            to
        })
}

fn with_fewer_blocks(from: &Scenario) -> impl Iterator<Item = Scenario> + '_ {
    let last = from.image.len() - 1;
    let len = from.image[last].len();
    let lens = [len / 2, len - 1];
    lens.into_iter().filter(move |left| *left < len && (*left > 0 || last > 0)).map(move |left| {
        let mut to = from.clone();
        to.image[last].truncate(left);
        to.image.retain(|segment| !segment.is_empty());
        let end: usize = to.image.iter().map(Vec::len).sum();
        let within = |block: &BlockIndex| (block.0 as usize) < end;
        to.profile.retain(within);
        for reader in &mut to.readers {
            reader.blocks.retain(within);
        }
        to
    })
}

fn without_readers(from: &Scenario) -> impl Iterator<Item = Scenario> + '_ {
    let without_profile =
        (!from.profile.is_empty()).then(|| Scenario { profile: Vec::new(), ..from.clone() });
    let without = (0..from.readers.len()).map(move |nth| {
        let mut to = from.clone();
        to.readers.remove(nth);
        to
    });
    without_profile.into_iter().chain(without)
}

fn without_faults(from: &Scenario) -> impl Iterator<Item = Scenario> + '_ {
    (0..from.faults.len()).map(move |nth| {
        let mut to = from.clone();
        to.faults.remove(nth);
        to
    })
}
