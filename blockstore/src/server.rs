//! The origin that runs beside the manager: a [`DirOrigin`] served over HTTPS with mutual TLS.
//!
//! VMs read, users and the manager also write. `docs/formats.md` has the paths.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use ft_identity::{AcceptLimits, PeerStream, TlsIncoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::origin::DirOrigin;

mod counters;
mod idle;
mod range;
mod routes;

pub use counters::{ServerCounters, ServerCounts};
use idle::IdleTimeout;

/// What the server puts up with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Connections at a time; further ones wait.
    pub connections: usize,
    /// Objects being read at a time, over all connections.
    pub downloads: usize,
    /// Objects being stored at a time.
    pub uploads: usize,
    /// The most bytes of one object.
    pub object_bytes: u64,
    /// A connection on which nothing moves for so long is closed.
    pub idle: Duration,
    /// How long requests may go on after the shutdown began.
    pub shutdown: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 4096,
            downloads: 256,
            uploads: 16,
            object_bytes: 64 << 30,
            idle: Duration::from_secs(60),
            shutdown: Duration::from_secs(5),
        }
    }
}

/// Serves a [`DirOrigin`].
#[derive(Debug)]
pub struct OriginServer {
    tls: Arc<rustls::ServerConfig>,
    limits: ServerLimits,
    counters: Arc<ServerCounters>,
    app: Arc<routes::App>,
}

impl OriginServer {
    /// A server for `origin`. `tls` comes from `ft_identity::server_config`, with certificates required from
    /// clients and `h2` and `http/1.1` as protocols.
    pub fn new(origin: DirOrigin, tls: Arc<rustls::ServerConfig>, limits: ServerLimits) -> Self {
        let counters = Arc::new(ServerCounters::default());
        let app = Arc::new(routes::App {
            origin,
            counters: Arc::clone(&counters),
            downloads: Arc::new(Semaphore::new(limits.downloads)),
            uploads: Arc::new(Semaphore::new(limits.uploads)),
            object_bytes: limits.object_bytes,
        });
        Self { tls, limits, counters, app }
    }

    /// What was served so far; stays valid while the server runs and afterwards.
    pub fn counters(&self) -> Arc<ServerCounters> {
        Arc::clone(&self.counters)
    }

    /// Serves `listener` until `shutdown` completes; then lets requests finish for a moment.
    pub async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let mut incoming = TlsIncoming::new(listener, Arc::clone(&self.tls), AcceptLimits::default());
        let router = routes::router(Arc::clone(&self.app));
        let slots = Arc::new(Semaphore::new(self.limits.connections));
        let going = CancellationToken::new();
        let mut connections = JoinSet::new();
        loop {
            let next = async {
                let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
                Some((incoming.next().await?, slot))
            };
            let (stream, slot) = tokio::select! {
                () = &mut shutdown => break,
                next = next => match next {
                    Some(next) => next,
                    None => break,
                },
                // Forgets those that have ended.
                Some(_) = connections.join_next() => continue,
            };
            let connection = serve(stream, router.clone(), self.limits.clone(), going.clone());
            connections.spawn(async move {
                connection.await;
                drop(slot);
            });
        }
        drop(incoming);
        going.cancel();
        let uploads = u32::try_from(self.limits.uploads).unwrap_or(u32::MAX);
        let drained = async {
            while connections.join_next().await.is_some() {}
            // Broken uploads clean up.
            let _all = self.app.uploads.acquire_many(uploads).await;
        };
        if tokio::time::timeout(self.limits.shutdown, drained).await.is_err() {
            connections.shutdown().await;
        }
    }
}

/// Serves one connection to its end.
async fn serve(stream: PeerStream, router: Router, limits: ServerLimits, going: CancellationToken) {
    let peer = stream.peer().clone();
    let address = peer.address;
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        router.clone().call(request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.idle);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(64);
    let stream = TokioIo::new(IdleTimeout::new(stream, limits.idle));
    let mut connection = pin!(builder.serve_connection(stream, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = going.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%address, error, "connection ended early");
    }
}
