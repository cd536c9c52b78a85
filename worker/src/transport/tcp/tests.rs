//! Peers that speak TLS, but not the protocol; and whatever else may arrive. What both transports have to do is in
//! `transport/tests.rs`.

use std::net::Ipv4Addr;

use ft_core::BlockIndex;
use ft_core::relay::Class;
use ft_identity::Role;
use proptest::prelude::*;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::connection::Connection;
use super::inbox::End;
use super::*;
use crate::transport::testing::Domain;
use crate::transport::tls::SERVER_NAME;
use crate::wire::{FrameHeader, Hello, Lane, MAX_MUX_DATA, MuxHeader, MuxLane, ToChild, ToParent, WireError};

mod hostile;

const IMAGE: Digest = Digest::from_bytes([7; 32]);
const PARENT: VmId = VmId(1);
const CHILD: VmId = VmId(2);
/// Far beyond what anything here takes; a test that meets it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

const CONTROL: MuxLane = MuxLane::Control;
const DEMAND: MuxLane = MuxLane::Blocks(Lane::Demand);

fn worker(domain: &Domain, vm: VmId) -> TcpTransport {
    TcpTransport::bind((Ipv4Addr::LOCALHOST, 0).into(), domain.tls(Role::Vm(vm.0))).unwrap()
}

/// One frame with data.
fn data(session: u32, lane: MuxLane, bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap();
    [&MuxHeader::Data { session, lane, len }.encode(), bytes].concat()
}

fn hello(session: u32) -> Vec<u8> {
    data(session, CONTROL, &ToParent::Hello(Hello { session, image: IMAGE }).encode())
}

fn credit(session: u32, more: u32) -> Vec<u8> {
    [&MuxHeader::Credit { session, lane: CONTROL }.encode()[..], &more.to_le_bytes()].concat()
}

/// What a peer says before it closes a connection.
async fn last_word(stream: &mut (impl AsyncRead + Unpin)) -> (u32, String) {
    let mut said = Vec::new();
    // However the connection ends, what came before counts.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("an end in time");
    let mut rest = &said[..];
    while let Some((header, after)) = rest.split_first_chunk() {
        match MuxHeader::decode(*header).unwrap() {
            MuxHeader::Close { len } => {
                let (code, text) = after[..usize::from(len)].split_first_chunk().unwrap();
                return (u32::from_le_bytes(*code), String::from_utf8(text.to_vec()).unwrap());
            }
            MuxHeader::Data { len, .. } => rest = &after[usize::from(len)..],
            MuxHeader::Credit { .. } => rest = &after[4..],
            MuxHeader::End { .. } | MuxHeader::Ping => rest = after,
        }
    }
    panic!("closed without a word");
}

/// Children that break the protocol, each in its own way, are told so, disconnected and counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_breaks_the_protocol_is_disconnected() {
    let have = ToParent::Have { block: BlockIndex(1) }.encode();
    let breaches = [
        ("another protocol", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("no hello", data(0, CONTROL, &have)),
        ("another session's hello", data(3, CONTROL, &hello(4)[MuxHeader::BYTES..])),
        ("two hellos", [hello(0), data(0, CONTROL, &hello(0)[MuxHeader::BYTES..])].concat()),
        ("a parent's message", data(0, CONTROL, &ToChild::Welcome.encode())),
        ("blocks", data(0, DEMAND, &[0; 100])),
        ("credit for nothing", credit(0, 1)),
        ("too much credit", [hello(0), credit(0, 1)].concat()),
        ("no credit", [hello(0), credit(0, 0)].concat()),
        ("an end of nothing", MuxHeader::End { session: 0 }.encode().to_vec()),
        ("too many sessions", (0..200).flat_map(hello).collect()),
    ];
    let domain = Domain::new();
    let parent = worker(&domain, PARENT);
    let connector = TlsConnector::from(Arc::new(domain.tls(Role::Vm(CHILD.0)).client(PARENT).unwrap()));
    for (nth, (what, bytes)) in (1..).zip(breaches) {
        let tcp = socket::connect(parent.local).await.unwrap();
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        let mut stream = connector.connect(name, tcp).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.flush().await.unwrap();
        // Offers are taken, so that sessions go on.
        let word = async {
            let take = async {
                let mut sessions = Vec::new();
                while let Some(offer) = parent.accept().await {
                    sessions.push(offer.accept());
                }
            };
            tokio::select! { word = last_word(&mut stream) => word, () = take => panic!("closed") }
        };
        let (code, text) = word.await;
        assert_eq!(code, crate::wire::CloseCode::Protocol as u32, "{what}: {text}");
        assert_eq!(parent.stats().protocol_errors(), nth, "{what}");
    }
}

/// Parents that break the protocol are disconnected and counted, and the session says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_breaks_the_protocol_is_disconnected() {
    let huge = FrameHeader { block: BlockIndex(0), class: Class::Demand, stored_len: u32::MAX }.encode();
    let whole = FrameHeader { block: BlockIndex(0), class: Class::Rest, stored_len: 512 << 10 }.encode();
    // Three blocks of 512 KiB, where two were granted.
    let block: Vec<u8> = whole.into_iter().chain(std::iter::repeat_n(0, 512 << 10)).collect();
    let frames = block.chunks(usize::from(MAX_MUX_DATA)).map(|bytes| data(0, DEMAND, bytes));
    let block: Vec<u8> = frames.flatten().collect();
    let breaches = [
        ("another protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("a block that is too long", data(0, DEMAND, &huge)),
        ("a second welcome", data(0, CONTROL, &ToChild::Welcome.encode())),
        ("a child's message", hello(0)),
        ("a session that nobody opened", data(1, DEMAND, &huge)),
        ("more than was granted", block.repeat(8)),
    ];
    let domain = Domain::new();
    let child = worker(&domain, CHILD);
    for (nth, (what, bytes)) in (1..).zip(breaches) {
        let acceptor = TlsAcceptor::from(Arc::new(domain.tls(Role::Vm(PARENT.0)).server().unwrap()));
        let liar = socket::listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = liar.local_addr().unwrap();
        let lie = async {
            let (tcp, _) = liar.accept().await.unwrap();
            let mut stream = acceptor.accept(tcp).await.unwrap();
            let mut asked = vec![0; hello(0).len()];
            stream.read_exact(&mut asked).await.unwrap();
            // Sessions over one connection to one parent have numbers from 0 on.
            assert_eq!(asked, hello(0), "{what}");
            let welcome = data(0, CONTROL, &ToChild::Welcome.encode());
            // The child may close while this writes.
            let _ = stream.write_all(&[welcome, bytes].concat()).await;
            let _ = stream.flush().await;
            last_word(&mut stream).await
        };
        let at = PeerAddress { address, transports: vec![TransportKind::Tcp] };
        let hear = async {
            let mut upstream = match child.connect(PARENT, &at, IMAGE).await {
                Ok(upstream) => upstream,
                Err(error) => return error,
            };
            // Takes nothing before the breach; then what came before it, then the error.
            while child.stats().protocol_errors() < nth {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            loop {
                if let Err(error) = upstream.events.recv().await.expect("an error") {
                    return error;
                }
            }
        };
        let both = async { tokio::join!(lie, hear) };
        let ((code, text), heard) = tokio::time::timeout(PATIENCE, both).await.expect(what);
        assert!(matches!(heard, TransportError::Protocol { peer: PARENT, .. }), "{what}: {heard}");
        assert_eq!(code, crate::wire::CloseCode::Protocol as u32, "{what}: {text}");
        assert_eq!(child.stats().protocol_errors(), nth, "{what}");
    }
}

/// A server with a certificate of the domain, but of another protocol.
#[tokio::test]
async fn a_peer_of_another_protocol_is_refused() {
    let domain = Domain::new();
    let child = worker(&domain, CHILD);
    let mut config = domain.tls(Role::Vm(PARENT.0)).server().unwrap();
    config.alpn_protocols.clear();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = socket::listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let at = PeerAddress { address: listener.local_addr().unwrap(), transports: vec![TransportKind::Tcp] };
    let serve = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let _stream = acceptor.accept(tcp).await;
        std::future::pending::<()>().await;
    };
    let error = tokio::select! {
        error = child.connect(PARENT, &at, IMAGE) => error.unwrap_err(),
        () = serve => unreachable!(),
    };
    assert!(error.to_string().contains("ft/1"), "{error}");
}

/// A side of a connection with one open session, that reads whatever bytes come.
async fn read(side: Side, bytes: &[u8]) -> Result<End, WireError> {
    let address = ([127, 0, 0, 1], 1).into();
    let connection = Arc::new(Connection::new(CHILD, side, address, Shared::new(Arc::default())));
    let (offer_tx, mut offers) = mpsc::channel::<Offer>(OFFER_QUEUE);
    let sessions = async {
        let mut sessions = Vec::new();
        while let Some(offer) = offers.recv().await {
            sessions.push(offer.accept());
        }
    };
    let mut bytes = bytes;
    let reading = async {
        match side {
            Side::Parent => connection.read_all(&mut bytes, Some(&offer_tx)).await,
            Side::Child => {
                connection.open_next().unwrap();
                connection.read_all(&mut bytes, None).await
            }
        }
    };
    tokio::select! {
        result = tokio::time::timeout(PATIENCE, reading) => result.expect("reading ends with the bytes"),
        () = sessions => unreachable!("the sender lives"),
    }
}

/// What a peer in order sends: a session, with messages and blocks in frames of all sizes.
fn orderly(side: Side, seed: u64) -> Vec<u8> {
    let mut random = seed;
    let mut draw = move |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % below
    };
    let mut bytes = Vec::new();
    let (lane, stream) = match side {
        Side::Parent => {
            bytes.extend(hello(0));
            let have = |block| ToParent::Have { block: BlockIndex(block) }.encode();
            (CONTROL, (0..20).flat_map(have).collect::<Vec<_>>())
        }
        Side::Child => {
            bytes.extend(data(0, CONTROL, &ToChild::Welcome.encode()));
            let block = |block, len: u32| {
                let header = FrameHeader { block: BlockIndex(block), class: Class::Rest, stored_len: len };
                header.encode().into_iter().chain(std::iter::repeat_n(7, len as usize))
            };
            let blocks = (0..6).flat_map(|nth| block(nth, 1 + nth * 777));
            (DEMAND, blocks.collect())
        }
    };
    let mut rest = &stream[..];
    while !rest.is_empty() {
        let (now, later) = rest.split_at((1 + draw(1500)).min(rest.len()));
        bytes.extend(data(0, lane, now));
        if draw(3) == 0 {
            bytes.extend(MuxHeader::Ping.encode());
        }
        rest = later;
    }
    bytes
}

fn side() -> impl Strategy<Value = Side> {
    prop::sample::select(vec![Side::Parent, Side::Child])
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Cuts at any place are taken; the end of the bytes is the end of the connection.
    #[test]
    fn what_is_in_order_is_read_to_its_end(side in side(), seed in any::<u64>()) {
        let end = run(read(side, &orderly(side, seed)));
        prop_assert!(matches!(end, Ok(End::Lost(_))), "{end:?}");
    }

    /// Whatever arrives: reading ends, with an error or with the bytes; no panic, no hang.
    #[test]
    fn garbage_is_survived(side in side(), bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = run(read(side, &bytes));
    }

    /// Nearly right is harder to survive than garbage.
    #[test]
    fn mutations_are_survived(
        side in side(),
        seed in any::<u64>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = orderly(side, seed);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        let _ = run(read(side, &bytes));
    }
}
