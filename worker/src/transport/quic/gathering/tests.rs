//! Over real sockets on loopback, where the kernel keeps what it was given in one call together.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;
use std::time::Duration;

use tokio::time::timeout;

use super::*;

const SEGMENT: usize = 1_472;
const CALL: usize = FULL_CALL * SEGMENT;
/// Far beyond what anything here takes; a test that meets it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn bound() -> (Socket, SocketAddr) {
    let socket = Socket::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Counts how often the endpoint's task was woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A gathering socket, and its endpoint's task.
struct Endpoint {
    socket: GatheringSocket,
    wakes: Arc<Wakes>,
}

impl Endpoint {
    fn new() -> Self {
        let endpoint = Self { socket: GatheringSocket::new(bound().0), wakes: Arc::default() };
        endpoint.run();
        endpoint
    }

    /// Runs the endpoint's task; how often it was woken before.
    fn run(&self) -> usize {
        let before = self.wakes.0.swap(0, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&self.wakes));
        self.socket.drain(&mut Context::from_waker(&waker));
        before
    }

    fn send(&self, to: SocketAddr, segment: Option<usize>, contents: &[u8]) {
        let transmit = Transmit { destination: to, ecn: None, contents, segment_size: segment, src_ip: None };
        self.socket.try_send(&transmit).unwrap();
    }
}

/// What the kernel delivers next: the datagrams, end to end, and the size of each.
async fn receive(socket: &Socket) -> (Vec<u8>, usize) {
    let mut bytes = vec![0; 1 << 16];
    let mut meta = [RecvMeta::default()];
    let received = std::future::poll_fn(|context| {
        socket.poll_receive(context, &mut [IoSliceMut::new(&mut bytes)], &mut meta)
    });
    assert_eq!(timeout(PATIENCE, received).await.expect("a datagram").unwrap(), 1);
    bytes.truncate(meta[0].len);
    (bytes, meta[0].stride)
}

fn numbered(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

#[tokio::test]
async fn calls_are_gathered_into_one_that_the_receiver_gets_whole() {
    let (receiver, to) = bound();
    let endpoint = Endpoint::new();
    let sent = numbered(2 * CALL + 3 * SEGMENT - 100);
    for call in sent.chunks(CALL) {
        endpoint.send(to, Some(SEGMENT), call);
    }
    assert_eq!(receive(&receiver).await, (sent, SEGMENT));
}

#[tokio::test]
async fn no_call_carries_more_than_a_packet_can() {
    let (receiver, to) = bound();
    let endpoint = Endpoint::new();
    let sent = numbered(6 * CALL);
    for call in sent.chunks(CALL) {
        endpoint.send(to, Some(SEGMENT), call);
    }
    // Four calls fit; the fifth finds no room, and begins anew.
    let (first, _) = receive(&receiver).await;
    assert_eq!(first, sent[..4 * CALL]);
    endpoint.run();
    endpoint.run();
    assert_eq!(receive(&receiver).await.0, sent[4 * CALL..]);
}

#[tokio::test]
async fn what_nothing_follows_is_sent_by_the_endpoint() {
    let (receiver, to) = bound();
    let endpoint = Endpoint::new();
    let sent = numbered(CALL);
    endpoint.send(to, Some(SEGMENT), &sent);
    assert_eq!(endpoint.run(), 1, "woken by what was sent");
    assert_eq!(endpoint.socket.lock().batches.len(), 1, "more may follow yet");
    assert_eq!(endpoint.run(), 1, "woken by itself");
    assert_eq!(receive(&receiver).await, (sent, SEGMENT));
    assert_eq!(endpoint.run(), 0);
}

#[tokio::test]
async fn one_destination_does_not_wait_for_another() {
    let ((receiver, to), (_other, elsewhere)) = (bound(), bound());
    let endpoint = Endpoint::new();
    let sent = numbered(CALL);
    endpoint.send(to, Some(SEGMENT), &sent);
    endpoint.run();
    endpoint.send(elsewhere, Some(SEGMENT), &sent);
    endpoint.run();
    assert_eq!(receive(&receiver).await.0, sent);
    assert_eq!(endpoint.socket.lock().batches.len(), 1, "the other one's may be followed by more");
}

#[tokio::test]
async fn a_lone_datagram_does_not_wait_and_nothing_overtakes() {
    let (receiver, to) = bound();
    let endpoint = Endpoint::new();
    endpoint.send(to, None, b"first");
    assert_eq!(receive(&receiver).await.0, b"first");
    let large = numbered(CALL);
    endpoint.send(to, Some(SEGMENT), &large);
    // Larger than the others, so it cannot go with them.
    let larger = numbered(SEGMENT + 8);
    endpoint.send(to, None, &larger);
    assert_eq!(receive(&receiver).await, (large, SEGMENT));
    assert_eq!(receive(&receiver).await.0, larger);
}

#[tokio::test]
async fn each_destination_has_its_own_batch() {
    let (mine, yours) = (bound(), bound());
    let endpoint = Endpoint::new();
    let sent = numbered(2 * CALL + SEGMENT);
    for call in sent.chunks(CALL) {
        endpoint.send(mine.1, Some(SEGMENT), call);
        endpoint.send(yours.1, Some(SEGMENT), call);
    }
    assert_eq!(receive(&mine.0).await.0, sent);
    assert_eq!(receive(&yours.0).await.0, sent);
}
