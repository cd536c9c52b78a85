//! Data planes of several workers: real endpoints on loopback, real stores, a real origin.

use std::time::Duration;

use ft_blockstore::{BlobSource, DirOrigin, OriginError, StoreOptions, codec::compress_block};
use ft_core::manifest::{BlockEntry, Manifest, Segment, SegmentKind};
use ft_core::relay::{Source, StripeEdges};
use ft_core::tree::{self, Shape};
use ft_core::{BLOCK_SIZE, BlockId, Stripe};
use ft_identity::{CertificateAuthority, CurrentIdentity, Role};
use futures_util::future::join_all;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::transport::testing::{Backend, at, bind};
use crate::transport::{PeerTls, TransportKind};

mod faults;
mod limits;
mod swarm;

/// Far beyond what anything here takes; a test that meets it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// An image of blocks that do not compress, in an origin of its own.
struct Picture {
    dir: tempfile::TempDir,
    manifest: Manifest,
    digest: Digest,
    /// Stored bytes by index.
    blocks: Vec<Bytes>,
}

impl Picture {
    /// Two metadata blocks, and `data` data blocks, the last of them short.
    async fn new(data: u32) -> Self {
        let block = |seed: u32| noise(seed, BLOCK_SIZE as usize);
        let metadata: Vec<_> = (0..2).map(block).collect();
        let mut files: Vec<_> = (2..2 + data - 1).map(block).collect();
        files.push(noise(99, 4096));
        let segments = vec![segment(SegmentKind::Metadata, &metadata), segment(SegmentKind::Data, &files)];
        let manifest = Manifest { config: b"{}".to_vec(), segments };
        let dir = tempfile::tempdir().unwrap();
        let origin = DirOrigin::open(dir.path()).unwrap();
        for (segment, blocks) in manifest.segments.iter().zip([&metadata, &files]) {
            let pack = Bytes::from(blocks.concat());
            origin.put(&segment.pack, BlobSource::Bytes(pack)).await.unwrap();
        }
        let digest = Digest::of(&manifest.encode());
        Self { dir, digest, manifest, blocks: metadata.into_iter().chain(files).collect() }
    }

    fn layout(&self) -> Arc<Layout> {
        Arc::new(Layout::new(&self.manifest))
    }

    fn bytes(&self) -> u64 {
        self.blocks.iter().map(|block| block.len() as u64).sum()
    }

    fn all(&self) -> impl Iterator<Item = BlockIndex> + use<> {
        (0..u32::try_from(self.blocks.len()).unwrap()).map(BlockIndex)
    }
}

/// Bytes that LZ4 cannot shrink, the same for the same seed.
fn noise(seed: u32, len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

fn segment(kind: SegmentKind, blocks: &[Bytes]) -> Segment {
    let entry = |block: &Bytes| {
        let (codec, stored) = compress_block(block);
        assert_eq!(stored, *block, "noise is stored as it is");
        BlockEntry { id: BlockId::of(block), stored_len: u32::try_from(block.len()).unwrap(), codec }
    };
    Segment {
        kind,
        raw_len: blocks.iter().map(|block| block.len() as u64).sum(),
        pack: Digest::of(&blocks.concat()),
        blocks: blocks.iter().map(entry).collect(),
    }
}

/// One VM's data plane.
struct Node {
    vm: VmId,
    relay: Arc<Relay>,
    transport: Arc<dyn Backend>,
    store: Arc<BlockStore>,
    troubles: mpsc::Receiver<PeerTrouble>,
    /// Hands sessions to the relay.
    serving: AbortOnDropHandle<()>,
    link: Arc<HostLink>,
    dir: tempfile::TempDir,
}

/// VMs with one image, in one tree.
struct Swarm {
    nodes: Vec<Node>,
    tree: Box<dyn tree::FunctionTree + Send>,
    addresses: Addresses,
}

#[derive(Clone, Copy)]
struct Plan<'a> {
    kind: TransportKind,
    picture: &'a Picture,
    shape: Shape,
    mode: Mode,
    vms: u64,
    /// Bytes of recent blocks in memory.
    recent: usize,
    link: LinkLimits,
}

impl<'a> Plan<'a> {
    fn new(kind: TransportKind, picture: &'a Picture, shape: Shape, mode: Mode, vms: u64) -> Self {
        Self { kind, picture, shape, mode, vms, recent: 4 << 20, link: LinkLimits::default() }
    }
}

impl Swarm {
    /// Every node runs; nobody knows its edges yet.
    async fn new(plan: &Plan<'_>) -> Self {
        let authority = CertificateAuthority::generate("ft.test").unwrap();
        let mut tree = tree::new(plan.shape, Epoch::first(1));
        let mut nodes = Vec::new();
        for vm in (1..=plan.vms).map(VmId) {
            tree.insert(vm).unwrap();
            nodes.push(Node::start(vm, plan, &authority));
        }
        let addresses = nodes.iter().map(|node| (node.vm, at(&*node.transport))).collect();
        Self { nodes, tree, addresses }
    }

    /// Tells every node its edges.
    async fn connect(&self) {
        for node in &self.nodes {
            node.relay.follow(self.edges(node.vm), self.addresses.clone()).await;
        }
    }

    fn edges(&self, vm: VmId) -> Edges {
        let stripes = (0..self.tree.stripes()).map(Stripe).map(|stripe| {
            let parent = self.tree.parent_of(vm, stripe);
            StripeEdges {
                parent,
                grandparent: parent.and_then(|parent| self.tree.parent_of(parent, stripe)),
                children: self.tree.children_of(vm, stripe).into_iter().flatten().collect(),
            }
        });
        Edges {
            epoch: self.tree.epoch(),
            vms: u32::try_from(self.tree.len()).unwrap_or(u32::MAX),
            stripes: stripes.collect(),
        }
    }

    fn node(&self, vm: VmId) -> &Node {
        self.nodes.iter().find(|node| node.vm == vm).unwrap()
    }

    /// Takes a VM out of the tree, as the manager does when it is lost, and tells the others.
    async fn reshape_without(&mut self, vm: VmId) {
        self.tree.remove(vm).unwrap();
        for node in self.nodes.iter().filter(|node| node.vm != vm) {
            node.relay.follow(self.edges(node.vm), self.addresses.clone()).await;
        }
    }

    fn origin_bytes(&self) -> u64 {
        self.nodes.iter().map(|node| node.relay.traffic().origin_bytes).sum()
    }
}

impl Node {
    fn start(vm: VmId, plan: &Plan<'_>, authority: &CertificateAuthority) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions { dir: dir.path().join("blocks"), quota_bytes: 1 << 30 };
        let store = BlockStore::open(options).unwrap();
        let identity = authority.issue_identity(Role::Vm(vm.0), &[], Duration::from_secs(600)).unwrap();
        let tls = PeerTls {
            roots: authority.trust_roots().unwrap(),
            identity: CurrentIdentity::new(identity).unwrap(),
        };
        let transport = bind(plan.kind, tls);
        let (troubles_tx, troubles) = mpsc::channel(16);
        let link = HostLink::new(plan.link);
        let options = RelayOptions {
            me: vm,
            image: plan.picture.digest,
            layout: plan.picture.layout(),
            mode: plan.mode,
            store: Arc::clone(&store),
            origin: Arc::new(DirOrigin::open(plan.picture.dir.path()).unwrap()),
            transport: Arc::<dyn Backend>::clone(&transport),
            memory: Arc::new(BlockMemory::new(plan.recent)),
            link: Arc::clone(&link),
            troubles: troubles_tx,
        };
        let relay = Arc::new(Relay::start(options, &BlockSet::new(plan.picture.layout().len())));
        let serving = AbortOnDropHandle::new(tokio::spawn(serve(Arc::clone(&transport), Arc::clone(&relay))));
        Self { vm, relay, transport, store, troubles, serving, link, dir }
    }

    /// Requires blocks and compares them with the image.
    async fn check(&self, picture: &Picture, blocks: impl Iterator<Item = BlockIndex>) {
        join_all(blocks.map(|block| async move {
            let required = timeout(PATIENCE, self.relay.require(block)).await;
            required.unwrap_or_else(|_| panic!("{} waits for block {block}", self.vm)).unwrap();
            let bytes = self.relay.bytes(block).await.unwrap();
            assert!(bytes == picture.blocks[block.0 as usize], "{}: block {block} differs", self.vm);
        }))
        .await;
    }

    async fn complete(&self) {
        let complete = timeout(PATIENCE, self.relay.completion()).await;
        complete.unwrap_or_else(|_| panic!("{} has {:?}", self.vm, self.relay.holding()));
    }

    async fn stop(&self) {
        self.relay.stop().await;
        self.transport.close().await;
    }
}

/// What the worker does for all images, for one.
async fn serve(transport: Arc<dyn Backend>, relay: Arc<Relay>) {
    while let Some(offer) = transport.accept().await {
        relay.offer(offer).await;
    }
}
