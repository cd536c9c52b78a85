use std::time::Duration;

use super::*;

fn options(dir: &Path, quota_bytes: u64) -> StoreOptions {
    StoreOptions { dir: dir.to_owned(), quota_bytes }
}

fn open(dir: &Path) -> Arc<BlockStore> {
    BlockStore::open(options(dir, 1 << 30)).unwrap()
}

/// A block of `len` bytes that is like no other.
fn block(seed: u8, len: usize) -> (BlockId, Bytes) {
    let stored: Vec<u8> = (0..len).map(|at| seed ^ at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
    (BlockId::of(&stored), stored.into())
}

#[test]
fn blocks_survive_a_restart_and_one_process_owns_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (id, stored) = block(1, 1000);
    let store = open(dir.path());
    store.put(&id, &stored).unwrap();
    store.put(&id, &stored).unwrap();
    assert_eq!((store.used_bytes(), store.block_count()), (1000, 1));
    let second = BlockStore::open(options(dir.path(), 1));
    assert!(matches!(second, Err(StoreError::InUse { .. })), "{second:?}");
    drop(store);

    let store = open(dir.path());
    assert!(store.contains(&id));
    assert_eq!(store.get(&id), Ok(Some(stored)));
    assert_eq!(store.used_bytes(), 1000);
    assert_eq!(store.get(&block(2, 10).0), Ok(None));
}

#[test]
fn wrong_bytes_are_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (id, _) = block(1, 1000);
    assert_eq!(store.put(&id, block(2, 1000).1), Err(StoreError::Corrupt { id }));
    assert_eq!(store.put(&id, []), Err(StoreError::Length { id, len: 0 }));
    let len = BLOCK_SIZE as usize + 1;
    assert_eq!(store.put(&id, vec![0; len]), Err(StoreError::Length { id, len }));
    assert!(!store.contains(&id));
    assert_eq!(store.used_bytes(), 0);
}

#[test]
fn every_kind_of_damage_is_found_removed_and_reported_once() {
    let dir = tempfile::tempdir().unwrap();
    let (id, stored) = block(1, 5000);
    let flipped: Vec<u8> = stored.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == 4321)).collect();
    let longer = [&stored[..], b"x"].concat();
    for (restart, damage) in [
        (false, flipped.clone()),
        (true, flipped),
        (true, stored[..4999].to_vec()),
        (true, vec![0; 5000]),
        (true, longer),
        (false, Vec::new()),
        (false, vec![0; 3 * BLOCK_SIZE as usize]),
    ] {
        let mut store = open(dir.path());
        store.put(&id, &stored).unwrap();
        let path = store.path(&id);
        fs::write(&path, damage).unwrap();
        if restart {
            drop(store);
            store = open(dir.path());
        }
        assert_eq!(store.get(&id), Err(StoreError::Damaged { id, path: path.clone() }));
        assert_eq!(store.get(&id), Ok(None));
        assert!(!store.contains(&id) && !path.exists());
        assert_eq!(store.used_bytes(), 0);
        store.put(&id, &stored).unwrap();
        assert_eq!(store.get(&id), Ok(Some(stored.clone())));
    }
}

#[test]
fn a_start_tidies_up_and_leaves_foreign_files_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (id, stored) = block(1, 1000);
    let (torn, _) = block(2, 1000);
    let store = open(dir.path());
    store.put(&id, &stored).unwrap();
    let empty = store.path(&torn);
    drop(store);
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(empty.parent().unwrap()).unwrap();
    for name in ["tmp/half", "blocks/README", "blocks/zz", "notes.txt"] {
        fs::write(at(name), "x").unwrap();
    }
    fs::write(&empty, "").unwrap();
    fs::create_dir_all(at("images/abc")).unwrap();
    fs::write(at("images/abc/data.img"), "stale").unwrap();
    fs::create_dir_all(at("blocks/ab/not-a-block")).unwrap();

    let store = open(dir.path());
    assert_eq!((store.block_count(), store.used_bytes()), (1, 1000));
    for gone in [at("tmp/half"), at("images/abc"), empty] {
        assert!(!gone.exists(), "{} is still there", gone.display());
    }
    for kept in ["blocks/README", "blocks/zz", "notes.txt", "blocks/ab/not-a-block"] {
        assert!(at(kept).exists(), "{kept} is gone");
    }
}

#[test]
fn the_quota_evicts_what_was_used_least_recently_and_never_a_pinned_block() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlockStore::open(options(dir.path(), 3000)).unwrap();
    let blocks: Vec<_> = (1..=5).map(|seed| block(seed, 1000)).collect();
    for (id, stored) in &blocks[..3] {
        store.put(id, stored).unwrap();
    }
    let pin = store.pin([blocks[1].0]);
    assert!(store.get(&blocks[0].0).unwrap().is_some());
    store.put(&blocks[3].0, &blocks[3].1).unwrap();
    store.put(&blocks[4].0, &blocks[4].1).unwrap();
    let here: Vec<bool> = blocks.iter().map(|(id, _)| store.contains(id)).collect();
    assert_eq!(here, [false, true, false, true, true]);
    assert_eq!(store.used_bytes(), 3000);
    assert!(!store.path(&blocks[0].0).exists());

    let others = store.pin([blocks[3].0, blocks[4].0]);
    let (late, stored) = block(9, 500);
    let full = StoreError::QuotaExceeded { needed: 500, quota: 3000, held: 3000 };
    assert_eq!(store.put(&late, &stored), Err(full));
    drop(pin);
    drop(others);
    store.put(&late, &stored).unwrap();
    assert!(!store.contains(&blocks[1].0));
}

#[test]
fn what_never_fits_evicts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlockStore::open(options(dir.path(), 3000)).unwrap();
    let (id, stored) = block(1, 1000);
    store.put(&id, &stored).unwrap();
    assert!(matches!(store.reserve(3001), Err(StoreError::QuotaExceeded { .. })));
    assert!(store.contains(&id));
    store.reserve(2500).unwrap();
    assert!(!store.contains(&id));
    assert!(matches!(store.put(&id, &stored), Err(StoreError::QuotaExceeded { .. })));
    store.release(2500);
    store.put(&id, &stored).unwrap();
}

#[test]
fn a_smaller_quota_evicts_the_oldest_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let blocks: Vec<_> = (1..=3).map(|seed| block(seed, 1000)).collect();
    let now = std::time::SystemTime::now();
    for ((id, stored), age) in blocks.iter().zip([10, 30, 20]) {
        store.put(id, stored).unwrap();
        let file = File::options().write(true).open(store.path(id)).unwrap();
        file.set_modified(now - Duration::from_secs(age)).unwrap();
    }
    drop(store);
    let store = BlockStore::open(options(dir.path(), 1500)).unwrap();
    let here: Vec<bool> = blocks.iter().map(|(id, _)| store.contains(id)).collect();
    assert_eq!(here, [true, false, false]);
}

#[test]
fn a_file_that_someone_removed_is_absent() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (id, stored) = block(1, 1000);
    store.put(&id, &stored).unwrap();
    fs::remove_file(store.path(&id)).unwrap();
    assert_eq!(store.get(&id), Ok(None));
    assert_eq!(store.used_bytes(), 0);
}

/// Eight threads store, read and pin the same few blocks under a quota that holds half of them: two for each
/// thread, because one may come while the same one is being stored by another.
#[test]
fn many_threads_see_whole_blocks_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlockStore::open(options(dir.path(), 16 * 4096)).unwrap();
    let blocks: Vec<_> = (0..32).map(|seed| block(seed, 4096)).collect();
    std::thread::scope(|scope| {
        for thread in 0..8usize {
            let (store, blocks) = (&store, &blocks);
            scope.spawn(move || {
                for round in 0..200usize {
                    let (id, stored) = &blocks[(thread * 7 + round * 5) % 32];
                    let pin = store.pin([*id]);
                    store.put(id, stored).unwrap();
                    // Pinned, so it cannot have been evicted.
                    assert_eq!(store.get(id).unwrap().as_ref(), Some(stored));
                    drop(pin);
                    if let Some(found) = store.get(&blocks[round % 32].0).unwrap() {
                        assert_eq!(found, blocks[round % 32].1);
                    }
                }
            });
        }
    });
    assert!(store.used_bytes() <= 16 * 4096);
    let files = store.block_count() as u64 * 4096;
    assert_eq!(store.used_bytes(), files);
}

#[tokio::test]
async fn the_async_forms_do_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (id, stored) = block(1, 1000);
    store.put_async(id, stored.clone()).await.unwrap();
    assert_eq!(store.get_async(id).await, Ok(Some(stored)));
}
