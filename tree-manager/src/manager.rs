//! The manager as a whole: start, server, leases, shutdown.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ft_identity::{
    ALPN_H2, AcceptLimits, ClientAuth, CurrentIdentity, Host, TlsIncoming, Token, TrustRoots, server_config,
};
use ft_proto::v1::functions_server::FunctionsServer;
use ft_proto::v1::pool_server::PoolServer;
use ft_proto::v1::scheduler_server::SchedulerServer;
use ft_proto::v1::workers_server::WorkersServer;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;

use crate::auth::Guard;
use crate::core::{Core, Settings};
use crate::credentials;
use crate::services::{FunctionsService, PoolService, SchedulerService, WorkersService};
use crate::state::{StateError, Store, Write};
use crate::time::Now;

/// How long calls and sessions may take to end at a shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// A connection that has been silent for this long is asked whether it lives, and has as long to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How to run a manager.
#[derive(Debug)]
pub struct ManagerOptions {
    /// Where its state, `admin.json` and `join-token` are; created with mode 0700 if it is missing.
    pub state_dir: PathBuf,
    /// Where it listens.
    pub listener: TcpListener,
    /// Under which URL clients on other hosts find it; without, the listener's address
    /// (loopback if it listens on all).
    pub public_url: Option<String>,
    /// The default origin, `https://HOST:PORT`: workers hear of it when they join.
    pub origin_url: String,
    /// The name of this cluster in certificates; it cannot change later.
    pub trust_domain: String,
    /// How long a silent VM stays in its trees. Workers send a heartbeat every second.
    pub lease: Duration,
    /// After a restart of the manager: how long VMs that it knows have time to connect again.
    pub restart_grace: Duration,
    /// A worker that takes no command for this long is disconnected; it may connect again.
    pub command_timeout: Duration,
    /// How long the certificates of workers, and its own, last.
    pub certificate_lifetime: Duration,
    /// Names and addresses under which ordinary TLS clients may check the manager and the origin.
    pub hosts: Vec<Host>,
}

impl ManagerOptions {
    /// The usual settings: a lease of 3 s, certificates for a day.
    pub fn new(state_dir: impl Into<PathBuf>, listener: TcpListener, origin_url: impl Into<String>) -> Self {
        Self {
            state_dir: state_dir.into(),
            listener,
            public_url: None,
            origin_url: origin_url.into(),
            trust_domain: "function-trees".to_owned(),
            lease: Duration::from_secs(3),
            restart_grace: Duration::from_secs(10),
            command_timeout: Duration::from_secs(5),
            certificate_lifetime: Duration::from_secs(24 * 3600),
            hosts: Vec::new(),
        }
    }
}

/// Why a manager cannot start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// The state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// A certificate, key or token cannot be made or stored.
    #[error(transparent)]
    Identity(#[from] ft_identity::Error),
    /// The state belongs to another trust domain.
    #[error("the state is of trust domain {found}, not {wanted}: use another state folder, or the old name")]
    TrustDomain {
        /// In the state.
        found: String,
        /// In the options.
        wanted: String,
    },
    /// `admin.json` or `join-token` cannot be made.
    #[error("cannot make the credentials: {0}")]
    Credential(String),
    /// The listener is of no use.
    #[error("the listener: {0}")]
    Listener(#[from] std::io::Error),
    /// The server failed.
    #[error("the gRPC server: {0}")]
    Server(String),
}

/// A running manager.
#[derive(Debug)]
pub struct Manager {
    url: String,
    address: SocketAddr,
    identity: Arc<CurrentIdentity>,
    roots: TrustRoots,
    join_token: Token,
    server: JoinHandle<Result<(), ManagerError>>,
}

impl Manager {
    /// Starts a manager: when this returns, it serves. Cancelling `shutdown` ends it; then
    /// [`wait`](Self::wait) for it. Workers keep running without it.
    ///
    /// # Errors
    /// [`ManagerError`] says what is in the way.
    pub async fn start(options: ManagerOptions, shutdown: CancellationToken) -> Result<Self, ManagerError> {
        let address = options.listener.local_addr()?;
        let url = options.public_url.clone().unwrap_or_else(|| local_url(address));
        let dir = options.state_dir.clone();
        let opened = tokio::task::spawn_blocking(move || Store::open(&dir)).await;
        let (store, loaded) = opened.map_err(|error| ManagerError::Server(error.to_string()))??;
        let authority = credentials::authority(&store, &loaded, &options.trust_domain).await?;
        let settings = Settings {
            origin_url: options.origin_url,
            lease: options.lease,
            restart_grace: options.restart_grace,
            command_timeout: options.command_timeout,
            certificate_lifetime: options.certificate_lifetime,
        };
        let core = Arc::new(Core::restore(settings, authority, store, loaded, shutdown));
        let hosts = with_address(options.hosts, address.ip());
        let own = credentials::own_identity(&core.authority, &hosts, core.settings.certificate_lifetime)?;
        let identity = CurrentIdentity::new(own)?;
        let roots = core.authority.trust_roots()?;
        let tls = server_config(&roots, Arc::clone(&identity), ClientAuth::Optional, &[ALPN_H2])?;
        credentials::write_admin(&core, &options.state_dir, &url)?;
        let join_token = credentials::join_token(&core, &options.state_dir).await?;
        let incoming = TlsIncoming::new(options.listener, Arc::new(tls), AcceptLimits::default());
        tokio::spawn(credentials::keep_fresh(Arc::clone(&core), Arc::clone(&identity), hosts));
        tokio::spawn(watch_leases(Arc::clone(&core)));
        tokio::spawn(crate::replace::run(Arc::clone(&core)));
        let server = tokio::spawn(run(core, incoming));
        tracing::info!(url, "the manager serves");
        Ok(Self { url, address, identity, roots, join_token, server })
    }

    /// The URL in `admin.json`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its identity, which the origin server beside it shows too. Renewed without a restart.
    pub fn identity(&self) -> Arc<CurrentIdentity> {
        Arc::clone(&self.identity)
    }

    /// What members of its trust domain trust.
    pub fn trust_roots(&self) -> &TrustRoots {
        &self.roots
    }

    /// The token in the file `join-token`.
    pub fn join_token(&self) -> &Token {
        &self.join_token
    }

    /// Waits until the manager has ended: calls answered or broken off, the state on disk.
    ///
    /// # Errors
    /// [`ManagerError::Server`] if it ended otherwise.
    pub async fn wait(self) -> Result<(), ManagerError> {
        self.server.await.map_err(|error| ManagerError::Server(error.to_string()))?
    }
}

/// The listener's own address is a name of the manager too, unless it is a wildcard.
fn with_address(mut hosts: Vec<Host>, address: IpAddr) -> Vec<Host> {
    let host = Host::Address(address);
    if !address.is_unspecified() && !hosts.contains(&host) {
        hosts.push(host);
    }
    hosts
}

/// How clients on this host reach the listener.
fn local_url(mut address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    format!("https://{address}")
}

/// Serves until the shutdown, then gives what is under way a moment, and closes the state.
async fn run(core: Arc<Core>, incoming: TlsIncoming) -> Result<(), ManagerError> {
    let shutdown = core.shutdown.clone();
    let (health_reporter, health) = tonic_health::server::health_reporter();
    health_reporter.set_serving::<FunctionsServer<FunctionsService>>().await;
    health_reporter.set_serving::<SchedulerServer<SchedulerService>>().await;
    health_reporter.set_serving::<PoolServer<PoolService>>().await;
    health_reporter.set_serving::<WorkersServer<WorkersService>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(ft_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| ManagerError::Server(error.to_string()))?;
    // A function's manifest may be larger than gRPC's usual 4 MiB, in both directions.
    let functions = FunctionsServer::new(FunctionsService(Arc::clone(&core)))
        .max_decoding_message_size(ft_proto::MAX_MESSAGE_BYTES)
        .max_encoding_message_size(ft_proto::MAX_MESSAGE_BYTES);
    let workers = WorkersServer::new(WorkersService(Arc::clone(&core)))
        .max_encoding_message_size(ft_proto::MAX_MESSAGE_BYTES);
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .add_service(health)
        .add_service(reflection)
        .add_service(InterceptedService::new(functions, Guard::clients(&core)))
        .add_service(InterceptedService::new(
            SchedulerServer::new(SchedulerService(Arc::clone(&core))),
            Guard::clients(&core),
        ))
        .add_service(InterceptedService::new(
            PoolServer::new(PoolService(Arc::clone(&core))),
            Guard::clients(&core),
        ))
        .add_service(InterceptedService::new(workers, Guard::anybody(&core)))
        .serve_with_incoming_shutdown(incoming, shutdown.clone().cancelled_owned());
    let broken_off = async {
        shutdown.cancelled().await;
        tokio::time::sleep(SHUTDOWN_GRACE).await;
    };
    let outcome = tokio::select! {
        outcome = server => outcome.map_err(|error| ManagerError::Server(error.to_string())),
        () = broken_off => Ok(()),
    };
    // Whatever ended the server ends the sessions and the watchers too.
    shutdown.cancel();
    core.store.close().await;
    outcome
}

/// Notices VMs that have fallen silent and tokens that have expired, and does what was put off.
async fn watch_leases(core: Arc<Core>) {
    let lease = core.pool.lease();
    let period = (lease / 10).clamp(Duration::from_millis(5), Duration::from_millis(250));
    let mut last = Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            () = core.shutdown.cancelled() => return,
        }
        let now = Now::read();
        if now.instant.saturating_duration_since(last) > period + lease / 2 {
            // It was the manager that stood still, so that it could hear nobody.
            core.pool.extend_leases(now.instant);
        }
        last = now.instant;
        core.expire_leases(now);
        core.merge_profiles(now);
        core.judge_speeds(now);
        let vms = core.pool.forget_lost(core.settings.certificate_lifetime, now.instant);
        let mut forgotten: Vec<_> = vms.into_iter().map(Write::ForgetVm).collect();
        forgotten.extend(core.tokens.expire(now).into_iter().map(Write::ForgetToken));
        if !forgotten.is_empty() {
            core.store.write_later(forgotten);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_listener_is_reached_over_loopback() {
        for (address, url) in [
            ("0.0.0.0:7", "https://127.0.0.1:7"),
            ("[::]:7", "https://[::1]:7"),
            ("10.0.0.1:7", "https://10.0.0.1:7"),
        ] {
            assert_eq!(local_url(address.parse().unwrap()), url);
        }
        assert!(with_address(Vec::new(), Ipv4Addr::UNSPECIFIED.into()).is_empty());
        assert_eq!(with_address(Vec::new(), Ipv4Addr::LOCALHOST.into()).len(), 1);
    }
}
