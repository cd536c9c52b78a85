//! Streams against peers whose TLS is not ours, and against each other.

use std::net::Ipv4Addr;
use std::time::Duration;

use ft_identity::Role;
use rustls::{ContentType, ServerConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::record::{FRAGMENT, MAX_RECORD, Sealer};
use super::*;
use crate::transport::testing::Domain;

mod handshake;

const PARENT: VmId = VmId(1);
const CHILD: VmId = VmId(2);
/// The level of an alert that ends a connection.
const FATAL: u8 = 2;
/// Far beyond what anything here takes; a test that meets it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let connect = TcpStream::connect(listener.local_addr().unwrap());
    let (connected, accepted) = tokio::join!(connect, listener.accept());
    (connected.unwrap(), accepted.unwrap().0)
}

/// Both ends of ours.
async fn pair() -> (Stream, Stream) {
    let domain = Domain::new();
    let (child, parent) = (domain.tls(Role::Vm(CHILD.0)), domain.tls(Role::Vm(PARENT.0)));
    let (out, coming) = tcp_pair().await;
    let config = server(&parent).unwrap();
    let (child, parent) = tokio::join!(connect(out, &child, PARENT), accept(coming, &config));
    (child.unwrap(), parent.unwrap())
}

/// Our child, and a parent that is rustls.
async fn with_rustls() -> (Stream, TlsStream<TcpStream>) {
    let domain = Domain::new();
    let acceptor = TlsAcceptor::from(Arc::new(domain.tls(Role::Vm(PARENT.0)).server().unwrap()));
    let child = domain.tls(Role::Vm(CHILD.0));
    let (out, coming) = tcp_pair().await;
    let (child, parent) = tokio::join!(connect(out, &child, PARENT), acceptor.accept(coming));
    (child.unwrap(), parent.unwrap())
}

/// Bytes that are not the same everywhere.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|nth| u8::try_from((nth * 7 + nth / 251) % 256).unwrap()).collect()
}

/// What rustls would send, as it goes over the wire.
fn tls_bytes(parent: &mut ServerConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while parent.wants_write() {
        parent.write_tls(&mut bytes).unwrap();
    }
    bytes
}

fn sealed(parent: &mut TlsStream<TcpStream>, data: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let connection = parent.get_mut().1;
    connection.writer().write_all(data).unwrap();
    tls_bytes(connection)
}

/// What our child reads, and how it ended, when its parent sends `bytes` and no more.
async fn read_of(child: Stream, mut parent: TlsStream<TcpStream>, bytes: &[u8]) -> (Vec<u8>, std::io::Error) {
    let (mut read, mut write) = child.split();
    let mut data = Vec::new();
    let ended = in_time(async {
        let tcp = parent.get_mut().0;
        tcp.write_all(bytes).await.unwrap();
        tcp.shutdown().await.unwrap();
        let ended = read.read_to_end(&mut data).await.expect_err("not the end that was agreed on");
        // It stays so.
        assert_eq!(read.read(&mut [0]).await.unwrap_err().kind(), ended.kind());
        write.shutdown().await.unwrap();
        ended
    });
    let ended = ended.await;
    (data, ended)
}

#[tokio::test]
async fn bytes_of_all_sizes_cross_both_ways_and_end_with_a_close() {
    let (child, parent) = pair().await;
    assert_eq!(crate::transport::tls::peer_of(parent.peer_certificates()).unwrap(), CHILD);
    let lens = [0, 1, 5, FRAGMENT - 1, FRAGMENT, FRAGMENT + 1, 3 * FRAGMENT, 100_000, 700_000];
    let parts: Vec<_> = lens.into_iter().map(pattern).collect();
    let sent = parts.concat();
    for (from, to) in [(child.split(), parent.split())].into_iter().flat_map(|(a, b)| {
        let ((read_a, write_a), (read_b, write_b)) = (a, b);
        [(write_a, read_b), (write_b, read_a)]
    }) {
        let (mut write, mut read, mut got) = (from, to, Vec::new());
        let sending = async {
            write.write_all(parts.iter().map(Vec::as_slice)).await.unwrap();
            for part in &parts {
                write.write_all([&part[..]]).await.unwrap();
            }
            write.shutdown().await.unwrap();
        };
        let (_, end) = in_time(async { tokio::join!(sending, read.read_to_end(&mut got)) }).await;
        end.expect("a close in order");
        assert!(got == [&sent[..], &sent[..]].concat(), "{} bytes", got.len());
    }
}

/// Neither side reads before its own writing has come to a halt, and yet everything arrives.
#[tokio::test]
async fn both_directions_may_be_full_at_once() {
    let (child, parent) = pair().await;
    let data = pattern(1 << 20);
    let mut halves = [child.split(), parent.split()];
    // Fills what the kernel holds, and is dropped in the middle of a batch.
    let mut whole = [0; 2];
    for ((_, write), whole) in halves.iter_mut().zip(&mut whole) {
        while let Ok(written) =
            tokio::time::timeout(Duration::from_millis(200), write.write_all([&data[..]])).await
        {
            written.unwrap();
            *whole += 1;
        }
        assert!(*whole < 1000, "nobody reads");
    }
    let [(mut child_read, mut child_write), (mut parent_read, mut parent_write)] = halves;
    let (mut to_child, mut to_parent) = (Vec::new(), Vec::new());
    let all = async {
        tokio::try_join!(
            child_write.shutdown(),
            parent_write.shutdown(),
            async { child_read.read_to_end(&mut to_child).await.map(drop) },
            async { parent_read.read_to_end(&mut to_parent).await.map(drop) },
        )
    };
    in_time(all).await.unwrap();
    for (got, whole) in [(to_parent, whole[0]), (to_child, whole[1])] {
        // What was sealed of the batch that was dropped came too, and nothing else.
        assert!(got.len() >= whole * data.len() && got.len() < (whole + 1) * data.len());
        assert!(got.chunks(data.len()).all(|chunk| data.starts_with(chunk)), "{whole} rounds");
    }
}

#[tokio::test]
async fn an_end_without_a_close_is_an_error_wherever_it_comes() {
    let data = pattern(FRAGMENT);
    // After whole records, in the middle of a header, of a record, before its last byte.
    for (cut, whole) in [(0, true), (3, false), (5, false), (9000, false), (FRAGMENT + 21, false)] {
        let (child, mut parent) = with_rustls().await;
        let first = sealed(&mut parent, &data);
        let second = sealed(&mut parent, &data);
        assert_eq!(second.len(), FRAGMENT + 22);
        let bytes = [&first[..], &second[..cut]].concat();
        let (got, end) = read_of(child, parent, &bytes).await;
        assert_eq!(end.kind(), std::io::ErrorKind::UnexpectedEof, "{cut} {whole}: {end}");
        assert!(got == data, "what came before the cut is read");
    }
}

/// Garbage ends the connection at once; the peer is told by an alert, which rustls understands.
#[tokio::test]
async fn garbage_after_the_handshake_is_refused_and_answered_by_an_alert() {
    let oversized = [&[23, 3, 3][..], &u16::try_from(MAX_RECORD).unwrap().to_be_bytes()].concat();
    let cases: [(&str, Vec<u8>, &str); 5] = [
        ("http", b"GET / HTTP/1.1\r\n\r\n".to_vec(), "UnexpectedMessage"),
        ("a record without encryption", vec![21, 3, 3, 0, 2, 1, 0], "UnexpectedMessage"),
        ("a record that nobody sealed", [&[23, 3, 3, 0, 40][..], &[7; 40]].concat(), "BadRecordMac"),
        ("a record that is too short", vec![23, 3, 3, 0, 1, 0], "BadRecordMac"),
        ("a record that is too long", oversized, "RecordOverflow"),
    ];
    for (what, garbage, alert) in cases {
        let (child, mut parent) = with_rustls().await;
        let (mut read, mut write) = child.split();
        let first = sealed(&mut parent, b"before");
        let check = async {
            parent.get_mut().0.write_all(&[first, garbage].concat()).await.unwrap();
            let mut got = Vec::new();
            // The socket stays open: the error must not wait for more.
            let end = read.read_to_end(&mut got).await.unwrap_err();
            assert_eq!((end.kind(), &got[..]), (std::io::ErrorKind::InvalidData, &b"before"[..]), "{what}");
            write.shutdown().await.unwrap();
            parent.read(&mut [0]).await.unwrap_err().to_string()
        };
        let heard = in_time(check).await;
        assert!(heard.contains(alert), "{what}: {heard}");
    }
}

/// An alert reaches a peer that has yet to read what was sent before it, and is sending still.
#[tokio::test]
async fn an_alert_is_heard_behind_much_that_is_unread() {
    let domain = Domain::new();
    let acceptor = TlsAcceptor::from(Arc::new(domain.tls(Role::Vm(PARENT.0)).server().unwrap()));
    let child = domain.tls(Role::Vm(CHILD.0));
    let listener = tokio::net::TcpSocket::new_v4().unwrap();
    // The kernel takes little for the parent: what the child sends stays with the child.
    listener.set_recv_buffer_size(4096).unwrap();
    listener.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = listener.listen(1).unwrap();
    let accepting = async { acceptor.accept(listener.accept().await.unwrap().0).await.unwrap() };
    let connecting = async {
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        connect(tcp, &child, PARENT).await.unwrap()
    };
    let (child, mut parent) = tokio::join!(connecting, accepting);
    let (mut read, mut write) = child.split();
    in_time(write.write_all([&pattern(100_000)[..]])).await.unwrap();
    in_time(parent.get_mut().0.write_all(&[b"GET / HTTP/1.1\r\n\r\n".as_slice(), &[7; 50_000]].concat()))
        .await
        .unwrap();
    let giving_up = async {
        read.read_u8().await.unwrap_err();
        part(&mut read, &mut write).await;
        drop((read, write));
    };
    let hearing = async {
        let mut got = Vec::new();
        let end = parent.read_to_end(&mut got).await.unwrap_err();
        drop(parent);
        (got, end.to_string())
    };
    let ((), (got, heard)) = in_time(async { tokio::join!(giving_up, hearing) }).await;
    // rustls says nothing of data that it finds together with an alert.
    assert!(pattern(100_000).starts_with(&got), "{} bytes", got.len());
    assert!(heard.contains("UnexpectedMessage"), "{heard}");
}

/// The plaintext of a record may be no longer than the standard says, although the sealed bytes may be.
#[tokio::test]
async fn a_record_with_too_much_in_it_is_refused() {
    for (more, fits) in [(0, true), (1, false), (100, false)] {
        let (child, parent) = pair().await;
        let ((_child_read, mut write), (mut read, _parent_write)) = (child.split(), parent.split());
        write.send_record(&pattern(FRAGMENT + more), ContentType::ApplicationData).await.unwrap();
        let got = in_time(read.read_u8()).await;
        assert_eq!(got.is_ok(), fits, "{more}: {got:?}");
    }
}

/// A peer can keep nobody busy with records that say nothing.
#[tokio::test]
async fn records_without_data_are_not_taken_for_ever() {
    let ticket = &[4, 0, 0, 1, 0][..];
    for (typ, idle) in [(ContentType::ApplicationData, &[][..]), (ContentType::Handshake, ticket)] {
        let (child, parent) = pair().await;
        let ((_child_read, mut write), (mut read, _parent_write)) = (child.split(), parent.split());
        for _ in 0..3 {
            for _ in 0..20 {
                write.send_record(idle, typ).await.unwrap();
            }
            write.write_all([&b"x"[..]]).await.unwrap();
            assert_eq!(in_time(read.read_u8()).await.unwrap(), b'x');
        }
        for _ in 0..40 {
            write.send_record(idle, typ).await.unwrap();
        }
        let end = in_time(read.read_u8()).await.unwrap_err();
        assert_eq!(end.kind(), std::io::ErrorKind::InvalidData, "{typ:?}: {end}");
    }
    for (typ, message) in [
        (ContentType::Handshake, &[24, 0, 0, 1, 2][..]),
        (ContentType::Handshake, &[24, 0, 0][..]),
        (ContentType::Handshake, &[][..]),
        (ContentType::Handshake, &[1, 0, 0, 0][..]),
        (ContentType::Alert, &[1][..]),
        (ContentType::Alert, &[2, 40][..]),
        (ContentType::ChangeCipherSpec, &[1][..]),
    ] {
        let (child, parent) = pair().await;
        let ((_child_read, mut write), (mut read, _parent_write)) = (child.split(), parent.split());
        write.send_record(message, typ).await.unwrap();
        let end = in_time(read.read_u8()).await.unwrap_err();
        assert_eq!(end.kind(), std::io::ErrorKind::InvalidData, "{typ:?} {message:?}: {end}");
    }
}

/// The peer takes another key, and makes this side take one too.
#[tokio::test]
async fn key_updates_of_the_peer_are_followed_and_answered() {
    let (child, mut parent) = with_rustls().await;
    let (mut read, mut write) = child.split();
    let talk = async {
        for round in 0..5 {
            // Of rustls', this asks for an update of ours.
            parent.get_mut().1.refresh_traffic_keys().unwrap();
            parent.write_all(&pattern(50_000)).await.unwrap();
            parent.flush().await.unwrap();
            let mut got = vec![0; 50_000];
            read.read_exact(&mut got).await.unwrap();
            assert!(got == pattern(50_000), "round {round}");
            write.write_all([&pattern(60_000)[..]]).await.unwrap();
            let mut got = vec![0; 60_000];
            parent.read_exact(&mut got).await.unwrap();
            assert!(got == pattern(60_000), "round {round}");
            assert_eq!(write.records_of_key(), 4, "round {round}");
        }
        write.shutdown().await.unwrap();
        assert_eq!(parent.read(&mut [0]).await.unwrap(), 0);
    };
    in_time(talk).await;
}

/// A key that has sealed enough is replaced in the middle of a stream, which rustls follows.
#[tokio::test]
async fn a_worn_key_is_replaced() {
    let (child, mut parent) = with_rustls().await;
    let (_read, mut write) = child.split();
    let talk = async {
        for round in 0..3 {
            write.wear_key();
            write.write_all([&pattern(60_000)[..]]).await.unwrap();
            let mut got = vec![0; 60_000];
            parent.read_exact(&mut got).await.unwrap();
            assert!(got == pattern(60_000), "round {round}");
            assert_eq!(write.records_of_key(), 4, "round {round}");
        }
    };
    in_time(talk).await;
}

#[test]
fn sealing_knows_how_much_room_a_record_has() {
    let mut out = vec![0; 7];
    let start = Sealer::begin(&mut out);
    assert_eq!((start, Sealer::room(&out, start)), (7, FRAGMENT));
    out.resize(out.len() + FRAGMENT, 0);
    assert_eq!(Sealer::room(&out, start), 0);
}
