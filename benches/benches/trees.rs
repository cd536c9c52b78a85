//! Joins, leaves and look-ups of function trees: the pair in O(1), the single tree in O(log n).

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ft_benches::{size, tree_of};
use ft_core::tree::{FunctionTree, Shape};
use ft_core::{Stripe, VmId};

fn operations(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tree");
    let sizes = size([1_000, 10_000, 100_000, 1_000_000], [10, 20, 50, 100]);
    for shape in [Shape::Avl, Shape::Paired] {
        for vms in sizes {
            let mut tree = tree_of(shape, vms);
            // The VMs in the tree are always `first` to `first + vms`, or a tenth more.
            let mut first = 0;
            group.bench_function(BenchmarkId::new(format!("{shape}/insert"), vms), |bencher| {
                bencher.iter_custom(|times| {
                    in_batches(times, vms / 10, |batch| {
                        let spent = join(tree.as_mut(), first + vms, batch);
                        leave(tree.as_mut(), first, batch);
                        first += batch;
                        spent
                    })
                });
            });
            group.bench_function(BenchmarkId::new(format!("{shape}/remove"), vms), |bencher| {
                bencher.iter_custom(|times| {
                    in_batches(times, vms / 10, |batch| {
                        join(tree.as_mut(), first + vms, batch);
                        let spent = leave(tree.as_mut(), first, batch);
                        first += batch;
                        spent
                    })
                });
            });
            let mut nth = 0;
            group.bench_function(BenchmarkId::new(format!("{shape}/lookup"), vms), |bencher| {
                bencher.iter(|| {
                    // Strides through the VMs, so that not always the same one is in the processor's cache.
                    nth = (nth + 7_919) % vms;
                    let (vm, stripe) = black_box((VmId(first + nth), Stripe(0)));
                    (tree.parent_of(vm, stripe), tree.children_of(vm, stripe))
                });
            });
        }
    }
    group.finish();
}

/// Runs `work` on batches of at most `most` until it was done `times` times; the time it says it took.
fn in_batches(times: u64, most: u64, mut work: impl FnMut(u64) -> Duration) -> Duration {
    let mut spent = Duration::ZERO;
    let mut left = times;
    while left > 0 {
        let batch = left.min(most.max(1));
        spent += work(batch);
        left -= batch;
    }
    spent
}

fn join(tree: &mut dyn FunctionTree, first: u64, count: u64) -> Duration {
    let start = Instant::now();
    for vm in first..first + count {
        assert!(black_box(tree.insert(VmId(vm))).is_ok());
    }
    start.elapsed()
}

fn leave(tree: &mut dyn FunctionTree, first: u64, count: u64) -> Duration {
    let start = Instant::now();
    for vm in first..first + count {
        assert!(black_box(tree.remove(VmId(vm))).is_ok());
    }
    start.elapsed()
}

criterion_group!(trees, operations);
criterion_main!(trees);
