//! What tests of both transports share.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ft_core::VmId;
use ft_identity::{CertificateAuthority, CurrentIdentity, Role};

use super::{PeerAddress, PeerTls, QuicTransport, TcpTransport, Transport, TransportKind};

/// Defines each test once per transport: `over_both!(name)` runs `async fn name(kind: TransportKind)`.
macro_rules! over_both {
    ($($name:ident),* $(,)?) => {
        mod over_quic {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::transport::TransportKind::Quic).await;
            })*
        }
        mod over_tcp {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::transport::TransportKind::Tcp).await;
            })*
        }
    };
}
pub(crate) use over_both;

/// A transport, as tests see it.
pub(crate) trait Backend: Transport {
    /// Falls silent without a word, as a killed host does.
    fn vanish(&self);

    /// Children that are connected.
    fn children(&self) -> usize;
}

impl Backend for QuicTransport {
    fn vanish(&self) {
        let elsewhere = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        self.endpoint.rebind(elsewhere).unwrap();
    }

    fn children(&self) -> usize {
        self.endpoint.open_connections()
    }
}

impl Backend for TcpTransport {
    fn vanish(&self) {
        self.shared.frozen.cancel();
    }

    fn children(&self) -> usize {
        super::tcp::MAX_CHILDREN - self.shared.room.available_permits()
    }
}

pub(crate) fn bind(kind: TransportKind, tls: PeerTls) -> Arc<dyn Backend> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    match kind {
        TransportKind::Quic => Arc::new(QuicTransport::bind(address, tls).unwrap()),
        TransportKind::Tcp => Arc::new(TcpTransport::bind(address, tls).unwrap()),
    }
}

pub(crate) fn at(worker: &dyn Backend) -> PeerAddress {
    PeerAddress { address: worker.local_addr(), transports: worker.kinds() }
}

/// A trust domain.
pub(crate) struct Domain(CertificateAuthority);

impl Domain {
    pub(crate) fn new() -> Self {
        Self(CertificateAuthority::generate("ft.test").unwrap())
    }

    pub(crate) fn tls(&self, role: Role) -> PeerTls {
        let identity = self.0.issue_identity(role, &[], Duration::from_secs(600)).unwrap();
        PeerTls { roots: self.0.trust_roots().unwrap(), identity: CurrentIdentity::new(identity).unwrap() }
    }

    pub(crate) fn worker(&self, kind: TransportKind, vm: VmId) -> Arc<dyn Backend> {
        bind(kind, self.tls(Role::Vm(vm.0)))
    }
}
