//! Things break, or lie.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::transport::testing::over_both;

over_both!(
    a_damaged_block_on_disk_is_not_relayed,
    a_damaged_block_in_the_origin_is_an_error_that_says_so,
    an_origin_without_the_pack_is_named,
    a_lying_parent_is_not_believed,
    a_lost_root_of_a_single_tree_stops_nobody,
    a_lost_interior_vm_stops_nobody,
    a_lost_root_of_a_pair_stops_nobody,
    a_lost_leaf_stops_nobody,
    a_parent_that_falls_silent_is_noticed_in_seconds,
    a_lost_parent_is_reported_and_got_around_without_the_manager,
    what_is_stored_is_not_fetched_again,
);

/// Overwrites a byte in the middle of every file below `dir` that has this content.
fn damage(dir: &Path, content: &[u8]) {
    let mut damaged = 0;
    let mut dirs: Vec<PathBuf> = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if fs::read(&path).unwrap() == content {
                let mut bytes = content.to_vec();
                bytes[content.len() / 2] ^= 1;
                fs::write(&path, bytes).unwrap();
                damaged += 1;
            }
        }
    }
    assert!(damaged > 0, "nothing to damage");
}

/// A root whose store was damaged finds out when it is asked, gets the block anew, and nobody reads a wrong
/// byte.
async fn a_damaged_block_on_disk_is_not_relayed(kind: TransportKind) {
    let picture = Picture::new(4).await;
    // Recent blocks in memory would answer for the disk.
    // With three VMs, whoever is no root asks its parent first.
    let plan = Plan { recent: 0, ..Plan::new(kind, &picture, Shape::Avl, Mode::Lazy, 3) };
    let swarm = Swarm::new(&plan).await;
    let (root, leaf) = (&swarm.nodes[0], &swarm.nodes[1]);
    root.relay.follow(swarm.edges(root.vm), swarm.addresses.clone()).await;
    root.check(&picture, picture.all()).await;
    let block = BlockIndex(3);
    damage(root.dir.path(), &picture.blocks[3]);
    leaf.relay.follow(swarm.edges(leaf.vm), swarm.addresses.clone()).await;
    leaf.check(&picture, std::iter::once(block)).await;
    assert_eq!(leaf.relay.traffic().corrupt_blocks, 0, "the wrong bytes went nowhere");
    root.check(&picture, std::iter::once(block)).await;
}

/// An origin whose pack was damaged: the block is dropped, counted, and whoever reads it is told.
async fn a_damaged_block_in_the_origin_is_an_error_that_says_so(kind: TransportKind) {
    let picture = Picture::new(4).await;
    let pack = picture.manifest.segments[1].pack;
    let file = picture.dir.path().join("blobs/sha256").join(pack.hex().to_string());
    let mut bytes = fs::read(&file).unwrap();
    bytes[BLOCK_SIZE as usize + 5] ^= 1;
    fs::write(&file, bytes).unwrap();
    let plan = Plan::new(kind, &picture, Shape::Avl, Mode::Lazy, 3);
    let swarm = Swarm::new(&plan).await;
    swarm.connect().await;
    let damaged = BlockIndex(3);
    for node in &swarm.nodes {
        let error = timeout(PATIENCE, node.relay.require(damaged)).await.unwrap().unwrap_err().to_string();
        assert!(error.contains("block 3") && error.contains("the origin gave wrong bytes"), "{error}");
        assert!(node.relay.bytes(damaged).await.is_none());
        node.check(&picture, [0, 1, 2, 4, 5].map(BlockIndex).into_iter()).await;
    }
    assert!(swarm.nodes[0].relay.traffic().corrupt_blocks > 0);
}

/// An origin that is gone: the error names what it said.
async fn an_origin_without_the_pack_is_named(kind: TransportKind) {
    let picture = Picture::new(2).await;
    fs::remove_dir_all(picture.dir.path().join("blobs")).unwrap();
    let plan = Plan::new(kind, &picture, Shape::Avl, Mode::Lazy, 1);
    let swarm = Swarm::new(&plan).await;
    swarm.connect().await;
    let error = timeout(PATIENCE, swarm.nodes[0].relay.require(BlockIndex(0))).await.unwrap().unwrap_err();
    let missing = OriginError::NoObject {
        origin: format!("dir:{}", picture.dir.path().display()),
        object: picture.manifest.segments[0].pack,
    };
    assert!(error.to_string().contains(&missing.to_string()), "{error}");
}

/// A parent that sends wrong bytes: they are dropped and counted, and the block comes from elsewhere.
async fn a_lying_parent_is_not_believed(kind: TransportKind) {
    use crate::transport::Frame;
    use crate::wire::{Lane, ToParent};

    let picture = Picture::new(4).await;
    let plan = Plan::new(kind, &picture, Shape::Avl, Mode::Lazy, 3);
    let swarm = Swarm::new(&plan).await;
    let (liar, victim) = (&swarm.nodes[0], &swarm.nodes[1]);
    // This test answers in the place of the liar's relay.
    liar.serving.abort();
    let lie = async {
        loop {
            let mut session = liar.transport.accept().await.unwrap().accept();
            let mut lane = session.lanes.open(Lane::Demand).await.unwrap();
            while let Some(Ok(request)) = session.requests.recv().await {
                let ToParent::Ask { block, ask } = request else { continue };
                let len = picture.blocks[block.0 as usize].len();
                let frame = Frame { block, class: ask.class, stored: noise(12345, len) };
                if lane.send(frame).await.is_err() {
                    break;
                }
            }
        }
    };
    victim.relay.follow(swarm.edges(victim.vm), swarm.addresses.clone()).await;
    tokio::select! {
        () = lie => {}
        () = victim.check(&picture, picture.all()) => {}
    }
    let traffic = victim.relay.traffic();
    assert!(traffic.corrupt_blocks > 0, "{traffic:?}");
    assert_eq!(traffic.origin_bytes, picture.bytes(), "everything came from the origin in the end");
}

/// VMs vanish while blocks flow: a leaf, an interior one, a root. The others end with every block.
async fn lose(kind: TransportKind, shape: Shape, victim: VmId) {
    let picture = Picture::new(48).await;
    let mut swarm = Swarm::new(&Plan::new(kind, &picture, shape, Mode::Full, 7)).await;
    swarm.connect().await;
    // Some blocks have come, many have not.
    swarm.node(victim).check(&picture, (0..2).map(BlockIndex)).await;
    swarm.node(victim).stop().await;
    swarm.reshape_without(victim).await;
    for node in swarm.nodes.iter().filter(|node| node.vm != victim) {
        node.complete().await;
        node.check(&picture, picture.all()).await;
    }
}

async fn a_lost_root_of_a_single_tree_stops_nobody(kind: TransportKind) {
    lose(kind, Shape::Avl, VmId(1)).await;
}

async fn a_lost_interior_vm_stops_nobody(kind: TransportKind) {
    lose(kind, Shape::Avl, VmId(2)).await;
}

async fn a_lost_root_of_a_pair_stops_nobody(kind: TransportKind) {
    lose(kind, Shape::Paired, VmId(1)).await;
}

async fn a_lost_leaf_stops_nobody(kind: TransportKind) {
    lose(kind, Shape::Paired, VmId(7)).await;
}

/// A killed VM says nothing: its children notice within seconds, and go on without the manager.
async fn a_parent_that_falls_silent_is_noticed_in_seconds(kind: TransportKind) {
    let picture = Picture::new(16).await;
    let plan = Plan::new(kind, &picture, Shape::Avl, Mode::Lazy, 3);
    let mut swarm = Swarm::new(&plan).await;
    swarm.connect().await;
    swarm.nodes[1].check(&picture, (0..2).map(BlockIndex)).await;
    swarm.nodes[0].transport.vanish();
    let noticed = timeout(Duration::from_secs(10), swarm.nodes[1].troubles.recv()).await;
    assert_eq!(noticed.unwrap().unwrap().peer, VmId(1));
    swarm.nodes[1].check(&picture, picture.all()).await;
}

/// Without a word from the manager: the other parent, the grandparent and the origin serve.
async fn a_lost_parent_is_reported_and_got_around_without_the_manager(kind: TransportKind) {
    let picture = Picture::new(16).await;
    let plan = Plan::new(kind, &picture, Shape::Avl, Mode::Lazy, 3);
    let mut swarm = Swarm::new(&plan).await;
    swarm.connect().await;
    swarm.nodes[2].check(&picture, (0..2).map(BlockIndex)).await;
    swarm.nodes[0].stop().await;
    swarm.nodes[2].check(&picture, picture.all()).await;
    let lost = timeout(PATIENCE, swarm.nodes[2].troubles.recv()).await.unwrap().unwrap();
    assert_eq!((lost.peer, lost.image), (VmId(1), picture.digest));
}

/// A worker that comes back with the blocks it had fetches only the others.
async fn what_is_stored_is_not_fetched_again(kind: TransportKind) {
    let picture = Picture::new(8).await;
    let plan = Plan::new(kind, &picture, Shape::Avl, Mode::Full, 1);
    let swarm = Swarm::new(&plan).await;
    let node = &swarm.nodes[0];
    let mut stored = BlockSet::new(picture.layout().len());
    for block in picture.all().take(6) {
        node.store
            .put(&BlockId::of(&picture.blocks[block.0 as usize]), &picture.blocks[block.0 as usize])
            .unwrap();
        stored.insert(block);
    }
    let rest: u64 = picture.blocks[6..].iter().map(|block| block.len() as u64).sum();
    let (troubles, _) = mpsc::channel(1);
    let options = RelayOptions {
        me: node.vm,
        image: picture.digest,
        layout: picture.layout(),
        mode: Mode::Full,
        store: Arc::clone(&node.store),
        origin: Arc::new(DirOrigin::open(picture.dir.path()).unwrap()),
        transport: Arc::<dyn Backend>::clone(&node.transport),
        memory: Arc::new(BlockMemory::new(0)),
        link: HostLink::new(LinkLimits::default()),
        troubles,
    };
    let relay = Relay::start(options, &stored);
    relay.follow(swarm.edges(node.vm), Addresses::new()).await;
    timeout(PATIENCE, relay.completion()).await.unwrap();
    assert_eq!(relay.traffic().origin_bytes, rest);
}
