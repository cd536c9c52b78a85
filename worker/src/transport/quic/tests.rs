//! Real endpoints on loopback.

use std::net::Ipv4Addr;

use bytes::Bytes;
use ft_core::relay::{Ask, Class};
use ft_core::{BlockIndex, Stripe};
use ft_identity::{CertificateAuthority, CurrentIdentity, Role};

use super::*;
use crate::transport::{Downstream, Frame, FromParent};
use crate::wire::{Decline, FrameHeader, Lane, StreamHeader, ToChild, ToParent};

const IMAGE: Digest = Digest::from_bytes([7; 32]);
const PARENT: VmId = VmId(1);
const CHILD: VmId = VmId(2);
/// Far beyond what anything here takes; a test that meets it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

struct Domain(CertificateAuthority);

impl Domain {
    fn new() -> Self {
        Self(CertificateAuthority::generate("ft.test").unwrap())
    }

    fn tls(&self, role: Role) -> PeerTls {
        let identity = self.0.issue_identity(role, &[], Duration::from_secs(600)).unwrap();
        PeerTls { roots: self.0.trust_roots().unwrap(), identity: CurrentIdentity::new(identity).unwrap() }
    }

    fn worker(&self, vm: VmId) -> QuicTransport {
        QuicTransport::bind((Ipv4Addr::LOCALHOST, 0).into(), self.tls(Role::Vm(vm.0))).unwrap()
    }
}

fn frame(block: u32, class: Class, len: usize) -> Frame {
    let fill = u8::try_from(block % 251).unwrap();
    Frame { block: BlockIndex(block), class, stored: Bytes::from(vec![fill; len]) }
}

fn quic(address: SocketAddr) -> PeerAddress {
    PeerAddress { address, transports: vec![TransportKind::Quic] }
}

fn at(worker: &QuicTransport) -> PeerAddress {
    quic(worker.local_addr())
}

async fn session(parent: &QuicTransport, child: &QuicTransport) -> (Upstream, Downstream) {
    let accept = async {
        let offer = parent.accept().await.unwrap();
        assert_eq!((offer.peer(), offer.image()), (CHILD, IMAGE));
        offer.accept()
    };
    let (upstream, downstream) = tokio::join!(child.connect(PARENT, &at(parent), IMAGE), accept);
    (upstream.unwrap(), downstream)
}

async fn next(upstream: &mut Upstream) -> Result<FromParent, TransportError> {
    timeout(PATIENCE, upstream.events.recv()).await.expect("an event in time").expect("an event")
}

#[tokio::test]
async fn requests_go_up_and_blocks_come_down() {
    let domain = Domain::new();
    let (parent, child) = (domain.worker(PARENT), domain.worker(CHILD));
    let (mut upstream, mut downstream) = session(&parent, &child).await;

    let ask = Ask { class: Class::Demand, may_fetch: true, again: false };
    let ask = ToParent::Ask { block: BlockIndex(3), ask };
    upstream.requests.send(ask.clone()).await.unwrap();
    assert_eq!(downstream.requests.recv().await.unwrap().unwrap(), ask);

    let mut lane = downstream.lanes.open(Lane::Push(Stripe(1))).await.unwrap();
    for block in 0..8 {
        lane.send(frame(block, Class::Metadata, 512 * 1024 - block as usize)).await.unwrap();
        let FromParent::Block(got) = next(&mut upstream).await.unwrap() else { panic!("a block") };
        let sent = frame(block, Class::Metadata, 512 * 1024 - block as usize);
        assert_eq!((got.block, got.class, got.stored), (sent.block, sent.class, sent.stored));
    }
    downstream.replies.send(ToChild::Refuse { block: BlockIndex(3) }).await.unwrap();
    let event = next(&mut upstream).await.unwrap();
    assert!(matches!(event, FromParent::Refused(BlockIndex(3))), "{event:?}");

    drop(upstream);
    let end = timeout(PATIENCE, downstream.requests.recv()).await.unwrap().unwrap();
    assert!(end.is_err(), "{end:?}");
}

/// The child does not read until everything is queued, so pushed blocks fill the windows.
#[tokio::test]
async fn a_demand_overtakes_pushes_on_the_same_connection() {
    const PUSHES: u32 = 40;
    let domain = Domain::new();
    let (parent, child) = (domain.worker(PARENT), domain.worker(CHILD));
    let (mut upstream, downstream) = session(&parent, &child).await;
    let mut push = downstream.lanes.open(Lane::Push(Stripe(0))).await.unwrap();
    let mut demand = downstream.lanes.open(Lane::Demand).await.unwrap();
    let pushing = tokio::spawn(async move {
        for block in 0..PUSHES {
            push.send(frame(block, Class::Rest, 512 * 1024)).await.unwrap();
        }
    });
    demand.send(frame(1000, Class::Demand, 512 * 1024)).await.unwrap();
    let mut before = 0;
    loop {
        let FromParent::Block(block) = next(&mut upstream).await.unwrap() else { panic!("a block") };
        if block.class == Class::Demand {
            break;
        }
        before += 1;
    }
    assert!(before < 10, "{before} pushed blocks came before the demanded one");
    for _ in before..PUSHES {
        next(&mut upstream).await.unwrap();
    }
    pushing.await.unwrap();
}

#[tokio::test]
async fn a_peer_with_another_number_is_not_believed() {
    let domain = Domain::new();
    let (parent, child) = (domain.worker(PARENT), domain.worker(CHILD));
    let error = child.connect(VmId(9), &at(&parent), IMAGE).await.unwrap_err();
    assert!(matches!(error, TransportError::Connect { peer: VmId(9), .. }), "{error}");

    let stranger = Domain::new().worker(CHILD);
    let error = stranger.connect(PARENT, &at(&parent), IMAGE).await.unwrap_err();
    assert!(matches!(error, TransportError::Connect { .. }), "{error}");
}

#[tokio::test]
async fn who_is_no_worker_gets_no_session() {
    let domain = Domain::new();
    let parent = domain.worker(PARENT);
    let tenant =
        QuicTransport::bind((Ipv4Addr::LOCALHOST, 0).into(), domain.tls(Role::Tenant("acme".to_owned())))
            .unwrap();
    assert!(tenant.connect(PARENT, &at(&parent), IMAGE).await.is_err());
}

#[tokio::test]
async fn a_declined_session_says_why() {
    let domain = Domain::new();
    let (parent, child) = (domain.worker(PARENT), domain.worker(CHILD));
    let decline = async { parent.accept().await.unwrap().decline(Decline::NotFollowed) };
    let (refused, ()) = tokio::join!(child.connect(PARENT, &at(&parent), IMAGE), decline);
    let error = refused.unwrap_err();
    assert!(matches!(error, TransportError::Declined { why: Decline::NotFollowed, .. }), "{error}");
}

#[tokio::test]
async fn a_closed_parent_is_noticed() {
    let domain = Domain::new();
    let (parent, child) = (domain.worker(PARENT), domain.worker(CHILD));
    let (mut upstream, downstream) = session(&parent, &child).await;
    let mut lane = downstream.lanes.open(Lane::Demand).await.unwrap();
    lane.send(frame(0, Class::Demand, 1000)).await.unwrap();
    assert!(next(&mut upstream).await.is_ok());
    parent.close().await;
    let error = next(&mut upstream).await.unwrap_err();
    assert!(matches!(error, TransportError::Lost { peer: PARENT, .. }), "{error}");
    assert!(parent.accept().await.is_none());
}

#[tokio::test]
async fn sessions_share_a_connection_until_the_last_one_ends() {
    let domain = Domain::new();
    let (parent, child) = (domain.worker(PARENT), domain.worker(CHILD));
    let (first, mut first_down) = session(&parent, &child).await;
    let (second, _second_down) = session(&parent, &child).await;
    assert_eq!(parent.endpoint.open_connections(), 1);
    drop(first);
    assert!(first_down.requests.recv().await.unwrap().is_err());
    assert_eq!(parent.endpoint.open_connections(), 1);
    drop(second);
    timeout(PATIENCE, child.endpoint.wait_idle()).await.expect("the connection closes");
}

/// A child that speaks QUIC, but not the protocol.
#[tokio::test]
async fn a_child_that_sends_garbage_is_disconnected() {
    let domain = Domain::new();
    let (parent, child) = (domain.worker(PARENT), domain.worker(CHILD));
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
    let child = domain.worker(CHILD);
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
        let mut upstream = child.connect(PARENT, &quic(liar.local_addr().unwrap()), IMAGE).await.unwrap();
        next(&mut upstream).await.unwrap_err()
    };
    let (reason, error) = timeout(PATIENCE, async { tokio::join!(lie, hear) }).await.unwrap();
    assert!(matches!(error, TransportError::Protocol { peer: PARENT, .. }), "{error}");
    assert!(matches!(reason, quinn::ConnectionError::ApplicationClosed(_)), "{reason}");
    assert_eq!(child.stats().protocol_errors(), 1);
}
