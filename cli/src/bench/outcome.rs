//! What was seen of a run.

use std::collections::BTreeMap;

use ft_proto::v1;

use super::meter::MachineCpu;

/// What was seen of one run. Times are Unix microseconds.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) called_us: i64,
    /// The last that was heard of every VM's image; of a worker that was killed, before its end.
    pub(super) images: BTreeMap<String, v1::ImageStatus>,
    /// The same of workers that were started again, before that.
    pub(super) former: Vec<v1::ImageStatus>,
    /// When root file systems were there, by VM.
    pub(super) mounted_us: BTreeMap<String, i64>,
    /// When containers became ready, by VM.
    pub(super) ready_us: BTreeMap<String, i64>,
    /// Why containers failed, by VM.
    pub(super) causes: BTreeMap<String, String>,
    /// Whom the fault struck.
    pub(super) struck: Vec<String>,
    /// The most memory that a worker had, in bytes.
    pub(super) peak_memory: u64,
    /// Bytes that left the origin's host, headers and the manager's words included.
    pub(super) origin_link_bytes: u64,
    pub(super) samples: Vec<Sample>,
}

/// What the meters said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at_us: i64,
    pub(super) machine: MachineCpu,
    /// CPU seconds of all workers.
    pub(super) workers: f64,
}

impl Outcome {
    /// The first sample at or after this time.
    fn sample(&self, at_us: i64) -> Option<&Sample> {
        self.samples.iter().find(|sample| sample.at_us >= at_us).or(self.samples.last())
    }

    /// CPU seconds of all workers from the call to `end_us`.
    pub(super) fn worker_cpu_seconds(&self, end_us: i64) -> f64 {
        let used = |at_us| self.sample(at_us).map_or(0.0, |sample| sample.workers);
        used(end_us) - used(self.called_us)
    }

    /// How busy the machine was from the call to `end_us`, in percent.
    pub(super) fn busy_percent(&self, end_us: i64) -> f64 {
        let cpu = |at_us| self.sample(at_us).map_or_else(MachineCpu::default, |sample| sample.machine);
        cpu(end_us).busy_percent_since(cpu(self.called_us))
    }
}

/// Stored bytes that a VM has fetched, from wherever.
pub(super) fn received_bytes(image: &v1::ImageStatus) -> u64 {
    image.origin_bytes + image.peer_bytes_in
}
