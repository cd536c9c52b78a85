//! From what was seen in a run to the figures that are compared.

use std::collections::BTreeMap;

use ft_proto::v1;
use serde::Serialize;

use super::distribution::Plan;
use super::outcome::{Outcome, received_bytes};

/// The figures of a run, or their medians over runs. Absent: the run has no such figure.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Figures {
    /// T: from the call to the last VM's last block (full), or to the last container that is ready (lazy).
    pub(super) seconds: Option<f64>,
    /// T ÷ (S/B).
    pub(super) t_over_bound: Option<f64>,
    /// The same for the median VM.
    pub(super) median_over_bound: Option<f64>,
    /// From the call until the median and the last container were ready.
    pub(super) ready_p50_ms: Option<f64>,
    pub(super) ready_last_ms: Option<f64>,
    /// CPU seconds of all workers ÷ 10⁹ bytes that all VMs received.
    pub(super) cpu_s_per_gb: Option<f64>,
    /// The largest worker's most memory, in 2²⁰ bytes.
    pub(super) rss_peak_mb: Option<f64>,
    /// Stored bytes read from the origin ÷ S.
    pub(super) origin_bytes_over_image: Option<f64>,
    /// Bytes over the origin's link, headers included, ÷ S.
    pub(super) origin_link_over_image: Option<f64>,
    /// How long readers waited for a block that was not there.
    pub(super) demand_p50_ms: Option<f64>,
    pub(super) demand_p99_ms: Option<f64>,
    /// T ÷ (S/B) of the VMs that the fault struck, which T does not count.
    pub(super) struck_over_bound: Option<f64>,
    /// What workers that were started again fetched after that ÷ S.
    pub(super) refetched_over_image: Option<f64>,
    /// VMs that failed though no fault struck them.
    pub(super) failed: Option<f64>,
    /// How busy the machine was during T.
    pub(super) cpu_busy_percent: Option<f64>,
}

impl Figures {
    /// What a run shows.
    pub(super) fn of(plan: &Plan, vms: &[String], outcome: &Outcome) -> Self {
        let counts = |vm: &&String| !outcome.struck.contains(vm);
        let counted: Vec<&String> = vms.iter().filter(counts).collect();
        let apart: Vec<&String> = vms.iter().filter(|vm| !counts(vm)).collect();
        let end = |vm: &&String| end_us(plan.mode, outcome, vm);
        let ends: Vec<i64> = counted.iter().filter_map(end).collect();
        let last = ends.iter().max().copied();
        let bound = plan.stored_bytes as f64 / plan.rate.bytes() as f64;
        let seconds = |at_us: i64| (at_us - outcome.called_us) as f64 / 1e6;
        let over_bound = |seconds: f64| (plan.mode == v1::Mode::Full).then(|| seconds / bound);
        let image = plan.stored_bytes.max(1) as f64;
        let lives = || outcome.images.values().chain(&outcome.former);
        let sum = |of: fn(&v1::ImageStatus) -> u64| lives().map(of).sum::<u64>() as f64;
        let received = sum(received_bytes);
        let again =
            outcome.struck.iter().filter_map(|vm| outcome.images.get(vm)).map(received_bytes).sum::<u64>();
        let waits = total_waits(&outcome.images);
        let mut ready: Vec<f64> = outcome.ready_us.values().map(|at_us| seconds(*at_us) * 1e3).collect();
        let struck_last = apart.iter().filter_map(end).max();
        Self {
            seconds: last.map(seconds),
            t_over_bound: last.map(seconds).and_then(over_bound),
            median_over_bound: median(&mut ends.iter().map(|at_us| seconds(*at_us)).collect::<Vec<_>>())
                .and_then(over_bound),
            ready_p50_ms: median(&mut ready),
            ready_last_ms: ready.last().copied(),
            cpu_s_per_gb: last
                .filter(|_| received > 0.0)
                .map(|last| outcome.worker_cpu_seconds(last) / (received / 1e9)),
            rss_peak_mb: Some(outcome.peak_memory as f64 / f64::from(1 << 20)),
            origin_bytes_over_image: Some(sum(|image| image.origin_bytes) / image),
            origin_link_over_image: Some(outcome.origin_link_bytes as f64 / image),
            demand_p50_ms: quantile_ms(&waits, 0.5),
            demand_p99_ms: quantile_ms(&waits, 0.99),
            struck_over_bound: struck_last.map(seconds).and_then(over_bound),
            refetched_over_image: (!outcome.former.is_empty()).then(|| again as f64 / image),
            failed: Some((counted.len() - ends.len()) as f64),
            cpu_busy_percent: last.map(|last| outcome.busy_percent(last)),
        }
    }

    /// The median of each figure.
    pub(super) fn median(runs: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> Option<f64>| {
            median(&mut runs.iter().filter_map(figure).collect::<Vec<_>>())
        };
        Self {
            seconds: of(|run| run.seconds),
            t_over_bound: of(|run| run.t_over_bound),
            median_over_bound: of(|run| run.median_over_bound),
            ready_p50_ms: of(|run| run.ready_p50_ms),
            ready_last_ms: of(|run| run.ready_last_ms),
            cpu_s_per_gb: of(|run| run.cpu_s_per_gb),
            rss_peak_mb: of(|run| run.rss_peak_mb),
            origin_bytes_over_image: of(|run| run.origin_bytes_over_image),
            origin_link_over_image: of(|run| run.origin_link_over_image),
            demand_p50_ms: of(|run| run.demand_p50_ms),
            demand_p99_ms: of(|run| run.demand_p99_ms),
            struck_over_bound: of(|run| run.struck_over_bound),
            refetched_over_image: of(|run| run.refetched_over_image),
            // One run that fails is one too many to be outvoted.
            failed: runs.iter().filter_map(|run| run.failed).reduce(f64::max),
            cpu_busy_percent: of(|run| run.cpu_busy_percent),
        }
    }
}

/// When a VM had what it was to have; nothing if it failed.
fn end_us(mode: v1::Mode, outcome: &Outcome, vm: &str) -> Option<i64> {
    let ready = outcome.ready_us.get(vm).copied()?;
    match mode {
        v1::Mode::Full => {
            let image = outcome.images.get(vm).filter(|image| image.complete)?;
            Some(image.complete_unix_us)
        }
        _ => Some(ready),
    }
}

/// The middle value, or the mean of the two in the middle.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

fn total_waits(images: &BTreeMap<String, v1::ImageStatus>) -> Vec<u64> {
    let mut total = BTreeMap::new();
    for image in images.values() {
        for (bucket, count) in image.demand_waits.iter().enumerate() {
            *total.entry(bucket).or_default() += count;
        }
    }
    let buckets = total.keys().max().map_or(0, |last| last + 1);
    (0..buckets).map(|bucket| total.get(&bucket).copied().unwrap_or(0)).collect()
}

/// A quantile of waits counted in the buckets of `ImageStatus.demand_waits`, interpolated within its bucket.
fn quantile_ms(buckets: &[u64], share: f64) -> Option<f64> {
    let all: u64 = buckets.iter().sum();
    let wanted = share * all as f64;
    let mut before = 0;
    for (nth, count) in buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
        let after = before + count;
        if after as f64 >= wanted {
            let edge = |nth: usize| f64::exp2(nth as f64 / 4.0);
            let (low, high) = if nth == 0 { (0.0, 1.0) } else { (edge(nth - 1), edge(nth)) };
            return Some(low + (high - low) * (wanted - before as f64) / *count as f64);
        }
        before = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(quantile_ms(&[], 0.5), None);
        assert_eq!(quantile_ms(&[2], 0.5), Some(0.5));
        // Bucket 9 is from 4 ms to 4.76 ms; all of these are in it.
        let waits = [0, 0, 0, 0, 0, 0, 0, 0, 0, 10];
        let p99 = quantile_ms(&waits, 0.99).unwrap();
        assert!((4.7..4.76).contains(&p99), "{p99}");
        let p50 = quantile_ms(&[90, 0, 0, 10], 0.5).unwrap();
        assert!(p50 < 1.0, "{p50}");
    }
}
