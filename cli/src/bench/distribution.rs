//! One run: an image to all VMs, watched from the call to the last block.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ft_proto::v1;
use ft_proto::v1::ContainerState as State;
use ft_testbed::{Rate, Testbed};
use futures_util::StreamExt as _;
use futures_util::stream::SelectAll;
use indicatif::ProgressBar;
use tokio::time::Instant;
use tonic::Streaming;

use super::cluster::{Cluster, Worker};
use super::fault::Fault;
use super::meter::{self, MachineCpu};
use super::outcome::{Outcome, Sample};
use crate::client::Client;
use crate::failure::Failure;

/// How often the tree and the meters are read.
const TICK: Duration = Duration::from_millis(100);

/// A VM that has been free for this long after its worker's restart gets no container by itself.
const PLACE_AGAIN: Duration = Duration::from_secs(1);

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
    /// Bytes that every host had received before, by VM.
    received: BTreeMap<String, u64>,
    /// The container on each VM.
    containers: BTreeMap<String, String>,
    /// Containers whose end is part of the fault.
    given_up: BTreeSet<String>,
    /// Whether others run in their stead.
    placed_again: bool,
    /// Calls whose events still come.
    calls: SelectAll<Streaming<v1::ContainerEvent>>,
    /// Since when the VM that was struck has been free, if its container is to be placed again.
    free_since: Option<Instant>,
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
        let received = received(cluster);
        let mut this = Self {
            plan,
            client,
            cluster,
            bed,
            bar,
            outcome: Outcome::default(),
            cpu: BTreeMap::new(),
            received,
            containers: BTreeMap::new(),
            given_up: BTreeSet::new(),
            placed_again: false,
            calls: SelectAll::new(),
            free_since: None,
        };
        this.watch().await?;
        Ok(this.outcome)
    }

    async fn watch(&mut self) -> Result<(), Failure> {
        let origin_sent = self.origin_sent()?;
        self.outcome.called_us = meter::unix_us();
        self.read_meters();
        let end = Instant::now() + self.plan.timeout;
        let all = self.cluster.workers().iter().map(|worker| worker.vm.clone()).collect();
        self.call(all).await?;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.is_done() && Instant::now() < end {
            tokio::select! {
                Some(event) = self.calls.next() => self.note(&event?),
                _ = tick.tick() => self.look().await?,
            }
        }
        self.outcome.origin_link_bytes = self.origin_sent()?.saturating_sub(origin_sent);
        Ok(())
    }

    /// Calls for a container on each of these VMs.
    async fn call(&mut self, vms: Vec<String>) -> Result<(), Failure> {
        let request = v1::ProvisionRequest {
            function: self.plan.function.clone(),
            count: u32::try_from(vms.len()).unwrap_or(u32::MAX),
            mode: self.plan.mode.into(),
            shape: self.plan.shape.into(),
            deadline_ms: u32::try_from(self.plan.timeout.as_millis()).unwrap_or(u32::MAX),
            vms,
            ..Default::default()
        };
        self.calls.push(self.client.scheduler().provision(request).await?.into_inner());
        Ok(())
    }

    fn note(&mut self, event: &v1::ContainerEvent) {
        if self.given_up.contains(&event.container) {
            return;
        }
        self.containers.insert(event.vm.clone(), event.container.clone());
        let outcome = &mut self.outcome;
        match event.state() {
            State::Mounted => {
                outcome.mounted_us.entry(event.vm.clone()).or_insert(event.at_unix_us);
            }
            State::Ready => {
                outcome.ready_us.entry(event.vm.clone()).or_insert(event.at_unix_us);
            }
            State::Failed | State::Stopped => {
                outcome.causes.entry(event.vm.clone()).or_insert_with(|| event.cause.clone());
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
        tree.vms.iter().for_each(|vm| self.note_image(vm));
        let percent = self.median_percent();
        self.bar.set_position(percent);
        let Some(fault) = self.plan.fault else { return Ok(()) };
        if self.outcome.struck.is_empty() && tree.vms.len() == self.cluster.workers().len() {
            let struck = fault.strike(self.cluster, self.bed, self.plan.rate, &tree, percent).await?;
            if fault.fails_containers() {
                self.give_up(&struck);
            }
            self.outcome.struck = struck;
        } else if fault.fails_containers() && !self.outcome.struck.is_empty() {
            self.follow_struck().await?;
        }
        Ok(())
    }

    /// The workers of these VMs start again: they count from zero, and their containers are gone.
    fn give_up(&mut self, struck: &[String]) {
        let Outcome { images, former, ready_us, .. } = &mut self.outcome;
        for vm in struck {
            former.extend(images.remove(vm));
            ready_us.remove(vm);
            self.given_up.extend(self.containers.remove(vm));
        }
    }

    /// Watches the containers in the stead of those that were given up. No call's events tell of them: the manager
    /// places them by itself, or else they are called for.
    async fn follow_struck(&mut self) -> Result<(), Failure> {
        let request =
            v1::ListContainersRequest { function: self.plan.function.clone(), tenant: String::new() };
        let listed = self.client.scheduler().list_containers(request).await?.into_inner().containers;
        let anew = listed.into_iter().filter(|container| {
            self.outcome.struck.contains(&container.vm) && !self.given_up.contains(&container.container)
        });
        let anew: Vec<_> = anew.collect();
        self.placed_again |= !anew.is_empty();
        anew.iter().flat_map(|container| &container.history).for_each(|event| self.note(event));
        if anew.is_empty() { self.place_again().await } else { Ok(()) }
    }

    fn note_image(&mut self, vm: &v1::TreeVm) {
        let outcome = &mut self.outcome;
        let strikes = self.plan.fault.is_some_and(Fault::fails_containers);
        // Until another container is there, what is said of a VM that was struck is from before.
        if strikes && outcome.struck.contains(&vm.vm) && !self.placed_again {
            return;
        }
        if let Some(image) = &vm.image {
            outcome.images.insert(vm.vm.clone(), image.clone());
        }
    }

    /// Calls for a container on a VM that has come back, unless the manager places one there by itself.
    async fn place_again(&mut self) -> Result<(), Failure> {
        let vms = self.client.pool().list_vms(v1::ListVmsRequest {}).await?.into_inner().vms;
        let struck = vms.into_iter().find(|vm| self.outcome.struck.contains(&vm.vm));
        let Some(struck) = struck.filter(|vm| vm.state() == v1::VmState::Free) else {
            self.free_since = None;
            return Ok(());
        };
        let since = *self.free_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= PLACE_AGAIN {
            self.free_since = None;
            self.call(vec![struck.vm]).await?;
        }
        Ok(())
    }

    fn read_meters(&mut self) {
        for pid in self.cluster.workers().iter().filter_map(Worker::pid) {
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
        let image = self.plan.stored_bytes.max(1);
        let share = |(vm, bytes): (String, u64)| {
            100 * bytes.saturating_sub(self.received.get(&vm).copied().unwrap_or(0)) / image
        };
        let mut shares: Vec<u64> = received(self.cluster).into_iter().map(share).collect();
        shares.sort_unstable();
        shares.get(shares.len() / 2).copied().unwrap_or(0).min(100)
    }

    fn is_done(&self) -> bool {
        let waits = self.plan.fault.is_none_or(Fault::waits_for_struck);
        let struck = |vm: &String| self.outcome.struck.contains(vm);
        let mut counted =
            self.cluster.workers().iter().map(|worker| &worker.vm).filter(|vm| waits || !struck(vm));
        counted.all(|vm| {
            let complete = self.outcome.images.get(vm).is_some_and(|image| image.complete);
            let enough = complete || self.plan.mode == v1::Mode::Lazy;
            self.outcome.causes.contains_key(vm) || (self.outcome.ready_us.contains_key(vm) && enough)
        })
    }

    fn origin_sent(&self) -> Result<u64, Failure> {
        let bytes = self.bed.link_bytes(0).map_err(anyhow::Error::from)?;
        Ok(bytes.sent)
    }
}

/// Bytes that the links of all VMs have received, by VM.
fn received(cluster: &Cluster<'_>) -> BTreeMap<String, u64> {
    let read = |worker: &Worker| Some((worker.vm.clone(), meter::received_bytes(worker.pid()?)));
    cluster.workers().iter().filter_map(read).collect()
}
