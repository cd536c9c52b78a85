//! The transports of a worker as one: it listens for all of them on one port number, and reaches each peer over
//! the first of its own that the peer takes too.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use ft_core::{Digest, VmId};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{
    Offer, PeerAddress, PeerTls, QuicTransport, TcpTransport, Transport, TransportChoice, TransportError,
    TransportKind, TransportStats, Upstream,
};

/// Ports that are tried until one is free for both UDP and TCP.
const PORTS: u32 = 100;

/// [`Transport`] over every transport that was chosen.
#[derive(Debug)]
pub struct PeerTransport {
    local: SocketAddr,
    /// The preferred one first.
    kinds: Vec<TransportKind>,
    quic: Option<QuicTransport>,
    tcp: Option<TcpTransport>,
    stats: Arc<TransportStats>,
}

impl PeerTransport {
    /// Listens at `address`; port 0 takes one that is free for all of the transports. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`TransportError::Bind`], [`TransportError::Tls`].
    pub fn bind(address: SocketAddr, choice: TransportChoice, tls: &PeerTls) -> Result<Self, TransportError> {
        let kinds = choice.kinds();
        let stats = Arc::<TransportStats>::default();
        let sockets = Sockets::bind(address, &kinds)?;
        let quic = sockets.udp.map(|socket| QuicTransport::start(socket, tls.clone(), Arc::clone(&stats)));
        let tcp = sockets.tcp.map(|listener| TcpTransport::start(listener, tls.clone(), Arc::clone(&stats)));
        Ok(Self { local: sockets.local, kinds, quic: quic.transpose()?, tcp: tcp.transpose()?, stats })
    }

    fn of(&self, kind: TransportKind) -> Option<&dyn Transport> {
        match kind {
            TransportKind::Quic => self.quic.as_ref().map(|quic| -> &dyn Transport { quic }),
            TransportKind::Tcp => self.tcp.as_ref().map(|tcp| -> &dyn Transport { tcp }),
        }
    }

    /// The first of this worker's transports that the peer takes.
    fn choose(&self, peer: VmId, at: &PeerAddress) -> Result<&dyn Transport, TransportError> {
        let mut common = self.kinds.iter().filter(|kind| at.transports.contains(kind));
        common.find_map(|kind| self.of(*kind)).ok_or_else(|| TransportError::NothingInCommon {
            peer,
            address: at.address,
            theirs: at.transports.clone(),
            ours: self.kinds.clone(),
        })
    }

    fn all(&self) -> impl Iterator<Item = &dyn Transport> {
        self.kinds.iter().filter_map(|kind| self.of(*kind))
    }
}

impl Transport for PeerTransport {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn kinds(&self) -> Vec<TransportKind> {
        self.kinds.clone()
    }

    fn connect(
        &self,
        peer: VmId,
        at: &PeerAddress,
        image: Digest,
    ) -> BoxFuture<'_, Result<Upstream, TransportError>> {
        match self.choose(peer, at) {
            Ok(transport) => transport.connect(peer, at, image),
            Err(error) => async { Err(error) }.boxed(),
        }
    }

    fn accept(&self) -> BoxFuture<'_, Option<Offer>> {
        let of = async |transport: Option<&dyn Transport>| transport?.accept().await;
        async move {
            tokio::select! {
                Some(offer) = of(self.of(TransportKind::Quic)) => Some(offer),
                Some(offer) = of(self.of(TransportKind::Tcp)) => Some(offer),
                else => None,
            }
        }
        .boxed()
    }

    fn stats(&self) -> Arc<TransportStats> {
        Arc::clone(&self.stats)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        futures_util::future::join_all(self.all().map(Transport::close)).map(drop).boxed()
    }
}

/// The sockets of the transports, on one port number.
struct Sockets {
    local: SocketAddr,
    udp: Option<std::net::UdpSocket>,
    tcp: Option<tokio::net::TcpListener>,
}

impl Sockets {
    fn bind(address: SocketAddr, kinds: &[TransportKind]) -> Result<Self, TransportError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match Self::try_bind(address, kinds) {
                Err(TransportError::Bind { source, .. })
                    if address.port() == 0
                        && attempt < PORTS
                        && source.kind() == io::ErrorKind::AddrInUse => {}
                bound => return bound,
            }
        }
    }

    fn try_bind(address: SocketAddr, kinds: &[TransportKind]) -> Result<Self, TransportError> {
        let mut sockets = Self { local: address, udp: None, tcp: None };
        if kinds.contains(&TransportKind::Tcp) {
            let listener = TcpTransport::listen(address)?;
            sockets.local = listener.local_addr().map_err(|source| TransportError::Bind {
                kind: TransportKind::Tcp,
                address,
                source,
            })?;
            sockets.tcp = Some(listener);
        }
        if kinds.contains(&TransportKind::Quic) {
            let socket = QuicTransport::socket(sockets.local)?;
            sockets.local = socket.local_addr().map_err(|source| TransportError::Bind {
                kind: TransportKind::Quic,
                address,
                source,
            })?;
            sockets.udp = Some(socket);
        }
        Ok(sockets)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use ft_identity::Role;

    use super::*;
    use crate::transport::testing::Domain;

    const IMAGE: Digest = Digest::from_bytes([7; 32]);

    fn worker(domain: &Domain, vm: u64, choice: TransportChoice) -> PeerTransport {
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        PeerTransport::bind(address, choice, &domain.tls(Role::Vm(vm))).unwrap()
    }

    /// Which transport carries a session between two workers.
    async fn carrier(child: &PeerTransport, parent: &PeerTransport) -> TransportKind {
        let at = PeerAddress { address: parent.local_addr(), transports: parent.kinds() };
        let accept = async { parent.accept().await.unwrap().accept() };
        let (upstream, _downstream) = tokio::join!(child.connect(VmId(1), &at, IMAGE), accept);
        let _upstream = upstream.unwrap();
        let over_quic = parent.quic.as_ref().is_some_and(|quic| quic.endpoint.open_connections() > 0);
        if over_quic { TransportKind::Quic } else { TransportKind::Tcp }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_child_takes_its_first_preference_that_the_parent_offers() {
        let quic = TransportChoice::Only(TransportKind::Quic);
        let tcp = TransportChoice::Only(TransportKind::Tcp);
        let preferred = TransportChoice::PREFERENCE[0];
        let table = [
            (TransportChoice::Auto, TransportChoice::Auto, preferred),
            (TransportChoice::Auto, quic, TransportKind::Quic),
            (TransportChoice::Auto, tcp, TransportKind::Tcp),
            (quic, TransportChoice::Auto, TransportKind::Quic),
            (tcp, TransportChoice::Auto, TransportKind::Tcp),
        ];
        let domain = Domain::new();
        for (child, parent, expected) in table {
            let (parent_worker, child_worker) = (worker(&domain, 1, parent), worker(&domain, 2, child));
            let found = carrier(&child_worker, &parent_worker).await;
            assert_eq!(found, expected, "{child:?} with {parent:?}");
        }
    }

    #[tokio::test]
    async fn nothing_in_common_names_both_sides() {
        let domain = Domain::new();
        let parent = worker(&domain, 1, TransportChoice::Only(TransportKind::Quic));
        let child = worker(&domain, 2, TransportChoice::Only(TransportKind::Tcp));
        let at = PeerAddress { address: parent.local_addr(), transports: parent.kinds() };
        let error = child.connect(VmId(1), &at, IMAGE).await.unwrap_err().to_string();
        assert!(error.contains("it takes quic, this worker uses tcp"), "{error}");
        let at = PeerAddress { transports: Vec::new(), ..at };
        let error = child.connect(VmId(1), &at, IMAGE).await.unwrap_err().to_string();
        assert!(error.contains("it takes nothing"), "{error}");
    }

    #[tokio::test]
    async fn one_port_number_serves_both() {
        let both = worker(&Domain::new(), 1, TransportChoice::Auto);
        let ports = both.all().map(|transport| transport.local_addr());
        assert!(ports.eq([both.local_addr(); 2]));
        // A port that is taken for one of them cannot be had for both.
        let taken = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = taken.local_addr().unwrap();
        let tls = Domain::new().tls(Role::Vm(1));
        let error = PeerTransport::bind(address, TransportChoice::Auto, &tls).unwrap_err();
        let expected = matches!(error, TransportError::Bind { kind: TransportKind::Quic, .. });
        assert!(expected, "{error}");
    }

    /// Closing ends both, and whoever waits for a session hears it.
    #[tokio::test]
    async fn a_closed_transport_accepts_nothing() {
        let both = worker(&Domain::new(), 1, TransportChoice::Auto);
        let ((), offer) = tokio::join!(both.close(), both.accept());
        assert!(offer.is_none());
    }
}
