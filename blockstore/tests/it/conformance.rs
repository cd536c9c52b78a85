//! One suite for all origins: what holds for one back end holds for the others.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use ft_blockstore::oci::RegistryOptions;
use ft_blockstore::server::ServerLimits;
use ft_blockstore::{
    BlobSource, DirOrigin, HttpOrigin, Object, Origin, OriginContext, OriginError, RefName, RegistryOrigin,
    TransferLimits, fetch_blocks, open_origin, read_object,
};
use ft_core::{BlockId, BlockIndex, Digest};
use ft_identity::Role;
use futures_util::StreamExt;

use crate::served::Served;
use crate::tools::{PASSWORD, Registry, Sample, StaticServer, noise};

#[tokio::test]
async fn a_directory_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let origin = DirOrigin::open(dir.path()).unwrap();
    conforms(&origin).await;
    mends_damage(&origin, &origin).await;
}

#[tokio::test]
async fn our_server_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path(), ServerLimits::default()).await;
    let origin = served.origin(Role::Tenant("acme".to_owned()));
    conforms(&origin).await;
    mends_damage(&origin, &DirOrigin::open(dir.path()).unwrap()).await;
    served.stop().await;
}

#[tokio::test]
async fn a_registry_conforms() {
    let registry = Registry::with_password();
    let reference = format!("{}/functions/images", registry.host).parse().unwrap();
    let docker_config = Some(registry.docker_config(PASSWORD));
    let options = RegistryOptions { docker_config, ..RegistryOptions::default() };
    conforms(&RegistryOrigin::new(&reference, &options).unwrap()).await;
}

/// A server of plain files cannot be written to, but everything that reads works.
#[tokio::test]
async fn a_static_server_over_a_layout_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let layout = DirOrigin::open(dir.path()).unwrap();
    let image = Sample::new(1, 3);
    image.store(&layout).await;
    layout.publish(&name("py"), &image.objects()).await.unwrap();
    let server = StaticServer::start(dir.path());
    let origin = open_origin(&server.url, &OriginContext::default()).unwrap();
    reads(&*origin, &image).await;
    assert_eq!(origin.resolve(&name("py")).await, Ok(Some(image.objects())));
    assert_eq!(origin.resolve(&name("other")).await, Ok(None));
    assert!(origin.put(&Digest::of(b"x"), BlobSource::Bytes(Bytes::from_static(b"x"))).await.is_err());
}

async fn conforms(origin: &dyn Origin) {
    stores_objects(origin).await;
    refuses_wrong_bytes(origin).await;
    let image = Sample::new(1, 5);
    publishes(origin, &image).await;
    reads(origin, &image).await;
    takes_the_same_object_from_many(origin).await;
}

fn name(text: &str) -> RefName {
    text.parse().unwrap()
}

async fn stores_objects(origin: &dyn Origin) {
    let data = noise(7, 3 << 20);
    let object = Digest::of(&data);
    assert_eq!(origin.size(&object).await, Ok(None));
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&data).unwrap();
    assert_eq!(origin.put(&object, BlobSource::File(Arc::new(file))).await, Ok(true));
    assert_eq!(origin.put(&object, BlobSource::Bytes(data.clone())).await, Ok(false));
    assert_eq!(origin.size(&object).await, Ok(Some(data.len() as u64)));
    assert!(read_object(origin, &object, 3 << 20).await.unwrap() == data, "the object differs");
    let limited = read_object(origin, &object, (3 << 20) - 1).await;
    assert!(matches!(limited, Err(OriginError::TooLarge { .. })), "{limited:?}");
    let missing = Digest::of(b"nowhere");
    assert!(matches!(read_object(origin, &missing, 9).await, Err(OriginError::NoObject { .. })));
    let unreadable = BlobSource::File(Arc::new(std::fs::File::open("/").unwrap()));
    assert!(origin.put(&missing, unreadable).await.is_err());
}

/// What `layout` holds damaged is replaced when it is stored again through `origin`.
async fn mends_damage(origin: &dyn Origin, layout: &DirOrigin) {
    let data = noise(21, 1 << 20);
    let object = Digest::of(&data);
    let store = async || origin.put(&object, BlobSource::Bytes(data.clone())).await;
    assert_eq!(store().await, Ok(true));
    let mut damaged = data.to_vec();
    damaged[700_000] ^= 1;
    std::fs::write(layout.object_path(&object), damaged).unwrap();
    assert_eq!(store().await, Ok(true));
    assert!(read_object(origin, &object, 1 << 20).await == Ok(data.clone()), "the object is not mended");
    assert_eq!(store().await, Ok(false));
}

async fn refuses_wrong_bytes(origin: &dyn Origin) {
    let object = Digest::of(b"right");
    let refused = origin.put(&object, BlobSource::Bytes(Bytes::from_static(b"wrong"))).await;
    assert!(refused.is_err());
    assert_eq!(origin.size(&object).await, Ok(None));
}

async fn publishes(origin: &dyn Origin, image: &Sample) {
    assert_eq!(origin.resolve(&name("py")).await, Ok(None));
    assert!(origin.publish(&name("py"), &image.objects()).await.is_err(), "its objects are not there yet");
    assert_eq!(origin.resolve(&name("py")).await, Ok(None));
    image.store(origin).await;
    origin.publish(&name("py"), &image.objects()).await.unwrap();
    assert_eq!(origin.resolve(&name("py")).await, Ok(Some(image.objects())));

    let newer = Sample::new(2, 1);
    newer.store(origin).await;
    origin.publish(&name("py-2"), &newer.objects()).await.unwrap();
    origin.publish(&name("py"), &newer.objects()).await.unwrap();
    assert_eq!(origin.resolve(&name("py")).await, Ok(Some(newer.objects())));
    let Object { digest, size } = newer.objects().manifest;
    assert_eq!(read_object(origin, &digest, size).await, Ok(newer.encoded.clone()));
}

async fn reads(origin: &dyn Origin, image: &Sample) {
    let pack = &image.packs[1];
    let object = Digest::of(pack);
    let len = pack.len();
    // Not 0..1: busybox' server takes `bytes=0-0` for the whole file.
    for range in [0..2, 0..len, 5..5, len - 1..len, 1_000..400_000, 17..len - 17] {
        let bytes = origin.read(&object, range.start as u64..range.end as u64).await.unwrap();
        assert!(bytes == pack[range.clone()], "{range:?} differs");
    }
    let len = len as u64;
    let error = origin.read(&object, len - 10..len + 1).await.unwrap_err().to_string();
    for part in [object.to_string(), (len - 10).to_string(), (len + 1).to_string()] {
        assert!(error.contains(&part), "{part} is not in {error:?}");
    }
    let missing = origin.read(&Digest::of(b"nowhere"), 0..1).await;
    assert!(matches!(missing, Err(OriginError::NoObject { .. })), "{missing:?}");
    fetches_blocks(origin, image).await;
}

async fn fetches_blocks(origin: &dyn Origin, image: &Sample) {
    let layout = image.layout();
    let all: Vec<BlockIndex> = (0..layout.len()).map(BlockIndex).collect();
    let some: Vec<BlockIndex> = all.iter().rev().copied().filter(|index| index.0 != 2).collect();
    for wanted in [&all, &some] {
        let mut got = Vec::new();
        let mut blocks = fetch_blocks(origin, &layout, wanted);
        while let Some((index, stored)) = blocks.next().await {
            let id = BlockId::of(&stored.unwrap());
            assert_eq!(id, layout.block(index).unwrap().id, "block {index}");
            got.push(index);
        }
        got.sort_unstable();
        let mut wanted = wanted.clone();
        wanted.sort_unstable();
        assert_eq!(got, wanted);
    }
}

async fn takes_the_same_object_from_many(origin: &dyn Origin) {
    let data = noise(8, 1 << 20);
    let object = Digest::of(&data);
    let puts = (0..8).map(|_| origin.put(&object, BlobSource::Bytes(data.clone())));
    for put in futures_util::future::join_all(puts).await {
        put.unwrap();
    }
    assert!(read_object(origin, &object, 1 << 20).await.unwrap() == data, "the object differs");
}

/// The figure that matters: adjacent blocks are one request, and no byte comes twice.
#[tokio::test]
async fn adjacent_blocks_come_in_one_range() {
    let dir = tempfile::tempdir().unwrap();
    let layout_dir = DirOrigin::open(dir.path()).unwrap();
    let image = Sample::new(3, 6);
    image.store(&layout_dir).await;
    let served = Served::start(dir.path(), ServerLimits::default()).await;
    let origin = served.origin(Role::Vm(1));
    let layout = image.layout();
    // Blocks 2 to 4 of one segment, and 8 of the other.
    let wanted: Vec<BlockIndex> = [2, 3, 4, 8].map(BlockIndex).to_vec();
    let blocks: Vec<_> = fetch_blocks(&origin, &layout, &wanted).collect().await;
    assert_eq!(blocks.len(), 4);
    let counts = served.counters.get();
    let bytes: u64 = wanted.iter().map(|index| u64::from(layout.block(*index).unwrap().stored_len)).sum();
    assert_eq!((counts.reads, counts.bytes_served), (2, bytes));
    served.stop().await;
}

#[tokio::test]
async fn a_missing_pack_is_an_error_for_each_of_its_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let origin = DirOrigin::open(dir.path()).unwrap();
    let image = Sample::new(4, 2);
    image.store(&origin).await;
    std::fs::remove_file(origin.object_path(&Digest::of(&image.packs[2]))).unwrap();
    let layout = image.layout();
    let wanted: Vec<BlockIndex> = (0..layout.len()).map(BlockIndex).collect();
    let mut blocks: Vec<_> = fetch_blocks(&origin, &layout, &wanted).collect().await;
    blocks.sort_by_key(|(index, _)| *index);
    let failed: Vec<bool> = blocks.iter().map(|(_, block)| block.is_err()).collect();
    assert_eq!(failed, [false, false, false, true, true]);
}

#[tokio::test]
async fn nobody_at_the_address_is_an_error_that_says_so() {
    let url = format!("http://{}", crate::tools::free_address());
    let mut limits = TransferLimits::default();
    limits.retry.retries = 1;
    let tls = Served::start(tempfile::tempdir().unwrap().path(), ServerLimits::default()).await.tls(None);
    let origin = HttpOrigin::new(&url, tls, limits).unwrap();
    let error = origin.size(&Digest::of(b"x")).await.unwrap_err().to_string();
    assert!(error.contains(&url) && error.contains("cannot connect"), "{error}");
}
