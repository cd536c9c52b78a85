//! How fast the simulator is: `cargo run --release -p ft-sim --example scale -- VMS BLOCKS [SHAPE]`.

use std::time::Instant;

use ft_core::tree::Shape;
use ft_sim::{Plan, run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |nth: usize, default: u32| args.get(nth).map_or(Ok(default), |text| text.parse());
    let (vms, blocks) = (number(0, 1_000)?, number(1, 512)?);
    let shape = args.get(2).map_or(Ok(Shape::Paired), |text| text.parse())?;
    let started = Instant::now();
    let outcome = run(&Plan::new(vms, shape, blocks));
    let took = started.elapsed().as_secs_f64();
    println!(
        "{vms} VMs, {shape}, {blocks} blocks: T / (S/B) {:.3}, origin {} blocks, {} events in {took:.1} s",
        outcome.last_over_bound, outcome.origin_blocks, outcome.events
    );
    Ok(())
}
