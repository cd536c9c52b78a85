//! `ft bench demand`: how long a reader waits for a block while pushes saturate every link.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ft_core::block::BLOCK_SIZE;
use ft_proto::v1;
use ft_proto::v1::ContainerState as State;
use serde::Serialize;
use tokio::time::sleep;

use super::cluster::{self, Cluster, worker_flags};
use super::image::{self, FILE_BYTES, NAME};
use super::meter::{self, MachineCpu};
use super::stage::{Needs, Stage};
use crate::args::{DemandArgs, Global, name_of};
use crate::client::Client;
use crate::failure::{Failure, Kind};
use crate::output::{self, Format};

/// A block is read only if at least so many others are to be pushed before it.
const AHEAD_BLOCKS: u64 = 48;
/// Reads begin when the last VM has received so much: then the pushes flow.
const FLOWING_BYTES: u64 = 8 << 20;
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(50);

/// The object of `-o json`.
#[derive(Debug, Serialize)]
struct Report {
    hops: u32,
    rate_bits_per_s: u64,
    transport: String,
    block_bytes: u32,
    /// Blocks that were read.
    count: usize,
    /// What the links alone need: every hop receives the whole block before it passes it on.
    wire_ms: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    p50_over_wire: f64,
    p95_over_wire: f64,
    p99_over_wire: f64,
    cpu_busy_percent: f64,
}

pub(crate) async fn run(global: &Global, args: &DemandArgs) -> Result<(), Failure> {
    image::static_busybox()?;
    let vms = chain_length(args.hops);
    let needs = Needs {
        hosts: vms as usize + 1,
        rate: args.rate,
        bytes: Some(u64::from(vms) * image::quota(args.size) + image::origin_bytes(args.size)),
        disk: None,
    };
    let (their_global, their_args) = (global.clone(), args.clone());
    let play = async move |stage: &Stage<'_>, cluster: &mut Cluster<'_>| {
        measure(&their_global, &their_args, stage, cluster).await
    };
    let report = cluster::play(&needs, args.timeout, play).await?;
    report.write(global)
}

/// VMs in the chain. In a tree of one or two, all go straight to the origin, so there are three at least.
fn chain_length(hops: u32) -> u32 {
    (hops + 1).max(3)
}

async fn measure(
    global: &Global,
    args: &DemandArgs,
    stage: &Stage<'_>,
    cluster: &mut Cluster<'_>,
) -> Result<Report, Failure> {
    let client = cluster.start_manager().await?;
    let function = image::seed(global, &client, stage.dir, args.size).await?;
    let flags = worker_flags(args.transport, image::quota(function.stored_bytes));
    cluster.start_workers(&client, chain_length(args.hops), &flags).await?;
    let vms: Vec<String> = cluster.workers().iter().map(|worker| worker.vm.clone()).collect();
    provision(&client, &vms[0], State::Ready).await?;
    wait_until_complete(&client, cluster, &vms[0]).await?;
    // One after the other, so that each is below the one before.
    for vm in &vms[1..] {
        provision(&client, vm, State::Placed).await?;
    }
    let reader = vms.get(args.hops as usize).cloned().unwrap_or_default();
    let files = mounted(&client, cluster, &function, &reader, args.hops).await?;
    let worker = cluster.workers().iter().find(|worker| worker.vm == reader);
    let pid = worker.and_then(super::cluster::Worker::pid).unwrap_or(0);
    let before = meter::received_bytes(pid);
    let (size, count) = (args.size, args.count as usize);
    let cpu = MachineCpu::now();
    // Reads block, and this thread has others to serve.
    let reads = tokio::task::spawn_blocking(move || read_ahead_of_pushes(&files, size, count, pid, before));
    let waits = reads.await.map_err(anyhow::Error::from)??;
    let busy = MachineCpu::now().busy_percent_since(cpu);
    Report::new(args, waits, busy)
}

/// Places a container on a VM and waits until it is in this state.
async fn provision(client: &Client, vm: &str, state: State) -> Result<(), Failure> {
    let request = v1::ProvisionRequest {
        function: NAME.to_owned(),
        count: 1,
        mode: v1::Mode::Full.into(),
        shape: v1::TreeShape::Chain.into(),
        vms: vec![vm.to_owned()],
        ..Default::default()
    };
    let mut events = client.scheduler().provision(request).await?.into_inner();
    while let Some(event) = events.message().await? {
        if event.state() == state {
            return Ok(());
        }
        if event.state() == State::Failed {
            return Err(Failure::message(Kind::Failed, format!("{vm}: {}", event.cause)));
        }
    }
    Err(Failure::message(Kind::Failed, format!("the container on {vm} came to nothing")))
}

async fn show_tree(client: &Client) -> Result<v1::Tree, Failure> {
    let request = v1::ShowTreeRequest { function: NAME.to_owned(), tenant: String::new() };
    Ok(client.functions().show_tree(request).await?.into_inner())
}

async fn wait_until_complete(client: &Client, cluster: &mut Cluster<'_>, vm: &str) -> Result<(), Failure> {
    loop {
        cluster.check()?;
        let tree = show_tree(client).await?;
        let images = tree.vms.iter().filter(|entry| entry.vm == vm).filter_map(|entry| entry.image.as_ref());
        if images.into_iter().any(|image| image.complete) {
            return Ok(());
        }
        sleep(POLL).await;
    }
}

/// Waits until the last VM, which must be `hops` below the first, has mounted the image and pushes flow; the
/// directory of the image's data files.
async fn mounted(
    client: &Client,
    cluster: &mut Cluster<'_>,
    function: &v1::Function,
    vm: &str,
    hops: u32,
) -> Result<PathBuf, Failure> {
    let hex = function.image.trim_start_matches("sha256:").to_owned();
    let data = |cluster: &Cluster<'_>| {
        let worker = cluster.workers().iter().find(|worker| worker.vm == vm)?;
        let data = cluster.state_dir(worker).join("mnt/images").join(&hex).join("data");
        let flowing = meter::received_bytes(worker.pid()?) >= FLOWING_BYTES;
        (flowing && data.is_dir()).then_some(data)
    };
    let data = loop {
        cluster.check()?;
        match data(cluster) {
            Some(data) => break data,
            None => sleep(POLL).await,
        }
    };
    let tree = show_tree(client).await?;
    let depth = tree.vms.iter().find(|entry| entry.vm == vm).and_then(|entry| entry.depths.first().copied());
    if depth == Some(hops) {
        return Ok(data);
    }
    Err(Failure::message(Kind::Failed, format!("{vm} is at depth {depth:?} and should be at {hops}")))
}

/// Reads a little of blocks far ahead of the pushes, one at a time in random order; the waits in milliseconds.
fn read_ahead_of_pushes(
    data: &Path,
    size: u64,
    count: usize,
    pid: u32,
    before: u64,
) -> Result<Vec<f64>, Failure> {
    let block = u64::from(BLOCK_SIZE);
    let blocks = size / block;
    let mut left: Vec<u64> = (0..blocks).collect();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut waits = Vec::new();
    while waits.len() < count {
        // Headers and what was demanded count too, so this is rather too far than not far enough.
        let received = meter::received_bytes(pid).saturating_sub(before) + FLOWING_BYTES;
        let pushed = received / block;
        left.retain(|block| *block > pushed + AHEAD_BLOCKS);
        if left.is_empty() {
            break;
        }
        // xorshift64 (Marsaglia 2003): the same order on every run.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let nth = usize::try_from(random % left.len() as u64).unwrap_or(0);
        let offset = left.swap_remove(nth) * block + block / 2;
        let file = std::fs::File::open(data.join(format!("{:04}", offset / FILE_BYTES)))?;
        // The kernel must not read on by itself: only one block is wanted.
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random).map_err(std::io::Error::from)?;
        let start = Instant::now();
        file.read_exact_at(&mut [0; 4096], offset % FILE_BYTES)?;
        waits.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(waits)
}

impl Report {
    fn new(args: &DemandArgs, mut waits: Vec<f64>, busy: f64) -> Result<Self, Failure> {
        if waits.is_empty() {
            return Err(Failure::message(Kind::Failed, "the pushes were done before anything was read")
                .next("use a larger --size or a lower --rate"));
        }
        waits.sort_by(f64::total_cmp);
        let wire_ms = f64::from(BLOCK_SIZE) * 8e3 / args.rate.bits() as f64 * f64::from(args.hops);
        let (p50_ms, p95_ms, p99_ms) = (quantile(&waits, 50), quantile(&waits, 95), quantile(&waits, 99));
        Ok(Self {
            hops: args.hops,
            rate_bits_per_s: args.rate.bits(),
            transport: name_of(args.transport),
            block_bytes: BLOCK_SIZE,
            count: waits.len(),
            wire_ms,
            p50_ms,
            p95_ms,
            p99_ms,
            p50_over_wire: p50_ms / wire_ms,
            p95_over_wire: p95_ms / wire_ms,
            p99_over_wire: p99_ms / wire_ms,
            cpu_busy_percent: busy,
        })
    }

    fn write(&self, global: &Global) -> Result<(), Failure> {
        if global.output == Format::Json {
            return output::json(self);
        }
        let row =
            |name: &str, ms: f64, over: f64| vec![name.to_owned(), format!("{ms:.1}"), format!("{over:.2}")];
        output::table(
            &["", "ms", "÷ wire"],
            [
                row("p50", self.p50_ms, self.p50_over_wire),
                row("p95", self.p95_ms, self.p95_over_wire),
                row("p99", self.p99_ms, self.p99_over_wire),
            ],
        )?;
        output::line(&format!(
            "\n{} blocks read over {} hops of {} Mbit/s, transport {}; the wire alone needs {:.1} ms: {} hops, each \
             of which receives the whole block before it passes it on. CPU {:.0}% busy.",
            self.count,
            self.hops,
            self.rate_bits_per_s / 1_000_000,
            self.transport,
            self.wire_ms,
            self.hops,
            self.cpu_busy_percent
        ))
    }
}

/// A quantile of sorted values, by the nearest rank.
fn quantile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).clamp(1, sorted.len());
    sorted[rank - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!([50, 95, 99].map(|percent| quantile(&hundred, percent)), [50.0, 95.0, 99.0]);
        assert_eq!(quantile(&[7.0], 50), 7.0);
    }
}
