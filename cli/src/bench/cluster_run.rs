//! `ft bench cluster`: an image to many VMs, run by run.

use ft_proto::v1;
use indicatif::{ProgressBar, ProgressStyle};

use super::cluster::Cluster;
use super::distribution::{Distribution, Plan};
use super::fault::Fault;
use super::figures::Figures;
use super::image;
use super::report::Report;
use super::stage::{self, Needs, Stage};
use crate::args::{BenchTransport, ClusterArgs, ConvertArgs, Global, SeedArgs};
use crate::client::Client;
use crate::cmd::seed_into;
use crate::failure::{Failure, Kind};

/// The function that is provisioned.
const NAME: &str = "bench";
/// Room in every store beyond the image's blocks: metadata, and what a container's start unpacks.
const SLACK_BYTES: u64 = 64 << 20;

pub(crate) async fn run(global: &Global, args: &ClusterArgs) -> Result<(), Failure> {
    image::static_busybox()?;
    let needs = Needs {
        hosts: args.vms as usize + 1,
        rate: args.rate,
        bytes: u64::from(args.vms) * quota(args.size) + 3 * args.size + SLACK_BYTES,
        disk: args.disk.as_deref(),
    };
    let (their_global, their_args) = (global.clone(), args.clone());
    let play = async move |stage: Stage<'_>| {
        let mut cluster = Cluster::new(stage.bed, stage.dir);
        let measured = tokio::select! {
            measured = measure(&their_global, &their_args, &stage, &mut cluster) => measured,
            () = stage.shutdown.cancelled() => Err(Failure::message(Kind::Failed, "interrupted")),
            () = tokio::time::sleep(their_args.timeout) => {
                let message = format!("not done after {}", humantime::format_duration(their_args.timeout));
                Err(Failure::message(Kind::Failed, message).next("give it longer: --timeout 30m"))
            }
        };
        let stopped = cluster.stop().await;
        measured.and_then(|report| stopped.map(|()| report))
    };
    let report = stage::play(&needs, play).await?;
    report.write(global)
}

/// What a store may take for an image of `size`.
fn quota(size: u64) -> u64 {
    size + size / 4 + SLACK_BYTES
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
    let function = seed(global, args, stage, &client).await?;
    let fault = fault(args);
    let plan = |fault| Plan {
        function: NAME.to_owned(),
        stored_bytes: function.stored_bytes,
        mode: args.mode.into(),
        shape: args.tree.into(),
        rate: args.rate,
        fault,
        timeout: args.timeout,
    };
    let mut report = Report::new(args, &function);
    for nth in 1..=args.runs {
        bar.set_message(format!("run {nth} of {}", args.runs));
        let figures = one_run(args, stage, cluster, &client, &plan(None), &bar).await?;
        report.add(figures);
        if let Some(fault) = fault {
            bar.set_message(format!("run {nth} of {}, with a fault", args.runs));
            let figures = one_run(args, stage, cluster, &client, &plan(Some(fault)), &bar).await?;
            report.add_with_fault(figures);
        }
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

async fn seed(
    global: &Global,
    args: &ClusterArgs,
    stage: &Stage<'_>,
    client: &Client,
) -> Result<v1::Function, Failure> {
    let rootfs = image::rootfs(stage.dir, args.size)?;
    let seed = SeedArgs {
        source: format!("dir:{}", rootfs.display()),
        name: NAME.to_owned(),
        tenant: String::new(),
        origin: None,
        convert: ConvertArgs { work_dir: Some(stage.dir.to_owned()), ..ConvertArgs::default() },
        args: image::command(),
    };
    let function = seed_into(global, client, &seed).await?;
    std::fs::remove_dir_all(rootfs)?;
    Ok(function)
}

/// Fresh workers, one provisioning, and everything gone again.
async fn one_run(
    args: &ClusterArgs,
    stage: &Stage<'_>,
    cluster: &mut Cluster<'_>,
    client: &Client,
    plan: &Plan,
    bar: &ProgressBar,
) -> Result<(Figures, Vec<String>), Failure> {
    let mut flags = vec!["--quota".to_owned(), quota(plan.stored_bytes).to_string()];
    flags.extend(transport_flags(args.transport)?);
    cluster.start_workers(client, args.vms, &flags).await?;
    let vms: Vec<String> = cluster.workers().iter().map(|worker| worker.vm.clone()).collect();
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

/// How workers are told which transport to use.
fn transport_flags(transport: BenchTransport) -> Result<Vec<String>, Failure> {
    use clap::CommandFactory as _;
    let cli = crate::args::Cli::command();
    let known = cli
        .find_subcommand("worker")
        .is_some_and(|worker| worker.get_arguments().any(|flag| flag.get_long() == Some("transport")));
    let name = match transport {
        BenchTransport::Auto => "auto",
        BenchTransport::Quic => "quic",
        BenchTransport::Tcp => "tcp",
    };
    match transport {
        _ if known => Ok(vec!["--transport".to_owned(), name.to_owned()]),
        BenchTransport::Tcp => Err(Failure::message(Kind::Usage, "workers speak QUIC only")),
        BenchTransport::Auto | BenchTransport::Quic => Ok(Vec::new()),
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
