//! What a VM at half speed costs the others, by when it is noticed: `cargo run --release -p ft-sim --example half`.

use ft_core::Duration;
use ft_core::tree::Shape;
use ft_sim::{Plan, Throttled, run};

fn main() {
    let plan = Plan { rate: 25_000_000, origin_rate: 25_000_000, ..Plan::new(15, Shape::Paired, 512) };
    println!("undisturbed {:?}", run(&plan));
    for vm in [2, 1] {
        for up_only in [false, true] {
            for at in [100, 1_000, 2_000, 2_500, 3_000, 3_500, 4_000, 100_000] {
                let noticed = Some(Duration::from_millis(at));
                let throttled = Some(Throttled { vm, times: 2, up_only, noticed });
                let out = run(&Plan { throttled, ..plan });
                println!("vm {vm} up_only {up_only} noticed {at} ms: others {:.3} median {:.3} origin {} slow {} probes {}", out.others_over_bound, out.median_over_bound, out.origin_blocks, out.slow_peers, out.probes);
            }
        }
    }
}
