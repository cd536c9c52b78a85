//! The relay engine: events per second while every block comes from a parent and goes to two children.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ft_benches::relay::Relay;
use ft_benches::size;

fn relay(criterion: &mut Criterion) {
    let blocks = size(1_024, 16);
    let events = {
        let mut relay = Relay::new(blocks);
        let before = relay.inputs;
        relay.relay_all();
        relay.inputs - before
    };
    let mut group = criterion.benchmark_group("relay");
    group.throughput(Throughput::Elements(events));
    group.bench_function("events", |bencher| {
        bencher.iter_batched_ref(|| Relay::new(blocks), Relay::relay_all, BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, relay);
criterion_main!(benches);
