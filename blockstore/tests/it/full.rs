//! File systems that are full: an error that says so, and nothing lost.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ft_blockstore::codec::decompress_block;
use ft_blockstore::{
    BlobSource, BlockStore, DirOrigin, ImageCache, ImageError, Origin, StoreError, StoreOptions,
};
use ft_core::{BLOCK_SIZE, BlockId, BlockIndex, Digest};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::tools::{Sample, noise};

const MIB: usize = 1 << 20;

/// A file system in memory; unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(mib: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = std::ffi::CString::new(format!("size={mib}m")).unwrap();
        let mounted = mount("ft-test", dir.path(), "tmpfs", MountFlags::empty(), Some(options.as_c_str()));
        mounted.expect("a tmpfs can be mounted: run the tests as root");
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Left-over mounts would be seen by the next `mount`; there is nothing else to do about them here.
        let _ = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

fn open_store(dir: &Path) -> Arc<BlockStore> {
    BlockStore::open(StoreOptions { dir: dir.to_owned(), quota_bytes: 1 << 40 }).unwrap()
}

#[test]
fn a_full_disk_loses_no_block() {
    let disk = SmallDisk::new(4);
    let store = open_store(disk.path());
    let blocks: Vec<_> = (0..20).map(|seed| noise(seed, 300_000)).collect();
    let ids: Vec<BlockId> = blocks.iter().map(|stored| BlockId::of(stored)).collect();
    let results: Vec<_> = ids.iter().zip(&blocks).map(|(id, stored)| store.put(id, stored)).collect();
    let fitted = results.iter().filter(|result| result.is_ok()).count();
    assert!((10..=13).contains(&fitted), "{fitted} blocks of 300 kB on 4 MiB");
    let full = StoreError::NoSpace { dir: disk.path().to_owned(), needed: 300_000 };
    assert!(results[fitted..].iter().all(|result| *result == Err(full.clone())), "{results:?}");
    assert_eq!(store.used_bytes(), fitted as u64 * 300_000);
    assert_eq!(std::fs::read_dir(disk.path().join("tmp")).unwrap().count(), 0);
    for (nth, (id, stored)) in ids.iter().zip(&blocks).enumerate() {
        assert_eq!(store.get(id), Ok((nth < fitted).then(|| stored.clone())));
    }
    drop(store);
    assert_eq!(open_store(disk.path()).block_count(), fitted);
}

#[test]
fn an_image_that_does_not_fit_says_so_and_goes_on_later() {
    let disk = SmallDisk::new(4);
    let store = open_store(disk.path());
    let image = Sample::new(1, 6);
    let layout = Arc::new(image.layout());
    let cache = ImageCache::create(&store, &Digest::of(&image.encoded), Arc::clone(&layout)).unwrap();
    let pad = disk.path().join("pad");
    std::fs::write(&pad, vec![1; 2 * MIB]).unwrap();
    let fill = |nth: u32| {
        let place = layout.block(BlockIndex(nth)).unwrap();
        let start = usize::try_from(place.pack_offset).unwrap();
        let stored = &image.packs[place.segment as usize][start..start + place.stored_len as usize];
        cache.fill(BlockIndex(nth), stored).map(|()| (*place, stored))
    };
    let filled = (0..7).take_while(|nth| fill(*nth).is_ok()).count();
    assert!((3..=4).contains(&filled), "{filled} blocks in 2 MiB");
    let failed = u32::try_from(filled).unwrap();
    let full = StoreError::NoSpace { dir: disk.path().to_owned(), needed: u64::from(BLOCK_SIZE) };
    assert_eq!(fill(failed).map(drop), Err(ImageError::Store(full)));
    assert!(!cache.is_filled(BlockIndex(failed)));
    assert_eq!(store.used_bytes(), filled as u64 * u64::from(BLOCK_SIZE));

    std::fs::remove_file(pad).unwrap();
    let (place, stored) = fill(failed).unwrap();
    let mut read = vec![0; place.raw_len as usize];
    cache.read_data(place.device_offset, &mut read).unwrap();
    assert!(read == decompress_block(place.codec, stored, place.raw_len).unwrap(), "the block differs");
}

#[tokio::test]
async fn a_full_origin_publishes_nothing_half() {
    let disk = SmallDisk::new(2);
    let origin = DirOrigin::open(disk.path()).unwrap();
    let small = noise(1, MIB);
    origin.put(&Digest::of(&small), BlobSource::Bytes(small.clone())).await.unwrap();
    let large = noise(2, 3 * MIB);
    let error =
        origin.put(&Digest::of(&large), BlobSource::Bytes(large.clone())).await.unwrap_err().to_string();
    assert!(error.contains("No space left"), "{error}");
    assert_eq!(origin.size(&Digest::of(&large)).await, Ok(None));
    assert_eq!(std::fs::read_dir(disk.path().join(".ft/tmp")).unwrap().count(), 0);
    let read = ft_blockstore::read_object(&origin, &Digest::of(&small), MIB as u64).await;
    assert!(read == Ok(Bytes::clone(&small)), "the first object is lost");
}
