//! What must hold at the end of a run; one function per property.

use std::collections::BTreeSet;

use ft_core::BlockIndex;
use ft_core::relay::Mode;

use crate::net::Net;

/// Every live VM has every block (in lazy mode the metadata and the profile), and no reader waits.
pub(crate) fn everybody_is_served(net: &Net) {
    for vm in net.vms.values().filter(|vm| vm.alive) {
        match net.plan.mode {
            Mode::Full => assert!(vm.engine.is_complete(), "{} lacks blocks", vm.id),
            Mode::Lazy => {
                let here = |block: &u32| vm.engine.stored().contains(BlockIndex(*block));
                assert!(
                    (0..net.layout.metadata_blocks()).all(|block| here(&block)),
                    "{} lacks metadata",
                    vm.id
                );
                assert!(
                    net.profile.iter().all(|block| here(&block.0)),
                    "{} lacks blocks of the profile",
                    vm.id
                );
            }
        }
        assert!(vm.reads.is_empty(), "readers on {} wait for {:?}", vm.id, vm.reads);
    }
}

/// No reader was told that a block is not to be had.
pub(crate) fn nothing_failed(net: &Net) {
    for vm in net.vms.values() {
        assert_eq!(vm.failed_reads, 0, "reads on {} failed", vm.id);
        assert_eq!(vm.engine.stats().late, 0, "{} waited too long", vm.id);
        assert_eq!(vm.engine.stats().budgeted, 0, "{} read the origin, and is no root", vm.id);
        assert_eq!(vm.engine.stats().ignored, 0, "{} was told nonsense", vm.id);
    }
}

/// The origin was read once for every block that anybody has; in a tree of two, which demands from it straight,
/// at most once by each.
pub(crate) fn origin_was_read_once(net: &Net) {
    let most = if is_small(net) { 2 } else { 1 };
    for (block, reads) in &net.origin.reads {
        assert!(*reads <= most, "block {block} was read {reads} times");
    }
    let held: BTreeSet<BlockIndex> = net
        .vms
        .values()
        .flat_map(|vm| vm.engine.stored().iter())
        .map(|index| canonical(net, index))
        .collect();
    assert_eq!(net.origin.reads.len(), held.len());
}

fn canonical(net: &Net, index: BlockIndex) -> BlockIndex {
    net.layout.blocks()[index.0 as usize].canonical
}

fn is_small(net: &Net) -> bool {
    net.vms.len() <= 2
}

/// No block was sent to a child twice, nor came to a VM twice. (In a tree of two, a push may overtake what was
/// demanded from the origin.)
pub(crate) fn nothing_came_twice(net: &Net) {
    for vm in net.vms.values() {
        assert_eq!(vm.sent_twice, 0, "{} sent blocks twice", vm.id);
        if is_small(net) {
            continue;
        }
        assert_eq!(vm.engine.stats().duplicate.blocks, 0, "blocks came twice to {}", vm.id);
    }
}

/// Nobody intends to do anything any more.
pub(crate) fn no_work_is_left(net: &Net) {
    for vm in net.vms.values().filter(|vm| vm.alive) {
        assert_eq!(vm.engine.deadline(), None, "{} still waits for something", vm.id);
    }
}
