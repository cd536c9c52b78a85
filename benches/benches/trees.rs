//! Joins and leaves of function trees: the pair and the chain in O(1), the single tree in O(log n).

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ft_benches::{size, tree_of};
use ft_core::tree::Shape;
use ft_core::{Stripe, VmId};
use std::hint::black_box;

fn operations(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tree");
    for shape in Shape::ALL {
        for vms in [size(1_000, 10), size(100_000, 100)] {
            let mut tree = tree_of(shape, vms);
            let mut next = vms;
            group.bench_function(BenchmarkId::new(format!("{shape}/leave and join"), vms), |bencher| {
                bencher.iter(|| {
                    // The one that has been in the tree for longest leaves, and somebody new joins.
                    let left = tree.remove(VmId(next - vms));
                    let joined = tree.insert(VmId(next));
                    next += 1;
                    black_box((left, joined))
                });
            });
            let vm = VmId(next - 1);
            group.bench_function(BenchmarkId::new(format!("{shape}/edges of a VM"), vms), |bencher| {
                bencher.iter(|| {
                    let stripe = black_box(Stripe(0));
                    (tree.parent_of(vm, stripe), tree.children_of(vm, stripe))
                });
            });
        }
    }
    group.finish();
}

criterion_group!(trees, operations);
criterion_main!(trees);
