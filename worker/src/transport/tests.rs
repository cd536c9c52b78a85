//! What every transport has to do: real endpoints on loopback.

use std::time::Duration;

use ft_core::Stripe;
use ft_core::relay::{Ask, Class};
use ft_identity::Role;
use tokio::time::timeout;

use super::testing::{Backend, Domain, at, bind, over_both};
use super::*;

const IMAGE: Digest = Digest::from_bytes([7; 32]);
const PARENT: VmId = VmId(1);
const CHILD: VmId = VmId(2);
/// Far beyond what anything here takes; a test that meets it has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const BLOCK: usize = 512 * 1024;

over_both!(
    requests_go_up_and_blocks_come_down,
    a_demand_overtakes_pushes_on_the_same_connection,
    a_peer_with_another_number_is_not_believed,
    who_is_no_worker_gets_no_session,
    a_declined_session_says_why,
    a_closed_parent_is_noticed,
    a_closed_child_is_noticed,
    a_silent_peer_is_noticed_by_both_sides,
    a_peer_with_nothing_to_say_is_not_lost,
    sessions_share_a_connection_until_the_last_one_ends,
    a_session_that_ends_among_blocks_does_not_disturb_another,
    a_child_that_takes_nothing_holds_the_parent_back,
    a_lane_that_is_not_taken_does_not_hold_back_another_session,
    many_messages_arrive_in_order,
    nobody_listens_there,
);

fn frame(block: u32, class: Class, len: usize) -> Frame {
    let fill = u8::try_from(block % 251).unwrap();
    Frame { block: BlockIndex(block), class, stored: Bytes::from(vec![fill; len]) }
}

fn ask(block: u32) -> ToParent {
    let ask = Ask { class: Class::Demand, may_fetch: true, again: false };
    ToParent::Ask { block: BlockIndex(block), ask }
}

struct Pair {
    parent: Arc<dyn Backend>,
    child: Arc<dyn Backend>,
}

impl Pair {
    fn new(kind: TransportKind) -> Self {
        let domain = Domain::new();
        Self { parent: domain.worker(kind, PARENT), child: domain.worker(kind, CHILD) }
    }

    async fn session(&self) -> (Upstream, Downstream) {
        let accept = async {
            let offer = self.parent.accept().await.unwrap();
            assert_eq!((offer.peer(), offer.image()), (CHILD, IMAGE));
            offer.accept()
        };
        let at = at(&*self.parent);
        let (upstream, downstream) = tokio::join!(self.child.connect(PARENT, &at, IMAGE), accept);
        (upstream.unwrap(), downstream)
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("in time")
}

async fn next(upstream: &mut Upstream) -> Result<FromParent, TransportError> {
    soon(upstream.events.recv()).await.expect("an event")
}

async fn next_block(upstream: &mut Upstream) -> Frame {
    match next(upstream).await.unwrap() {
        FromParent::Block(frame) => frame,
        FromParent::Refused(block) => panic!("{block} was refused"),
    }
}

/// An error with its causes.
fn story(error: &TransportError) -> String {
    let mut causes = vec![error.to_string()];
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    causes.join(": ")
}

async fn requires_end(downstream: &mut Downstream) -> TransportError {
    soon(async {
        loop {
            if let Err(error) = downstream.requests.recv().await.expect("an end") {
                return error;
            }
        }
    })
    .await
}

async fn requests_go_up_and_blocks_come_down(kind: TransportKind) {
    let pair = Pair::new(kind);
    let (mut upstream, mut downstream) = pair.session().await;
    upstream.requests.send(ask(3)).await.unwrap();
    assert_eq!(soon(downstream.requests.recv()).await.unwrap().unwrap(), ask(3));

    let mut lane = downstream.lanes.open(Lane::Push(Stripe(1))).await.unwrap();
    for block in 0..8 {
        let sent = frame(block, Class::Metadata, BLOCK - block as usize);
        lane.send(sent.clone()).await.unwrap();
        let got = next_block(&mut upstream).await;
        assert_eq!((got.block, got.class, got.stored), (sent.block, sent.class, sent.stored));
    }
    downstream.replies.send(ToChild::Refuse { block: BlockIndex(3) }).await.unwrap();
    let event = next(&mut upstream).await.unwrap();
    assert!(matches!(event, FromParent::Refused(BlockIndex(3))), "{event:?}");

    drop(upstream);
    let end = requires_end(&mut downstream).await;
    assert!(matches!(end, TransportError::Ended { peer: CHILD } | TransportError::Lost { .. }), "{end:?}");
}

/// The child does not read until everything is queued, so pushed blocks fill the windows.
async fn a_demand_overtakes_pushes_on_the_same_connection(kind: TransportKind) {
    const PUSHES: u32 = 40;
    let pair = Pair::new(kind);
    let (mut upstream, downstream) = pair.session().await;
    let mut push = downstream.lanes.open(Lane::Push(Stripe(0))).await.unwrap();
    let mut demand = downstream.lanes.open(Lane::Demand).await.unwrap();
    let pushing = tokio::spawn(async move {
        for block in 0..PUSHES {
            push.send(frame(block, Class::Rest, BLOCK)).await.unwrap();
        }
    });
    demand.send(frame(1000, Class::Demand, BLOCK)).await.unwrap();
    let mut before = 0;
    while next_block(&mut upstream).await.class != Class::Demand {
        before += 1;
    }
    assert!(before < 10, "{before} pushed blocks came before the demanded one");
    for _ in before..PUSHES {
        next_block(&mut upstream).await;
    }
    pushing.await.unwrap();
}

async fn a_peer_with_another_number_is_not_believed(kind: TransportKind) {
    let domain = Domain::new();
    let (parent, child) = (domain.worker(kind, PARENT), domain.worker(kind, CHILD));
    let error = soon(child.connect(VmId(9), &at(&*parent), IMAGE)).await.unwrap_err();
    assert!(matches!(error, TransportError::Connect { peer: VmId(9), .. }), "{error}");

    let stranger = Domain::new().worker(kind, CHILD);
    let error = soon(stranger.connect(PARENT, &at(&*parent), IMAGE)).await.unwrap_err();
    assert!(matches!(error, TransportError::Connect { .. }), "{error}");
}

async fn who_is_no_worker_gets_no_session(kind: TransportKind) {
    let domain = Domain::new();
    let parent = domain.worker(kind, PARENT);
    let tenant = bind(kind, domain.tls(Role::Tenant("acme".to_owned())));
    let error = soon(tenant.connect(PARENT, &at(&*parent), IMAGE)).await.unwrap_err();
    assert!(story(&error).contains("not a worker"), "{}", story(&error));
}

async fn a_declined_session_says_why(kind: TransportKind) {
    let pair = Pair::new(kind);
    let decline = async { pair.parent.accept().await.unwrap().decline(Decline::NotFollowed) };
    let at = at(&*pair.parent);
    let (refused, ()) = soon(async { tokio::join!(pair.child.connect(PARENT, &at, IMAGE), decline) }).await;
    let error = refused.unwrap_err();
    assert!(matches!(error, TransportError::Declined { why: Decline::NotFollowed, .. }), "{error}");
}

async fn a_closed_parent_is_noticed(kind: TransportKind) {
    let pair = Pair::new(kind);
    let (mut upstream, downstream) = pair.session().await;
    let mut lane = downstream.lanes.open(Lane::Demand).await.unwrap();
    lane.send(frame(0, Class::Demand, 1000)).await.unwrap();
    next_block(&mut upstream).await;
    pair.parent.close().await;
    let error = next(&mut upstream).await.unwrap_err();
    assert!(matches!(error, TransportError::Lost { peer: PARENT, .. }), "{error}");
    assert!(story(&error).contains("shutting down"), "{}", story(&error));
    assert!(pair.parent.accept().await.is_none());
    let error = lane.send(frame(1, Class::Demand, 1000)).await.unwrap_err();
    assert!(matches!(error, TransportError::Closed | TransportError::Lost { .. }), "{error}");
}

async fn a_closed_child_is_noticed(kind: TransportKind) {
    let pair = Pair::new(kind);
    let (_upstream, mut downstream) = pair.session().await;
    pair.child.close().await;
    let error = requires_end(&mut downstream).await;
    assert!(matches!(error, TransportError::Lost { peer: CHILD, .. }), "{error}");
    let error = soon(pair.child.connect(PARENT, &at(&*pair.parent), IMAGE)).await.unwrap_err();
    assert!(matches!(error, TransportError::Closed), "{error}");
}

/// A host that is killed says nothing; both its parents and its children notice within seconds.
async fn a_silent_peer_is_noticed_by_both_sides(kind: TransportKind) {
    let parent_vanishes = async {
        let pair = Pair::new(kind);
        let (mut upstream, _downstream) = pair.session().await;
        pair.parent.vanish();
        let noticed = timeout(Duration::from_secs(5), upstream.events.recv()).await;
        let error = noticed.expect("within seconds").expect("an event").unwrap_err();
        assert!(matches!(error, TransportError::Lost { peer: PARENT, .. }), "{error}");
    };
    let child_vanishes = async {
        let pair = Pair::new(kind);
        let (_upstream, mut downstream) = pair.session().await;
        pair.child.vanish();
        let noticed = timeout(Duration::from_secs(5), downstream.requests.recv()).await;
        let error = noticed.expect("within seconds").expect("an event").unwrap_err();
        assert!(matches!(error, TransportError::Lost { peer: CHILD, .. }), "{error}");
    };
    tokio::join!(parent_vanishes, child_vanishes);
}

/// Longer than the idle timeout.
async fn a_peer_with_nothing_to_say_is_not_lost(kind: TransportKind) {
    let pair = Pair::new(kind);
    let (mut upstream, mut downstream) = pair.session().await;
    let quiet = Duration::from_millis(3_500);
    assert!(timeout(quiet, upstream.events.recv()).await.is_err(), "nothing happened");
    upstream.requests.send(ask(1)).await.unwrap();
    assert_eq!(soon(downstream.requests.recv()).await.unwrap().unwrap(), ask(1));
}

async fn sessions_share_a_connection_until_the_last_one_ends(kind: TransportKind) {
    let pair = Pair::new(kind);
    let (first, mut first_down) = pair.session().await;
    let (second, _second_down) = pair.session().await;
    assert_eq!(pair.parent.children(), 1);
    drop(first);
    let end = requires_end(&mut first_down).await;
    assert!(matches!(end, TransportError::Ended { .. }), "{end:?}");
    assert_eq!(pair.parent.children(), 1);
    drop(second);
    soon(async {
        while pair.parent.children() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    // And a new one can be made.
    pair.session().await;
}

async fn a_session_that_ends_among_blocks_does_not_disturb_another(kind: TransportKind) {
    let pair = Pair::new(kind);
    let (mut stays, stays_down) = pair.session().await;
    let mut lane = stays_down.lanes.open(Lane::Push(Stripe(0))).await.unwrap();
    for round in 0..5 {
        let (mut goes, goes_down) = pair.session().await;
        let mut other = goes_down.lanes.open(Lane::Push(Stripe(0))).await.unwrap();
        let pushing = tokio::spawn(async move {
            for block in 0.. {
                if other.send(frame(block, Class::Rest, BLOCK)).await.is_err() {
                    return;
                }
            }
        });
        next_block(&mut goes).await;
        // Blocks of it are on their way now.
        drop(goes);
        if round % 2 == 0 {
            drop(goes_down);
        }
        let sending = async {
            for block in 0..4 {
                lane.send(frame(block, Class::Rest, BLOCK)).await.unwrap();
            }
        };
        let taking = async {
            for block in 0..4 {
                assert_eq!(next_block(&mut stays).await.block, BlockIndex(block));
            }
        };
        soon(async { tokio::join!(sending, taking) }).await;
        soon(pushing).await.unwrap();
    }
}

async fn a_child_that_takes_nothing_holds_the_parent_back(kind: TransportKind) {
    let pair = Pair::new(kind);
    let (mut upstream, downstream) = pair.session().await;
    let mut lane = downstream.lanes.open(Lane::Push(Stripe(0))).await.unwrap();
    let (sent_tx, mut sent) = mpsc::unbounded_channel();
    let pushing = tokio::spawn(async move {
        for block in 0..64 {
            lane.send(frame(block, Class::Rest, BLOCK)).await.unwrap();
            sent_tx.send(block).unwrap();
        }
    });
    // The windows, both queues to the drivers and what is between: far less than all.
    let quiet = Duration::from_millis(500);
    let mut before = 0;
    while let Ok(Some(_)) = timeout(quiet, sent.recv()).await {
        before += 1;
    }
    assert!(before < 24, "{before} blocks left for a child that takes none");
    for block in 0..64 {
        assert_eq!(next_block(&mut upstream).await.block, BlockIndex(block));
    }
    soon(pushing).await.unwrap();
}

async fn a_lane_that_is_not_taken_does_not_hold_back_another_session(kind: TransportKind) {
    let pair = Pair::new(kind);
    let (mut stuck, stuck_down) = pair.session().await;
    let mut lane = stuck_down.lanes.open(Lane::Push(Stripe(0))).await.unwrap();
    let (sent_tx, mut sent) = mpsc::unbounded_channel();
    let pushing = tokio::spawn(async move {
        for block in 0..12 {
            lane.send(frame(block, Class::Rest, BLOCK)).await.unwrap();
            sent_tx.send(block).unwrap();
        }
    });
    while let Ok(Some(_)) = timeout(Duration::from_millis(300), sent.recv()).await {}
    let (mut upstream, downstream) = pair.session().await;
    let mut lane = downstream.lanes.open(Lane::Demand).await.unwrap();
    for block in 0..8 {
        soon(lane.send(frame(block, Class::Demand, BLOCK))).await.unwrap();
        assert_eq!(next_block(&mut upstream).await.block, BlockIndex(block));
    }
    for _ in 0..12 {
        next_block(&mut stuck).await;
    }
    soon(pushing).await.unwrap();
}

/// More than the windows of the control lane hold, with a large one among them.
async fn many_messages_arrive_in_order(kind: TransportKind) {
    const MESSAGES: u32 = 50_000;
    let pair = Pair::new(kind);
    let (upstream, mut downstream) = pair.session().await;
    let mut have = ft_core::relay::BlockSet::new(1 << 20);
    have.insert(BlockIndex((1 << 20) - 1));
    let stripes = ft_core::relay::StripeSet(3);
    let subscription = ft_core::relay::Subscription { stripes, of: 2, have };
    let large = ToParent::Subscribe(subscription);
    let sending = async {
        for block in 0..MESSAGES {
            if block % 10_000 == 0 {
                upstream.requests.send(large.clone()).await.unwrap();
            }
            upstream.requests.send(ToParent::Have { block: BlockIndex(block) }).await.unwrap();
        }
    };
    let taking = async {
        for block in 0..MESSAGES {
            if block % 10_000 == 0 {
                assert_eq!(downstream.requests.recv().await.unwrap().unwrap(), large);
            }
            let have = ToParent::Have { block: BlockIndex(block) };
            assert_eq!(downstream.requests.recv().await.unwrap().unwrap(), have);
        }
    };
    soon(async { tokio::join!(sending, taking) }).await;
}

async fn nobody_listens_there(kind: TransportKind) {
    let pair = Pair::new(kind);
    let nowhere = at(&*pair.parent);
    pair.parent.close().await;
    drop(pair.parent);
    let attempt = timeout(Duration::from_secs(12), pair.child.connect(PARENT, &nowhere, IMAGE)).await;
    let error = attempt.expect("a deadline").unwrap_err();
    let expected = matches!(error, TransportError::Connect { .. } | TransportError::Lost { .. });
    assert!(expected, "{error}");
    assert!(error.to_string().contains(&nowhere.address.to_string()), "{error}");
}
