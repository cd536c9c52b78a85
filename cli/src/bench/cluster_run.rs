//! `ft bench cluster`: an image to many VMs, run by run.

use ft_proto::v1;
use indicatif::{ProgressBar, ProgressStyle};

use super::cluster::{self, Cluster, worker_flags};
use super::distribution::{Distribution, Plan};
use super::fault::Fault;
use super::figures::Figures;
use super::image::{self, NAME};
use super::report::Report;
use super::rival::{self, Payload, RivalFigures};
use super::stage::{self, Needs, Stage};
use crate::args::{ClusterArgs, Global};
use crate::client::Client;
use crate::failure::Failure;

pub(crate) async fn run(global: &Global, args: &ClusterArgs) -> Result<(), Failure> {
    image::static_busybox()?;
    rival::preflight(&args.peers).await?;
    let bytes = u64::from(args.vms) * image::quota(args.size) + image::origin_bytes(args.size);
    let needs = Needs {
        hosts: args.vms as usize + 1,
        rate: args.rate,
        bytes: args.source.is_none().then_some(bytes),
        disk: args.disk.as_deref(),
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
    args: &ClusterArgs,
    stage: &Stage<'_>,
    cluster: &mut Cluster<'_>,
) -> Result<Report, Failure> {
    let bar = progress(global);
    bar.set_message("starting a manager, making the image");
    let client = cluster.start_manager().await?;
    let function = match &args.source {
        None => image::seed(global, &client, stage.dir, args.size).await?,
        Some(source) => {
            let (source, convert, command) = (source.clone(), args.convert.clone(), args.args.clone());
            image::publish(global, &client, stage.dir, source, convert, command).await?
        }
    };
    let fault = fault(args);
    let plan = |shape: v1::TreeShape, fault| Plan {
        function: NAME.to_owned(),
        stored_bytes: function.stored_bytes,
        mode: args.mode.into(),
        shape,
        rate: args.rate,
        fault,
        timeout: args.timeout,
    };
    let flags = worker_flags(args.transport, store_bytes(args, &function));
    let mut report = Report::new(args, &function);
    for nth in 1..=args.runs {
        bar.set_message(format!("run {nth} of {}", args.runs));
        let undisturbed = plan(args.tree.into(), None);
        report.add(one_run(args, stage, cluster, &client, &undisturbed, &flags, &bar).await?);
        if fault.is_some() {
            bar.set_message(format!("run {nth} of {}, with a fault", args.runs));
            let disturbed = plan(args.tree.into(), fault);
            report.add_with_fault(one_run(args, stage, cluster, &client, &disturbed, &flags, &bar).await?);
        }
    }
    for rival in &args.peers {
        bar.set_message(format!("{rival:?}").to_lowercase());
        let figures = match rival::run(*rival, &payload(args, stage, &function)).await? {
            Some(figures) => figures,
            None => {
                let chain = plan(v1::TreeShape::Chain, None);
                let (figures, _) = one_run(args, stage, cluster, &client, &chain, &flags, &bar).await?;
                RivalFigures::of_chain(&figures)
            }
        };
        report.add_rival(figures);
    }
    bar.finish_and_clear();
    Ok(report)
}

fn fault(args: &ClusterArgs) -> Option<Fault> {
    let flags = [
        (args.restart, Fault::Restart),
        (args.slow, Fault::Slow),
        (args.throttle_child, Fault::ThrottleChild),
        (args.throttle_parent, Fault::ThrottleParent),
    ];
    let chosen = flags.into_iter().find_map(|(set, fault)| set.then_some(fault));
    args.kill.map(Fault::Kill).or(chosen)
}

/// Fresh workers, one provisioning, and everything gone again.
async fn one_run(
    args: &ClusterArgs,
    stage: &Stage<'_>,
    cluster: &mut Cluster<'_>,
    client: &Client,
    plan: &Plan,
    flags: &[String],
    bar: &ProgressBar,
) -> Result<(Figures, Vec<String>), Failure> {
    cluster.start_workers(client, args.vms, flags).await?;
    let vms: Vec<String> = cluster.workers().iter().map(|worker| worker.vm.clone()).collect();
    if args.disk.is_none() {
        stage::warm_memory(u64::from(args.vms) * plan.stored_bytes).await?;
    }
    let outcome = Distribution::run(plan, client, cluster, stage.bed, bar).await?;
    for host in 1..stage.bed.hosts().len() {
        stage.bed.set_rate(host, Some(args.rate)).map_err(anyhow::Error::from)?;
    }
    let reclaim = v1::ReclaimRequest { function: NAME.to_owned(), ..Default::default() };
    client.scheduler().reclaim(reclaim).await?;
    cluster.stop_workers().await?;
    let causes = outcome.causes.iter().filter(|(vm, _)| !outcome.struck.contains(vm));
    let causes = causes.map(|(vm, cause)| format!("{vm}: {cause}")).collect();
    Ok((Figures::of(plan, &vms, &outcome), causes))
}

/// What a store may take. Containers of a source unpack what they read; of the image made here, next to nothing.
fn store_bytes(args: &ClusterArgs, function: &v1::Function) -> u64 {
    let unpacked = if args.source.is_some() { function.image_bytes } else { 0 };
    image::quota(function.stored_bytes) + unpacked
}

/// What rivals distribute: the origin's blobs, which hold the same bytes.
fn payload<'a>(args: &ClusterArgs, stage: &Stage<'a>, function: &v1::Function) -> Payload<'a> {
    let hex = function.image.trim_start_matches("sha256:");
    Payload {
        bed: stage.bed,
        dir: stage.dir,
        vms: args.vms as usize,
        rate: args.rate,
        origin: stage.dir.join("manager/origin"),
        // As `ft seed` names it.
        image: format!("{NAME}-{}", hex.get(..12).unwrap_or(hex)),
        bytes: function.stored_bytes,
    }
}

fn progress(global: &Global) -> ProgressBar {
    if !stage::shows_progress(global) {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg:<36} [{bar:30}] {percent:>3}% of the median VM's image");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(100).with_style(style.progress_chars("=> "));
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar
}
