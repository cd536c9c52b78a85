//! `ft manager`: the tree manager, and the origin beside it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ft_blockstore::DirOrigin;
use ft_blockstore::server::{OriginServer, ServerLimits};
use ft_identity::{ALPN_H2, ALPN_HTTP1, ClientAuth, Host, server_config};
use ft_manager::{Manager, ManagerOptions};
use tokio::net::TcpListener;

use crate::args::ManagerArgs;
use crate::failure::{Failure, Kind};
use crate::{daemon, paths};

pub(crate) async fn run(args: &ManagerArgs) -> Result<(), Failure> {
    if args.advertise.is_none()
        && (args.listen.ip().is_unspecified() || origin_address(args).ip().is_unspecified())
    {
        return Err(Failure::message(Kind::Usage, "others cannot be told a wildcard address")
            .next("add --advertise HOST: the name or address under which VMs reach this host"));
    }
    let shutdown = daemon::begin(args.die_with_parent)?;
    let state_dir = state_dir(args.state_dir.as_deref());
    let listener = listen(args.listen).await?;
    let origin_listener = listen(origin_address(args)).await?;
    let options = ManagerOptions {
        lease: args.lease,
        certificate_lifetime: args.certificate_lifetime,
        public_url: Some(url(args, listener.local_addr()?)),
        hosts: args.advertise.iter().map(|name| host(name)).collect(),
        ..ManagerOptions::new(&state_dir, listener, url(args, origin_listener.local_addr()?))
    };
    let manager = Manager::start(options, shutdown.clone())
        .await
        .map_err(|error| Failure::new(Kind::Failed, error).context("cannot start the manager"))?;
    let origin_dir = args.origin_dir.clone().unwrap_or_else(|| origin_dir(&state_dir));
    let origin = serve_origin(&manager, &origin_dir)?;
    tracing::info!(manager = manager.url(), origin = %origin_dir.display(), "the manager and its origin serve");
    origin.run(origin_listener, shutdown.cancelled_owned()).await;
    manager.wait().await.map_err(|error| Failure::new(Kind::Failed, error))
}

/// The manager's state directory: the one named, or this host's.
pub(super) fn state_dir(named: Option<&Path>) -> PathBuf {
    named.map_or_else(|| paths::state_dir("manager"), Path::to_owned)
}

/// Where the origin beside the manager keeps its objects unless told otherwise.
pub(super) fn origin_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("origin")
}

/// The origin shows the manager's own identity and takes certificates of its authority.
fn serve_origin(manager: &Manager, dir: &Path) -> Result<OriginServer, Failure> {
    let origin = DirOrigin::open(dir).map_err(|error| Failure::new(Kind::Failed, error))?;
    let alpn = [ALPN_H2, ALPN_HTTP1];
    let tls = server_config(manager.trust_roots(), manager.identity(), ClientAuth::Required, &alpn)
        .map_err(|error| Failure::new(Kind::Failed, error))?;
    Ok(OriginServer::new(origin, Arc::new(tls), ServerLimits::default()))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(Kind::Failed, error)
            .context(format!("cannot listen on {address}"))
            .next("is another manager running? choose another address with --listen and --origin-listen")
    })
}

/// By default the port after the manager's.
fn origin_address(args: &ManagerArgs) -> SocketAddr {
    args.origin_listen.unwrap_or_else(|| {
        let port = if args.listen.port() == 0 { 0 } else { args.listen.port().saturating_add(1) };
        SocketAddr::new(args.listen.ip(), port)
    })
}

/// The URL under which others reach a listener of this process.
fn url(args: &ManagerArgs, address: SocketAddr) -> String {
    match &args.advertise {
        Some(name) if name.contains(':') => format!("https://[{name}]:{}", address.port()),
        Some(name) => format!("https://{name}:{}", address.port()),
        None => format!("https://{address}"),
    }
}

fn host(name: &str) -> Host {
    name.parse().map_or_else(|_| Host::Name(name.to_owned()), Host::Address)
}
