//! Peers that take nothing, or go without waiting for an answer.

use ft_core::relay::{BlockSet, StripeSet, Subscription};
use rustls::ContentType;
use tokio::io::DuplexStream;

use super::super::connection::MAX_SESSIONS;
use super::super::stream;
use super::*;

/// The parent's side of a connection whose peer never reads: what this side would write stays in the outbox.
struct Unread {
    connection: Arc<Connection>,
    /// What the child sends.
    child: DuplexStream,
    offers: mpsc::Receiver<Offer>,
    reading: tokio::task::JoinHandle<Result<End, WireError>>,
}

impl Unread {
    fn start() -> Self {
        let address = ([127, 0, 0, 1], 1).into();
        let connection = Arc::new(Connection::new(CHILD, Side::Parent, address, Shared::new(Arc::default())));
        let (child, mut parent) = tokio::io::duplex(1 << 20);
        let (offer_tx, offers) = mpsc::channel(OFFER_QUEUE);
        let reader = Arc::clone(&connection);
        let reading = tokio::spawn(async move { reader.read_all(&mut parent, Some(&offer_tx)).await });
        Self { connection, child, offers, reading }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.child.write_all(bytes).await.unwrap();
    }

    async fn offer(&mut self) -> Offer {
        in_time(self.offers.recv()).await.expect("an offer")
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// A request of 50 kB.
fn large_request() -> Vec<u8> {
    let have = BlockSet::new(400_000);
    let subscription = Subscription { stripes: StripeSet(1), of: 1, have };
    data(0, CONTROL, &ToParent::Subscribe(subscription).encode())
}

/// A child sends on although it cannot have heard that it may: it is disconnected, and little waits for it meanwhile.
/// One that reads may send as much as it likes.
#[tokio::test]
async fn a_child_that_sends_requests_and_reads_nothing_is_disconnected() {
    for reads in [false, true] {
        let mut peer = Unread::start();
        peer.send(&hello(0)).await;
        let mut session = peer.offer().await.accept();
        let request = large_request();
        let mut sent = 0;
        while peer.connection.is_open() && sent < 40 {
            peer.send(&request).await;
            if !matches!(in_time(session.requests.recv()).await, Some(Ok(_))) {
                break;
            }
            sent += 1;
            assert!(peer.connection.outbox.waiting() <= 2, "{}", peer.connection.outbox.waiting());
            if reads && peer.connection.outbox.waiting() > 0 {
                in_time(peer.connection.outbox.next(&mut Vec::new())).await;
            }
        }
        if reads {
            assert!(sent == 40 && peer.connection.is_open(), "{}", peer.connection.error());
            continue;
        }
        // Two windows of 256 KiB are ten of these requests.
        assert!((5..=11).contains(&sent), "{sent}");
        assert_eq!(peer.connection.shared.stats.protocol_errors(), 1);
        let error = peer.connection.error().to_string();
        assert!(error.contains("credit"), "{error}");
    }
}

/// A child opens sessions in the place of those that are over, without having heard that they are.
#[tokio::test]
async fn a_child_that_opens_sessions_without_end_is_disconnected() {
    let mut peer = Unread::start();
    for number in 0..u32::try_from(MAX_SESSIONS).unwrap() {
        peer.send(&hello(number)).await;
        drop(peer.offer().await);
        in_time(async {
            while peer.connection.outbox.untold_ends() <= number as usize {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    assert_eq!(peer.connection.outbox.waiting(), MAX_SESSIONS);
    peer.send(&hello(u32::try_from(MAX_SESSIONS).unwrap())).await;
    let end = in_time(&mut peer.reading).await.unwrap();
    assert!(matches!(end, Err(WireError::Unexpected { what: "one session more" })), "{end:?}");
}

/// Sessions that the child opens and ends leave nothing behind, though it reads nothing.
#[tokio::test]
async fn a_session_that_is_over_leaves_nothing_in_the_outbox() {
    let mut peer = Unread::start();
    for number in 0..500 {
        peer.send(&hello(number)).await;
        let session = peer.offer().await.accept();
        // The welcome waits, at least.
        in_time(async {
            while peer.connection.outbox.waiting() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        peer.send(&MuxHeader::End { session: number }.encode()).await;
        in_time(session.replies.closed()).await;
        assert_eq!(peer.connection.outbox.waiting(), 0, "{number}");
    }
}

/// What a peer said before it reset the connection is the cause, not that writing to it failed.
#[tokio::test]
async fn the_last_word_of_a_peer_that_has_gone_is_heard() {
    let close = MuxHeader::Close { len: 4 + 12 }.encode();
    let close = [&close[..], &7_u32.to_le_bytes(), b"out of paper"].concat();
    let access_denied = [2, 49].to_vec();
    for (word, typ, heard) in [
        (close, ContentType::ApplicationData, "out of paper"),
        (access_denied, ContentType::Alert, "AccessDenied"),
    ] {
        let domain = Domain::new();
        let (child, parent) = (domain.tls(Role::Vm(CHILD.0)), domain.tls(Role::Vm(PARENT.0)));
        let server = stream::server(&parent).unwrap();
        let listener = socket::listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = async { stream::accept(listener.accept().await.unwrap().0, &server).await.unwrap() };
        let connecting =
            async { stream::connect(socket::connect(address).await.unwrap(), &child, PARENT).await.unwrap() };
        let (ours, theirs) = tokio::join!(connecting, accepting);
        rustix::net::sockopt::set_socket_linger(theirs.socket(), Some(Duration::ZERO)).unwrap();
        let (read, mut write) = theirs.split();
        write.send_record(&word, typ).await.unwrap();
        drop((read, write));
        let connection = Connection::new(PARENT, Side::Child, address, Shared::new(Arc::default()));
        let connection = Arc::new(connection);
        connection.open_next().unwrap();
        // Writing comes first, and fails.
        connection.outbox.ping();
        in_time(Arc::clone(&connection).run(ours, None)).await;
        let error = connection.error();
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(cause.contains(heard), "{error}: {cause}");
    }
}
