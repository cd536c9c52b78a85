//! Decoding a manifest and deriving its layout: an image of 512 MiB, and one of 50 GB.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ft_benches::{manifest_of, size};
use ft_core::manifest::{Layout, Manifest};

fn manifests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("manifest");
    for blocks in [size(1_024, 4), size(100_000, 16)] {
        let manifest = manifest_of(blocks);
        let bytes = manifest.encode();
        group.throughput(Throughput::Elements(u64::from(blocks)));
        group.bench_function(BenchmarkId::new("decode", blocks), |bencher| {
            bencher.iter(|| Manifest::decode(&bytes));
        });
        group.bench_function(BenchmarkId::new("layout", blocks), |bencher| {
            bencher.iter(|| Layout::new(&manifest));
        });
    }
    group.finish();
}

criterion_group!(benches, manifests);
criterion_main!(benches);
