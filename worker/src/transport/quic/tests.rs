//! Peers that speak QUIC, but not the protocol. What both transports have to do is in `transport/tests.rs`.

use std::net::Ipv4Addr;

use ft_core::BlockIndex;
use ft_core::relay::Class;
use ft_identity::Role;

use super::*;
use crate::transport::testing::Domain;
use crate::wire::{FrameHeader, Lane, StreamHeader, ToChild};

const IMAGE: Digest = Digest::from_bytes([7; 32]);
const PARENT: VmId = VmId(1);
const CHILD: VmId = VmId(2);
/// Far beyond what anything here takes; a test that meets it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn worker(domain: &Domain, vm: VmId) -> QuicTransport {
    QuicTransport::bind((Ipv4Addr::LOCALHOST, 0).into(), domain.tls(Role::Vm(vm.0))).unwrap()
}

fn at(address: SocketAddr) -> PeerAddress {
    PeerAddress { address, transports: vec![TransportKind::Quic] }
}

/// A child that speaks QUIC, but not the protocol.
#[tokio::test]
async fn a_child_that_sends_garbage_is_disconnected() {
    let domain = Domain::new();
    let (parent, child) = (worker(&domain, PARENT), worker(&domain, CHILD));
    let config = config::client(&child.tls, PARENT, config::to_parents()).unwrap();
    let connecting = child.endpoint.connect_with(config, parent.local_addr(), "vm.ft.invalid").unwrap();
    let connection = connecting.await.unwrap();
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    send.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let reason = timeout(PATIENCE, connection.closed()).await.unwrap();
    let quinn::ConnectionError::ApplicationClosed(close) = reason else { panic!("{reason}") };
    assert_eq!(close.error_code, code(CloseCode::Protocol));
    assert_eq!(parent.stats().protocol_errors(), 1);
}

/// A parent that speaks the protocol up to the first frame, which claims too much.
#[tokio::test]
async fn a_parent_that_sends_garbage_is_disconnected() {
    let domain = Domain::new();
    let child = worker(&domain, CHILD);
    let liar = quinn::Endpoint::server(
        config::server(&domain.tls(Role::Vm(PARENT.0))).unwrap(),
        (Ipv4Addr::LOCALHOST, 0).into(),
    )
    .unwrap();
    let lie = async {
        let connection = liar.accept().await.unwrap().await.unwrap();
        let (mut send, _receive) = connection.accept_bi().await.unwrap();
        send.write_all(&ToChild::Welcome.encode()).await.unwrap();
        let mut lane = connection.open_uni().await.unwrap();
        lane.write_all(&StreamHeader { session: 0, lane: Lane::Demand }.encode()).await.unwrap();
        let huge = FrameHeader { block: BlockIndex(0), class: Class::Demand, stored_len: u32::MAX };
        lane.write_all(&huge.encode()).await.unwrap();
        connection.closed().await
    };
    let hear = async {
        let mut upstream = child.connect(PARENT, &at(liar.local_addr().unwrap()), IMAGE).await.unwrap();
        upstream.events.recv().await.unwrap().unwrap_err()
    };
    let (reason, error) = timeout(PATIENCE, async { tokio::join!(lie, hear) }).await.unwrap();
    assert!(matches!(error, TransportError::Protocol { peer: PARENT, .. }), "{error}");
    assert!(matches!(reason, quinn::ConnectionError::ApplicationClosed(_)), "{reason}");
    assert_eq!(child.stats().protocol_errors(), 1);
}
