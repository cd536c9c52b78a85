//! What every block costs on its way: BLAKE3 to verify it, LZ4 to unpack it.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ft_benches::block;
use ft_blockstore::codec::{compress_block, decompress_block};
use ft_core::block::BLOCK_SIZE;
use ft_core::{BlockId, Digest};

fn blocks(criterion: &mut Criterion) {
    let raw = block();
    let (codec, stored) = compress_block(&raw);
    let mut group = criterion.benchmark_group("block");
    group.throughput(Throughput::Bytes(u64::from(BLOCK_SIZE)));
    group.bench_function("BLAKE3", |bencher| bencher.iter(|| BlockId::of(&raw)));
    group.bench_function("SHA-256", |bencher| bencher.iter(|| Digest::of(&raw)));
    group.bench_function("LZ4 compress", |bencher| bencher.iter(|| compress_block(&raw)));
    group.bench_function("LZ4 decompress", |bencher| {
        bencher.iter(|| decompress_block(codec, &stored, BLOCK_SIZE));
    });
    group.finish();
}

criterion_group!(benches, blocks);
criterion_main!(benches);
