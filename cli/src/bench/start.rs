//! `ft bench start`: cold starts on one VM and on many, without a start-up profile and with it.

use std::time::Duration;

use ft_core::manifest::{Layout, Manifest};
use ft_proto::v1;
use indicatif::ProgressBar;
use tokio::time::sleep;

use super::cluster::{self, Cluster, worker_flags};
use super::distribution::{Distribution, Plan};
use super::image::{self, NAME};
use super::outcome::Outcome;
use super::stage::{Needs, Stage};
use super::start_figures::{Seen, StartFigures};
use super::start_report::{Kind, StartReport};
use crate::args::{ConvertArgs, Global, SeedArgs, StartArgs};
use crate::client::Client;
use crate::cmd::publish;
use crate::failure::{Failure, Kind as FailureKind};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(50);
/// What is heard of a VM so long after its container was ready is the whole of its start: a grace period of a second
/// belongs to it, and a heartbeat tells the rest.
const SETTLED: Duration = Duration::from_millis(2_200);

pub(crate) async fn run(global: &Global, args: &StartArgs) -> Result<(), Failure> {
    if args.source.is_none() {
        image::static_busybox()?;
    }
    let bytes = u64::from(args.vms) * 2 * image::quota(args.size) + image::origin_bytes(args.size);
    let needs = Needs {
        hosts: args.vms as usize + 1,
        rate: args.rate,
        bytes: args.source.is_none().then_some(bytes),
        disk: None,
    };
    let (their_global, their_args) = (global.clone(), args.clone());
    let play = async move |stage: &Stage<'_>, cluster: &mut Cluster<'_>| {
        measure(&their_global, &their_args, stage, cluster).await
    };
    let report = cluster::play(&needs, args.timeout, play).await?;
    report.write(global)
}

async fn measure(
    global: &Global,
    args: &StartArgs,
    stage: &Stage<'_>,
    cluster: &mut Cluster<'_>,
) -> Result<StartReport, Failure> {
    let client = cluster.start_manager().await?;
    let request = prepare(global, args, stage, &client).await?;
    let manifest = Manifest::decode(&request.manifest).map_err(anyhow::Error::from)?;
    let layout = Layout::new(&manifest);
    let function = client.functions().create_function(request.clone()).await?.into_inner();
    let unpacked = if args.source.is_some() { function.image_bytes } else { args.size };
    let plan = Plan {
        function: NAME.to_owned(),
        stored_bytes: function.stored_bytes,
        mode: v1::Mode::Lazy,
        shape: args.tree.into(),
        rate: args.rate,
        fault: None,
        timeout: args.timeout,
    };
    let flags = worker_flags(args.transport, image::quota(function.stored_bytes) + unpacked);
    let metadata_blocks = layout.metadata_blocks();
    let mut starts = Starts { stage, cluster, client, request, metadata_blocks, plan, flags };
    let mut report = StartReport::new(args, &function);
    for nth in 1..=args.runs {
        tracing::info!("run {nth} of {}", args.runs);
        starts.one_run(args.vms, &mut report).await?;
    }
    Ok(report)
}

/// Converts the source and publishes it beside the manager.
async fn prepare(
    global: &Global,
    args: &StartArgs,
    stage: &Stage<'_>,
    client: &Client,
) -> Result<v1::CreateFunctionRequest, Failure> {
    let mut convert = ConvertArgs { work_dir: Some(stage.dir.to_owned()), ..args.convert.clone() };
    let (source, command) = match &args.source {
        Some(source) => (source.clone(), args.args.clone()),
        None => {
            convert.check_tcp = Some(image::READY_PORT);
            let rootfs = image::rootfs(stage.dir, args.size)?;
            (format!("dir:{}", rootfs.display()), image::reading_command())
        }
    };
    let (name, tenant) = (NAME.to_owned(), String::new());
    let seed = SeedArgs { source, name, tenant, origin: None, convert, args: command };
    publish(global, client, &seed).await
}

/// What all starts have in common.
struct Starts<'a, 'b> {
    stage: &'a Stage<'a>,
    cluster: &'a mut Cluster<'b>,
    client: Client,
    request: v1::CreateFunctionRequest,
    metadata_blocks: u32,
    plan: Plan,
    flags: Vec<String>,
}

impl Starts<'_, '_> {
    async fn one_run(&mut self, vms: u32, report: &mut StartReport) -> Result<(), Failure> {
        self.forget_profile().await?;
        report.add(Kind::First, self.cold(1).await?);
        report.add(Kind::One, self.cold(1).await?);
        report.add(Kind::OneStored, self.start().await?);
        report.add(Kind::Many, self.cold(vms).await?);
        report.add(Kind::ManyStored, self.start().await?);
        self.forget_profile().await?;
        report.add(Kind::ManyFirst, self.cold(vms).await?);
        Ok(())
    }

    /// Registers the function anew: the profile of an image that no function has is gone.
    async fn forget_profile(&mut self) -> Result<(), Failure> {
        let delete = v1::DeleteFunctionRequest { function: NAME.to_owned(), ..Default::default() };
        self.client.functions().delete_function(delete).await?;
        self.client.functions().create_function(self.request.clone()).await?;
        Ok(())
    }

    /// A start on new workers that have nothing.
    async fn cold(&mut self, vms: u32) -> Result<StartFigures, Failure> {
        self.cluster.start_workers(&self.client, vms, &self.flags).await?;
        self.start().await
    }

    /// A container on every VM; ended again when all is known of its start.
    async fn start(&mut self) -> Result<StartFigures, Failure> {
        let profile = self.tree().await?.profile;
        let vms: Vec<String> = self.cluster.workers().iter().map(|worker| worker.vm.clone()).collect();
        let bar = ProgressBar::hidden();
        let mut outcome =
            Distribution::run(&self.plan, &self.client, self.cluster, self.stage.bed, &bar).await?;
        if let Some((vm, cause)) = outcome.causes.first_key_value() {
            return Err(Failure::message(
                FailureKind::Failed,
                format!("the container on {vm} failed: {cause}"),
            ));
        }
        let tree = self.settled(&outcome).await?;
        outcome.images = tree.vms.iter().filter_map(|vm| Some((vm.vm.clone(), vm.image.clone()?))).collect();
        let reclaim = v1::ReclaimRequest { function: NAME.to_owned(), ..Default::default() };
        self.client.scheduler().reclaim(reclaim).await?;
        self.left().await?;
        let metadata_blocks = self.metadata_blocks;
        let seen = Seen { profile, tree, metadata_blocks, outcome, vms };
        Ok(StartFigures::of(&self.plan, &seen))
    }

    async fn tree(&self) -> Result<v1::Tree, Failure> {
        let name = v1::ShowTreeRequest { function: NAME.to_owned(), tenant: String::new() };
        Ok(self.client.functions().show_tree(name).await?.into_inner())
    }

    /// The tree, when everything about this start has been heard and its profile is made.
    async fn settled(&mut self, outcome: &Outcome) -> Result<v1::Tree, Failure> {
        let ready = outcome.ready_us.values().copied().max().unwrap_or(outcome.called_us);
        let settled = ready + i64::try_from(SETTLED.as_micros()).unwrap_or(i64::MAX);
        loop {
            self.cluster.check()?;
            let tree = self.tree().await?;
            let heard = self.all_vms(|vm| vm.last_heard_unix_us >= settled).await?;
            if heard && !tree.profile.is_empty() {
                return Ok(tree);
            }
            sleep(POLL).await;
        }
    }

    /// Waits until every VM has left the image: what it has is in its store only.
    async fn left(&mut self) -> Result<(), Failure> {
        while !self.all_vms(|vm| vm.images.is_empty()).await? {
            self.cluster.check()?;
            sleep(POLL).await;
        }
        Ok(())
    }

    async fn all_vms(&self, holds: impl Fn(&v1::Vm) -> bool) -> Result<bool, Failure> {
        let vms = self.client.pool().list_vms(v1::ListVmsRequest {}).await?.into_inner().vms;
        let all = |worker: &super::cluster::Worker| vms.iter().any(|vm| vm.vm == worker.vm && holds(vm));
        Ok(self.cluster.workers().iter().all(all))
    }
}
