//! How often the relay engine allocates for each block that it relays to two children. A count, not a time: it is
//! the same on every machine, so it is held to a bound.

use ft_benches::counting::{Counting, allocations_of};
use ft_benches::relay::Relay;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BLOCKS: u32 = 1_024;
/// More would mean that the engine copies lists for every block.
const MOST_PER_BLOCK: f64 = 8.0;

fn main() {
    let mut relay = Relay::new(BLOCKS);
    let (count, bytes) = allocations_of(|| relay.relay_all());
    let blocks = f64::from(BLOCKS + 1);
    let (count, bytes) = (count as f64 / blocks, bytes as f64 / blocks);
    println!("relay/allocations per block: {count:.2}, of {bytes:.0} bytes in all");
    assert!(relay.sent == 2 * u64::from(BLOCKS + 1), "only {} blocks were sent", relay.sent);
    assert!(count <= MOST_PER_BLOCK, "{count:.2} allocations per block, more than {MOST_PER_BLOCK}");
}
