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
use crate::failure::{Failure, Kind};

pub(crate) async fn run(global: &Global, args: &ClusterArgs) -> Result<(), Failure> {
    check(args)?;
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
    let mut bench = Bench { args, stage, cluster, client, function, bar };
    let report = bench.report().await?;
    bench.bar.finish_and_clear();
    Ok(report)
}

/// An image that is published, and where it goes.
struct Bench<'a, 's, 'c> {
    args: &'a ClusterArgs,
    stage: &'a Stage<'s>,
    cluster: &'a mut Cluster<'c>,
    client: Client,
    function: v1::Function,
    bar: ProgressBar,
}

/// What is left of a run.
struct Run {
    figures: Figures,
    /// Why containers failed that no fault struck.
    causes: Vec<String>,
    /// The hosts that the fault struck.
    struck: Vec<usize>,
}

impl Bench<'_, '_, '_> {
    /// All runs, and the peers.
    async fn report(&mut self) -> Result<Report, Failure> {
        let args = self.args;
        let mut report = Report::new(args, &self.function);
        let fault = fault(args);
        let mut struck = Vec::new();
        for nth in 1..=args.runs {
            self.bar.set_message(format!("run {nth} of {}", args.runs));
            let run = self.run(args.tree.into(), None).await?;
            report.add(run.figures, run.causes);
            if fault.is_some() {
                self.bar.set_message(format!("run {nth} of {}, with a fault", args.runs));
                let run = self.run(args.tree.into(), fault).await?;
                report.add_with_fault(run.figures, run.causes);
                struck = run.struck;
            }
        }
        // Links are struck for the peers as well. Of killed ones, it would count how they start again.
        let fault = fault.filter(|fault| fault.link_rate(args.rate).is_some());
        for rival in &args.peers {
            self.bar.set_message(format!("{rival:?}").to_lowercase());
            let figures = match rival::run(*rival, &self.payload(fault, &struck)).await? {
                Some(figures) => figures,
                None => RivalFigures::of_chain(&self.run(v1::TreeShape::Chain, fault).await?.figures),
            };
            report.add_rival(figures, fault.is_some());
        }
        Ok(report)
    }

    /// Fresh workers, one provisioning, and everything gone again.
    async fn run(&mut self, shape: v1::TreeShape, fault: Option<Fault>) -> Result<Run, Failure> {
        let (args, bed) = (self.args, self.stage.bed);
        let plan = Plan {
            function: NAME.to_owned(),
            stored_bytes: self.function.stored_bytes,
            mode: args.mode.into(),
            shape,
            rate: args.rate,
            fault,
            timeout: args.timeout,
        };
        let flags = worker_flags(args.transport, store_bytes(args, &self.function));
        self.cluster.start_workers(&self.client, args.vms, &flags).await?;
        let vms: Vec<String> = self.cluster.workers().iter().map(|worker| worker.vm.clone()).collect();
        if args.disk.is_none() {
            stage::warm_memory(u64::from(args.vms) * plan.stored_bytes).await?;
        }
        let outcome = Distribution::run(&plan, &self.client, self.cluster, bed, &self.bar).await?;
        let struck: Vec<_> = outcome.struck.iter().filter_map(|vm| self.cluster.host_of(vm)).collect();
        for host in &struck {
            bed.set_rate(*host, Some(args.rate)).map_err(anyhow::Error::from)?;
        }
        let reclaim = v1::ReclaimRequest { function: NAME.to_owned(), ..Default::default() };
        self.client.scheduler().reclaim(reclaim).await?;
        self.cluster.stop_workers().await?;
        let causes = outcome.causes.iter().filter(|(vm, _)| !outcome.struck.contains(vm));
        let causes = causes.map(|(vm, cause)| format!("{vm}: {cause}")).collect();
        Ok(Run { figures: Figures::of(&plan, &vms, &outcome), causes, struck })
    }

    /// What rivals distribute: the origin's blobs, which hold the same bytes.
    fn payload(&self, fault: Option<Fault>, struck: &[usize]) -> Payload<'_> {
        let Self { args, stage, .. } = *self;
        let hex = self.function.image.trim_start_matches("sha256:");
        let struck_rate = fault.and_then(|fault| fault.link_rate(args.rate));
        Payload {
            bed: stage.bed,
            dir: stage.dir,
            vms: args.vms as usize,
            rate: args.rate,
            struck: struck_rate.map_or_else(Vec::new, |_| struck.to_vec()),
            struck_rate: struck_rate.unwrap_or(args.rate),
            origin: stage.dir.join("manager/origin"),
            // As `ft seed` names it.
            image: format!("{NAME}-{}", hex.get(..12).unwrap_or(hex)),
            bytes: self.function.stored_bytes,
        }
    }
}

/// Refuses what could only fail, or say nothing, after the first run.
fn check(args: &ClusterArgs) -> Result<(), Failure> {
    let usage = |message: String, next: &str| Err(Failure::message(Kind::Usage, message).next(next));
    if args.size == 0 {
        return usage("an image of no bytes takes no time".to_owned(), "for instance --size 64MiB");
    }
    let least = match fault(args) {
        None => 1,
        Some(Fault::Kill(killed)) => killed.saturating_add(1),
        Some(Fault::ThrottleChild | Fault::ThrottleParent) => 2,
        // It has a parent and children.
        Some(Fault::Slow | Fault::Restart) => 3,
    };
    if args.vms < least {
        let message = format!("{} VMs are too few: this fault needs at least {least}", args.vms);
        return usage(message, "use more --vms, or a smaller --kill");
    }
    Ok(())
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

/// What a store may take. Containers of a source unpack what they read; of the image made here, next to nothing.
fn store_bytes(args: &ClusterArgs, function: &v1::Function) -> u64 {
    let unpacked = if args.source.is_some() { function.image_bytes } else { 0 };
    image::quota(function.stored_bytes) + unpacked
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
