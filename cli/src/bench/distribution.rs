//! One run: an image to all VMs, watched from the call to the last block.

use std::collections::BTreeMap;
use std::time::Duration;

use ft_proto::v1;
use ft_proto::v1::ContainerState as State;
use ft_testbed::{Rate, Testbed};
use indicatif::ProgressBar;
use tokio::time::Instant;

use super::cluster::Cluster;
use super::fault::{Fault, Struck};
use super::meter::{self, MachineCpu};
use crate::client::Client;
use crate::failure::Failure;

/// How often the tree and the meters are read.
const TICK: Duration = Duration::from_millis(100);

/// What is to be distributed, and how.
pub(super) struct Plan {
    /// The function's name.
    pub(super) function: String,
    pub(super) stored_bytes: u64,
    pub(super) mode: v1::Mode,
    pub(super) shape: v1::TreeShape,
    pub(super) rate: Rate,
    pub(super) fault: Option<Fault>,
    /// Give up on those that are not done by then.
    pub(super) timeout: Duration,
}

/// What was seen of one run. Times are Unix microseconds.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) called_us: i64,
    /// The last that was heard of every VM's image; of a worker that was killed, before its end.
    pub(super) images: BTreeMap<String, v1::ImageStatus>,
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
    samples: Vec<Sample>,
}

/// What the meters said.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at_us: i64,
    machine: MachineCpu,
    /// CPU seconds of all workers.
    workers: f64,
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

/// One run while it goes on.
pub(super) struct Distribution<'a, 'b> {
    plan: &'a Plan,
    client: &'a Client,
    cluster: &'a mut Cluster<'b>,
    bed: &'a Testbed,
    bar: &'a ProgressBar,
    outcome: Outcome,
    /// CPU seconds by process, those that have ended included.
    cpu: BTreeMap<u32, f64>,
    /// Bytes that every host had received before, by process.
    received: BTreeMap<u32, u64>,
}

impl<'a, 'b> Distribution<'a, 'b> {
    /// Calls for one container on every VM, and watches until all have what they should.
    pub(super) async fn run(
        plan: &'a Plan,
        client: &'a Client,
        cluster: &'a mut Cluster<'b>,
        bed: &'a Testbed,
        bar: &'a ProgressBar,
    ) -> Result<Outcome, Failure> {
        let pids: Vec<u32> = cluster.workers().iter().filter_map(super::cluster::Worker::pid).collect();
        let received = pids.into_iter().map(|pid| (pid, meter::received_bytes(pid))).collect();
        let outcome = Outcome::default();
        let mut this = Self { plan, client, cluster, bed, bar, outcome, cpu: BTreeMap::new(), received };
        this.watch().await?;
        Ok(this.outcome)
    }

    async fn watch(&mut self) -> Result<(), Failure> {
        let origin_sent = self.origin_sent()?;
        self.outcome.called_us = meter::unix_us();
        self.read_meters();
        let end = Instant::now() + self.plan.timeout;
        let mut events = self.client.scheduler().provision(self.request()).await?.into_inner();
        let mut streaming = true;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.is_done() && Instant::now() < end {
            tokio::select! {
                event = events.message(), if streaming => match event? {
                    Some(event) => self.note(&event),
                    None => streaming = false,
                },
                _ = tick.tick() => self.look().await?,
            }
        }
        self.outcome.origin_link_bytes = self.origin_sent()?.saturating_sub(origin_sent);
        Ok(())
    }

    fn request(&self) -> v1::ProvisionRequest {
        let vms: Vec<String> = self.cluster.workers().iter().map(|worker| worker.vm.clone()).collect();
        v1::ProvisionRequest {
            function: self.plan.function.clone(),
            count: u32::try_from(vms.len()).unwrap_or(u32::MAX),
            mode: self.plan.mode.into(),
            shape: self.plan.shape.into(),
            deadline_ms: u32::try_from(self.plan.timeout.as_millis()).unwrap_or(u32::MAX),
            vms,
            ..Default::default()
        }
    }

    fn note(&mut self, event: &v1::ContainerEvent) {
        match event.state() {
            State::Ready => {
                self.outcome.ready_us.entry(event.vm.clone()).or_insert(event.at_unix_us);
            }
            State::Failed | State::Stopped => {
                self.outcome.causes.entry(event.vm.clone()).or_insert_with(|| event.cause.clone());
            }
            _ => {}
        }
    }

    /// Reads everything there is to read, and lets the fault strike if it is time.
    async fn look(&mut self) -> Result<(), Failure> {
        self.read_meters();
        self.cluster.check()?;
        let name = v1::ShowTreeRequest { function: self.plan.function.clone(), tenant: String::new() };
        let tree = self.client.functions().show_tree(name).await?.into_inner();
        for vm in &tree.vms {
            if let Some(image) = &vm.image {
                self.outcome.images.insert(vm.vm.clone(), image.clone());
            }
        }
        let percent = self.median_percent();
        self.bar.set_position(percent);
        if let Some(fault) = self.plan.fault
            && self.outcome.struck.is_empty()
            && tree.vms.len() == self.cluster.workers().len()
        {
            let struck = fault.strike(self.cluster, self.bed, self.plan.rate, &tree, percent).await?;
            self.outcome.struck = struck.map_or_else(Vec::new, |Struck { vms }| vms);
        }
        Ok(())
    }

    fn read_meters(&mut self) {
        for pid in self.cluster.workers().iter().filter_map(super::cluster::Worker::pid) {
            let used = self.cpu.entry(pid).or_default();
            *used = used.max(meter::cpu_seconds(pid));
            self.outcome.peak_memory = self.outcome.peak_memory.max(meter::peak_memory(pid));
        }
        let workers = self.cpu.values().sum();
        let sample = Sample { at_us: meter::unix_us(), machine: MachineCpu::now(), workers };
        self.outcome.samples.push(sample);
    }

    /// How much of the image the median VM has received, in percent, by what its link has counted.
    fn median_percent(&self) -> u64 {
        let share = |pid: u32| {
            let before = self.received.get(&pid).copied().unwrap_or(0);
            100 * meter::received_bytes(pid).saturating_sub(before) / self.plan.stored_bytes.max(1)
        };
        let pids = self.cluster.workers().iter().filter_map(super::cluster::Worker::pid);
        let mut shares: Vec<u64> = pids.map(share).collect();
        shares.sort_unstable();
        shares.get(shares.len() / 2).copied().unwrap_or(0).min(100)
    }

    fn is_done(&self) -> bool {
        let waits = self.plan.fault.is_none_or(Fault::waits_for_victims);
        let all = self.cluster.workers().iter().map(|worker| &worker.vm);
        let mut counted = all.filter(|vm| waits || !self.outcome.struck.contains(vm));
        counted.all(|vm| {
            let failed = self.outcome.causes.contains_key(vm);
            let complete = self.outcome.images.get(vm).is_some_and(|image| image.complete);
            failed
                || (self.outcome.ready_us.contains_key(vm) && (complete || self.plan.mode == v1::Mode::Lazy))
        })
    }

    fn origin_sent(&self) -> Result<u64, Failure> {
        let bytes = self.bed.link_bytes(0).map_err(anyhow::Error::from)?;
        Ok(bytes.sent)
    }
}
