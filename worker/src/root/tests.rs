//! Root file systems of a real image, mounted. They need root and mkfs.erofs, as `cargo xtask test` says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use ft_blockstore::codec::compress_block;
use ft_blockstore::{BlobSource, BlockStore, DirOrigin, Origin, StoreOptions};
use ft_core::manifest::{BlockEntry, Layout, Manifest, Segment, SegmentKind};
use ft_core::relay::Mode;
use ft_core::{BLOCK_SIZE, BlockId, BlockIndex, Digest, VmId};
use ft_identity::{CertificateAuthority, CurrentIdentity, Role};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::*;
use crate::mount::{self, DataSource};
use crate::relay::{BlockMemory, HostLink, LinkLimits, RelayOptions};
use crate::transport::{PeerTls, QuicTransport};

/// A directory without mounts in the end.
struct Area(tempfile::TempDir);

impl Area {
    fn dir(&self, name: &str) -> PathBuf {
        let dir = self.0.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        let cleaned = mount::clean_below(self.0.path());
        if !std::thread::panicking() {
            assert!(cleaned.unwrap() <= 1, "only the shared directory itself is still mounted");
        }
    }
}

/// An image with one file of 3 MB, followed by nobody else.
async fn image(area: &Area) -> Arc<Image> {
    let tree = area.dir("tree");
    fs::write(tree.join("file"), content()).unwrap();
    let (meta, data) = (area.0.path().join("meta.img"), area.0.path().join("data.img"));
    let made = Command::new("mkfs.erofs")
        .args(["--quiet", "--chunksize=4096"])
        .arg(format!("--blobdev={}", data.display()))
        .args([&meta, &tree])
        .status()
        .expect("mkfs.erofs is missing: `cargo xtask test` installs it (Debian: erofs-utils)");
    assert!(made.success());
    let origin = DirOrigin::open(&area.dir("origin")).unwrap();
    let segments = vec![
        segment(SegmentKind::Metadata, &meta, &origin).await,
        segment(SegmentKind::Data, &data, &origin).await,
    ];
    let manifest = Manifest { config: b"{}".to_vec(), segments };
    let store = StoreOptions { dir: area.dir("blocks"), quota_bytes: 1 << 30 };
    let authority = CertificateAuthority::generate("ft.test").unwrap();
    let identity = authority.issue_identity(Role::Vm(1), &[], Duration::from_secs(60)).unwrap();
    let tls = PeerTls {
        roots: authority.trust_roots().unwrap(),
        identity: CurrentIdentity::new(identity).unwrap(),
    };
    let options = RelayOptions {
        me: VmId(1),
        image: Digest::of(&manifest.encode()),
        layout: Arc::new(Layout::new(&manifest)),
        mode: Mode::Lazy,
        store: BlockStore::open(store).unwrap(),
        origin: Arc::new(origin),
        transport: Arc::new(QuicTransport::bind("127.0.0.1:0".parse().unwrap(), tls).unwrap()),
        memory: Arc::new(BlockMemory::new(0)),
        link: HostLink::new(LinkLimits::default()),
        troubles: mpsc::channel(1).0,
    };
    Arc::new(Image::open(&manifest, options, Duration::from_secs(20)).unwrap())
}

fn content() -> Vec<u8> {
    (0u32..).flat_map(u32::to_le_bytes).take(3_000_000).collect()
}

async fn segment(kind: SegmentKind, file: &Path, origin: &DirOrigin) -> Segment {
    let raw = fs::read(file).unwrap();
    let mut pack = Vec::new();
    let blocks = raw.chunks(BLOCK_SIZE as usize).map(|block| {
        let (codec, stored) = compress_block(block);
        pack.extend_from_slice(&stored);
        BlockEntry { id: BlockId::of(&stored), stored_len: u32::try_from(stored.len()).unwrap(), codec }
    });
    let blocks = blocks.collect();
    let digest = Digest::of(&pack);
    origin.put(&digest, BlobSource::Bytes(Bytes::from(pack))).await.unwrap();
    Segment { kind, raw_len: raw.len() as u64, pack: digest, blocks }
}

async fn read(path: PathBuf) -> Vec<u8> {
    tokio::task::spawn_blocking(move || fs::read(path).unwrap()).await.unwrap()
}

/// Two containers share the image's mount, and have writable layers of their own.
async fn two_roots(area: &Area, roots: &Roots, image: &Arc<Image>) {
    let mut made = Vec::new();
    for name in ["c-1", "c-2"] {
        let dir = area.dir("containers").join(name);
        fs::create_dir_all(&dir).unwrap();
        let root = roots.make(image, &dir, name).await.unwrap();
        assert!(read(root.path().join("file")).await == content());
        fs::write(root.path().join(name), "own").unwrap();
        made.push(root);
    }
    assert!(!made[1].path().join("c-1").exists());
    for root in made {
        roots.remove(root).await.unwrap();
    }
    assert_eq!(fs::read_dir(area.dir("containers")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_mounted_lazily_and_a_whole_one_straight() {
    let area = Area(tempfile::tempdir().unwrap());
    let image = image(&area).await;
    let base = area.dir("mnt");
    let mounts = MountRoots::start(&base, Handle::current(), Duration::from_secs(20)).unwrap();
    let roots = Roots::Mounts(mounts);

    assert_eq!(image.whole_data(), None);
    two_roots(&area, &roots, &image).await;
    assert_eq!(
        image.status().touched_blocks,
        image.status().total_blocks,
        "everything was read through FUSE"
    );

    image.everything().await.unwrap();
    assert!(image.whole_data().is_some());
    two_roots(&area, &roots, &image).await;

    let served = fs::read_dir(base.join("data")).unwrap().count();
    assert_eq!(served, 0, "nothing is served any more");
    roots.shutdown();
    image.stop().await;
}

/// Reads 4 KiB at `offset` of a file past the page cache's read-ahead.
async fn read_at(path: PathBuf, offset: u64) {
    let read = tokio::task::spawn_blocking(move || {
        let file = fs::File::open(path).unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random).unwrap();
        let mut bytes = [0; 4096];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, offset).unwrap();
        assert!(content()[usize::try_from(offset).unwrap()..].starts_with(&bytes));
    });
    read.await.unwrap();
}

/// The first container of a mount is recorded, in the order of its reads; later ones are not, as the kernel has
/// what it read.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_after_a_mount_is_recorded() {
    let area = Area(tempfile::tempdir().unwrap());
    let image = image(&area).await;
    let mounts = MountRoots::start(&area.dir("mnt"), Handle::current(), Duration::from_secs(20)).unwrap();
    let roots = Roots::Mounts(mounts);
    for round in ["1", "2"] {
        let make = async |name: &str| {
            let name = format!("{name}-{round}");
            let dir = area.dir("containers").join(&name);
            fs::create_dir_all(&dir).unwrap();
            roots.make(&image, &dir, &name).await.unwrap()
        };
        let mut first = make("c-1").await;
        let mut second = make("c-2").await;
        let recording = first.take_recording().unwrap();
        assert!(second.take_recording().is_none());
        let block = u64::from(BLOCK_SIZE);
        for nth in [4, 0, 2, 4] {
            read_at(first.path().join("file"), nth * block + 8192).await;
        }
        let data = image.status().total_blocks - 6;
        let expected = [4, 0, 2].map(|nth| BlockIndex(data + nth));
        assert_eq!(recording.blocks(), expected);
        drop(recording);
        for root in [first, second] {
            roots.remove(root).await.unwrap();
        }
    }
    roots.shutdown();
    image.stop().await;
}

/// Whoever reads block after block finds the next ones here; they do not count as read.
#[tokio::test(flavor = "multi_thread")]
async fn sequential_reads_are_read_ahead_of() {
    let area = Area(tempfile::tempdir().unwrap());
    let image = image(&area).await;
    let block = u64::from(BLOCK_SIZE);
    for nth in 0..3 {
        image.read(nth * block, 4096).await.unwrap();
    }
    let ahead = async {
        while image.status().stored_blocks <= 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ahead).await.expect("nothing was read ahead");
    assert_eq!(image.status().touched_blocks, 3);
    image.stop().await;
}
