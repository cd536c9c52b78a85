//! `ft demo`: a whole cluster on this machine, in one command.

mod cluster;
mod live;
mod report;
mod source;

use std::path::Path;
use std::time::Duration;

use ft_proto::v1;
use ft_worker::container::{Helper, HostProbe, probe};

use self::cluster::Cluster;
use self::live::Live;
use self::report::Report;
use crate::args::{ConvertArgs, DemoArgs, Global, SeedArgs};
use crate::client::Client;
use crate::cmd::seed_into;
use crate::failure::{Failure, Kind};
use crate::signal;

/// The demo's function.
const NAME: &str = "demo";
/// How often the tree is looked at for the live display.
const REFRESH: Duration = Duration::from_millis(200);

pub(crate) async fn run(global: &Global, args: &DemoArgs) -> Result<(), Failure> {
    let shutdown = signal::shutdown_token()?;
    let host = tokio::task::spawn_blocking(|| probe(Some(&Helper::current_exe())));
    let mounts = preflight(&host.await.map_err(anyhow::Error::from)?)?;
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let dir = tempfile::Builder::new().prefix("ft-demo-").tempdir_in(&parent).map_err(|error| {
        Failure::new(Kind::Failed, error).context(format!("cannot work in {}", parent.display()))
    })?;
    let mut live = Live::new(global);
    if !mounts {
        live.say(
            "images cannot be mounted here (ft doctor says why): they are materialised instead; without root, owners and devices are not applied",
        );
    }
    let mut cluster = Cluster::new(dir.path());
    let played = tokio::select! {
        played = play(global, args, dir.path(), &mut cluster, &mut live, mounts) => played,
        () = shutdown.cancelled() => Err(Failure::message(Kind::Failed, "interrupted")),
        () = tokio::time::sleep(args.timeout) => {
            let message = format!("not done after {}", humantime::format_duration(args.timeout));
            Err(Failure::message(Kind::Failed, message).next("give it longer: --timeout 10m"))
        }
    };
    live.finish();
    let stopped = cluster.stop().await;
    // Only now that nothing is mounted below it any more.
    let removed =
        dir.close().map_err(|error| Failure::from(error).context("cannot remove the demo's directory"));
    played.and(stopped).and(removed)
}

/// Whether images can be mounted here; an error if not even a sandbox without root is possible.
fn preflight(host: &HostProbe) -> Result<bool, Failure> {
    if host.can_mount() {
        return Ok(true);
    }
    if host.root || host.user_namespaces {
        return Ok(false);
    }
    let finding = host.findings.iter().find(|finding| finding.name == "user namespaces");
    let cure = finding.and_then(|finding| finding.cure).unwrap_or("run it as root");
    Err(Failure::message(
        Kind::Failed,
        "this user can neither mount images nor make user namespaces, so no container can be started",
    )
    .next(cure))
}

async fn play(
    global: &Global,
    args: &DemoArgs,
    dir: &Path,
    cluster: &mut Cluster,
    live: &mut Live,
    mounts: bool,
) -> Result<(), Failure> {
    live.say("starting a manager with its origin");
    let client = cluster.start_manager().await?;
    live.say(&format!("starting {} workers", args.vms));
    cluster.start_workers(&client, args.vms, args.runtime, args.transport).await?;
    let (seed, invoke) = seed_args(args, dir, live)?;
    live.say(&format!("seeding {}", seed.source));
    let function = seed_into(global, &client, &seed).await?;
    let mut report = Report::default();
    let tree = tokio::select! {
        provisioned = provision(args, &client, live, &mut report) => provisioned?,
        failure = cluster.watch() => return Err(failure),
    };
    live.finish();
    if !invoke.is_empty() {
        live.say("running the function in each container");
        report.invoke(&client, &invoke).await?;
    }
    report.write(global, &function, &tree, mounts)?;
    match report.failure() {
        Some(cause) => Err(Failure::message(Kind::Failed, cause)),
        None => Ok(()),
    }
}

/// What to seed (what the user named, or an image made of this host's files), and the command that runs the
/// function in a container that is ready.
fn seed_args(args: &DemoArgs, dir: &Path, live: &Live) -> Result<(SeedArgs, Vec<String>), Failure> {
    let mut convert = ConvertArgs { work_dir: Some(dir.to_owned()), ..ConvertArgs::default() };
    let mut invoke = Vec::new();
    let mut command = args.args.clone();
    let source = match &args.source {
        Some(source) => source.clone(),
        None => {
            let rootfs = dir.join("rootfs");
            let made = source::make(&rootfs)?;
            live.say(&format!("made an image of {}", made.made_of));
            convert.env = made.env;
            if command.is_empty() {
                command = made.args;
                convert.check_http = made.check_http;
                invoke = made.invoke;
            }
            format!("dir:{}", rootfs.display())
        }
    };
    let (name, tenant) = (NAME.to_owned(), String::new());
    Ok((SeedArgs { source, name, tenant, origin: None, convert, args: command }, invoke))
}

/// One container on every VM. Gives the tree in which they became ready.
async fn provision(
    args: &DemoArgs,
    client: &Client,
    live: &mut Live,
    report: &mut Report,
) -> Result<v1::Tree, Failure> {
    let request = v1::ProvisionRequest {
        function: NAME.to_owned(),
        count: args.vms,
        mode: v1::Mode::from(args.mode).into(),
        shape: v1::TreeShape::from(args.tree).into(),
        deadline_ms: u32::try_from(args.timeout.as_millis()).unwrap_or(u32::MAX),
        ..Default::default()
    };
    let mut events = client.scheduler().provision(request).await?.into_inner();
    let mut refresh = tokio::time::interval(REFRESH);
    let mut tree = v1::Tree::default();
    loop {
        tokio::select! {
            event = events.message() => {
                let Some(event) = event? else { break };
                live.event(&event);
                report.note(&event);
                if event.state() == v1::ContainerState::Started {
                    tree = fuller(tree, show_tree(client).await?);
                }
            }
            _ = refresh.tick() => {
                tree = fuller(tree, show_tree(client).await?);
                live.tree(&tree);
            }
        }
    }
    let (ready, settled) = report.settled();
    if settled < args.vms as usize {
        let message = format!("only {ready} of {} containers became ready", args.vms);
        return Err(Failure::message(Kind::Failed, message));
    }
    Ok(fuller(tree, show_tree(client).await?))
}

/// The later of two views of the tree, unless VMs have left it meanwhile because their containers are done.
fn fuller(earlier: v1::Tree, later: v1::Tree) -> v1::Tree {
    if later.vms.len() < earlier.vms.len() { earlier } else { later }
}

async fn show_tree(client: &Client) -> Result<v1::Tree, Failure> {
    let request = v1::ShowTreeRequest { function: NAME.to_owned(), tenant: String::new() };
    Ok(client.functions().show_tree(request).await?.into_inner())
}
