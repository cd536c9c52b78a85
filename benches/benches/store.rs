//! The block store: a block in (verified, written, renamed) and out (read, verified).

use std::cell::Cell;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ft_benches::block;
use ft_blockstore::{BlockStore, StoreOptions};
use ft_core::BlockId;
use ft_core::block::BLOCK_SIZE;

/// Older blocks are evicted, so that a long measurement fills no disk.
const QUOTA_BYTES: u64 = 64 << 20;

fn store(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let options = StoreOptions { dir: dir.path().join("blocks"), quota_bytes: QUOTA_BYTES };
    let store = BlockStore::open(options).expect("a store");
    let mut group = criterion.benchmark_group("store");
    group.throughput(Throughput::Bytes(u64::from(BLOCK_SIZE)));
    let raw = block();
    let nth = Cell::new(0_u64);
    let fresh = || {
        nth.set(nth.get() + 1);
        let mut bytes = raw.clone();
        bytes[..8].copy_from_slice(&nth.get().to_le_bytes());
        (BlockId::of(&bytes), bytes)
    };
    group.bench_function("put", |bencher| {
        let put = |(id, bytes): &mut (BlockId, Vec<u8>)| store.put(id, bytes).expect("room");
        bencher.iter_batched_ref(fresh, put, BatchSize::LargeInput);
    });
    let (id, bytes) = fresh();
    store.put(&id, bytes).expect("room");
    group.bench_function("get", |bencher| {
        bencher.iter(|| store.get(&id).expect("it is sound").expect("it is here"));
    });
    group.finish();
}

criterion_group!(benches, store);
criterion_main!(benches);
