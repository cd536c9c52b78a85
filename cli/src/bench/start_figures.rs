//! From what was seen of a start to the figures that are compared.

use ft_proto::v1;
use serde::Serialize;

use super::distribution::Plan;
use super::figures::{Figures, median};
use super::outcome::Outcome;

/// What was seen of one start.
pub(super) struct Seen {
    /// The start-up profile that the VMs were told.
    pub(super) profile: Vec<u32>,
    /// The tree when everything was over.
    pub(super) tree: v1::Tree,
    /// Blocks before the first one of data.
    pub(super) metadata_blocks: u32,
    pub(super) outcome: Outcome,
    pub(super) vms: Vec<String>,
}

/// The figures of a start, or their medians over runs. Absent: the start has no such figure.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct StartFigures {
    /// From the call until the last and the median container were ready.
    pub(super) ready_ms: Option<f64>,
    pub(super) ready_p50_ms: Option<f64>,
    /// From the call until the last root file system was there: the metadata has come.
    pub(super) mounted_ms: Option<f64>,
    /// Stored bytes that all VMs together read from the origin ÷ those of the blocks that any of them read.
    pub(super) origin_over_touched: Option<f64>,
    /// Stored bytes that a VM received.
    pub(super) moved_bytes_per_vm: Option<f64>,
    /// Blocks that a VM's readers had to wait for.
    pub(super) waits_per_vm: Option<f64>,
    /// Blocks of data that a VM's readers read and the profile had not foretold.
    pub(super) missed_per_vm: Option<f64>,
    /// Blocks of the profile that the VMs were told.
    pub(super) profile_blocks: Option<f64>,
    /// How long readers waited for a block that was not there.
    pub(super) demand_p50_ms: Option<f64>,
    pub(super) demand_p99_ms: Option<f64>,
    /// CPU seconds of a worker.
    pub(super) worker_cpu_s: Option<f64>,
    /// How busy the machine was until the last container was ready.
    pub(super) cpu_busy_percent: Option<f64>,
}

impl StartFigures {
    pub(super) fn of(plan: &Plan, seen: &Seen) -> Self {
        let Seen { profile, tree, metadata_blocks, outcome, vms } = seen;
        let common = Figures::of(plan, vms, outcome);
        let count = vms.len().max(1) as f64;
        let images = || outcome.images.values();
        let per_vm = |of: &dyn Fn(&v1::ImageStatus) -> u64| images().map(of).sum::<u64>() as f64 / count;
        let mounted = outcome.mounted_us.values().max();
        let last = outcome.ready_us.values().max();
        let missed = |image: &v1::ImageStatus| {
            let blocks = touched(image).filter(|block| block >= metadata_blocks && !profile.contains(block));
            blocks.count() as u64
        };
        Self {
            ready_ms: common.ready_last_ms,
            ready_p50_ms: common.ready_p50_ms,
            mounted_ms: mounted.map(|at_us| (at_us - outcome.called_us) as f64 / 1e3),
            origin_over_touched: (tree.touched_bytes > 0)
                .then(|| tree.origin_bytes as f64 / tree.touched_bytes as f64),
            moved_bytes_per_vm: Some(per_vm(&|image| image.origin_bytes + image.peer_bytes_in)),
            waits_per_vm: Some(per_vm(&|image| image.demand_waits.iter().sum())),
            missed_per_vm: Some(per_vm(&missed)),
            profile_blocks: Some(profile.len() as f64),
            demand_p50_ms: common.demand_p50_ms,
            demand_p99_ms: common.demand_p99_ms,
            worker_cpu_s: last.map(|last| outcome.worker_cpu_seconds(*last) / count),
            cpu_busy_percent: common.cpu_busy_percent,
        }
    }

    /// The median of each figure.
    pub(super) fn median(runs: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> Option<f64>| {
            median(&mut runs.iter().filter_map(figure).collect::<Vec<_>>())
        };
        Self {
            ready_ms: of(|run| run.ready_ms),
            ready_p50_ms: of(|run| run.ready_p50_ms),
            mounted_ms: of(|run| run.mounted_ms),
            origin_over_touched: of(|run| run.origin_over_touched),
            moved_bytes_per_vm: of(|run| run.moved_bytes_per_vm),
            waits_per_vm: of(|run| run.waits_per_vm),
            missed_per_vm: of(|run| run.missed_per_vm),
            profile_blocks: of(|run| run.profile_blocks),
            demand_p50_ms: of(|run| run.demand_p50_ms),
            demand_p99_ms: of(|run| run.demand_p99_ms),
            worker_cpu_s: of(|run| run.worker_cpu_s),
            cpu_busy_percent: of(|run| run.cpu_busy_percent),
        }
    }
}

/// The blocks that readers of an image have read.
fn touched(image: &v1::ImageStatus) -> impl Iterator<Item = u32> {
    let set = |block: &u32| {
        image.touched.get((block / 8) as usize).is_some_and(|bits| bits >> (block % 8) & 1 == 1)
    };
    (0..image.total_blocks).filter(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touched_blocks_are_read_from_the_bitmap() {
        let image =
            v1::ImageStatus { total_blocks: 12, touched: vec![0b1000_0001, 0xff], ..Default::default() };
        assert_eq!(touched(&image).collect::<Vec<_>>(), [0, 7, 8, 9, 10, 11]);
    }
}
