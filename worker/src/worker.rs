//! One worker, put together.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use ft_blockstore::{BlockStore, OriginContext, StoreOptions};
use ft_core::VmId;
use ft_identity::{ALPN_H2, ALPN_HTTP1, ExpectedPeer, client_config};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, Membership};
use crate::container::{Runtime, choose, probe};
use crate::error::WorkerError;
use crate::images::{Images, OFFER_PATIENCE, serve_children};
use crate::lifecycle::{Containers, Workshop};
use crate::options::{RootChoice, WorkerOptions};
use crate::outbox::Outbox;
use crate::relay::{BlockMemory, HostLink, PeerTrouble};
use crate::root::{FileRoots, MountRoots, Roots};
use crate::state::StateDir;
use crate::transport::{PeerTls, PeerTransport, Transport};

/// Troubles with peers that wait to be reported; more are not reported.
const TROUBLE_QUEUE: usize = 256;

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    vm: VmId,
    peer_address: SocketAddr,
    task: JoinHandle<Result<(), WorkerError>>,
}

impl Worker {
    /// Joins the pool and starts to serve. Returns once the worker is a member (it waits for the manager if it
    /// was none before) and its endpoint listens; it runs until `shutdown`, or until the manager tells it to
    /// stop.
    ///
    /// # Errors
    /// [`WorkerError`] if the worker cannot work here, or the manager does not take it.
    pub async fn start(options: WorkerOptions, shutdown: CancellationToken) -> Result<Self, WorkerError> {
        let parts = Parts::make(options, shutdown).await?;
        let (vm, peer_address) = (parts.agent.vm, parts.agent.peer_address);
        Ok(Self { vm, peer_address, task: tokio::spawn(parts.run()) })
    }

    /// The VM's number in the pool.
    pub fn vm(&self) -> VmId {
        self.vm
    }

    /// Where peers reach this worker.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer_address
    }

    /// Waits until the worker has ended.
    ///
    /// # Errors
    /// [`WorkerError`] if it could not take everything down.
    pub async fn wait(self) -> Result<(), WorkerError> {
        self.task.await.unwrap_or_else(|error| Err(WorkerError::Died(error.to_string())))
    }
}

/// What a worker consists of.
struct Parts {
    agent: Arc<Agent>,
    troubles: mpsc::Receiver<PeerTrouble>,
    deadline: Duration,
    state: Arc<StateDir>,
}

impl Parts {
    async fn make(options: WorkerOptions, shutdown: CancellationToken) -> Result<Self, WorkerError> {
        let state = Arc::new(take_state(&options).await?);
        let membership = Arc::new(Membership::obtain(&options, &state, &shutdown).await?);
        let vm = membership.vm()?;
        let tls = PeerTls { roots: membership.roots().clone(), identity: membership.identity() };
        let transport: Arc<dyn Transport> =
            Arc::new(PeerTransport::bind(options.listen, options.transport, &tls)?);
        let peer_address = advertised(&options, transport.local_addr());
        let store = StoreOptions { dir: state.blocks(), quota_bytes: options.limits.quota_bytes };
        let store = blocking(move || Ok(BlockStore::open(store)?)).await?;
        let (roots, runtime) = workshop_tools(&options, &state).await?;
        let everything = roots.need_everything();
        let images = Arc::<Images>::default();
        let outbox = Arc::<Outbox>::default();
        let containers = Arc::new(Containers::new(Workshop {
            images: Arc::clone(&images),
            roots,
            runtime,
            network: options.network,
            limits: options.limits.clone(),
            outbox: Arc::clone(&outbox),
            dir: state.containers(),
        }));
        let (troubles_tx, troubles) = mpsc::channel(TROUBLE_QUEUE);
        let agent = Agent {
            vm,
            name: options.name,
            peer_address,
            heartbeat: options.limits.heartbeat,
            read_deadline: options.limits.read_deadline,
            origins: origin_context(&membership)?,
            membership,
            images,
            containers,
            outbox,
            store,
            memory: Arc::new(BlockMemory::new(options.limits.recent_bytes)),
            transport,
            everything,
            link: HostLink::new(options.limits.link),
            troubles: troubles_tx,
            shutdown,
        };
        Ok(Self { agent: Arc::new(agent), troubles, deadline: options.limits.shutdown_deadline, state })
    }

    async fn run(self) -> Result<(), WorkerError> {
        let agent = self.agent;
        let (transport, images) = (Arc::clone(&agent.transport), Arc::clone(&agent.images));
        let children = tokio::spawn(serve_children(transport, images, OFFER_PATIENCE));
        Arc::clone(&agent).run(self.troubles).await;
        tracing::info!(vm = %agent.vm, "stopping");
        let down = timeout(self.deadline, take_down(agent, self.state)).await;
        children.abort();
        let late = |_| WorkerError::Died(format!("not everything ended within {:?}", self.deadline));
        down.map_err(late)?
    }
}

/// Takes everything down in reverse: containers and their mounts, images, the endpoint, what serves mounts.
async fn take_down(agent: Arc<Agent>, state: Arc<StateDir>) -> Result<(), WorkerError> {
    agent.containers.shutdown().await;
    for image in agent.images.all() {
        image.stop().await;
    }
    agent.transport.close().await;
    let containers = Arc::into_inner(agent).map(|agent| agent.containers);
    let workshop = containers.and_then(Arc::into_inner).and_then(Containers::into_workshop);
    blocking(move || {
        // Ends the FUSE file system, which waits for its thread.
        workshop.into_iter().for_each(|workshop| workshop.roots.shutdown());
        state.clean()
    })
    .await
}

async fn take_state(options: &WorkerOptions) -> Result<StateDir, WorkerError> {
    let path = options.state_dir.clone();
    blocking(move || {
        let state = StateDir::take(&path)?;
        state.clean()?;
        Ok(state)
    })
    .await
}

/// How root file systems are made here, and what runs containers.
async fn workshop_tools(
    options: &WorkerOptions,
    state: &StateDir,
) -> Result<(Roots, Arc<dyn Runtime>), WorkerError> {
    let helper = options.helper.clone();
    let host = blocking(move || Ok(probe(Some(&helper)))).await?;
    let runtime = choose(options.runtime, &host, &state.runtime(), options.helper.clone())?;
    let left = runtime.clean().await?;
    if left > 0 {
        tracing::info!(left, "removed the containers of an earlier worker");
    }
    let files = options.materializer.clone().map(|materializer| Roots::Files(FileRoots::new(materializer)));
    if options.roots == RootChoice::Materialize {
        let none =
            || WorkerError::NoRoots("this worker was given nothing to write images out with".to_owned());
        return Ok((files.ok_or_else(none)?, runtime));
    }
    let hopeless =
        (!host.can_mount()).then(|| "this host lacks what mounts need; see `ft doctor`".to_owned());
    let (base, handle, deadline) = (state.mounts(), Handle::current(), options.limits.read_deadline);
    let mounts = match hopeless {
        Some(reason) => Err(WorkerError::NoRoots(reason)),
        None => blocking(move || MountRoots::start(&base, handle, deadline)).await,
    };
    let roots = match (mounts, files) {
        (Ok(mounts), _) => Roots::Mounts(mounts),
        (Err(reason), Some(files)) if options.roots == RootChoice::Auto => {
            tracing::warn!(%reason, "images cannot be mounted here; they are written out as files instead");
            files
        }
        (Err(error), _) => return Err(error),
    };
    Ok((roots, runtime))
}

fn origin_context(membership: &Membership) -> Result<OriginContext, WorkerError> {
    let identity = Some(membership.identity());
    let tls = client_config(membership.roots(), identity, ExpectedPeer::Manager, &[ALPN_H2, ALPN_HTTP1])?;
    Ok(OriginContext { tls: Some(tls), ..OriginContext::default() })
}

/// Where peers reach this worker.
fn advertised(options: &WorkerOptions, local: SocketAddr) -> SocketAddr {
    if let Some(address) = options.advertise {
        return address;
    }
    match local.ip().is_unspecified().then(|| address_towards(&options.manager)).flatten() {
        Some(ip) => SocketAddr::new(ip, local.port()),
        None => local,
    }
}

/// The address from which this host reaches the manager. Nothing is sent.
fn address_towards(manager: &str) -> Option<IpAddr> {
    let url: http::Uri = manager.parse().ok()?;
    let host = url.host()?.trim_start_matches('[').trim_end_matches(']');
    let target = (host, url.port_u16().unwrap_or(443));
    [IpAddr::from([0; 4]), IpAddr::from([0u16; 8])].into_iter().find_map(|any| {
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect(target).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WorkerError> + Send + 'static,
) -> Result<T, WorkerError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(WorkerError::Died(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_towards_the_manager_is_the_one_that_routes_there() {
        assert_eq!(address_towards("https://127.0.0.1:1"), Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(address_towards("no url at all"), None);
    }
}
