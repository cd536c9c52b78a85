//! Our origin server, running in the test's process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ft_blockstore::server::{OriginServer, ServerCounters, ServerLimits};
use ft_blockstore::{DirOrigin, HttpOrigin, TransferLimits};
use ft_identity::{
    ALPN_H2, ALPN_HTTP1, CertificateAuthority, ClientAuth, CurrentIdentity, ExpectedPeer, Role,
    client_config, server_config,
};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const HOUR: Duration = Duration::from_secs(3600);

/// A server on a loopback port; it ends with the test's runtime.
pub(crate) struct Served {
    pub(crate) url: String,
    pub(crate) counters: Arc<ServerCounters>,
    authority: CertificateAuthority,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl Served {
    /// Serves the directory.
    pub(crate) async fn start(dir: &Path, limits: ServerLimits) -> Self {
        let authority = CertificateAuthority::generate("test").expect("an authority");
        let identity = authority.issue_identity(Role::Manager, &[], HOUR).expect("an identity");
        let identity = CurrentIdentity::new(identity).expect("a usable identity");
        let roots = authority.trust_roots().expect("trust roots");
        let alpn = [ALPN_H2, ALPN_HTTP1];
        let tls = server_config(&roots, identity, ClientAuth::Required, &alpn).expect("a configuration");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("https://{}", listener.local_addr().expect("its address"));
        let server = OriginServer::new(DirOrigin::open(dir).expect("a layout"), Arc::new(tls), limits);
        let counters = server.counters();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server.run(listener, async {
            // A dropped sender stops the server too.
            let _ = stopped.await;
        }));
        Self { url, counters, authority, stop: Some(stop), running }
    }

    /// The TLS configuration of a client with this role, or without a certificate.
    pub(crate) fn tls(&self, role: Option<Role>) -> rustls::ClientConfig {
        let identity = role.map(|role| {
            let identity = self.authority.issue_identity(role, &[], HOUR).expect("an identity");
            CurrentIdentity::new(identity).expect("a usable identity")
        });
        let roots = self.authority.trust_roots().expect("trust roots");
        let alpn = [ALPN_H2, ALPN_HTTP1];
        client_config(&roots, identity, ExpectedPeer::Manager, &alpn).expect("a configuration")
    }

    /// The origin as someone with this role sees it.
    pub(crate) fn origin(&self, role: Role) -> HttpOrigin {
        HttpOrigin::new(&self.url, self.tls(Some(role)), TransferLimits::default()).expect("a URL")
    }

    /// Asks the server to stop and waits until it has.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        self.running.await.expect("the server ends in peace");
    }
}
