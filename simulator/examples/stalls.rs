//! How often parents are taken for slow on a busy machine, and what it costs, and what a parent costs that is slow:
//! `cargo run --release -p ft-sim --example stalls -- [SEEDS]`.

use ft_core::Duration;
use ft_core::tree::Shape;
use ft_sim::{Outcome, Plan, Stalls, Throttled, run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seeds: u64 = std::env::args().nth(1).map_or(Ok(10), |text| text.parse())?;
    println!(
        "VMs, Mbit/s, origin ×, a stall every ms: origin mean / worst, last ÷ (S/B), slow, probes, hedges a run"
    );
    for vms in [7, 15] {
        for mbits in [50, 100, 200] {
            for of_origin in [1, 10] {
                for every in [0, 2_000, 700] {
                    equal_links(vms, mbits, of_origin, every, seeds);
                }
            }
        }
    }
    println!("\nVMs, Mbit/s, throttled VM at 1/n: last ÷ (S/B), calm and with stalls (worst)");
    for (vms, mbits) in [(3, 50), (3, 200), (7, 50), (7, 200)] {
        for vm in 0..vms.min(3) {
            for times in [2, 5, 10, 20, 100] {
                throttled(vms, mbits, (vm, times), seeds);
            }
        }
    }
    println!("\nVM 2 of 15 at half speed, 200 Mbit/s, moved after ms: the others' last ÷ (S/B)");
    for millis in [500, 1_000, 2_000, 3_000, 4_000] {
        let noticed = Some(Duration::from_millis(millis));
        let throttled = Some(Throttled { vm: 2, times: 2, up_only: false, noticed });
        let outcome = run(&Plan { throttled, ..plan(15, 200, 1) });
        println!("{millis:5}: {:.3}", outcome.others_over_bound);
    }
    Ok(())
}

fn plan(vms: u32, mbits: u64, of_origin: u64) -> Plan {
    let rate = mbits * 125_000;
    Plan { rate, origin_rate: rate * of_origin, ..Plan::new(vms, Shape::Paired, 400) }
}

fn stalls(every: u64) -> Option<Stalls> {
    let [every, shortest, longest] = [every, 50, 500].map(Duration::from_millis);
    (every > Duration::ZERO).then_some(Stalls { every, shortest, longest })
}

fn equal_links(vms: u32, mbits: u64, of_origin: u64, every: u64, seeds: u64) {
    let runs: Vec<Outcome> = (0..seeds)
        .map(|seed| run(&Plan { stalls: stalls(every), seed, ..plan(vms, mbits, of_origin) }))
        .collect();
    let mean = |of: fn(&Outcome) -> f64| runs.iter().map(of).sum::<f64>() / seeds as f64;
    let worst = runs.iter().map(|run| run.origin_blocks).max().unwrap_or(0);
    println!(
        "{vms:3} {mbits:4} {of_origin:3} {every:5}: origin {:.3} / {:.3}, last {:.2}, slow {:.1}, probes {:.1}, hedges {:.1}",
        mean(|run| run.origin_blocks as f64 / 401.0),
        worst as f64 / 401.0,
        mean(|run| run.last_over_bound),
        mean(|run| run.slow_peers as f64),
        mean(|run| run.probes as f64),
        mean(|run| run.hedges as f64),
    );
}

fn throttled(vms: u32, mbits: u64, throttled: (u32, u32), seeds: u64) {
    let (vm, times) = throttled;
    let throttled = Some(Throttled { vm, times, up_only: true, noticed: None });
    let plan = Plan { throttled, ..plan(vms, mbits, 2) };
    let calm = run(&plan);
    let runs = (0..seeds).map(|seed| run(&Plan { stalls: stalls(2_000), seed, ..plan }));
    let busy = runs.map(|run| run.last_over_bound).fold(0.0, f64::max);
    println!(
        "{vms:3} {mbits:4} vm-{vm} at 1/{times}: {:.2} (origin {:.2}), {busy:.2}",
        calm.last_over_bound,
        calm.origin_blocks as f64 / 401.0
    );
}
