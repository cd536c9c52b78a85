//! Limits hold, and can be changed while blocks flow.

use std::time::Instant;

use super::*;

/// Bytes per second: a picture of 4.5 MiB, 1 MiB of it at once, takes 0.9 s.
const RATE: u64 = 4 << 20;

/// How long it takes until each of two VMs has every block.
async fn time(picture: &Picture, link: LinkLimits) -> Duration {
    let plan = Plan { link, ..Plan::new(TransportKind::Tcp, picture, Shape::Avl, Mode::Full, 2) };
    let swarm = Swarm::new(&plan).await;
    let start = Instant::now();
    swarm.connect().await;
    for node in &swarm.nodes {
        node.complete().await;
    }
    start.elapsed()
}

fn least(picture: &Picture) -> Duration {
    Duration::from_millis((picture.bytes() - (2 * u64::from(BLOCK_SIZE))) * 1_000 / RATE)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_sent_than_the_limit_allows() {
    let picture = Picture::new(8).await;
    let took = time(&picture, LinkLimits { upload_bytes_per_s: RATE, download_bytes_per_s: 0 }).await;
    assert!(took >= least(&picture), "{took:?} for {} bytes", picture.bytes());
}

/// From the origin and from a parent alike: the second VM pays for a block after it has come, so the last one
/// is not paid for yet.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_received_than_the_limit_allows() {
    let picture = Picture::new(8).await;
    let took = time(&picture, LinkLimits { upload_bytes_per_s: 0, download_bytes_per_s: RATE }).await;
    assert!(took >= least(&picture), "{took:?} for {} bytes", picture.bytes());
}

/// A limit under which nothing would ever come, lifted.
#[tokio::test(flavor = "multi_thread")]
async fn a_lifted_limit_lets_everything_through() {
    let picture = Picture::new(8).await;
    let link = LinkLimits { upload_bytes_per_s: 1, download_bytes_per_s: 0 };
    let plan = Plan { link, ..Plan::new(TransportKind::Tcp, &picture, Shape::Avl, Mode::Full, 2) };
    let swarm = Swarm::new(&plan).await;
    swarm.connect().await;
    swarm.nodes[0].complete().await;
    swarm.nodes[1].check(&picture, (0..2).map(BlockIndex)).await;
    swarm.nodes[0].link.set_limits(LinkLimits::default());
    swarm.nodes[1].complete().await;
    assert!(swarm.nodes[0].relay.traffic().peer_bytes_out > 0);
}

/// Readers that had to wait are counted, those who found their block here are not.
#[tokio::test(flavor = "multi_thread")]
async fn waits_of_readers_are_counted() {
    let picture = Picture::new(2).await;
    let swarm = Swarm::new(&Plan::new(TransportKind::Tcp, &picture, Shape::Avl, Mode::Lazy, 1)).await;
    swarm.connect().await;
    let node = &swarm.nodes[0];
    let last = BlockIndex(3);
    for _ in 0..3 {
        node.check(&picture, std::iter::once(last)).await;
    }
    assert_eq!(node.relay.demand_waits().iter().sum::<u64>(), 1);
}

/// A read of the origin that waits for its turn is not begun once the block has come from elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn an_origin_read_that_was_overtaken_is_not_begun() {
    let picture = Picture::new(4).await;
    let link = LinkLimits { upload_bytes_per_s: 0, download_bytes_per_s: 1 };
    let plan = Plan { link, ..Plan::new(TransportKind::Tcp, &picture, Shape::Avl, Mode::Lazy, 1) };
    let swarm = Swarm::new(&plan).await;
    let node = &swarm.nodes[0];
    // The burst: two blocks, after which nothing comes.
    node.check(&picture, (0..2).map(BlockIndex)).await;
    let block = BlockIndex(2);
    let (relay, waits) = (Arc::clone(&node.relay), Arc::clone(&node.relay));
    let reader = tokio::spawn(async move { waits.require(block).await });
    relay.env.ingest(block, picture.blocks[2].clone(), Source::Peer(VmId(9))).await;
    timeout(PATIENCE, reader).await.unwrap().unwrap().unwrap();
    node.link.set_limits(LinkLimits::default());
    node.check(&picture, std::iter::once(BlockIndex(3))).await;
    let read = (0..4).filter(|index| *index != 2).map(|index| picture.blocks[index].len() as u64);
    assert_eq!(node.relay.traffic().origin_bytes, read.sum::<u64>());
}
