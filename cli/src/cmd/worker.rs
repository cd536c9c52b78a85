//! `ft worker`: the daemon of a VM.

use std::sync::Arc;

use ft_identity::Token;
use ft_worker::container::{Helper, Network, RuntimeChoice as Choice};
use ft_worker::relay::LinkLimits;
use ft_worker::{RootChoice, Worker, WorkerLimits, WorkerOptions};

use crate::args::{RuntimeChoice, WorkerArgs};
use crate::failure::{Failure, Kind};
use crate::materializer::ErofsMaterializer;
use crate::{daemon, paths};

pub(crate) async fn run(args: &WorkerArgs) -> Result<(), Failure> {
    let shutdown = daemon::begin(args.die_with_parent)?;
    let worker = Worker::start(options(args)?, shutdown).await.map_err(failed)?;
    tracing::info!(vm = %worker.vm(), address = %worker.peer_address(), "the worker serves");
    worker.wait().await.map_err(failed)
}

fn failed(error: ft_worker::WorkerError) -> Failure {
    Failure::new(Kind::Failed, error).next("`ft doctor` says what this host can and cannot do")
}

fn options(args: &WorkerArgs) -> Result<WorkerOptions, Failure> {
    let state_dir = args.state_dir.clone().unwrap_or_else(|| paths::state_dir("worker"));
    Ok(WorkerOptions {
        state_dir,
        manager: args.manager.clone(),
        join_token: join_token(args)?,
        name: args.name.clone().unwrap_or_else(host_name),
        listen: args.listen,
        transport: args.transport.into(),
        advertise: args.advertise,
        runtime: match args.runtime {
            RuntimeChoice::Auto => Choice::Auto,
            RuntimeChoice::Runc => Choice::Runc,
            RuntimeChoice::Sandbox => Choice::Sandbox,
        },
        helper: Helper::current_exe(),
        network: Network::default(),
        roots: RootChoice::Auto,
        materializer: Some(Arc::new(ErofsMaterializer)),
        limits: WorkerLimits {
            quota_bytes: args.quota,
            read_deadline: args.read_deadline,
            link: LinkLimits {
                upload_bytes_per_s: args.upload_limit,
                download_bytes_per_s: args.download_limit,
            },
            ..WorkerLimits::default()
        },
    })
}

/// The token in the file named, or that of a manager on this host if there is one. A worker that has joined
/// before needs none.
fn join_token(args: &WorkerArgs) -> Result<Option<Token>, Failure> {
    let here = paths::state_dir("manager").join("join-token");
    let path = args.join_token_file.as_ref().unwrap_or(&here);
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(_) if args.join_token_file.is_none() => return Ok(None),
        Err(error) => {
            let context = format!("cannot read the join token {}", path.display());
            return Err(Failure::new(Kind::Failed, error).context(context));
        }
    };
    let token = text.trim().parse().map_err(|error: ft_identity::Error| {
        Failure::new(Kind::NotAllowed, error).context(format!("{} holds no join token", path.display()))
    })?;
    Ok(Some(token))
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
