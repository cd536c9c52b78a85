use ft_core::BlockId;
use ft_core::manifest::{BlockEntry, Manifest, Segment, SegmentKind};

use super::*;
use crate::StoreOptions;
use crate::codec::compress_block;

/// An image with its stored blocks, and what its data device has to read as.
struct Sample {
    layout: Arc<Layout>,
    stored: Vec<Bytes>,
    data: Vec<u8>,
}

/// Metadata of 8 KiB; a layer of a block and 5000 bytes; a layer that repeats the first one's first block and
/// goes on with 4096 bytes that LZ4 cannot compress.
fn sample() -> Sample {
    let block = BLOCK_SIZE as usize;
    let text = b"function tree ".repeat(block / 14 + 1)[..block].to_vec();
    let noise: Vec<u8> = (0..128u8).flat_map(|n| *Digest::of(&[n]).as_bytes()).collect();
    let raws = [vec![vec![7; 8192]], vec![text.clone(), vec![1; 5000]], vec![text, noise]];
    let mut stored = Vec::new();
    let mut segments = Vec::new();
    let mut data = Vec::new();
    for (nth, blocks) in raws.iter().enumerate() {
        let kind = if nth == 0 { SegmentKind::Metadata } else { SegmentKind::Data };
        let mut entries = Vec::new();
        for raw in blocks {
            let (codec, bytes) = compress_block(raw);
            let stored_len = u32::try_from(bytes.len()).unwrap();
            entries.push(BlockEntry { id: BlockId::of(&bytes), stored_len, codec });
            stored.push(bytes);
        }
        if nth > 0 {
            data.resize(data.len().next_multiple_of(block), 0);
            data.extend(blocks.concat());
        }
        let raw_len = blocks.concat().len() as u64;
        segments.push(Segment { kind, raw_len, pack: Digest::of(&[]), blocks: entries });
    }
    let manifest = Manifest { config: b"{}".to_vec(), segments };
    Sample { layout: Arc::new(Layout::new(&manifest)), stored, data }
}

fn store(dir: &Path, quota_bytes: u64) -> Arc<BlockStore> {
    BlockStore::open(StoreOptions { dir: dir.to_owned(), quota_bytes }).unwrap()
}

fn cache(store: &Arc<BlockStore>, sample: &Sample) -> Arc<ImageCache> {
    ImageCache::create(store, &Digest::of(b"image"), Arc::clone(&sample.layout)).unwrap()
}

#[test]
fn the_files_read_as_the_image_once_they_are_filled() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), 1 << 30);
    let sample = sample();
    let cache = cache(&store, &sample);
    assert!(!cache.metadata_complete() && !cache.data_complete());
    for (index, stored) in (0..).map(BlockIndex).zip(&sample.stored) {
        cache.fill(index, stored).unwrap();
        cache.fill(index, stored).unwrap();
        assert!(cache.is_filled(index));
        assert!(cache.metadata_complete());
    }
    assert!(cache.data_complete());
    assert_eq!(fs::read(cache.metadata_path()).unwrap(), vec![7; 8192]);
    let data = fs::read(cache.data_path()).unwrap();
    assert_eq!(data.len() as u64, cache.data_len());
    assert!(data == sample.data, "the data device differs");
    let mut part = vec![9; 10_000];
    cache.read_data(u64::from(BLOCK_SIZE) - 100, &mut part).unwrap();
    assert!(part == sample.data[BLOCK_SIZE as usize - 100..][..10_000], "the part differs");
}

#[test]
fn whether_there_is_room_for_the_rest_is_known_beforehand() {
    let sample = sample();
    let whole: u64 = sample.layout.blocks().iter().map(|place| u64::from(place.raw_len)).sum();
    for (quota, fits) in [(whole, true), (whole - 1, false)] {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path(), quota);
        let cache = cache(&store, &sample);
        for (index, stored) in (0..).map(BlockIndex).zip(&sample.stored) {
            let room = cache.check_room();
            assert_eq!(room.is_ok(), fits, "{room:?}");
            assert!(fits || matches!(room, Err(StoreError::QuotaExceeded { .. })), "{room:?}");
            if cache.fill(index, stored).is_err() {
                break;
            }
        }
        assert_eq!(cache.data_complete(), fits);
    }
}

#[test]
fn a_block_that_repeats_is_filled_in_everywhere_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), 1 << 30);
    let sample = sample();
    let cache = cache(&store, &sample);
    cache.fill(BlockIndex(3), &sample.stored[3]).unwrap();
    assert!(cache.is_filled(BlockIndex(1)) && cache.is_filled(BlockIndex(3)));
    assert_eq!(store.used_bytes(), 2 * u64::from(BLOCK_SIZE));
}

#[test]
fn what_is_not_there_is_not_readable_but_gaps_are() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), 1 << 30);
    let sample = sample();
    let cache = cache(&store, &sample);
    cache.fill(BlockIndex(1), &sample.stored[1]).unwrap();
    let block = u64::from(BLOCK_SIZE);
    let mut buffer = [9; 200];
    assert_eq!(cache.read_data(block - 200, &mut buffer), Ok(()));
    let missing = ImageError::NotFilled { image: Digest::of(b"image"), index: BlockIndex(2) };
    assert_eq!(cache.read_data(block - 100, &mut buffer), Err(missing));
    // After the second block of the first layer, up to the second layer.
    cache.read_data(block + 5000, &mut buffer).unwrap();
    assert_eq!(buffer, [0; 200]);
    for offset in [cache.data_len() - 199, u64::MAX] {
        assert!(matches!(cache.read_data(offset, &mut buffer), Err(ImageError::OutOfRange { .. })));
    }
    assert_eq!(cache.read_data(0, &mut []), Ok(()));
}

#[test]
fn a_failed_fill_leaves_nothing_and_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), u64::from(BLOCK_SIZE) * 3);
    let sample = sample();
    let cache = cache(&store, &sample);
    let garbage = cache.fill(BlockIndex(2), b"garbage");
    assert!(matches!(garbage, Err(ImageError::Codec { index: BlockIndex(2), .. })), "{garbage:?}");
    assert!(matches!(cache.fill(BlockIndex(5), b""), Err(ImageError::NoBlock { .. })));
    assert_eq!(store.used_bytes(), 0);
    store.reserve(u64::from(BLOCK_SIZE) * 3 - 4999).unwrap();
    let full = cache.fill(BlockIndex(2), &sample.stored[2]);
    assert!(matches!(full, Err(ImageError::Store(StoreError::QuotaExceeded { .. }))), "{full:?}");
    store.release(1);
    cache.fill(BlockIndex(2), &sample.stored[2]).unwrap();
}

#[test]
fn the_files_go_with_the_cache_and_with_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let sample = sample();
    let first = store(dir.path(), 1 << 30);
    let cache_of = cache(&first, &sample);
    cache_of.fill(BlockIndex(0), &sample.stored[0]).unwrap();
    let second = ImageCache::create(&first, &Digest::of(b"image"), Arc::clone(&sample.layout));
    assert!(matches!(second, Err(ImageError::InUse { .. })), "{second:?}");
    assert_eq!(first.used_bytes(), 8192);
    let path = cache_of.data_path();
    drop(cache_of);
    assert!(!path.exists());
    assert_eq!(first.used_bytes(), 0);

    // As after a crash: the files are there, the marks in memory are not.
    fs::create_dir(path.parent().unwrap()).unwrap();
    fs::write(&path, "stale").unwrap();
    drop(first);
    let again = cache(&store(dir.path(), 1 << 30), &sample);
    assert!(!again.is_filled(BlockIndex(0)));
}

/// All threads ask for all blocks: each place is written once, so the room is reserved once.
#[test]
fn many_threads_fill_each_block_once() {
    let dir = tempfile::tempdir().unwrap();
    let sample = sample();
    let raw: u64 = sample.layout.blocks().iter().map(|place| u64::from(place.raw_len)).sum();
    let store = store(dir.path(), 1 << 30);
    let cache = cache(&store, &sample);
    std::thread::scope(|scope| {
        for thread in 0..8u32 {
            let (cache, sample) = (&cache, &sample);
            scope.spawn(move || {
                for nth in 0..5 {
                    let index = BlockIndex((nth + thread) % 5);
                    cache.fill(index, &sample.stored[index.0 as usize]).unwrap();
                    assert!(cache.is_filled(index));
                }
            });
        }
    });
    assert_eq!(store.used_bytes(), raw);
    assert!(fs::read(cache.data_path()).unwrap() == sample.data, "the data device differs");
}
