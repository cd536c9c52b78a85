//! Everything works.

use super::*;
use crate::transport::testing::over_both;

over_both!(
    a_full_single_tree_reaches_everybody,
    a_full_pair_of_trees_reaches_everybody,
    two_vms_are_enough,
    a_lazy_single_tree_brings_what_is_read,
    a_lazy_pair_of_trees_brings_what_is_read,
);

/// Every VM of a full tree ends with every block, and the origin is read once.
async fn full(kind: TransportKind, shape: Shape, vms: u64) {
    let picture = Picture::new(24).await;
    let swarm = Swarm::new(&Plan::new(kind, &picture, shape, Mode::Full, vms)).await;
    swarm.connect().await;
    for node in &swarm.nodes {
        node.complete().await;
        node.check(&picture, picture.all()).await;
    }
    // Where seven VMs share a busy machine, parents may seem slow for a moment; then the origin is asked too.
    let once = picture.bytes();
    let origin = swarm.origin_bytes();
    assert!((once..=once * 3 / 2).contains(&origin), "the origin gave {origin} bytes of {once}");
    let received: u64 = swarm.nodes.iter().map(|node| node.relay.traffic().peer_bytes_in).sum();
    let all = origin + received;
    assert!((once * vms..=once * vms * 5 / 4).contains(&all), "{vms} VMs received {all} bytes, each {once}");
    join_all(swarm.nodes.iter().map(Node::stop)).await;
}

async fn a_full_single_tree_reaches_everybody(kind: TransportKind) {
    full(kind, Shape::Avl, 7).await;
}

async fn a_full_pair_of_trees_reaches_everybody(kind: TransportKind) {
    full(kind, Shape::Paired, 7).await;
}

async fn two_vms_are_enough(kind: TransportKind) {
    full(kind, Shape::Paired, 2).await;
}

/// Lazy VMs get the metadata and what any of them reads, and the origin gives each block once.
async fn lazy(kind: TransportKind, shape: Shape) {
    let picture = Picture::new(40).await;
    let swarm = Swarm::new(&Plan::new(kind, &picture, shape, Mode::Lazy, 7)).await;
    swarm.connect().await;
    let metadata = 0..2;
    let read = metadata.clone().chain([5, 6, 17, 30, 41]).map(BlockIndex);
    for node in &swarm.nodes {
        node.check(&picture, metadata.clone().map(BlockIndex)).await;
    }
    // All at once, as in a burst of cold starts.
    join_all(swarm.nodes.iter().map(|node| node.check(&picture, read.clone()))).await;
    let wanted: u64 = read.map(|block| picture.blocks[block.0 as usize].len() as u64).sum();
    let traffics: Vec<_> = swarm.nodes.iter().map(|node| node.relay.traffic()).collect();
    // On a busy machine a parent may be late, and then the origin is asked too.
    let again: u64 = traffics.iter().map(|traffic| traffic.hedges + traffic.late_requests).sum();
    let most = wanted + again * u64::from(BLOCK_SIZE);
    let left = swarm.origin_bytes();
    assert!(
        (wanted..=most).contains(&left),
        "what nobody reads stays in the origin, and the rest leaves it once: {left} of {wanted}, {traffics:?}"
    );
    assert!(swarm.nodes.iter().all(|node| node.relay.complete_since().is_none()));
    join_all(swarm.nodes.iter().map(Node::stop)).await;
}

async fn a_lazy_single_tree_brings_what_is_read(kind: TransportKind) {
    lazy(kind, Shape::Avl).await;
}

async fn a_lazy_pair_of_trees_brings_what_is_read(kind: TransportKind) {
    lazy(kind, Shape::Paired).await;
}
