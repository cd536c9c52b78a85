//! Every seed of a range that fails, and what all runs came to:
//! `cargo run --release -p ft-sim --example swarm -- FROM TO [THREADS]`. (`ft fuzz` stops at the first, and explains it.)

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ft_sim::swarm::{Keep, Scenario};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |nth: usize, default: u64| args.get(nth).map_or(Ok(default), |text| text.parse());
    let (from, to, threads) = (number(0, 0)?, number(1, 1_000)?, number(2, 1)?);
    let [next, events, hash, failed] = [from, 0, 0, 0].map(AtomicU64::new);
    let started = Instant::now();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= to {
                return;
            }
            let report = Scenario::draw(seed).run(None, Keep::Hash, &mut |_| {});
            events.fetch_add(report.events, Ordering::Relaxed);
            // The sum does not depend on the order in which runs end.
            hash.fetch_add(report.log_hash, Ordering::Relaxed);
            if let Some(violation) = report.violation {
                failed.fetch_add(1, Ordering::Relaxed);
                println!("seed {seed}: {}: {}", violation.checker, violation.why);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let [events, hash, failed] = [events, hash, failed].map(AtomicU64::into_inner);
    let (seeds, seconds) = (to.saturating_sub(from), started.elapsed().as_secs_f64());
    println!("{seeds} seeds, {failed} failed, {events} events, {seconds:.1} s, logs {hash:016x}");
    Ok(())
}
